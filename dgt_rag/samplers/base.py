"""What a document sampler is: it picks the documents that one conversation is grounded in."""

import asyncio
import json
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.fields import fields_in, first
from dgt_rag.errors import TaskError
from dgt_rag.plugins import Choice, Plugin, unknown
from dgt_rag.records import Document, Hit, label_of

T = TypeVar("T")


class Shelf(Borrowing):
    """A retriever as the samplers of a run see it: numbers of documents and groups are asked for once."""

    def __init__(self, lender: Retriever) -> None:
        super().__init__(lender)
        self._asked: dict[str, asyncio.Future[Any]] = {}

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Ask the retriever."""
        return await self.lender.search(query, limit, where)

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are (that match)."""
        return await self.once(f"count {where}", lambda: self.lender.count(where))

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the values of a dotted field with their numbers of documents."""
        return await self.once(f"groups {path} {where}", lambda: self.lender.groups(path, where))

    async def places(self, path: str) -> Mapping[str, Sequence[int]]:
        """Return where the documents of each value of a dotted field stand in the corpus, for `at`."""
        return await self.once(f"places {path}", lambda: self._places(path))

    async def _places(self, path: str) -> Mapping[str, Sequence[int]]:
        found: dict[str, array[int]] = {}
        place = 0
        async for document in self.documents():
            for label in document.labels(path):
                found.setdefault(label, array("q")).append(place)
            place += 1
        return found

    async def once(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what is asked for, or made of the corpus, under a key: for all draws of a run, once."""
        asked: asyncio.Future[T] | None = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.ensure_future(ask())
        try:
            # shielded: the one who asked first may be cancelled while others wait for the same answer
            return await asyncio.shield(asked)
        finally:
            if asked.done() and (asked.cancelled() or asked.exception()):
                self._asked.pop(key, None)


@dataclass(frozen=True)
class Source:
    """What a sampler draws from, and its chance."""

    retriever: Shelf
    dice: Dice
    """This conversation's own."""
    run_dice: Dice
    """The same for all conversations of a run."""
    number: int = 0
    """How many draws of this sampler belong to conversations before; the conversation's own number if there is no other."""


class DocumentSampler(Plugin):
    """Base of the samplers that a stage names under `document_samplers`."""

    kind: ClassVar[str] = "samplers"

    engine: str = Field(examples=["retriever"])
    """The engine whose documents are drawn."""
    weight: float = Field(default=1.0, gt=0)
    """How many of the conversations it gets, against the others of the stage."""
    k: int | None = Field(default=None, ge=1)
    """How many documents; the stage's own `k` if not given. A corpus or a group with fewer gives what there is."""

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return at most `k` different documents, at least one if the corpus holds any."""
        raise NotImplementedError


AnySampler = Annotated[DocumentSampler, Choice("samplers")]


def _as_label(value: object) -> object:
    """Return a number or a truth value as it names a group; what is neither is refused where text is needed."""
    return label_of(value) if isinstance(value, bool | int | float) else value


Group = Annotated[str, BeforeValidator(_as_label, json_schema_input_type=str | int | float | bool)]
"""The name of a group: the value of a field, as YAML has it."""


class GroupedSampler(DocumentSampler):
    """Base of the samplers that can take all documents of a conversation from one group."""

    group_by: str | None = None
    """A (dotted) field; all documents of a conversation have the same value in it."""
    include_groups: tuple[Group, ...] = ()
    """Only these values of the field."""
    exclude_groups: tuple[Group, ...] = ()
    """None of these values of the field."""

    @model_validator(mode="after")
    def _groups_of_what(self) -> Self:
        if self.group_by is None and (self.include_groups or self.exclude_groups):
            raise PydanticCustomError(
                "groups_of_what",
                "include_groups and exclude_groups need `group_by: FIELD`, the field they are values of",
            )
        return self

    async def wanted(self, known: Mapping[str, T], retriever: Retriever) -> dict[str, T]:
        """Return the groups to draw from, by name, of all that the field has; refuse a field or a group not there."""
        place = f"engine {self.engine!r}: group_by"
        if not known:
            fields = await fields_of(retriever)
            raise TaskError(f"{place}: {unknown('field', self.group_by or '', fields)}")
        for name in (*self.include_groups, *self.exclude_groups):
            if name not in known:
                raise TaskError(f"{place} {self.group_by}: {unknown('group', name, known)}")
        names = set(self.include_groups or known) - set(self.exclude_groups)
        if not names:
            raise TaskError(f"{place} {self.group_by}: exclude_groups leaves no group")
        # there may be a million
        return await asyncio.to_thread(lambda: {name: known[name] for name in sorted(names)})

    @property
    def choice(self) -> str:
        """The keys that say which groups are drawn from, for `Shelf.once`."""
        return json.dumps([self.group_by, self.include_groups, self.exclude_groups])


async def fields_of(retriever: Retriever) -> list[str]:
    """Return the fields, beside id and body, that the first documents have."""
    return fields_in(await first(retriever.documents()))
