"""What a formatter is: a conversation becomes rows of a trainer's file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, JsonValue, field_validator

from dgt_rag.plugins import Plugin
from dgt_rag.records import ConversationDataPoint, ToolSpec


class Formatter(Plugin, ABC):
    """Base of the formatters that a task names under `formatter` or `formatters`."""

    kind: ClassVar[str] = "formatters"

    file_name: str = Field(default="formatted_output.jsonl", max_length=120, pattern=r"^[A-Za-z0-9_.-]+\.jsonl$")
    """The file in the run folder; a second formatter needs a name of its own."""

    @field_validator("file_name")
    @classmethod
    def _not_the_runs_own(cls, name: str) -> str:
        if name.lower() in {"final_data.jsonl", "journal.jsonl"}:
            raise ValueError("a run writes a file of this name itself; choose another")
        return name

    @abstractmethod
    def rows(self, talk: ConversationDataPoint, tools: Mapping[str, ToolSpec]) -> Iterator[dict[str, JsonValue]]:
        """Return the rows for a kept conversation; `tools` are those that the run's assistant was offered, by name."""
