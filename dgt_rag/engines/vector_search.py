"""Search among vectors: an open index, and the ranking that compares with every row, by blocks."""

import asyncio
import json
from typing import Any, Protocol

import numpy as np

from dgt_rag.embedders.base import Encoder
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.vector_store import Matrix, unit
from dgt_rag.errors import EngineError
from dgt_rag.records import Hit

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Order = np.ndarray[Any, np.dtype[np.int32]]
"""For each row the place of its id among all ids."""

BLOCK = 65_536
DECIMALS = 6
"""Scores are rounded: the last bits of a product depend on where in memory a row stands."""
_TIES = 1000
"""Documents of equal score that are read to put the smallest id first; for more of them the order of all ids is made."""
_MASKS = 64


class Ranking(Protocol):
    """Finds the nearest rows."""

    def __call__(
        self, query: Matrix, limit: int, mask: Mask | None, order: Order | None = None
    ) -> tuple[Places, Matrix]:
        """Return places and scores, best first, with all that tie with the last; with an order of ids no more than `limit`."""


class VectorRetriever(Borrowing):
    """An open vector index over another retriever's documents."""

    def __init__(
        self, lender: Retriever, encoder: Encoder, matrix: Matrix, ranking: Ranking, least: float | None
    ) -> None:
        super().__init__(lender)
        self.encoder = encoder
        self.matrix = matrix
        self.ranking = ranking
        self.least = least
        self._masks: dict[str, Mask] = {}
        self._order: Order | None = None
        self._ordering = asyncio.Lock()

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return the nearest documents by cosine."""
        if limit < 1 or not query.strip():
            return []
        asked = await self._asked(query)
        mask = await self._mask(where) if where else None
        places, scores = await asyncio.to_thread(self.ranking, asked, limit, mask, self._order)
        if len(places) > limit + _TIES:
            places, scores = best(places, scores, limit, await self._by_id())
        documents = await self.at([int(place) for place in places])
        found = sorted(zip(documents, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0].doc_id))
        near = [pair for pair in found[:limit] if self.least is None or pair[1] >= self.least]
        return [
            Hit(document=document, score=round(score, DECIMALS), rank=rank)
            for rank, (document, score) in enumerate(near, start=1)
        ]

    async def _by_id(self) -> Order:
        """Return the order of all ids; the corpus is read for it once."""
        async with self._ordering:
            if self._order is None:
                ids = [document.doc_id async for document in self.documents()]
                self._order = await asyncio.to_thread(_ranks, ids)
        return self._order

    async def _asked(self, query: str) -> Matrix:
        (vector,) = await self.encoder.embed([query], "query")
        dimension = self.matrix.shape[1]
        if len(vector) != dimension:
            raise EngineError(
                f"search/vector: the index holds vectors of {dimension} numbers, the embedder now gives {len(vector)}; "
                "use the model that the index was made with, or remove the index to make it anew"
            )
        asked: Matrix = unit(np.asarray([vector], np.float32))[0]
        return asked

    async def _mask(self, where: Where) -> Mask:
        """Return which documents match; the corpus is read once for each filter."""
        key = json.dumps(where, sort_keys=True)
        if key not in self._masks:
            which = [document.matches(where) async for document in self.documents()]
            while len(self._masks) >= _MASKS:
                self._masks.pop(next(iter(self._masks)))
            self._masks[key] = np.asarray(which, np.bool_)
        return self._masks[key]


def exact(matrix: Matrix) -> Ranking:
    """Return a ranking that compares with every row."""

    def rank(query: Matrix, limit: int, mask: Mask | None, order: Order | None = None) -> tuple[Places, Matrix]:
        places, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for start in range(0, len(matrix), BLOCK):
            block = np.round(matrix[start : start + BLOCK] @ query, DECIMALS)
            wanted = block != 0 if mask is None else (block != 0) & mask[start : start + BLOCK]
            near = np.flatnonzero(wanted)
            places, scores = np.append(places, near + start), np.append(scores, block[near])
            places, scores = best(places, scores, limit, order)
        return places, scores

    return rank


def best(places: Places, scores: Matrix, limit: int, order: Order | None = None) -> tuple[Places, Matrix]:
    """Return the best of them, with those that tie with the last; of these the first by id if the order of ids is known."""
    if len(scores) > limit:
        last = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        sure, tied = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
        wanted = limit - len(sure)
        if order is not None and len(tied) > wanted:
            tied = tied[np.argpartition(order[places[tied]], wanted - 1)[:wanted]]
        kept = np.concatenate([sure, tied])
        places, scores = places[kept], scores[kept]
    ranked = np.lexsort((places, -scores))
    return places[ranked], scores[ranked]


def _ranks(ids: list[str]) -> Order:
    """Return for each id its place among all of them."""
    ranks: Order = np.empty(len(ids), np.int32)
    ranks[np.argsort(np.asarray(ids, object), kind="stable")] = np.arange(len(ids), dtype=np.int32)
    return ranks
