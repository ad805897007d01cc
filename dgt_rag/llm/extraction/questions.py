"""Makes questions from a statement: turns its clause around, and asks for what it leaves out."""

import re
from dataclasses import dataclass, replace

from dgt_rag.llm.extraction.grammar import (
    AUXILIARIES,
    BREAKS,
    ORDERS,
    POINTERS,
    PREPOSITIONS,
    SINGULAR,
    UNCLEAR,
    Clause,
    clause_of,
    decapitalised,
    in_first_person,
    leading,
)
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content, runs

_MONEY = re.compile(
    r"\s*(?:\b(?:up to|at least|at most|about|only) )?(?:[$\u20ac\u00a3\u00a5]\s?\d(?:[\d,.]*\d)?|\b\d[\d,.]* ?(?:euros?|dollars?|pounds?|EUR|USD|p\b|cents?|per ?cent|percent|%))"
    r"(?: (?:a|an|per|for each|each) [\w-]+)?"
)
_NUMBER = r"(?:\d[\d,.]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty)"
_UNIT = (
    r"(?:minutes?|hours?|days?|weeks?|months?|years?|seconds?|working days|calendar days|school years?|business days)"
)
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_HOW_MANY = re.compile(
    rf"^(?:only |up to |at least |at most |no more than |exactly |about |not more than )?{_NUMBER} (?P<what>(?:[a-z-]+ )?[a-z]{{3,}}s)\b(?P<tail>.*)$"
)
_HOW_LONG = re.compile(
    rf"\s*\b(?:for|after|within|in) (?:up to |at least |at most |about |no more than )?(?:a |the )?(?:{_NUMBER}|several|few) {_UNIT}\b"
)
_HOW_OFTEN = re.compile(
    rf"\s*\b(?:(?:once|twice|three times|{_NUMBER} times) (?:a|per|every|each) \w+|every (?:{_NUMBER} |other |second )?(?:{_UNIT}|\w+day)s?|daily|weekly|monthly|yearly|annually)\b.*$"
)
_WHEN = re.compile(
    r"\s*\b(?:by|at|from|until|before|after|between|on|not before|not later than|no later than|since|in) (?:about |the )?"
    rf"(?:\d{{1,2}}[:.]\d\d|noon|midnight|\d{{1,2}} (?:{_MONTH})|(?:{_MONTH})|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|weekdays|first \w+ (?:in|of))\b.*$"
)
_ASIDE = re.compile(r"\s*\([^()]{0,160}\)|\s*\[[^\[\]]{0,80}\]")
_CUT = re.compile(
    r"(?:[;\u2014]|:(?=\s)|, (?:and|or|but|so|which|who|where|with|unless|except|again|on condition|as|if|since|because|in particular|for example|even|whether|otherwise|not|payable)\b"
    r"| because | unless | except | so that | only when | on condition that | provided that "
    r"| but | and (?:\w+ )?(?:is|are|was|must|may|can|cannot|will|has|have|does|do|it|they|then|"
    + "|".join(SINGULAR)
    + r")\b| - ).*$"
)
_REASON = re.compile(r"^(?P<main>.+?),? (?:because|since|so that|as otherwise) (?P<why>.+)$")
_CONDITION = re.compile(r"^[^,;:]+? if (?P<condition>[^;:]+)$")
_ATTRIBUTE = re.compile(
    r"\b(?:charges?|prices?|fees?|penalt\w+|amounts?|rates?|limits?|periods?|times?|levels?|meaning|code|torque|size|weight|colou?r|name|date|deadline|costs?|pressure|length|duration|number|thread"
    r"|renewals?|contravention|interval|reason|cause|action|approval|area|place|address|capacity|range|value|discount|reduction|deposit|fine|notes?|notice|step|consequence|temperature|retention|storage)\b",
    re.I,
)
_GENERIC = frozenset(
    "example special general overview exception exceptions other note notes more further summary introduction purpose scope details".split()
)
"""Headings that begin so do not say what a section is about."""
_MOST = 24
"""Words of a question at most."""


@dataclass(frozen=True)
class Question:
    """A question and what it asks for: number, reason, condition, order, row, what, whether."""

    kind: str
    text: str


def questions(sentence: Sentence, body: str) -> list[Question]:
    """Return the questions that a sentence answers, the most telling first; none if its grammar is beyond the rules."""
    if sentence.kind == "row":
        found = _of_row(sentence)
    else:
        text = _plain(sentence)
        text = text.partition(". ")[0] if sentence.kind == "step" else text
        # an item says something only together with the line that opens its list
        alone = sentence.kind == "prose" or (sentence.kind == "step" and not sentence.intro)
        found = [*_why(text, body), *_what_if(text, body), *_order(text), *(_of_clause(text, body) if alone else [])]
    return list(
        dict.fromkeys(
            Question(q.kind, _tidy(q.text))
            for q in found
            if 4 <= len(q.text.split()) <= _MOST and not re.search(r"\?.|\. ", q.text)
        )
    )


def named_subject(sentence: Sentence, body: str) -> str:
    """Return the grammatical subject of a sentence; "" where that is not sure or says nothing."""
    clause = clause_of(_plain(sentence), body) if sentence.kind == "prose" else None
    said = clause.subject if clause else ""
    whole = content(said) and ". " not in said and said.split()[0].lower() not in {"and", "or", "no", "no."}
    return in_first_person(said) if whole else ""


def subject_of(sentence: Sentence, body: str) -> str:
    """Return what a sentence is about: its subject, else the heading, else its longest telling run of words."""
    if sentence.kind == "row":
        first = sentence.text.partition(";")[0]
        return first.partition(": ")[2] or first
    if subject := named_subject(sentence, body):
        return subject
    heading = re.sub(
        r"^(?:\(?[\dA-Za-z]{1,2}[.):]|(?:stage|step|section|part|clause) \w+[.:]?)\s+", "", sentence.heading, flags=re.I
    )
    first = heading.split(" ")[0].lower().strip(",.:")
    if (
        heading
        and len(heading) < 60
        and heading[-1] != "?"
        and first not in UNCLEAR | BREAKS | ORDERS | PREPOSITIONS | AUXILIARIES | _GENERIC
    ):
        return decapitalised(heading, body)
    said = runs(re.findall(r"[\w'\u2019-]+", _plain(sentence)))
    best = max(said, key=lambda run: (min(len(run), 4), len(" ".join(run))), default=[])
    return decapitalised(" ".join(best[:4])[:80], body)


def opening_of(sentence: Sentence) -> str:
    """Return the first words of a sentence of a language that there are no rules for here."""
    head = re.split(
        r"[,;:.!?\u3001\u3002\uff0c\u060c]|(?<=[\u3040-\u30ff\u3400-\u9fff]{2})[\u306f\u304c\u3092\u7684\u662f]",
        sentence.text,
    )[0]
    return " ".join(head.split()[:5])[:40].strip()


def _plain(sentence: Sentence) -> str:
    return _ASIDE.sub("", sentence.text).strip().rstrip(".!")


def _tidy(question: str) -> str:
    question = re.sub(r"\s+(?=[?,])", "", question)
    return question[:1].upper() + question[1:]


def _of_clause(text: str, body: str) -> list[Question]:
    clause = clause_of(text, body)
    if clause is None:
        return []
    rest = _CUT.sub("", clause.rest.replace("never ", "ever ").replace("also ", "")).strip(" ,")
    if not (content(rest) or clause.helper) or any(word.lower() in POINTERS for word in rest.split()):
        return []
    found = [] if clause.negated else [*_how_much(clause, rest), *_when(clause, rest)]
    if re.search(r"\bmeans$|\bis called$", f"{clause.verb} {rest}"):
        return found
    defined = clause.verb in {"is", "are"} and re.match(r"(?:a|an|the) [a-z]", rest)
    if defined and not clause.negated and not clause.lead:
        found.append(Question("what", in_first_person(f"What exactly {clause.verb} {clause.subject}?")))
    return [*found, Question("whether", replace(clause, negated=False).asked(rest))]


def _how_much(clause: Clause, rest: str) -> list[Question]:
    money = _MONEY.search(rest)
    if money and (money.start() == 0 or clause.helper):
        before, after = rest[: money.start()], rest[money.end() :]
        if not before and not re.match(r"\s*(?:to|for|per|a|an|at|in|on|each|every)\b", after):
            after = ""
        if re.search(r"\b(?:a|an|the|of|than|by|and|or|with)\s*$", before) or _MONEY.search(before + after):
            return []
        return [Question("number", clause.asked(before + after, "how much"))]
    many = _HOW_MANY.match(rest)
    if many and clause.helper:
        return [Question("number", clause.asked(many["tail"], f"how many {many['what']}"))]
    return []


def _when(clause: Clause, rest: str) -> list[Question]:
    for pattern, opening in ((_HOW_OFTEN, "how often"), (_WHEN, "when"), (_HOW_LONG, "how long")):
        match = pattern.search(rest)
        if match is None or rest[match.end() :].strip(" ,"):
            continue
        before = rest[: match.start()].strip(" ,")
        if (before or clause.verb in AUXILIARIES) and not re.search(
            r"\b(?:and|or|not|than|about|only|the|a|at|of)$", before
        ):
            return [Question("number", clause.asked(before, _opening(opening, match[0].strip())))]
    return []


def _opening(opening: str, said: str) -> str:
    if said.startswith(("within", "by ")):
        return "by when"
    return "how soon" if said.startswith("after") and opening == "how long" else opening


def _why(text: str, body: str) -> list[Question]:
    match = _REASON.match(text)
    if not match:
        return []
    if text.split()[0].lower() in ORDERS:
        return [Question("reason", in_first_person(f"Why should I {_small(_CUT.sub('', match['main']))}?"))]
    clause = clause_of(match["main"], body)
    if clause is None:
        return []
    rest = _CUT.sub("", clause.rest)
    return [Question("reason", clause.asked(f"not {rest}" if clause.negated else rest, "why"))]


def _what_if(text: str, body: str) -> list[Question]:
    lead, main = leading(text)
    match = _CONDITION.match(text)
    condition = (
        lead[3:] if lead.startswith("If ") else match["condition"].partition(",")[0] if match and not lead else ""
    )
    words = condition.lower().split()
    if (
        len(words) < 3
        or words[0].endswith("ed")
        or words[0] in UNCLEAR
        or words[-1] in AUXILIARIES
        or {"it", "they", "them", "this"} & set(words)
    ):
        return []
    condition = in_first_person(decapitalised(condition, body))
    ordered = bool(lead) and main.split()[0].lower() in ORDERS
    return [Question("condition", f"What {'should I do' if ordered else 'happens'} if {condition}?")]


def _order(text: str) -> list[Question]:
    words = text.split()
    if len(words) < 3 or words[0].lower() not in ORDERS or not words[0][0].isupper():
        return []
    if (POINTERS | {"yours"}) & {word.lower().strip(",.;:") for word in words}:
        return []
    if words[1].lower() in {"is", "are", "not", "of", "for", "that", "on", "within", "before", "after"}:
        return []
    return [Question("order", in_first_person(f"Do I have to {_small(_CUT.sub('', text).partition(', ')[0])}?"))]


def _of_row(sentence: Sentence) -> list[Question]:
    cells = [cell for cell in sentence.text.split("; ") if cell]
    label, _, first = cells[0].rpartition(": ")
    names = [cell.partition(": ")[0] for cell in cells[1:] if ": " in cell]
    if len(first) > 80 or not content(first):
        return []
    if not names:
        return [Question("row", f"What applies to {label}?")] if 0 < len(label) < 80 else []
    known = not content(label) or label.lower() in first.lower()
    row = first if known else f"the {_small(label)} \u201c{first}\u201d"
    return [Question("row", in_first_person(_of_cell(row, name.rstrip("?")))) for name in names[:3] if name]


def _of_cell(row: str, column: str) -> str:
    if any(map(str.isdigit, column)):
        return f"Which value applies to {row} on the {column}?"
    if not _ATTRIBUTE.search(column):
        return f"What applies to {row} in the case of \u201c{column}\u201d?"
    return (
        f"For {row}, what {'are' if column.endswith('s') and not column.endswith('ss') else 'is'} the {_small(column)}?"
    )


def _small(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
