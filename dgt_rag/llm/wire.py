"""The chat-completions request and response as they go over the wire, and what one endpoint has shown it can do."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import to_json

from dgt_rag.llm.base import Sampling, ToolChoice
from dgt_rag.llm.replies import apart, in_words, schema_of
from dgt_rag.plugins import Settings
from dgt_rag.records import ToolSpec, Usage

Rung = Literal["json_schema", "bare_schema", "json_object", "text"]
RUNGS: tuple[Rung, ...] = ("json_schema", "bare_schema", "json_object", "text")
"""Ways to ask for JSON, the strictest first; an endpoint that refuses one is asked with the next."""


class Traits(Settings):
    """What an endpoint has shown it can do; found out once, remembered in the store of calls."""

    rung: Rung = "json_schema"
    tools: Literal["unknown", "native", "ignored"] = "unknown"
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    refused: tuple[str, ...] = ()
    """Settings that the endpoint does not take."""
    tools_with_shape: bool = True
    """Whether a request may carry tools and a reply's shape at once."""
    system_role: bool = True
    """Whether its chat template has a place for a system message."""
    calls_at_once: bool = True
    """Whether its chat template takes several tool calls in one message."""
    proven: bool = False
    """Whether a reply of the shape asked for was ever read in this way."""


@dataclass(frozen=True)
class Request:
    """What is to be asked, before it is said in the words of one endpoint."""

    messages: tuple[dict[str, Any], ...]
    reply_type: type[BaseModel] | None
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "none"
    bounded: bool = False
    """Whether the shape says how long a text may be: for a model that has run on, since it is dear on some endpoints."""

    def answered(self, said: str, words: str) -> "Request":
        """Return the request after a reply that was not usable, with what is to be said to it; "" if nothing was said."""
        if said:
            reply = {"role": "assistant", "content": said}
            return replace(self, messages=(*self.messages, reply, {"role": "user", "content": words}), bounded=True)
        # nothing to show: other words where they can stand, else another draw
        messages = tuple(_with_words(list(self.messages), words))
        seed = self.seed if messages != self.messages or self.seed is None else (self.seed + 1) & 0x7FFFFFFF
        return replace(self, messages=messages, seed=seed, bounded=True)

    def longer(self, max_tokens: int) -> "Request":
        """Return the request with room for a longer reply, whose texts have bounds."""
        return replace(self, sampling=self.sampling.model_copy(update={"max_tokens": max_tokens}), bounded=True)

    def body(self, model: str, traits: Traits, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON body for an endpoint with these traits."""
        body: dict[str, Any] = {"model": model, "messages": _as_taken(self.messages, traits)}
        body |= _sampling(self.sampling, self.seed, traits)
        shaped = self.reply_type is not None and (self.tool_choice == "none" or not self.tools)
        if self.tools and (traits.tools_with_shape or not shaped):
            body["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in self.tools]
            body["tool_choice"] = self.tool_choice
        # a forced shape would leave the model no way to call a tool
        if self.reply_type is not None and shaped:
            _ask_for_shape(body, self.reply_type, traits.rung, self.bounded)
        return {**body, **extra}


def _sampling(sampling: Sampling, seed: int | None, traits: Traits) -> dict[str, Any]:
    said: dict[str, Any] = sampling.model_dump(exclude_none=True, exclude_defaults=True)
    if "max_tokens" in said:
        said[traits.max_tokens_key] = said.pop("max_tokens")
    if seed is not None:
        said["seed"] = seed
    return {key: value for key, value in said.items() if key not in traits.refused}


def _ask_for_shape(body: dict[str, Any], cls: type[BaseModel], rung: Rung, bounded: bool) -> None:
    if rung in ("json_schema", "bare_schema"):
        shape = {"name": cls.__name__, "schema": schema_of(cls, rung == "bare_schema", bounded), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return
    body["messages"] = _with_words(body["messages"], in_words(cls))
    if rung == "json_object":
        body["response_format"] = {"type": "json_object"}


def _with_words(messages: list[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    """Return the messages with an instruction at the very end, so that what stands before stays a shared prefix.

    Chat templates refuse two user messages in a row, and many one after tool results: the instruction goes into the
    last message if that is a user's, and is left out after tool results, where the system message says the form.
    """
    last = messages[-1]
    if last["role"] != "user":
        return messages
    return [*messages[:-1], {**last, "content": f"{last['content']}\n\n{words}"}]


def _as_taken(messages: Sequence[dict[str, Any]], traits: Traits) -> list[dict[str, Any]]:
    """Return the messages as the endpoint's chat template takes them."""
    taken = list(messages) if traits.calls_at_once else [part for message in _paired(messages) for part in message]
    if traits.system_role or len(taken) < 2 or taken[0]["role"] != "system":
        return taken
    return [{**taken[1], "content": f"{taken[0]['content']}\n\n{taken[1]['content']}"}, *taken[2:]]


def _paired(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages with calls made at once written as if made one after the other, each before its result."""
    calls: dict[str, dict[str, Any]] = {}
    for message in messages:
        if "tool_calls" in message:
            calls = {call["id"]: {**message, "tool_calls": [call]} for call in message["tool_calls"]}
        elif message["role"] == "tool":
            yield [calls[message["tool_call_id"]], message]
        else:
            yield [message]


def encoded(value: Any) -> bytes:
    """Return a value as JSON in UTF-8, without spaces; what UTF-8 cannot hold is replaced."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def key_of(content: bytes) -> str:
    """Return the key of a whole request, the same wherever it is sent."""
    return hashlib.sha256(content).hexdigest()


_SETTINGS = ("seed", "temperature", "top_p", "stop")
_ONE_CALL = re.compile(r"single tool.?calls?", re.IGNORECASE)
_NO_SYSTEM = re.compile(
    r"system (role|message|prompt)s? (is |are )?not supported|does not support (the )?system", re.IGNORECASE
)
_SHAPE = re.compile(r"response_?format|json_?(schema|object|mode)|schema|grammar|guided|structured", re.IGNORECASE)


def learned(traits: Traits, body: Mapping[str, Any], said: str, rungs: tuple[Rung, ...]) -> Traits | None:
    """Return what a refused request (status 400 and its message) shows of an endpoint, or None if it shows nothing."""
    if "max_tokens" in body and "max_completion_tokens" in said:
        return traits.model_copy(update={"max_tokens_key": "max_completion_tokens"})
    for setting in _SETTINGS:
        if setting in body and re.search(rf"\b{setting}\b", said):
            return traits.model_copy(update={"refused": (*traits.refused, setting)})
    if traits.calls_at_once and _ONE_CALL.search(said):
        return traits.model_copy(update={"calls_at_once": False})
    if traits.system_role and _NO_SYSTEM.search(said):
        return traits.model_copy(update={"system_role": False})
    if "tools" in body and re.search("tool|function", said, re.IGNORECASE):
        change = {"tools_with_shape": False} if body["tool_choice"] == "none" else {"tools": "ignored"}
        return traits.model_copy(update=change)
    if "response_format" in body and (_SHAPE.search(said) or not traits.proven):
        return lower(traits, rungs)
    return None


def lower(traits: Traits, rungs: tuple[Rung, ...]) -> Traits | None:
    """Return the traits with the next way to ask for JSON, or None if there is none."""
    left = rungs[rungs.index(traits.rung) + 1 :]
    return traits.model_copy(update={"rung": left[0]}) if left else None


@dataclass(frozen=True)
class Answer:
    """One choice of a response, read."""

    text: str
    reasoning: str
    calls: tuple[Mapping[str, Any], ...]
    finish: str
    refusal: str
    usage: Usage
    cached_tokens: int
    message: Mapping[str, Any]

    @classmethod
    def read(cls, raw: bytes | str) -> "Answer":
        """Read a response body; raises ValueError if it is not a chat completion at all."""
        body = json.loads(raw)
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise ValueError("not a chat completion")
        choice = body["choices"][0] if body["choices"] and isinstance(body["choices"][0], dict) else {}
        message = choice.get("message") or {}
        usage = body.get("usage") or {}
        text, reasoning = apart(_text(message.get("content")), _text(_thought(message)))
        return cls(
            text=text,
            reasoning=reasoning,
            calls=tuple(message.get("tool_calls") or ()),
            finish=str(choice.get("finish_reason") or ""),
            refusal=_text(message.get("refusal")),
            usage=_usage(usage),
            cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
            message=message,
        )


def _thought(message: Mapping[str, Any]) -> object:
    return message.get("reasoning_content") or message.get("reasoning")


def _text(content: object) -> str:
    """Return a message's content, which may come in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(holder: object, key: str) -> int:
    value = holder.get(key) if isinstance(holder, dict) else None
    return int(value) if isinstance(value, int | float) else 0
