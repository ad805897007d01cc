"""Words of a text as the embedded model compares them: lower case, without endings, without those that say nothing."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

_MARKS = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code))[0] == "M")
"""Signs that belong to the letter before them, such as the vowels of Thai and Hindi."""
_WORD = rf"[^\W_]+(?:[{_MARKS}\u200c\u200d]+[^\W_]*)*"
_TOKEN = re.compile(rf"\d+(?:[.,:]\d+)+|{_WORD}(?:['\u2019][^\W_]+)?")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)
_LONGEST = 40
"""Letters of a word at most; what is longer is no word that anybody types."""

FUNCTION_WORDS = frozenset(
    "a about above after again against all along already also although always am among an and another any anyone anything are "
    "around as at away back be because been before behind being below beside between beyond both but by can cannot could "
    "did do does doing done don't down during each either else even ever every everything except exactly few for from "
    "further get gets getting go goes going gone got had has have having he hello her here hers him his how i i'd i'll i'm i've "
    "if in instead into is isn't it its it's itself just know least less let like likely made make many may me might mine "
    "more most much must my myself need needs neither never no none nor not nothing now of off often on once one only "
    "onto or other otherwise our ours out over own per please put quite rather really said same say see shall she should "
    "since so some somebody someone something soon still such tell than thank thanks that that's the their theirs them themselves "
    "then there there's therefore these they thing things this those though through thus till to too toward towards under "
    "unless until up upon us use used using very via want was way we well were what what's whatever when where whereas "
    "whether which while who whom whose why will with within without would yes yet you you'd you'll you're your yours yourself "
    "differ difference different compare compared versus happen happens happening mean means meant question work works working ask "
    "wonder wondering sort tell understand understood explain apply applies case cases concerning regard regarding find "
    "steps step figure figures rule rules anything okay ok hi hey dear good sorry quick sure right think thought long high".split()
)
"""English words that carry no matter of their own, and those that only frame a question."""


def tokens(text: str) -> list[str]:
    """Return the words of a text as they stand."""
    return _TOKEN.findall(text)


def content(text: str) -> list[str]:
    """Return the stems of the words that say something, in order, repeated as they are."""
    return [stem for token in _TOKEN.findall(text) for stem in stems(token)]


@lru_cache(maxsize=50_000)
def stems(token: str) -> tuple[str, ...]:
    """Return what a word is compared by: nothing for a function word, pairs of letters where words are not spaced."""
    word = token[:_LONGEST].lower().replace("\u2019", "'").removesuffix("'s")
    if word in FUNCTION_WORDS or word.endswith("n't") or (len(word) == 1 and word.isascii() and word.isalpha()):
        return ()
    if _UNSPACED.search(word):
        return tuple(dict.fromkeys(word[n : n + 2] for n in range(max(1, len(word) - 1))))
    return (_stem(word),)


def _stem(word: str) -> str:
    if not word.isascii() or not word.isalpha() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "xes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = _single(word[: -len(ending)])
            break
    if word.endswith("y") and len(word) > 4:
        word = word[:-1] + "i"
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _single(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz" else word


def is_english(text: str) -> bool:
    """Say whether a text reads as English, by the share of its function words."""
    found = [token.lower() for token in _TOKEN.findall(text[:4000])]
    known = sum(word in FUNCTION_WORDS for word in found)
    return known >= 0.2 * len(found) if len(found) > 12 else text.isascii()


def runs(words: Iterable[str]) -> Iterator[list[str]]:
    """Yield the runs of neighbouring words that say something."""
    run: list[str] = []
    for word in words:
        if stems(word):
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run
