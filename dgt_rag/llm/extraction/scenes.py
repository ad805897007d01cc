"""Writes the situation that a conversation starts from."""

import itertools
import re

from dgt_rag.errors import ModelError
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.manner import low
from dgt_rag.llm.extraction.questions import named_subject


def scene(facts: Facts) -> str:
    """Return a person's situation, made from what the documents are about."""
    fresh = list(itertools.islice(facts.fresh(), 30))
    if not fresh:
        raise ModelError("nothing_to_ask", "no document holds a sentence that a question could be asked about")
    named = [fact for fact in fresh if 2 <= len(named_subject(fact, facts.body(fact)).split()) <= 9] or fresh
    first = named[0]
    other = next((fact for fact in named if fact.doc_id != first.doc_id), named[-1])
    dice = facts.dice
    names = {"topic": facts.topic_of(first), "first": facts.subject(first), "second": facts.subject(other)}
    names = {key: re.sub(r"\bmy\b", "their", name) for key, name in names.items()}
    names |= {f"{key}_up": name[:1].upper() + name[1:] for key, name in names.items()}
    person = dice.choose(wording.PEOPLE)
    names |= {"person": person, "person_low": low(person), "event": dice.choose(wording.EVENTS)}
    names |= {"detail": dice.choose(wording.DETAILS), "more": dice.choose(wording.SECOND).format(**names)}
    return dice.choose(wording.SCENES).format(**names)
