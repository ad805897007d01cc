"""Writes the person's messages: questions about what has not come up yet, in a form that suits turn and person."""

import itertools
import re
from collections.abc import Iterator, Sequence

from dgt_rag.errors import ModelError
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.manner import Manner, Wish, low
from dgt_rag.llm.extraction.matching import asked_and_about
from dgt_rag.llm.extraction.questions import named_subject
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content
from dgt_rag.records import UserStep

_ASKED = re.compile(r"(?:[^.:?]|[.:](?=\S))+\?")
_AS_HINTED = frozenset({"unanswerable", "underspecified", "ambiguous", "comparative", "clarification"})
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
    asked = [match[0].strip() for match in _ASKED.finditer(wish.hint) if content(match[0])]
    hinted = wish.hint.partition(": ")[2]
    if wish.kind in _AS_HINTED and hinted.endswith("?"):
        yield from manner.dressed(hinted, wish.kind, "", False)
    elif wish.kind == "multi_hop" and len(asked) > 1:
        yield from manner.dressed(_both(facts, asked[0], asked[1]), wish.kind, "", False)
    meant = facts.meant(wish.hint)
    if meant is None:
        yield from asked
        return
    for fact in [meant, *itertools.islice(facts.fresh(), 8)]:
        reading = facts.pages.reading(fact)
        kind = wish.kind if fact is meant else "factoid"
        for question in _about(facts, fact, kind, asked if fact is meant else ()):
            if reading.english:
                yield from manner.dressed(question, kind, reading.topic, facts.moved(reading))
            else:
                yield question


def _both(facts: Facts, first: str, second: str) -> str:
    topics = [facts.topic_of(fact) if (fact := facts.meant(question)) else "this" for question in (first, second)]
    parts = {"q": first, "low": low(first), "low2": low(second)}
    return facts.dice.choose(wording.BOTH).format(**parts, topic=topics[0], topic2=topics[1])


def _about(facts: Facts, fact: Sentence, kind: str, asked: Sequence[str]) -> list[str]:
    """Return questions about a fact that suit a kind of turn."""
    subject = facts.subject(fact)
    if not facts.pages.reading(fact).english:
        # there are no rules here for another language: the words themselves are what one would type
        return [f"{subject}?" if subject else f"{fact.text[:12]}?"]
    forms = [question.text for question in facts.suited(fact, kind)][:2]
    forms = forms or [about.format(subject=subject) for about in facts.dice.shuffled(wording.ABOUT)[:2]]
    if kind == "follow_up":
        said = named_subject(fact, facts.body(fact))
        named = len(content(said)) >= 2 and len(said.split()) <= 6
        frames = [frame for frame in wording.GOING_ON if named or "{low}" in frame]
        return [frame.format(low=low(forms[0]), subject=subject) for frame in facts.dice.shuffled(frames)]
    return [*asked, *forms] if kind == "instructional" else forms
