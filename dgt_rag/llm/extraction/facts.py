"""What a conversation could still ask about: the facts of its documents, and which of them came up already."""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.grammar import with_article
from dgt_rag.llm.extraction.matching import Pages, words_of
from dgt_rag.llm.extraction.question import Question, plain
from dgt_rag.llm.extraction.reading import Reading
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.subjects import longest_run
from dgt_rag.records import AssistantStep, Citation, ConversationDataPoint, UserStep

_PREFERRED = {
    "factoid": ("number", "place", "row", "who", "manner"),
    "explanation": ("reason", "condition", "what"),
    "follow_up": ("condition", "number", "place", "manner", "what"),
}
_FEW = 4
"""Facts that a conversation needs at least."""
_LAST = ("row", "whether", "about")
"""Kinds of questions that are asked only of a sentence that answers no other."""


class Facts:
    """The documents of one conversation as things to ask about, in an order drawn for this ask."""

    def __init__(self, pages: Pages, talk: ConversationDataPoint, dice: Dice) -> None:
        self.pages = pages
        self.talk = talk
        self.dice = dice

    def fresh(self, doc_id: str = "") -> Iterator[Sentence]:
        """Yield what can be asked about and has not come up yet, in drawn order; the plainest questions come last."""
        readings = [reading for reading in self.pages.readings if doc_id in {"", reading.doc_id}]
        facts = [fact for reading in readings for fact in reading.sentences if self._is_fresh(fact)]
        later: dict[str, list[Sentence]] = {kind: [] for kind in (*_LAST, "bare")}
        for fact in self.dice.child("facts", doc_id).shuffled(facts):
            kinds = {question.kind for question in self.questions(fact)}
            if kinds - set(_LAST) or (kinds == {"row"} and (fact.doc_id, fact.block) not in self._tables):
                yield fact
            elif kinds:
                later[next(kind for kind in _LAST if kind in kinds)].append(fact)
            elif len(fact.words) >= 2 and (self.are_bare or not self.pages.reading(fact).english):
                later["bare"].append(fact)
        for found in later.values():
            yield from found

    @cached_property
    def are_bare(self) -> bool:
        """Whether the documents hold next to nothing that a full question can be made of: then any words must do."""
        askable = (
            1
            for reading in self.pages.readings
            for fact in reading.sentences
            if fact.quotable and reading.questions(fact)
        )
        return sum(1 for _ in islice(askable, _FEW)) < _FEW

    def bare(self, fact: Sentence) -> str:
        """Return how one asks about a fact that no full question can be made of: by its own words."""
        reading = self.pages.reading(fact)
        said = reading.subject(fact) if not reading.english else longest_run(fact, reading.body)
        return wording.ABOUT[0].format(subject=said) if reading.english else f"{said or fact.text[:12]}?"

    @cached_property
    def _tables(self) -> frozenset[tuple[str, int]]:
        """The tables that an answer quoted: the next question is about something else, if there is anything."""
        quoted = (self.pages.at(key) for key in self.asked)
        return frozenset((fact.doc_id, fact.block) for fact in quoted if fact.cells)

    def _is_fresh(self, fact: Sentence) -> bool:
        return fact.quotable and fact.key not in self.asked and fact.words not in self._told

    @cached_property
    def asked(self) -> frozenset[tuple[str, int]]:
        """The sentences that came up already, as answers or by a question that speaks of them."""
        found: set[tuple[str, int]] = set()
        for step in self.talk.steps:
            if isinstance(step, AssistantStep):
                found.update(s.key for cited in step.citations for s in self.cited(cited))
            elif isinstance(step, UserStep):
                best = self.pages.rank(words_of(step.content))[:1]
                found.update(match.sentence.key for match in best if match.share > 0.6)
        return frozenset(found)

    @cached_property
    def _said(self) -> str:
        return " ".join(plain(step.content) for step in self.talk.steps if isinstance(step, UserStep))

    @cached_property
    def _told(self) -> frozenset[frozenset[str]]:
        """The words of what came up already: another document may say the same."""
        return frozenset(self.pages.at(key).words for key in self.asked)

    def cited(self, citation: Citation) -> list[Sentence]:
        """Return the sentences that a citation touches."""
        readings = [reading for reading in self.pages.readings if reading.doc_id == citation.doc_id]
        sentences = readings[0].sentences if readings else ()
        return [s for s in sentences if s.start < citation.end and citation.start < s.end]

    def origin(self, question: str) -> Sentence | None:
        """Return the fact that a question was made from, if it is one of ours."""
        for match in self.pages.rank(words_of(question))[:12]:
            made = self.pages.reading(match.sentence).questions(match.sentence)
            if any(plain(one.text) == plain(question) for one in made):
                return match.sentence
        return None

    def meant(self, hint: str) -> Sentence | None:
        """Return the fact that a hint speaks of: the one not yet asked that shares most words with it."""
        matches = [match for match in self.pages.rank(words_of(hint), self.asked) if self.questions(match.sentence)]
        fresh = next(self.fresh(), None)
        return matches[0].sentence if matches and (matches[0].share > 0.2 or fresh is None) else fresh

    @cached_property
    def last_answer(self) -> AssistantStep | None:
        """What the assistant said last."""
        return next((step for step in reversed(self.talk.steps) if isinstance(step, AssistantStep)), None)

    @cached_property
    def last_cited(self) -> list[Sentence]:
        """The sentences that the last answer rests on."""
        cited = self.last_answer.citations if self.last_answer else ()
        return [sentence for citation in cited for sentence in self.cited(citation)]

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
        """Return the questions that a fact answers and nobody asked yet."""
        made = self.pages.reading(fact).questions(fact)
        return [question for question in made if plain(question.text) not in self._said] if self._said else made

    def suited(self, fact: Sentence, kind: str) -> list[Question]:
        """Return the questions about a fact, those that suit the kind of turn first, in drawn order."""
        wanted = _PREFERRED.get(kind, ())
        made = self.dice.shuffled(self.questions(fact))
        return sorted(made, key=lambda question: (question.kind in {"whether", "about"}, question.kind not in wanted))

    def subject(self, fact: Sentence) -> str:
        """Return what a fact is about; "" if that is not sure."""
        return with_article(self.pages.reading(fact).subject(fact))

    def topic_of(self, fact: Sentence) -> str:
        """Return what the document of a fact is about; "" if its title does not say it."""
        return self.pages.reading(fact).topic
