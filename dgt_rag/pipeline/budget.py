"""What a run may spend: near the end fewer calls go out, and those on the wire when it is spent are waited for."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dgt_rag.errors import BudgetSpent
from dgt_rag.gate import Allowance
from dgt_rag.guard import Guards
from dgt_rag.pipeline.progress import Progress
from dgt_rag.task import Task

_LOOK = 0.1
_RECENT = 20
"""Calls from which is seen what a call takes now."""
_OVERTIME = 30.0
"""Seconds that calls on the wire are waited for when the time is up."""


class Budget:
    """`max_minutes`, `max_tokens` and `max_cost` of one run."""

    def __init__(self, task: Task, folder: Path, guards: Guards, progress: Progress) -> None:
        self._task = task
        self._folder = folder
        self._guards = guards
        self._progress = progress
        self._allowance = Allowance()
        self._before: dict[str, Any] = {}
        """The sums some calls ago, to see what a call takes now: prompts grow with their conversations."""

    async def keep(self) -> None:
        """Raise `BudgetSpent` when one of them is reached; return at once if there is none."""
        task = self._task
        while task.max_minutes or task.max_tokens or task.max_cost:
            left = list(self._left())
            if min(share for _, share, _ in left) <= 0:
                await self._land()
                raise BudgetSpent(self._line())
            enough = min((calls for _, _, calls in left if calls is not None), default=None)
            going = self._in_flight + self._progress.unreported()
            self._allow(None if enough is None else max(enough - going, 0 if going else 1))
            await asyncio.sleep(_LOOK)

    def release(self) -> None:
        """Hold nothing back any more."""
        for guard in self._guards.known.values():
            guard.gate.forget(self._allowance)

    @property
    def _in_flight(self) -> int:
        return sum(guard.limiter.in_flight for guard in self._guards.known.values())

    def _spent(self, totals: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
        """Yield each limit that is set: its name, what it is, what is used of it."""
        task = self._task
        limits: tuple[tuple[str, float | None, Callable[[], float]], ...] = (
            # minutes are those of this process, the others those of the run
            ("max_minutes", task.max_minutes, lambda: self._progress.seconds / 60),
            ("max_tokens", task.max_tokens, lambda: totals["prompt_tokens"] + totals["completion_tokens"]),
            ("max_cost", task.max_cost, lambda: totals["cost"] or 0.0),
        )
        yield from ((key, limit, used()) for key, limit, used in limits if limit is not None)

    def _left(self) -> Iterator[tuple[str, float, int | None]]:
        """Yield for each limit its name, what is left of it, and for how many calls like those so far that is enough."""
        totals = self._progress.totals()
        before = {key: used for key, _, used in self._spent(self._before)} if self._before else {}
        since = totals["calls"] - self._before.get("calls", 0)
        for key, limit, used in self._spent(totals):
            a_call = max(used / max(totals["calls"], 1), (used - before.get(key, 0.0)) / max(since, 1))
            yield key, limit - used, int((limit - used) / a_call) if a_call and key != "max_minutes" else None
        if since >= _RECENT:
            self._before = totals

    def _allow(self, calls: int | None) -> None:
        self._allowance.calls = calls
        for guard in self._guards.known.values():
            guard.gate.keep_to(self._allowance)

    async def _land(self) -> None:
        """Let no more calls out, and wait for those that are, as they are paid for in any case."""
        self._allow(0)
        longest = max((guard.policy.timeout for guard in self._guards.known.values()), default=0.0)
        until = time.monotonic() + (min(longest, _OVERTIME) if self._reached()[0] == "max_minutes" else longest)
        while time.monotonic() < until and self._in_flight:
            await asyncio.sleep(_LOOK)

    def _reached(self) -> tuple[str, float, float]:
        return next(one for one in self._spent(self._progress.totals()) if one[2] >= one[1])

    def _line(self) -> str:
        key, limit, used = self._reached()
        more = "" if key == "max_minutes" else " with more"
        return f"{self._folder}: {key} is reached ({used:.6g} of {limit:g}); the same command{more} goes on from here"
