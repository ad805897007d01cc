"""How the limiter learns: from the first calls, from the work done at one limit after another, and from 429."""

from dataclasses import dataclass, field
from typing import Literal

_DOUBTS = 4
"""Cuts in a row after which it is asked whether cutting helps at all."""


@dataclass(frozen=True)
class Rate:
    """What is done in a second, counted in two ways, because calls of different purposes take turns at being frequent."""

    calls: float = 0.0
    tokens: float = 0.0

    def reaches(self, share: float, of: "Rate") -> bool:
        """Say whether it is at least such a share of another rate in both ways."""
        return self.calls >= share * of.calls and self.tokens >= share * of.tokens

    def towards(self, other: "Rate", share: float) -> "Rate":
        """Return the rate that lies so far on the way to another one."""
        return Rate(self.calls + (other.calls - self.calls) * share, self.tokens + (other.tokens - self.tokens) * share)


@dataclass
class Window:
    """What was seen at one limit: calls that started and ended under it, when the server's queue had settled."""

    settling: int = 0
    """Calls yet to end before those that count: they met the server's queue of the limit before."""
    ended: int = 0
    full: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    failed: bool = False

    def rate(self, limit: int) -> Rate:
        """Return what was done in a second, by Little's law: bursts do not disturb it."""
        share = limit / self.seconds if self.seconds > 0 else 0.0
        return Rate(self.ended * share, self.tokens * share)


@dataclass
class FirstLook:
    """The very first calls, which all start at once: a server with few places shows it by the time they take to end."""

    began: float | None = None
    ended: int = 0
    seconds: float = 0.0
    """What the first four took together."""

    def seen(self, started: float, now: float, limit: int) -> int | None:
        """Return a lower limit if the server plainly has far fewer places, with room to grow again."""
        self.began = started if self.began is None else min(self.began, started)
        self.ended += 1
        if self.ended <= 4:
            self.seconds += now - started
        elapsed, one = now - self.began, self.seconds / min(4, self.ended)
        if self.ended < 4 or elapsed < 3 * one or self.ended >= limit / 2:
            return None
        places = self.ended * one / elapsed
        return max(2, min(limit // 2, round(2 * places)))


@dataclass(frozen=True)
class Step:
    """Where the limit goes next."""

    limit: int
    reason: str = ""


@dataclass
class Climb:
    """The search for the limit at which the most work is done, from rates measured at one limit after another."""

    phase: Literal["grow", "hold", "up", "down"] = "grow"
    best: int = 0
    rate: Rate = field(default_factory=Rate)
    """What was done in a second at the best limit."""
    held: int = 0
    patience: int = 0
    """Windows to hold before the next trial; doubles with every trial that brought nothing."""
    trials: int = 0
    refused: int | None = None
    """The fewest calls in flight at which the server said 429."""
    lowest: int = 1
    """Below this, a 429 is no sign of too many at once."""
    stride: float = 0.05
    """How far beyond the last 429 the next trial goes, as a part of the limit; doubles with every one that is let be."""
    trying: bool = False
    """Whether this limit is a trial beyond the last 429."""

    def enough(self, limit: int) -> int:
        """Return how many calls make a measure at this limit."""
        return max(limit, 12) if self.phase == "grow" else max(2 * limit, 12)

    def refused_at(self, in_flight: int) -> None:
        """Take note of a 429: no growth beyond, for a time."""
        self.refused, self.lowest = in_flight, max(1, in_flight // 2)
        self.phase, self.best, self.rate, self.held = "grow", 0, Rate(), 0
        self.patience = min(64, max(8, 2 * self.patience))
        self.stride, self.trying = 0.05, False

    def also_refused_at(self, in_flight: int) -> None:
        """Take note of another 429 of a burst that was answered already."""
        if self.refused is not None:
            self.refused = min(self.refused, max(in_flight, self.lowest))

    def step(self, limit: int, rate: Rate, ceiling: int) -> Step:
        """Return the next limit after a whole, clean measure at this one."""
        if self.refused is not None:
            return self._near_refusal(limit, min(ceiling, max(1, self.refused - 1)), ceiling)
        if self.phase == "grow":
            return self._grow(limit, rate, ceiling)
        if self.phase == "hold":
            return self._hold(limit, rate, ceiling)
        return self._tried(limit, rate, ceiling)

    def _near_refusal(self, limit: int, top: int, ceiling: int) -> Step:
        """Grow to just below where 429 began; go beyond only now and then."""
        if limit < top:
            return Step(top, "back to below the 429")
        if self.trying:
            self.refused, self.trying, self.held = limit + 1, False, self.patience
            self.stride = min(1.0, 2 * self.stride)
        self.held += 1
        if self.held <= self.patience or limit >= ceiling:
            return Step(limit)
        self.held, self.trying = 0, True
        return Step(min(ceiling, limit + max(1, round(self.stride * limit))), "trial beyond the 429")

    def _grow(self, limit: int, rate: Rate, ceiling: int) -> Step:
        if rate.reaches(1.05, self.rate):
            self.best, self.rate = limit, rate
            if limit < ceiling:
                return Step(min(2 * limit, ceiling), "more work done")
        self.phase, self.held, self.trials, self.patience = "hold", 0, 0, 4
        return Step(self.best, "no more work done")

    def _hold(self, limit: int, rate: Rate, ceiling: int) -> Step:
        self.rate = self.rate.towards(rate, 0.5 if self.held else 1.0)
        self.best = limit
        self.held += 1
        if self.held <= self.patience:
            return Step(limit)
        self.held = 0
        self.trials += 1
        up = self.trials % 2 == 0 and limit < ceiling
        if not up and limit == 1:
            return Step(limit)
        self.phase = "up" if up else "down"
        return Step(min(ceiling, limit + max(1, limit // 2)) if up else _lower(limit), "trial")

    def _tried(self, limit: int, rate: Rate, ceiling: int) -> Step:
        won = rate.reaches(1.05 if self.phase == "up" else 0.98, self.rate)
        if not won:
            self.phase, self.held = "hold", 0
            self.patience = min(64, max(4, 2 * self.patience))
            return Step(self.best, "trial brought nothing")
        if self.phase == "up":
            self.phase, self.patience = "grow", 0
            return self._grow(limit, rate, ceiling)
        self.best, self.rate = limit, self.rate.towards(rate, 0.5)
        if limit == 1:
            self.phase, self.held = "hold", 0
            return Step(1)
        return Step(_lower(limit), "as much done with less")


def _lower(limit: int) -> int:
    return max(1, int(limit * 0.8))


@dataclass
class Refusals:
    """How often the server says 429, and whether that depends on how much it is asked."""

    share: float = 0.0
    """Of the last calls, about twice as many as the limit."""
    cuts: list[tuple[int, float]] = field(default_factory=list)
    """Limit and share at each of the last cuts in a row."""
    usual: float | None = None
    """The share that the server refuses whatever the limit, if it does."""

    def seen(self, refused: bool, limit: int) -> float:
        """Count a call and return the share."""
        self.share += (refused - self.share) / max(50, 2 * limit)
        return self.share

    def grew(self) -> None:
        """The limit grew: cuts are no longer in a row."""
        self.cuts.clear()

    def mean_it(self) -> bool:
        """Say whether a refusal tells of too many calls at once."""
        if self.usual is not None and self.share > max(0.3, 2 * self.usual):
            self.usual = None
        return self.usual is None

    def cut(self, limit: int) -> int | None:
        """Take note of a cut; return the limit to go back to if the last cuts have not helped."""
        self.cuts.append((limit, self.share))
        if len(self.cuts) <= _DOUBTS:
            return None
        before, share = self.cuts.pop(0)
        if self.share > 0.3 or self.share < 0.7 * share:
            return None
        self.usual = self.share
        self.cuts.clear()
        return before
