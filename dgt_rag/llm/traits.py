"""What an endpoint can do, as it has shown it; what a refusal shows of it, and the words in which a user hears of it."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from dgt_rag.plugins import Settings

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
    serves: str = ""
    """The model that its replies name."""


_SETTINGS = ("seed", "temperature", "top_p", "stop")
_ONE_CALL = re.compile(r"single tool.?calls?", re.IGNORECASE)
_NO_SYSTEM = re.compile(
    r"system (role|message|prompt)s? (is |are )?not supported|does not support (the )?system", re.IGNORECASE
)
_SHAPE = re.compile(r"response_?format|json_?(schema|object|mode)|schema|grammar|guided|structured", re.IGNORECASE)


def learned(traits: Traits, body: Mapping[str, Any], said: str, rungs: tuple[Rung, ...]) -> Traits | None:
    """Return what a refused request and the endpoint's words for it show, or None if they show nothing."""
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
    return traits.model_copy(update={"rung": left[0], "proven": False}) if left else None


def changes(before: Traits, after: Traits) -> list[str]:
    """Return a line for each thing that a user should know about an endpoint."""
    lines = []
    if after.rung != before.rung:
        ways = {"bare_schema": "a plain JSON schema", "json_object": "JSON mode", "text": "the schema in words"}
        way = ways.get(after.rung, "a JSON schema")
        lines.append(f"takes no {before.rung.replace('_', ' ')}; going on with {way}")
    if after.tools == "ignored" != before.tools:
        lines.append("ignores tools; searches are asked for as JSON (tool_mode: schema)")
    if after.system_role != before.system_role:
        lines.append("takes no system message; it goes before the first message of the user")
    if after.calls_at_once != before.calls_at_once:
        lines.append("takes one tool call in a message; those made at once are shown to it one after the other")
    lines += [f"does not take {name!r}; it is left out" for name in after.refused if name not in before.refused]
    if before.serves and after.serves != before.serves:
        lines.append(
            f"its replies name the model {after.serves!r} now, {before.serves!r} before; the rows come from both"
        )
    return lines
