"""Seed conversations as in-context examples, chosen by likeness to the documents of a conversation."""

import math
import re
from codecs import BOM_UTF8 as BOM
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from dgt_rag.errors import TaskError
from dgt_rag.records import ConversationDataPoint, Document
from dgt_rag.sentences import sentence

_WORD = re.compile(r"\w{3,}")


class Examples:
    """The seed conversations of a task. `count` of them, the likest, are shown with each ask of a conversation."""

    def __init__(self, seeds: Sequence[ConversationDataPoint] = (), count: int = 1) -> None:
        self.seeds = tuple(seeds)
        self.count = count
        self._chosen: dict[tuple[int, ...], tuple[ConversationDataPoint, ...]] = {}

    def like(self, documents: Sequence[Document]) -> tuple[ConversationDataPoint, ...]:
        """Return the seeds whose words are most like those of the documents, by weighted overlap; ties by place."""
        if not self.seeds or not self.count:
            return ()
        # engines may give one id to different documents
        key = tuple(hash((document.doc_id, document.title, document.body)) for document in documents)
        if key not in self._chosen:
            # a conversation asks for the same ones again and again; no more are remembered than may be in the air
            if len(self._chosen) >= 2048:
                self._chosen.clear()
            self._chosen[key] = self._rank(documents)
        return self._chosen[key]

    def _rank(self, documents: Sequence[Document]) -> tuple[ConversationDataPoint, ...]:
        wanted = {word for document in documents for word in _words(f"{document.title} {document.body}")}
        places = range(len(self.seeds))
        scores = [
            sum(self._weights[word] for word in self._vocabularies[place] & wanted) / self._sizes[place]
            for place in places
        ]
        best = sorted(places, key=lambda place: (-scores[place], place))[: self.count]
        return tuple(self.seeds[place] for place in best)

    @cached_property
    def _vocabularies(self) -> list[set[str]]:
        return [_words(_text(seed)) for seed in self.seeds]

    @cached_property
    def _weights(self) -> dict[str, float]:
        counts = Counter(word for words in self._vocabularies for word in words)
        return {word: math.log(1 + len(self.seeds) / count) for word, count in counts.items()}

    @cached_property
    def _sizes(self) -> list[float]:
        return [math.sqrt(sum(self._weights[word] ** 2 for word in words)) or 1.0 for words in self._vocabularies]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text[:20_000].lower()))


def _text(seed: ConversationDataPoint) -> str:
    said = " ".join(
        step.content
        for step in seed.steps
        if step.role in {"scenario", "user", "assistant"} and isinstance(step.content, str)
    )
    documents = seed.scenario.documents if seed.scenario else ()
    return " ".join([said, *(document.title for document in documents)])


def read_examples(path: Path) -> tuple[ConversationDataPoint, ...]:
    """Read seed conversations, one JSON object a line; a line of another shape is refused with its place."""
    seeds = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.removeprefix(BOM).strip():
                continue
            try:
                seed = ConversationDataPoint.model_validate_json(line.removeprefix(BOM))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise TaskError(
                    f"{path}:{number}: not a seed conversation: {place + ': ' if place else ''}{sentence(first)}"
                ) from error
            if not seed.turns:
                raise TaskError(
                    f"{path}:{number}: not a seed conversation: it has no turn; `steps` needs at least a user and an assistant step"
                )
            seeds.append(seed)
    if not seeds:
        raise TaskError(f"{path}: holds no seed conversation; leave seed_examples out to go without")
    return tuple(seeds)
