"""One place that answers for a model: its guard, the calls already paid for, and what it has shown it can do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from dgt_rag.errors import Busy, Exhausted, ModelClosed, ModelError
from dgt_rag.guard import Guard
from dgt_rag.limiter import Work
from dgt_rag.llm.base import Sampling
from dgt_rag.llm.quota import rest
from dgt_rag.llm.refusals import Raw, one_line, refusal
from dgt_rag.llm.wire import Answer, Request, Rung, Traits, encoded, key_of, learned, lower
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
    key_name: str = "OPENAI_API_KEY"
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


_SHORT = Sampling(max_tokens=256)


class ToolsIgnored(Exception):
    """The endpoint takes no tools; the ask has to be put in another way."""


class Endpoint:
    """Requests to one endpoint; each is answered once and kept."""

    def __init__(self, name: str, door: Door, guard: Guard, config: Config, world: World) -> None:
        self.name = name
        self.guard = guard
        self.config = config
        self.door = door
        self._world = world
        self._strays = 0
        self._unread = 0
        self._asking_for_tools = asyncio.Lock()
        self.traits = self._known() or Traits(rung=config.rungs[0])
        if self.traits.rung not in config.rungs:
            self.traits = Traits(rung=config.rungs[0], tools=self.traits.tools)

    def _known(self) -> Traits | None:
        """Return what is remembered of the endpoint."""
        known = self._world.calls.recall(self._memory) if self._world.calls else None
        return Traits.model_validate_json(known) if known else None

    @property
    def _memory(self) -> str:
        return f"endpoint {self.name}"

    async def send(self, request: Request, rank: Callable[[], tuple[int, ...]] = tuple, patient: bool = True) -> Sent:
        """Return the answer to a request, put as this endpoint takes it."""
        while True:
            traits = self.traits
            if request.tool_choice != "none" and traits.tools == "ignored":
                raise ToolsIgnored
            body = request.body(self.config.model, traits, self.config.extra_body)
            try:
                content = encoded(body)
                key = key_of(content)
                return self._found(key) or await self._paid(partial(self._attempt, content, key, traits), rank, patient)
            except ModelError as error:
                if error.reason != "bad_request" or not self._learn(traits, body, error):
                    raise

    def _found(self, key: str) -> Sent | None:
        found = self._world.calls.find(key) if self._world.calls else None
        return None if found is None else Sent(Answer.read(found), key, found, self.traits, None)

    async def _paid(
        self, attempt: Callable[[], Awaitable[Sent]], rank: Callable[[], tuple[int, ...]], patient: bool
    ) -> Sent:
        try:
            return await self.guard.call(attempt, rank, _work, patient)
        except Exhausted as error:
            raise ModelError(error.kind, str(error)) from error

    async def _attempt(self, content: bytes, key: str, traits: Traits) -> Sent:
        start = time.monotonic()
        raw = await self.door.post(content)
        if raw.status == 404:
            raise ModelClosed(await self._missing(raw))
        if raw.status != 200:
            raise refusal(raw, self.name, self.config.key_name)
        try:
            answer = Answer.read(raw.body)
        except ValueError:
            raise self._stray(raw) from None
        self._strays = -1
        text, seconds = raw.body.decode("utf-8", "replace"), time.monotonic() - start
        room = rest(raw.headers, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        return Sent(answer, key, text, traits, seconds, room)

    async def _missing(self, raw: Raw) -> str:
        """Return the line for a 404: a model that is not there, or an address that is wrong."""
        try:
            names = await self.door.models()
        except (Busy, ModelClosed):
            names = []
        if names and self.config.model not in names:
            there = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            return f"{self.name}: has no model {self.config.model!r}; it lists: {there}"
        return f"{self.name}: {raw.message}; check `model` and `base_url` (it mostly ends in /v1)"

    def _stray(self, raw: Raw) -> Exception:
        """Return what a 200 that is no chat completion means: a wrong address if nothing else ever came."""
        said = f"{self.name}: answered {'JSON of another kind' if raw.is_json else raw.message}"
        if self._strays < 0:
            return Busy("server_error", said)
        self._strays += 1
        if self._strays < 3:
            return Busy("server_error", said)
        return ModelClosed(f"{said}, not a chat completion; check `base_url` (it mostly ends in /v1)")

    def _learn(self, before: Traits, body: Mapping[str, Any], error: ModelError) -> bool:
        """Take what a refusal shows; True if the request is worth another try."""
        if self.traits != before:
            return True
        after = learned(before, body, str(error).removeprefix(f"{self.name}: "), self.config.rungs)
        if after is None:
            return False
        self._become(after, str(error))
        return True

    def _become(self, traits: Traits, why: str = "") -> None:
        before, self.traits = self.traits, traits
        if self._world.calls:
            self._world.calls.remember(self._memory, traits.model_dump_json())
        for line in _changes(before, traits):
            self._world.say(f"{self.name}: {line}{f' ({one_line(why, 160)})' if why else ''}")

    def shaped(self, sent: Sent, good: bool) -> None:
        """Take note whether a reply had the shape asked for; a schema that is never obeyed is no longer relied on."""
        if good and not self.traits.proven and sent.traits.rung == self.traits.rung:
            self._become(self.traits.model_copy(update={"proven": True}))
        if good or self.traits.proven or sent.traits.rung != self.traits.rung:
            return
        self._unread += 1
        after = lower(self.traits, self.config.rungs) if self._unread >= 3 else None
        if after:
            self._unread = 0
            self._become(after, "three replies were not of the shape asked for")

    async def takes_tools(self, tools: tuple[ToolSpec, ...]) -> bool:
        """Say whether the endpoint makes tool calls; asked once, with a call that any model should make."""
        async with self._asking_for_tools:
            if self.traits.tools == "unknown" and (known := self._known()):
                # another process of the run may have asked meanwhile
                self.traits = self.traits.model_copy(update={"tools": known.tools})
            if self.traits.tools == "unknown":
                found = await self._try_tools(tools)
                if self.traits.tools == "unknown":
                    self._become(self.traits.model_copy(update={"tools": "native" if found else "ignored"}))
        return self.traits.tools == "native"

    async def _try_tools(self, tools: tuple[ToolSpec, ...]) -> bool:
        words = f"Call the tool {tools[0].name} to look up the opening hours of the town library."
        messages = ({"role": "user", "content": words},)
        try:
            for seed in range(3):
                request = Request(messages, None, _SHORT, seed, tools, "required")
                sent = await self.send(request)
                self.note(sent, "tool_calls" if sent.answer.calls else "no_tool_call", "probe")
                if sent.answer.calls:
                    return True
        except (ToolsIgnored, ModelError):
            return False
        return False

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


def _changes(before: Traits, after: Traits) -> list[str]:
    """Return a line for each thing that a user should know about an endpoint."""
    lines = []
    if after.rung != before.rung:
        ways = {"bare_schema": "a plain JSON schema", "json_object": "JSON mode", "text": "the schema in words"}
        lines.append(f"takes no {before.rung.replace('_', ' ')}; going on with {ways[after.rung]}")
    if after.tools == "ignored" != before.tools:
        lines.append("ignores tools; searches are asked for as JSON (tool_mode: schema)")
    if after.system_role != before.system_role:
        lines.append("takes no system message; it goes before the first message of the user")
    if after.calls_at_once != before.calls_at_once:
        lines.append("takes one tool call in a message; those made at once are shown to it one after the other")
    for setting in set(after.refused) - set(before.refused):
        lines.append(f"does not take {setting!r}; it is left out")
    return lines
