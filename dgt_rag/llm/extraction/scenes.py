"""Writes the situation that a conversation starts from."""

import itertools
import re

from dgt_rag.errors import ModelError
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.grammar import with_article
from dgt_rag.llm.extraction.manner import low
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.subjects import heading_of, named_subject


def scene(facts: Facts) -> str:
    """Return a person's situation, made from what the documents are about."""
    fresh = list(itertools.islice(facts.fresh(), 30))
    if not fresh:
        raise ModelError("nothing_to_ask", "no document holds a sentence that a question could be asked about")
    named = [(fact, name) for fact in fresh if (name := _name(facts, fact))]
    topics = [reading.topic for reading in facts.pages.readings if reading.topic] or ["a matter of their own"]
    dice = facts.dice
    person, event = dice.choose(wording.PEOPLE), dice.choose(wording.EVENTS)
    names = {"person": person, "person_low": low(person), "event": event, "detail": dice.choose(wording.DETAILS)}
    if not named:
        return dice.choose(wording.PLAIN_SCENES).format(**names, topic=_theirs(topics[0]))
    first, said = named[0]
    topic = facts.topic_of(first) or topics[0]
    others = [name for fact, name in named if fact.doc_id != first.doc_id and name != said]
    second = next(iter(others), next((other for other in topics if other not in {topic, said}), ""))
    names |= {"topic": _theirs(topic), "first": _theirs(said), "second": _theirs(second)}
    scenes = [scene for scene in wording.SCENES if second or "{second}" not in scene]
    names["more"] = dice.choose(wording.SECOND).format(**names) if second else ""
    return " ".join(dice.choose(scenes).format(**names).split())


def _name(facts: Facts, fact: Sentence) -> str:
    """Return what a fact is about, if that can be named in a sentence about somebody."""
    if not facts.pages.reading(fact).english:
        return facts.subject(fact)
    name = with_article(named_subject(fact, facts.body(fact)) or heading_of(fact, facts.body(fact)))
    words = name.split()
    return name if 2 <= len(words) <= 8 and not {"I", "me", "any", "no", "not", "every", "each"} & set(words) else ""


def _theirs(name: str) -> str:
    """Return what a person says of their own matter as somebody says it of them."""
    name = re.sub(r"\bI am\b", "they are", re.sub(r"\bmy\b", "their", name))
    return re.sub(r"\bI\b", "they", re.sub(r"\bmyself\b", "themselves", name))
