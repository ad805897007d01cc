"""A seeded shuffle of any range of numbers, of which any place can be asked at once."""

import hashlib

from dgt_rag.dice import Dice

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
