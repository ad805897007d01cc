"""When a run takes more processes: while what limits it is this program's own CPU, and there is enough left to do."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dgt_rag.errors import DgtError
from dgt_rag.guard import Guards
from dgt_rag.pipeline.crew import Crew
from dgt_rag.pipeline.ledger import Ledger
from dgt_rag.pipeline.mate import Gone

_LOOK = 0.5
_PRESSED = 0.6
"""Seconds of CPU in a second from which a process has little more to give: what comes in bursts waits for it."""
_LOOKS = 2
"""Looks in a row at which it must be so."""
_FEW = 32
"""Fewer conversations than these are not worth another process."""


@dataclass
class Load:
    """How busy this process is, in seconds of CPU in a second; the runs of one command ask the same one."""

    cpu: float = field(default_factory=time.process_time)
    at: float = field(default_factory=time.monotonic)
    load: float = 0.0

    def __call__(self) -> float:
        """Return the load of the last half second or so."""
        cpu, at = time.process_time(), time.monotonic()
        # another run may have asked just now, and a moment tells nothing
        if at - self.at >= _LOOK / 2:
            self.load = (cpu - self.cpu) / (at - self.at)
            self.cpu, self.at = cpu, at
        return self.load


@dataclass
class Growth:
    """Looks at the load of a run's processes now and then."""

    crew: Crew
    ledger: Ledger
    guards: Guards
    hand_over: Callable[[], None]
    """Take from this process what waits in it, so that others go on with it."""
    pressed: int = 0
    """Looks in a row at which the processes had no more to give."""

    async def have(self, count: int) -> None:
        """Have so many worker processes from the start; one would do no more than this process does."""
        if count > 1:
            await self.more(count)

    async def watch(self, most: int, own_load: Callable[[], float]) -> None:
        """Take more processes as long as it helps, up to so many."""
        while most > 1:
            await asyncio.sleep(_LOOK)
            if self.crew.mates:
                self.hand_over()
            load = self.crew.load if self.crew.mates else own_load()
            self.pressed = self.pressed + 1 if load >= _PRESSED else 0
            step = min(max(2, len(self.crew.mates) // 2), most - len(self.crew.mates))
            if self.pressed >= _LOOKS and step > 0 and self.left >= _FEW:
                if not await self.more(step):
                    return
                self.crew.say(f"one CPU is not enough for this run: {len(self.crew.mates)} worker processes are at it")

    @property
    def left(self) -> int:
        """Conversations that another process may take: those yet to begin, and those that wait."""
        return self.ledger.to_begin + self.guards.waiting

    async def more(self, count: int) -> bool:
        """Take more processes; False if none can be had. The first two take all the work off the one that leads."""
        self.pressed = 0
        try:
            await self.crew.grow(count)
        except (DgtError, Gone, RuntimeError, OSError) as error:
            there = len(self.crew.mates) or 1
            why = str(error).strip().rpartition("\n")[2]
            self.crew.say(f"goes on with {there} process{'es' if there > 1 else ''}: no other could begin ({why})")
            return False
        for guard in self.guards.known.values():
            guard.limiter.look_again(time.monotonic())
        return True
