"""How a person writes: short or long, formal or not, as their persona says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dgt_rag.dice import Dice
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.words import content

_CASUAL = re.compile(r"lower.?case|informal|casual|slang|types? (?:fast|on a phone)", re.I)
_BARE = re.compile(r"(?:without|no|little) punctuation", re.I)
_SHORT = re.compile(
    r"\b(?:short|terse|brief|few words|clipped|sparing|one.line|telegram|twelve words|ten words|fragments?)", re.I
)
_LONG = re.compile(r"\b(?:long|detailed|full|formal|explains|talkative|thorough|letter|polite)", re.I)


@dataclass(frozen=True)
class Wish:
    """What the person's message is to be."""

    pattern: str
    hint: str

    @property
    def kind(self) -> str:
        """Which of our kinds of turns it is."""
        return kind_of(self.pattern)


_KINDS = {
    "compar": "comparative",
    "follow": "follow_up",
    "clarif": "clarification",
    "unanswer": "unanswerable",
    "underspec": "underspecified",
    "ambig": "ambiguous",
    "multi": "multi_hop",
    "instruct": "instructional",
    "procedur": "instructional",
    "expla": "explanation",
}


def kind_of(pattern: str) -> str:
    """Return which of our kinds of turns a pattern's name means; one that is none of them asks for a fact."""
    return next((kind for part, kind in _KINDS.items() if part in pattern.lower()), "factoid")


class Manner:
    """The way one person writes, in one turn."""

    def __init__(self, persona: str, turn: int, dice: Dice) -> None:
        self.casual = bool(_CASUAL.search(persona))
        self.bare = bool(_BARE.search(persona))
        self.short = bool(_SHORT.search(persona))
        self.long = not self.short and bool(_LONG.search(persona))
        self.turn = turn
        self.dice = dice

    def dressed(self, question: str, kind: str, topic: str, moved: bool) -> Iterator[str]:
        """Yield ways to put a question: where the matter is new it is named, else it goes on from what was said."""
        if kind in {"follow_up", "clarification"}:
            yield self.written(question)
            return
        named = not topic or _covered(topic, question)
        frames: tuple[str, ...] = ("{q}",)
        if self.turn == 1 and not named:
            frames = wording.OPENINGS
        elif self.turn == 1:
            frames = ("{q}",) if self.short else wording.GREETINGS
        elif moved and not named:
            frames = wording.ELSEWHERE
        elif not self.short:
            frames = wording.NEXT
        for frame in self.dice.shuffled(frames)[:3]:
            said = frame.format(q=question, low=low(question), topic=topic)
            yield self.written(
                f"{said} {self.dice.choose(wording.LONGER)}" if self.long and self.dice.unit() < 0.35 else said
            )

    def goodbye(self) -> str:
        """Return a message that ends the conversation."""
        return self.written(self.dice.choose(wording.SHORT_GOODBYES if self.short or self.casual else wording.GOODBYES))

    def written(self, text: str) -> str:
        """Return a text as this person types it."""
        if self.casual:
            text = text.lower()
        return re.sub(r"[!,]|[.?](?=\s*$)|\.(?=\s)", "", text) if self.bare else text


def low(question: str) -> str:
    """Return a question as it goes on after a comma or a colon."""
    first = question.split(" ", 1)[0]
    return (
        question
        if first == "I" or first.startswith("I'") or first[1:2].isupper()
        else question[:1].lower() + question[1:]
    )


def _covered(topic: str, question: str) -> bool:
    words = set(content(topic))
    return bool(words) and len(words & set(content(question))) >= (len(words) + 1) // 2
