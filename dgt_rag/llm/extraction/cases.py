"""What can be weighed or mixed up: facts that answer the same question for different things."""

import re
from collections.abc import Collection, Iterator

from dgt_rag.llm.extraction.matching import Pages, asked_and_about, headed_by
from dgt_rag.llm.extraction.question import Question, plain
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content

Case = tuple[Sentence, Question]
_COST = re.compile(r"How much (?:does|do) .+ cost\b", re.I)
_UNMEASURED = re.compile(r"How much is it|What (?:is|are) the (?:meaning|names?|reasons?|actions?|causes?|dates?)\b")
_COSTS = "What does it cost?"
_IS = re.compile(r"how (?:much|long|high|often) (?:is|are)$|(?:what|when|by when) (?:is|are)$")


def vague(question: Question) -> str:
    """Return a question without the words that say which case is meant; "" if it cannot do without."""
    said = f" for {question.subject}"
    if question.kind == "row":
        whole = said not in question.text or _UNMEASURED.match(question.text)
        return "" if whole else f"{question.text.partition(said)[0]}?"
    if question.kind != "number" or not question.subject:
        return ""
    if _COST.match(question.text):
        return _COSTS
    head = question.subject.split()[-1]
    modified = len(content(question.subject)) > 1 and head.islower() and " of " not in question.subject
    opening = question.opening if _IS.match(question.opening) else ""
    return f"{opening[0].upper()}{opening[1:]} the {head}?" if opening and modified else ""


def open_cases(pages: Pages) -> list[tuple[str, list[Case]]]:
    """Return the questions that leave the case open, each with the facts that answer it, mostly of one document."""
    found: dict[tuple[str, int, str], list[Case]] = {}
    whole = set()
    for sentence, question in _numbers(pages):
        whole.add(question.text)
        if said := vague(question):
            home = "" if said == _COSTS else sentence.doc_id
            block = sentence.block if question.kind == "row" else -1
            found.setdefault((home, block, said), []).append((sentence, question))
    return [(said, cases) for (_, _, said), cases in found.items() if said not in whole and _are_several(cases)]


def _numbers(pages: Pages) -> Iterator[Case]:
    for reading in pages.readings:
        for sentence in reading.sentences:
            if sentence.quotable:
                for question in reading.questions(sentence):
                    if question.kind in {"number", "row"}:
                        yield sentence, question


def _are_several(cases: list[Case]) -> bool:
    return len({frozenset(content(question.subject)) for _, question in cases}) > 1


def left_open(pages: Pages, message: str, own: Collection[str]) -> list[Case]:
    """Return the facts between which a message leaves the choice; none if its question, by its own words, names one."""
    said = plain(message)
    held = set(content(message))
    asked = [(question, cases) for question, cases in open_cases(pages) if plain(question) in said]
    if not asked:
        return []
    question, cases = max(asked, key=lambda found: max(len(held & fact.context) for fact, _ in found[1]))
    named = [case for case in cases if _beyond(case[1].subject, question) & set(own)]
    left = _apart(_nearest(cases, message))
    return [] if named or len(left) < 2 else left


def _nearest(cases: list[Case], message: str) -> list[Case]:
    """Return the cases that stand under most words of what a message is about, if any does of what it names first."""
    about, head = set(asked_and_about(message)[1]), set(headed_by(message))
    held = []
    for fact, question in cases:
        name = set(content(question.subject))
        # a part of a thing's name may be there by chance, unless the message begins with a subject
        held.append(len(about & fact.context | (name if name <= about else name & head)))
    return [case for case, count in zip(cases, held, strict=True) if count == max(held) and (count or not head)]


def _beyond(subject: str, asked: str) -> set[str]:
    return set(content(subject)) - set(content(asked))


def _apart(cases: list[Case]) -> list[Case]:
    """Return one fact for each thing."""
    return list(
        {frozenset(content(question.subject)): (fact, question) for fact, question in reversed(cases)}.values()
    )[::-1]


def are_alike(first: Case, second: Case) -> bool:
    """Say whether two things can be weighed: asked alike, or things of one kind with different names."""
    (fact, one), (other, two) = first, second
    if fact.key == other.key or not (one.subject and two.subject):
        return False
    mine, theirs = content(one.subject), content(two.subject)
    if not mine or not theirs or set(mine) <= set(theirs) or set(theirs) <= set(mine) or fact.doc_id != other.doc_id:
        return False
    if _predicate(one) == _predicate(two):
        return one.kind == "number"
    same_kind = (
        mine[-1] == theirs[-1] and len(mine) == len(theirs) == 2 and " of " not in f"{one.subject} {two.subject}"
    )
    return same_kind and _determiner(one.subject) == _determiner(two.subject) and not _DEGREE & set(mine + theirs)


_DEGREE = frozenset(content("full half second third new other further additional single first last extra"))


def _determiner(subject: str) -> str:
    first = subject.split()[0].lower()
    return first if first in {"a", "an", "the", "every", "each", "my", "your"} else ""


def _predicate(question: Question) -> str:
    return plain(question.text).replace(plain(question.subject), " _ ")


def same_but_subject(question: Question, before: Question) -> bool:
    """Say whether a question is another one but for what it is asked about."""
    if question.kind not in {"number", "row", "place"}:
        return False
    other = content(question.subject) and content(question.subject) != content(before.subject)
    return bool(other and before.subject) and _predicate(question) == _predicate(before)
