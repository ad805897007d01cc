"""A question that a sentence answers."""

import re
from dataclasses import dataclass
from functools import lru_cache

from dgt_rag.llm.extraction.words import tokens


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what it asks for: number, place, manner, what, who, reason, condition, order, row, whether, about."""

    kind: str
    text: str
    subject: str = ""
    """What its sentence says something of, where that is sure."""
    denied: bool = False
    """Whether a yes or no question is answered by no."""
    limited: bool = False
    """Whether the sentence goes on with an exception, so that neither yes nor no is the whole answer."""

    @property
    def opening(self) -> str:
        """The words that say what is asked for, with the verb: how much is, when does."""
        found = _OPENING.match(self.text)
        return found[0].lower() if found else ""


_OPENING = re.compile(
    r"(?:how (?:much|many \w+|often|long|soon)|when|by when|where|what|who) (?:is|are|was|were|do|does|must|may|can|will)\b",
    re.I,
)


@lru_cache(maxsize=20_000)
def plain(text: str) -> str:
    """Return a text as its words alone, with a blank around each, to find one text in another."""
    return f" {' '.join(tokens(text.lower()))} "
