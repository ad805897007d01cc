"""What a model is to the rest: it is asked with a prompt's values and answers with a typed reply.

An `Ask` holds the *name of a prompt and its values*, not finished text: a remote model renders them (`prompts/`), the
embedded one reads them. The pydantic class wanted back is part of the ask.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from dgt_rag.dice import Dice
from dgt_rag.plugins import Plugin, Settings
from dgt_rag.records import ConversationDataPoint, Provenance, ToolCall, ToolSpec, Usage
from dgt_rag.world import World

ToolChoice = Literal["none", "auto", "required"]


class Sampling(Settings):
    """How a model draws its words; what is not set is left to the endpoint."""

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, gt=0)
    """The longest reply, in tokens."""
    stop: tuple[str, ...] = ()

    def over(self, other: "Sampling") -> "Sampling":
        """Return these settings, completed by those of another."""
        own = self.model_dump(exclude_defaults=True)
        return Sampling(**{**other.model_dump(exclude_defaults=True), **own})


@dataclass(frozen=True)
class Ask:
    """One question to a model."""

    purpose: str
    """What is wanted, and the template's name: `prompts/<purpose>.j2`."""
    talk: ConversationDataPoint
    """The conversation so far, as this asker may see it."""
    values: Mapping[str, Any]
    """What the templates are filled with, beside `talk`; `documents` (in the order of their numbers) and `examples` always."""
    reply_type: type[BaseModel]
    """The shape of the reply."""
    dice: Dice
    """Chance for this ask; its number is the sampling seed."""
    system: str = "system"
    """The template of the system message; the same for all asks of a conversation that share a prefix."""
    native: bool = False
    """Show the conversation as chat messages with tool calls, not as a transcript in one message."""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "none"
    """With auto or required the reply may be, or must be, tool calls instead of a value."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Reply:
    """What a model answered: a value of the class asked for, or tool calls."""

    value: BaseModel | None
    model: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    prompt_hash: str = ""
    text: str = ""
    reasoning: str = ""

    @property
    def provenance(self) -> Provenance:
        """What a step keeps about the reply it was made from."""
        return Provenance(model=self.model, prompt_hash=self.prompt_hash, usage=self.usage)


class Speaker(ABC):
    """A model that is open and can be asked."""

    tool_mode: Literal["native", "schema"] = "schema"
    """Whether searches are to be asked for as tool calls or as a value (`Move`); may change while a run learns."""

    @property
    def told(self) -> frozenset[tuple[str, ...]]:
        """The runs of words (`prompts/told.py`) of its instructions; a reply that has one of them was copied from there."""
        return frozenset()

    @property
    def width(self) -> int:
        """How many conversations in the air keep it busy now; a run without `concurrency` has that many."""
        return 8

    @abstractmethod
    async def reply(self, ask: Ask) -> Reply:
        """Answer; raises `ModelError` for this ask alone, `ModelClosed` if no ask will be answered."""


class Model(Plugin, ABC):
    """Base of the models that a task names under `models:`."""

    kind: ClassVar[str] = "models"

    sampling: Sampling = Sampling()
    """Settings for every ask; a stage's own go before them."""

    @abstractmethod
    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Speaker]:
        """Open the model for one run and close it on every way out."""
        raise NotImplementedError
        yield

    def missing(self) -> str:
        """Return what it still needs to be opened, such as a key, with the way out; `check` tells it."""
        return ""
