"""Reads a document: its sentences, where each word stands, the questions that could be asked. Remembers what it read lately."""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

from dgt_rag.llm.extraction.grammar import in_sentence, with_article
from dgt_rag.llm.extraction.questions import Question, named_subject, opening_of, questions, subject_of
from dgt_rag.llm.extraction.sentence import Sentence, is_quotable
from dgt_rag.llm.extraction.splitting import clean, pieces
from dgt_rag.llm.extraction.words import content, is_english
from dgt_rag.records import Document

_READ = 60_000
"""Characters of a document that are looked at; what comes later is never asked about."""
_SENTENCES = 600
"""Sentences of a document at most."""
_REMEMBERED = 2_000_000
"""Characters of documents whose readings are kept, over all."""


_NO_NAME = re.compile(
    r"(?:which|what|how|who|when|where|why|can|do|is|are|my|i|if|before|after|during|until|in|on|at|from|for|with|without|to)\b",
    re.I,
)
"""How titles begin that are questions or sentences and cannot stand after "about"."""


class Reading:
    """A document as the embedded model knows it."""

    def __init__(self, document: Document) -> None:
        self.doc_id = document.doc_id
        self.title = clean(document.title.partition("#")[0] if re.search(r"#\d", document.title) else document.title)[
            :160
        ]
        self.body = document.body[:_READ]
        self.english = is_english(clean(self.body[:4000]))
        self.sentences = tuple(islice(self._sentences(), _SENTENCES))
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
                frozenset(content(text)),
                known[key],
                is_quotable(text, piece.kind),
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

    @cached_property
    def topic(self) -> str:
        """What the document is about, as it would stand after "about"."""
        name = re.sub(r"\s*\([^)]*\)", "", re.split(r": |; ", self.title)[0]).strip(" .:")
        if name and len(name) <= 80 and name[-1] not in "?\uff1f" and not _NO_NAME.match(name):
            return in_sentence(name, self.body) if self.english else name
        counts = Counter(filter(None, (named_subject(sentence, self.body) for sentence in self.sentences[:100])))
        if counts and self.english:
            return max(counts, key=lambda name: (counts[name], len(name.split()) in {2, 3, 4}))
        first = next((sentence for sentence in self.sentences if len(sentence.words) >= 2), None)
        return with_article(self.subject(first)) if first else "this"

    def subject(self, sentence: Sentence) -> str:
        """Return what a sentence is about."""
        return subject_of(sentence, self.body) if self.english else opening_of(sentence)

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

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, str, int, int], Reading] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._known)

    def of(self, document: Document) -> Reading:
        """Return the reading of a document, made once as long as it is remembered."""
        key = (document.doc_id, document.title, len(document.body), hash(document.body[:_READ]))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        made = self._known[key] = Reading(document)
        self._size += len(made.body) + 1000
        while self._size > self._limit and len(self._known) > 1:
            self._size -= len(self._known.popitem(last=False)[1].body) + 1000
        return made
