"""One worker process of a run, as the process that leads sees it: what it is asked to make, and the places it holds."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dgt_rag.errors import Busy
from dgt_rag.executors.channel import Channel
from dgt_rag.gate import Gate
from dgt_rag.guard import Guards
from dgt_rag.limiter import Ticket
from dgt_rag.pipeline.order import Order
from dgt_rag.records import ConversationDataPoint


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
        self.unreported = 0
        """Calls that ended there and are not in those sums yet."""
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
                self.unreported += 1
                self._changed(name)
            case ("leave", name, number):
                self._leave(name, number)
            case ("state", name, number):
                self.channel.send("answer", name, number, await self._gate(name).state())
            case ("made", index, line):
                self._made(index, line)
            case ("spent", spent, hits, busy):
                self.spent, self.hits, self.busy, self.unreported = spent, hits, busy, 0
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
