"""A model behind one or more endpoints: an ask becomes requests, their answers a reply."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pydantic import ValidationError

from dgt_rag.errors import EndpointDown, ModelClosed, ModelError
from dgt_rag.llm.base import Ask, Reply, Sampling, Speaker
from dgt_rag.llm.endpoint import Endpoint, Sent, ToolsIgnored
from dgt_rag.llm.replies import FORM, BadReply, arguments_of, correction, read
from dgt_rag.llm.wire import Answer, Request, encoded, key_of
from dgt_rag.prompts import Prompts
from dgt_rag.prompts.told import Run, said_in
from dgt_rag.records import ToolCall, ToolSpec, Usage
from dgt_rag.world import World

_ROOM = 1024
"""Tokens that a reply which the endpoint cut off by itself gets at least when it is asked for again."""


class Truncated(Exception):
    """A reply that ended at its longest length."""


@dataclass(frozen=True)
class _Try:
    """Where one ask stands: what is asked next, and what has been spent on it."""

    request: Request
    prompt_hash: str
    usage: Usage = field(default_factory=Usage)
    mended: bool = False
    lengthened: bool = False


class Remote(Speaker):
    """Asks of one model; a conversation stays on one endpoint as long as that lives."""

    def __init__(self, endpoints: Sequence[Endpoint], sampling: Sampling, tool_mode: str, world: World) -> None:
        self.endpoints = endpoints
        self.sampling = sampling
        self.prompts = Prompts(world.prompts)
        self._order = world.order
        self._probing = tool_mode == "auto"
        ignored = any(endpoint.traits.tools == "ignored" for endpoint in endpoints)
        self.tool_mode: Literal["native", "schema"] = (
            "schema" if tool_mode == "schema" or (self._probing and ignored) else "native"
        )

    @property
    def width(self) -> int:
        """Four times what the endpoints take at once: a growing limit finds work, and at the end there is a choice who goes."""
        return 4 * sum(endpoint.guard.limiter.limit for endpoint in self.endpoints)

    @cached_property
    def told(self) -> frozenset[Run]:
        """What its prompts say themselves, and what is added about the form of a reply."""
        return self.prompts.told | said_in([FORM])

    async def reply(self, ask: Ask) -> Reply:
        """Answer; a reply with neither value nor tool calls says that `tool_mode` has become `schema`: ask in that way."""
        model = self.endpoints[0].config.model
        home = self._homes(ask)[0]
        try:
            if ask.tools and ask.tool_choice != "none" and not await self._calls_tools(home, ask.tools):
                raise ToolsIgnored
            request = self._request(ask)
            return await self._asked(ask, _Try(request, _hash(request)))
        except ToolsIgnored:
            self.tool_mode = "schema"
            return Reply(None, model)

    async def _calls_tools(self, home: Endpoint, tools: tuple[ToolSpec, ...]) -> bool:
        return self.tool_mode == "native" and (not self._probing or await home.takes_tools(tools))

    def _homes(self, ask: Ask) -> list[Endpoint]:
        """Return the endpoints that a conversation may go to: its own by its number, then the others; living ones first."""
        first = ask.talk.index % len(self.endpoints)
        return sorted((*self.endpoints[first:], *self.endpoints[:first]), key=lambda endpoint: endpoint.guard.down)

    def _request(self, ask: Ask) -> Request:
        offered = ask.tools if self.tool_mode == "native" and ask.native else ()
        return Request(
            messages=tuple(self.prompts.messages(ask)),
            reply_type=ask.reply_type,
            sampling=ask.sampling.over(self.sampling),
            # many servers hold seeds in 32 bits, some in signed ones
            seed=ask.dice.number & 0x7FFFFFFF,
            tools=offered,
            tool_choice=ask.tool_choice if offered else "none",
        )

    async def _asked(self, ask: Ask, now: _Try) -> Reply:
        while True:
            home, sent = await self._sent(ask, now.request)
            now = replace(now, usage=now.usage + sent.answer.usage)
            try:
                reply = _judge(ask, now.request, sent)
            except BadReply as bad:
                home.note(sent, bad.reason, ask.purpose, ask.talk.index)
                home.shown.shaped(sent.traits, good=False)
                now = _mended(now, ask, sent.answer, bad)
            except Truncated:
                home.note(sent, "truncated", ask.purpose, ask.talk.index)
                now = _lengthened(now, ask, sent.answer)
            except ModelError as error:
                home.note(sent, error.reason, ask.purpose, ask.talk.index)
                raise
            else:
                home.note(sent, "tool_calls" if reply.tool_calls else "ok", ask.purpose, ask.talk.index)
                if reply.value is not None:
                    home.shown.shaped(sent.traits, good=True)
                return replace(reply, model=home.config.model, usage=now.usage, prompt_hash=now.prompt_hash)

    async def _sent(self, ask: Ask, request: Request) -> tuple[Endpoint, Sent]:
        """Send to the conversation's endpoint, or to another one if that has died."""
        homes = self._homes(ask)
        gone: EndpointDown | None = None
        for home in homes:
            alone = all(other.guard.down for other in homes if other is not home)
            try:
                return home, await home.send(request, lambda: self._order(ask.talk), patient=alone)
            except EndpointDown as error:
                gone = error
        raise ModelClosed(str(gone)) from gone


def _hash(request: Request) -> str:
    """Return a hash of the prompt alone: rows must not depend on the form in which an endpoint takes it."""
    return key_of(encoded(request.messages))[:16]


def _judge(ask: Ask, request: Request, sent: Sent) -> Reply:
    """Return the reply that an answer is, or raise what is wrong with it."""
    answer = sent.answer
    raw = answer.text or answer.reasoning
    if answer.refusal:
        raise ModelError("refused", f"{ask.purpose}: {answer.refusal}", answer.refusal)
    if answer.finish == "content_filter":
        raise ModelError("content_filter", f"{ask.purpose}: the endpoint's filter cut the reply", raw)
    if answer.finish == "length":
        raise Truncated
    if answer.calls and request.tool_choice != "none":
        return Reply(None, "", _calls(ask, answer), text=answer.text, reasoning=answer.reasoning)
    if request.tool_choice == "required":
        raise BadReply("it had to be a call of one of the tools", "no_tool_call")
    if not answer.text.strip():
        raise BadReply("it was empty", "empty_reply")
    mend = sent.traits.rung in ("json_object", "text") and request.tool_choice == "none"
    value = read(answer.text, ask.reply_type, mend)
    return Reply(value, "", text=answer.text, reasoning=answer.reasoning)


def _calls(ask: Ask, answer: Answer) -> tuple[ToolCall, ...]:
    """Return the tool calls with ids of our own: endpoints' ids are drawn anew in every run, and some repeat them."""
    made = []
    for number, call in enumerate(answer.calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise BadReply("a tool call has no name")
        call_id = f"call_{ask.dice.child('call', number).number:016x}"
        arguments = arguments_of(function.get("arguments"))
        try:
            made.append(ToolCall(call_id=call_id, name=str(function["name"]), arguments=arguments))
        except ValidationError:
            raise BadReply("the arguments of the tool call are nested too deeply") from None
    return tuple(made)


def _mended(now: _Try, ask: Ask, answer: Answer, bad: BadReply) -> _Try:
    """Return the one repair round: the model sees its reply and what was wrong with it."""
    raw = answer.text or (json.dumps(answer.calls, ensure_ascii=False) if answer.calls else answer.reasoning)
    if now.request.tool_choice == "auto":
        # the model chose to answer, only not in the shape asked for: now with the shape enforced
        return replace(now, request=replace(now.request, tool_choice="none"))
    if now.mended:
        raise ModelError(bad.reason, f"{ask.purpose}: {bad}", raw)
    words = correction(ask.reply_type, str(bad)) if now.request.tool_choice == "none" else f"Not usable: {bad}."
    said = raw[:4000] if answer.text else ""
    return replace(now, request=now.request.answered(said, words), mended=True)


def _lengthened(now: _Try, ask: Ask, answer: Answer) -> _Try:
    """Return the one try with more room."""
    if now.lengthened:
        raise ModelError("truncated", f"{ask.purpose}: the reply was cut off twice", answer.text or answer.reasoning)
    room = 2 * (now.request.sampling.max_tokens or max(_ROOM // 2, answer.usage.completion_tokens))
    return replace(now, request=now.request.longer(room), lengthened=True)
