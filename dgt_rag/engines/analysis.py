"""Text → what is indexed and what is asked: languages, function words, and scripts that put no spaces between words."""

import re
from typing import Literal
from unicodedata import is_normalized, normalize

Language = Literal[
    "none",
    "arabic",
    "chinese",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "japanese",
    "korean",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
]

ANALYSIS = 3
"""Counted up when the same text gives other terms; an index made with another number is made anew."""
MAX_TERMS = 256
_MAX_QUERY = 20_000

_SURROGATES = re.compile("[\ud800-\udfff]")
# Thai to Myanmar, Khmer, kana, Han (with extensions), Hangul: written without spaces, or with long words of many parts
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003134f"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
# Devanagari to Sinhala without Tamil, whose stemmer reads its own; an analyzer would part a word there
_JOINING = re.compile("[\u094d\u09cd\u0a4d\u0acd\u0b4d\u0c4d\u0ccd\u0d4d\u0dca][\u200c\u200d]?")
_PLAIN = re.compile("[\x00-\u08ff\u2000-\u2fff]*")
"""Text with none of those signs and no surrogates; seen in a twentieth of the time that looking for them takes."""
_DOTTED = "\u0130"
"""The Turkish capital of i, whose small letter would be two signs."""

_FUNCTION_WORDS = """
a about again ain all already also although always am among an and another any anybody anyone anything are aren
around as at be became because been being both but by can cannot could couldn d did didn do does doesn doing don
done each else every everybody everyone for from get gets give given go goes got had hadn has hasn have haven having
he hello hence her here hers herself hi him himself his how however i if in indeed into is isn it its itself just
know let like ll m may maybe me might must mustn my myself need needn no nor not now of often on one onto or
otherwise ought our ours ourselves own per perhaps please quite rather re really s shall shan she should shouldn so
some somebody someone something still such t tell than thank thanks that the their theirs them themselves then there
therefore these they this those though thus to together too us ve very via want was wasn we well were weren what
whatever when whenever where whereas wherever whether which whichever while who whoever whom whose why will with won
would wouldn yet you your yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that say how a thing is asked, not what; left out of queries only."""


def prepare(text: str) -> str:
    """Return text that an analyzer splits well: words of unspaced scripts as single signs and pairs of neighbours."""
    if text.isascii():
        return text
    # letters with their accents apart, as PDF files and some systems have them, half-width kana, ligatures
    text = text if is_normalized("NFKC", text) else normalize("NFKC", text)
    if _DOTTED in text or "i\u0307" in text:
        text = text.replace(_DOTTED, "I").replace("i\u0307", "i")
    if _PLAIN.fullmatch(text):
        return text
    text = _JOINING.sub("", _SURROGATES.sub("\ufffd", text))
    return _RUN.sub(_signs, text) if _RUN.search(text) else text


def prepare_query(text: str) -> str:
    """Return a query as `prepare` does, cut where no reader would have gone on."""
    text = text if len(text) <= _MAX_QUERY else text[:_MAX_QUERY]
    return text if text.isascii() else prepare(text)


def _signs(run: re.Match[str]) -> str:
    signs = run.group()
    pairs = [signs[at : at + 2] for at in range(len(signs) - 1)]
    return f" {' '.join([*signs, *pairs])} "
