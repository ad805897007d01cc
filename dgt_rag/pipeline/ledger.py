"""Which conversations are owed, and what became of those that were begun."""

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from dgt_rag.store.journal import Journal


class Ledger:
    """Hands out the indices 0, 1, 2, … that are not in the journal, until the first `wanted` kept ones are known.

    An index is handed out if it is needed even should all that are in the air be kept; beside those, once all such are
    begun, as many as the drops so far let expect, so that the last replacements do not run alone at the end. Delivered are
    the first kept by index, whatever ended first.
    """

    def __init__(self, journal: Journal, wanted: int, attempts: int) -> None:
        self.journal = journal
        self.wanted = wanted
        self.attempts = attempts
        self.begun: set[int] = set()
        self.reasons: Counter[str] = Counter()
        """How many were dropped, by reason."""
        self._kept: list[int] = []
        """The indices kept, in order."""
        self._next = 0
        self._ended = asyncio.Event()

    @property
    def kept(self) -> int:
        """How many are kept of those wanted."""
        return min(len(self._kept), self.wanted)

    @property
    def complete(self) -> bool:
        """Whether the rows to deliver are known: enough are kept, and nothing before the last of them is in the air."""
        return len(self._kept) >= self.wanted and min(self.begun, default=self._next) > self._kept[self.wanted - 1]

    @property
    def to_begin(self) -> int:
        """How many are yet to begin, should all that are in the air be kept."""
        return max(0, self.wanted - len(self._kept) - len(self.begun))

    @property
    def all_begun(self) -> bool:
        """Whether nothing more is needed unless one in the air is dropped."""
        return len(self._kept) + len(self.begun) >= self.wanted or self._next >= self.attempts

    @property
    def spare(self) -> int:
        """How many of those in the air will be dropped, if it goes on like this."""
        dropped = self.reasons.total()
        if not dropped or not self.begun:
            return 0
        # of all that were begun: those that fail end first, and would seem to be many
        return -(-len(self.begun) * dropped // (dropped + len(self._kept) + len(self.begun)))

    async def owed(self) -> AsyncIterator[int]:
        """Hand out what is owed; waits as long as that depends on those in the air."""
        while not self.complete and self._next < self.attempts:
            if self._next in self.journal.entries:
                self._count(self._next)
                self._next += 1
                continue
            spare = self.spare if self.all_begun else 0
            if len(self._kept) + len(self.begun) < self.wanted + spare:
                self.begun.add(self._next)
                self._next += 1
                yield self._next - 1
            else:
                self._ended.clear()
                await self._ended.wait()

    def _count(self, index: int) -> None:
        entry = self.journal.entries[index]
        if entry.kept:
            insort(self._kept, index)
        else:
            self.reasons[entry.reason or "unknown"] += 1

    def dropped(self) -> Iterator[int]:
        """Return the indices of those that were dropped, in order."""
        ended = (index for index in range(self._next) if index in self.journal.entries)
        return (index for index in ended if not self.journal.entries[index].kept)

    def end(self, index: int) -> None:
        """Note that the journal has this one now."""
        self.begun.discard(index)
        self._count(index)
        self._ended.set()
