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
    words: frozenset[str]
    context: frozenset[str]
    """Words of title, heading and intro."""
    quotable: bool
    """Whether an answer can rest on it."""


def is_quotable(text: str, kind: Kind) -> bool:
    """Say whether a sentence is long enough to show something, no question, and fit for a message."""
    letters = sum(map(str.isalnum, text[:100]))
    opens = text.endswith(":") and kind == "prose"
    enough = letters >= (10 if text.isascii() else 6)
    return enough and not opens and text[-1] not in "?\uff1f\u061f" and not _UNSUITABLE.search(text)
