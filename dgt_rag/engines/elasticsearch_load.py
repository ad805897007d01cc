"""Loading documents into an index: the mapping is made from the projection, a load that was cut goes on."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from dgt_rag.embedders.base import Encoder, passage
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_bulk import Bulk, deleted
from dgt_rag.engines.elasticsearch_client import Connection, Refused, connect, error_name, in_path, reason
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.engines.elasticsearch_mapping import check_shape, mapping_of, put, source_of
from dgt_rag.engines.elasticsearch_query import OURS, TERMS, Shape
from dgt_rag.engines.elasticsearch_terms import LOADING, joined
from dgt_rag.engines.elasticsearch_vectors import VectorKind, kind_of, vectors_of
from dgt_rag.engines.index import Terms
from dgt_rag.errors import Busy, EngineError
from dgt_rag.records import Document
from dgt_rag.together import abreast
from dgt_rag.world import World

_NO_VECTORS = re.compile(r"handler for type \[dense_vector\]|unsupported parameters|unknown parameter")
"""What 7.17 says, with and without the plugin, of the mapping of vectors."""
_NO_ANALYZER = re.compile(r"analyzer \[\w+\] has not been configured")
_PLAIN = "standard"
"""The analyzer that every server has."""
_BATCH = 1_000
_LARGEST = 4_000_000
"""Characters of a request's bodies; servers take 100 MB, and a sign of Chinese is a dozen bytes, with its terms."""
_EVERY = 10_000
_UNDER_WAY = 3
"""Batches at work at once: while the server takes one in, terms and vectors of others are made."""


@dataclass(frozen=True)
class Loaded:
    """What a load did: documents that it added, and those that were there already."""

    added: int
    present: int


async def load_index(engine: ElasticsearchEngine, documents: AsyncIterator[Document], world: World) -> Loaded:
    """Load documents into the engine's index, which is made if it is not there; the same call goes on after a cut."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(engine, world))
        encoder = await stack.enter_async_context(engine.embedder.open(world)) if engine.embedder else None
        identity = await asyncio.to_thread(engine.embedder.identity) if engine.embedder else None
        bulk = Bulk(connection, engine.default_index)
        loader = _Loader(engine, connection, encoder, identity, world, bulk)
        await abreast(_batches(documents), loader.load, _UNDER_WAY)
        return await loader.finish()


async def _batches(documents: AsyncIterator[Document]) -> AsyncIterator[list[Document]]:
    """Cut a stream so that no request grows beyond what servers take."""
    batch: list[Document] = []
    size = 0
    async for document in documents:
        batch.append(document)
        size += len(document.body)
        if len(batch) == _BATCH or size > _LARGEST:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass
class _Loader:
    engine: ElasticsearchEngine
    connection: Connection
    encoder: Encoder | None
    identity: str | None
    """What the embedder is called in the index."""
    world: World
    bulk: Bulk
    ready: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever reads or changes what the index says of itself."""
    under_way: asyncio.Condition = field(default_factory=asyncio.Condition)
    ids: set[str] = field(default_factory=set)
    """The documents that are under way."""
    noted: bool = False
    """Whether the index was to be marked as one that is being loaded."""
    uuids: tuple[str, ...] = ()
    """What the server calls the index, and no other one of its name."""
    meta: Json = field(default_factory=dict)
    """What the index says of itself, with our notes if we made it."""
    terms: Terms | None = None
    """What makes the terms of documents, where the index holds them."""
    added: int = 0
    present: int = 0
    blind: int = 0
    """Documents added without a vector."""
    blank: int = 0
    """Documents left out, since nothing stands in them."""

    async def load(self, batch: Sequence[Document]) -> None:
        """Add those documents of a batch that the index does not hold; several batches may be under way."""
        worded = [one for one in batch if one.body and not one.body.isspace()]
        self.blank += len(batch) - len(worded)
        if not worded:
            return
        async with self.lock:
            if not self.ready:
                await self._prepare()
        sources = {one.doc_id: source_of(one, self.engine.projection, self.terms is not None) for one in worded}
        if len(sources) < len(worded):
            twice = next(name for name, often in Counter(one.doc_id for one in worded).items() if often > 1)
            raise EngineError(f"two documents have the doc_id {twice!r}; ids must differ")
        async with self._alone_with(sources.keys()):
            await self._load(sources, worded)

    @asynccontextmanager
    async def _alone_with(self, ids: Collection[str]) -> AsyncIterator[None]:
        """Let nobody else look for these documents, or add them, meanwhile."""
        async with self.under_way:
            await self.under_way.wait_for(lambda: self.ids.isdisjoint(ids))
            self.ids.update(ids)
        try:
            yield
        finally:
            self.ids.difference_update(ids)
            async with self.under_way:
                self.under_way.notify_all()

    async def _load(self, sources: dict[str, Json], documents: Sequence[Document]) -> None:
        new = await self._new(sources)
        added = [one for one in documents if one.doc_id in new]
        if self.terms is not None:
            await asyncio.to_thread(_add_terms, self.terms, new, added)
        if self.encoder is not None and new:
            await self._add_vectors(self.encoder, new, {one.doc_id: passage(one) for one in added})
        if new:
            async with self.lock:
                await self._mark()
        await self.bulk.add(new)
        before = self.added + self.present
        self.added += len(new)
        self.present += len(sources) - len(new)
        if before // _EVERY != (self.added + self.present) // _EVERY:
            self.world.say(f"index {self.engine.default_index!r}: {self.added + self.present:,} documents")

    async def _mark(self) -> None:
        """Say once in the index that documents are being added."""
        if not self.noted and LOADING not in self.meta.get(OURS, {LOADING: True}):
            await self._note({LOADING: True})
        self.noted = True

    async def _add_vectors(self, encoder: Encoder, new: dict[str, Json], said: dict[str, str]) -> None:
        """Put the vectors of texts into their documents; one of zeros has no direction, and servers refuse it."""
        vectors = await vectors_of(encoder, [*said.values()], "passage")
        found = {name: vector for name, vector in zip(said, vectors, strict=True) if any(vector)}
        for name, vector in found.items():
            put(new[name], self.engine.vector_field, vector)
        self.blind += len(new) - len(found)

    async def finish(self) -> Loaded:
        """Make what was loaded visible, and tell it."""
        name = self.engine.default_index
        if self.blank:
            self.world.say(f"index {name!r}: {self.blank:,} documents with a blank body are left out")
        if not self.ready:
            raise EngineError(f"index {name!r}: there are no documents to load")
        await self._still_there()
        await self.connection.ask("POST", in_path(name, "_refresh"))
        if LOADING in self.meta.get(OURS, {}) and not await self._note({}):
            self.world.say(
                f"index {name!r} is loaded whole, but we may not take the note off it that says it is not; "
                "let somebody who may change the index run the same command once"
            )
        self.world.say(f"index {name!r}: {self.added:,} documents added, {self.present:,} were there")
        if self.blind:
            self.world.say(
                f"index {name!r}: {self.blind:,} of those added have no vector, since the embedder makes nothing of "
                "their text; words find them, vectors do not"
            )
        return Loaded(self.added, self.present)

    async def _prepare(self) -> None:
        """Make the index, or see that the one that is there has the same shape."""
        vectors = await kind_of(self.encoder, self.identity or "") if self.encoder else None
        engine, name = self.engine, self.engine.default_index
        found = await self.connection.ask("GET", "/_alias")
        if name not in found and not any(name in index.get("aliases", {}) for index in found.values()):
            await self._make_as_can_be(vectors)
        index = await Index.read(self.connection, name)
        if len(index.shape.shards) > 1:
            names = ", ".join(map(repr, index.shape.shards))
            raise EngineError(
                f"{self.connection.place}: {name!r} is an alias of several indices, which takes no documents; "
                f"name one of them as `default_index`: {names}"
            )
        by_terms = bool(index.shape.noted("language"))
        check_shape(index, mapping_of(engine, vectors, by_terms), vectors)
        self.meta, self.uuids = dict(*index.shape.metas), index.shape.uuids
        self.terms = await asyncio.to_thread(Terms, engine.language) if by_terms else None
        self.ready = True

    async def _still_there(self) -> None:
        """Refuse an index that took the place of ours: servers make one of some shape for documents that have none."""
        name = self.engine.default_index
        try:
            found = Shape.of({}, await self.connection.ask("GET", in_path(name, "_settings"))).uuids
        except Refused as refused:
            if refused.status != 404:
                raise
            found = ()
        if found != self.uuids:
            raise deleted(self.connection, name)

    async def _make_as_can_be(self, vectors: VectorKind | None) -> None:
        """Make the index; where the server knows no words of the language, it cuts title and body as it can."""
        engine, by_terms = self.engine, self.engine.analyzer is None
        try:
            await self._make(mapping_of(engine, vectors, by_terms))
        except Refused as refused:
            if not by_terms or not _NO_ANALYZER.search(str(refused)):
                raise
            await self._make(mapping_of(engine, vectors, by_terms, _PLAIN))
            self.world.say(
                f"index {engine.default_index!r}: the server has no analyzer for {engine.language}, so who asks it "
                f"directly searches title and body by {_PLAIN!r}; our own ranking does without"
            )

    async def _make(self, mapping: Json) -> None:
        try:
            await self.connection.ask("PUT", in_path(self.engine.default_index), {"mappings": mapping})
        except Refused as refused:
            if refused.error == "resource_already_exists_exception":
                # made by an earlier try whose answer was lost, or by somebody else: it is looked at like any other
                return
            if self.encoder is not None and refused.status == 400 and _NO_VECTORS.search(str(refused)):
                raise EngineError(
                    f"{self.connection.place}: this server has no vector search (8 and later have) ({refused}); "
                    "leave out `embedder` and set query: bm25"
                ) from None
            raise

    async def _note(self, more: Json) -> bool:
        """Change our notes on the index: whether documents are being added, or were when a load was cut.

        Returns whether it could be done: who may add documents need not be one who may change an index.
        """
        notes = {key: value for key, value in self.meta[OURS].items() if key != LOADING}
        meta = {**self.meta, OURS: {**notes, **more}}
        try:
            await self.connection.ask("PUT", in_path(self.engine.default_index, "_mapping"), {"_meta": meta})
        except Refused as refused:
            if refused.status != 403:
                raise
            return False
        self.meta = meta
        return True

    async def _new(self, sources: dict[str, Json]) -> dict[str, Json]:
        """Return the documents that are not there; one that is there with other content is refused."""
        name = self.engine.default_index
        hidden = ([self.engine.vector_field] if self.engine.embedder else []) + ([TERMS] if self.terms else [])
        excluded = {"_source_excludes": ",".join(hidden)} if hidden else {}
        new = dict(sources)
        for hit in await self.connection.ask_with(lambda: self._there([*sources], excluded)):
            if not hit.get("found"):
                continue
            if hit.get("_source") != new.pop(hit["_id"]):
                raise EngineError(
                    f"{self.connection.place}: index {name!r} holds another document under the id {hit['_id']!r}; "
                    "use another index, or delete this one"
                )
        return new

    async def _there(self, ids: Sequence[str], params: Json) -> list[Json]:
        """Ask once for the documents of these ids; raises `Busy` where a part of the index does not answer yet."""
        path, place = in_path(self.engine.default_index, "_mget"), self.connection.place
        answer = await self.connection.attempt("POST", path, {"ids": ids}, **params)
        found: list[Json] = answer["docs"]
        for hit in found:
            if error_name(hit) == "index_not_found_exception":
                raise deleted(self.connection, self.engine.default_index)
            if "error" in hit:
                raise Busy("unavailable", f"{place}: document {hit['_id']!r}: {reason(hit)}")
        return found


def _add_terms(terms: Terms, sources: dict[str, Json], documents: Sequence[Document]) -> None:
    for one in documents:
        sources[one.doc_id][TERMS] = joined(terms.of_document(one.title, one.body))
