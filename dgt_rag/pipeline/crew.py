"""The worker processes of a run: taken when this program's own CPU is what limits it, and given conversations by index.

The process that leads keeps all there is one of: the folder, the order, and the places before each endpoint.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from dgt_rag.errors import ServiceError
from dgt_rag.executors.channel import Channel
from dgt_rag.pipeline.mate import Gone, Lead, Mate
from dgt_rag.pipeline.worker import Job
from dgt_rag.records import ConversationDataPoint

_LOST = 3
"""Worker processes that may be lost, with no conversation made between, until the run stops."""
_PATIENCE = 30.0
"""Seconds that a worker has to end when the run does."""


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
        self._all: list[Mate] = []
        """Every one that was started, ready or not."""
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
    def unreported(self) -> int:
        """Calls of the workers that ended and are in no sum yet."""
        return sum(mate.unreported for mate in self.mates)

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
        for mate in self._all:
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
                talk = await min(alive, key=lambda mate: len(mate.making)).make(index)
                self._lost = 0
                return talk
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
        self._all.append(mate)
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
        await _left(process)
        if mate in self.mates and not self._closing:
            self._lose(mate, process.returncode)

    def _lose(self, mate: Mate, code: int | None) -> None:
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
