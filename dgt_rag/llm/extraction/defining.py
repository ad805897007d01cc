"""Finds what a term means: the sentence that defines it, or the one that says more of it."""

import re
from collections.abc import Collection, Iterator

from dgt_rag.llm.extraction.matching import Pages
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.subjects import named_subject
from dgt_rag.llm.extraction.words import content

_ARTICLE = re.compile(r"^(?:the|a|an|every|each|any|my|all) ", re.I)
_NAME = re.compile(r"\b(?:[A-Z][A-Za-z-]+(?: (?:of |for )?[A-Z][A-Za-z-]+){1,3}|[A-Z]{2,6}(?:-\d+)?)\b")
_GOES_ON = re.compile(r"(?:It|They|This|These|Such) (?!was|were)[a-z]+ ")
_MEANS = r"(?:(?:is|are) (?:an?|the|any|one|those|all)|means?|refers? to|stands? for|consists? of|includes?)"


def terms(sentence: Sentence, body: str) -> Iterator[str]:
    """Yield what a person may not understand in a sentence: its subject, and the names in it."""
    found = [_ARTICLE.sub("", named_subject(sentence, body)), *_NAME.findall(sentence.text[1:])]
    for term in dict.fromkeys(found):
        words = term.split()
        plain = words and not re.search(r"\d|\b(?:I|me|my|you)\b", words[0])
        if plain and len(words) <= 4 and len(term) > 2 and content(term):
            yield term


def definition(
    pages: Pages, term: str, besides: Collection[tuple[str, int]], near: Sentence | None = None
) -> list[Sentence]:
    """Return the sentences that say what a term means, the first of them not among those known; none if there are none."""
    opens = re.compile(rf"(?:(?:The|An?|Each|Every) )?{re.escape(term)}s?(?: \([^)]{{2,60}}\))? {_MEANS}\b", re.I)
    for reading in pages.readings:
        held = [set(reading.postings.get(word, ())) for word in content(term)]
        for place in sorted(set.intersection(*held)) if held else []:
            sentence = reading.sentences[place]
            if sentence.key not in besides and sentence.whole and sentence.quotable and opens.match(sentence.text):
                return [sentence]
    if near is None:
        near = next((pages.at(key) for key in besides if term.lower() in pages.at(key).text.lower()), None)
    if near is None or near.kind != "prose" or not _subject_is(pages, near, term):
        return []
    after = [other for other in pages.reading(near).block(near) if other.place == near.place + 1]
    goes_on = (
        after
        and after[0].key not in besides
        and after[0].kind == "prose"
        and after[0].quotable
        and _GOES_ON.match(after[0].text)
    )
    return [near, after[0]] if goes_on else []


def _subject_is(pages: Pages, sentence: Sentence, term: str) -> bool:
    return _ARTICLE.sub("", named_subject(sentence, pages.reading(sentence).body)).lower() == term.lower()
