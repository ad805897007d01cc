"""The closed model of a whole task file. The parsed task is the wired program."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from dgt_rag.engines.base import AnyEngine
from dgt_rag.engines.guarded import ChatMarkers
from dgt_rag.engines.tool_schema import schema_problem
from dgt_rag.formats.base import Formatter
from dgt_rag.llm.base import Model
from dgt_rag.plugins import Choice, InputFile, InputFolder, Settings, unknown
from dgt_rag.records import ToolSpec
from dgt_rag.stages.base import Stage

AnyModel = Annotated[Model, Choice("models")]
AnyStage = Annotated[Stage, Choice("stages")]
AnyFormatter = Annotated[Formatter, Choice("formatters")]


class InlineTools(Settings):
    """Tools written out in the task, bound to an engine: how the model sees the search."""

    type: Literal["inline"] = "inline"
    engine: str
    """The engine that answers the calls, by its name under `tools.engines`."""
    tools: tuple[ToolSpec, ...] = Field(min_length=1)
    """Name, description and parameters (JSON Schema) as the model sees them; one string parameter is the query."""
    namespace: str | None = None
    """A label of yours; not read."""

    @model_validator(mode="after")
    def _can_be_called(self) -> Self:
        found = ((place, schema_problem(spec)) for place, spec in enumerate(self.tools))
        if lines := [_wrong(("tools", place, "parameters"), problem) for place, problem in found if problem]:
            raise ValidationError.from_exception_data("InlineTools", lines)
        return self


class Tools(Settings):
    """Search engines, and how the assistant sees them."""

    engines: dict[str, AnyEngine] = Field(default_factory=dict)
    """Search engines by a name of your choice."""
    registry: tuple[InlineTools, ...] = ()
    """Tool definitions of your own; without one each engine brings its `search` tool."""


class Task(Settings):
    """A task: what to make, from which documents, by which stages and models."""

    task_name: str = "task"
    """The run folder's name below the output folder; `/` makes folders. The file's name if not given."""
    task_description: str = ""
    """A remark of yours."""
    created_by: str = ""
    """A remark of yours."""
    data_builder: Literal["rag/conversation"] = "rag/conversation"
    """What is made."""
    instructions: str = ""
    """What the conversations are for, in your words; every prompt shows it to the model."""
    plugins: tuple[str, ...] = ()
    """Python files with plugins of your own, relative to the task file."""
    prompts: InputFolder | None = None
    """A folder with templates that replace ours of the same name."""
    seed_examples: InputFile | None = None
    """Seed conversations (JSON Lines), shown to the models as examples of tone and form."""
    num_examples: int = Field(default=1, ge=0, le=8)
    """How many seed conversations are shown, those most like the documents."""
    chat_markers: ChatMarkers = "break"
    """Control tokens of chat templates in documents (`<|im_start|>`, `[INST]`, `</s>`, …), which a tokenizer would obey: `break` writes a space into them before a model or a row sees them, `drop` ends a conversation that meets one, `keep` lets them stand."""
    num_outputs: int = Field(default=10, ge=1)
    """How many conversations to make."""
    max_attempts: int | None = Field(default=None, ge=1)
    """How many to begin at most, to have that many kept; twice `num_outputs` if not given."""
    seed: int = 0
    """The seed of all chance."""
    min_turns: int = Field(default=2, ge=1)
    """Turns that a conversation has at least; a turn is a user message and all that answers it."""
    max_turns: int = Field(default=6, ge=1)
    """Turns that a conversation has at most, the closing one included."""
    concurrency: int | None = Field(default=None, ge=1)
    """Conversations in the air at most; found by the run if not given. How many calls are is the limiter's affair."""
    processes: int | None = Field(default=None, ge=1)
    """Worker processes that make the conversations, from the start; 1: none beside this one. If not given, the command line takes some as its own CPU becomes the limit, at most one for each core; Python none."""
    max_cost: float | None = Field(default=None, gt=0)
    """Stop, resumable, when the calls have cost this much, in the currency of the models' `prices`."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Stop, resumable, when the calls have taken this many tokens."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop, resumable, after this time."""
    models: dict[str, AnyModel] = Field(
        default_factory=lambda: {"generator": {"type": "extractive"}}, validate_default=True
    )
    """Models by a name of your choice; stages ask `generator` unless they say otherwise."""
    tools: Tools
    """Search engines and tools."""
    initialization_stages: tuple[AnyStage, ...] = Field(min_length=1)
    """Run once, before the first turn."""
    iteration_stages: tuple[AnyStage, ...] = Field(
        default=({"name": "lm/flow_controller/rag"}, {"name": "lm/user/rag"}, {"name": "lm/assistant/rag/static"}),
        min_length=1,
        validate_default=True,
    )
    """Run for each turn."""
    termination_stages: tuple[AnyStage, ...] = ()
    """Run once, after the last turn."""
    formatters: tuple[AnyFormatter, ...] = Field(default=({"type": "messages"},), validate_default=True)
    """What the kept conversations are written as, beside `final_data.jsonl`."""
    output_dir: str = "output"
    """Where run folders are made."""

    @model_validator(mode="before")
    @classmethod
    def _one_formatter(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "formatter" in data and "formatters" not in data:
            return {
                **{key: value for key, value in data.items() if key != "formatter"},
                "formatters": [data["formatter"]],
            }
        return data

    @field_validator("task_name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        if re.search(r'[\s\x00-\x1f\\:*?"<>|]', name):
            raise ValueError(r'no white space and none of \ : * ? " < > | may stand in the name of a folder')
        if ".." in name.split("/") or name.startswith("/"):
            raise ValueError("must stay inside the output folder")
        if {"", "."} & set(name.split("/")):
            raise ValueError("must name a folder, as rag/parking does")
        return name

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        lines = [*self._turns(), *self._stage_names(), *self._engine_names(), *self._formatter_files(), *self._costs()]
        if lines:
            raise ValidationError.from_exception_data("Task", lines)
        return self

    @property
    def stages(self) -> dict[str, tuple[Stage, ...]]:
        """The stages by the key they stand under."""
        keys = ("initialization_stages", "iteration_stages", "termination_stages")
        return {key: getattr(self, key) for key in keys}

    @property
    def attempts(self) -> int:
        """How many conversations are begun at most."""
        return max(self.num_outputs, self.max_attempts or 2 * self.num_outputs)

    def _turns(self) -> list[InitErrorDetails]:
        if self.min_turns <= self.max_turns:
            return []
        if "min_turns" in self.model_fields_set:
            return [_wrong(("min_turns",), f"{self.min_turns} is more than max_turns ({self.max_turns})")]
        return [_wrong(("max_turns",), f"{self.max_turns} is less than min_turns ({self.min_turns}); set that too")]

    def _costs(self) -> list[InitErrorDetails]:
        """Refuse a limit on what nobody can add up."""
        asked = {name for stages in self.stages.values() for stage in stages for name in stage.model_names()}
        free = [name for name in sorted(asked & set(self.models)) if getattr(self.models[name], "prices", "") is None]
        if self.max_cost is None or not free:
            return []
        where = ", ".join(f"models.{name}.prices" for name in free)
        return [_wrong(("max_cost",), f"what a call costs is not known; give {where}")]

    def _stage_names(self) -> list[InitErrorDetails]:
        lines = []
        for key, stages in self.stages.items():
            for place, stage in enumerate(stages):
                named = (
                    ("model", stage.model_names(), self.models),
                    ("engine", stage.engine_names(), self.tools.engines),
                )
                for what, names, known in named:
                    lines += [
                        _wrong((key, place, *_where(stage, name)), unknown(what, name, known))
                        for name in names
                        if name not in known
                    ]
        return lines

    def _engine_names(self) -> list[InitErrorDetails]:
        engines = self.tools.engines
        lines = [
            _wrong(("tools", "engines", own, *_where(engine, name)), unknown("engine", name, engines))
            for own, engine in engines.items()
            for name in engine.needs()
            if name not in engines
        ]
        for place, inline in enumerate(self.tools.registry):
            if inline.engine not in engines:
                lines.append(_wrong(("tools", "registry", place, "engine"), unknown("engine", inline.engine, engines)))
        return lines

    def _formatter_files(self) -> list[InitErrorDetails]:
        names = [formatter.file_name for formatter in self.formatters]
        return [
            _wrong(("formatters", place), f"two formatters write {name!r}; give one a `file_name`")
            for place, name in enumerate(names)
            if name in names[:place]
        ]


def _where(part: object, name: str) -> tuple[str | int, ...]:
    """Return the place in a part of a task at which it says a name; the part itself if it is said nowhere."""
    if isinstance(part, BaseModel):
        inner: Iterable[tuple[Any, object]] = part
    elif isinstance(part, Mapping):
        if name in part:
            return (name,)
        inner = part.items()
    else:
        inner = enumerate(part) if isinstance(part, tuple) else ()
    for key, value in inner:
        if value == name:
            return (key,)
        if below := _where(value, name):
            return (key, *below)
    return ()


def _wrong(place: tuple[str | int, ...], message: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("task", "{message}", {"message": message}), loc=place, input=None)
