"""From the text a model sent to the value asked for: the schema it is shown, how its text is read, how it is corrected."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from json_repair import repair_json
from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)

FORM = "Reply with one JSON object and nothing else. It must be valid for this JSON schema:"
"""What is said before a schema."""
_CONSTRAINTS = frozenset(
    {"minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"multipleOf", "minItems", "maxItems", "uniqueItems"}
)
_LONGEST = frozenset({"maxLength"})
_NOISE = frozenset({"title", "default", "$defs", "discriminator"})
_THINK = re.compile(r"\A\s*(?:<think(?:ing)?>)?(.*?)</think(?:ing)?>", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL)


class BadReply(Exception):
    """A reply that is not what was asked for; the message is shown to the model once, `reason` names the failure."""

    def __init__(self, message: str, reason: str = "bad_reply") -> None:
        super().__init__(message)
        self.reason = reason


@lru_cache(maxsize=256)
def schema_of(cls: type[BaseModel], bare: bool = False, bounded: bool = False) -> dict[str, Any]:
    """Return the strict JSON schema of a class: references put in place, closed, every property required.

    `bare` leaves out lengths, ranges and patterns, which some endpoints refuse; the longest length of a text is left out
    unless `bounded`, because some that enforce it take hundreds of times as long for each token.
    """
    whole = cls.model_json_schema()
    without = _CONSTRAINTS if bare else frozenset() if bounded else _LONGEST
    strict: dict[str, Any] = _strict(whole, whole.get("$defs", {}), without)
    return strict


def _strict(node: Any, defs: Mapping[str, Any], without: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_strict(item, defs, without) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _strict({**defs[node["$ref"].rpartition("/")[2]], **_but(node, {"$ref"})}, defs, without)
    out = {
        # what is called `title` or `default` below `properties` is a field's name, not an annotation
        key: {name: _strict(sub, defs, without) for name, sub in value.items()}
        if key == "properties"
        else _strict(value, defs, without)
        for key, value in node.items()
        if key not in _NOISE and key not in without
    }
    if "maxLength" in out and not isinstance(out["maxLength"], dict):
        # a text that is cut at its longest length is then one letter too long, and refused
        out["maxLength"] += 1
    if "properties" in out:
        out["required"] = list(out["properties"])
        out["additionalProperties"] = False
    return out


def _but(node: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def in_words(cls: type[BaseModel]) -> str:
    """Return the instruction that shows the schema to a model whose endpoint does not enforce it."""
    schema = json.dumps(schema_of(cls), ensure_ascii=False)
    return f"{FORM}\n{schema}"


def correction(cls: type[BaseModel], error: str) -> str:
    """Return what a model is told after a reply that could not be read."""
    return f"Your reply could not be used: {error}\nWrite it again. {in_words(cls)}"


def read(text: str, cls: type[T], mend: bool) -> T:
    """Return the value that a text holds, also from among other words; with `mend` broken JSON is repaired.

    Where an endpoint enforces the schema, broken JSON is garbage, and mending it would invent a value.
    """
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        wrong = error
    for piece in _pieces(text, mend):
        try:
            return cls.model_validate(piece)
        except ValidationError as error:
            wrong = error
    raise BadReply(_one_line(wrong))


def _pieces(text: str, mend: bool) -> Iterator[object]:
    """Yield the JSON values among other words: what is fenced, what stands in braces, at last what can be mended."""
    start, end = text.find("{"), text.rfind("}")
    for piece in (*_FENCE.findall(text), text[start : end + 1] if start >= 0 else ""):
        if (value := _strictly(piece)) is not None:
            yield value
    if mend and start >= 0:
        yield _repaired(text[start:])


def _strictly(text: str) -> object:
    try:
        return loaded(text)
    except ValueError:
        return None


def loaded(text: str | bytes) -> Any:
    """Return what JSON says; raises ValueError for what is none, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _repaired(text: str) -> object:
    try:
        return repair_json(text, return_objects=True)
    except RecursionError:
        return None


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def apart(content: str, reasoning: str) -> tuple[str, str]:
    """Return a message's text and its reasoning, which some endpoints leave inside the text as `<think>…</think>`."""
    if "</think" not in content:
        return content, reasoning
    found = _THINK.match(content)
    if found is None:
        return content, reasoning
    return content[found.end() :].lstrip(), reasoning or found.group(1).strip()


def arguments_of(given: object) -> dict[str, Any]:
    """Return a tool call's arguments, which endpoints send as JSON text or, some, as an object."""
    found = _mended(given) if isinstance(given, str) else given
    if not isinstance(found, dict):
        raise BadReply("the arguments of the tool call are not a JSON object")
    return found


def _mended(text: str) -> object:
    try:
        return loaded(text or "{}")
    except ValueError:
        return _repaired(text) if "{" in text else None
