"""What a search engine is: retrieval as a tool, over documents that can also be streamed, counted and sampled.

`SearchToolEngine` is the part of a task file; opening it gives a `Retriever`, the live thing. A small engine is both: it
writes `search` and `documents` and is done (see "Add your own engine" in the README).
"""

import asyncio
import hashlib
import json
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from dgt_rag.dice import Dice
from dgt_rag.engines.fields import fields_in, first, nothing_left
from dgt_rag.errors import TaskError
from dgt_rag.plugins import Choice, Plugin, Settings
from dgt_rag.records import Document, Hit, label_of
from dgt_rag.world import World

Where = Mapping[str, JsonValue]
"""A filter: dotted field → the value it must have, or a list of which it must have one."""


class Retriever:
    """An open engine. Searches may run at once; ties break by `doc_id`; the same corpus and call give the same answer.

    `search` must keep `limit` and `where`. The keys `filter` and `relevance_threshold` are kept for an engine that is its
    own retriever; one that opens another keeps them in that, or opens a `Narrowed`.
    """

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return at most `limit` hits, best first, ranks from 1; any text is a query, also an empty one (no hits)."""
        raise NotImplementedError

    def documents(self) -> AsyncIterator[Document]:
        """Stream the corpus in its own order, each document once."""
        raise NotImplementedError

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are (that match)."""
        return sum([1 async for document in self.documents() if document.matches(where or {})])

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the values of a dotted field with their numbers of documents, by value; absent values are left out."""
        sizes: dict[str, int] = {}
        async for document in self.documents():
            if document.matches(where or {}):
                for label in document.labels(path):
                    sizes[label] = sizes.get(label, 0) + 1
        return dict(sorted(sizes.items()))

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        """Return `count` different documents, each as likely as any other, or all that match if there are fewer."""
        kept: list[Document] = []
        seen = 0
        async for document in self.documents():
            if not document.matches(where or {}):
                continue
            seen += 1
            if len(kept) < count:
                kept.append(document)
            elif (place := dice.below(seen)) < count:
                kept[place] = document
        return dice.shuffled(kept)

    async def at(self, places: list[int]) -> list[Document]:
        """Return the documents at these places (from 0) in the order of `documents()`, in the order asked."""
        wanted = set(places)
        found: dict[int, Document] = {}
        place = 0
        async for document in self.documents():
            if place in wanted:
                found[place] = document
            place += 1
        return [found[place] for place in places]

    async def fingerprint(self) -> str:
        """Return a digest of the documents, for telling a changed corpus."""
        digest = hashlib.sha256()
        async for document in self.documents():
            digest.update(document.model_dump_json().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


class Narrowed(Retriever):
    """A retriever of which only the documents that a filter leaves are seen, and no hit below a threshold."""

    def __init__(self, whole: Retriever, filter: Where, least: float | None = None, sure: bool = False) -> None:
        self.whole = whole
        self.filter = dict(filter)
        self.least = least
        self.sure = sure
        """Whether hits keep what a search is asked to keep, so that they need not be looked at."""
        self._places: array[int] | None = None
        self._lock = asyncio.Lock()

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Search among what the filter leaves; more is asked for where hits had to be left out."""
        conditions, rest = self._both(where)
        looked_at = {} if self.sure else conditions
        asked = limit
        while True:
            hits = await self.whole.search(query, asked, conditions or None)
            seen = [hit for hit in hits if hit.document.matches(looked_at) and hit.document.matches(rest)]
            if len(seen) == len(hits) or len(seen) >= limit or len(hits) < asked:
                break
            asked *= 4
        # what is not a number is not below anything: it is refused where it becomes a tool's result
        near = [hit for hit in seen[: max(limit, 0)] if self.least is None or not hit.score < self.least]
        return near if len(near) == len(hits) else [hit._replace(rank=rank) for rank, hit in enumerate(near, 1)]

    async def documents(self) -> AsyncIterator[Document]:
        """Stream what the filter leaves."""
        stream = self.whole.documents()
        try:
            async for document in stream:
                if document.matches(self.filter):
                    yield document
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are (that match)."""
        conditions, rest = self._both(where)
        return await (super().count(where) if rest else self.whole.count(conditions or None))

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the values of a dotted field with their numbers of documents."""
        conditions, rest = self._both(where)
        return await (super().groups(path, where) if rest else self.whole.groups(path, conditions or None))

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        """Return `count` different documents by chance."""
        conditions, rest = self._both(where)
        return await (
            super().sample(dice, count, where) if rest else self.whole.sample(dice, count, conditions or None)
        )

    async def at(self, places: list[int]) -> list[Document]:
        """Return the documents at these places of what the filter leaves."""
        return await self.whole.at([(await self._left())[place] for place in places] if self.filter else places)

    async def fingerprint(self) -> str:
        """Return a digest of the documents and the filter."""
        digest = await self.whole.fingerprint()
        seen = digest + json.dumps(self.filter, sort_keys=True)
        return hashlib.sha256(seen.encode()).hexdigest() if self.filter else digest

    async def refuse_nothing(self, place: str) -> None:
        """Refuse a filter that leaves no document, as far as documents can be counted."""
        try:
            if not self.filter or await self.count():
                return
            values = {path: await self.whole.groups(path) for path in self.filter}
            fields = fields_in(await first(self.whole.documents()))
        except (TaskError, NotImplementedError):  # of one that can only be searched
            return
        raise nothing_left(place, self.filter, values, fields)

    async def _left(self) -> Sequence[int]:
        """Return the places of what the filter leaves, looked for once."""
        async with self._lock:
            if self._places is None:
                places, place = array("q"), 0
                async for document in self.whole.documents():
                    if document.matches(self.filter):
                        places.append(place)
                    place += 1
                self._places = places
        return self._places

    def _both(self, where: Where | None) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
        """Return filter and `where` as one, and what of the filter it cannot say: two conditions on one field."""
        conditions, rest = {**self.filter, **(where or {})}, {}
        for path in self.filter.keys() & (where or {}).keys():
            own, asked = (_labels(one[path]) for one in (self.filter, conditions))
            if own <= asked:
                conditions[path] = self.filter[path]
            elif not asked <= own:
                rest[path] = self.filter[path]
        return conditions, rest


def _paths(filter: Mapping[str, JsonValue], above: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, wanted in filter.items():
        if isinstance(wanted, dict) and wanted:
            yield from _paths(wanted, f"{above}{name}.")
        elif isinstance(wanted, dict) or (
            isinstance(wanted, list) and any(isinstance(one, dict | list) for one in wanted)
        ):
            raise PydanticCustomError(
                "filter_value",
                "{path}: a value of the field is needed, or a list of values, one of which it must have",
                {"path": f"{above}{name}"},
            )
        else:
            yield f"{above}{name}", wanted


def _labels(wanted: JsonValue) -> set[str | None]:
    return {label_of(one) for one in (wanted if isinstance(wanted, list) else [wanted])}


class ErrorCategory(Settings):
    """A fault that searches of the assistant meet now and then, so that the data teach what to do about it."""

    type: Literal["network_error", "empty_result", "unparseable_result", "index_not_found", "irrelevant_result"]
    probability: float = Field(ge=0, le=1)
    message: str = ""
    """What the tool says; a fitting sentence of ours if not given."""


class Projection(Settings):
    """Our name → the corpus's field (dotted path). Fields that are not named stay in `metadata`."""

    body: str = "text"
    doc_id: str = "id"
    title: str = "title"
    domain: str = "domain"


class SearchToolEngine(Plugin, Retriever):
    """Base of the engines that a task names under `tools.engines`."""

    kind: ClassVar[str] = "engines"

    limit: int = Field(default=5, ge=1)
    """How many hits a search of the assistant returns at most."""
    relevance_threshold: float | None = None
    """Hits with a lower score are left out."""
    filter: dict[str, JsonValue] = Field(default_factory=dict)
    """Only documents with these values of (dotted) fields are seen at all."""
    error_categories: tuple[ErrorCategory, ...] = ()
    """Faults injected into the assistant's searches; the probabilities add up to at most 1."""
    tool_name: str = Field(default="search", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The tool's name as the model sees it."""
    tool_description: str = ""
    """The tool's description as the model sees it; made from the engine if not given."""

    @field_validator("filter")
    @classmethod
    def _dotted(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Read `meta: {lang: en}` as `meta.lang: en`; a value that no field can be compared with is refused."""
        return dict(_paths(value))

    def needs(self) -> tuple[str, ...]:
        """Return the names of the engines that this one stands on; they are opened before it."""
        return ()

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Open for one run and close on every way out; heavy packages are imported here."""
        yield await seen(self, self, world)


async def seen(engine: SearchToolEngine, opened: Retriever, world: World) -> Retriever:
    """Return what an engine opened, with its filter and threshold kept if that is the engine itself."""
    if opened is not engine or (not engine.filter and engine.relevance_threshold is None):
        return opened
    narrowed = Narrowed(engine, engine.filter, engine.relevance_threshold)
    await narrowed.refuse_nothing(f"engine {world.name or engine.plugin_name()!r}")
    return narrowed


AnyEngine = Annotated[SearchToolEngine, Choice("engines")]
