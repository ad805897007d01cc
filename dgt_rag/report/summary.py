"""The figures of a run: what was kept, what was dropped and why, how much of the corpus was used."""

from collections import Counter
from dataclasses import dataclass, field

from pydantic import JsonValue

from dgt_rag.records import AssistantStep, ConversationDataPoint, ToolCallStep, ToolResultStep


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
    patterns: Counter[str] = field(default_factory=Counter)
    answerability: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    """Ids of the documents that a scenario was grounded in or a search returned."""

    def add(self, talk: ConversationDataPoint) -> None:
        """Count a kept conversation."""
        self.kept += 1
        self.turns += talk.turns
        self.patterns.update(talk.patterns)
        self.used.update(document.doc_id for document in (talk.scenario.documents if talk.scenario else ()))
        self.used.update(document.doc_id for document in talk.found())
        for step in talk.steps:
            if step.provenance:
                self.models[step.provenance.model] += 1
            if isinstance(step, ToolCallStep):
                self.tool_calls += 1
            elif isinstance(step, ToolResultStep):
                self.failed_calls += step.content.error is not None
            elif isinstance(step, AssistantStep):
                self._add_answer(step)

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
            "turns": self.turns,
            "tool_calls": self.tool_calls,
            "failed_tool_calls": self.failed_calls,
            "citations": self.citations,
            "rewrites": self.rewrites,
            "patterns": dict(sorted(self.patterns.items())),
            "answerability": dict(sorted(self.answerability.items())),
            "documents_used": len(self.used),
            "documents_in_corpus": self.corpus,
            "steps_by_model": dict(sorted(self.models.items())),
        }
