"""The one door to an endpoint: a place under its limit, the one retry, a breaker when it is dead."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dgt_rag.breaker import Breaker
from dgt_rag.dice import Dice
from dgt_rag.errors import Busy, EndpointDown, Exhausted
from dgt_rag.limiter import Limiter, Limits, Ticket, Work
from dgt_rag.retry import RetryPolicy

T = TypeVar("T")
Say = Callable[[str], None]
_LOST = ("connection", "unavailable")


def _say_nothing(line: str) -> None:
    del line


_Waiting = tuple[tuple[int, ...], int, Callable[[], tuple[int, ...]], asyncio.Future[Ticket]]
"""Rank, number of arrival, what tells the rank, and the place that is waited for."""


class Guard:
    """Calls to one endpoint go through here."""

    def __init__(
        self, name: str, policy: RetryPolicy, limits: Limits, say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.policy = policy
        self.limiter = Limiter(limits, clock())
        self.outcomes: Counter[str] = Counter()
        """How often calls ended how: `ok`, or the kinds of `Busy`."""
        self._clock = clock
        self._breaker = Breaker(name, policy, say)
        self._dice = Dice("retry", name)
        self._queue: list[_Waiting] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._queue)

    @property
    def down(self) -> bool:
        """Whether the endpoint is away and it is not yet time to look again."""
        return self._breaker.delay(self._clock()) > 0

    @property
    def idle(self) -> bool:
        """Whether another call would get a place at once."""
        return not self._queue and self._delay() == 0

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        rank: Callable[[], tuple[int, ...]] = tuple,
        size: Callable[[T], Work] | None = None,
        patient: bool = True,
    ) -> T:
        """Make one call, again while the endpoint is busy. `attempt` raises `Busy` for what may be tried again.

        `rank`: the smaller goes first when calls wait for a place; asked again while they wait. `size` tells the work in a result. Raises `Exhausted`
        if this call failed too often, `EndpointDown` if the endpoint is away too long, or at once if not `patient`.
        """
        tries = refusals = 0
        while True:
            if not patient and self.down:
                raise EndpointDown(self._breaker.line)
            try:
                return await self._once(attempt, rank, size)
            except Busy as busy:
                if self._breaker.dead(self._clock()):
                    raise EndpointDown(self._breaker.line) from busy
                if busy.kind == "rate_limit":
                    refusals += 1
                    wait = self.policy.wait(refusals, busy.retry_after, self._dice)
                elif busy.kind in _LOST and self._breaker.open:
                    wait = 0.0
                else:
                    tries += 1
                    wait = self.policy.wait(tries, busy.retry_after, self._dice)
                if tries >= self.policy.attempts:
                    raise Exhausted(busy.kind, f"{busy} ({tries} tries)") from busy
            await asyncio.sleep(wait)

    async def _once(
        self, attempt: Callable[[], Awaitable[T]], rank: Callable[[], tuple[int, ...]], size: Callable[[T], Work] | None
    ) -> T:
        ticket = await self._place(rank)
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
        finally:
            self._ended(ticket, outcome, work, busy)

    def _ended(self, ticket: Ticket, outcome: str, work: Work | None, busy: Busy | None) -> None:
        now = self._clock()
        self.outcomes[outcome] += 1
        if busy is None:
            self.limiter.end(ticket, now, "ok" if work else "cancelled", work)
        elif busy.kind == "rate_limit":
            self.limiter.refuse(ticket, now, min(busy.retry_after or 0.0, self.policy.max_wait) or None)
        else:
            self.limiter.end(ticket, now, "failed")
        self._breaker.ended(now, "ok" if work else outcome, str(busy or ""))
        if self._breaker.dead(now):
            self._fail_all(EndpointDown(self._breaker.line))
        self._pump()

    async def _place(self, rank: Callable[[], tuple[int, ...]]) -> Ticket:
        if self.idle:
            return self._take()
        place: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._queue, (rank(), self._number, rank, place))
        self._pump()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._ended(place.result(), "cancelled", None, None)
            raise

    def _take(self) -> Ticket:
        now = self._clock()
        self._breaker.started(now)
        return self.limiter.start(now)

    def _delay(self) -> float | None:
        now = self._clock()
        delay = self.limiter.delay(now)
        return None if delay is None else max(delay, self._breaker.delay(now))

    def _pump(self) -> None:
        """Let calls through as long as there are places; look again when time alone will make one."""
        while self._queue:
            first, _, rank, place = self._queue[0]
            if place.done():
                heapq.heappop(self._queue)
                continue
            if rank() != first:
                # what is first in order has changed since, as it does at the end of a run
                self._queue = [(rank(), number, rank, place) for _, number, rank, place in self._queue]
                heapq.heapify(self._queue)
            delay = self._delay()
            if delay != 0:
                self._look_again(delay)
                return
            heapq.heappop(self._queue)[3].set_result(self._take())

    def _look_again(self, delay: float | None) -> None:
        if delay is None:
            return
        if self._timer:
            self._timer.cancel()
        # calls in flight look too when they end; a minute bounds what a clock that jumps can do
        self._timer = asyncio.get_running_loop().call_later(min(delay, 60.0) + 1e-4, self._pump)

    def _fail_all(self, error: EndpointDown) -> None:
        for *_, place in self._queue:
            if not place.done():
                place.set_exception(error)
        self._queue.clear()


@dataclass
class Guards:
    """The guards of a run, one for each endpoint, shared by all tasks of one command."""

    say: Say = _say_nothing
    """Show the user a line now."""
    known: dict[str, Guard] = field(default_factory=dict)

    def of(self, name: str, policy: RetryPolicy | None = None, limits: Limits | None = None) -> Guard:
        """Return the guard of an endpoint; the first who names it sets its policy and limits."""
        if name not in self.known:
            limits = limits or Limits(in_flight=64)
            self.known[name] = Guard(name, policy or RetryPolicy(), limits, self.say)
        return self.known[name]

    @property
    def waiting(self) -> int:
        """How many calls wait for a place, at all endpoints together."""
        return sum(guard.waiting for guard in self.known.values())
