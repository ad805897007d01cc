"""`search/elasticsearch`: an index of a cluster as an engine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.embedders.base import AnyEmbedder
from dgt_rag.engines.analysis import Language
from dgt_rag.engines.base import Retriever, SearchToolEngine
from dgt_rag.engines.elasticsearch_client import connect
from dgt_rag.engines.elasticsearch_cluster import Cluster
from dgt_rag.engines.elasticsearch_corpus import ElasticsearchCorpus
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.engines.elasticsearch_opening import look_over
from dgt_rag.engines.elasticsearch_query import IndexProjection
from dgt_rag.engines.elasticsearch_search import ElasticsearchRetriever, Ranking
from dgt_rag.engines.elasticsearch_terms import LOADING, check_notes, notes_on, obstacle
from dgt_rag.engines.elasticsearch_vectors import check_probe, kind_of
from dgt_rag.engines.index import Terms
from dgt_rag.errors import EngineError
from dgt_rag.world import World


class ElasticsearchEngine(Cluster, SearchToolEngine):
    """An Elasticsearch index (servers 7.17, 8 and 9): BM25, vectors or both."""

    operational: ClassVar[frozenset[str]] = frozenset(Cluster.model_fields) - {"hosts", "cloud_id"}

    type: Literal["search/elasticsearch"] = "search/elasticsearch"
    default_index: str = Field(min_length=1, examples=["my_index"])
    """The index, or an alias; `index` means the same."""
    projection: IndexProjection = Field(default=IndexProjection(), examples=[{"body": "content", "doc_id": "_id"}])
    """Our name → the field of the index; `_id` is the hit's own id. A text of several values is read as its lines."""
    id_field: str | None = None
    """A keyword field that holds the document's id, for sampling and order; found by itself if it is `doc_id` or `id`."""
    query: Literal["bm25", "knn", "hybrid"] = "bm25"
    """How documents are ranked: by words, by vectors, or by both (reciprocal rank fusion)."""
    fields: dict[str, float] = Field(default_factory=dict)
    """Text fields that words are looked for in, with their weights; title and body if not given."""
    vector_field: str = "vector"
    """The field that holds the vectors."""
    embedder: AnyEmbedder | None = None
    """What makes the vectors of questions, and of documents when `index` loads them."""
    language: Language = "english"
    """Whose word forms and function words are known in an index that `index` makes; it ranks as `search/in_memory` does."""
    analyzer: str | None = None
    """Instead of `language`: any analyzer that the server has, by which `index` has title and body cut into words."""

    @model_validator(mode="before")
    @classmethod
    def _read_index(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "index" in data and "default_index" not in data:
            return {("default_index" if key == "index" else key): value for key, value in data.items()}
        return data

    @model_validator(mode="after")
    def _check_ranking(self) -> "ElasticsearchEngine":
        if self.query != "bm25" and self.embedder is None:
            raise PydanticCustomError("no_embedder", "`query: {query}` needs an `embedder`", {"query": self.query})
        if any(weight <= 0 for weight in self.fields.values()):
            raise PydanticCustomError("field_weight", "weights of `fields` must be above 0")
        return self

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Connect, see that the index fits the projection, and close on every way out."""
        async with AsyncExitStack() as stack:
            index = await Index.read(await stack.enter_async_context(connect(self, world)), self.default_index)
            index.check(self.projection, ranked=self.query != "knn")
            if index.shape.noted(LOADING):
                world.say(
                    f"{self.place}: index {self.default_index!r} is not whole: a load of it is under way, or was cut; "
                    "the same `index` command goes on with it"
                )
            fields, terms = self._fields(index), await self._terms(index, world)
            ranking = Ranking(self.query, fields, terms, self.vector_field, self.relevance_threshold)
            embedder = self.embedder if self.query != "bm25" else None
            if embedder:
                self._check_vectors(index, await asyncio.to_thread(embedder.identity))
            corpus = await self._corpus(index, world)
            encoder = await stack.enter_async_context(embedder.open(world)) if embedder else None
            if encoder and index.shape.noted("probe") and not world.lazy:
                kind = await kind_of(encoder, encoder.settings.identity())
                check_probe(index, kind, "use that model, or load the index anew under another name")
            yield ElasticsearchRetriever(corpus, ranking, encoder)

    async def _corpus(self, index: Index, world: World) -> ElasticsearchCorpus:
        total = await index.count({"match_all": {}})
        id_field = await index.id_field(self.projection, self.id_field)
        corpus = ElasticsearchCorpus(index, self.projection, self.filter, id_field, world.say, empty=not total)
        if total:
            await look_over(corpus, total)
        return corpus

    def _fields(self, index: Index) -> dict[str, float]:
        names = (self.projection.title, self.projection.body)
        for name in self.fields:
            if not index.shape.ranked(name):
                raise EngineError(
                    f"{self.place}: `fields` names {name!r}, which is no text field of index {self.default_index!r}; "
                    f"there are: {index.shape.names()}"
                )
        return self.fields or {name: 1.0 for name in names if index.shape.ranked(name)}

    async def _terms(self, index: Index, world: World) -> Terms | None:
        """Return what makes the terms of questions, where the index holds those of its documents."""
        if self.fields or self.query == "knn":
            return None
        names = [*self._fields(index)]
        fields = ", ".join(f"{name}: 1" for name in names)
        way_out = f"load another index, or let the server rank: `fields: {{{fields}}}`"
        check_notes(index, self.made, way_out)
        if why := await obstacle(index, self.made, self.projection.body):
            if index.shape.noted("language") or ("language" in self.model_fields_set and self.analyzer is None):
                found = f"words are looked for in {' and '.join(map(repr, names))} as the server cuts them"
                world.say(f"{self.place}: index {self.default_index!r} {why}; {found}")
            return None
        return await asyncio.to_thread(Terms, self.language)

    @property
    def made(self) -> Mapping[str, Any]:
        """What `index` notes about the words of an index that it makes."""
        return notes_on(self.projection, self.language, self.analyzer)

    def _check_vectors(self, index: Index, identity: str) -> None:
        kind = index.shape.kind(self.vector_field)
        if kind != "dense_vector":
            found = f"is of type {kind}" if kind else "is not there"
            raise EngineError(
                f"{self.place}: vector_field {self.vector_field!r} of index {self.default_index!r} {found}; "
                f"there are: {index.shape.names()}"
            )
        for made_by in index.shape.noted("embedder"):
            if made_by != identity:
                raise EngineError(
                    f"{self.place}: the vectors of index {self.default_index!r} were made by {made_by}, not by "
                    f"{identity}; use that embedder, or load the index anew under another name"
                )
