"""Shortens what a clause says to what its question needs."""

import re

from dgt_rag.llm.extraction.grammar import DETERMINERS, PREPOSITIONS, SINGULAR

_ASIDE = re.compile(r"\s*\([^()]{0,160}\)|\s*\[[^\[\]]{0,80}\]")
_CUT = re.compile(
    r"(?:[;\u2014]|:(?=\s)|, (?:and|or|but|so|which|who|where|with|unless|except|again|on condition|as|if|since|because|in particular|for example|even|whether|otherwise|not|payable|whatever|regardless|depending|including|plus|at most|at least|often|usually|especially)\b"
    r"| because | unless | except | so that | only when | on condition that | provided that | even if | including | such as "
    r"| but | (?:and|or) (?:\w+ ){0,2}(?:is|are|was|must|may|can|cannot|will|has|have|does|do|it|they|then|"
    + "|".join(SINGULAR)
    + r")\b| - ).*$"
)
UNFINISHED = (
    frozenset(
        "and or than be been being not also only both either such very more most less least too so nor including".split()
    )
    | DETERMINERS
    | PREPOSITIONS - {"up", "down", "in", "on"}
)
"""Words that no question ends with."""


def without_asides(text: str) -> str:
    """Return a sentence without what stands in brackets and without its stop."""
    return _ASIDE.sub("", text).strip().rstrip(".!")


def cut(text: str) -> str:
    """Return a text up to where it goes on with something else."""
    return _CUT.sub("", text)


def kept(text: str) -> str:
    """Return a clause's rest without what is only added to it; "" where a list would be cut in two."""
    said = cut(text).strip(" ,")
    dropped = text[len(said) :]
    return "" if dropped.startswith(" - ") or (dropped.strip(" ,") and ", " in said) else said


def small(text: str) -> str:
    """Return a text with a small first letter, unless its first word is an abbreviation."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
