"""`search/http`: a retriever that already runs somewhere, called as it is, so that training sees what serving will show."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from dgt_rag.engines.base import Narrowed, Retriever, SearchToolEngine
from dgt_rag.engines.borrowed import opened
from dgt_rag.engines.http_request import HttpService
from dgt_rag.errors import TaskError
from dgt_rag.guard import Guard
from dgt_rag.world import World


class HttpEngine(HttpService, SearchToolEngine):
    """Any search service that answers HTTP with JSON, called as you call it in production."""

    operational: ClassVar[frozenset[str]] = frozenset({"headers", "timeout", "retry"})

    type: Literal["search/http"] = "search/http"
    documents_from: str | None = None
    """The engine of the task whose documents are streamed and sampled; a search service cannot do that.

    Which hits a filter leaves is then told by the fields that its documents have, found by id.
    """

    def needs(self) -> tuple[str, ...]:
        """Return the engine that has the documents."""
        return (self.documents_from,) if self.documents_from else ()

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Open a client; nothing is sent yet."""
        from dgt_rag.engines.http_search import HttpRetriever
        from dgt_rag.engines.http_wire import Wire, client

        who = f"engine {world.name or self.type!r}"
        self.check(who)
        lender: Retriever = _NoDocuments(self)
        if self.documents_from:
            lender = opened(world, self.documents_from, f"{who}: documents_from")
            await Narrowed(lender, self.filter).refuse_nothing(who)
        async with client(self) as session:
            wire = Wire(self, session, self._guard(world))
            yield HttpRetriever(self, lender, wire, world.say, self.documents_from)

    def _guard(self, world: World) -> Guard:
        """Return the guard of the service; engines that share it share its places, each with its own tries and time."""
        shared = world.guards.of(f"search at {self.address}", self.policy)
        return shared if shared.policy == self.policy else Guard(shared.name, self.policy, shared.gate)


class _NoDocuments(Retriever):
    """What a search service without a corpus of its own in the task can say of documents: nothing."""

    def __init__(self, engine: HttpEngine) -> None:
        self.engine = engine

    def documents(self) -> AsyncIterator[Any]:
        """Refuse, with the way out."""
        raise TaskError(
            f"search at {self.engine.address}: search/http can search, but not stream, count or sample documents; "
            "set `documents_from: ENGINE`, an engine of the task that holds the same corpus"
        )

    async def fingerprint(self) -> str:
        """Return a digest of the address: what stands behind it is not to be known."""
        return hashlib.sha256(self.engine.address.encode()).hexdigest()
