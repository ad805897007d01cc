"""The schema of a tool's arguments: which parameter is the query, whether it can be used, whether a call fits it.

What a schema refers to must stand in it: nothing is ever fetched.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from dgt_rag.errors import TaskError
from dgt_rag.records import ToolSpec


def problem_of(arguments: Mapping[str, JsonValue], spec: ToolSpec) -> str:
    """Return what is wrong with the arguments of a call, so that a model can mend it; nothing if they are right."""
    faults = sorted(_validator(spec.parameters).iter_errors(dict(arguments)), key=lambda fault: fault.json_path)
    if not faults:
        query = arguments.get(query_key(spec))
        return "" if isinstance(query, str) and query.strip() else f"{query_key(spec)}: the query is empty."
    said = "; ".join(f"{'.'.join(map(str, fault.path)) or 'arguments'}: {fault.message[:200]}" for fault in faults[:3])
    return f"{said}. The arguments of {spec.name} must follow {json.dumps(spec.parameters, ensure_ascii=False)}."


def query_key(spec: ToolSpec) -> str:
    """Return the parameter that is the query: `query`, else the first text that is required, else the first text."""
    texts = _texts(spec.parameters)
    required = spec.parameters.get("required")
    needed = [name for name in texts if isinstance(required, list) and name in required]
    for names in ([name for name in texts if name == "query"], needed, texts):
        if names:
            return names[0]
    raise TaskError(f"tool {spec.name!r}: it needs a parameter of type string for the query")


def schema_problem(spec: ToolSpec) -> str:
    """Return why a tool's parameters cannot be used; nothing if they can."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(spec.parameters)
        if lost := next(_lost(spec.parameters), None):
            return f"its parameters refer to {lost!r}, which does not stand in them; write it out there, under $defs"
        if not _texts(spec.parameters):
            return "it needs a parameter of type string for the query"
        problem_of({query_key(spec): "a question"}, spec)
    except SchemaError as error:
        return f"its parameters are no JSON Schema: {error.message}"
    except RecursionError:
        return "its parameters refer to themselves without an end"
    return ""


def _validator(parameters: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # with a registry of its own it asks nobody; without one it would fetch what a `$ref` names
    return Draft202012Validator(parameters, registry=Registry())


def _lost(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Return what a schema refers to and does not hold."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(parameters)
    left = [(root, Registry().resolver_with_root(root))]
    while left:
        part, above = left.pop()
        resolver = above.in_subresource(part)
        held = part.contents if isinstance(part.contents, Mapping) else {}
        for ref in (held[key] for key in ("$ref", "$dynamicRef") if key in held):
            try:
                resolver.lookup(ref)
            except Unresolvable:
                yield ref
        left += [(inner, resolver) for inner in part.subresources()]


def _texts(parameters: Mapping[str, Any]) -> list[str]:
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping):
        return []
    return [name for name, about in properties.items() if isinstance(about, Mapping) and about.get("type") == "string"]
