"""Reads a document: its sentences, where each word stands, the questions that could be asked. Remembers what it read lately."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby, islice

from dgt_rag.llm.extraction.grammar import AUXILIARIES, ORDERS, POINTERS, POINTING
from dgt_rag.llm.extraction.question import Question
from dgt_rag.llm.extraction.questions import questions
from dgt_rag.llm.extraction.sentence import Sentence, is_quotable, is_whole
from dgt_rag.llm.extraction.splitting import clean, pieces, row_text
from dgt_rag.llm.extraction.subjects import heading_of, opening_of, subject_of
from dgt_rag.llm.extraction.topics import topic_of
from dgt_rag.llm.extraction.words import content, is_english
from dgt_rag.records import Document

_READ = 60_000
"""Characters of a document that are looked at; what comes later is never asked about."""
_SENTENCES = 600
"""Sentences of a document at most."""
_REMEMBERED = 2_000_000
"""Characters of documents whose readings are kept, over all."""
_LEADING = re.compile(
    r"^(?:(?:First|Then|Next|Now|Finally|Afterwards|Please|[A-Z][a-z]+ly),? |(?:If|When|Once|Before|After|In|On|With|To|For) [^,]{3,80}, )"
)
"""What may stand before an instruction."""


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
        small = not re.search(r"[A-Z]", self.body)
        place = 0
        for piece in pieces(self.body):
            text = row_text(piece.cells) if piece.cells else clean(self.body[piece.start : piece.end])
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
                piece.cells,
                frozenset(content(text)),
                known[key],
                is_quotable(text, piece.kind),
                is_whole(text, piece.kind, small),
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
        """The runs of instructions, two steps or more: of numbered steps, half of them tell somebody to do something."""
        found: list[list[Sentence]] = []
        for block in self._blocks.values():
            steps = [sentence for sentence in block if sentence.kind == "step"]
            if len(steps) >= 2:
                found += [steps] if 2 * sum(map(self.orders, steps)) >= len(steps) else []
                continue
            told = [list(run) for orders, run in groupby(block, self.orders) if orders]
            found += [run for run in told if len(run) >= 2]
        return found

    @cached_property
    def _blocks(self) -> dict[int, list[Sentence]]:
        blocks: dict[int, list[Sentence]] = {}
        for sentence in self.sentences:
            if sentence.kind != "row" and sentence.text[-1] not in ":?":
                blocks.setdefault(sentence.block, []).append(sentence)
        return blocks

    @cached_property
    def topic(self) -> str:
        """What the document is about, as it would stand after "about"; "" if its title does not say it."""
        return topic_of(self.title, self.body) if self.english else self.title[:80]

    def subject(self, sentence: Sentence) -> str:
        """Return what a sentence is about; "" if that is not sure."""
        return subject_of(sentence, self.body) if self.english else opening_of(sentence)

    def questions(self, sentence: Sentence) -> list[Question]:
        """Return the questions that a sentence answers."""
        if sentence.place not in self._questions:
            made = questions(sentence, self.body) if self.english else []
            self._questions[sentence.place] = made + self._about(sentence)
        return self._questions[sentence.place]

    def _about(self, sentence: Sentence) -> list[Question]:
        """Ask about a section, or the whole, where it begins: the sentences there are the answer."""
        first = sentence.place == 0 or self.sentences[sentence.place - 1].heading != sentence.heading
        if not (first and self.english and sentence.kind == "prose" and sentence.whole):
            return []
        name = heading_of(sentence, self.body) or (self.topic if sentence.place == 0 else "")
        if (
            not name
            or not sentence.words & set(content(name))
            or len(sentence.words) < 4
            or sentence.text.split()[0].lower() in POINTERS | {"so", "then", "but"}
        ):
            return []
        return [Question("about", f"What should I know about {name}?")]

    def orders(self, sentence: Sentence) -> bool:
        """Say whether a sentence tells somebody to do something."""
        words = _LEADING.sub("", sentence.text).split()
        begins = (
            len(words) > 1 and words[0].lower() in ORDERS - POINTING and words[1].lower() not in AUXILIARIES | {"of"}
        )
        return begins and (sentence.kind != "item" or sentence.whole) and sentence.kind != "row"

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
