"""Each conversation takes its stretch of a seeded shuffle, so that a run covers the corpus before it repeats.

Which stretch is told by the number of the draw alone: no conversation has to know of another one.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import ClassVar, Literal

from dgt_rag.dice import Dice
from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Shelf, Source
from dgt_rag.samplers.shuffle import Shuffle


class CoverageSampler(GroupedSampler):
    """The next documents of a shuffled corpus; each is used once before any is used again.

    A conversation that is dropped leaves its documents to the next round. Where samplers are mixed, this one goes on from
    one of its own conversations to its next: with half of the weight it covers the corpus in twice as many conversations.
    """

    aliases: ClassVar[tuple[str, ...]] = ("coverage",)

    type: Literal["search/coverage"] = "search/coverage"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return the stretch of `k` documents that belongs to this draw of the sampler."""
        dice = source.run_dice.child("coverage", self.engine, self.group_by or "")
        if self.group_by is None:
            size = await source.retriever.count()
            places = _stretch(range(size), source.number, k, dice) if size else []
        else:
            key = f"stretches of {k} {self.choice}"
            stretches = await source.retriever.once(key, lambda: self._stretches(source.retriever, k))
            places = stretches.places(source.number, dice)
        return await source.retriever.at(places) if places else []

    async def _stretches(self, shelf: Shelf, k: int) -> "Stretches":
        return Stretches(await self.wanted(await shelf.places(self.group_by or ""), shelf), k)


class Stretches:
    """The stretches of `k` documents that groups have, each within one of them, for many draws."""

    def __init__(self, groups: Mapping[str, Sequence[int]], k: int) -> None:
        self._groups = groups
        self._names = list(groups)
        self._ends = list(accumulate(-(-len(members) // k) for members in groups.values()))
        self._k = k

    def places(self, index: int, dice: Dice) -> list[int]:
        """Return the places of the index-th stretch; the stretches of all groups of a round are shuffled."""
        ends = self._ends
        turn, number = divmod(index, ends[-1])
        slot = Shuffle(ends[-1], dice.child("order", turn))[number]
        group = bisect_right(ends, slot)
        start = ends[group - 1] if group else 0
        name, many = self._names[group], ends[group] - start
        return _stretch(self._groups[name], turn * many + slot - start, self._k, dice.child("group", name))


def _stretch(members: Sequence[int], index: int, k: int, dice: Dice) -> list[int]:
    """Return the index-th stretch of k members; the last of a round is filled up from the round's start."""
    size = len(members)
    turn, number = divmod(index, -(-size // k))
    shuffle = Shuffle(size, dice.child(turn))
    return [members[shuffle[(number * k + step) % size]] for step in range(min(k, size))]
