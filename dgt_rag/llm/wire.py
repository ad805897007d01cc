"""The chat-completions request and response as they go over the wire."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from dgt_rag.llm.base import Sampling, ToolChoice
from dgt_rag.llm.replies import apart, in_words, loaded, schema_of
from dgt_rag.llm.traits import Rung, Traits
from dgt_rag.records import ToolSpec, Usage

_MOST_TOKENS = 100_000_000


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

    def roomy(self, max_tokens: int | None) -> "Request":
        """Return the request with so many tokens for the reply, or as many as the endpoint gives by itself."""
        return replace(self, sampling=self.sampling.model_copy(update={"max_tokens": max_tokens}))

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


@dataclass(frozen=True)
class Answer:
    """One choice of a response, read."""

    text: str
    reasoning: str
    calls: tuple[Any, ...]
    """What stands as tool calls, of whatever type."""
    finish: str
    refusal: str
    usage: Usage
    cached_tokens: int
    model: str
    """The model that the endpoint says it was."""

    @classmethod
    def read(cls, raw: bytes | str) -> "Answer":
        """Read a response body; raises ValueError if it is not a chat completion at all."""
        body = loaded(raw)
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise ValueError("not a chat completion")
        choice = _dict(body["choices"][0]) if body["choices"] else {}
        message, usage = _dict(choice.get("message")), _dict(body.get("usage"))
        text, reasoning = apart(_text(message.get("content")), _text(_thought(message)))
        if not (text or reasoning) and (choice.get("error") or (body.get("error") and not choice)):
            raise ValueError("an error in place of a reply")
        calls = message.get("tool_calls") or ()
        counted = _usage(usage)
        return cls(
            text=text,
            reasoning=reasoning,
            calls=tuple(calls) if isinstance(calls, list) else (calls,) if calls else (),
            finish=str(choice.get("finish_reason") or ""),
            refusal=_text(message.get("refusal")),
            usage=counted,
            cached_tokens=min(_count(usage.get("prompt_tokens_details"), "cached_tokens"), counted.prompt_tokens),
            model=_text(body.get("model")),
        )

    @property
    def makes_calls(self) -> bool:
        """Whether there is a tool call that can be read as one."""
        return any(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in self.calls)

    @property
    def short(self) -> str:
        """Why the answer says nothing of what the endpoint can do; "" if it does."""
        thought = f", {self.usage.reasoning_tokens:,} reasoning tokens" if self.usage.reasoning_tokens else ""
        if self.refusal:
            return "refused"
        if self.finish == "length":
            return f"cut off after {self.usage.completion_tokens:,} tokens{thought}"
        if self.text.strip():
            return ""
        return f"empty{thought or (', only reasoning' if self.reasoning else '')}"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
    """Return a number of tokens; 0 for what can be none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST_TOKENS else 0
