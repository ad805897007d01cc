"""The keys of a part of a task file as a person reads them, from its model: types, defaults, help, a sample."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dgt_rag.plugins import Choice, InputFile, InputFolder, Plugin, current

_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off"}
_WORDS: dict[Any, str] = {
    bool: "true | false",
    int: "integer",
    float: "number",
    str: "text",
    SecretStr: "text",
    Path: "path",
}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


def told(cls: type[BaseModel], indent: str = "  ") -> Iterator[str]:
    """Tell every key: its type, its default, its help; those of a mapping below it."""
    for name, field in sorted(cls.model_fields.items(), key=lambda named: not named[1].is_required()):
        if issubclass(cls, Plugin) and name == cls.key:
            continue
        yield f"{indent}{field.alias or name}: {_type(field.annotation, field.metadata)}{_bounds(field)}, {_default(field)}"
        for line in (field.description or "").splitlines():
            yield f"{indent}    {line}".rstrip()
        inner = _inside(field.annotation)
        if inner is not None and not any(isinstance(mark, Choice) for mark in field.metadata):
            yield from told(inner, f"{indent}    ")


def sample(plugin: type[Plugin]) -> Iterator[str]:
    """Write the plugin as a task file would hold it: what it needs or has an example of, and as remarks what may be set."""
    yield f"{plugin.key}: {plugin.plugin_name()}"
    optional = []
    for name, field in plugin.model_fields.items():
        if field.is_required() or field.examples:
            yield f"{field.alias or name}: {as_yaml(_example(name, field))}"
        elif name != plugin.key:
            optional.append(f"# {field.alias or name}: {as_yaml(_plain(field.get_default(call_default_factory=True)))}")
    yield from (line for line in optional if len(line) <= 100)


def as_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(part) for part in value) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


def _type(annotation: Any, marks: list[Any] | tuple[Any, ...] = ()) -> str:
    chosen = next((mark for mark in marks if isinstance(mark, Choice)), None)
    if chosen:
        return f"one of `dgt-rag list {chosen.kind}`"
    for path, word in ((InputFile, "file"), (InputFolder, "folder")):
        if get_args(path)[1] in marks:
            return word
    parts = get_args(annotation)
    match get_origin(annotation):
        case None:
            return _WORDS.get(annotation) or ("mapping" if _inside(annotation) else "any value")
        case origin if origin is Annotated:
            return _type(parts[0], parts[1:])
        case origin if origin is Literal:
            return " | ".join(as_yaml(part) for part in parts)
        case origin if origin in {Union, UnionType}:
            return " or ".join(dict.fromkeys(_type(part) for part in parts if part is not NoneType))
        case origin if isinstance(origin, type) and issubclass(origin, Mapping):
            return f"mapping of names to {_type(parts[1])}"
        case _:
            return f"list of {_type(parts[0])}" if parts and not isinstance(parts[0], list) else "any value"


def _inside(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a key holds, or that stands in its list or mapping."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated:
        base, *marks = get_args(annotation)
        return None if any(isinstance(mark, Choice) for mark in marks) else _inside(base)
    return next((found for part in get_args(annotation) if (found := _inside(part))), None)


def _bounds(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(mark, name):g}"
        for mark in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(mark, name, None) is not None
    ]
    return f" {' and '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "optional"
    shown = as_yaml(_plain(value))
    return "with defaults" if isinstance(value, BaseModel) or len(shown) > 100 else f"default {shown}"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    # what a guest's key holds may be anything; a secret hides itself
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _example(name: str, field: FieldInfo) -> Any:
    """Return a value that a required key might have: the model's own example, or its name in capitals."""
    if field.examples:
        return field.examples[0]
    return _made(name, field.annotation, field.metadata)


def _made(name: str, annotation: Any, marks: list[Any] | tuple[Any, ...] = ()) -> Any:
    chosen = next((mark for mark in marks if isinstance(mark, Choice)), None)
    if chosen:
        return _needed(current().plugins.own(chosen.kind)[0])
    if get_args(InputFile)[1] in marks:
        return "documents.jsonl"
    parts = get_args(annotation)
    match get_origin(annotation):
        case None if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            return _needed(annotation)
        case None:
            return 1 if annotation in {int, float} else name.upper()
        case origin if origin is Annotated:
            return _made(name, parts[0], parts[1:])
        case origin if origin is Literal:
            return parts[0]
        case origin if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"NAME": _made(name, parts[1])}
        case origin if origin in {Union, UnionType}:
            return _made(name, parts[0])
        case _:
            return [_made(name, parts[0])]


def _needed(cls: type[BaseModel]) -> dict[str, Any]:
    """Return what a mapping of this model must say."""
    named = {cls.key: cls.plugin_name()} if issubclass(cls, Plugin) else {}
    return named | {
        field.alias or name: _example(name, field) for name, field in cls.model_fields.items() if field.is_required()
    }
