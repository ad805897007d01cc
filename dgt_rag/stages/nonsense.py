"""What weak models write in place of text: places to fill in, and the same words again and again."""

import re
from collections import Counter
from collections.abc import Iterable

from dgt_rag.prompts.told import Run, runs

_PLACEHOLDER = re.compile(
    r"\W*(?:the (?:answer|message|question|response|query)\W*)?\Z|\s*[<{\[]+[^<>{}\[\]]*[>}\]]+[\s.]*\Z|.*<(?:the |a )?(?:answer|message|question|copied words|number|query)>",
    re.IGNORECASE | re.DOTALL,
)
_TASK = re.compile(
    r"\bwithout (?:any )?(?:facts|citations)\b|\blist of citations\b|\banswer (?:to the question )?(?:was|has been) refused\b"
    r"|\bunanswerable\b|\bunderspecified\b",
    re.IGNORECASE,
)
_OF_PERSON = re.compile(
    r"\W*(?:(?:the|this) (?:person|user) (?:now |then |also )?"
    r"(?:wants|needs|asks|is asking|goes on|weighs|says|did not understand|has what they|ends|would like)\b"
    r"|(?:the|this) conversation (?:has|is|was|ends)\b)",
    re.IGNORECASE,
)
_LOOP = re.compile(r"(?<!\w)((?:\w+\W+){4,40}?)(?:\1){2}", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_UNBROKEN = re.compile(r"[!-~]{40,}")
_WHOLE = re.compile(r"\W*(?:[a-z]+(?:-[a-z]+)*|(?:https?://|www\.).*)\W*|[^a-z0-9]*", re.IGNORECASE)
"""What may be as long without a space: a compound word, an address, a line that is drawn."""
_READ = 4000
"""Characters of a text that are looked at."""


def is_placeholder(text: str) -> bool:
    """Say whether a text holds no words, or stands in for one: `<the answer>`, `{message}`, `[question]`."""
    return _PLACEHOLDER.match(text[:_READ]) is not None


def talks_of_its_task(text: str) -> bool:
    """Say whether a text goes on about how it was to be written."""
    return _TASK.search(text) is not None


def says_its_task(text: str, told: str) -> bool:
    """Say whether a person's words are the stage direction instead: about the person, or copied from what was told."""
    return _OF_PERSON.match(text) is not None or not runs(text).isdisjoint(runs(told))


def copies(text: str, told: frozenset[Run], shown: Iterable[str]) -> bool:
    """Say whether a text holds a run of words of what it was told that stands in nothing it was shown."""
    copied = runs(text) & told
    for source in shown if copied else ():
        copied -= runs(source)
    return bool(copied)


def is_no_language(text: str, shown: Iterable[str] = ()) -> bool:
    """Say whether a text holds a long row of letters, digits and signs that is no word, nor stands in what was shown."""
    odd = [run for run in _UNBROKEN.findall(text[:_READ]) if not _WHOLE.fullmatch(run)]
    return bool(odd) and not all(any(run in source for source in shown) for run in odd)


def repeats_itself(text: str) -> bool:
    """Say whether the same four words or more stand three times in a row."""
    words = _WORD.findall(text[:_READ].lower())
    fours = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    # the search takes milliseconds, and few texts hold any four words three times
    return max(fours.values(), default=0) >= 3 and _LOOP.search(f"{text[:_READ]} ") is not None
