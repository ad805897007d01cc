"""What the embedded model takes a document to be made of."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["prose", "item", "step", "row"]


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
