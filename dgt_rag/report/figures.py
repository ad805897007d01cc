"""What the report says of a whole run beyond the summary: grounding, retrieval and diversity, fed one conversation at a time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from dgt_rag.records import AssistantStep, ConversationDataPoint, ToolCallStep, ToolResult, ToolResultStep, UserStep

_OPENING = 3
"""Words of a first message that are compared."""
_MOST = 20
"""Entries of a list of the most frequent."""


@dataclass
class Figures:
    """Counts over the kept conversations; what it holds grows with the corpus and not with the run."""

    turns: Counter[int] = field(default_factory=Counter)
    citations: Counter[int] = field(default_factory=Counter)
    """Answers by how many spans they cite."""
    uncited: Counter[str] = field(default_factory=Counter)
    """Answers that cite nothing, by what they say of themselves."""
    verdicts: Counter[str] = field(default_factory=Counter)
    rewrites: Counter[int] = field(default_factory=Counter)
    ranks: Counter[str] = field(default_factory=Counter)
    """Cited documents by their best rank among the hits of that turn, or by where else they come from."""
    searches: Counter[str] = field(default_factory=Counter)
    """Searches by what came of them: found, empty, failed; and those whose words were searched before."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failed searches by type."""
    domains: Counter[str] = field(default_factory=Counter)
    """Scenario documents by domain."""
    shown: Counter[str] = field(default_factory=Counter)
    """In how many conversations a document was shown, by its id."""
    cited: Counter[str] = field(default_factory=Counter)
    """In how many conversations a document was cited, by its id."""
    openings: Counter[str] = field(default_factory=Counter)
    firsts: set[int] = field(default_factory=set)
    repeated_firsts: int = 0
    """First messages that an earlier conversation began with, word for word."""

    def add(self, talk: ConversationDataPoint) -> None:
        """Count a kept conversation."""
        self.turns[talk.turns] += 1
        given = talk.scenario.documents if talk.scenario else ()
        self.domains.update(document.domain for document in given if document.domain)
        self.shown.update({*(document.doc_id for document in given), *(document.doc_id for document in talk.found())})
        self.cited.update({citation.doc_id for step in _answers(talk) for citation in step.citations})
        self._add_first(next((step.content for step in talk.steps if isinstance(step, UserStep)), ""))
        self._add_searches(talk)
        for step in _answers(talk):
            self._add_answer(step)

    def _add_first(self, message: str) -> None:
        words = message.casefold().split()
        self.openings[" ".join(words[:_OPENING])] += 1
        mark = hash(" ".join(words))
        self.repeated_firsts += mark in self.firsts
        self.firsts.add(mark)

    def _add_answer(self, step: AssistantStep) -> None:
        self.citations[len(step.citations)] += 1
        if not step.citations:
            self.uncited[step.answerability or "not said"] += 1
        if step.critique:
            self.verdicts[step.critique.verdict] += 1
            self.rewrites[step.critique.rewrites] += 1

    def _add_searches(self, talk: ConversationDataPoint) -> None:
        """Follow a conversation and note where each cited document stood among the hits."""
        now: dict[str, int] = {}
        before: set[str] = set()
        asked: set[str] = set()
        for step in talk.steps:
            match step:
                case UserStep():
                    before.update(now)
                    now.clear()
                case ToolCallStep():
                    words = repr(sorted(step.content.arguments.items())).casefold()
                    self.searches["repeated"] += words in asked
                    asked.add(words)
                case ToolResultStep():
                    self._add_result(step.content, now)
                case AssistantStep():
                    for doc_id in {citation.doc_id for citation in step.citations}:
                        other = "found in an earlier turn" if doc_id in before else "given with the scenario"
                        self.ranks[str(now[doc_id]) if doc_id in now else other] += 1

    def _add_result(self, result: ToolResult, now: dict[str, int]) -> None:
        if result.error:
            self.searches["failed"] += 1
            self.errors[result.error.type + (" (injected)" if result.error.injected else "")] += 1
        else:
            self.searches["found" if result.result else "empty"] += 1
        for hit in result.result or ():
            now[hit.doc_id] = min(hit.rank, now.get(hit.doc_id, hit.rank))

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the figures for the page."""
        often = Counter(self.shown.values())
        return {
            "turns": {str(turns): count for turns, count in sorted(self.turns.items())},
            "citations": {str(number): count for number, count in sorted(self.citations.items())},
            "uncited": dict(self.uncited.most_common()),
            "verdicts": dict(self.verdicts.most_common()),
            "rewrites": {str(number): count for number, count in sorted(self.rewrites.items())},
            "ranks": dict(sorted(self.ranks.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(6)))),
            "searches": dict(self.searches),
            "errors": dict(self.errors.most_common()),
            "domains": dict(self.domains.most_common(_MOST)),
            "documents_shown": len(self.shown),
            "documents_cited": len(self.cited),
            "shown_in": {str(times): count for times, count in sorted(often.items())[: 2 * _MOST]},
            "most_shown": [[name, count, self.cited[name]] for name, count in self.shown.most_common(_MOST)],
            "openings": dict(self.openings.most_common(_MOST)),
            "different_openings": len(self.openings),
            "repeated_firsts": self.repeated_firsts,
        }


def _answers(talk: ConversationDataPoint) -> Iterator[AssistantStep]:
    return (step for step in talk.steps if isinstance(step, AssistantStep))
