"""What the embedded model says of an answer as its critic: by overlap of words with the quotes and the question."""

from collections.abc import Sequence

from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.matching import Pages
from dgt_rag.llm.extraction.words import content

_FRAMES = frozenset(content(" ".join(phrase for phrases in wording.ANSWER_FRAMES for phrase in phrases)))


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
