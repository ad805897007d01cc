"""Says as one's own what a text says to its reader: you becomes I, and the writers' we becomes you."""

import re

_WORDS = re.compile(
    r"\b(you are|you're|are you|you were|were you|you've|you'll|you'd|yourselves|yourself|yours|your|you"
    r"|we're|we'll|we've|ourselves|ours|our|we|us)\b",
    re.I,
)
_MINE = {
    "you are": "I am",
    "you're": "I am",
    "are you": "am I",
    "you were": "I was",
    "were you": "was I",
    "you've": "I have",
    "you'll": "I will",
    "you'd": "I would",
    "yourself": "myself",
    "yourselves": "ourselves",
    "yours": "mine",
    "your": "my",
    "we're": "you are",
    "we'll": "you will",
    "we've": "you have",
    "ourselves": "yourselves",
    "ours": "yours",
    "our": "your",
    "we": "you",
    "us": "you",
}
_SUBJECT_AFTER = frozenset(
    "if when whenever where wherever that whether unless until till once because while although though as since before "
    "after what which who how why than and or but so can could may might must shall should will would do does did am are "
    "have had".split()
)
"""Words after which "you" is the subject of what follows."""
_OBJECT_AFTER = frozenset(
    "to for of with from by at on about between behind against towards without near let lets help helps helping make "
    "makes making get gets give gives giving gave send sends sending tell tells telling told call calls ask asks asking "
    "allow allows allowing enable enables entitle entitles require requires requiring request requests show shows cost "
    "costs keep keeps leave leaves pay pays charge charges notify notifies notifying inform informs contact contacts "
    "contacting reach offer offers mail mails email emails provide provides protect protects permit permits remind "
    "reminds advise advises grant grants owe owes save saves issue issues expose exposes put puts bring brings".split()
)
"""Words after which it is the object."""
_NO_VERB = frozenset(
    "a an the any all your my our his her their this that these those some no not to for of with from by at in on about "
    "into under over through when where what which who how why if and or but as than because so until before after during "
    "once each every both more up out back off".split()
)
"""Words that no "you" has after it as a subject."""


def in_first_person(text: str) -> str:
    """Return a text that speaks to somebody as that person would say it."""
    return _WORDS.sub(lambda match: _mine(match, text), text)


def _mine(match: re.Match[str], text: str) -> str:
    said = match[0]
    if said == "US" or (said.isupper() and len(said) > 3):
        return said
    if said.lower() != "you":
        return _MINE[said.lower()]
    before = re.search(r"([\w'\u2019]+)\W*$", text[: match.start()])
    after = re.match(r" ([\w'\u2019]+)", text[match.end() :])
    return "I" if _is_subject(before[1].lower() if before else "", after[1].lower() if after else "") else "me"


def _is_subject(before: str, after: str) -> bool:
    if before in _OBJECT_AFTER:
        return False
    if not before or before in _SUBJECT_AFTER:
        return True
    return bool(after) and after not in _NO_VERB
