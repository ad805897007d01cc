"""What is happening in a run, for whoever looks: plain counters, read on a timer, never pushed."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """The state of one run as a display reads it."""

    task_name: str
    wanted: int
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    in_the_air: int = 0
    resumed: int = 0
    """How many were kept already when the run began."""
    started: float = field(default_factory=time.monotonic)
    totals: Callable[[], dict[str, Any]] = dict
    """Sums over the calls so far: tokens, cost, failures."""
    unreported: Callable[[], int] = int
    """How many calls have ended that are not in those sums yet."""
    endpoints: Callable[[], list[str]] = list
    """A line on each endpoint: in flight, limit, state."""

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def eta(self) -> float | None:
        """Seconds to go if it goes on like this; None before anything was kept."""
        made = self.kept - self.resumed
        if made <= 0:
            return None
        # those in the air are half done, and as many of them will be kept as so far
        half = self.in_the_air / 2 * made / (made + self.dropped.total())
        return self.seconds / (made + half) * max(0.0, self.wanted - self.kept - half)


def by_kind(counts: Mapping[str, int]) -> str:
    """Return counts by kind, the most first."""
    return ", ".join(f"{count:,} {kind}" for kind, count in Counter(counts).most_common())
