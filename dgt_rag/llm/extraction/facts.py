"""What a conversation could still ask about: the facts of its documents, and which of them came up already."""

from collections.abc import Iterator
from functools import cached_property

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction.grammar import with_article
from dgt_rag.llm.extraction.matching import Pages, words_of
from dgt_rag.llm.extraction.questions import Question
from dgt_rag.llm.extraction.reading import Reading
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.records import AssistantStep, Citation, ConversationDataPoint, UserStep

_PREFERRED = {
    "factoid": ("number", "row"),
    "explanation": ("reason", "condition", "what"),
    "follow_up": ("condition", "number", "order", "whether"),
}


class Facts:
    """The documents of one conversation as things to ask about, in an order drawn for this ask."""

    def __init__(self, pages: Pages, talk: ConversationDataPoint, dice: Dice) -> None:
        self.pages = pages
        self.talk = talk
        self.dice = dice

    def fresh(self, doc_id: str = "") -> Iterator[Sentence]:
        """Yield what has not come up yet, in drawn order; what can be asked about in a full question comes first."""
        readings = [reading for reading in self.pages.readings if doc_id in {"", reading.doc_id}]
        facts = [fact for reading in readings for fact in reading.sentences if self._is_fresh(fact)]
        later = []
        for fact in self.dice.child("facts", doc_id).shuffled(facts):
            if self.questions(fact):
                yield fact
            else:
                later.append(fact)
        # fragments and sentences beyond our grammar are asked about only where there is nothing better
        yield from (fact for fact in later if len(fact.words) >= 2)

    def _is_fresh(self, fact: Sentence) -> bool:
        return (fact.doc_id, fact.place) not in self.asked and fact.quotable

    @cached_property
    def asked(self) -> frozenset[tuple[str, int]]:
        """The sentences that came up already, as answers or by a question that speaks of them."""
        found: set[tuple[str, int]] = set()
        for step in self.talk.steps:
            if isinstance(step, AssistantStep):
                found.update((s.doc_id, s.place) for cited in step.citations for s in self.cited(cited))
            elif isinstance(step, UserStep):
                best = self.pages.rank(words_of(step.content))[:1]
                found.update((match.sentence.doc_id, match.sentence.place) for match in best if match.share > 0.6)
        return frozenset(found)

    def cited(self, citation: Citation) -> list[Sentence]:
        """Return the sentences that a citation touches."""
        readings = [reading for reading in self.pages.readings if reading.doc_id == citation.doc_id]
        sentences = readings[0].sentences if readings else ()
        return [s for s in sentences if s.start < citation.end and citation.start < s.end]

    def meant(self, hint: str) -> Sentence | None:
        """Return the fact that a hint speaks of: the one not yet asked that shares most words with it."""
        matches = self.pages.rank(words_of(hint), self.asked)
        fresh = next(self.fresh(), None)
        return matches[0].sentence if matches and (matches[0].share > 0.2 or fresh is None) else fresh

    @cached_property
    def last_answer(self) -> AssistantStep | None:
        """What the assistant said last."""
        return next((step for step in reversed(self.talk.steps) if isinstance(step, AssistantStep)), None)

    @cached_property
    def here(self) -> Reading | None:
        """The document that the last citation is from."""
        cited = [c.doc_id for step in self.talk.steps if isinstance(step, AssistantStep) for c in step.citations]
        return next((reading for reading in self.pages.readings if cited and reading.doc_id == cited[-1]), None)

    def moved(self, reading: Reading) -> bool:
        """Say whether a document is another one than that of the last answer."""
        return self.here is not None and reading is not self.here

    def body(self, fact: Sentence) -> str:
        """Return the text that a fact stands in."""
        return self.pages.reading(fact).body

    def questions(self, fact: Sentence) -> list[Question]:
        """Return the questions that a fact answers."""
        return self.pages.reading(fact).questions(fact)

    def suited(self, fact: Sentence, kind: str) -> list[Question]:
        """Return the questions about a fact, those that suit the kind of turn first, in drawn order."""
        wanted = _PREFERRED.get(kind, ())
        return sorted(self.dice.shuffled(self.questions(fact)), key=lambda question: question.kind not in wanted)

    def subject(self, fact: Sentence) -> str:
        """Return what a fact is about."""
        return with_article(self.pages.reading(fact).subject(fact))

    def topic_of(self, fact: Sentence) -> str:
        """Return what the document of a fact is about."""
        return self.pages.reading(fact).topic
