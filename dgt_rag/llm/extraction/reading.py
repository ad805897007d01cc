"""Reads a document: its sentences, where each word stands, the questions that could be asked. Remembers what it read lately."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property

from dgt_rag.llm.extraction.questions import Question, questions
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.splitting import clean, pieces
from dgt_rag.llm.extraction.words import content, is_english
from dgt_rag.records import Document

_READ = 200_000
"""Characters of a document that are looked at; what comes later is never asked about."""
_REMEMBERED = 6_000_000
"""Characters of documents whose readings are kept, over all."""


class Reading:
    """A document as the embedded model knows it."""

    def __init__(self, document: Document) -> None:
        self.doc_id = document.doc_id
        self.title = clean(document.title.partition("#")[0] if re.search(r"#\d", document.title) else document.title)[
            :160
        ]
        self.body = document.body[:_READ]
        self.english = is_english(self.body)
        self.sentences = tuple(self._sentences())
        self._questions: dict[int, list[Question]] = {}

    def _sentences(self) -> Iterator[Sentence]:
        title = frozenset(content(self.title))
        known: dict[tuple[str, str], frozenset[str]] = {}
        place = 0
        for piece in pieces(self.body):
            text = piece.shown or clean(self.body[piece.start : piece.end])
            if not any(letter.isalnum() for letter in text):
                continue
            key = (piece.heading, piece.intro)
            if key not in known:
                known[key] = title | frozenset(content(f"{piece.heading} {piece.intro}"))
            words = frozenset(content(text))
            yield Sentence(
                self.doc_id,
                place,
                piece.start,
                piece.end,
                piece.kind,
                text,
                piece.heading,
                piece.intro,
                piece.block,
                words,
                known[key],
            )
            place += 1

    @cached_property
    def postings(self) -> dict[str, list[int]]:
        """The places of the sentences that hold a word."""
        found: dict[str, list[int]] = {}
        for sentence in self.sentences:
            for word in sentence.words:
                found.setdefault(word, []).append(sentence.place)
        return found

    @cached_property
    def context_postings(self) -> dict[str, list[int]]:
        """The places of the sentences whose title, heading or intro holds a word."""
        found: dict[str, list[int]] = {}
        for sentence in self.sentences:
            for word in sentence.context:
                found.setdefault(word, []).append(sentence.place)
        return found

    @cached_property
    def procedures(self) -> list[list[Sentence]]:
        """The blocks that tell somebody what to do, in two steps or more."""
        blocks: dict[int, list[Sentence]] = {}
        for sentence in self.sentences:
            if sentence.kind != "row" and sentence.text[-1] not in ":?":
                blocks.setdefault(sentence.block, []).append(sentence)
        return [block for block in blocks.values() if sum(map(self.orders, block)) >= 2]

    def questions(self, sentence: Sentence) -> list[Question]:
        """Return the questions that a sentence answers."""
        if sentence.place not in self._questions:
            self._questions[sentence.place] = questions(sentence, self.body) if self.english else []
        return self._questions[sentence.place]

    def orders(self, sentence: Sentence) -> bool:
        """Say whether a sentence tells somebody to do something."""
        return sentence.kind == "step" or any(question.kind == "order" for question in self.questions(sentence))

    def block(self, sentence: Sentence) -> list[Sentence]:
        """Return the sentences of the same block, in order."""
        return [other for other in self.sentences if other.block == sentence.block]


class Readings:
    """The readings of the documents met lately; forgets the oldest, so that it stays of one size."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int, int], Reading] = OrderedDict()
        self._size = 0

    def of(self, document: Document) -> Reading:
        """Return the reading of a document, made once as long as it is remembered."""
        key = (document.doc_id, document.title, len(document.body), hash(document.body[:_READ]))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        made = self._known[key] = Reading(document)
        self._size += len(made.body) + 1000
        while self._size > _REMEMBERED and len(self._known) > 1:
            self._size -= len(self._known.popitem(last=False)[1].body) + 1000
        return made
