"""What the embedded model says for the assistant: the sentences that answer a message, lightly framed and quoted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.aspects import ASPECTS, Aspect
from dgt_rag.llm.extraction.cases import Case, left_open, same_but_subject
from dgt_rag.llm.extraction.defining import definition
from dgt_rag.llm.extraction.matching import Match, Pages, asked_and_about, headed_by, words_of
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import plain
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.telling import Told, ended, opened, row_of, same_or_not, told, weighed
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import Answerability

GOOD = 0.6
"""The share of a question's words that a full answer holds at least."""
WEAK = 0.38
"""The share below which a sentence is no answer at all."""
_TRIED = 16
"""Sentences, the best ones, whose own questions are compared with the one asked."""
_STEPS = re.compile(r"\bsteps?\b|how do i\b|step by step", re.I)
_TWO = re.compile(
    r"(?:difference between|decide between|compare) (?P<a>.+?) (?:and|with|to) (?P<b>[^?.]+)|does (?P<c>.+?) compare with (?P<d>[^?.]+)|do (?P<e>.+?) and (?P<f>[^?.]+?) differ|same for (?P<g>.+?) and (?P<h>[^?.,]+)|do (?P<i>.+?) and (?P<j>[^?]+?) have the same\b",
    re.I,
)
_SAME = re.compile(r"\bhave the same (?P<what>[^?]+)", re.I)
_TERM = re.compile(r"\u201c([^\u201d]{2,80})\u201d")
_CLARIFY = re.compile(
    r"what do you mean|what exactly is meant|can you explain|what does that mean|not sure i understand the part", re.I
)
GOES_ON = re.compile(r"(?:and |ok,? |so )?(?:what about|how is it with|for) ", re.I)
"""How a message begins that asks the question before for something else."""
_PART = re.compile(r"(?:[^?.!]|[.](?=\S))+(?:\?(?: That is about [^.?]+\.)?|$)")


@dataclass(frozen=True)
class Answer:
    """An answer and the sentences it rests on."""

    text: str
    rests_on: Sequence[Sentence] = field(default_factory=tuple)
    answerability: Answerability = "answerable"


class Answerer:
    """The assistant's side of one turn: a message, what was said before it, the documents to answer from."""

    def __init__(self, pages: Pages, message: str, before: Sequence[str], dice: Dice) -> None:
        self.pages = pages
        self.message = message
        self.before = before[-1] if before else ""
        self.dice = dice
        self.own, about = asked_and_about(message)
        # a short message goes on from the exchange before it
        self.faint = [*about, *(words_of(self.before)[:8] if self.before and len(self.own) < 4 else [])]

    def best(self) -> float:
        """Return how well the best sentence answers, from 0 to 1."""
        matches = self.pages.rank(self.own, faint=self.faint)
        return matches[0].share if matches else 0.0

    def held_by(self, sentences: Sequence[Sentence]) -> float:
        """Return the share of what is asked that stands in sentences themselves, from 0 to 1."""
        return self._held(self.own, {word for sentence in sentences for word in sentence.words})

    def answer(self, skip: int = 0) -> Answer:
        """Return the answer; `skip` leaves out so many of the best sentences, which were refused before."""
        matches = self.pages.rank(self.own, faint=self.faint)
        refused = {match.sentence.key for match in matches[:skip]}
        matches = matches[skip:]
        aspect = next((aspect for aspect in ASPECTS if aspect.asked_in(self.message)), None)
        if aspect:
            return self._aspect(aspect, matches)
        if not matches:
            return Answer(self.dice.choose(wording.NOT_COVERED), (), "unanswerable")
        if found := self._of_a_kind(matches, refused):
            return found
        if exact := self._exact(matches, refused):
            return self._known(exact)
        if _STEPS.search(self.message) and (steps := self._steps(refused)):
            return steps
        if cases := left_open(self.pages, self.message, self.own):
            return self._depends(cases)
        # a question of one word leaves what it is about to the words before it
        head = headed_by(self.message) if len(self.own) < 2 else []
        return self._plain([*self.own, *head], matches)

    def _of_a_kind(self, matches: list[Match], refused: set[tuple[str, int]]) -> Answer | None:
        """Answer a message that asks for a term or weighs two things."""
        if _CLARIFY.search(self.message) and (term := _TERM.search(self.message)):
            return self._clarified(term[1], matches)
        if not (two := _TWO.search(self.message)):
            return None
        names = _TERM.findall(self.message)
        same = _SAME.search(self.message)
        if len(names) == 2 and (rows := weighed(self.pages, names, same["what"] if same else self.message)):
            decided = same_or_not(rows[1], same["what"]) if same else ""
            return Answer(f"{decided} {rows[0]}".strip(), rows[1])
        return self._one_of(names) if same and len(names) == 2 else self._compared(two, refused)

    def _one_of(self, names: Sequence[str]) -> Answer | None:
        """Return what is known of one of two things where nothing is of the other."""
        rows = {name: found for name in names if (found := row_of(self.pages, name))}
        if len(rows) != 1:
            return None
        (row,), other = rows.values(), next(one for one in names if one not in rows)
        text, used = told(self.pages, row, self.message)
        return Answer(f"{text} {self.dice.choose(wording.PARTLY).format(missing=other)}", used, "partial")

    def _exact(self, matches: list[Match], refused: set[tuple[str, int]]) -> list[Case]:
        """Return the facts, two at most, one of whose own questions the message asks, in its order."""
        said = plain(self.message)
        parts = [part[0] for part in _PART.finditer(self.message) if words_of(part[0])]
        tried = [*matches[: _TRIED if len(self.own) > 2 else 60]]
        for part in parts if len(parts) > 1 else ():
            tried += self.pages.rank(words_of(part), refused)[: _TRIED // 2]
        found: dict[str, Case] = {}
        for match in tried:
            for question in self.pages.reading(match.sentence).questions(match.sentence):
                if plain(question.text) in said:
                    found.setdefault(plain(question.text), (match.sentence, question))
        longest = [text for text in found if not any(text != other and text in other for other in found)]
        exact = [found[text] for text in sorted(longest, key=said.index)][:2]
        return exact or self._same_for_another(matches, said)

    def _same_for_another(self, matches: list[Match], said: str) -> list[Case]:
        """Return the fact that answers the question before for what this message names instead."""
        if not GOES_ON.match(self.message) or not self.before:
            return []
        asked = plain(self.before)
        before = [
            question
            for match in self.pages.rank(words_of(self.before))[:4]
            for question in self.pages.reading(match.sentence).questions(match.sentence)
            if plain(question.text) in asked
        ]
        for match in matches[:_TRIED] if before else ():
            for question in self.pages.reading(match.sentence).questions(match.sentence):
                named = plain(in_first_person(question.subject)) in said
                if question.subject and named and any(same_but_subject(question, one) for one in before):
                    return [(match.sentence, question)]
        return []

    def _known(self, exact: Sequence[Case]) -> Answer:
        said = [self._led(case) for case in exact]
        if len(said) == 2:
            return self._pair(wording.BOTH_LEADS, said, "answerable")
        return Answer(said[0][0], said[0][1])

    def _led(self, case: Case) -> Told:
        """Return what a fact says, after yes or no where its own question is one that it decides."""
        sentence, question = case
        if question.kind == "about":
            return opened(self.pages, sentence)
        text, used = told(self.pages, sentence, question.text)
        decided = question.kind in {"whether", "order"} and not question.limited and used[0] is sentence
        return (f"{'No' if question.denied else 'Yes'}. {text}" if decided else text), used

    def _plain(self, own: list[str], matches: list[Match]) -> Answer:
        best = matches[0]
        # the matter may be named by the title alone: what is asked of it must stand in the sentence
        asked = [word for word in own if word not in best.sentence.context] or own
        share = self._held(asked, best.sentence.words)
        foreign = not set(own) & (best.sentence.words | best.sentence.context) and not self.before
        absent = 1.0 - self._held(own, {word for word in own if self.pages.has(word)})
        if foreign or best.share < WEAK or (share < WEAK and asked != own) or absent > 0.34:
            return self._not_covered(best)
        text, used = told(self.pages, best.sentence, self.message)
        covered = {word for sentence in used for word in sentence.words | sentence.context}
        if best.share < GOOD and (second := self._more(own, covered, used)):
            more, also = told(self.pages, second, self.message)
            return Answer(f"{text} {more}", (*used, *(s for s in also if s not in used)))
        whole = max(best.share, share) >= GOOD
        gap = "" if whole else self._gap(covered)
        return Answer(f"{text} {gap}".strip(), used, "answerable" if whole else "partial")

    def _held(self, words: Sequence[str], held: set[str] | frozenset[str]) -> float:
        """Return the share of words, by weight, that is held."""
        total = sum(map(self.pages.weight, words)) or 1.0
        return sum(self.pages.weight(word) for word in words if word in held) / total

    def _more(self, own: list[str], covered: set[str], used: Sequence[Sentence]) -> Sentence | None:
        """Return a sentence that holds what the first one left open, if one does."""
        left = [word for word in own if word not in covered]
        found = self.pages.rank(left, {sentence.key for sentence in used}) if left else []
        return found[0].sentence if found and found[0].share >= 0.7 else None

    def _clarified(self, term: str, matches: list[Match]) -> Answer:
        # the last answer held the term: what says more of it stands elsewhere, or right after it
        known = {match.sentence.key for match in matches if term.lower() in match.sentence.text.lower()}
        for besides in (self._said_before(known), known):
            near = next((self.pages.at(key) for key in sorted(besides)), None)
            if found := definition(self.pages, term, besides, near):
                text = " ".join(ended(sentence.text) for sentence in found)
                return Answer(self.dice.choose(wording.CLARIFIED) + text, found)
        text, used = told(self.pages, matches[0].sentence)
        return Answer(text, used, "partial")

    def _said_before(self, known: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return those of some sentences that the message before asked for."""
        best = self.pages.rank(words_of(self.before))[:3] if self.before else []
        return {match.sentence.key for match in best} & known

    def _compared(self, two: re.Match[str], refused: set[tuple[str, int]]) -> Answer | None:
        found: list[Sentence] = []
        for side in filter(None, two.groups()):
            matches = self.pages.rank(words_of(side), refused | {s.key for s in found})
            if not matches or matches[0].share < 0.4:
                return None
            name = side.strip(" \u201c\u201d").lower()
            about = [match for match in matches[:_TRIED] if self._is_about(match.sentence, name)]
            close = [match for match in matches if match.share > 0.6 * matches[0].share]
            named = [match for match in close if name in match.sentence.text.lower()]
            elsewhere = [match for match in close if all(match.sentence.doc_id != s.doc_id for s in found)]
            found.append((about or named or elsewhere or matches)[0].sentence)
        return self._pair(wording.COMPARE_LEADS, [told(self.pages, sentence) for sentence in found], "answerable")

    def _is_about(self, sentence: Sentence, name: str) -> bool:
        asked = self.pages.reading(sentence).questions(sentence)
        return any(question.subject and in_first_person(question.subject).lower() == name for question in asked)

    def _pair(self, leads: Sequence[str], said: Sequence[Told], answerability: Answerability) -> Answer:
        used = tuple(dict.fromkeys(sentence for _, sentences in said for sentence in sentences))
        return Answer(self.dice.choose(leads).format(a=said[0][0], b=said[1][0]), used, answerability)

    def _steps(self, refused: set[tuple[str, int]]) -> Answer | None:
        """Return the steps that the question names by title or heading, as a numbered list."""
        asked = {word: self.pages.weight(word) for word in words_of(self.message)}
        best: tuple[float, list[Sentence]] = (0.0, [])
        for reading in self.pages.readings:
            for block in reading.procedures:
                context = block[0].context
                if block[0].key in refused or not any(word in context for word in asked):
                    continue
                inside = {word for sentence in block for word in sentence.words}
                held = sum(
                    w * (1.0 if word in context else 0.5 if word in inside else 0.0) for word, w in asked.items()
                )
                best = max(best, (held, block), key=lambda found: found[0])
        if best[0] < GOOD * sum(asked.values()):
            return None
        lines = [f"{n}. {ended(step.text)}" for n, step in enumerate(best[1][:10], start=1)]
        return Answer("\n".join([self.dice.choose(wording.STEP_LEADS), *lines]), best[1][:10])

    def _depends(self, cases: Sequence[Case]) -> Answer:
        """Return the cases that a message leaves open."""
        rows = cases[0][0].kind == "row"
        said = [told(self.pages, sentence, self.message) for sentence, _ in cases[: 3 if rows else 2]]
        text = " ".join([self.dice.choose(wording.DEPENDS) + said[0][0], *(one for one, _ in said[1:])])
        used = tuple(dict.fromkeys(sentence for _, sentences in said for sentence in sentences))
        return Answer(f"{text} {self.dice.choose(wording.WHICH)}", used, "underspecified")

    def _aspect(self, aspect: Aspect, matches: list[Match]) -> Answer:
        """Answer what is often asked of a matter: that there is nothing on it, or with what comes near it."""
        matter = [word for word in self.own if word not in content(aspect.question)]
        for match in matches[:_TRIED]:
            sentence = match.sentence
            near = self._held(matter, sentence.words | sentence.context) >= GOOD
            if near and sentence.whole and aspect.evidence.search(sentence.text):
                text, used = told(self.pages, sentence, self.message)
                return Answer(self.dice.choose(wording.NEAREST) + text, used, "partial")
        return Answer(self.dice.choose(wording.NO_SUCH).format(name=aspect.name), (), "unanswerable")

    def _not_covered(self, best: Match) -> Answer:
        held = (
            {word for reading in self.pages.readings for word in (*reading.postings, *reading.context_postings)}
            if len(self.pages.readings) <= 12
            else best.sentence.words | best.sentence.context
        )
        missing = self.pages.missing(self.message, held)
        named = self.dice.choose(wording.NOT_COVERED_NAMED).format(missing=missing)
        said = named if missing else self.dice.choose(wording.NOT_COVERED)
        if best.share < 0.5 or not best.sentence.whole:
            return Answer(said, (), "unanswerable")
        text, used = told(self.pages, best.sentence, self.message)
        return Answer(f"{said} {self.dice.choose(wording.NEAREST)}{text}", used, "unanswerable")

    def _gap(self, held: set[str]) -> str:
        missing = self.pages.missing(self.message, held)
        return self.dice.choose(wording.PARTLY).format(missing=missing) if missing else ""
