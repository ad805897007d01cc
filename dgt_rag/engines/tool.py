"""A search engine as a tool: what a model sees of it, and how a call of it is answered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from dgt_rag.dice import Dice
from dgt_rag.engines.base import ErrorCategory, Retriever, SearchToolEngine
from dgt_rag.engines.faults import draw_fault, fault_error, irrelevant
from dgt_rag.engines.tool_schema import problem_of, query_key, schema_problem
from dgt_rag.errors import TaskError
from dgt_rag.records import FoundDocument, Hit, ToolCall, ToolError, ToolResult, ToolSpec

MISTAKES = ("unknown_tool", "invalid_arguments")
"""Errors of calls that were wrong in themselves: no such tool, or arguments that do not fit its schema."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LIMITS = ("limit", "k", "top_k", "max_results", "num_results")
_EXCLUDED = 20
"""Of so many best hits none is given as irrelevant."""


@dataclass(frozen=True)
class SearchTool:
    """A retriever that answers tool calls."""

    spec: ToolSpec
    retriever: Retriever
    limit: int = 5
    threshold: float | None = None
    error_categories: tuple[ErrorCategory, ...] = ()

    @classmethod
    def of(
        cls, engine: SearchToolEngine, retriever: Retriever, spec: ToolSpec | None = None, name: str = ""
    ) -> "SearchTool":
        """Make the tool of an engine; `spec` or `name` replace what the engine says of itself."""
        tool = cls(
            spec or search_spec(engine, name or engine.tool_name),
            retriever,
            engine.limit,
            engine.relevance_threshold,
            engine.error_categories,
        )
        if sum(category.probability for category in engine.error_categories) > 1 + 1e-9:
            raise TaskError(f"tool {tool.spec.name!r}: the probabilities of error_categories add up to more than 1")
        if not _NAME.fullmatch(tool.spec.name):
            raise TaskError(f"tool {tool.spec.name!r}: models take names of 1 to 64 letters, digits, _ and - only")
        if spec and (wrong := schema_problem(spec)):
            raise TaskError(f"tool {tool.spec.name!r}: {wrong}")
        return tool

    @property
    def query_key(self) -> str:
        """The name of the parameter that holds the query."""
        return query_key(self.spec)

    async def execute(self, call: ToolCall, dice: Dice) -> ToolResult:
        """Answer a call. A bad call and a drawn fault are errors that the model sees; a real one of the engine is raised."""
        problem = problem_of(call.arguments, self.spec)
        if problem:
            return self._failed(call, ToolError(type="invalid_arguments", message=problem))
        fault = draw_fault(self.error_categories, dice.child("fault"))
        error = fault_error(fault) if fault else None
        if error:
            return self._failed(call, error)
        if fault and fault.type == "empty_result":
            return self._found(call, [], fault.type)
        limit = self._limit(call.arguments)
        query = str(call.arguments[self.query_key])
        if fault:
            hits = await self.retriever.search(query, max(limit, _EXCLUDED))
            return self._found(
                call, await irrelevant(self.retriever, hits, limit, dice.child("irrelevant")), fault.type
            )
        hits = await self.retriever.search(query, limit)
        # what is not a number is not below anything: it is refused, not left out
        kept = [hit for hit in hits if self.threshold is None or not hit.score < self.threshold]
        return self._found(call, kept[:limit])

    def _limit(self, arguments: Mapping[str, JsonValue]) -> int:
        asked = [number for name in _LIMITS if (number := _whole(arguments.get(name))) is not None]
        return max(1, min([self.limit, *asked]))

    def _found(self, call: ToolCall, hits: list[Hit], injected: str = "") -> ToolResult:
        metadata: dict[str, JsonValue] = {"injected": injected} if injected else {}
        result = tuple(_as_found(hit) for hit in hits)
        return ToolResult(call_id=call.call_id, name=call.name, result=result, metadata=metadata)

    def _failed(self, call: ToolCall, error: ToolError) -> ToolResult:
        metadata: dict[str, JsonValue] = {"injected": error.type} if error.injected else {}
        return ToolResult(call_id=call.call_id, name=call.name, error=error, metadata=metadata)


def search_spec(engine: SearchToolEngine, name: str) -> ToolSpec:
    """Return an engine's tool as a model sees it."""
    query = {"type": "string", "minLength": 1, "description": "What to look for: a question or key words."}
    limit = {
        "type": "integer",
        "minimum": 1,
        "maximum": engine.limit,
        "description": f"How many documents to return at most; {engine.limit} if left out.",
    }
    return ToolSpec(
        name=name,
        description=engine.tool_description
        or "Search the document collection. Returns the documents that match the query best, best first.",
        parameters={
            "type": "object",
            "properties": {"query": query, "limit": limit},
            "required": ["query"],
            "additionalProperties": False,
        },
    )


def _whole(value: JsonValue) -> int | None:
    """Return a number that JSON Schema takes for an integer, 2.0 as well; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_found(hit: Hit) -> FoundDocument:
    document = hit.document
    return FoundDocument(
        doc_id=document.doc_id,
        title=document.title,
        domain=document.domain,
        body=document.body,
        score=round(hit.score, 4),
        rank=hit.rank,
    )
