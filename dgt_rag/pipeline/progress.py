"""What is happening in a run, for whoever looks: plain counters, read on a timer, never pushed."""

import time
from collections import Counter
from collections.abc import Callable
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
        return self.seconds / made * (self.wanted - self.kept) if made > 0 else None
