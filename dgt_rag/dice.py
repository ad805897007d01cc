"""The one source of chance: seeded dice with named children.

`Dice(7, "rag/static/city", 12).child("turn", 2, "user")` draws the same numbers in every process, at any
concurrency and after any resume, because what it draws depends on its name alone. Nothing else in the package
draws a random number; a test holds that.
"""

import hashlib
import random
from collections.abc import Sequence
from functools import cached_property
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A seeded generator that is known by its path of names. Draws from one instance follow one another."""

    def __init__(self, *path: str | int) -> None:
        self.path = path

    def child(self, *path: str | int) -> "Dice":
        """Return the dice of this name below; drawing from it leaves this one untouched."""
        return Dice(*self.path, *path)

    @cached_property
    def number(self) -> int:
        """A 64-bit number that names these dice; also the sampling seed sent to models that take one."""
        # the length before each part keeps ("ab", "c") and ("a", "bc") apart
        text = "".join(f"{len(str(part))}:{part}" for part in self.path)
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")

    @cached_property
    def _random(self) -> random.Random:
        return random.Random(self.number)

    def unit(self) -> float:
        """Draw from [0, 1)."""
        return self._random.random()

    def below(self, count: int) -> int:
        """Draw from 0 … count - 1."""
        return self._random.randrange(count)

    def choose(self, items: Sequence[T]) -> T:
        """Draw one item, each as likely as any other."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """Draw one item, each as likely as its weight says."""
        return self._random.choices(items, weights)[0]

    def place(self, bounds: Sequence[float]) -> int:
        """Draw a place, each as likely as its bound is above the one before; as `weighted` draws, without adding up anew."""
        return self._random.choices(range(len(bounds)), cum_weights=bounds)[0]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Draw `count` different places of `items`, or all of them in drawn order if there are fewer."""
        return self._random.sample(items, min(count, len(items)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in drawn order."""
        return self._random.sample(items, len(items))
