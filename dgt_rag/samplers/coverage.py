"""Each conversation takes its stretch of a seeded shuffle, so that a run covers the corpus before it repeats.

Which stretch is told by the number of the draw alone: no conversation has to know of another one.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from dgt_rag.dice import Dice
from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Source
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
            members = await self.wanted(await source.retriever.places(self.group_by), source.retriever)
            places = _grouped(members, source.number, k, dice)
        return await source.retriever.at(places) if places else []


def _stretch(members: Sequence[int], index: int, k: int, dice: Dice) -> list[int]:
    """Return the index-th stretch of k members; the last of a round is filled up from the round's start."""
    size = len(members)
    turn, number = divmod(index, -(-size // k))
    shuffle = Shuffle(size, dice.child(turn))
    return [members[shuffle[(number * k + step) % size]] for step in range(min(k, size))]


def _grouped(groups: dict[str, Sequence[int]], index: int, k: int, dice: Dice) -> list[int]:
    """Return the index-th stretch, each within one group; the stretches of all groups of a round are shuffled."""
    stretches = {name: -(-len(members) // k) for name, members in groups.items()}
    turn, number = divmod(index, sum(stretches.values()))
    slot = Shuffle(sum(stretches.values()), dice.child("order", turn))[number]
    for name, many in stretches.items():
        if slot < many:
            return _stretch(groups[name], turn * many + slot, k, dice.child("group", name))
        slot -= many
    raise AssertionError("a slot belongs to a group")
