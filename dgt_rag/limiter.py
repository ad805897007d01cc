"""How many calls an endpoint takes at once: a pure state machine, told the time.

It starts at 64, falls at once if far fewer are served, and doubles while a doubling brings more work done; a server that says 429 is kept just below where it
said so; one that never does is kept where more calls at once no longer bring more. Errors of the server stop the growth.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from dgt_rag.climb import Climb, FirstLook, Refusals, Window
from dgt_rag.plugins import Settings

Outcome = Literal["ok", "refused", "failed", "cancelled"]
START, CEILING = 64, 2048
_CUT = 0.75
_LONGEST_REST = 60.0


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

    def within(self, other: "Limits") -> "Limits":
        """Return the limits that keep to both."""
        pairs = {key: (getattr(self, key), getattr(other, key)) for key in Limits.model_fields}
        return Limits(**{key: min(said) for key, pair in pairs.items() if (said := [one for one in pair if one])})


@dataclass(frozen=True)
class Work:
    """What a call took, in tokens."""

    output: float = 1.0
    input: float = 0.0
    rest: float = 0.0
    """Seconds until the endpoint has room for another call, as it says itself."""


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

    def tighten(self, limits: Limits, now: float) -> None:
        """Keep to these limits as well."""
        both = self.limits.within(limits)
        if both == self.limits:
            return
        self.limits, self._buckets = both, list(_buckets(both, now))
        self.ceiling = both.in_flight or CEILING
        if self.limit > self.ceiling:
            self._set(self.ceiling, now, "declared by another task")

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
            self._blocked_until = max(self._blocked_until, now + min(spent.rest, _LONGEST_REST))
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

    def look_again(self, now: float) -> None:
        """Search anew from here: what asks has become faster, so what it found may have been its own limit."""
        if self._climb.refused is None:
            self._climb = Climb()
            self._set(self.limit, now, "more processes ask")

    def _count(self, ticket: Ticket, now: float, work: Work, full: bool) -> None:
        if ticket.epoch != self._epoch:
            return
        if self._epoch == 0 and (few := self._first.seen(ticket.at, now, self.limit)):
            self._set(few, now, "few are served at once")
            return
        window = self._window
        if window.settling > 0:
            window.settling -= 1
            return
        window.ended += 1
        window.full += full
        window.tokens += work.output
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


def _buckets(limits: Limits, now: float) -> Iterable[tuple[Literal["calls", "input", "output"], Bucket]]:
    if limits.rps:
        yield "calls", Bucket(limits.rps, 1.0, 0.0, now)
    if limits.rpm:
        yield "calls", Bucket(limits.rpm / 60, 1.0, 0.0, now)
    if limits.input_tpm:
        yield "input", Bucket(limits.input_tpm / 60, min(1000.0, limits.input_tpm / 60), 0.0, now)
    if limits.output_tpm:
        yield "output", Bucket(limits.output_tpm / 60, min(200.0, limits.output_tpm / 60), 0.0, now)
