"""Citations, checked by code: a quoted span stands in a document that was shown, or it is no citation."""

import re
from collections.abc import Sequence
from functools import lru_cache

from dgt_rag.records import Citation, Document

_ALIKE = {"'": "['\u2018\u2019\u02bc`\u00b4]", '"': '["\u201c\u201d\u201e\u00ab\u00bb]', "-": "[-\u2010-\u2015\u2212]"}
_FOLD = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc`\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
_ELLIPSIS = re.compile(r"\s*(?:\[?\.\.\.\]?|\[?\u2026\]?)\s*")
_EDGES = " \t\r\n\"'*_`|>#.,;:\u201c\u201d\u2018\u2019"
_NO_LETTER = re.compile("[^\\w\u0345]+|_+")
_DOTLESS = {0x131: "i", 0x307: None}
_LEAST = 8
"""Letters and digits that a quote needs at least to show anything (half as many where words are not spaced)."""


def locate(quote: str, body: str) -> tuple[int, int] | None:
    """Return where a quote stands in a text as (start, end) in characters, or None.

    Differences that a copyist makes are forgiven: white space, typographic quotes and dashes, Markdown marks between
    words, case, punctuation at the ends. What is kept of a quote is always the text of the document.
    """
    at = body.find(quote)
    if quote and at >= 0:
        return at, at + len(quote)
    words = quote.strip(_EDGES).translate(_FOLD).split()
    # most quotes that are not verbatim are not there at all, which is seen without a pattern
    if not words or _letters(quote) not in _letters(body):
        return None
    match = _pattern(tuple(words)).search(body)
    return match.span() if match else None


@lru_cache(maxsize=1024)
def _letters(text: str) -> str:
    """Return the letters and digits of a text, those alike that a pattern which ignores case takes for alike."""
    return _NO_LETTER.sub("", text).casefold().translate(_DOTLESS)


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    loose = ["".join(_ALIKE.get(letter, re.escape(letter)) for letter in word.strip("*_`|#>")) for word in words]
    return re.compile(r"[\s*_`|#>]+".join(word for word in loose if word), re.IGNORECASE)


def is_telling(quote: str) -> bool:
    """Say whether a quote is long enough to show anything."""
    letters = sum(letter.isalnum() for letter in quote)
    return letters >= (_LEAST if quote.isascii() else _LEAST // 2)


def cite(document: Document, quote: str) -> tuple[Citation, ...]:
    """Return the citations for a quote from one document; one for each part if it leaves something out; none if it is not there."""
    found = []
    # dots that stand in the document itself leave nothing out
    whole = quote in document.body or not _ELLIPSIS.search(quote.strip(_EDGES))
    for part in [quote] if whole else _ELLIPSIS.split(quote):
        span = locate(part, document.body) if is_telling(part) else None
        if span is None:
            return ()
        found.append(Citation(doc_id=document.doc_id, quote=document.body[slice(*span)], start=span[0], end=span[1]))
    return tuple(found)


def find_citation(quote: str, documents: Sequence[Document], named: int) -> tuple[Citation, ...]:
    """Return the citations for a quote, from the document named (by number, from 1) or from another one shown."""
    first = documents[named - 1 : named] if named >= 1 else documents[:0]
    for document in (*first, *documents):
        if found := cite(document, quote):
            return found
    return ()


def holds(citation: Citation, documents: Sequence[Document]) -> bool:
    """Say whether a citation's quote stands verbatim at its place in one of these documents."""
    return any(
        document.doc_id == citation.doc_id and document.body[citation.start : citation.end] == citation.quote != ""
        for document in documents
    )
