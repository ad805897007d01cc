"""The last gate: what every kept conversation holds, whatever models and plugins wrote it."""

import json
from collections.abc import Iterator

from dgt_rag.citations import holds
from dgt_rag.corpus.markers import marker_in
from dgt_rag.records import AssistantStep, ConversationDataPoint, Document, ToolCallStep, ToolResultStep, UserStep


def faults(talk: ConversationDataPoint) -> list[str]:
    """Return what is wrong with a conversation that is to be kept; nothing if it can be trained on."""
    return [*_turns(talk), *_calls(talk), *_citations(talk)]


def _turns(talk: ConversationDataPoint) -> Iterator[str]:
    """User and assistant take turns; searches stand between them; nothing is empty."""
    said = [step for step in talk.steps if isinstance(step, UserStep | AssistantStep)]
    for place, step in enumerate(said):
        wanted = "assistant" if place % 2 else "user"
        if step.role != wanted:
            yield f"message {place + 1} is the {step.role}'s, where the {wanted}'s should stand"
        if not step.content.strip():
            yield f"message {place + 1} is empty"
    if not said or said[-1].role != "assistant":
        yield "it does not end with an answer"
    before = ""
    for any_step in talk.steps:
        if isinstance(any_step, ToolCallStep | ToolResultStep) and before != "user":
            yield "a search stands outside a turn"
        if isinstance(any_step, UserStep | AssistantStep):
            before = any_step.role


def _calls(talk: ConversationDataPoint) -> Iterator[str]:
    """Each call has an id of its own and exactly one result, before anything else is said."""
    owed: dict[str, str] = {}
    seen: set[str] = set()
    for step in talk.steps:
        if isinstance(step, ToolCallStep):
            if step.content.call_id in seen:
                yield f"two calls have the id {step.content.call_id!r}"
            seen.add(step.content.call_id)
            owed[step.content.call_id] = step.content.name
        elif isinstance(step, ToolResultStep):
            if owed.pop(step.content.call_id, None) != step.content.name:
                yield f"the result {step.content.call_id!r} belongs to no call"
        elif owed:
            yield f"the call {next(iter(owed))!r} has no result"
            owed.clear()
    if owed:
        yield f"the call {next(iter(owed))!r} has no result"


def _citations(talk: ConversationDataPoint) -> Iterator[str]:
    """Each quote stands verbatim in a document that was shown before: the scenario's, or one found if it searched."""
    searches = any(isinstance(step, ToolCallStep) for step in talk.steps)
    shown: list[Document] = [] if searches or talk.scenario is None else list(talk.scenario.documents)
    for step in talk.steps:
        if isinstance(step, ToolResultStep):
            shown += [Document(doc_id=hit.doc_id, body=hit.body) for hit in step.content.result or ()]
        elif isinstance(step, AssistantStep):
            for citation in step.citations:
                if not holds(citation, shown):
                    yield f"a quote does not stand in {citation.doc_id!r} as it was shown: {citation.quote[:80]!r}"


def chat_marker(talk: ConversationDataPoint) -> str | None:
    """Return where a row of this conversation would hold a control token of chat templates; None if nowhere."""
    for who, text in _shown(talk):
        if token := marker_in(text):
            return f"{who} holds {token!r}"
    return None


def _shown(talk: ConversationDataPoint) -> Iterator[tuple[str, str]]:
    """Return the texts that rows are made of, and who wrote each."""
    for document in talk.scenario.documents if talk.scenario else ():
        yield from _parts(document.doc_id, document.title, document.body)
    for step in talk.steps:
        if isinstance(step, UserStep | AssistantStep):
            yield f"a message of the {step.role}", step.content
        elif isinstance(step, ToolCallStep):
            yield "a search", json.dumps(step.content.arguments, ensure_ascii=False)
        elif isinstance(step, ToolResultStep):
            yield "the error of a search", step.content.error.message if step.content.error else ""
            for hit in step.content.result or ():
                yield from _parts(hit.doc_id, hit.title, hit.body)


def _parts(doc_id: str, title: str, body: str) -> Iterator[tuple[str, str]]:
    for text in (doc_id, title, body):
        yield f"document {doc_id!r}", text
