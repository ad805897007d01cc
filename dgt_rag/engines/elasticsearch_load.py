"""Loading documents into an index: the mapping is made from the projection, a load that was cut goes on."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from dgt_rag.corpus.rows import clean
from dgt_rag.embedders.base import Encoder
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_bulk import Bulk
from dgt_rag.engines.elasticsearch_client import Connection, Refused, connect, error_name, in_path, reason
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.engines.elasticsearch_mapping import check_shape, fields_of, mapping_of, put
from dgt_rag.engines.elasticsearch_query import OURS, TERMS
from dgt_rag.engines.elasticsearch_terms import LOADING, joined
from dgt_rag.engines.index import Terms
from dgt_rag.errors import Busy, EngineError
from dgt_rag.records import Document
from dgt_rag.world import World

_NO_VECTORS = re.compile(r"handler for type \[dense_vector\]|unsupported parameters|unknown parameter")
"""What 7.17 says, with and without the plugin, of the mapping of vectors."""
_BATCH = 1_000
_LARGEST = 4_000_000
"""Characters of a request's bodies; servers take 100 MB, and a sign of Chinese is a dozen bytes, with its terms."""
_EVERY = 10_000


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
        async for batch in _batches(documents):
            if worded := [one for one in batch if one.body and not one.body.isspace()]:
                await loader.load(worded)
            loader.blank += len(batch) - len(worded)
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
        """Add those documents of a batch that the index does not hold."""
        if not self.ready:
            await self._prepare(batch[0])
        sources = dict(map(self._source, batch))
        if len(sources) < len(batch):
            twice = next(name for name, often in Counter(one.doc_id for one in batch).items() if often > 1)
            raise EngineError(f"two documents have the doc_id {twice!r}; ids must differ")
        new = await self._new(sources)
        added = [one for one in batch if one.doc_id in new]
        if self.terms is not None:
            await asyncio.to_thread(_add_terms, self.terms, new, added)
        if self.encoder is not None and new:
            await self._add_vectors(self.encoder, new, {one.doc_id: one.body for one in added})
        if new and not self.added and LOADING not in self.meta.get(OURS, {LOADING: True}):
            await self._note({LOADING: True})
        await self.bulk.add(new)
        before = self.added + self.present
        self.added += len(new)
        self.present += len(batch) - len(new)
        if before // _EVERY != (self.added + self.present) // _EVERY:
            self.world.say(f"index {self.engine.default_index!r}: {self.added + self.present:,} documents")

    async def _add_vectors(self, encoder: Encoder, new: dict[str, Json], said: dict[str, str]) -> None:
        """Put the vectors of texts into their documents; one of zeros has no direction, and servers refuse it."""
        vectors = await encoder.embed([*said.values()], "passage")
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

    def _source(self, document: Document) -> tuple[str, Json]:
        if not document.doc_id or len(document.doc_id.encode()) > 512:
            raise EngineError(f"doc_id {document.doc_id[:60]!r}: Elasticsearch takes ids of 1 to 512 bytes; shorten it")
        source: Json = dict(document.metadata)
        for name, path in fields_of(self.engine.projection).items():
            value = getattr(document, name)
            if path in document.metadata:
                raise EngineError(
                    f"document {document.doc_id!r} has a field {path!r} of its own, which the index needs for ours; "
                    "name another one in `projection`"
                )
            if value:
                put(source, path, value)
        if self.terms is not None and TERMS in source:
            raise EngineError(
                f"document {document.doc_id!r} has a field {TERMS!r}, which the index needs for the terms of `language`; "
                "rename it, or set `analyzer`"
            )
        return document.doc_id, clean(source)

    async def _prepare(self, first: Document) -> None:
        """Make the index, or see that the one that is there has the same shape."""
        dims = None
        if self.encoder is not None:
            (vector,) = await self.encoder.embed([first.body], "passage")
            dims = len(vector)
        engine = self.engine
        found = await self.connection.ask("GET", "/_alias")
        name = self.engine.default_index
        if name in found or any(name in index.get("aliases", {}) for index in found.values()):
            index = await Index.read(self.connection, name)
            if len(index.shape.shards) > 1:
                names = ", ".join(map(repr, index.shape.shards))
                raise EngineError(
                    f"{self.connection.place}: {name!r} is an alias of several indices, which takes no documents; "
                    f"name one of them as `default_index`: {names}"
                )
            by_terms = bool(index.shape.noted("language"))
            check_shape(index, mapping_of(engine, dims, self.identity, by_terms))
            self.meta = dict(*index.shape.metas)
        else:
            by_terms = engine.analyzer is None
            await self._make(mapping_of(engine, dims, self.identity, by_terms))
        self.terms = await asyncio.to_thread(Terms, engine.language) if by_terms else None
        self.ready = True

    async def _make(self, mapping: Json) -> None:
        name = self.engine.default_index
        self.meta = mapping["_meta"]
        try:
            await self.connection.ask("PUT", in_path(name), {"mappings": mapping})
        except Refused as refused:
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
                raise EngineError(f"{place}: {reason(hit)}; the index was deleted while it was loaded")
            if "error" in hit:
                raise Busy("unavailable", f"{place}: document {hit['_id']!r}: {reason(hit)}")
        return found


def _add_terms(terms: Terms, sources: dict[str, Json], documents: Sequence[Document]) -> None:
    for one in documents:
        sources[one.doc_id][TERMS] = joined(terms.of_document(one.title, one.body))
