"""What the embedded model takes a document to be made of."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["prose", "item", "step", "row"]
_UNSUITABLE = re.compile(
    r"\[document|\bdocuments? \d|\b(?:according to|based on|provided|given) (?:the |these |your )?documents?\b|\bthe documents? (?:says?|states?|mentions?)\b"
    r"|<\|[a-z_]+\|>|</?(?:think|s|answer|tool_call)>|\"answerability\"|^\s*\{\s*\"",
    re.IGNORECASE,
)
"""What no message may hold: words about documents by number, marks of a reply's format."""
_BROKEN = re.compile(
    r"[|\u2022\u00bb\u00ab\u203a]|https?:|www\.|(?:\.\.\.|\u2026)\W*$|\d[a-z]{2,}[A-Z]|[a-z]{2}[A-Z][a-z]+.*[a-z]{2}[A-Z][a-z]|[.!?][A-Z][a-z]"
    r"|[a-rt-z]['\u2019] [a-z]|[({\[][^)}\]]*$|^[^({\[]*[)}\]]"
    r"|[a-z0-9)] (?:You|If|We|It|They|When|Your|Please|This|These|Do|See|Read) [a-z]"
    r"|\b(?:can|don|won|doesn|isn|aren|didn|you|we|they|I|it|let|that|what) (?:t|re|ve|ll|d)\b"
    r"|[a-z](?:Although|You|If|The|We|It|This|In|For|When|And|Article|Image|See)\b"
)
"""Marks of a sentence that was cut off, glued together or is no sentence at all."""
_HANGING = frozenset("read see visit at to of the following or and for below a an by with on".split())
"""Last words of a sentence whose end, such as a link, was lost."""
_LONGEST = 55
"""Words of a sentence that a person would ask about, at most."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, a list item or a table row: `text` as a person reads it, which stands at `start:end` of the body."""

    doc_id: str
    place: int
    start: int
    end: int
    kind: Kind
    text: str
    heading: str
    intro: str
    """The line that opens the list it is an item of, or the head of the table it is a row of."""
    block: int
    """The same for neighbours: the sentences of one section, the items of one list, the rows of one table."""
    cells: tuple[tuple[str, str], ...]
    """Of a row: its columns and what stands in them."""
    words: frozenset[str]
    context: frozenset[str]
    """Words of title, heading and intro."""
    quotable: bool
    """Whether an answer can rest on it."""
    whole: bool
    """Whether it is a sentence from beginning to end, which can be asked about."""

    @property
    def key(self) -> tuple[str, int]:
        """Its document and its place there."""
        return (self.doc_id, self.place)


def is_quotable(text: str, kind: Kind) -> bool:
    """Say whether a sentence is long enough to show something, no question, and fit for a message."""
    letters = sum(map(str.isalnum, text[:100]))
    opens = text.endswith(":") and kind == "prose"
    enough = letters >= (10 if text.isascii() else 6)
    fit = not _UNSUITABLE.search(text) and not _loops(text)
    return enough and not opens and text[-1] not in "?\uff1f\u061f" and fit


def _loops(text: str) -> bool:
    """Say whether a long text says the same words again and again."""
    words = text.split() if len(text) > 120 else []
    return len(words) > 20 and len(set(zip(words, words[1:], words[2:], strict=False))) < 0.6 * (len(words) - 2)


def is_whole(text: str, kind: Kind, small: bool) -> bool:
    """Say whether a text reads as one sentence; `small` is that of a document without capital letters."""
    if kind == "row" or _BROKEN.search(text) or text.count('"') % 2 or text.count("\u201c") != text.count("\u201d"):
        return False
    ends = text[-1] in ".!)\u201d\u3002\uff01" or (text[-1] in "\"'" and text[-2:-1] in ".!") or kind == "step"
    words = text.split()
    if words[-1].rstrip(".!").lower() in _HANGING:
        return False
    titled = sum(word[:1].isupper() for word in words)
    named = len(words) > 5 and titled > 0.6 * len(words)
    return ends and not named and 3 <= len(words) <= _LONGEST and (small or not text[0].islower())
