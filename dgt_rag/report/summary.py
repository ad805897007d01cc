"""The figures of a run: what was kept, what was dropped and why, how much of the corpus was used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low

from pydantic import JsonValue

from dgt_rag.corpus.markers import had_marker
from dgt_rag.records import AssistantStep, ConversationDataPoint, Document, ToolCallStep, ToolResultStep


@dataclass
class Summary:
    """Sums over the conversations of a run; fed one at a time."""

    asked: int
    corpus: int = 0
    """Documents in all engines that documents are sampled from."""
    kept: int = 0
    turns: int = 0
    tool_calls: int = 0
    failed_calls: int = 0
    citations: int = 0
    rewrites: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    because: dict[str, str] = field(default_factory=dict)
    """What the first that was dropped for a reason says of it."""
    cut_short: Counter[str] = field(default_factory=Counter)
    """How many of those kept end at their last whole turn since something failed after it, by reason."""
    patterns: Counter[str] = field(default_factory=Counter)
    answerability: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    sampled: set[str] = field(default_factory=set)
    """Ids of the documents that a scenario was grounded in."""
    used: set[str] = field(default_factory=set)
    """Ids of those, and of the documents that a search returned."""
    marked: dict[str, str] = field(default_factory=dict)
    """Those of them that hold a control token of chat templates, and that token as rows hold it: broken up, or whole."""

    row_bytes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """File of rows → the bytes of its middle and of its longest row."""

    def add(self, talk: ConversationDataPoint) -> None:
        """Count a kept conversation."""
        self.kept += 1
        self.turns += talk.turns
        if talk.cut_short:
            self.cut_short[talk.cut_short.partition(":")[0]] += 1
        self.patterns.update(talk.patterns)
        sampled = talk.scenario.documents if talk.scenario else ()
        self.sampled.update(document.doc_id for document in sampled)
        for document in (*sampled, *talk.found()):
            self._add_document(document)
        for step in talk.steps:
            if step.provenance:
                self.models[step.provenance.model] += 1
            if isinstance(step, ToolCallStep):
                self.tool_calls += 1
            elif isinstance(step, ToolResultStep):
                self.failed_calls += step.content.error is not None
            elif isinstance(step, AssistantStep):
                self._add_answer(step)

    def _add_document(self, document: Document) -> None:
        if document.doc_id not in self.used:
            self.used.add(document.doc_id)
            if token := had_marker(document.title) or had_marker(document.body):
                self.marked[document.doc_id] = token

    def add_file(self, name: str, sizes: Sequence[int]) -> None:
        """Note how long the rows of a file are, in bytes."""
        if sizes:
            self.row_bytes[name] = (median_low(sizes), max(sizes))

    def add_dropped(self, talk: ConversationDataPoint) -> None:
        """Note why a conversation was dropped; `dropped` counts it already."""
        self.because.setdefault(talk.drop_reason or "unknown", talk.drop_detail or "")

    def _add_answer(self, step: AssistantStep) -> None:
        self.citations += len(step.citations)
        self.rewrites += step.critique.rewrites if step.critique else 0
        if step.answerability:
            self.answerability[step.answerability] += 1

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the figures for `run.json`."""
        return {
            "asked": self.asked,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "cut_short": dict(sorted(self.cut_short.items())),
            "turns": self.turns,
            "tool_calls": self.tool_calls,
            "failed_tool_calls": self.failed_calls,
            "citations": self.citations,
            "rewrites": self.rewrites,
            "patterns": dict(sorted(self.patterns.items())),
            "answerability": dict(sorted(self.answerability.items())),
            "documents_sampled": len(self.sampled),
            "documents_used": len(self.used),
            "documents_in_corpus": self.corpus,
            "documents_with_chat_markers": len(self.marked),
            "steps_by_model": dict(sorted(self.models.items())),
            "row_bytes": {name: {"median": half, "longest": most} for name, (half, most) in self.row_bytes.items()},
        }
