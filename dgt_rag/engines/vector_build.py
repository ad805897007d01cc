"""Makes the vectors of a corpus once: batch after batch in the corpus's order, going on where a killed build was."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import numpy as np

from dgt_rag.embedders.base import Encoder
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.vector_search import Ranking, exact, through_faiss
from dgt_rag.engines.vector_store import Manifest, Matrix, VectorStore
from dgt_rag.errors import EngineError
from dgt_rag.records import Document

Say = Callable[[str], None]

_LOOK_AGAIN = 0.5
"""Seconds between looks at a build of another process."""
_PROGRESS = 5.0
"""Seconds between two lines about the progress of a build."""


async def build(folder: Path, identity: str, lender: Retriever, encoder: Encoder, say: Say) -> Matrix:
    """Return the vectors of a retriever's documents, made now as far as they are not in the folder."""
    store = VectorStore(folder)
    fingerprint, count = await lender.fingerprint(), await lender.count()
    if not count:
        raise EngineError("search/vector: empty corpus: there is no document in it")
    wanted = (identity, fingerprint, count)
    waiting = False
    while not (known := store.manifest()) or _what(known) != wanted or not store.whole(known):
        with store.locked() as mine:
            if mine:
                await Build(store, lender, encoder, say).run(*wanted)
        if not mine:
            if not waiting:
                say(f"{folder}: another process is making these vectors; waiting for it")
            waiting = True
            await asyncio.sleep(_LOOK_AGAIN)
    return store.matrix(known)


def _what(manifest: Manifest) -> tuple[str, str, int]:
    return manifest.embedder, manifest.fingerprint, manifest.count


class Build:
    """One build, begun or gone on with."""

    def __init__(self, store: VectorStore, lender: Retriever, encoder: Encoder, say: Say) -> None:
        self.store = store
        self.lender = lender
        self.encoder = encoder
        self.say = say

    async def run(self, identity: str, fingerprint: str, count: int) -> None:
        """Add the rows that are missing."""
        known, done = self._so_far((identity, fingerprint, count))
        told = time.monotonic()
        async with aclosing(self._vectors(done)) as made:
            async for vectors in made:
                if known is None:
                    dimension = vectors.shape[1]
                    known = Manifest(embedder=identity, fingerprint=fingerprint, count=count, dimension=dimension)
                    self.store.start(known)
                self._check(known, vectors)
                await asyncio.to_thread(self.store.add, vectors)
                done += len(vectors)
                if time.monotonic() - told >= _PROGRESS:
                    told = time.monotonic()
                    self.say(f"{self.store.folder}: {done:,} of {count:,} vectors")
        if done != count:
            raise EngineError(
                f"search/vector: {done:,} documents came, {count:,} were counted; is the corpus changing?"
            )

    def _so_far(self, wanted: tuple[str, str, int]) -> tuple[Manifest | None, int]:
        """Return what an earlier build left of these vectors, and how many."""
        known = self.store.manifest()
        if known is None:
            return None, 0
        if _what(known) != wanted or (done := self.store.done(known)) > known.count:
            self.say(f"{self.store.folder}: the corpus has changed; its vectors are made anew")
            return None, 0
        if done:
            self.say(f"{self.store.folder}: going on after {done:,} of {known.count:,} vectors")
        return known, done

    def _check(self, known: Manifest, vectors: Matrix) -> None:
        if vectors.shape[1] != known.dimension:
            raise EngineError(
                f"{self.store.folder}: holds vectors of {known.dimension} numbers, the embedder now gives "
                f"{vectors.shape[1]}; use the model they were made with, or remove the folder to make them anew"
            )

    async def _vectors(self, skip: int) -> AsyncGenerator[Matrix]:
        """Embed batch after batch, several under way at once, in order."""
        under_way: deque[asyncio.Task[Matrix]] = deque()
        try:
            async with aclosing(self._batches(skip)) as batches:
                async for batch in batches:
                    under_way.append(asyncio.create_task(self._embedded(batch)))
                    if len(under_way) >= self.encoder.in_flight:
                        yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _batches(self, skip: int) -> AsyncGenerator[list[str]]:
        texts: list[str] = []
        async for document in self.lender.documents():
            if skip > 0:
                skip -= 1
                continue
            texts.append(passage(document))
            if len(texts) == self.encoder.settings.batch:
                yield texts
                texts = []
        if texts:
            yield texts

    async def _embedded(self, texts: list[str]) -> Matrix:
        vectors = np.asarray(await self.encoder.embed([text or "." for text in texts], "passage"), np.float32)
        vectors[[not text for text in texts]] = 0
        return vectors


def passage(document: Document) -> str:
    """Return the text of a document that is embedded."""
    return f"{document.title}\n{document.body}".strip()


async def ranking(matrix: Matrix, folder: Path, exact_up_to: int, say: Say) -> Ranking:
    """Return how rows are searched: all of them, or through an index where they are many."""
    if len(matrix) <= exact_up_to:
        return exact(matrix)
    try:
        return await asyncio.to_thread(through_faiss, matrix, folder / "ivf.faiss")
    except ImportError:
        say(
            f"{folder}: {len(matrix):,} vectors are compared one by one for each search; "
            "pip install 'dgt-rag[faiss]' makes that quick"
        )
        return exact(matrix)
    except OSError as error:
        raise EngineError(f"{folder}: cannot keep the index here ({error.strerror}); set `index_dir`") from error
