"""Asks for one part of a clause: an amount, a time, a place, a manner, a thing, a person."""

import re
from dataclasses import replace

from dgt_rag.llm.extraction.grammar import AUXILIARIES, DETERMINERS, PREPOSITIONS, SINGULAR, Clause
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question
from dgt_rag.llm.extraction.words import content

_MONEY = re.compile(
    r"\s*(?:\b(?:up to|at least|at most|about|only) )?(?:[$\u20ac\u00a3\u00a5]\s?\d(?:[\d,.]*\d)?|\b\d[\d,.]* ?(?:euros?|dollars?|pounds?|EUR|USD|p\b|cents?|per ?cent|percent|%))"
    r"(?: (?:a|an|per|for each|each) [\w-]+)?"
)
_WORDED = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
_NUMBER = rf"(?:\d[\d,.]*|{_WORDED})"
_UNIT = (
    r"(?:minutes?|hours?|days?|weeks?|months?|years?|seconds?|working days|calendar days|school years?|business days)"
)
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_HOW_MANY = re.compile(
    rf"^(?:only |up to |at least |at most |no more than |exactly |about |not more than )?{_NUMBER} (?P<what>(?:[a-z-]+ )?[a-z]{{3,}}s)\b(?P<tail>.*)$"
)
_COUNTED = re.compile(
    rf"^(?:{_WORDED.replace('one|', '')}|\d{{1,3}}) (?P<what>(?:[a-z-]+ ){{0,2}}[a-z]{{3,}}s(?: .*)?)$", re.I
)
_HOW_LONG = re.compile(
    rf"\s*\b(?:for|after|within) (?:up to |at least |at most |about |no more than )?(?:a |the )?(?:{_NUMBER}|several|few) {_UNIT}\b"
)
_LASTS = re.compile(
    rf"^(?:about |up to |at least |at most |between )?(?:{_NUMBER})(?: (?:to|and|or) {_NUMBER})? {_UNIT}\b[^,]*$"
)
_HOW_OFTEN = re.compile(
    rf"\s*\b(?:(?:once|twice|three times|{_NUMBER} times) (?:a|per|every|each) \w+|every (?:{_NUMBER} |other |second )?(?:{_UNIT}|\w+day)s?|(?:daily|weekly|monthly|yearly|annually)(?=$|,| (?:from|until|by|in|on|at|between|to)\b))\b.*$"
)
_WHEN = re.compile(
    r"\s*\b(?:by|at|from|until|before|after|between|on|not before|not later than|no later than|since|in) (?:about |the )?"
    rf"(?:\d{{1,2}}[:.]\d\d|noon|midnight|\d{{1,2}} (?:{_MONTH})|(?:{_MONTH})|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|weekdays|first (?:\w+day|day|week|month|quarter|year) (?:in|of))\b.*$"
)
_PLACES = (
    "office|room|desk|counter|library|libraries|hall|portal|website|app|branch|building|centre|center|station|depot|"
    "store|shop|court|school|workshop|yard|archive|register|registry|department|line|service|kiosk|bank|clinic|park"
)
_WHERE = re.compile(
    rf"\s*\b(?:at|in|on|to|from|through|beside|near) (?:the |a |an |any |your |our |my )?(?:[\w'\u2019-]+ ){{0,4}}(?:{_PLACES})s?(?: \d+| [A-Z]\w*)?$",
    re.I,
)
_MANNER = re.compile(
    r"\s*(?:\bonline|\bby (?:phone|telephone|(?:e-?)?mail|post|fax|card|bank transfer|calling .*|using .*|\w+ing .*)|\bin (?:person|writing)|\bthrough .*|\busing .*|\bby means of .*|\bwith the (?:aid|help) of .*)(?: or (?:online|by \w+|in \w+))?$"
)
_OBJECT = frozenset(
    "cover include contain require need show offer provide consist depend begin end belong replace protect allow mean "
    "apply decide receive carry hold".split()
)
"""Verbs that can be asked "what does it …" """
_WITH = {"consist": "of", "depend": "on", "apply": "to", "belong": "to", "begin": "with", "end": "with", "decide": "on"}
_THIRD = {plain: third for third, plain in SINGULAR.items()}
_PERSON = re.compile(
    r"^(?:The |the |A |a |An |an |Any |any |Every |every |Each |each |My |my )?(?:[\w'\u2019-]+ ){0,3}?"
    r"(?P<head>officers?|clerk|managers?|directors?|board|committee|council|staff|department|agency|team|inspectors?|warden|judge|"
    r"owners?|tenants?|employers?|employees?|curator|head|trustees|authority|police|dealers?|doctor|parents?|guardian|"
    r"members?|residents?|visitors?|applicants?|drivers?|students?|customers?|users?|holders?|teachers?|couriers?|"
    r"households?|workers?|companies|company|workshop|owner|buyer|seller|children|adults)(?: (?:of|for|with|in) [^,]{1,50})?$"
)


def asked_for(clause: Clause, rest: str) -> list[Question]:
    """Return the questions for one part of a clause, whose rest is given without what is only added to it."""
    if clause.negated:
        return []
    amounts = [*_how_much(clause, rest), *_how_many(clause, rest), *_when(clause, rest)]
    named = [] if amounts else _what_is(clause, rest)
    return [*amounts, *_where(clause, rest), *named, *_who(clause, rest)]


def place_asked(order: str) -> list[Question]:
    """Return where one does what an instruction says, if it names the place."""
    match = _WHERE.search(order)
    if not match or len(order[: match.start()].split()) < 2 or order[: match.start()].split()[-1] in _LOOSE:
        return []
    said = order[: match.start()]
    return [Question("place", in_first_person(f"Where do I {said[:1].lower()}{said[1:]}?"))]


_LOOSE = frozenset("and or not than about only the a an at of be to".split()) | DETERMINERS


def _ask(kind: str, clause: Clause, rest: str, opening: str) -> Question:
    return Question(kind, clause.asked(rest, opening), clause.subject)


def _how_much(clause: Clause, rest: str) -> list[Question]:
    money = _MONEY.search(rest)
    if not money or not (money.start() == 0 or clause.helper):
        return []
    before, after = rest[: money.start()], rest[money.end() :]
    if before and clause.verb == "cost":
        return []
    if not before and not re.match(r"\s*(?:to|for|per|a|an|at|in|on|each|every)\b", after):
        after = ""
    if re.search(r"\b(?:a|an|the|of|than|by|and|or|with|from|between|between|to)\s*$", before) or _MONEY.search(
        before + after
    ):
        return []
    return [_ask("number", clause, before + after, "how much")]


def _how_many(clause: Clause, rest: str) -> list[Question]:
    many = _HOW_MANY.match(rest)
    if many and clause.helper and not _MONEY.match(rest) and not re.search(r" (?:and|or) ", many["tail"]):
        return [_ask("number", clause, many["tail"], f"how many {many['what']}")]
    counted = _COUNTED.match(clause.subject)
    if counted and not clause.lead and not re.search(r" (?:and|or) ", rest):
        return [Question("number", in_first_person(f"How many {counted['what']} {clause.verb} {rest}?"))]
    return []


def _when(clause: Clause, rest: str) -> list[Question]:
    if clause.helper and clause.verb in {"last", "take", "run"} and _LASTS.match(rest):
        return [_ask("number", clause, "", "how long")]
    for pattern, opening in ((_HOW_OFTEN, "how often"), (_WHEN, "when"), (_HOW_LONG, "how long")):
        match = pattern.search(rest)
        if match is None or rest[match.end() :].strip(" ,"):
            continue
        before = rest[: match.start()].strip(" ,")
        if re.search(
            rf", | when | if | where | (?:that|which|who) |^\W?\d|{_UNIT} (?:before|after)", before
        ) or _MONEY.match(before):
            continue
        if (before or clause.verb in AUXILIARIES) and not re.search(
            r"\b(?:and|or|not|than|about|only|the|a|at|of|every|each|no|any)$", before
        ):
            return [_ask("number", clause, before, _opening(opening, match[0].strip()))]
    return []


def _opening(opening: str, said: str) -> str:
    if said.startswith(("within", "by ")):
        return "by when"
    return "how soon" if said.startswith("after") and opening == "how long" else opening


def _where(clause: Clause, rest: str) -> list[Question]:
    for kind, pattern, opening in (("place", _WHERE, "where"), ("manner", _MANNER, "how")):
        match = pattern.search(rest)
        before = rest[: match.start()].strip(" ,") if match else ""
        moved = before and not re.search(r"[,;]", before) and before.split()[-1].lower() not in _LOOSE
        if clause.verb in _BE and not _DONE.match(before):
            continue
        if moved and (clause.verb in AUXILIARIES or clause.helper) and (kind != "manner" or clause.verb in _CAN):
            return [_ask(kind, clause, before, opening)]
    return []


_BE = frozenset("is are was were".split())
_DONE = re.compile(
    r"(?:\w+ed|\w+en|found|held|kept|sold|shown|available|located|open|sent|made|built|put|done|paid|given|bought)\b"
)
"""What is said of something that is somewhere, or is done in some way."""
_CAN = frozenset("can may must should is are was were will".split())


def _what_is(clause: Clause, rest: str) -> list[Question]:
    first = rest.split()[0]
    if clause.verb in {"is", "are"} and not clause.negated:
        defined = re.match(r"an? [a-z]|the [a-z-]+ (?:[a-z-]+ )?(?:of|for|that|which|where|who)\b", rest)
        value = bool(re.match(r"[$\u20ac\u00a3]?\d|[A-Z]", rest)) and len(rest.split()) <= 8
        known = clause.subject.split()[0].lower() in {"you", "i", "we"}
        if (defined or value) and not known and not clause.lead:
            subject = clause.subject
            bare = value and subject[:1].islower() and subject.split()[0] not in DETERMINERS | {"my"}
            return [_ask("what", replace(clause, subject=f"the {subject}") if bare else clause, "", "what")]
    direct = clause.verb in _OBJECT and bool(clause.helper) and first.lower() not in AUXILIARIES
    if not direct or (first.lower() != _WITH[clause.verb] if clause.verb in _WITH else first.lower() in PREPOSITIONS):
        return []
    if not content(rest) or (clause.subject.lower() in {"you", "we"} and len(rest.split()) < 3):
        return []
    if clause.subject.lower() in {"you", "we"} and clause.verb not in {"need"}:
        return []
    return [_ask("what", clause, _WITH.get(clause.verb, ""), "what")]


def _who(clause: Clause, rest: str) -> list[Question]:
    """Ask for the subject, where it is a person or an office: that needs no turning around."""
    found = _PERSON.match(clause.subject)
    if (
        not found
        or PREPOSITIONS & set(clause.subject[: found.start("head")].lower().split())
        or clause.lead
        or clause.negated
        or len(content(rest)) < 2
        or ", " in rest
    ):
        return []
    verb = {"are": "is", "were": "was", "have": "has"}.get(clause.verb, clause.verb)
    if clause.helper:
        verb = _THIRD.get(clause.verb, "")
    return [Question("who", in_first_person(f"Who {verb} {rest}?"), clause.subject)] if verb else []
