"""Finds the sentences that answer a message: overlap of words, rare ones weighing more, with title and heading as a bonus."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.reading import Reading
from dgt_rag.llm.extraction.sentence import Sentence
from dgt_rag.llm.extraction.words import content, stems, tokens

_CONTEXT = 0.45
"""What a word counts that stands in the title or heading and not in the sentence."""


@dataclass(frozen=True)
class Match:
    """A sentence and how well it answers: `share` is the part of the message's words, by weight, that it holds."""

    sentence: Sentence
    score: float
    share: float


class Pages:
    """The documents of one ask, searched together."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = readings
        self.numbers = {reading.doc_id: n for n, reading in reversed(list(enumerate(readings, start=1)))}
        self.size = sum(len(reading.sentences) for reading in readings)

    def reading(self, sentence: Sentence) -> Reading:
        """Return the reading that a sentence is from."""
        return self.readings[self.numbers[sentence.doc_id] - 1]

    def at(self, key: tuple[str, int]) -> Sentence:
        """Return the sentence at a place of a document."""
        return self.readings[self.numbers[key[0]] - 1].sentences[key[1]]

    def weight(self, word: str) -> float:
        """Return how much a word tells: the rarer the more; one that stands nowhere the most."""
        count = self.count(word)
        return math.log(1 + (self.size + 1) / (count + 0.5))

    def count(self, word: str) -> float:
        """Return how many sentences hold a word; its place in a title or heading counts a quarter."""
        return sum(
            len(reading.postings.get(word, ())) + 0.25 * len(reading.context_postings.get(word, ()))
            for reading in self.readings
        )

    def has(self, word: str) -> bool:
        """Say whether a word stands in any of the documents."""
        return any(word in reading.postings or word in reading.context_postings for reading in self.readings)

    def rank(
        self, words: Iterable[str], besides: Collection[tuple[str, int]] = (), faint: Iterable[str] = ()
    ) -> list[Match]:
        """Return the quotable sentences that hold any of the words, best first, without some (by document and place).

        Faint words count little: they decide between sentences that hold the words equally well.
        """
        weights = {word: self.weight(word) for word in dict.fromkeys(words)}
        total = sum(weights.values()) or 1.0
        slight = {word: 0.3 * self.weight(word) for word in faint if word not in weights}
        found: list[Match] = []
        for reading in self.readings:
            scores = _scores(reading, weights)
            extra = _scores(reading, slight) if slight else {}
            best = sorted(scores.items(), key=lambda item: (-item[1] - extra.get(item[0], 0.0), item[0]))[:40]
            for place, score in best:
                if (reading.doc_id, place) not in besides:
                    sentence = reading.sentences[place]
                    found.append(Match(sentence, _leaned(score + extra.get(place, 0.0), sentence), score / total))
        found.sort(key=lambda match: (-match.score, self.numbers[match.sentence.doc_id], match.sentence.place))
        return [match for match in found[:60] if match.sentence.quotable]

    def missing(self, message: str, held: Collection[str]) -> str:
        """Return the stretch of a message whose words are not among those held, as it was written; "" if it is long."""
        words = tokens(message)
        loose = [[stem for stem in stems(word) if stem not in held and stem not in _FRAMES] for word in words]
        places = [n for n, left in enumerate(loose) if left]
        stretch = words[places[0] : places[-1] + 1] if places else []
        return " ".join(stretch) if len(stretch) <= 6 else ""


def _scores(reading: Reading, weights: Mapping[str, float]) -> dict[int, float]:
    """Return what the words of a document's sentences weigh, by place."""
    scores: dict[int, float] = {}
    for word, weight in weights.items():
        for place in reading.postings.get(word, ()):
            scores[place] = scores.get(place, 0.0) + weight
        for place in reading.context_postings.get(word, ()):
            if word not in reading.sentences[place].words:
                scores[place] = scores.get(place, 0.0) + _CONTEXT * weight
    return scores


def _leaned(score: float, sentence: Sentence) -> float:
    # of two sentences that hold the same words, the shorter one says less beside the matter; a fragment says little
    short = 1.0 - min(len(sentence.words), 60) / 400
    return score * short * (1.0 if sentence.whole or sentence.kind != "prose" else 0.8)


_FRAMES = frozenset(content(" ".join(phrase for phrases in wording.QUESTION_FRAMES for phrase in phrases)))
_HEAD = re.compile(r"([^.?!:]{2,80}): [^?]+\?")
_SENTENCE = re.compile(r"[^.!?:]*(?:[.:]\S[^.!?:]*)*[.!?:]*")


def words_of(message: str) -> list[str]:
    """Return the words of a message that are searched for, each once: those of its questions, then those of the rest."""
    asked, about = asked_and_about(message)
    return [*asked, *about]


def matter(text: str) -> list[str]:
    """Return the words of a text that no phrase of ours has, in order."""
    return [word for word in dict.fromkeys(content(text)) if word not in _FRAMES]


def asked_and_about(message: str) -> tuple[list[str], list[str]]:
    """Return the words of a message's questions, and those of its other sentences, which only say what it is about."""
    parts = [part[0] for part in _SENTENCE.finditer(message) if part[0].strip()]
    asked = _telling(part for part in parts if part.endswith("?"))
    about = _telling(part for part in parts if not part.endswith("?"))
    return (asked, [word for word in about if word not in asked and word not in _FRAMES]) if asked else (about, [])


def headed_by(message: str) -> list[str]:
    """Return the words of what a message names before a colon and then asks about, as in "bulky waste: what ..."."""
    head = _HEAD.match(message)
    return matter(head[1]) if head else []


def _telling(parts: Iterable[str]) -> list[str]:
    words = dict.fromkeys(word for part in parts for word in content(part))
    return [word for word in words if word not in _FRAMES] or list(words)
