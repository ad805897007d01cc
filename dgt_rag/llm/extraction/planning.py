"""Plans the person's turns: whether a kind of turn fits what is left to ask, and the hint for it."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.aspects import ASPECTS
from dgt_rag.llm.extraction.cases import are_alike, open_cases
from dgt_rag.llm.extraction.defining import definition, terms
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.grammar import DETERMINERS, ORDERS
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question, plain
from dgt_rag.llm.extraction.rows import columns, has_attribute, row_name
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import UserStep

_LOOKED_AT = 60
"""Facts that a plan looks at."""
_TO_DO = re.compile(r"(?:how )?to (?P<what>[a-z]+ [^,:.?]{3,60})", re.I)


def hint(facts: Facts, kind: str) -> str:
    """Return what to ask in such a turn, as a sentence for the person; "" if the kind of turn does not fit."""
    return _PLANS[kind](facts)


def _looked_at(facts: Facts, doc_id: str = "") -> Iterator[Sentence]:
    return itertools.islice(facts.fresh(doc_id), _LOOKED_AT)


def _factoid(facts: Facts) -> str:
    for fact in _looked_at(facts):
        for question in facts.suited(fact, "factoid"):
            return f"Ask, in their own words: {question.text}"
        return f"Ask, in their own words: {facts.bare(fact)}"
    # where everything has been asked, people ask for more than there is; once, if there was anything else
    before = [step.content for step in facts.talk.steps if isinstance(step, UserStep)]
    once = any(aspect.asked_in(said) for said in before for aspect in ASPECTS) and not facts.are_bare
    return "" if once else _unanswerable(facts)


def _explanation(facts: Facts) -> str:
    asked = _first(facts, _looked_at(facts), ("reason", "condition", "what"))
    return f"They want to understand this: {asked}" if asked else ""


def _follow_up(facts: Facts) -> str:
    """Go on with what stands near the last answer, or speaks of the same thing."""
    if not facts.here or not facts.last_cited:
        return ""
    said = frozenset().union(*(sentence.words for sentence in facts.last_cited))
    blocks = {(sentence.doc_id, sentence.block) for sentence in facts.last_cited}
    near = [
        fact
        for fact in _looked_at(facts, facts.here.doc_id)
        if (fact.doc_id, fact.block) in blocks or len(fact.words & said) > 1
    ]
    asked = _first(facts, near, ("condition", "number", "reason", "place", "manner", "row", "what", "who"))
    asked = asked or _first(facts, near, ("order", "whether"))
    return f"Go on from the last answer: {asked}" if asked else ""


def _first(facts: Facts, among: Iterable[Sentence], kinds: Sequence[str]) -> str:
    """Return the first question of one of these kinds; "" if there is none."""
    found = (question.text for fact in among for question in facts.questions(fact) if question.kind in kinds)
    return next(found, "")


def _instructional(facts: Facts) -> str:
    for fact in _looked_at(facts):
        reading = facts.pages.reading(fact)
        block = next((block for block in reading.procedures if fact in block), [])
        asked = _how(facts, fact) if block and not any(step.key in facts.asked for step in block) else ""
        if asked:
            return f"They want to know how to do it: {asked}"
    return ""


def _how(facts: Facts, step: Sentence) -> str:
    """Return how one asks for the steps that a step belongs to: by what their heading or title says they do."""
    topic = facts.pages.reading(step).topic
    for name in (step.intro, step.heading, topic):
        found = _TO_DO.match(name)
        words = name.split()
        ordered = (
            len(words) > 1
            and words[0].lower() not in {"let", "know"}
            and words[0].lower() in ORDERS
            and words[1].lower() in DETERMINERS
        )
        if found or ordered:
            what = found["what"] if found else name
            matter = topic[7:] if found and name is topic else in_first_person(f"{what[:1].lower()}{what[1:]}")
            return facts.dice.choose(wording.HOW_TO).format(matter=matter.strip())
        if re.match(r"[A-Za-z]{2,}ing [a-z]", name) and not name.endswith("?"):
            matter = name if name is topic else in_first_person(f"{name[:1].lower()}{name[1:]}")
            return facts.dice.choose(wording.STEPS).format(matter=matter)
    return ""


def _comparative(facts: Facts) -> str:
    fresh = list(_looked_at(facts))
    named = [
        (fact, question)
        for fact in fresh
        for question in facts.questions(fact)[:3]
        if question.kind in {"number", "whether", "what"} and 0 < len(question.subject.split()) <= 6
    ]
    asked = [_weighed(facts, *pair) for pair in itertools.combinations([fact for fact in fresh if fact.cells], 2)]
    asked = [question for question in asked if question]
    for first, second in itertools.combinations(named, 2) if not asked or facts.dice.unit() < 0.5 else ():
        if are_alike(first, second):
            names = {"a": in_first_person(first[1].subject), "b": in_first_person(second[1].subject)}
            return f"Weigh two things: {facts.dice.choose(wording.COMPARING).format(**names)}"
    return f"Weigh two things: {asked[0]}" if asked else ""


def _weighed(facts: Facts, fact: Sentence, other: Sentence) -> str:
    """Return how one weighs two rows of a table in a column that has different values for them."""
    if (fact.doc_id, fact.block) != (other.doc_id, other.block) or not (row_name(fact.cells) and row_name(other.cells)):
        return ""
    theirs = dict(columns(other))
    for column, value in columns(fact):
        if (
            has_attribute(column)
            and theirs.get(column, value) != value
            and row_name(fact.cells) != row_name(other.cells)
        ):
            names = {"a": f"\u201c{row_name(fact.cells)}\u201d", "b": f"\u201c{row_name(other.cells)}\u201d"}
            small = column if column[1:2].isupper() else column[:1].lower() + column[1:]
            return facts.dice.choose(wording.COMPARING_ROWS).format(**names, column=small)
    return ""


def _clarification(facts: Facts) -> str:
    """Ask what a term of the last answer means, where another sentence says more."""
    for sentence in facts.last_cited[:2]:
        for term in terms(sentence, facts.body(sentence)):
            if definition(facts.pages, term, {cited.key for cited in facts.last_cited}, sentence):
                return f"One part was not clear: {facts.dice.choose(wording.TERMS).format(term=term)}"
    return ""


def _unanswerable(facts: Facts) -> str:
    """Ask for something that is often said of a matter, and of which no document here says a word."""
    topics = [reading.topic for reading in facts.pages.readings if reading.topic and reading.english]
    texts = [f"{reading.title}\n{reading.body}" for reading in facts.pages.readings]
    said = _said(facts)
    topic = facts.dice.choose(topics) if topics else "this"
    if any(reading.english for reading in facts.pages.readings):
        for aspect in facts.dice.shuffled(list(ASPECTS)):
            asked = aspect.question.format(topic=topic)
            if plain(asked) not in said and aspect.is_open(texts):
                return f"Ask for something nearby: {asked}"
    return ""


def _said(facts: Facts) -> str:
    return " ".join(plain(step.content) for step in facts.talk.steps if isinstance(step, UserStep))


def _underspecified(facts: Facts) -> str:
    """Ask for a fee, a period, … of which there are several, without saying which."""
    said = _said(facts)
    for question, cases in facts.dice.shuffled(open_cases(facts.pages)):
        fresh = [fact for fact, _ in cases if fact.key not in facts.asked and facts.topic_of(fact)]
        if len(fresh) >= 2 and plain(question) not in said:
            return f"Leave out which case it is: {question}"
    return ""


def _multi_hop(facts: Facts) -> str:
    """Put two questions together that speak of the same thing and are answered in two documents."""
    asked: list[tuple[Sentence, Question]] = []
    for fact in _looked_at(facts):
        for question in facts.suited(fact, "factoid")[:1]:
            if question.kind != "about" and len(question.text.split()) <= 16:
                asked.append((fact, question))
    for (fact, one), (other, two) in itertools.combinations(asked, 2):
        if one.kind == two.kind == "order" or fact.doc_id == other.doc_id:
            continue
        if _belong(facts, one.text, two.text):
            return f"Two things have to be put together: {one.text} {two.text}"
    return ""


def _belong(facts: Facts, one: str, two: str) -> bool:
    """Say whether two questions share a telling word and are not one question."""
    mine, theirs = set(content(one)), set(content(two))
    shared = mine & theirs
    common = max(4.0, facts.pages.size / 6)
    telling = [word for word in shared if word.isalpha() and facts.pages.count(word) <= common]
    return bool(telling) and len(shared) <= 0.5 * min(len(mine), len(theirs))


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
