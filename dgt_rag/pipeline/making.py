"""The making of a run's conversations: in this process, or in others when its own CPU is what limits it."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

from dgt_rag.builders.conversation import make_conversation
from dgt_rag.errors import TaskError, told_by
from dgt_rag.executors.local import work_off
from dgt_rag.pipeline.crew import Crew
from dgt_rag.pipeline.growth import Growth
from dgt_rag.pipeline.ledger import Ledger
from dgt_rag.pipeline.mate import Lead
from dgt_rag.pipeline.order import Order
from dgt_rag.pipeline.progress import Progress
from dgt_rag.pipeline.way import Way
from dgt_rag.pipeline.worker import Job
from dgt_rag.records import ConversationDataPoint
from dgt_rag.stages.base import Bench
from dgt_rag.store.calls import Calls
from dgt_rag.task import Task

_WIDTH = 8
"""How many conversations are in the air where no stage asks a model of ours."""


class Making:
    """Makes what a ledger owes and puts it into the journal."""

    def __init__(self, task: Task, way: Way, folder: Path, calls: Calls, bench: Bench) -> None:
        self.task = task
        self.way = way
        self.folder = folder
        self.calls = calls
        self.bench = bench
        self._crew: Crew | None = None
        self._here: set[asyncio.Task[ConversationDataPoint]] = set()
        """Conversations that this process makes."""
        self._handed_over: set[asyncio.Task[ConversationDataPoint]] = set()

    @property
    def workers(self) -> int:
        """Worker processes that have been at it, beside the one that leads."""
        return self._crew.begun if self._crew else 0

    @property
    def hits(self) -> int:
        """Requests that were answered from the store of calls."""
        return self.calls.hits + (self._crew.hits if self._crew else 0)

    def unreported(self) -> int:
        """Return how many calls of worker processes ended that are not in the sums yet."""
        return self._crew.unreported if self._crew else 0

    def totals(self) -> dict[str, Any]:
        """Return the sums over the calls so far, those of worker processes among them."""
        totals = self.calls.totals()
        for name, value in (self._crew.spent() if self._crew else {}).items():
            # a cost that nobody knows stays unknown
            totals[name] = (totals[name] or 0) + value if value or totals[name] is not None else None
        return totals

    async def make(self, ledger: Ledger, order: Order, progress: Progress) -> None:
        """Make all that is owed; raises what stops the run."""
        try:
            async with asyncio.TaskGroup() as group:
                crew = self._crew = Crew(self._job, Lead(self.way.guards, order, self.way.say), group)
                growth = Growth(crew, ledger, self.way.guards, self._hand_over)
                if self.task.processes and progress.resumed < self.task.num_outputs:
                    await growth.have(self.task.processes)
                most = 0 if self.task.processes else self.way.processes
                growing = group.create_task(growth.watch(most, self.way.load))
                await work_off(
                    ledger.owed(),
                    lambda index: self._one(index, ledger, progress),
                    self._width,
                    lambda: ledger.complete,
                )
                growing.cancel()
                await crew.close()
        except BaseExceptionGroup as errors:
            raise told_by(errors) from errors

    async def _one(self, index: int, ledger: Ledger, progress: Progress) -> None:
        progress.in_the_air += 1
        try:
            talk = await self._made(index)
        finally:
            progress.in_the_air -= 1
        self.calls.flush()
        ledger.journal.add(talk)
        ledger.end(index)
        progress.kept = ledger.kept
        progress.dropped = ledger.reasons

    async def _made(self, index: int) -> ConversationDataPoint:
        """Return a conversation, made by another process if there is one."""
        while True:
            if self._crew and (talk := await self._crew.make(index)):
                return talk
            making = asyncio.create_task(make_conversation(self.task, self.bench, index))
            self._here.add(making)
            try:
                return await making
            except asyncio.CancelledError:
                if making not in self._handed_over or _stopping():
                    making.cancel()
                    raise
            finally:
                self._here.discard(making)
                self._handed_over.discard(making)

    def _hand_over(self) -> None:
        """End here what waits for a place: another process goes on with it, its calls so far answered from the store."""
        if not self.calls.read_cache:
            return
        self.calls.flush()
        waiting = {task for guard in self.way.guards.known.values() for task in guard.gate.waiters}
        for making in (self._here & waiting) - self._handed_over:
            self._handed_over.add(making)
            making.cancel()

    def _job(self) -> Job:
        """Return what a worker process must know."""
        try:
            task = pickle.dumps(self.task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TaskError(f"a plugin of the task cannot be given to another process ({error})") from error
        return Job(self.task.plugins, task, self.folder, self.calls.read_cache, self.way.corpora)

    def _width(self) -> int:
        return self.task.concurrency or max((speaker.width for speaker in self.bench.speakers.values()), default=_WIDTH)


def _stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
