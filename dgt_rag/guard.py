"""The one door to an endpoint: a place under its limit, the one retry, a breaker when it is dead."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dgt_rag.dice import Dice
from dgt_rag.errors import Busy, EndpointDown, Exhausted, ModelClosed, ModelError
from dgt_rag.gate import Gate, Rank, Say
from dgt_rag.limiter import Limiter, Limits, Work
from dgt_rag.retry import RetryPolicy

T = TypeVar("T")
_LOST = ("connection", "unavailable")


def _say_nothing(line: str) -> None:
    del line


class Guard:
    """Calls to one endpoint go through here."""

    def __init__(self, name: str, policy: RetryPolicy, gate: Gate) -> None:
        self.name = name
        self.policy = policy
        self.gate = gate
        self.resting = 0
        """How many calls wait to be tried again."""
        self._dice = Dice("retry", name)

    @property
    def limiter(self) -> Limiter:
        """How many calls are let through at once."""
        return self.gate.limiter

    @property
    def down(self) -> bool:
        """Whether the endpoint is away and it is not yet time to look again."""
        return self.gate.down

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        rank: Rank = tuple,
        size: Callable[[T], Work] | None = None,
        patient: bool = True,
    ) -> T:
        """Make one call, again while the endpoint is busy. `attempt` raises `Busy` for what may be tried again.

        `rank`: the smaller goes first when calls wait for a place; asked again while they wait. `size` tells the work in a result. Raises `Exhausted`
        if this call failed too often, `EndpointDown` if the endpoint is away too long, or as soon as it is away if not `patient`.
        """
        tries = refusals = 0
        while True:
            if not patient and self.gate.down:
                raise EndpointDown(self.gate.line)
            try:
                return await self._once(attempt, rank, size, patient)
            except Busy as busy:
                state = await self.gate.state()
                if state.dead:
                    raise EndpointDown(state.dead) from busy
                if busy.kind == "rate_limit":
                    refusals += 1
                    wait = self.policy.wait(refusals, busy.retry_after, self._dice)
                elif busy.kind in _LOST and state.away:
                    wait = 0.0
                else:
                    tries += 1
                    wait = self.policy.wait(tries, busy.retry_after, self._dice)
                if tries >= self.policy.attempts:
                    raise Exhausted(busy.kind, f"{busy} ({tries} tries)") from busy
            self.resting += 1
            try:
                await asyncio.sleep(wait)
            finally:
                self.resting -= 1

    async def _once(
        self, attempt: Callable[[], Awaitable[T]], rank: Rank, size: Callable[[T], Work] | None, patient: bool
    ) -> T:
        ticket = await self.gate.place(rank, patient)
        work: Work | None = None
        busy: Busy | None = None
        outcome = "cancelled"
        try:
            async with asyncio.timeout(self.policy.timeout):
                result = await attempt()
            work, outcome = (size(result) if size else Work()), "ok"
            return result
        except TimeoutError:
            outcome, busy = "timeout", Busy("timeout", f"{self.name}: no answer in {self.policy.timeout:g} s")
            raise busy from None
        except Busy as error:
            outcome, busy = error.kind, error
            raise
        except ModelError as error:
            outcome = error.reason
            raise
        except ModelClosed:
            outcome = "closed"
            raise
        finally:
            self.gate.ended(ticket, outcome, work, busy)


@dataclass
class Guards:
    """The guards of a run, one for each endpoint, shared by all tasks of one command."""

    say: Say = _say_nothing
    """Show the user a line now."""
    known: dict[str, Guard] = field(default_factory=dict)
    gate: Callable[[str, RetryPolicy, Limits, Say], Gate] = Gate
    """Makes the gate of an endpoint."""

    def of(self, name: str, policy: RetryPolicy | None = None, limits: Limits | None = None) -> Guard:
        """Return the guard of an endpoint; the first who names it sets its policy, and the tightest limits hold."""
        if guard := self.known.get(name):
            if limits:
                guard.gate.tighten(limits)
            return guard
        policy, limits = policy or RetryPolicy(), limits or Limits(in_flight=64)
        self.known[name] = Guard(name, policy, self.gate(name, policy, limits, self.say))
        return self.known[name]

    @property
    def waiting(self) -> int:
        """How many calls wait for a place, at all endpoints together."""
        return sum(guard.gate.waiting for guard in self.known.values())
