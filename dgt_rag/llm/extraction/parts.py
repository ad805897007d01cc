"""Takes a message apart into its questions and answers each from its own documents; what has no answer is said."""

import re
from collections.abc import Sequence

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.answering import Answer, Answerer
from dgt_rag.llm.extraction.matching import Pages, matter
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.records import Answerability

_PART = re.compile(r"(?:[^?.!]|[.](?=\S))+\?(?: That is about [^.?]+\.)?")
_LAST = re.compile(
    r"[?][\s]*(?P<said>(?:and\b(?:[^?:]*:)? ?)?(?:wh(?:at|en|ere|o|y|ich)|how|do|does|is|are|can|may|must|will|should)\b[^?]+)\Z",
    re.I,
)
"""A question at the end of a message whose writer leaves the mark out there."""
_AGAIN = 0.9
"""The share of a question's words that a sentence holds at least which has answered another question already."""
_MOST = 3
"""Questions of a message that are told apart."""


def questions_in(message: str) -> list[str]:
    """Return the questions of a message that ask for something of their own, each with what it says it is about."""
    last = _LAST.search(message[-600:])
    asked = [
        *(part[0].strip() for part in _PART.finditer(message[:4000])),
        *([f"{last['said'].strip(' .')}?"] if last else []),
    ]
    return [part for part in asked if matter(part)][:_MOST]


class Parts:
    """A message as the questions it asks: one, or several that are answered one by one."""

    def __init__(self, pages: Pages, message: str, before: Sequence[str], dice: Dice) -> None:
        asked = questions_in(message)
        self.dice = dice
        self.pages = pages
        self.whole = Answerer(pages, message, before, dice)
        # what a later question leaves out stands in the first
        self.each = [
            Answerer(pages, part, asked[:1] if n else before, dice.child("part", n)) for n, part in enumerate(asked)
        ]

    @property
    def _asked(self) -> list[Answerer]:
        return self.each if len(self.each) > 1 else [self.whole]

    def weakest(self) -> tuple[float, str]:
        """Return the question whose best sentence answers least, and how well that does, from 0 to 1."""
        return min(((one.best(), one.message) for one in self._asked), key=lambda found: found[0])

    def answer(self, skip: int = 0, failed: bool = False) -> Answer:
        """Return the answer; with `failed`, what was not found could not be looked up."""
        made = [one.answer(skip) for one in self._asked]
        held = self._held(made, failed)
        if len(made) == 1 and (held or not failed):
            return made[0]
        if not held:
            return Answer(self.dice.choose(wording.NOT_COVERED), (), "unanswerable")
        used = tuple(dict.fromkeys(sentence for answer in held.values() for sentence in answer.rests_on))
        lost = [number for number in range(len(made)) if number not in held]
        said = [self._joined(_different(list(held.values()))), *(self._open(number, failed) for number in lost)]
        return Answer(" ".join(said), used, "partial" if lost else _least(list(held.values())))

    def _held(self, made: Sequence[Answer], failed: bool) -> dict[int, Answer]:
        """Return the answers that say something, by the number of their question."""
        held: dict[int, Answer] = {}
        for number, answer in enumerate(made):
            known = {sentence for other in held.values() for sentence in other.rests_on}
            again = known.issuperset(answer.rests_on) and self._asked[number].held_by(answer.rests_on) < _AGAIN
            open_yet = answer.answerability == "unanswerable" or (failed and answer.answerability == "partial")
            if answer.rests_on and not again and not open_yet:
                held[number] = answer
        return held

    def _joined(self, texts: list[str]) -> str:
        if any("\n" in text for text in texts):
            return "\n".join(texts)
        if len(texts) != 2:
            return " ".join(texts)
        return self.dice.choose(wording.BOTH_LEADS).format(a=texts[0], b=texts[1])

    def _open(self, number: int, failed: bool) -> str:
        """Say that a question has no answer."""
        told = wording.OTHER_FAILED if failed else wording.OTHER_OPEN
        return self.dice.child("open", number).choose(told).format(which=("first", "second", "third")[number])


def _different(held: Sequence[Answer]) -> list[str]:
    """Return what answers say, without one that rests on nothing but what was said before it."""
    said: list[str] = []
    known: set[Sentence] = set()
    for answer in held:
        if not known.issuperset(answer.rests_on):
            said.append(answer.text)
        known.update(answer.rests_on)
    return said


def _least(held: Sequence[Answer]) -> Answerability:
    ranks: Sequence[Answerability] = ("underspecified", "partial", "answerable")
    return min((answer.answerability for answer in held), key=ranks.index)
