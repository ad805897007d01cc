"""Which documents of a retriever match a filter, told by their ids alone: for hits whose own fields say something else."""

import asyncio
import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

from dgt_rag.engines.base import Retriever, Where

_SELECTIONS = 64
_IDS = 20_000_000
"""Ids remembered in all selections together, eight bytes each."""


class Selected:
    """The ids of what filters leave; the corpus is read once for each filter."""

    def __init__(self, lender: Retriever) -> None:
        self._lender = lender
        self._lock = asyncio.Lock()
        self._known: dict[str, Sequence[int]] = {}

    async def by(self, *filters: Where) -> Callable[[str], bool]:
        """Return a function that says whether the document of an id matches all these filters."""
        key = json.dumps(filters, sort_keys=True)
        async with self._lock:
            marks = self._known.get(key)
            if marks is None:
                marks = await self._read(filters)
                while self._known and (len(self._known) >= _SELECTIONS or self._held() + len(marks) > _IDS):
                    self._known.pop(next(iter(self._known)))
                self._known[key] = marks
        found = marks

        def has(doc_id: str) -> bool:
            mark = hash(doc_id)
            place = bisect_left(found, mark)
            return place < len(found) and found[place] == mark

        return has

    async def _read(self, filters: tuple[Where, ...]) -> Sequence[int]:
        documents = self._lender.documents()
        marks = [hash(one.doc_id) async for one in documents if all(one.matches(where) for where in filters)]
        return await asyncio.to_thread(lambda: array("q", sorted(marks)))

    def _held(self) -> int:
        return sum(map(len, self._known.values()))
