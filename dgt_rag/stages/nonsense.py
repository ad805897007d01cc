"""What weak models write in place of text: places to fill in, and the same words again and again."""

import re
from collections import Counter

_PLACEHOLDER = re.compile(
    r"\W*(?:the (?:answer|message|question|response|query)\W*)?\Z|\s*[<{\[]+[^<>{}\[\]]*[>}\]]+[\s.]*\Z|.*<(?:the |a )?(?:answer|message|question|copied words|number|query)>",
    re.IGNORECASE | re.DOTALL,
)
_TASK = re.compile(
    r"\bwithout (?:any )?(?:facts|citations)\b|\blist of citations\b|\banswer (?:to the question )?(?:was|has been) refused\b"
    r"|\bunanswerable\b|\bunderspecified\b",
    re.IGNORECASE,
)
_LOOP = re.compile(r"(?<!\w)((?:\w+\W+){4,40}?)(?:\1){2}", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_READ = 4000
"""Characters of a text that are looked at."""


def is_placeholder(text: str) -> bool:
    """Say whether a text holds no words, or stands in for one: `<the answer>`, `{message}`, `[question]`."""
    return _PLACEHOLDER.match(text[:_READ]) is not None


def talks_of_its_task(text: str) -> bool:
    """Say whether a text goes on about how it was to be written."""
    return _TASK.search(text) is not None


def repeats_itself(text: str) -> bool:
    """Say whether the same four words or more stand three times in a row."""
    words = _WORD.findall(text[:_READ].lower())
    fours = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    # the search takes milliseconds, and few texts hold any four words three times
    return max(fours.values(), default=0) >= 3 and _LOOP.search(f"{text[:_READ]} ") is not None
