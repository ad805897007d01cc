"""Passages that a conversation has not come to yet, to plan its next turn from."""

import re
from collections.abc import Iterator, Sequence

from dgt_rag.dice import Dice
from dgt_rag.records import AssistantStep, ConversationDataPoint, Document

_ROOM = 2400
"""Characters that all passages of one ask have together; documents share them."""
_BREAK = re.compile(r"\n\s*\n")


def fresh_passages(talk: ConversationDataPoint, documents: Sequence[Document], dice: Dice) -> list[tuple[str, str]]:
    """Return (title, text) of each document: paragraphs from a drawn place on that no answer has quoted."""
    room = _ROOM // max(1, len(documents))
    return [
        (document.title or document.doc_id, _fresh(talk, document, dice.child(n), room))
        for n, document in enumerate(documents)
    ]


def _fresh(talk: ConversationDataPoint, document: Document, dice: Dice, room: int) -> str:
    cited = [
        (citation.start, citation.end)
        for step in talk.steps
        if isinstance(step, AssistantStep)
        for citation in step.citations
        if citation.doc_id == document.doc_id
    ]
    spans = [*_paragraphs(document.body[:100_000])]
    free = [span for span in spans if not any(start < span[1] and span[0] < end for start, end in cited)] or spans
    if not free:
        return ""
    first = dice.below(len(free))
    text = ""
    for start, end in free[first:] + free[:first]:
        if text and len(text) + end - start > room:
            break
        text += ("\n\n" if text else "") + document.body[start:end].strip()
    return text if len(text) <= room else text[:room].rsplit(" ", 1)[0] + " …"


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the paragraphs of a text begin and end."""
    begin = 0
    for end, after in [*(gap.span() for gap in _BREAK.finditer(text)), (len(text), len(text))]:
        begin = end - len(text[begin:end].lstrip())
        if begin < end:
            yield begin, end
        begin = after
