"""What a stage is: `async (conversation, bench) -> conversation`. One that gives up raises `Dropped`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import BaseModel, Field

from dgt_rag.dice import Dice
from dgt_rag.engines.tool import SearchTool
from dgt_rag.errors import ModelError
from dgt_rag.llm.base import Ask, Reply, Sampling, Speaker
from dgt_rag.plugins import Plugin
from dgt_rag.records import ConversationDataPoint
from dgt_rag.samplers.base import Shelf
from dgt_rag.stages.examples import Examples
from dgt_rag.stages.nonsense import copies


@dataclass(frozen=True)
class Bench:
    """What a stage works with: the run's open models, engines, tools and examples, and the dice of its place."""

    speakers: Mapping[str, Speaker]
    retrievers: Mapping[str, Shelf]
    tools: Mapping[str, SearchTool]
    """By the name that the model sees."""
    examples: Examples
    dice: Dice
    run_dice: Dice
    """The same for every conversation of the run."""
    min_turns: int
    max_turns: int
    instructions: str = ""
    """What the task says about the conversations wanted."""

    def at(self, *place: str | int) -> "Bench":
        """Return the bench with the dice of a place in the conversation."""
        return replace(self, dice=self.dice.child(*place))


class Stage(Plugin, ABC):
    """Base of the stages that a task lists."""

    kind: ClassVar[str] = "stages"
    key: ClassVar[str] = "name"

    def offers(self, tools: Collection[str]) -> tuple[str, ...]:
        """Return which of the run's tools it offers to its model, by name; rows hold their definitions."""
        del tools
        return ()

    def model_names(self) -> tuple[str, ...]:
        """Return the names of the models it asks, as the task names them."""
        return ()

    def engine_names(self) -> tuple[str, ...]:
        """Return the names of the engines it uses, as the task names them."""
        return ()

    @abstractmethod
    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with this stage's steps added."""


class ModelStage(Stage, ABC):
    """A stage that asks a model."""

    generator: str = "generator"
    """The model that it asks, by its name under `models`."""
    sampling: Sampling = Field(default_factory=Sampling)
    """How that model draws its words in this stage."""

    def model_names(self) -> tuple[str, ...]:
        """Return the names of the models it asks."""
        return (self.generator,)


def ask_for(
    stage: ModelStage,
    purpose: str,
    talk: ConversationDataPoint,
    bench: Bench,
    reply_type: type[BaseModel],
    **values: object,
) -> Ask:
    """Return an ask of a stage that does not see searches.

    What is asked about the person shows no documents (`system_person`): rules, example, what was said. Everything else
    (`system`) shows the scenario's documents first. Asks of one kind share a prefix throughout a conversation.
    """
    documents = talk.scenario.documents if talk.scenario else ()
    shared = {"documents": documents, "examples": bench.examples.like(documents), "instructions": bench.instructions}
    seen = talk.model_copy(
        update={"steps": tuple(step for step in talk.steps if step.role not in {"tool_call", "tool_result"})}
    )
    system = "system_person" if purpose in {"flow", "user"} else "system"
    dice = bench.dice.child(purpose)
    return Ask(purpose, seen, {**shared, **values}, reply_type, dice, system, sampling=stage.sampling)


_OF_DOCUMENTS = re.compile(
    r"\[document|\bdocuments? \d"
    # "based on the documents you hand in" is about the person's own papers
    r"|\b(?:according to|based on) (?:the |these |your )?(?:provided |given |available )?documents?\b"
    r"(?! (?:you|that you|which you|from|of|sent|submitted|filed|handed|required|attached))"
    r"|\b(?:provided|given|available) (?:documents?|context|passages?|excerpts?) (?:do|does|did)(?: not|n.t)\b"
    r"|\bthe (?:(?:provided|given|available) )?(?:documents?|context|passages?|excerpts?) "
    r"(?:(?:do|does)(?: not|n.t) )?(?:says?|states?|mentions?|covers?|specif(?:y|ies))\b",
    re.IGNORECASE,
)


def talks_of_documents(text: str) -> bool:
    """Say whether somebody in a conversation speaks of the documents that it was written from."""
    return _OF_DOCUMENTS.search(text) is not None


def copies_its_task(text: str, speaker: Speaker, talk: ConversationDataPoint, bench: Bench) -> bool:
    """Say whether a model took a text over from its instructions, and not from the documents or the task's own words."""
    return copies(text, speaker.told, _shown(talk, bench))


def _shown(talk: ConversationDataPoint, bench: Bench) -> Iterator[str]:
    yield bench.instructions
    yield talk.persona.content if talk.persona else ""
    for document in (*(talk.scenario.documents if talk.scenario else ()), *talk.found()):
        yield f"{document.title}\n{document.body}"


async def answer_of(speaker: Speaker, ask: Ask) -> Reply:
    """Ask for a value; a model that has none to give is an error of this conversation."""
    reply = await speaker.reply(ask)
    if not isinstance(reply.value, ask.reply_type):
        raise ModelError("bad_reply", f"{ask.purpose}: no value of the shape asked for", reply.text)
    return reply
