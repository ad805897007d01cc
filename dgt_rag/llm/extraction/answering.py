"""What the embedded model says for the assistant: the sentences that answer a message, lightly framed and quoted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.matching import Match, Pages, asked_and_about, words_of
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import Answerability

GOOD = 0.6
"""The share of a question's words that a full answer holds at least."""
WEAK = 0.38
"""The share below which a sentence is no answer at all."""
_STEPS = re.compile(r"\bsteps?\b|how do i go about|how do i handle|what do i have to do for|step by step", re.I)
_TWO = re.compile(
    r"(?:difference between|decide between|compare) (?P<a>.+?) (?:and|with|to) (?P<b>[^?.]+)|does (?P<c>.+?) compare with (?P<d>[^?.]+)|do (?P<e>.+?) and (?P<f>[^?.]+?) differ|same for (?P<g>.+?) and (?P<h>[^?.,]+)",
    re.I,
)
_TERM = re.compile(r"\u201c([^\u201d]{3,80})\u201d")
_CLARIFY = re.compile(
    r"what do you mean|what exactly is meant|can you explain|what does that mean|not sure i understand the part", re.I
)
_POINTS_BACK = re.compile(
    r"(?:It|They|This|These|That|Those|He|She|Such|Both|Here|There|Then|Otherwise|However|After that|In that case|If so|If not|If it|If they|The same)\b"
)
_YES_NO = re.compile(
    r"(?:^|[.!:] |, )(?!can you|could you)(?:is|are|was|were|can|may|must|do|does|will|should|has|have|could)\b[^?.]*\??$",
    re.I,
)
_PART = re.compile(r"(?:[^?.!]|[.](?=\S))+(?:\?(?: That is about [^.?]+\.)?|$)")
_NOT = re.compile(r"\b(?:not|no|never|cannot|none|nobody|neither|nor)\b|n['\u2019]t\b", re.I)
_BUT = re.compile(r"\b(?:unless|except|exception|only|but|however|otherwise|depends|if|when|where|without)\b", re.I)


_FRAMES = frozenset(content(" ".join(phrase for phrases in wording.ANSWER_FRAMES for phrase in phrases)))


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
        self.dice = dice
        self.own, about = asked_and_about(message)
        # a short message goes on from the exchange before it
        self.faint = [*about, *(words_of(before[-1])[:8] if before and len(self.own) < 4 else [])]
        self.goes_on = bool(before)

    def best(self) -> float:
        """Return how well the best sentence answers, from 0 to 1."""
        matches = self.pages.rank(self.own, faint=self.faint)
        return matches[0].share if matches else 0.0

    def answer(self, skip: int = 0) -> Answer:
        """Return the answer; `skip` leaves out so many of the best sentences, which were refused before."""
        own = self.own
        matches = self.pages.rank(own, faint=self.faint)
        refused = {(match.sentence.doc_id, match.sentence.place) for match in matches[:skip]}
        matches = matches[skip:]
        if not matches:
            return Answer(self.dice.choose(wording.NOT_COVERED), (), "unanswerable")
        if _CLARIFY.search(self.message) and (term := _TERM.search(self.message)):
            return self._clarified(term[1], matches)
        if (two := _TWO.search(self.message)) and (compared := self._compared(two, refused)):
            return compared
        if _STEPS.search(self.message) and (steps := self._steps(refused)):
            return steps
        parts = [part[0] for part in _PART.finditer(self.message) if words_of(part[0])]
        if len(parts) >= 2:
            return self._both(parts[:2], refused)
        if len(own) <= 2 and (vague := self._depends(own, matches)):
            return vague
        return self._plain(own, matches)

    def _plain(self, own: list[str], matches: list[Match]) -> Answer:
        best = matches[0]
        # the matter may be named by the title alone: what is asked of it must stand in the sentence
        asked = [word for word in own if word not in best.sentence.context] or own
        held = [word for word in asked if word in best.sentence.words]
        share = sum(map(self.pages.weight, held)) / (sum(map(self.pages.weight, asked)) or 1.0)
        foreign = not set(own) & (best.sentence.words | best.sentence.context) and not self.goes_on
        if foreign or best.share < WEAK or (share < WEAK and asked != own):
            return self._not_covered(best)
        text, used = self._told(best.sentence)
        covered = {word for sentence in used for word in sentence.words | sentence.context}
        if best.share < GOOD and (second := self._more(own, covered, used)):
            more, also = self._told(second)
            return Answer(f"{text} {more}", (*used, *(s for s in also if s not in used)))
        whole = max(best.share, share) >= GOOD
        gap = "" if whole else self._gap(covered)
        return Answer(f"{self._lead(best)}{text} {gap}".strip(), used, "answerable" if whole else "partial")

    def _lead(self, best: Match) -> str:
        sentence = best.sentence
        if not self.pages.reading(sentence).english:
            return ""
        plain = sentence.kind == "prose" and best.share > 0.8 and not _BUT.search(sentence.text)
        if plain and _YES_NO.search(self.message) and not _NOT.search(self.message):
            return "No. " if _NOT.search(sentence.text) else "Yes. "
        return self.dice.choose(wording.LEADS)

    def _more(self, own: list[str], covered: set[str], used: Sequence[Sentence]) -> Sentence | None:
        """Return a sentence that holds what the first one left open, if one does."""
        left = [word for word in own if word not in covered]
        found = self.pages.rank(left, {(sentence.doc_id, sentence.place) for sentence in used}) if left else []
        return found[0].sentence if found and found[0].share >= 0.7 else None

    def _told(self, sentence: Sentence) -> tuple[str, tuple[Sentence, ...]]:
        """Return a sentence as it is said, with the one before if it points back to it, and one after that points to it."""
        reading = self.pages.reading(sentence)
        around = [
            s
            for s in reading.sentences[max(0, sentence.place - 1) : sentence.place + 2]
            if s.block == sentence.block and s.kind == "prose" and s.text[-1:] not in ":?"
        ]
        used = [sentence]
        if sentence.kind == "prose":
            if _POINTS_BACK.match(sentence.text):
                used = [s for s in around if s.place == sentence.place - 1] + used
            used += [s for s in around if s.place == sentence.place + 1 and _POINTS_BACK.match(s.text)]
        return " ".join(_spoken(s) for s in used), tuple(used)

    def _clarified(self, term: str, matches: list[Match]) -> Answer:
        found = next((match for match in matches if term.lower() in match.sentence.text.lower()), matches[0]).sentence
        near = [
            sentence
            for sentence in self.pages.reading(found).block(found)
            if 0 <= sentence.place - found.place <= 1 and sentence.kind == found.kind and len(sentence.words) >= 3
        ]
        near = near if found in near else [found]
        return Answer(self.dice.choose(wording.CLARIFIED) + " ".join(_spoken(sentence) for sentence in near), near)

    def _compared(self, two: re.Match[str], refused: set[tuple[str, int]]) -> Answer | None:
        found: list[Sentence] = []
        for side in filter(None, two.groups()):
            matches = self.pages.rank(words_of(side), refused | {(s.doc_id, s.place) for s in found})
            if not matches or matches[0].share < 0.4:
                return None
            name = side.strip(" \u201c\u201d").lower()
            close = [match for match in matches if match.share > 0.6 * matches[0].share]
            named = [match for match in close if name in match.sentence.text.lower()]
            elsewhere = [match for match in close if all(match.sentence.doc_id != s.doc_id for s in found)]
            found.append((named or elsewhere or matches)[0].sentence)
        return self._pair(wording.COMPARE_LEADS, [self._told(sentence) for sentence in found], "answerable")

    def _both(self, parts: list[str], refused: set[tuple[str, int]]) -> Answer:
        said: list[tuple[str, tuple[Sentence, ...]]] = []
        for part in parts:
            known = refused | {(s.doc_id, s.place) for _, used in said for s in used}
            matches = self.pages.rank(words_of(part), known)
            if matches and matches[0].share >= WEAK:
                said.append(self._told(matches[0].sentence))
        if len(said) == 2:
            return self._pair(wording.BOTH_LEADS, said, "answerable")
        if not said:
            return self._not_covered(self.pages.rank(words_of(self.message))[0])
        return Answer(
            f"{said[0][0]} {self._gap({w for s in said[0][1] for w in s.words | s.context})}".strip(),
            said[0][1],
            "partial",
        )

    def _pair(
        self, leads: Sequence[str], said: Sequence[tuple[str, tuple[Sentence, ...]]], answerability: Answerability
    ) -> Answer:
        used = tuple(dict.fromkeys(sentence for _, sentences in said for sentence in sentences))
        return Answer(self.dice.choose(leads).format(a=said[0][0], b=said[1][0]), used, answerability)

    def _steps(self, refused: set[tuple[str, int]]) -> Answer | None:
        """Return the steps that the question names by title or heading, as a numbered list."""
        asked = {word: self.pages.weight(word) for word in words_of(self.message)}
        best: tuple[float, list[Sentence]] = (0.0, [])
        for reading in self.pages.readings:
            for block in reading.procedures:
                context = block[0].context
                if (block[0].doc_id, block[0].place) in refused or not any(word in context for word in asked):
                    continue
                inside = {word for sentence in block for word in sentence.words}
                held = sum(
                    w * (1.0 if word in context else 0.5 if word in inside else 0.0) for word, w in asked.items()
                )
                best = max(best, (held, block), key=lambda found: found[0])
        if best[0] < GOOD * sum(asked.values()):
            return None
        lines = [f"{n}. {_ended(step.text)}" for n, step in enumerate(best[1][:10], start=1)]
        return Answer("\n".join([self.dice.choose(wording.STEP_LEADS), *lines]), best[1][:10])

    def _depends(self, own: list[str], matches: list[Match]) -> Answer | None:
        """Return the cases that a message leaves open, if sentences of different places answer it."""
        apart: dict[tuple[str, int], Sentence] = {}
        for match in matches:
            if set(own) <= match.sentence.words and any(map(str.isdigit, match.sentence.text)):
                apart.setdefault((match.sentence.doc_id, match.sentence.block), match.sentence)
        if len(apart) < 2:
            return None
        said = [self._told(sentence) for sentence in list(apart.values())[:2]]
        text = f"{self.dice.choose(wording.DEPENDS)}{said[0][0]} {said[1][0]} {self.dice.choose(wording.WHICH)}"
        return Answer(text, tuple(dict.fromkeys(s for _, used in said for s in used)), "underspecified")

    def _not_covered(self, best: Match) -> Answer:
        held = (
            {word for reading in self.pages.readings for word in (*reading.postings, *reading.context_postings)}
            if len(self.pages.readings) <= 12
            else best.sentence.words | best.sentence.context
        )
        missing = self.pages.missing(self.message, held)
        said = (
            self.dice.choose(wording.NOT_COVERED_NAMED).format(missing=missing)
            if missing
            else self.dice.choose(wording.NOT_COVERED)
        )
        if best.share < 0.15:
            return Answer(said, (), "unanswerable")
        text, used = self._told(best.sentence)
        return Answer(f"{said} {self.dice.choose(wording.NEAREST)}{text}", used, "unanswerable")

    def _gap(self, held: set[str]) -> str:
        missing = self.pages.missing(self.message, held)
        return self.dice.choose(wording.PARTLY).format(missing=missing) if missing else ""


def _spoken(sentence: Sentence) -> str:
    """Return a sentence as it stands in an answer: a fragment or a row with the words that it hangs on."""
    text = _ended(sentence.text)
    listed = sentence.kind in {"item", "step"} and sentence.intro
    fragment = text[:1].islower() or len(text.split()) < 4 or sentence.kind == "row"
    opening = sentence.intro if listed else sentence.heading if fragment else ""
    return f"{opening.rstrip(' :.')}: {text}" if opening else text


def _ended(text: str) -> str:
    text = text.rstrip(" ,;:")
    return text if text[-1:] in '.!?\u3002\uff01\uff1f)\u201d"' else f"{text}."


def objections(answer: str, question: str, pages: Pages, quotes: Sequence[str], answerability: str) -> list[str]:
    """Return what is wrong with an answer, by overlap of words with its quotes and with the question."""
    quoted = {word for quote in quotes for word in content(quote)}
    near = {
        word
        for reading in pages.readings
        for sentence in reading.sentences
        if quoted & sentence.words
        for word in sentence.context
    }
    asked = set(content(question))
    said = [word for word in content(answer) if word not in _FRAMES]
    loose = [word for word in said if word not in quoted | near | asked]
    found = []
    if said and len(loose) > 0.4 * len(said) and not (answerability == "unanswerable" and not quotes):
        found.append(
            f"Too much of the answer stands in none of its quotes, such as {', '.join(dict.fromkeys(loose[:3]))}."
        )
    if answerability in {"answerable", "partial"} and asked and not asked & (quoted | near):
        found.append("The answer has no word in common with the question.")
    return found
