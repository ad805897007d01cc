"""The places before an endpoint: who goes next under its limit, and nobody while it is away."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dgt_rag.breaker import Breaker
from dgt_rag.errors import Busy, EndpointDown
from dgt_rag.limiter import Limiter, Limits, Ticket, Work
from dgt_rag.retry import RetryPolicy

Say = Callable[[str], None]
Rank = Callable[[], tuple[int, ...]]
"""Tells the rank of a call that waits; the smaller goes first."""
_Waiting = tuple[tuple[int, ...], int, Rank, asyncio.Future[Ticket]]
"""Rank, number of arrival, what tells the rank, and the place that is waited for."""


@dataclass(frozen=True)
class State:
    """How an endpoint is, as far as a call that failed must know it."""

    away: bool = False
    """Whether it is taken to be away for now."""
    dead: str = ""
    """Why it is taken to be dead; empty while it is not."""


class Allowance:
    """How many calls may go out until somebody says otherwise, at all the endpoints that keep to it together."""

    def __init__(self) -> None:
        self.calls: int | None = None
        """None: any number."""

    def take(self) -> None:
        """Take note that one goes out."""
        if self.calls is not None:
            self.calls = max(0, self.calls - 1)


class Gate:
    """The places of one endpoint. Each that is given must be ended."""

    def __init__(
        self, name: str, policy: RetryPolicy, limits: Limits, say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limiter = Limiter(limits, clock())
        self.outcomes: Counter[str] = Counter()
        """How often calls ended how: `ok`, or the kinds of `Busy`."""
        self.waiters: set[asyncio.Task[Any]] = set()
        """The tasks of this process that wait for a place, and for nothing else."""
        self._max_wait = policy.max_wait
        self._clock = clock
        self._breaker = Breaker(name, policy, say)
        self._queue: list[_Waiting] = []
        self._elsewhere: set[asyncio.Future[Ticket]] = set()
        """Places that are not waited for while the endpoint is away."""
        self._allowances: list[Allowance] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._queue)

    @property
    def down(self) -> bool:
        """Whether the endpoint is away and it is not yet time to look again."""
        return self.back_in > 0

    @property
    def back_in(self) -> float:
        """Seconds until somebody may look whether the endpoint is back; 0 if it is not away."""
        return self._breaker.delay(self._clock())

    @property
    def line(self) -> str:
        """Why the endpoint is taken to be away."""
        return self._breaker.line

    @property
    def idle(self) -> bool:
        """Whether another call would get a place at once."""
        return not self._queue and self._delay() == 0

    async def state(self) -> State:
        """Return how the endpoint is, after all that has ended."""
        dead = self._breaker.dead(self._clock())
        return State(self._breaker.open, self._breaker.line if dead else "")

    async def place(self, rank: Rank = tuple, patient: bool = True) -> Ticket:
        """Wait for a place; raises `EndpointDown` if the endpoint dies meanwhile, or is away and the call is not `patient`."""
        if self.idle:
            return self._take()
        place, task = self.asked(rank, patient), asyncio.current_task()
        assert task is not None
        self.waiters.add(task)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.ended(place.result(), "cancelled")
            raise
        finally:
            self.waiters.discard(task)

    def asked(self, rank: Rank, patient: bool = True) -> asyncio.Future[Ticket]:
        """Return a place to wait for; cancelled, it is not given."""
        place: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        if not patient:
            self._elsewhere.add(place)
            place.add_done_callback(self._elsewhere.discard)
        self._number += 1
        heapq.heappush(self._queue, (rank(), self._number, rank, place))
        self._pump()
        return place

    def ended(self, ticket: Ticket, outcome: str, work: Work | None = None, busy: Busy | None = None) -> None:
        """Give a place back, with what became of the call: its work if it was answered, else why it was not."""
        now = self._clock()
        self.outcomes[outcome] += 1
        if busy is None:
            self.limiter.end(ticket, now, "ok" if work else "cancelled", work)
        elif busy.kind == "rate_limit":
            self.limiter.refuse(ticket, now, min(busy.retry_after or 0.0, self._max_wait) or None)
        else:
            self.limiter.end(ticket, now, "failed")
        # whatever else an endpoint answered, it is there
        there = busy is None and outcome != "cancelled"
        self._breaker.ended(now, "ok" if there else outcome, str(busy or ""))
        if self._breaker.dead(now):
            self._fail(self._queue)
        elif self._elsewhere and self.down:
            self._fail([one for one in self._queue if one[-1] in self._elsewhere])
        self._pump()

    def tighten(self, limits: Limits) -> None:
        """Keep to these limits as well."""
        self.limiter.tighten(limits, self._clock())

    def keep_to(self, allowance: Allowance) -> None:
        """Let no more calls through than are allowed."""
        if allowance not in self._allowances:
            self._allowances.append(allowance)
        self._pump()

    def forget(self, allowance: Allowance) -> None:
        """Keep to it no more."""
        self._allowances = [one for one in self._allowances if one is not allowance]
        self._pump()

    def _take(self) -> Ticket:
        now = self._clock()
        self._breaker.started(now)
        for allowance in self._allowances:
            allowance.take()
        return self.limiter.start(now)

    def _delay(self) -> float | None:
        now = self._clock()
        if any(allowance.calls == 0 for allowance in self._allowances):
            return None
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
                self._queue = [(rank(), number, rank, one) for _, number, rank, one in self._queue if not one.done()]
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

    def _fail(self, waiting: list[_Waiting]) -> None:
        for *_, place in waiting:
            if not place.done():
                place.set_exception(EndpointDown(self._breaker.line))
        self._queue = [one for one in self._queue if not one[-1].done()]
        heapq.heapify(self._queue)
