"""What a prompt says itself, as runs of words: by these a reply is known that copies its instructions."""

import re
from collections.abc import Iterable

Run = tuple[str, ...]
"""So many words in a row that a text which has them too was copied, not written."""

_LENGTH = 7
_LEAST = 4
"""Words of a whole sentence or line that count as well."""
_READ = 100_000
"""Characters of a text that are looked at."""
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[^.!?:\n]+")
_QUOTED = re.compile(
    r"(?<!\w)(?:\"(?=\w)|[\u201c\u201e\u00ab\u300c])[^\"<>{}\u201c-\u201f\u00ab\u00bb\u300c\u300d\n]*[\"\u201c\u201d\u00bb\u300d]"
)
_WORDING = 3
"""Words that a quotation has at least to be a wording; what is shorter is a name, such as a key of JSON."""


def runs(text: str) -> frozenset[Run]:
    """Return the runs of words of a text; a shorter one is a run by itself, one of very few words none."""
    words = _WORD.findall(text[:_READ].lower())
    if _LEAST <= len(words) < _LENGTH:
        return frozenset({tuple(words)})
    return frozenset(tuple(words[at : at + _LENGTH]) for at in range(len(words) - _LENGTH + 1))


def said_in(pieces: Iterable[str]) -> frozenset[Run]:
    """Return the runs of instructions; what stands in quotation marks there is a wording that a reply may use."""
    parts = [part for piece in pieces for part in _QUOTED.sub(_cut, piece).split("\0")]
    whole = [said for part in parts for said in _SENTENCE.findall(part) if said.strip()[:1].isupper()]
    long = [part for part in parts if len(_WORD.findall(part)) >= _LENGTH]
    return frozenset(run for said in (*long, *whole) for run in runs(said))


def _cut(quoted: re.Match[str]) -> str:
    return quoted[0] if len(_WORD.findall(quoted[0])) < _WORDING else "\0"
