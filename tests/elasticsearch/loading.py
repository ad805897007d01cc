"""What the tests of `search/elasticsearch` share: documents, an index of them, an embedder without weights."""

import hashlib
import json
import math
import re
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

from launcher import Node

from dgt_rag.embedders.base import Embedder, Encoder, TextKind
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import Loaded, load_index
from dgt_rag.records import Document
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import World

SWIFT = RetryPolicy(attempts=4, first_wait=0.02, max_wait=0.5)
TOPICS = {"parks": "picnic shelter meadow", "water": "meter pipe pressure", "taxes": "levy refund deadline"}


def corpus(count: int = 60) -> list[Document]:
    """Return documents of three domains; each has a word of its own."""
    names = sorted(TOPICS)
    return [
        Document(
            doc_id=f"d{number:05}",
            title=f"About {names[number % 3]}",
            domain=names[number % 3],
            body=f"The {TOPICS[names[number % 3]]} of place{number} is described here at length.",
            metadata={"source": {"category": f"c{number % 4}"}, "pages": number % 5},
        )
        for number in range(count)
    ]


def call(node: Node, method: str, path: str, body: object = None) -> Any:
    """Send a request past the engine."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(node.url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def stream(documents: Iterable[Document]) -> AsyncIterator[Document]:
    """Stream documents that are at hand."""
    for document in documents:
        yield document


def engine(url: str, index: str = "", **settings: Any) -> ElasticsearchEngine:
    """Return an engine on an index of a new name, or of the name given."""
    name = index or f"test-{uuid.uuid4().hex[:12]}"
    return ElasticsearchEngine(hosts=(url,), default_index=name, **{"retry": SWIFT, **settings})


async def load(one: ElasticsearchEngine, documents: Iterable[Document], world: World | None = None) -> Loaded:
    """Load documents into the engine's index."""
    return await load_index(one, stream(documents), world or World())


class WordVectors(Encoder):
    """A bag of hashed words."""

    async def encode(self, texts: list[str], kind: TextKind) -> list[list[float]]:
        return [_vector(text, self.settings.dims) for text in texts]


def _vector(text: str, dims: int) -> list[float]:
    vector = [0.01] * dims
    for word in re.findall(r"\w+", text.lower()):
        vector[int(hashlib.md5(word.encode()).hexdigest(), 16) % dims] += 1.0
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


class FewWords(Encoder):
    """One number for each word that it knows; nothing but zeros for a text without any."""

    async def encode(self, texts: list[str], kind: TextKind) -> list[list[float]]:
        known = ("picnic", "meter", "levy")
        return [[float(text.lower().count(word)) for word in known] for text in texts]


class FewWordEmbedder(Embedder):
    """Vectors of three words, for tests of texts that no word of is known."""

    type: Literal["few-words"] = "few-words"

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield FewWords(self)


class WordEmbedder(Embedder):
    """Vectors of hashed words, for tests."""

    type: Literal["words"] = "words"
    dims: int = 256

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield WordVectors(self)
