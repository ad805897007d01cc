"""Makes questions from a statement: turns its clause around, and asks for what it leaves out."""

import re
from dataclasses import replace

from dgt_rag.llm.extraction.conditions import what_if, why
from dgt_rag.llm.extraction.cutting import UNFINISHED, kept, small, without_asides
from dgt_rag.llm.extraction.grammar import (
    OBLIGING,
    POINTERS,
    clause_of,
    verb_comes,
)
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question
from dgt_rag.llm.extraction.rows import of_row
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.wh import asked_for, place_asked
from dgt_rag.llm.extraction.words import content

_LIMIT = re.compile(
    r"\b(?:unless|except|exception|only|but|however|depends|provided|on condition|usually|generally)\b", re.I
)
_MOST = 22
"""Words of a question at most."""
_OWN = re.compile(r"\b(?:I|I'm|I've|me|my|mine)\b")
_POINTS = re.compile(
    r"\bas follows\b|['\u2019]s\?$|\b(?:for|of|in|on|at|to|by|with|from|under|than) (?:that|this|these|those|such)\b"
    r"|(?<!page)(?<!step)(?<!form)(?<!type)(?<!class)(?<!age)(?<!level)(?<!section)(?<!part)(?<!room)(?<!line)(?<!grade)"
    r"(?<!zone)(?<!under)(?<!over)(?<!than)(?<!to)(?<!of)(?<!are)(?<!is)(?<!am)(?<!about)(?<!least)(?<!and)(?<!turn) \d\?$",
    re.I,
)
"""Marks of a question that points to what was not said, or ends with the number of a footnote."""


def questions(sentence: Sentence, body: str) -> list[Question]:
    """Return the questions that a sentence answers, the most telling first; none if its grammar is beyond the rules."""
    if sentence.kind == "row":
        found = of_row(sentence, body)
    elif not sentence.whole or _OWN.search(sentence.text):
        return []
    else:
        text = without_asides(sentence.text)
        text = text.partition(". ")[0] if sentence.kind == "step" else text
        # an item says something only together with the line that opens its list
        alone = sentence.kind == "prose" or (sentence.kind == "step" and not sentence.intro)
        found = [*why(text, body), *what_if(text, body), *_order(text), *(_of_clause(text, body) if alone else [])]
    tidy = [replace(question, text=_tidy(question.text)) for question in found]
    return list(dict.fromkeys(question for question in tidy if _is_sound(question.text)))


def _is_sound(question: str) -> bool:
    words = question.rstrip("?").lower().split()
    return (
        3 <= len(words) <= _MOST
        and (len(words) > 3 or words[0] in {"what", "who", "when", "where", "how"})
        and not re.search(r"\?.|\. |[;:\u2014]|\b(?:I|you) (?:I|you|me)\b|\bme (?:am|have|will|must|can)\b", question)
        and words[-1].strip(",") not in UNFINISHED
        and not _POINTS.search(question)
        and question.count('"') % 2 == 0
        and question.count("(") == question.count(")")
    )


def _tidy(question: str) -> str:
    question = re.sub(r"\s+(?=[?,])", "", " ".join(question.split()))
    return question[:1].upper() + question[1:]


def _of_clause(text: str, body: str) -> list[Question]:
    clause = clause_of(text, body)
    if clause is None:
        return []
    if clause.helper and clause.rest.startswith("no "):
        clause = replace(clause, rest=f"any{clause.rest[2:]}", negated=True)
    whole = clause.rest.replace("never ", "ever ").replace("also ", "")
    rest = kept(whole)
    if not rest or not (content(rest) or clause.helper) or (rest != whole and " " not in rest):
        return []
    if any(word.lower().strip(",") in POINTERS for word in rest.split()):
        return []
    found = asked_for(clause, rest)
    if len(rest.split()) <= 14 and not re.match(r"(?:what|how|why|that)\b", rest):
        never = re.search(r"\b(?:never|no longer|hardly)\b", clause.rest)
        # "may not" denies a leave, or leaves open whether something happens
        limited = (clause.verb == "may" and clause.negated) or bool(
            _LIMIT.search(text[max(0, text.find(rest[-12:])) :] if rest else text)
        )
        said = replace(clause, negated=False).asked(rest)
        found.append(Question("whether", said, clause.subject, bool(clause.negated or never), limited))
    return found


def _order(text: str) -> list[Question]:
    words = text.split()
    forbidden = re.match(r"(?:Do not|Don't|Never) (?P<what>[a-z].*)", text)
    if forbidden:
        text, words = forbidden["what"], forbidden["what"].split()
    if len(words) < 3 or words[0].lower() not in OBLIGING or not (forbidden or words[0][0].isupper()):
        return []
    told = kept(text)
    if ", " in told:
        return []
    if (POINTERS | {"yours"}) & {word.lower().strip(",.;:") for word in words} or len(told.split()) < 3:
        return []
    if (
        words[1].lower()
        in {"is", "are", "was", "not", "of", "for", "that", "on", "within", "before", "after", "and"} | _NOUNS
    ):
        return []
    if verb_comes(words[1:]):
        return []
    limited = bool(_LIMIT.search(text))
    if forbidden:
        return [Question("order", in_first_person(f"May I {small(told)}?"), "", True, limited)]
    asked = Question("order", in_first_person(f"Do I have to {small(told)}?"), "", False, limited)
    return [*place_asked(told), asked]


_NOUNS = frozenset(
    "information details number numbers form forms list hours plan office desk line centre center".split()
)
"""Words after which what looks like an order is a name: contact details, call centre."""
