"""Asks for what follows from a condition, and for the reason of something."""

import re

from dgt_rag.llm.extraction.cutting import UNFINISHED, cut, kept, small
from dgt_rag.llm.extraction.grammar import (
    AUXILIARIES,
    ORDERS,
    POINTERS,
    PREPOSITIONS,
    SINGULAR,
    UNCLEAR,
    clause_of,
    decapitalised,
    leading,
)
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question
from dgt_rag.llm.extraction.words import content

_TELLS = re.compile(r"\b(?:determin|decid|consider|see|know|check|ask|tell|sure|find out|doubt|wonder|learn)\w*$", re.I)
"""Ends of clauses after which "if" begins no condition."""
_REASON = re.compile(r"^(?P<main>.+?),? (?:because|since|so that|as otherwise) (?P<why>.+)$")
_DATED = re.compile(
    r"(?:\d|[A-Z]|then\b|the (?:beginning|start|end|year|last|first)|last\b|spring|summer|autumn|winter|at least)"
)
_CONDITION = re.compile(
    r"^(?P<main>[^,;:]+?)(?<! even)(?<! only)(?<! as)(?<! what)(?<! and)(?<! or)(?<! but) if (?P<condition>[^;:]+)$"
)
_NO_CONDITION = frozenset("not so any necessary possible applicable required needed only applying done made".split())
_VERBS = (
    AUXILIARIES | frozenset("has have had do does did".split()) | frozenset(SINGULAR) | frozenset(SINGULAR.values())
)
_MODAL = re.compile(r"\byou (?P<verb>must|have to|need to|should|can|may)\b")


def why(text: str, body: str) -> list[Question]:
    """Return the question for the reason that a sentence gives."""
    match = _REASON.match(text)
    if not match or (" since " in text and _DATED.match(match["why"])):
        return []
    if text.split()[0].lower() in ORDERS:
        if POINTERS & {word.strip(",") for word in match["main"].lower().split()}:
            return []
        return [Question("reason", in_first_person(f"Why should I {small(cut(match['main']))}?"))]
    clause = clause_of(re.sub(r" (?:just|only|simply|partly|mainly|solely|largely)$", "", match["main"]), body)
    if clause is None:
        return []
    rest = kept(clause.rest)
    if not rest or any(word.lower().strip(",") in POINTERS for word in rest.split()):
        return []
    return [Question("reason", clause.asked(f"not {rest}" if clause.negated else rest, "why"), clause.subject)]


def what_if(text: str, body: str) -> list[Question]:
    """Return the question for what follows from the condition that a sentence states."""
    lead, main = leading(text)
    match = None if lead else _CONDITION.match(text)
    opening = lead.partition(" ")[0].lower()
    if lead and opening in {"if", "when", "once"}:
        condition = lead.partition(" ")[2]
    elif match:
        opening, condition, main = "if", match["condition"].partition(", ")[0], match["main"]
    else:
        return []
    words = {word.lower().strip(",") for word in main.split()}
    if not lead and (words & POINTERS or _TELLS.search(main) or "even if" in text):
        return []
    if (
        not _is_clause(condition)
        or _is_list(main)
        or main.split()[0].lower() in POINTERS | PREPOSITIONS | {"and", "or", "but", "every", "if", "when", "unless"}
    ):
        return []
    said = decapitalised(condition, body)
    if not lead and not re.search(r"\b(?:you|we)\b", condition):
        return _when_if(main, body)
    return [Question("condition", f"{_what(main, bool(lead))} {in_first_person(f'{opening} {said}')}?")]


def _is_list(main: str) -> bool:
    """Say whether what follows a condition's comma goes on with a list in it: "or any other reason, you must"."""
    first, comma, _ = main.partition(", ")
    words = first.lower().split()
    if _VERBS & set(words) or words[0] in ORDERS | {"do", "don't", "please", "immediately"}:
        return False
    return bool(comma) or words[1:2] in (["or"], ["and"])


def _when_if(main: str, body: str) -> list[Question]:
    """Ask when something holds, where its condition says nothing by itself."""
    clause = clause_of(main, body)
    if clause is None or clause.negated or clause.lead:
        return []
    rest = kept(clause.rest.replace("only ", "").replace("also ", ""))
    return [Question("condition", clause.asked(rest, "when"), clause.subject)] if rest else []


def _is_clause(condition: str) -> bool:
    """Say whether a condition has a subject and a verb and can be understood alone."""
    words = condition.lower().split()
    verb = re.search(r"\b(?:you|we|they|i) (?!(?:an?|the|or|and|not|no)\b)\w+", condition, re.I) or (
        set(words[1:]) & _VERBS or any(word.endswith(("ed", "nt")) for word in words[2:])
    )
    return bool(verb and content(condition)) and not (
        len(words) < 3
        or words[0].endswith(("ed", "ing"))
        or words[0] in UNCLEAR | _NO_CONDITION
        or words[-1] in AUXILIARIES | UNFINISHED
        or POINTERS & {word.strip(",") for word in words}
        or re.search(r"\byou (?:and|or)\b", condition)
    )


def _what(main: str, leads: bool) -> str:
    """Return how one asks for what follows from a condition, after what the main clause says of it."""
    words = main.lower().split()
    told = (
        len(words) > 1
        and words[0] in ORDERS | {"do", "don't"}
        and words[1] not in AUXILIARIES | {"that", "of", "which"}
    )
    if leads and told:
        return "What should I do"
    modal = _MODAL.match(main.lower())
    if modal and " not " not in main[:24]:
        verb = modal["verb"]
        return {
            "must": "What do I have to do",
            "have to": "What do I have to do",
            "need to": "What do I have to do",
        }.get(verb, f"What {verb} I do")
    return "What happens"
