"""Writes the person's messages: questions about what has not come up yet, in a form that suits turn and person."""

import itertools
import re
from collections.abc import Iterator

from dgt_rag.errors import ModelError
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.aspects import ASPECTS
from dgt_rag.llm.extraction.cases import same_but_subject
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.manner import Manner, Wish, low
from dgt_rag.llm.extraction.matching import asked_and_about, words_of
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question, plain
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import UserStep

_ASKED = re.compile(r"(?:[^.:?]|[.:](?=\S))+\?")
_AS_HINTED = frozenset({"unanswerable", "underspecified", "ambiguous", "comparative", "clarification", "instructional"})
"""Kinds of turns whose hint holds the question itself: it is about no single fact."""


def message(facts: Facts, wish: Wish, manner: Manner) -> str:
    """Return the person's message after the hint; it asks nothing that was asked before."""
    said = [step.content for step in facts.talk.steps if isinstance(step, UserStep)]
    before = [set(asked_and_about(text)[0]) for text in said]
    for words in _forms(facts, wish, manner):
        asked = set(asked_and_about(words)[0])
        # a term of the last answer was often in the question too, and a vague question is part of many
        again = words in said if wish.kind in _AS_HINTED else any(asked <= known for known in before)
        if asked and not again:
            return words
    raise ModelError("nothing_to_ask", "everything that the documents hold has been asked")


def _forms(facts: Facts, wish: Wish, manner: Manner) -> Iterator[str]:
    """Yield messages that fit, the hinted one first."""
    hinted = wish.hint.partition(": ")[2]
    asked = [match[0].strip() for match in _ASKED.finditer(hinted or wish.hint) if content(match[0])]
    if wish.kind in _AS_HINTED and hinted.endswith("?"):
        yield from _as_hinted(facts, hinted, wish.kind, manner)
    elif wish.kind == "multi_hop" and len(asked) > 1:
        yield manner.written(_both(facts, asked[0], asked[1]))
    elif any(aspect.asked_in(hinted) for aspect in ASPECTS):
        yield from _as_hinted(facts, hinted, "unanswerable", manner)
    for question in asked[:1]:
        if origin := facts.origin(question):
            yield from _about(facts, origin, question, wish.kind, manner)
    meant = facts.meant(wish.hint)
    for fact in [*([meant] if meant else []), *itertools.islice(facts.fresh(), 8)]:
        questions = [question.text for question in facts.suited(fact, wish.kind)][:2]
        for question in questions or [facts.bare(fact)]:
            yield from _about(facts, fact, question, "factoid", manner)
    yield from map(manner.written, asked)


def _as_hinted(facts: Facts, question: str, kind: str, manner: Manner) -> Iterator[str]:
    home = next((facts.pages.reading(match.sentence) for match in facts.pages.rank(words_of(question))[:1]), None)
    topic = home.topic if home and kind not in {"unanswerable", "instructional"} else ""
    yield from manner.dressed(question, kind, topic, bool(home and facts.moved(home)))


def _about(facts: Facts, fact: Sentence, question: str, kind: str, manner: Manner) -> Iterator[str]:
    """Yield ways to ask a question about a fact in a turn of a kind."""
    reading = facts.pages.reading(fact)
    if not reading.english:
        yield question
    elif kind == "follow_up":
        yield from (manner.written(said) for said in _going_on(facts, fact, question))
    else:
        yield from manner.dressed(question, kind, reading.topic, facts.moved(reading))


def _going_on(facts: Facts, fact: Sentence, question: str) -> Iterator[str]:
    """Yield ways to go on from the last answer; a question that is the last one but for its matter names only that."""
    made = next((one for one in facts.pages.reading(fact).questions(fact) if one.text == question), None)
    before = _last_asked(facts)
    if made and before and same_but_subject(made, before) and len(content(made.subject)) > 1:
        yield facts.dice.choose(wording.THE_SAME).format(subject=in_first_person(made.subject))
    for frame in facts.dice.shuffled(wording.GOING_ON):
        yield frame.format(q=question, low=low(question))


def _last_asked(facts: Facts) -> Question | None:
    """Return the question of ours that the last message asked, if it is one about a single fact."""
    said = next((step.content for step in reversed(facts.talk.steps) if isinstance(step, UserStep)), "")
    known = (question for fact in facts.last_cited[:2] for question in facts.pages.reading(fact).questions(fact))
    return next((question for question in known if plain(question.text) in plain(said)), None)


def _both(facts: Facts, first: str, second: str) -> str:
    origins = [facts.origin(question) for question in (first, second)]
    topics = [facts.topic_of(fact) if fact else "" for fact in origins]
    parts = {"q": first, "low": low(first), "low2": low(second), "topic": topics[0], "topic2": topics[1]}
    frames = wording.BOTH_TOPICS if all(topics) and topics[0] != topics[1] else wording.BOTH
    return facts.dice.choose(frames).format(**parts)
