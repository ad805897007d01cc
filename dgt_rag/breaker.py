"""When an endpoint is away: nobody hammers it, one call looks now and then, and after a time the run stops. Pure; told the time."""

from collections.abc import Callable

from dgt_rag.retry import RetryPolicy

_LOST_IN_A_ROW = 3
_FAILED_IN_A_ROW = 12
_FIRST_PATIENCE = 5.0
"""Seconds for an endpoint that was never there."""
_GRACE = 1.0
"""Seconds before a user hears of it."""
_REFUSED_GRACE = 10.0
"""Seconds of nothing but 429 before a user hears of it."""
_LOOK_AGAIN = (0.25, 0.5, 1.0, 2.0, 5.0)


class Breaker:
    """Open (`open` is true) while the endpoint is taken to be away."""

    def __init__(self, name: str, policy: RetryPolicy, say: Callable[[str], None]) -> None:
        self.name = name
        self.open = False
        self.line = ""
        """Why the endpoint is taken to be dead."""
        self._policy = policy
        self._say = say
        self._reached = False
        self._lost = 0
        self._failed = 0
        self._since: float | None = None
        self._refused_since: float | None = None
        self._refusing_said = False
        self._said = False
        self._looks = 0
        self._next_look = 0.0
        self._looking = False

    def delay(self, now: float) -> float:
        """Return the seconds until a call may be tried; while one looks whether the endpoint is back, the others wait."""
        if not self.open:
            return 0.0
        return 3600.0 if self._looking else max(0.0, self._next_look - now)

    def started(self, now: float) -> None:
        """Take note that a call goes out."""
        if self.open:
            self._looking = True

    def ended(self, now: float, outcome: str, said: str) -> None:
        """Learn from how a call ended: `ok`, a kind of `Busy`, or `cancelled`."""
        if outcome == "cancelled":
            self._looking = False
        elif outcome == "ok":
            self._came_back(now)
        elif outcome == "rate_limit":
            self._refused(now, said)
        else:
            self._missed(now, outcome, said)

    def dead(self, now: float) -> bool:
        """Say whether it has been away for so long that the run stops."""
        if self._refused_since is not None and now - self._refused_since >= self._policy.refused_after:
            return True
        patience = self._policy.dead_after if self._reached else min(_FIRST_PATIENCE, self._policy.dead_after)
        return self.open and self._since is not None and now - self._since >= patience

    def _came_back(self, now: float) -> None:
        if self._said and self._since is not None:
            self._say(f"{self.name}: answers again after {now - self._since:.0f} s")
        self._reached = True
        self._refusing_said = self._said = False
        self._lost = self._failed = self._looks = 0
        self._since = self._refused_since = None
        self.open = self._looking = False

    def _refused(self, now: float, said: str) -> None:
        """A 429 shows that the server is there, but not that it serves."""
        if self.open:
            self._came_back(now)
        if self._refused_since is None:
            self._refused_since = now
        away = now - self._refused_since
        self.line = f"{said}; nothing but 429 for {away:.0f} s; the run can be resumed"
        if away >= _REFUSED_GRACE and not self._refusing_said:
            self._refusing_said = True
            self._say(f"{said}; nothing but 429 for {away:.0f} s; waiting up to {self._policy.refused_after:.0f} s")

    def _missed(self, now: float, outcome: str, said: str) -> None:
        self._failed += 1
        self._lost += outcome in ("connection", "unavailable")
        self._since = now if self._since is None else self._since
        if not self.open or self._looking:
            # calls that were in flight when it went away tell nothing new
            self._next_look = now + _LOOK_AGAIN[min(self._looks, len(_LOOK_AGAIN) - 1)]
            self._looks += self.open
        self._looking = False
        self.line = f"{said}; tried for {now - self._since:.0f} s; the run can be resumed"
        away = now - self._since
        self.open = self.open or self._lost >= _LOST_IN_A_ROW or (self._failed >= _FAILED_IN_A_ROW and away >= _GRACE)
        if self.open and self._reached and away >= _GRACE and not self._said:
            self._said = True
            self._say(f"{said}; trying again for up to {self._policy.dead_after:.0f} s")
