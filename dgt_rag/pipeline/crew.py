"""The worker processes of a run: taken when this program's own CPU is what limits it, and given conversations by index.

The process that leads keeps all there is one of: the folder, the order, and the places before each endpoint.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dgt_rag.errors import Busy, ServiceError
from dgt_rag.executors.channel import Channel
from dgt_rag.gate import Gate
from dgt_rag.guard import Guards
from dgt_rag.limiter import Ticket
from dgt_rag.pipeline.order import Order
from dgt_rag.pipeline.worker import Job
from dgt_rag.records import ConversationDataPoint

_LOST = 3
"""Worker processes that may be lost until the run stops."""
_PATIENCE = 30.0
"""Seconds that a worker has to end when the run does."""


class Gone(Exception):
    """The process that was to make a conversation has ended."""


@dataclass(frozen=True)
class Lead:
    """What there is one of in a run, in the process that leads it."""

    guards: Guards
    order: Order
    say: Callable[[str], None]


class Mate:
    """One worker process, as the leading process sees it."""

    def __init__(self, channel: Channel, lead: Lead, changed: Callable[[str], None]) -> None:
        self.channel = channel
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when all that the task names is open there; an error if that fails."""
        self.stopped: BaseException | None = None
        """What stopped the work there, and so the run."""
        self.busy = 0.0
        """Seconds of CPU in a second."""
        self.spent: Mapping[str, float] = {}
        """Sums over the calls made there, by name."""
        self.hits = 0
        """Requests that were answered there from the store of calls."""
        self.making: dict[int, asyncio.Future[ConversationDataPoint]] = {}
        """By the conversation's index."""
        self._lead = lead
        self._changed = changed
        self._waiting: dict[tuple[str, int], asyncio.Future[Ticket]] = {}
        self._tickets: dict[tuple[str, int], Ticket] = {}

    async def listen(self) -> None:
        """Answer the process until it ends; what it held is free then."""
        try:
            async for message in self.channel.messages():
                await self._hear(message)
        finally:
            self._give_back()

    async def make(self, index: int) -> ConversationDataPoint:
        """Have a conversation made; raises `Gone` if the process ends before it is."""
        made: asyncio.Future[ConversationDataPoint] = asyncio.get_running_loop().create_future()
        self.making[index] = made
        self.channel.send("make", index)
        try:
            return await made
        except asyncio.CancelledError:
            self.channel.send("leave", index)
            raise
        finally:
            self.making.pop(index, None)

    async def _hear(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("place", name, number, rank, patient):
                self._place(name, number, rank, patient)
            case ("ended", name, number, outcome, work, why):
                busy = Busy(*why) if why else None
                self._gate(name).ended(self._tickets.pop((name, number)), outcome, work, busy)
                self._changed(name)
            case ("leave", name, number):
                self._leave(name, number)
            case ("state", name, number):
                self.channel.send("answer", name, number, await self._gate(name).state())
            case ("made", index, line):
                self._made(index, line)
            case ("spent", spent, hits, busy):
                self.spent, self.hits, self.busy = spent, hits, busy
            case ("say", line):
                self._lead.say(line)
            case ("ready",) if not self.ready.done():
                self.ready.set_result(None)
            case ("stop", kind, text):
                self._stop(_error(kind, text))

    def _made(self, index: int, line: str) -> None:
        made = self.making.get(index)
        # whoever wanted it may have given up in this very turn of the loop
        if made and not made.done():
            made.set_result(ConversationDataPoint.model_validate_json(line))

    def _gate(self, name: str) -> Gate:
        return self._lead.guards.of(name).gate

    def _place(self, name: str, number: int, rank: tuple[int, ...], patient: bool) -> None:
        place = self._gate(name).asked(lambda: self._lead.order.rank(*rank) if rank else (), patient)
        self._waiting[name, number] = place
        place.add_done_callback(lambda place: self._placed(name, number, place))

    def _placed(self, name: str, number: int, place: asyncio.Future[Ticket]) -> None:
        left = self._waiting.pop((name, number), None) is None
        if place.cancelled():
            return
        if down := place.exception():
            self.channel.send("answer", name, number, str(down))
        elif left:
            self._give_up(name, place.result())
        else:
            self._tickets[name, number] = place.result()
            self.channel.send("answer", name, number, None)

    def _leave(self, name: str, number: int) -> None:
        if waiting := self._waiting.pop((name, number), None):
            waiting.cancel()
        if ticket := self._tickets.pop((name, number), None):
            self._give_up(name, ticket)

    def _give_up(self, name: str, ticket: Ticket) -> None:
        self._gate(name).ended(ticket, "cancelled")
        # if that call was the one that looked whether the endpoint is back, another may look now
        self._changed(name)

    def _stop(self, error: BaseException) -> None:
        self.stopped = error
        waiting: list[asyncio.Future[Any]] = [self.ready, *self.making.values()]
        for one in waiting:
            if not one.done():
                one.set_exception(error)
        # whoever waits hears of it; where nobody does it is no news
        if not self.ready.cancelled():
            self.ready.exception()

    def _give_back(self) -> None:
        for name, number in (*self._waiting, *self._tickets):
            self._leave(name, number)
        self._stop(self.stopped or Gone("it ended"))


def _error(kind: type[BaseException], text: str) -> BaseException:
    """Return an error of another process under its own name; its class may want more than a line to be made."""
    error = kind.__new__(kind, text)
    BaseException.__init__(error, text)
    return error


async def _left(process: asyncio.subprocess.Process) -> None:
    """Wait until a process has ended; one that does not is ended."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class Crew:
    """The worker processes of a run; none to begin with."""

    def __init__(self, job: Callable[[], Job], lead: Lead, group: asyncio.TaskGroup) -> None:
        self.mates: list[Mate] = []
        """Those that are ready for work."""
        self.begun = 0
        """How many there have been."""
        self._job = job
        self._lead = lead
        self._group = group
        self._closing = False
        self._started_ones: list[Mate] = []
        """Those that are not ready yet among them."""
        self._keeping: list[asyncio.Task[None]] = []
        self._said: set[str] = set()
        self._away: set[str] = set()
        self._lost = 0
        self._past = Counter[str]()
        self._past_hits = 0

    @property
    def hits(self) -> int:
        """Requests that were answered by the workers from the store of calls."""
        return self._past_hits + sum(mate.hits for mate in self.mates)

    @property
    def load(self) -> float:
        """Seconds of CPU that each takes in a second."""
        return sum(mate.busy for mate in self.mates) / len(self.mates)

    def say(self, line: str) -> None:
        """Show a line now."""
        self._lead.say(line)

    def spent(self) -> Counter[str]:
        """Return the sums over the calls that the workers made, by name."""
        spent = Counter(self._past)
        for mate in self.mates:
            spent.update(mate.spent)
        return spent

    async def grow(self, count: int) -> None:
        """Have this many more at work; raises what keeps one from opening what the task names."""
        started = await asyncio.gather(*(self._started() for _ in range(count)))
        # one may have ended while others were still starting
        self.mates += [mate for mate in started if not mate.stopped]
        self.begun += count

    async def close(self) -> None:
        """Have all end, and hear the last of what they spent."""
        self._closing = True
        for mate in self._started_ones:
            mate.channel.send("end")
        if self._keeping:
            _, late = await asyncio.wait(self._keeping, timeout=_PATIENCE)
            for keeping in late:
                keeping.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def make(self, index: int) -> ConversationDataPoint | None:
        """Have a conversation made by whoever has least to do; None if there is nobody."""
        while alive := [mate for mate in self.mates if not mate.stopped]:
            with suppress(Gone):
                return await min(alive, key=lambda mate: len(mate.making)).make(index)
        return None

    async def _started(self) -> Mate:
        job = self._job()
        # modules are looked for where this process does, and nowhere else: not in whatever folder we happen to be in
        code = f"import sys; sys.path[:] = {sys.path!r}; from dgt_rag.pipeline import worker; worker.serve()"
        command = [sys.executable, "-P", "-c", code]
        # in a session of its own: Ctrl-C is for the process that leads
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lead = replace(self._lead, say=self._say)
        mate = Mate(Channel(process.stdout, process.stdin), lead, self._changed)
        self._started_ones.append(mate)
        self._keeping.append(self._group.create_task(self._kept(mate, process)))
        mate.channel.send("job", job)
        try:
            await mate.ready
        except asyncio.CancelledError:
            # it has nothing to lose yet, and may be long at opening what the task names
            with suppress(ProcessLookupError):
                process.kill()
            raise
        return mate

    async def _kept(self, mate: Mate, process: asyncio.subprocess.Process) -> None:
        """Listen to a worker as long as it lives, and have it end with the run."""
        try:
            await mate.listen()
        except asyncio.CancelledError:
            mate.channel.send("end")
            await mate.channel.close()
            await _left(process)
            raise
        code = await process.wait()
        if mate in self.mates and not self._closing:
            self._lose(mate, code)

    def _lose(self, mate: Mate, code: int) -> None:
        """Go on without a worker that was killed; what it was making is made by others."""
        self._lost += 1
        self._past.update(mate.spent)
        self._past_hits += mate.hits
        self.mates.remove(mate)
        if mate.stopped and not isinstance(mate.stopped, Gone):
            raise mate.stopped
        if self._lost > _LOST:
            raise ServiceError(
                f"worker processes keep ending (the last with code {code}); is memory short? "
                "The same command goes on from here; `processes=1` makes do with one"
            )
        self._lead.say(f"a worker process ended (code {code}); what it was making is made again")

    def _changed(self, name: str) -> None:
        """Tell the workers when an endpoint is away, and when it no longer is."""
        gate = self._lead.guards.of(name).gate
        if not gate.down and name not in self._away:
            return
        (self._away.add if gate.down else self._away.discard)(name)
        for mate in self.mates:
            mate.channel.send("away", name, gate.line, gate.back_in)

    def _say(self, line: str) -> None:
        """Show what a worker says, once for all of them."""
        if line not in self._said:
            self._said.add(line)
            self._lead.say(line)
