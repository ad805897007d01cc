"""`schema`: the JSON Schema of a task file, with the plugins that are installed, for editors."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from dgt_rag.catalog import plugins
from dgt_rag.digit import NO_MEANING, OTHER_WAY
from dgt_rag.errors import Exit
from dgt_rag.plugins import Plugin, loading
from dgt_rag.task import Task

_FILLED_IN: JsonSchemaValue = {"type": "string", "pattern": r"\$\{.+\}"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.epilog = (
        "Put it in a file and name that on the first line of a task: # yaml-language-server: $schema=task.schema.json"
    )


def main(args: argparse.Namespace) -> int:
    """Print the schema."""
    del args
    print(json.dumps(task_schema(), indent=1, ensure_ascii=False))
    return Exit.MADE


def task_schema(guests: Sequence[type[Plugin]] = ()) -> dict[str, Any]:
    """Return the schema of a task file: our keys, those that DiGiT's files have beside them, and every plugin's."""
    with loading(plugins(guests)):
        schema = Task.model_json_schema(schema_generator=_FileSchema)
    properties = schema["properties"]
    properties["data_builder"] = {"type": "string", "default": "rag/conversation", "description": "What is made."}
    properties["formatter"] = {**properties["formatters"]["items"], "description": OTHER_WAY["formatter"]}
    for key, what in {**OTHER_WAY, **NO_MEANING}.items():
        properties.setdefault(key, {"description": what, "deprecated": True})
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


class _FileSchema(GenerateJsonSchema):
    """Numbers and truth values may also be filled in: `num_outputs: ${COUNT}`."""

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), _FILLED_IN]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), _FILLED_IN]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), _FILLED_IN]}
