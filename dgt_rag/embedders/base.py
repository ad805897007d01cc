"""What an embedder is: text in, vectors out, told whether the text is a question or a passage.

`Embedder` is the part of a task file; opening it gives an `Encoder`, the live thing that engines call.
"""

import asyncio
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dgt_rag.errors import EngineError
from dgt_rag.plugins import Choice, Plugin
from dgt_rag.records import Document
from dgt_rag.together import together
from dgt_rag.world import World

TextKind = Literal["query", "passage"]
Vector = list[float]

PROBE = "A permit is issued within ten days; the fee is 25 dollars."
"""What a model is known by that cannot be seen into; vectors of it are kept, so it stays as it is."""
ALIKE = 0.99
"""Cosine of two vectors of the probe by one model at least: other hardware and batches change the last digits alone."""


class TextRefused(EngineError):
    """One text that a model does not take while it takes others; a question of this kind ends no run."""


class Embedder(Plugin, ABC):
    """Base of the embedders that an engine names under `embedder:`."""

    kind: ClassVar[str] = "embedders"
    neutral: ClassVar[frozenset[str]] = frozenset({"type", "batch", "query_prefix"})
    """Keys that do not change the vector of a passage."""
    operational: ClassVar[frozenset[str]] = frozenset({"batch"})

    batch: int = Field(default=32, ge=1)
    """Texts embedded in one call at most."""
    query_prefix: str = ""
    """What the model wants before a question."""
    passage_prefix: str = ""
    """What the model wants before a passage."""
    max_characters: int | None = Field(default=None, ge=1)
    """Longer texts are cut to this before they are embedded; for endpoints that refuse what is too long."""

    @property
    def tells_weights(self) -> bool:
        """Whether `identity` changes with the model's weights; if not, the vector of `PROBE` tells one model from another."""
        return False

    def describe(self) -> str:
        """Return the settings that decide the vectors of passages."""
        return f"{self.plugin_name()} {self.model_dump_json(exclude=set(self.neutral), exclude_defaults=True)}"

    def identity(self) -> str:
        """Return a name for the vectors of passages; an index made under another name cannot be searched with these."""
        return self.describe()

    @abstractmethod
    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator["Encoder"]:
        """Open for one run and close on every way out; heavy packages are imported here."""
        raise NotImplementedError
        yield


class Encoder(ABC):
    """An open embedder; may be called many times at once."""

    in_flight: int = 1
    """Batches that are worth having under way at once."""

    def __init__(self, embedder: Embedder) -> None:
        self.settings = embedder
        self._places: asyncio.Semaphore | None = None

    @property
    def at_once(self) -> int:
        """Texts that are handed to `encode` at most."""
        return self.settings.batch

    async def embed(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:
        """Return one vector for each text, in order, all of one length; texts are not blank."""
        ready = [self._ready(text, kind) for text in texts]
        if len(ready) <= (size := self.at_once):
            return await self.encode(ready, kind) if ready else []
        parts = [ready[start : start + size] for start in range(0, len(ready), size)]
        found = await together(self._in_place(part, kind) for part in parts)
        return [vector for part in found for vector in part]

    async def _in_place(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Encode a part of many; whoever embeds many at a time shares the places."""
        if self._places is None:
            self._places = asyncio.Semaphore(self.in_flight)
        async with self._places:
            return await self.encode(texts, kind)

    @abstractmethod
    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of one batch, texts ready to be sent."""

    def _ready(self, text: str, kind: TextKind) -> str:
        # half of a surrogate pair cannot be sent, nor read by a tokenizer
        return self._prefix(kind) + text[: self.settings.max_characters].encode("utf-8", "replace").decode()

    def _prefix(self, kind: TextKind) -> str:
        return self.settings.query_prefix if kind == "query" else self.settings.passage_prefix


def passage(document: Document) -> str:
    """Return the text of a document that is embedded."""
    return f"{document.title}\n{document.body}".strip()


def alike(kept: Sequence[float], now: Sequence[float]) -> bool:
    """Whether two vectors of the probe may be by one model; one that is not there, or of zeros alone, tells nothing."""
    lengths = math.hypot(*kept) * math.hypot(*now)
    if not lengths:
        return True
    return len(kept) == len(now) and sum(map(operator.mul, kept, now)) / lengths > ALIKE


AnyEmbedder = Annotated[Embedder, Choice("embedders")]
