"""Makes the vectors of a corpus once: batch after batch in the corpus's order, going on where a killed build was."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np

from dgt_rag.embedders.base import Encoder
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.vector_faiss import kept_index, make_index, through
from dgt_rag.engines.vector_search import Ranking, exact
from dgt_rag.engines.vector_store import Manifest, Matrix, Origin, Place, VectorStore
from dgt_rag.errors import EngineError
from dgt_rag.records import Document

Say = Callable[[str], None]

_LOOK_AGAIN = 0.5
"""Seconds between looks at a build of another process."""
_PROGRESS = 5.0
"""Seconds between two lines about the progress of a build."""


async def build(
    place: Place, identity: str, lender: Retriever, encoder: Encoder, say: Say
) -> tuple[VectorStore, Matrix]:
    """Return the vectors of a retriever's documents, made now as far as they are not there, and their store."""
    fingerprint, count = await lender.fingerprint(), await lender.count()
    if not count:
        raise EngineError("search/vector: empty corpus: there is no document in it")
    origin = Origin(embedder=identity, fingerprint=fingerprint, count=count)
    store = VectorStore(place, origin)
    while (matrix := store.matrix()) is None:
        async with _alone(store, say):
            # another process may have made them meanwhile
            if store.matrix() is None:
                await Build(store, lender, encoder, say).run()
    await asyncio.to_thread(store.use)
    return store, matrix


@asynccontextmanager
async def _alone(store: VectorStore, say: Say) -> AsyncIterator[None]:
    """Hold the lock of a folder of vectors; whoever comes second waits."""
    waiting = False
    while True:
        with store.locked() as mine:
            if mine:
                yield
                return
        if not waiting:
            say(f"{store.folder}: another process is making vectors here; waiting for it")
        waiting = True
        await asyncio.sleep(_LOOK_AGAIN)


class Build:
    """One build, begun or gone on with."""

    def __init__(self, store: VectorStore, lender: Retriever, encoder: Encoder, say: Say) -> None:
        self.store = store
        self.lender = lender
        self.encoder = encoder
        self.say = say

    async def run(self) -> None:
        """Add the rows that are missing."""
        count = self.store.origin.count
        known, done = self._so_far()
        told = time.monotonic()
        async with aclosing(self._vectors(done)) as made:
            async for vectors in made:
                known = known or self._begin(vectors)
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
        await asyncio.to_thread(self.store.publish)

    def _so_far(self) -> tuple[Manifest | None, int]:
        """Return what an earlier build left of these vectors, and how many."""
        store = self.store
        known, done = store.resume()
        if store.rows.exists():
            self.say(f"{store.rows}: damaged; its vectors are made anew")
        elif done:
            self.say(f"{store.folder}: going on after {done:,} of {store.origin.count:,} vectors")
        elif before := store.before():
            changed = "corpus" if before.embedder == store.origin.embedder else "embedder"
            self.say(f"{store.folder}: the {changed} has changed; its vectors are made anew")
        return known, done

    def _begin(self, vectors: Matrix) -> Manifest:
        """Note what the rows are going to be; tell of what other settings have left beside them."""
        store = self.store
        if not vectors.shape[1]:
            raise EngineError(f"{store.folder}: the embedder gives vectors of no numbers")
        known = Manifest(**store.origin.model_dump(), dimension=vectors.shape[1], sources=(store.source,))
        store.start(known)
        if others := store.neighbours():
            folders = f"{len(others)} other folder{'s' if len(others) > 1 else ''}"
            self.say(
                f"{store.folder.parent}: {folders} of vectors, by other settings, "
                f"hold{'' if len(others) > 1 else 's'} {sum(others.values()) / 1e6:,.1f} MB; "
                "remove those that no task needs any more"
            )
        return known

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
            if len(texts) == self.encoder.at_once:
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


async def ranking(matrix: Matrix, store: VectorStore, exact_up_to: int, say: Say) -> Ranking:
    """Return how rows are searched: all of them, or through an index where they are many."""
    if len(matrix) <= exact_up_to:
        return exact(matrix)
    try:
        return through(await _index(matrix, store, say), matrix)
    except ImportError:
        say(
            f"{store.folder}: {len(matrix):,} vectors are compared one by one for each search; "
            "pip install 'dgt-rag[faiss]' makes that quick"
        )
        return exact(matrix)
    except OSError as error:
        raise EngineError(f"{store.folder}: cannot keep the index here ({error.strerror}); set `index_dir`") from error


async def _index(matrix: Matrix, store: VectorStore, say: Say) -> Any:
    """Return the index of the vectors, made now unless it is there and whole."""
    if index := await asyncio.to_thread(kept_index, matrix, store.index):
        return index
    async with _alone(store, say):
        if index := await asyncio.to_thread(kept_index, matrix, store.index):
            return index
        if store.index.exists():
            say(f"{store.index}: damaged; it is made anew")
        return await asyncio.to_thread(make_index, matrix, store.index)
