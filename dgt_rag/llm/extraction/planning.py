"""Plans the person's turns: whether a kind of turn fits what is left to ask, and the hint for it."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.grammar import decapitalised
from dgt_rag.llm.extraction.questions import named_subject
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import UserStep

_AMOUNT = re.compile(
    r"[$\u20ac\u00a3\u00a5]\s?\d|\d ?%|\d ?(?:euros?|per ?cent|hours?|days?|weeks?|months?|years?|working|kg|Nm|bar|km)\b"
)


def hint(facts: Facts, kind: str) -> str:
    """Return what to ask in such a turn, as a sentence for the person; "" if the kind of turn does not fit."""
    return _PLANS[kind](facts)


def _factoid(facts: Facts) -> str:
    for fact in itertools.islice(facts.fresh(), 6):
        for question in facts.suited(fact, "factoid"):
            return f"Ask, in their own words: {question.text}"
    left = next(facts.fresh(), None)
    # where everything has been asked, people ask for more than there is
    return f"Ask, in their own words: What about {facts.subject(left)}?" if left else _unanswerable(facts)


def _explanation(facts: Facts) -> str:
    asked = _first(facts, ("reason", "condition", "what"))
    return f"They want to understand this: {asked}" if asked else ""


def _follow_up(facts: Facts) -> str:
    asked = _first(facts, ("condition", "number", "whether", "order"), facts.here.doc_id) if facts.here else ""
    return f"Go on from the last answer: {asked}" if asked else ""


def _first(facts: Facts, kinds: Sequence[str], doc_id: str = "") -> str:
    """Return the first question of one of these kinds; "" if there is none."""
    fresh = itertools.islice(facts.fresh(doc_id), 60)
    found = (question.text for fact in fresh for question in facts.questions(fact) if question.kind in kinds)
    return next(found, "")


def _instructional(facts: Facts) -> str:
    for fact in itertools.islice(facts.fresh(), 60):
        reading = facts.pages.reading(fact)
        block = next((block for block in reading.procedures if fact in block), [])
        if block and not any((step.doc_id, step.place) in facts.asked for step in block):
            heading = decapitalised(fact.heading, reading.body)
            matter = heading if re.match(r"\w+ing \w", heading) else reading.topic
            return f"They want to know how to do it: {facts.dice.choose(wording.STEPS).format(matter=matter)}"
    return ""


def _comparative(facts: Facts) -> str:
    fresh = itertools.islice(facts.fresh(), 60)
    named = [(fact, name) for fact in fresh if (name := _comparable(facts, fact))]
    for (fact, name), (other, second) in itertools.combinations(named, 2):
        if _alike(fact, name, other, second):
            return f"Weigh two things: {facts.dice.choose(wording.COMPARING).format(a=name, b=second)}"
    return ""


def _comparable(facts: Facts, fact: Sentence) -> str:
    if fact.kind == "row":
        return f"\u201c{facts.subject(fact)}\u201d"
    name = named_subject(fact, facts.body(fact))
    return name if len(name.split()) <= 6 else ""


def _alike(fact: Sentence, name: str, other: Sentence, second: str) -> bool:
    """Say whether two things can be weighed: rows of one table, or things of one kind with different names."""
    if "row" in {fact.kind, other.kind}:
        return (fact.kind, fact.doc_id, fact.block) == (other.kind, other.doc_id, other.block) and name != second
    mine, theirs = content(name), content(second)
    return len(mine) > 1 and len(theirs) > 1 and mine[-1] == theirs[-1] and set(mine) != set(theirs)


def _clarification(facts: Facts) -> str:
    """Ask what a term of the last answer means, where the sentence after it says more."""
    cited = facts.last_answer.citations[:1] if facts.last_answer else ()
    for sentence in facts.cited(cited[0]) if cited else ():
        term = re.sub(r"^(?:the|a|an|every|each|my|any) ", "", named_subject(sentence, facts.body(sentence)))
        after = [other for other in facts.pages.reading(sentence).block(sentence) if other.place == sentence.place + 1]
        if len(term) > 3 and len(term.split()) <= 4 and not term[0].isdigit() and after and after[0].kind == "prose":
            return f"One part was not clear: {facts.dice.choose(wording.TERMS).format(term=term)}"
    return ""


def _unanswerable(facts: Facts) -> str:
    reading = facts.dice.choose(facts.pages.readings)
    for words, question in facts.dice.shuffled(wording.ABSENT):
        if not any(facts.pages.has(word) for word in content(words)):
            return f"Ask for something nearby: {question.format(topic=reading.topic)}"
    return ""


def _underspecified(facts: Facts) -> str:
    """Ask for a fee, a period, … of which there are several, without saying which."""
    said = " ".join(step.content.lower() for step in facts.talk.steps if isinstance(step, UserStep))
    for word, question in facts.dice.shuffled(list(wording.VAGUE.items())):
        stem = content(word)[0]
        held = [reading.sentences[n] for reading in facts.pages.readings for n in reading.postings.get(stem, ())]
        cases = {(fact.doc_id, fact.block) for fact in held if fact.quotable and _AMOUNT.search(fact.text)}
        if len(cases) >= 2 and question.lower().rstrip("?") not in said:
            return f"Leave out which case it is: {question}"
    return ""


def _multi_hop(facts: Facts) -> str:
    asked: dict[str, str] = {}
    for fact in facts.fresh():
        short = [question.text for question in facts.suited(fact, "factoid") if len(question.text.split()) <= 16]
        if short:
            asked.setdefault(fact.doc_id, short[0])
        if len(asked) == 2:
            return f"Two things have to be put together: {' '.join(asked.values())}"
    return ""


_PLANS: Mapping[str, Callable[[Facts], str]] = {
    "factoid": _factoid,
    "explanation": _explanation,
    "instructional": _instructional,
    "comparative": _comparative,
    "follow_up": _follow_up,
    "clarification": _clarification,
    "unanswerable": _unanswerable,
    "underspecified": _underspecified,
    "ambiguous": _underspecified,
    "multi_hop": _multi_hop,
}
