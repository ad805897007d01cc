"""What a search engine is: retrieval as a tool, over documents that can also be streamed, counted and sampled.

`SearchToolEngine` is the part of a task file; opening it gives a `Retriever`, the live thing. A small engine is both: it
writes `search` and `documents` and is done (see "Add your own engine" in the README).
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from dgt_rag.dice import Dice
from dgt_rag.plugins import Choice, Plugin, Settings
from dgt_rag.records import Document, Hit
from dgt_rag.world import World

Where = Mapping[str, JsonValue]
"""A filter: dotted field → the value it must have, or a list of which it must have one."""


class Retriever:
    """An open engine. Searches may run at once; ties break by `doc_id`; the same corpus and call give the same answer."""

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

    def needs(self) -> tuple[str, ...]:
        """Return the names of the engines that this one stands on; they are opened before it."""
        return ()

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Open for one run and close on every way out; heavy packages are imported here."""
        yield self


AnyEngine = Annotated[SearchToolEngine, Choice("engines")]
