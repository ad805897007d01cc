"""One place that answers for a model: its guard, the calls already paid for, and what it has shown it can do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

from dgt_rag.errors import Busy, Exhausted, ModelClosed, ModelError
from dgt_rag.guard import Guard
from dgt_rag.limiter import Work
from dgt_rag.llm.quota import rest
from dgt_rag.llm.refusals import Raw, Refused, misses, one_line, refusal
from dgt_rag.llm.shown import Shown
from dgt_rag.llm.traits import Rung, Traits
from dgt_rag.llm.wire import Answer, Request, encoded, key_of
from dgt_rag.plugins import Settings
from dgt_rag.records import ToolSpec
from dgt_rag.world import World


class Prices(Settings):
    """What a million tokens cost, in whatever money; cost is left out of reports where nothing is said."""

    input: float
    output: float
    cached_input: float | None = None
    """For prompt tokens that the endpoint had cached; as `input` if not given."""

    def cost(self, answer: Answer) -> float:
        """Return the cost of one answer."""
        usage, cached = answer.usage, answer.cached_tokens
        dear = self.input if self.cached_input is None else self.cached_input
        fresh = max(0, usage.prompt_tokens - cached)
        return (fresh * self.input + cached * dear + usage.completion_tokens * self.output) / 1e6


class Door(Protocol):
    """The wire to one endpoint (`llm/openai.py`)."""

    async def post(self, content: bytes) -> Raw:
        """Send one chat request; raises `Busy` if there is no response, `ModelClosed` if there can be none."""

    async def models(self) -> list[str]:
        """Return the names of the models that the endpoint lists."""


@dataclass(frozen=True)
class Config:
    """What the task says of a model, as far as every endpoint of it needs it."""

    model: str
    rungs: tuple[Rung, ...]
    key: str = "set the environment variable OPENAI_API_KEY"
    """How the key is given, as an instruction."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    prices: Prices | None = None


@dataclass(frozen=True)
class Sent:
    """A request that was answered, by the endpoint or from the store."""

    answer: Answer
    key: str
    text: str
    traits: Traits
    seconds: float | None
    """How long the endpoint took; None if the store had it."""
    rest: float = 0.0
    """Seconds until the endpoint has room for another call, as it says itself."""


LITTLE, AMPLE = 512, 4096
"""Tokens for a reply that is to show what an endpoint can do; the second if the first is too little, as for models that think."""


class ToolsIgnored(Exception):
    """The endpoint takes no tools; the ask has to be put in another way."""


class Endpoint:
    """Requests to one endpoint; each is answered once and kept."""

    def __init__(self, name: str, door: Door, guard: Guard, config: Config, world: World) -> None:
        self.name = name
        self.guard = guard
        self.config = config
        self.door = door
        self.shown = Shown(name, config.rungs, world)
        self.undecided = ""
        """Why it could not be told whether the endpoint makes tool calls."""
        self._world = world
        self._under_way = 0
        self._heard = asyncio.Event()
        self._asking_for_tools = asyncio.Lock()

    @property
    def traits(self) -> Traits:
        """What the endpoint has shown it can do."""
        return self.shown.traits

    async def send(
        self, request: Request, rank: Callable[[], tuple[int, ...]] = tuple, patient: bool = True, fresh: bool = False
    ) -> Sent:
        """Return the answer to a request, put as this endpoint takes it; with `fresh` not from the store."""
        while True:
            traits = self.traits
            if request.tool_choice != "none" and traits.tools == "ignored":
                raise ToolsIgnored
            body = request.body(self.config.model, traits, self.config.extra_body)
            try:
                content = encoded(body)
                key = key_of(content)
                found = None if fresh else self._found(key)
                return found or await self._paid(partial(self._attempt, content, key, traits), rank, patient)
            except Refused as error:
                if not self.shown.learn(traits, body, error):
                    await self._others_heard()
                    raise self.shown.refused(body, error) from error

    async def tried(self, request: Request, room: int) -> Sent:
        """Ask something to see what the endpoint can do: now, with so many tokens for the reply if its context has them."""
        try:
            return await self.send(request.roomy(room), fresh=True)
        except ModelError as error:
            if error.reason != "context_too_long":
                raise
            return await self.send(request.roomy(None), fresh=True)

    def _found(self, key: str) -> Sent | None:
        found = self._world.calls.find(key) if self._world.calls else None
        try:
            return None if found is None else Sent(Answer.read(found), key, found, self.traits, None)
        except ValueError:  # kept by an earlier version, and no reply for this one
            return None

    async def _paid(
        self, attempt: Callable[[], Awaitable[Sent]], rank: Callable[[], tuple[int, ...]], patient: bool
    ) -> Sent:
        self._under_way += 1
        try:
            return await self.guard.call(attempt, rank, _work, patient)
        except Exhausted as error:
            raise ModelError(error.kind, str(error)) from error
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._heard.set()

    async def _others_heard(self) -> None:
        """Wait while nothing was ever answered and something may yet be: one refusal alone shows little of an endpoint."""
        while self._under_way and not self.shown.has_answered:
            self._heard.clear()
            await self._heard.wait()

    async def _attempt(self, content: bytes, key: str, traits: Traits) -> Sent:
        start = time.monotonic()
        raw = await self.door.post(content)
        if not 200 <= raw.status < 300:
            raise await self._refusal(raw)
        try:
            answer = Answer.read(raw.body)
        except ValueError:
            raise (await self._refusal(raw.held) if raw.held else self.shown.stray(raw)) from None
        self.shown.answered(answer)
        self._heard.set()
        text, seconds = raw.body.decode("utf-8", "replace"), time.monotonic() - start
        room = rest(raw.headers, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        return Sent(answer, key, text, traits, seconds, room)

    async def _refusal(self, raw: Raw) -> Exception:
        return ModelClosed(await self._missing(raw)) if misses(raw) else refusal(raw, self.name, self.config.key)

    async def _missing(self, raw: Raw) -> str:
        """Return the line for a model that is not there, or an address that is wrong."""
        try:
            names = await self.door.models()
        except (Busy, ModelClosed, TimeoutError):
            names = []
        if names and self.config.model not in names:
            there = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            return f"{self.name}: has no model {self.config.model!r}; it lists: {there}"
        moved = f"; redirected to {raw.moved}" if raw.moved else ""
        return f"{self.name}: {raw.message}{moved}; check `model` and `base_url` (it mostly ends in /v1)"

    async def takes_tools(self, tools: tuple[ToolSpec, ...]) -> bool:
        """Say whether the endpoint makes tool calls; asked once, with a call that any model should make."""
        async with self._asking_for_tools:
            if self.traits.tools == "unknown" and (known := self.shown.recalled()):
                # another process of the run may have asked meanwhile
                self.shown.traits = self.traits.model_copy(update={"tools": known.tools})
            if self.traits.tools == "unknown" and not self.undecided:
                found = await self._try_tools(tools)
                if found == "unknown":
                    self._world.say(
                        f"{self.name}: whether it makes tool calls could not be told ({self.undecided}); searches are "
                        "asked for as JSON in this run (tool_mode: native or schema settles it)"
                    )
                elif self.traits.tools == "unknown":
                    self.shown.become(self.traits.model_copy(update={"tools": found}))
        return self.traits.tools == "native"

    async def _try_tools(self, tools: tuple[ToolSpec, ...]) -> Literal["native", "ignored", "unknown"]:
        """Ask for a tool call with a few seeds; what is cut off, empty or refused shows neither that it makes them nor not."""
        words = f"Call the tool {tools[0].name} to look up the opening hours of the town library."
        request = Request(({"role": "user", "content": words},), None, tools=tools, tool_choice="required")
        try:
            for room in (LITTLE, AMPLE):
                shorts = []
                for seed in range(3):
                    sent = await self.tried(replace(request, seed=seed), room)
                    self.note(sent, "tool_calls" if sent.answer.makes_calls else "no_tool_call", "probe")
                    if sent.answer.makes_calls:
                        return "native"
                    shorts.append(sent.answer.short)
                if not all(shorts):
                    return "ignored"
                self.undecided = shorts[-1]
        except (ToolsIgnored, Refused):
            return "ignored"
        except ModelError as error:
            self.undecided = self.undecided or one_line(str(error).removeprefix(f"{self.name}: "), 160)
        return "unknown"

    def note(self, sent: Sent, outcome: str, purpose: str, talk: int = -1) -> None:
        """Keep an answer that was paid for, with what became of it."""
        if sent.seconds is None or self._world.calls is None:
            return
        answer, prices = sent.answer, self.config.prices
        facts = {
            "model": self.config.model,
            "endpoint": self.name,
            "purpose": purpose,
            "talk": talk,
            "outcome": outcome,
            "prompt_tokens": answer.usage.prompt_tokens,
            "cached_tokens": answer.cached_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "reasoning_tokens": answer.usage.reasoning_tokens,
            "seconds": round(sent.seconds, 4),
            "at": round(time.time(), 3),
            "cost": prices.cost(answer) if prices else None,
        }
        self._world.calls.add(sent.key, sent.text, facts)


def _work(sent: Sent) -> Work:
    usage = sent.answer.usage
    return Work(float(usage.completion_tokens or 1), float(usage.prompt_tokens), sent.rest)
