"""Faults that a task asks for: searches that fail, bring nothing or bring the wrong thing, so that the data teach what then.

All of them are marked, in the error or in the result's metadata, so that no row takes one for the truth.
"""

from collections.abc import Sequence

from dgt_rag.dice import Dice
from dgt_rag.engines.base import ErrorCategory, Retriever
from dgt_rag.records import Document, Hit, ToolError

_MESSAGES = {
    "network_error": "The search service could not be reached (connection reset). Trying again may help.",
    "index_not_found": "The search service answered 404: no such index. Searching again will not help until it is restored.",
    "unparseable_result": 'The output of the search could not be read: {"hits": [{"doc_id": "d-0f3", "score": 7.41, "bo\\u00',
}


def draw_fault(categories: Sequence[ErrorCategory], dice: Dice) -> ErrorCategory | None:
    """Draw at most one fault, each as likely as its probability says."""
    if not categories:
        return None
    drawn = dice.unit()
    for category in categories:
        drawn -= category.probability
        if drawn < 0:
            return category
    return None


def fault_error(category: ErrorCategory) -> ToolError | None:
    """Return the error that this fault shows, or None if it shows as a result."""
    if category.type not in _MESSAGES:
        return None
    return ToolError(type=category.type, message=category.message or _MESSAGES[category.type], injected=True)


async def irrelevant(retriever: Retriever, hits: Sequence[Hit], limit: int, dice: Dice) -> list[Hit]:
    """Return documents by chance instead of the hits, none of which is among them, with the hits' scores."""
    true = {hit.document.doc_id for hit in hits}
    drawn: list[Document] = await retriever.sample(dice, limit + len(true))
    others = [document for document in drawn if document.doc_id not in true][:limit]
    lowest = hits[-1].score if hits else 1.0
    scores = [hit.score for hit in hits] + [lowest] * limit
    return [
        Hit(document=one, score=score, rank=n) for n, (one, score) in enumerate(zip(others, scores, strict=False), 1)
    ]
