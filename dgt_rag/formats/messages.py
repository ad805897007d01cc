"""Conversations as chat messages in OpenAI's form, which OpenAI's fine-tuning and TRL take as they are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import ClassVar, Literal, assert_never

from pydantic import JsonValue

from dgt_rag.engines.tool import MISTAKES
from dgt_rag.formats.base import Formatter
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    Document,
    FlowControllerStep,
    PersonaStep,
    ScenarioStep,
    Step,
    ToolCallStep,
    ToolResult,
    ToolResultStep,
    ToolSpec,
    UserStep,
)

STATIC_PROMPT = (
    "Answer the user's questions from the documents below and from nothing else. Be exact about numbers, dates, conditions "
    "and exceptions. If the documents do not hold the answer, say so; if it depends on something the user has not said, ask."
)
LIVE_PROMPT = (
    "Answer the user's questions from what you find with the search tool and from nothing else. Search before you answer, "
    "again with other words if need be. Be exact about numbers, dates, conditions and exceptions. If nothing holds the "
    "answer, say so; if it depends on something the user has not said, ask."
)


class MessagesFormatter(Formatter):
    """Chat messages in OpenAI's form: `messages`, `tools` with a live assistant, `documents` with a static one.

    A search of the assistant that was wrong in itself (no such tool, arguments that do not fit) stands in `final_data.jsonl`
    and in no row, since whoever is trained on it would learn it. A static row shows its documents to the model that is trained: in the system message, which every trainer renders, and
    in the column `documents`, which the chat templates of RAG models read.
    """

    type: Literal["messages"] = "messages"
    aliases: ClassVar[tuple[str, ...]] = ("formatters/conversation/messages",)
    system_prompt: str | None = None
    """The system message; one of ours that fits if not given, none if empty."""
    documents: Literal["system", "column", "both"] = "both"
    """Where a static row holds its documents."""
    metadata: bool = False
    """Whether a row holds `metadata`: ids, citations, answerability and models, for filters of your own."""

    def rows(self, talk: ConversationDataPoint, tools: Mapping[str, ToolSpec]) -> Iterator[dict[str, JsonValue]]:
        """Return the one row of a conversation."""
        searched = any(isinstance(step, ToolCallStep) for step in talk.steps)
        live = searched or bool(tools)
        documents = () if live or talk.scenario is None else talk.scenario.documents
        row: dict[str, JsonValue] = {"messages": [*self._system(documents, live), *chat_messages(talk.steps)]}
        if live:
            row["tools"] = [_tool(tool) for tool in tools.values()]
        if documents and self.documents != "system":
            row["documents"] = [_shown(document) for document in documents]
        if self.metadata:
            row["metadata"] = _metadata(talk)
        yield row

    def _system(self, documents: Sequence[Document], live: bool) -> list[JsonValue]:
        prompt = self.system_prompt if self.system_prompt is not None else (LIVE_PROMPT if live else STATIC_PROMPT)
        if documents and self.documents != "column":
            prompt = "\n\n".join(
                [prompt, *(_text(number, document) for number, document in enumerate(documents, start=1))]
            )
        return [{"role": "system", "content": prompt}] if prompt else []


class StaticRagFormatter(MessagesFormatter):
    """Chat messages with the documents in the column `documents` only, as DiGiT writes static conversations."""

    type: Literal["formatters/conversation/rag/static"] = "formatters/conversation/rag/static"  # type: ignore[assignment]
    aliases: ClassVar[tuple[str, ...]] = ()
    system_prompt: str | None = ""
    documents: Literal["system", "column", "both"] = "column"


def chat_messages(steps: Sequence[Step]) -> list[JsonValue]:
    """Return the messages of what was said and searched; calls made at once stand in one message, wrong ones nowhere."""
    results = (step.content for step in steps if isinstance(step, ToolResultStep))
    wrong = {one.call_id for one in results if one.error and one.error.type in MISTAKES}
    right = [s for s in steps if not (isinstance(s, ToolCallStep | ToolResultStep) and s.content.call_id in wrong)]
    messages: list[JsonValue] = []
    for calling, group in groupby(right, key=lambda step: isinstance(step, ToolCallStep)):
        if calling:
            calls: list[JsonValue] = [_call(step) for step in group if isinstance(step, ToolCallStep)]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        else:
            messages.extend(message for step in group for message in _message(step))
    return messages


def _message(step: Step) -> list[JsonValue]:
    match step:
        case UserStep():
            return [{"role": "user", "content": step.content}]
        case AssistantStep():
            return [{"role": "assistant", "content": step.content}]
        case ToolResultStep():
            return [{"role": "tool", "tool_call_id": step.content.call_id, "content": result_text(step.content)}]
        case ToolCallStep() | ScenarioStep() | PersonaStep() | FlowControllerStep():
            return []
        case _:
            assert_never(step)


def _call(step: ToolCallStep) -> JsonValue:
    call = step.content
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def result_text(result: ToolResult) -> str:
    """Return a tool result as the text of a tool message: a JSON list of documents, or an object with the error."""
    if result.error:
        return json.dumps({"error": {"type": result.error.type, "message": result.error.message}}, ensure_ascii=False)
    hits = [{"doc_id": hit.doc_id, "title": hit.title, "text": hit.body} for hit in result.result or ()]
    return json.dumps(hits, ensure_ascii=False)


def _tool(tool: ToolSpec) -> JsonValue:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def _shown(document: Document) -> JsonValue:
    return {"doc_id": document.doc_id, "title": document.title, "text": document.body}


def _text(number: int, document: Document) -> str:
    return f"[Document {number}]{' ' + document.title if document.title else ''}\n{document.body}"


def _metadata(talk: ConversationDataPoint) -> JsonValue:
    answers = [step for step in talk.steps if isinstance(step, AssistantStep)]
    models = sorted({step.provenance.model for step in talk.steps if step.provenance})
    return {
        "task_name": talk.task_name,
        "conversation_id": talk.conversation_id,
        "patterns": list(talk.patterns),
        "answerability": [step.answerability for step in answers],
        "citations": [[citation.model_dump(mode="json") for citation in step.citations] for step in answers],
        "models": list(models),
    }
