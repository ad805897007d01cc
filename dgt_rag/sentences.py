"""What pydantic finds wrong, in the words of a task file: what is needed, and what was got."""

import re
from collections.abc import Mapping
from typing import Any

from dgt_rag.plugins import unknown

_SECRET = re.compile(r"key|secret|passw|auth|token\b|header", re.IGNORECASE)
"""Keys whose values no error may show."""
_NEEDED = {
    "missing": "is missing",
    "dict_type": "a mapping is needed",
    "mapping_type": "a mapping is needed",
    "model_type": "a mapping is needed",
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
    "int_type": "an integer is needed",
    "int_parsing": "an integer is needed",
    "int_from_float": "an integer is needed",
    "float_type": "a number is needed",
    "float_parsing": "a number is needed",
    "finite_number": "a finite number is needed",
    "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed",
    "string_type": "text is needed",
    "path_type": "a path is needed",
    "extra_forbidden": "there is no such key",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length}",
    "string_too_short": "needs at least {min_length} characters",
    "json_invalid": "not JSON: {error}",
}
_OWN = {
    "unknown_key",
    "unknown_plugin",
    "unknown_pattern",
    "plugin_missing",
    "missing_file",
    "is_folder",
    "is_file",
    "no_description",
    "task",
}
"""Our own errors that say already what was got."""
_SHOWN = 60


def sentence(error: Mapping[str, Any]) -> str:
    """Return one of `ValidationError.errors()` as a sentence without its place."""
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind in _OWN or kind == "missing":
        return _NEEDED.get(kind, message)
    if kind == "literal_error" and isinstance(error["input"], str):
        return unknown("value", error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    if kind == "union_tag_invalid":
        what = error["ctx"]["discriminator"].strip("_'()").removesuffix("_of")
        return unknown(what, error["ctx"]["tag"], re.findall(r"'([^']*)'", error["ctx"]["expected_tags"]))
    told = _NEEDED[kind].format(**error.get("ctx", {})) if kind in _NEEDED else f"{message[:1].lower()}{message[1:]}"
    return told + _got(error)


def _got(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    if isinstance(value, dict | list | tuple | bytes) or any(_SECRET.search(str(part)) for part in error["loc"]):
        return ""
    shown = "nothing" if value is None else repr(value)
    return f"; got {shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + '…'}"
