"""Says what a sentence is about."""

import re

from dgt_rag.llm.extraction.cutting import without_asides
from dgt_rag.llm.extraction.grammar import AUXILIARIES, BREAKS, ORDERS, PREPOSITIONS, UNCLEAR, clause_of, decapitalised
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.rows import row_name
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content, runs

_OWN = re.compile(r"\b(?:I|I'm|I've|me|my|mine)\b")


def named_subject(sentence: Sentence, body: str) -> str:
    """Return the grammatical subject of a sentence; "" where that is not sure or says nothing."""
    clause = clause_of(without_asides(sentence.text), body) if sentence.kind == "prose" and sentence.whole else None
    said = clause.subject if clause else ""
    whole = content(said) and ". " not in said and said.split()[0].lower() not in {"and", "or", "no", "no.", "any"}
    return in_first_person(said) if whole and not _OWN.search(said) else ""


def subject_of(sentence: Sentence, body: str) -> str:
    """Return what a sentence is about: what a row is named by, its subject, else the heading; "" if there is none."""
    if sentence.kind == "row":
        return row_name(sentence.cells)
    if subject := named_subject(sentence, body):
        return subject
    return heading_of(sentence, body)


def heading_of(sentence: Sentence, body: str) -> str:
    """Return the heading of a sentence as it stands inside another one; "" if it names no matter."""
    heading = re.sub(
        r"^(?:\(?[\dA-Za-z]{1,2}[.):]|(?:stage|step|section|part|clause) \w+[.:]?)\s+", "", sentence.heading, flags=re.I
    )
    words = [word.lower().strip(",.:") for word in heading.split()]
    if not words or len(heading) >= 60 or heading[-1] in "?!" or re.search(r"[|;:\u2022]|\d$", heading):
        return ""
    begins = UNCLEAR | BREAKS | ORDERS | PREPOSITIONS | AUXILIARIES | _GENERIC
    clause = {"is", "are", "was", "were", "must", "can", "may", "will", "do", "does", "you", "i"} & set(words)
    telling = len(words) > 1 and content(heading)
    return (
        ""
        if words[0] in begins or clause or not telling or heading.isupper()
        else in_first_person(decapitalised(heading, body))
    )


_GENERIC = frozenset(
    "example special general overview exception exceptions other note notes more further summary introduction purpose scope "
    "details all about contents".split()
)
"""Headings that begin so do not say what a section is about."""


def longest_run(sentence: Sentence, body: str) -> str:
    """Return the longest telling words of a sentence that stand side by side."""
    said = runs(re.findall(r"[\w'\u2019-]+", without_asides(sentence.text)))
    best = max(said, key=lambda run: (min(len(run), 4), len(" ".join(run))), default=[])
    return decapitalised(" ".join(best[:4])[:80], body) or "this"


def opening_of(sentence: Sentence) -> str:
    """Return the first words of a sentence of a language that there are no rules for here."""
    head = re.split(
        r"[,;:.!?\u3001\u3002\uff0c\u060c]|(?<=[\u3040-\u30ff\u3400-\u9fff]{2})[\u306f\u304c\u3092\u7684\u662f]",
        sentence.text,
    )[0]
    return " ".join(head.split()[:5])[:40].strip()
