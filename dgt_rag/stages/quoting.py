"""For a model that does not copy letter for letter: sentences to quote, and whether an answer keeps to what it quotes."""

import re
from collections.abc import Iterator, Sequence

from dgt_rag.citations import is_telling
from dgt_rag.records import Document

_READ = 100_000
"""Characters of a document that are looked at."""
_LONGEST = 300
"""Characters of a sentence that are shown; a longer one is cut between words."""
_NEAR = 0.25
"""The share of a text's groups of three letters that a sentence has in common with it at least to be near it."""
_KEPT = 0.6
"""The share of an answer's words that its quotes must hold where they were only chosen."""
_LEAST = 3
"""Words that such an answer must have at least."""
_SENTENCE = re.compile(r"\w[^\n]*?(?:[.!?\u2026]+(?=\s|\Z)|[\u3002\uff01\uff1f]+|(?=\n)|\Z)")
_WORD = re.compile(r"[^\W\d_]{4,}|\d+(?:[.,:]\d+)*")


def nearest(text: str, documents: Sequence[Document]) -> str:
    """Return the sentence that is nearest to a text, as it stands in its document; "" if none is near."""
    wanted = _groups(text)
    best = next(iter(_ranked(wanted, documents)), "")
    shared = len(wanted & _groups(best))
    return best if shared and shared >= _NEAR * min(len(wanted), len(_groups(best))) else ""


def choices(texts: Sequence[str], documents: Sequence[Document], most: int = 8) -> tuple[str, ...]:
    """Return the sentences that are nearest to these texts, in the order of the documents."""
    chosen = set(_ranked(frozenset().union(*map(_groups, texts)), documents)[:most])
    return tuple(dict.fromkeys(s for document in documents for s in _sentences(document) if s in chosen))


def keeps_to(answer: str, quotes: Sequence[str], asked: str = "") -> bool:
    """Say whether an answer takes up what was asked, and every number and most words that it adds stand in the quotes."""
    known, given = (
        {_stem(word) for text in texts for word in _WORD.findall(text.lower())} for texts in (quotes, [asked])
    )
    words = [_stem(word) for word in _WORD.findall(answer.lower())]
    if (given and not given.intersection(words)) or given.issuperset(words):
        return False
    said = [stem for stem in words if stem in known or stem not in given]
    if any(stem[0].isdigit() and stem not in known for stem in said):
        return False
    return len(said) >= _LEAST and sum(stem in known for stem in said) >= _KEPT * len(said)


def _stem(word: str) -> str:
    return word if word[0].isdigit() else word[:4]


def _ranked(wanted: frozenset[str], documents: Sequence[Document]) -> list[str]:
    """Return the sentences, the one that shares most first; of two that share as much, the shorter one is the plainer."""
    sentences = {sentence: _groups(sentence) for document in documents for sentence in _sentences(document)}
    return sorted(sentences, key=lambda sentence: (-len(sentences[sentence] & wanted), len(sentence)))


def _sentences(document: Document) -> Iterator[str]:
    for match in _SENTENCE.finditer(document.body[:_READ]):
        sentence = match.group()
        shown = sentence if len(sentence) <= _LONGEST else sentence[:_LONGEST].rsplit(" ", 1)[0]
        if is_telling(shown):
            yield shown


def _groups(text: str) -> frozenset[str]:
    folded = " ".join(text.lower().split())
    return frozenset(folded[place : place + 3] for place in range(len(folded) - 2))
