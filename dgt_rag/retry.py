"""The one retry: how often and how long to wait before a busy service is asked again."""

from pydantic import Field

from dgt_rag.dice import Dice
from dgt_rag.plugins import Settings


class RetryPolicy(Settings):
    """Waits grow by doubling, with jitter; a longer one that a service asks for in Retry-After is kept up to `max_wait`."""

    attempts: int = Field(default=6, ge=1)
    """Tries of one call in all; being told 429, and waiting for a dead endpoint, use none up."""
    first_wait: float = Field(default=0.5, gt=0)
    """Seconds before the second try."""
    max_wait: float = Field(default=60.0, gt=0)
    """The longest wait, in seconds, whatever a service asks for."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds after which a call that has not answered counts as failed."""
    dead_after: float = Field(default=120.0, ge=0)
    """Seconds that an endpoint which was there before may be away until the run stops, to be resumed."""
    refused_after: float = Field(default=900.0, ge=0)
    """Seconds that an endpoint may answer nothing but 429 until the run stops, to be resumed."""

    def wait(self, tries: int, retry_after: float | None, dice: Dice) -> float:
        """Return the seconds to wait after this many tries: at least its own, whatever a service asks for."""
        own = min(self.first_wait * 2.0 ** min(tries - 1, 60), self.max_wait) * (0.5 + dice.unit())
        return max(min(retry_after or 0.0, self.max_wait), own)
