"""Each conversation takes its stretch of a seeded shuffle, so that a run covers the corpus before it repeats.

Which stretch is told by the conversation's number alone: no conversation has to know of another one.
"""

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Literal

from dgt_rag.dice import Dice
from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Source

_ROUNDS = 10


class Shuffle:
    """A permutation of 0 … size - 1 that holds no table: a Feistel cipher, walked until it falls inside the range."""

    def __init__(self, size: int, dice: Dice) -> None:
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._key = dice.number.to_bytes(8, "big")

    def __getitem__(self, place: int) -> int:
        """Return what stands at a place of the shuffled range."""
        if not 0 <= place < self.size:
            raise IndexError(place)
        value = self._cipher(place)
        while value >= self.size:
            value = self._cipher(value)
        return value

    def _cipher(self, value: int) -> int:
        left, right = value >> self._half, value & self._mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (self._mixed(turn, right) & self._mask)
        return left << self._half | right

    def _mixed(self, turn: int, value: int) -> int:
        told = bytes([turn]) + value.to_bytes(8, "big")
        return int.from_bytes(hashlib.blake2b(told, digest_size=8, key=self._key).digest(), "big")


class CoverageSampler(GroupedSampler):
    """The next documents of a shuffled corpus; each is used once before any is used again.

    Where several samplers are mixed, this one gets only some of the conversations, and covers as much less.
    """

    aliases: ClassVar[tuple[str, ...]] = ("coverage",)

    type: Literal["search/coverage"] = "search/coverage"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return the stretch of `k` documents that belongs to the conversation's number."""
        dice = source.run_dice.child("coverage", self.engine, self.group_by or "")
        if self.group_by is None:
            size = await source.retriever.count()
            places = _stretch(range(size), source.index, k, dice) if size else []
        else:
            members = await self.wanted(await source.retriever.places(self.group_by), source.retriever)
            places = _grouped(members, source.index, k, dice)
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
