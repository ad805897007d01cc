"""An open `search/elasticsearch`: ranked search by words, by vectors or by both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dgt_rag.embedders.base import Encoder, TextRefused
from dgt_rag.engines.base import Where
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_corpus import ElasticsearchCorpus
from dgt_rag.engines.elasticsearch_index import WINDOW
from dgt_rag.engines.elasticsearch_query import matching, narrowed
from dgt_rag.engines.elasticsearch_terms import holding
from dgt_rag.engines.elasticsearch_vectors import vectors_of
from dgt_rag.engines.hybrid import fuse
from dgt_rag.engines.index import Terms
from dgt_rag.errors import Dropped, EngineError
from dgt_rag.records import Document, Hit
from dgt_rag.together import together

_FUSED = 100
_RRF = 60
_DECIMALS = 6
"""Of a nearness; what is 0 to them has nothing in common."""


@dataclass(frozen=True)
class Ranking:
    """What decides which documents a search returns, and in which order."""

    query: Literal["bm25", "knn", "hybrid"]
    fields: Mapping[str, float]
    """Text field → its weight."""
    terms: Terms | None
    """What makes the terms that words are looked for by, instead of in the fields."""
    vector_field: str
    threshold: float | None


class ElasticsearchRetriever(ElasticsearchCorpus):
    """Searches one index."""

    def __init__(self, corpus: ElasticsearchCorpus, ranking: Ranking, encoder: Encoder | None) -> None:
        super().__init__(corpus.index, corpus.projection, corpus.filter, corpus.id_field, corpus.say, corpus.empty)
        self.ranking = ranking
        self.encoder = encoder

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return at most `limit` hits, best first."""
        if limit < 1 or not query.strip():
            return []
        if self.empty:
            self.tell(self.nothing)
        if self.ranking.query == "hybrid":
            found = await self._fused(query, min(limit, WINDOW), where)
        else:
            ranked = self._by_words if self.ranking.query == "bm25" else self._by_vectors
            found = await ranked(query, min(limit, WINDOW), where)
        least = self.ranking.threshold
        kept = [(score, one) for score, one in found if least is None or score >= least]
        return [Hit(document=one, score=score, rank=rank) for rank, (score, one) in enumerate(kept, 1)]

    async def _by_words(self, query: str, limit: int, where: Where | None) -> list[tuple[float, Document]]:
        if (wanted := self._wanted(query)) is None:
            return []
        asked: Json = {"query": narrowed(self.filters(where), wanted)}
        if self.id_field:
            asked["sort"] = [{"_score": "desc"}, {self.id_field: "asc"}]
        return await self._best(lambda size: {**asked, "size": size}, limit, past_ties=not self.id_field)

    def _wanted(self, query: str) -> Json | None:
        """Return the query for words; None if there are none."""
        if self.ranking.terms is None:
            return matching(query, self.ranking.fields)
        terms = self.ranking.terms.of_query(query)
        return holding(terms) if terms else None

    async def _by_vectors(self, query: str, limit: int, where: Where | None) -> list[tuple[float, Document]]:
        vector = await self._embed(query)
        if not any(vector):
            # the embedder knows none of its words; servers refuse such a vector
            return []
        name, filters = self.ranking.vector_field, self.filters(where)

        def asked(size: int) -> Json:
            near = {
                "field": name,
                "query_vector": vector,
                "k": size,
                "num_candidates": min(WINDOW, max(100, 10 * size)),
            }
            return {"knn": {**near, "filter": filters}, "size": size}

        found = await self._best(asked, limit, past_ties=True)
        if self.index.shape.fields[name].get("similarity", "cosine") == "cosine":
            # the server's score is (1 + cosine) / 2
            found = [(2 * score - 1, one) for score, one in found]
            # what has nothing in common with the question is no hit, as in `search/vector`
            found = [(score, one) for score, one in found if round(score, _DECIMALS)]
        return found

    async def _best(self, asked: Callable[[int], Json], limit: int, past_ties: bool) -> list[tuple[float, Document]]:
        """Fetch until there are `limit` documents; where ties are ours to break, until the score drops below the last's."""
        size = min(limit + past_ties, WINDOW)
        while True:
            hits = await self.index.search({**asked(size), "_source": self._source})
            found = self._scored(hits)
            enough = len(found) >= limit and not (past_ties and hits[-1]["_score"] == found[limit - 1][0])
            if enough or len(hits) < size or size == WINDOW:
                return found[:limit]
            size = min(size * 2, WINDOW)

    async def _fused(self, query: str, limit: int, where: Where | None) -> list[tuple[float, Document]]:
        depth = max(limit, _FUSED)
        lists = await together([self._by_words(query, depth, where), self._by_vectors(query, depth, where)])
        rankings = [[Hit(one, score, rank) for rank, (score, one) in enumerate(ranked, 1)] for ranked in lists]
        return [(score, one) for one, score in fuse(rankings, [1.0, 1.0], _RRF)[:limit]]

    async def _embed(self, query: str) -> list[float]:
        if self.encoder is None:
            raise EngineError(f"{self.index.connection.place}: vector search needs an `embedder`")
        try:
            (vector,) = await vectors_of(self.encoder, [query], "query")
        except TextRefused as refused:
            raise Dropped("search_refused", str(refused)) from refused
        wanted = self.index.shape.fields[self.ranking.vector_field].get("dims")
        if wanted is not None and wanted != len(vector):
            raise EngineError(
                f"{self.index.connection.place}: the embedder makes vectors of {len(vector)} numbers, index "
                f"{self.index.name!r} holds vectors of {wanted}; use the embedder that the index was made with"
            )
        return vector

    def _scored(self, hits: Sequence[Json]) -> list[tuple[float, Document]]:
        found = [(float(hit["_score"]), one) for hit, one in self.read(hits)]
        return self._once(sorted(found, key=lambda pair: (-pair[0], pair[1].doc_id)))
