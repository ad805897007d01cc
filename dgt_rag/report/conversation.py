"""One conversation as a person reads it in a terminal."""

import re
import textwrap
from collections.abc import Iterator
from typing import assert_never
from unicodedata import category

from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    FlowControllerStep,
    PersonaStep,
    ScenarioStep,
    Step,
    ToolCallStep,
    ToolResult,
    ToolResultStep,
    UserStep,
)

_WIDTH = 100
_BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def as_text(talk: ConversationDataPoint) -> str:
    """Return a conversation with its documents, searches and results, as text for a terminal of 100 columns."""
    head = f"conversation {talk.conversation_id}: {talk.turns} turns"
    return "\n".join(["", head, "─" * len(head), *(line for step in talk.steps for line in _lines(step)), ""])


def _lines(step: Step) -> Iterator[str]:
    match step:
        case ScenarioStep():
            yield from _wrapped("scenario", step.content)
            for document in step.documents:
                yield from _wrapped("document", f"{document.doc_id}  {_head(document.title, document.body)}")
        case PersonaStep():
            yield from _wrapped("persona", step.content)
        case FlowControllerStep():
            yield ""
            yield from _wrapped("pattern", f"{step.content}  {step.hint}")
        case UserStep():
            yield from _wrapped("user", step.content)
        case ToolCallStep():
            arguments = ", ".join(f"{name}={value!r}" for name, value in step.content.arguments.items())
            yield from _wrapped("calls", f"{step.content.name}({arguments})")
        case ToolResultStep():
            yield from _result(step.content)
        case AssistantStep():
            yield from _wrapped("assistant", step.content)
            for citation in step.citations:
                yield from _wrapped("cites", f"{citation.doc_id}: “{_short(citation.quote, 160)}”")
        case _:
            assert_never(step)


def _result(result: ToolResult) -> Iterator[str]:
    if result.error:
        yield from _wrapped("failed", f"{result.error.type}: {result.error.message}")
    elif not result.result:
        yield from _wrapped("found", "nothing")
    for hit in result.result or ():
        yield from _wrapped("found", f"{hit.rank}. {hit.doc_id} ({hit.score:.2f})  {_head(hit.title, hit.body)}")


def _head(title: str, body: str) -> str:
    """Show a document in a line: its title, if it has one, and how its text begins."""
    title = " ".join(title.split())
    return f"{title}: {_short(body)}" if title else _short(body)


def _short(text: str, length: int = 90) -> str:
    return textwrap.shorten(printable(text), length, placeholder=" …")


def printable(text: str) -> str:
    """Keep control characters of a document, and such as turn the order of what follows, from reaching the terminal."""
    lines = _BREAKS.sub("\n", text)
    return lines if lines.isprintable() else "".join(letter if _shown(letter) else "\ufffd" for letter in lines)


def _shown(letter: str) -> bool:
    # format characters join letters and mark syllables; those left out reorder text until they are closed
    return letter.isprintable() or letter in "\n\t" or (category(letter) in {"Zs", "Cf"} and letter not in _REORDERING)


def _wrapped(label: str, text: str) -> Iterator[str]:
    first = f"{label:>9}  "
    for paragraph in printable(text).splitlines() or [""]:
        yield from textwrap.wrap(paragraph, _WIDTH, initial_indent=first, subsequent_indent=" " * 11) or [
            first.rstrip()
        ]
        first = " " * 11
