"""What of a run's conversations the page holds: the first ones, whole but for long texts, within a fixed room."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from dgt_rag.records import (
    AssistantStep,
    Citation,
    ConversationDataPoint,
    Document,
    FoundDocument,
    ScenarioStep,
    Step,
    ToolResultStep,
)

Passage = Document | FoundDocument

_HEAD, _AROUND, _QUOTE = 3000, 300, 3000
"""Characters of a document that are shown: from its beginning, around a cited span, and of the span itself."""
_TEXT, _ITEMS = 6000, 5000
"""Characters of any other text, and items of any list."""
_ELSEWHERE: dict[str, bool | set[str]] = {"documents": True, "citations": True, "content": {"result"}}
"""Parts of a step that are shown in another form."""


@dataclass
class Shown:
    """A document as the page holds it: its beginning and what is cited of it, each piece with its place in the body."""

    place: int
    doc_id: str
    title: str
    domain: str
    length: int
    pieces: dict[tuple[int, int], str] = field(default_factory=dict)

    def show(self, body: str, start: int, end: int) -> int:
        """Hold this span of the body too, made one with the pieces it touches; return by how much the pieces grew."""
        start, end = max(0, start), min(len(body), end)
        touched = [piece for piece in self.pieces if piece[0] <= end and start <= piece[1]]
        before = sum(len(self.pieces.pop(piece)) for piece in touched)
        start = min([start, *(piece[0] for piece in touched)])
        end = max([end, *(piece[1] for piece in touched)])
        self.pieces[start, end] = body[start:end]
        return end - start - before

    def as_json(self) -> str:
        """Return it for the page."""
        pieces = [[start, text] for (start, _), text in sorted(self.pieces.items())]
        named = {"doc_id": cut(self.doc_id), "title": cut(self.title), "domain": cut(self.domain)}
        return to_json({**named, "length": self.length, "pieces": pieces}, longest=None)


@dataclass
class Excerpts:
    """The conversations of the page. Kept and dropped ones have a room each, so that neither crowds out the other."""

    most: dict[str, int] = field(default_factory=lambda: {"kept": 200, "dropped": 100})
    room: dict[str, int] = field(default_factory=lambda: {"kept": 4_000_000, "dropped": 2_000_000})
    """Characters, those of the documents included."""
    most_of_a_reason: int = 20
    taken: dict[str, list[str]] = field(default_factory=lambda: {"kept": [], "dropped": []})
    """Conversations as JSON, by status."""
    documents: dict[tuple[str, int, int], Shown] = field(default_factory=dict)
    """By id, length and hash of the body: one id may name several texts."""
    reasons: Counter[str | None] = field(default_factory=Counter)

    def add(self, talk: ConversationDataPoint) -> None:
        """Take a finished conversation in, if there is room for it."""
        into = self.taken[talk.status]
        if len(into) >= self.most[talk.status] or self.room[talk.status] <= 0:
            return
        if talk.status == "dropped" and self.reasons[talk.drop_reason] >= self.most_of_a_reason:
            return
        self.reasons[talk.drop_reason] += 1
        view = talk.model_dump(mode="json", include={"index", "conversation_id", "drop_reason", "drop_detail", "raw"})
        passages = list(_passages(talk))
        grown = sum(self._hold(passage, 0, _HEAD) for passage in passages)
        grown += sum(self._hold_cited(passage, talk) for passage in passages)
        view |= {"turns": talk.turns, "steps": [self._view(step, passages) for step in talk.steps]}
        into.append(to_json(view))
        self.room[talk.status] -= grown + len(into[-1])

    def _hold(self, passage: Passage, start: int, end: int) -> int:
        key = _key(passage)
        if key not in self.documents:
            named = (passage.doc_id, passage.title, passage.domain)
            self.documents[key] = Shown(len(self.documents), *named, len(passage.body))
        return self.documents[key].show(passage.body, start, end)

    def _hold_cited(self, passage: Passage, talk: ConversationDataPoint) -> int:
        answers = (step for step in talk.steps if isinstance(step, AssistantStep))
        spans = [_span(one) for step in answers for one in step.citations if _holds(passage, one)]
        return sum(self._hold(passage, start - _AROUND, end + _AROUND) for start, end in spans)

    def _view(self, step: Step, passages: Sequence[Passage]) -> dict[str, Any]:
        """Return a step as its record, with documents by their place in the list of documents."""
        elsewhere = _ELSEWHERE if isinstance(step, ScenarioStep | ToolResultStep | AssistantStep) else None
        view = step.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
        view["role"] = step.role
        match step:
            case ScenarioStep():
                view["documents"] = [self._place(document) for document in step.documents]
            case ToolResultStep() if step.content.result is not None:
                hits = step.content.result
                found = [{"document": self._place(hit), "rank": hit.rank, "score": hit.score} for hit in hits]
                view["content"]["result"] = found
            case AssistantStep():
                view["citations"] = [self._cited(citation, passages) for citation in step.citations]
        return view

    def _place(self, passage: Passage) -> int:
        return self.documents[_key(passage)].place

    def _cited(self, citation: Citation, passages: Iterable[Passage]) -> dict[str, JsonValue]:
        view: dict[str, JsonValue] = {"doc_id": citation.doc_id, "quote": citation.quote}
        passage = next((one for one in passages if _holds(one, citation)), None)
        if passage:
            start, end = _span(citation)
            view |= {"document": self._place(passage), "start": start, "end": end}
        return view


def _key(passage: Passage) -> tuple[str, int, int]:
    return passage.doc_id, len(passage.body), hash(passage.body)


def _holds(passage: Passage, citation: Citation) -> bool:
    """Say whether the citation's quote stands at its place in this document."""
    here = passage.doc_id == citation.doc_id and citation.quote != ""
    return here and passage.body[citation.start : citation.end] == citation.quote


def _span(citation: Citation) -> tuple[int, int]:
    """Return the part of the citation's span that is shown."""
    return citation.start, min(citation.end, citation.start + _QUOTE)


def _passages(talk: ConversationDataPoint) -> Iterator[Passage]:
    for step in talk.steps:
        if isinstance(step, ScenarioStep):
            yield from step.documents
        elif isinstance(step, ToolResultStep):
            yield from step.content.result or ()


def cut(text: str, longest: int | None = _TEXT) -> str:
    """Return a text, its end left out if it is long, which is said."""
    if longest is None or len(text) <= longest:
        return text
    return f"{text[:longest]} … [{len(text) - longest:,} more characters]"


def to_json(value: Any, longest: int | None = _TEXT) -> str:
    """Return a value as JSON that may stand inside a page: no `<`, long texts cut, every number one that JSON knows."""
    plain = _plain(value, longest)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _plain(value: Any, longest: int | None) -> Any:
    if isinstance(value, str):
        return cut(value, longest)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {cut(str(key), longest): _plain(part, longest) for key, part in value.items()}
    return [_plain(part, longest) for part in value[:_ITEMS]] if isinstance(value, list | tuple) else value
