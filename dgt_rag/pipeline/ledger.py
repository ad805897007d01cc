"""Which conversations are owed, and what became of those that were begun."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from dgt_rag.store.journal import Journal


class Ledger:
    """Hands out the indices 0, 1, 2, … that are not in the journal, until enough are kept or the attempts are used up.

    An index is handed out only if it is needed even should all that are in the air be kept. So what is begun is the same
    whatever ends first, nothing is made in vain, and what is delivered are the first kept by index.
    """

    def __init__(self, journal: Journal, wanted: int, attempts: int) -> None:
        self.journal = journal
        self.wanted = wanted
        self.attempts = attempts
        self.begun: set[int] = set()
        self.kept = 0
        """How many of those handed out or found in the journal are kept."""
        self.reasons: Counter[str] = Counter()
        """How many of them were dropped, by reason."""
        self._next = 0
        self._ended = asyncio.Event()

    @property
    def all_begun(self) -> bool:
        """Whether nothing more is to be begun unless one in the air is dropped."""
        return self.kept + len(self.begun) >= self.wanted or self._next >= self.attempts

    async def owed(self) -> AsyncIterator[int]:
        """Hand out what is owed; waits as long as that depends on those in the air."""
        while True:
            self._pass_over()
            if self.kept >= self.wanted or self._next >= self.attempts:
                return
            if self.kept + len(self.begun) < self.wanted:
                self.begun.add(self._next)
                self._next += 1
                yield self._next - 1
            else:
                self._ended.clear()
                await self._ended.wait()

    def _pass_over(self) -> None:
        """Count what the journal has already."""
        while self._next in self.journal.entries and self.kept + len(self.begun) < self.wanted:
            self._count(self._next)
            self._next += 1

    def _count(self, index: int) -> None:
        entry = self.journal.entries[index]
        self.kept += entry.kept
        if not entry.kept:
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
