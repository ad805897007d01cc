"""How many calls an endpoint takes at once: a pure state machine, told the time.

It starts at 64, falls at once if far fewer are served, and doubles while a doubling brings more work done; a server that says 429 is kept just below where it
said so; one that never does is kept where more calls at once no longer bring more. Errors of the server stop the growth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from dgt_rag.plugins import Settings

Outcome = Literal["ok", "refused", "failed", "cancelled"]
START, CEILING = 64, 2048
_CUT = 0.75
_DOUBTS = 4
"""Cuts in a row after which it is asked whether cutting helps at all."""


class Limits(Settings):
    """What an endpoint allows, where it is known; what is not set is found out."""

    in_flight: int | None = Field(default=None, ge=1)
    """Calls at once, at most."""
    rps: float | None = Field(default=None, gt=0)
    """Requests a second."""
    rpm: float | None = Field(default=None, gt=0)
    """Requests a minute."""
    input_tpm: float | None = Field(default=None, gt=0)
    """Prompt tokens a minute."""
    output_tpm: float | None = Field(default=None, gt=0)
    """Reply tokens a minute."""


@dataclass(frozen=True)
class Work:
    """What a call took, in tokens."""

    output: float = 1.0
    input: float = 0.0


@dataclass(frozen=True)
class Change:
    """A change of the limit, for the report."""

    at: float
    limit: int
    reason: str


@dataclass(frozen=True)
class Ticket:
    """A call that was let through: when, at which limit, how many were in flight with it."""

    at: float
    limit: int
    in_flight: int
    epoch: int


@dataclass
class Bucket:
    """A declared rate; what is taken too much is paid back by waiting."""

    rate: float
    mean: float
    level: float = 0.0
    at: float = 0.0

    def fill(self, now: float) -> None:
        """Let time flow in; a second's worth is held at most."""
        self.level = min(max(self.rate, self.mean), self.level + (now - self.at) * self.rate)
        self.at = now

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may start."""
        self.fill(now)
        # a hair below zero is zero: sums of floats
        return max(0.0, -self.level / self.rate) if self.level < -1e-9 else 0.0

    def correct(self, spent: float) -> None:
        """Take what a call really was beyond the mean that was taken when it started."""
        self.level -= spent - self.mean
        self.mean += (spent - self.mean) * 0.05


@dataclass
class Window:
    """What was seen at one limit: calls that started and ended under it, when the server's queue had settled."""

    settling: int = 0
    """Calls yet to end before those that count: they met the server's queue of the limit before."""
    ended: int = 0
    full: int = 0
    work: float = 0.0
    seconds: float = 0.0
    failed: bool = False

    def rate(self, limit: int) -> float:
        """Return the work done in a second, by Little's law: bursts do not disturb it."""
        return limit * self.work / self.seconds if self.seconds > 0 else 0.0


@dataclass
class Limiter:
    """The limit of one endpoint. `delay` asks, `start` takes a place, `end` gives it back."""

    limits: Limits = field(default_factory=Limits)
    now: float = 0.0
    in_flight: int = 0
    history: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ceiling = self.limits.in_flight or CEILING
        self.limit = min(START, self.ceiling)
        self._epoch = 0
        self._window = Window()
        self._climb = Climb()
        self._refusals = Refusals()
        self._first = FirstLook()
        self._blocked_until = self.now
        self._buckets = list(_buckets(self.limits, self.now))
        self.history.append(Change(self.now, self.limit, "start"))

    def delay(self, now: float) -> float | None:
        """Return 0 if a call may start now, the seconds until one may, or None if not before one ends."""
        if self.in_flight >= self.limit:
            return None
        waits = [bucket.wait(now) for _, bucket in self._buckets]
        return max(0.0, self._blocked_until - now, *waits)

    def start(self, now: float) -> Ticket:
        """Take a place; only after `delay` said 0."""
        self.in_flight += 1
        for _, bucket in self._buckets:
            bucket.level -= bucket.mean
        return Ticket(now, self.limit, self.in_flight, self._epoch)

    def end(self, ticket: Ticket, now: float, outcome: Outcome, work: Work | None = None) -> None:
        """Give a place back and learn from what became of the call."""
        full = self.in_flight >= 0.9 * self.limit
        self.in_flight -= 1
        spent = work or Work()
        for kind, bucket in self._buckets:
            if kind != "calls":
                bucket.correct((spent.output if kind == "output" else spent.input) if outcome == "ok" else 0.0)
        if outcome == "failed":
            self._window.failed = True
        elif outcome == "ok":
            self._refusals.seen(False, self.limit)
            self._count(ticket, now, spent, full)

    def refuse(self, ticket: Ticket, now: float, retry_after: float | None = None) -> None:
        """Give a place back after a 429. A burst cuts once: only calls let through at the present limit count."""
        self.end(ticket, now, "refused")
        share = self._refusals.seen(True, self.limit)
        if ticket.limit > self.limit or not self._refusals.mean_it():
            self._climb.also_refused_at(ticket.in_flight)
            return
        if self._climb.trying and ticket.in_flight > 1:
            self._climb.refused_at(ticket.in_flight)
            self._set(min(self.limit, ticket.in_flight) - 1, now, "429 in a trial")
            return
        if restored := self._refusals.cut(self.limit):
            self._climb = Climb()
            self._set(min(restored, self.ceiling), now, "429 whatever the limit")
            return
        self._climb.refused_at(ticket.in_flight)
        self._set(max(1, int(self.limit * _CUT)), now, "429")
        if retry_after is not None and share > 0.1:
            self._blocked_until = max(self._blocked_until, now + retry_after)

    def _count(self, ticket: Ticket, now: float, work: Work, full: bool) -> None:
        if ticket.epoch != self._epoch:
            return
        if self._epoch == 0 and (few := self._first.seen(ticket, now, self.limit)):
            self._set(few, now, "few are served at once")
            return
        window = self._window
        if window.settling > 0:
            window.settling -= 1
            return
        window.ended += 1
        window.full += full
        window.work += work.output
        window.seconds += now - ticket.at
        if window.ended < self._climb.enough(self.limit):
            return
        if window.full < 0.9 * window.ended or window.failed:
            self._window = Window()
            return
        step = self._climb.step(self.limit, window.rate(self.limit), self.ceiling)
        self._window = Window()
        if step.limit != self.limit:
            if step.limit > self.limit:
                self._refusals.grew()
            self._set(step.limit, now, step.reason)

    def _set(self, limit: int, now: float, reason: str) -> None:
        self._epoch += 1
        self._window = Window(settling=limit)
        self.limit = limit
        self.history.append(Change(now, limit, reason))
        if len(self.history) > 1000:
            del self.history[1:500]


@dataclass
class FirstLook:
    """The very first calls, which all start at once: a server with few places shows it by the time they take to end."""

    began: float | None = None
    ended: int = 0
    seconds: float = 0.0
    """What the first four took together."""

    def seen(self, ticket: Ticket, now: float, limit: int) -> int | None:
        """Return a lower limit if the server plainly has far fewer places, with room to grow again."""
        self.began = ticket.at if self.began is None else min(self.began, ticket.at)
        self.ended += 1
        if self.ended <= 4:
            self.seconds += now - ticket.at
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
    rate: float = 0.0
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
        self.phase, self.best, self.rate, self.held = "grow", 0, 0.0, 0
        self.patience = min(64, max(8, 2 * self.patience))
        self.stride, self.trying = 0.05, False

    def also_refused_at(self, in_flight: int) -> None:
        """Take note of another 429 of a burst that was answered already."""
        if self.refused is not None:
            self.refused = min(self.refused, max(in_flight, self.lowest))

    def step(self, limit: int, rate: float, ceiling: int) -> Step:
        """Return the next limit after a whole, clean measure at this one."""
        if self.refused is not None:
            return self._near_refusal(limit, min(ceiling, max(1, self.refused - 1)), ceiling)
        if self.phase == "grow":
            return self._grow(limit, rate, ceiling)
        if self.phase == "hold":
            return self._hold(limit, rate, ceiling)
        return self._tried(limit, rate)

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

    def _grow(self, limit: int, rate: float, ceiling: int) -> Step:
        if rate >= 1.05 * self.rate:
            self.best, self.rate = limit, rate
            if limit < ceiling:
                return Step(min(2 * limit, ceiling), "more work done")
        self.phase, self.held, self.trials = "hold", 0, 0
        self.patience = 0
        return Step(self.best, "no more work done")

    def _hold(self, limit: int, rate: float, ceiling: int) -> Step:
        self.rate += (rate - self.rate) * (0.5 if self.held else 1.0)
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
        return Step(min(ceiling, limit + max(1, limit // 2)) if up else max(1, self._lower(limit)), "trial")

    def _lower(self, limit: int) -> int:
        # the first trials look for a server with few places; later ones cost little
        return limit // 2 if self.trials == 1 else int(limit * 0.8)

    def _tried(self, limit: int, rate: float) -> Step:
        won = rate >= (1.05 if self.phase == "up" else 0.98) * self.rate
        if not won:
            self.phase, self.held = "hold", 0
            self.patience = min(64, max(4, 2 * self.patience))
            return Step(self.best, "trial brought nothing")
        if self.phase == "up":
            self.phase, self.patience = "grow", 0
            return self._grow(limit, rate, CEILING)
        self.best, self.rate = limit, max(rate, self.rate)
        if limit == 1:
            self.phase, self.held = "hold", 0
            return Step(1)
        return Step(max(1, self._lower(limit)), "as much done with less")


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


def _buckets(limits: Limits, now: float) -> Iterable[tuple[Literal["calls", "input", "output"], Bucket]]:
    if limits.rps:
        yield "calls", Bucket(limits.rps, 1.0, 0.0, now)
    if limits.rpm:
        yield "calls", Bucket(limits.rpm / 60, 1.0, 0.0, now)
    if limits.input_tpm:
        yield "input", Bucket(limits.input_tpm / 60, min(1000.0, limits.input_tpm / 60), 0.0, now)
    if limits.output_tpm:
        yield "output", Bucket(limits.output_tpm / 60, min(200.0, limits.output_tpm / 60), 0.0, now)
