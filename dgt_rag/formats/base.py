"""What a formatter is: a conversation becomes rows of a trainer's file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field, JsonValue

from dgt_rag.plugins import Plugin
from dgt_rag.records import ConversationDataPoint, ToolSpec


class Formatter(Plugin, ABC):
    """Base of the formatters that a task names under `formatter` or `formatters`."""

    kind: ClassVar[str] = "formatters"

    file_name: str = Field(default="formatted_output.jsonl", pattern=r"^[A-Za-z0-9_.-]+\.jsonl$")
    """The file in the run folder; a second formatter needs a name of its own."""

    @abstractmethod
    def rows(self, talk: ConversationDataPoint, tools: Mapping[str, ToolSpec]) -> Iterator[dict[str, JsonValue]]:
        """Return the rows for a kept conversation; `tools` are those that the run's assistant was offered, by name."""
