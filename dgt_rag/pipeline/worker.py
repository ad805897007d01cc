"""A process that makes conversations for a run of another one: it asks that one for every place before an endpoint.

Started by `pipeline/crew.py`; it ends when its pipe does, whatever became of the other end.
"""

import asyncio
import gc
import os
import pickle
import sys
import time
import traceback
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgt_rag.builders.conversation import make_conversation
from dgt_rag.catalog import local_plugins
from dgt_rag.errors import Busy, DgtError, EndpointDown, TaskError
from dgt_rag.executors.channel import Channel
from dgt_rag.gate import Gate, Rank, Say, State
from dgt_rag.guard import Guards
from dgt_rag.limiter import Limits, Ticket, Work
from dgt_rag.pipeline.opening import opened
from dgt_rag.records import ConversationDataPoint, Document
from dgt_rag.retry import RetryPolicy
from dgt_rag.stages.base import Bench
from dgt_rag.store.calls import Calls, open_calls
from dgt_rag.task import Task
from dgt_rag.world import World

_TELL = 0.25
"""Seconds between two reports of what was spent."""
_TELL_OF_BUDGET = 0.05
"""The same where a budget has to be kept to."""


@dataclass(frozen=True)
class Job:
    """What a worker must know of the run, beside its task."""

    plugins: Sequence[str]
    """The task's Python files: its plugins can be read only once these are loaded."""
    task: bytes
    """The task, pickled."""
    folder: Path
    cache: bool
    corpora: Mapping[str, Sequence[Document]]


@dataclass(frozen=True)
class _FarTicket(Ticket):
    number: int = 0


class _FarGate(Gate):
    """The gate of an endpoint in the process that leads the run."""

    def __init__(self, channel: Channel, name: str, policy: RetryPolicy, limits: Limits, say: Say) -> None:
        super().__init__(name, policy, limits, say)
        self.name = name
        self.channel = channel
        self.asked_for: dict[int, asyncio.Future[Any]] = {}
        self._away = ""
        self._until = 0.0

    @property
    def back_in(self) -> float:
        """Seconds until somebody may look whether the endpoint is back, as far as it was told."""
        return max(0.0, self._until - self._clock())

    @property
    def line(self) -> str:
        """Why the endpoint is taken to be away."""
        return self._away

    def away(self, line: str, seconds: float) -> None:
        """Take note that the endpoint is away, or with 0 seconds that it is not."""
        self._away, self._until = line, self._clock() + seconds

    async def place(self, rank: Rank = tuple, patient: bool = True) -> Ticket:
        """Wait for a place."""
        number, place = self._question()
        self.channel.send("place", self.name, number, rank(), patient)
        try:
            await place
        except asyncio.CancelledError:
            self.channel.send("leave", self.name, number)
            raise
        finally:
            del self.asked_for[number]
        return _FarTicket(0.0, 0, 0, 0, number)

    async def state(self) -> State:
        """Return how the endpoint is, after all that has ended."""
        number, answer = self._question()
        self.channel.send("state", self.name, number)
        try:
            found: State = await answer
        finally:
            del self.asked_for[number]
        return found

    def ended(self, ticket: Ticket, outcome: str, work: Work | None = None, busy: Busy | None = None) -> None:
        """Give a place back, with what became of the call."""
        assert isinstance(ticket, _FarTicket)
        why = (busy.kind, str(busy), busy.retry_after) if busy else None
        self.channel.send("ended", self.name, ticket.number, outcome, work, why)

    def _question(self) -> tuple[int, asyncio.Future[Any]]:
        self._number += 1
        answer = self.asked_for[self._number] = asyncio.get_running_loop().create_future()
        return self._number, answer

    def hear(self, number: int, answer: Any) -> None:
        """Take the answer to a question; whoever asked may be gone."""
        place = self.asked_for.get(number)
        if place is None or place.done():
            return
        if isinstance(answer, str):
            place.set_exception(EndpointDown(answer))
        else:
            place.set_result(answer)


class Worker:
    """The conversations that this process has in the air."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.guards = Guards(say=self._say, gate=self._far_gate)
        self._making: dict[int, asyncio.Task[None]] = {}
        self._ready = False
        self._task: Task
        self._bench: Bench
        self._calls: Calls

    async def serve(self) -> None:
        """Do what the leading process says, until it has nothing more to say or is gone."""
        working: asyncio.Task[None] | None = None
        async for message in self.channel.messages():
            match message:
                case ("job", job):
                    working = self._begun(self._work(job))
                case ("make", index):
                    self._making[index] = self._begun(self._make(index))
                case ("leave", index) if index in self._making:
                    self._making[index].cancel()
                case ("answer", name, number, answer):
                    self._gate(name).hear(number, answer)
                case ("away", name, line, seconds):
                    self._gate(name).away(line, seconds)
                case ("end",):
                    break
        for tasks in (list(self._making.values()), [working] if working else []):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        """Tell what stopped a piece of work, as it stops the run."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DgtError):
            self.channel.send("stop", type(error), str(error))
        elif error:
            # a bug of ours; its traceback is shown where the user looks
            self.channel.send("stop", RuntimeError, "".join(traceback.format_exception(error)))

    async def _work(self, job: Job) -> None:
        """Open all that the task names, then tell now and then what was spent."""
        for path in job.plugins:
            local_plugins(Path(path))
        try:
            self._task = pickle.loads(job.task)
        except (AttributeError, ImportError, pickle.UnpicklingError) as error:
            raise TaskError(f"a plugin of the task cannot be read by another process ({error})") from error
        async with AsyncExitStack() as stack:
            self._calls = stack.enter_context(open_calls(job.folder / "calls.sqlite", job.cache))
            world = World(guards=self.guards, say=self._say, calls=self._calls, corpora=job.corpora, order=_rank)
            self._bench = await stack.enter_async_context(opened(self._task, world))
            self._ready = True
            self.channel.send("ready")
            await self._tell()

    async def _make(self, index: int) -> None:
        try:
            talk = await make_conversation(self._task, self._bench, index)
            # what a conversation rests on is on disk before it is
            self._calls.flush()
            self.channel.send("made", index, talk.model_dump_json())
        finally:
            del self._making[index]

    async def _tell(self) -> None:
        """Tell what was spent here, and how busy this process is (seconds of CPU in a second); once more at the end."""
        before, cpu, at = self._calls.totals(), time.process_time(), time.monotonic()
        try:
            while True:
                await asyncio.sleep(_TELL_OF_BUDGET if self._task.max_tokens or self._task.max_cost else _TELL)
                now, clock = time.process_time(), time.monotonic()
                self._tell_spent(before, (now - cpu) / (clock - at))
                cpu, at = now, clock
        finally:
            self._tell_spent(before, 0.0)

    def _tell_spent(self, before: Mapping[str, Any], busy: float) -> None:
        spent = {name: (value or 0) - (before[name] or 0) for name, value in self._calls.totals().items()}
        self.channel.send("spent", spent, self._calls.hits, busy)

    def _say(self, line: str) -> None:
        # what there is to say of the corpus and the engines was said when the leading process opened them
        if self._ready:
            self.channel.send("say", line)

    def _far_gate(self, name: str, policy: RetryPolicy, limits: Limits, say: Say) -> Gate:
        return _FarGate(self.channel, name, policy, limits, say)

    def _gate(self, name: str) -> _FarGate:
        gate = self.guards.of(name).gate
        assert isinstance(gate, _FarGate)
        return gate


def _rank(talk: ConversationDataPoint) -> tuple[int, ...]:
    """Return what the leading process needs to rank a conversation's call."""
    return (talk.turns, talk.index)


async def main() -> None:
    """Serve the process at the other end of standard input and output."""
    loop = asyncio.get_running_loop()
    # what a guest prints must not come between the messages
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    reader, none = asyncio.StreamReader(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(none), out)
    channel = Channel(reader, asyncio.StreamWriter(transport, protocol, None, loop))
    await Worker(channel).serve()
    await channel.close()


def serve() -> None:
    """Be a worker process, until the process that leads has no more to say."""
    gc.freeze()
    # as in `commands/run.py`: a full search stops all calls for a fifth of a second
    gc.set_threshold(20_000, 20, 50)
    asyncio.run(main())
