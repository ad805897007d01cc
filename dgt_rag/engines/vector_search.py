"""Search among vectors: an open index, and the ranking that compares with every row, by blocks."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from pydantic import JsonValue

from dgt_rag.embedders.base import Encoder, TextRefused
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.groups import GroupBuilder, Groups
from dgt_rag.engines.vector_rows import Matrix, embedded
from dgt_rag.errors import Dropped, EngineError
from dgt_rag.records import Hit, label_of

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Order = np.ndarray[Any, np.dtype[np.int32]]
"""For each row the place of its id among all ids."""

BLOCK = 65_536
DECIMALS = 6
"""Scores are rounded: the last bits of a product depend on where in memory a row stands."""
_TIES = 1000
"""Documents of equal score that are read to put the smallest id first; for more of them the order of all ids is made."""
_FIELDS = 8
"""Fields whose groups are remembered; one of a million values takes some 200 MB."""
_FEW = 10_000
"""Documents up to which those that a filter leaves are compared one by one, also beside an index."""
_QUERIES = 256
"""Queries whose vectors are remembered: what is asked again, with another limit or filter, is not paid for again."""

Condition = tuple[Groups, JsonValue]
"""The groups of a field, and the value wanted of it, or a list of values."""

T = TypeVar("T")


class Ranking(Protocol):
    """Finds the nearest rows."""

    def __call__(
        self, query: Matrix, limit: int, mask: Mask | None, order: Order | None = None
    ) -> tuple[Places, Matrix]:
        """Return places and scores, best first, with all that tie with the last; with an order of ids no more than `limit`."""


class Remembered(Generic[T]):
    """What was made last, by key; asked for by several at once, it is made once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, tuple[asyncio.Lock, list[T]]] = {}

    async def get(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return what is kept under a key, made now if there is nothing; who fails or is cancelled leaves it to the next."""
        lock, made = self._kept[key] = self._kept.pop(key, (asyncio.Lock(), []))
        while len(self._kept) > self._most:
            self._kept.pop(next(iter(self._kept)))
        async with lock:
            if not made:
                made.append(await make())
        return made[0]


class Unmade(Borrowing):
    """Documents whose vectors are not all made yet; they can be counted, grouped, drawn and streamed."""

    def __init__(self, lender: Retriever, who: str) -> None:
        super().__init__(lender)
        self.who = who

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Refuse."""
        raise EngineError(
            f"{self.who}: was opened to be looked at, and its vectors are not made yet; open it for a run"
        )


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
        self._groups = Remembered[Groups](_FIELDS)
        self._queries = Remembered[Matrix](_QUERIES)
        self._order: Order | None = None
        self._ordering = asyncio.Lock()

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return the nearest documents by cosine."""
        if limit < 1 or not query.strip():
            return []
        asked = await self._queries.get(query, lambda: self._asked(query))
        conditions = [
            (await self._groups.get(path, partial(self._grouped, path)), wanted)
            for path, wanted in (where or {}).items()
        ]
        places, scores = await asyncio.to_thread(self._near, asked, limit, conditions)
        if len(places) > limit + _TIES:
            places, scores = best(places, scores, limit, await self._by_id())
        documents = await self.at([int(place) for place in places])
        rounded = [round(score, DECIMALS) for score in scores.tolist()]
        found = sorted(zip(documents, rounded, strict=True), key=lambda pair: (-pair[1], pair[0].doc_id))
        near = [pair for pair in found[:limit] if self.least is None or pair[1] >= self.least]
        return [Hit(document=document, score=score, rank=rank) for rank, (document, score) in enumerate(near, start=1)]

    async def _by_id(self) -> Order:
        """Return the order of all ids; the corpus is read for it once."""
        async with self._ordering:
            if self._order is None:
                ids = [document.doc_id async for document in self.documents()]
                self._order = await asyncio.to_thread(_ranks, ids)
        return self._order

    async def _asked(self, query: str) -> Matrix:
        try:
            asked: Matrix = (await embedded(self.encoder, [query], "query"))[0]
        except TextRefused as refused:
            raise Dropped("search_refused", str(refused)) from refused
        dimension = self.matrix.shape[1]
        if len(asked) != dimension:
            raise EngineError(
                f"search/vector: the index holds vectors of {dimension} numbers, the embedder now gives {len(asked)}; "
                "use the model that the index was made with, or remove the index to make it anew"
            )
        return asked

    def _near(self, asked: Matrix, limit: int, conditions: Sequence[Condition]) -> tuple[Places, Matrix]:
        if not conditions:
            return self.ranking(asked, limit, None, self._order)
        mask = np.ones(len(self.matrix), np.bool_)
        for groups, wanted in conditions:
            mask &= _marked(groups, wanted, len(mask))
        chosen = np.flatnonzero(mask)
        if len(chosen) > _FEW:
            return self.ranking(asked, limit, mask, self._order)
        scores = cosines(self.matrix[chosen], asked)
        near = scores != 0
        return best(chosen[near], scores[near], limit, self._order)

    async def _grouped(self, path: str) -> Groups:
        """Group the documents by a field; the corpus is read for it once, as long as the field is remembered."""
        builder = GroupBuilder()
        async for document in self.documents():
            builder.add(document.labels(path))
        return await asyncio.to_thread(builder.finish)


def cosines(rows: Matrix, query: Matrix) -> Matrix:
    """Return the nearness of rows to a query, of each as if it stood alone.

    A product of matrices computes the last rows of a block another way, so that equal rows differed.
    """
    found: Matrix = np.round(np.einsum("ij,j->i", rows, query), DECIMALS)
    return found


def _marked(groups: Groups, wanted: JsonValue, count: int) -> Mask:
    """Return which of so many documents have a value, or one of a list of values."""
    mask = np.zeros(count, np.bool_)
    for value in wanted if isinstance(wanted, list) else [wanted]:
        mask[np.asarray(groups.members(label_of(value)), np.int64)] = True
    return mask


def exact(matrix: Matrix) -> Ranking:
    """Return a ranking that compares with every row."""

    def rank(query: Matrix, limit: int, mask: Mask | None, order: Order | None = None) -> tuple[Places, Matrix]:
        places, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        for start in range(0, len(matrix), BLOCK):
            block = cosines(matrix[start : start + BLOCK], query)
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
