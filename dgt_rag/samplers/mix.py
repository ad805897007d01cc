"""Which of several samplers a conversation gets, by weight, and how many of its draws come before.

Both are told by the conversation's number alone and at once. Shares are exact in the long run: a sampler with a third of the
weight gets a third of any many conversations, to within a few.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import floor

from dgt_rag.dice import Dice
from dgt_rag.samplers.shuffle import Shuffle

_BLOCK = 16
"""Within so many conversations the order is drawn."""


def mixed(weights: Sequence[float], index: int, dice: Dice) -> tuple[int, int]:
    """Return the place of the one that is drawn, and the number of the draw among its own (from 0, each number once)."""
    if len(weights) == 1:
        return 0, index
    block, place = divmod(index, _BLOCK)
    turn = block * _BLOCK + Shuffle(_BLOCK, dice.child(block))[place]
    shares = [Fraction(weight) for weight in weights]
    for one in range(len(shares) - 1):
        # its draws stand at even distances among those that no earlier one took
        share, start = shares[one] / sum(shares[one:]), Fraction(dice.child("start", one).number, 1 << 64)
        number = floor(turn * share + start)
        if floor((turn + 1) * share + start) > number:
            return one, number
        turn -= number
    return len(shares) - 1, turn
