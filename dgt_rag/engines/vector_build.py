"""Makes the vectors of a corpus once: batch after batch in the corpus's order, going on where a killed build was.

The corpus is read twice: for the digests of its texts, which tell what must be embedded at all, and for those texts.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import numpy as np

from dgt_rag.embedders.base import PROBE, Encoder, passage
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.vector_keys import KEY, Keys, key
from dgt_rag.engines.vector_notes import Manifest, Origin
from dgt_rag.engines.vector_reuse import Earlier, Reuse, Rows, Texts, earlier
from dgt_rag.engines.vector_rows import Matrix, embedded
from dgt_rag.engines.vector_store import Place, VectorStore
from dgt_rag.errors import EngineError

Say = Callable[[str], None]
UnderWay = tuple[list[str], asyncio.Task[Matrix]]
"""Texts and the vectors that are being made of them."""

_LOOK_AGAIN = 0.5
"""Seconds between looks at a build of another process."""
_PROGRESS = 5.0
"""Seconds between two lines about the progress of a build."""
_GRACE = 5.0
"""Seconds to wait for batches that were sent, and are paid, when another one is refused."""
_BLOCK = 4096
"""Rows that are written at once."""


async def stored(place: Place, identity: str, lender: Retriever) -> VectorStore:
    """Return where the vectors of a retriever's documents are, or are to be."""
    fingerprint, count = await lender.fingerprint(), await lender.count()
    if not count:
        raise EngineError("search/vector: empty corpus: there is no document in it")
    return VectorStore(place, Origin(embedder=identity, fingerprint=fingerprint, count=count))


async def build(store: VectorStore, lender: Retriever, encoder: Encoder, say: Say) -> Matrix:
    """Return the vectors of a retriever's documents, made now as far as they are not there."""
    if not encoder.settings.tells_weights:
        (probe,) = await embedded(encoder, [PROBE], "passage")
        store.probe = tuple(probe.tolist())
    while (matrix := store.matrix()) is None or not await asyncio.to_thread(store.use):
        async with alone(store, say):
            # another process may have made them meanwhile
            if store.matrix() is None:
                await Build(store, lender, encoder, say).run()
    await asyncio.to_thread(store.check_model)
    if not store.has_keys() and os.access(store.folder, os.W_OK):
        async with alone(store, say):
            with suppress(EngineError):  # without them a later corpus pays again, nothing else
                await Build(store, lender, encoder, say).keys()
    return matrix


@asynccontextmanager
async def alone(store: VectorStore, say: Say) -> AsyncIterator[None]:
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
        self._told = time.monotonic()

    async def run(self) -> None:
        """Add the rows that are missing."""
        store, count = self.store, self.store.origin.count
        known, done = store.resume()
        if known:
            store.check_model()
        keys = await self.keys()
        texts = await asyncio.to_thread(Texts, keys)
        before = await asyncio.to_thread(earlier, store, known.dimension if known else None, self.say)
        reuse = await asyncio.to_thread(Reuse, texts, before)
        self._tell(done, reuse.there(done))
        missing, embedded = reuse.missing(done), 0
        async with aclosing(self._vectors(missing, keys)) as made:
            async for vectors in made:
                if known is None:
                    known = await asyncio.to_thread(self._begin, vectors, before)
                self._check(known, vectors, store.folder)
                embedded += len(vectors)
                stop = int(missing[embedded]) if embedded < len(missing) else count
                await asyncio.to_thread(self._add, reuse, (done, stop), vectors.reshape(-1, known.dimension))
                done = stop
                self._progress(f"{done:,} of {count:,} vectors")
        await asyncio.to_thread(store.publish, texts.hold)
        if store.lent and (others := store.beside()):
            self.say(
                f"{store.folder}: {len(others)} other file{'s' if len(others) > 1 else ''} of vectors, of texts that are "
                f"not all among these, {sum(others) / 1e6:,.1f} MB; remove those that no task needs any more"
            )

    async def outstanding(self) -> tuple[int, int]:
        """Return how many texts are to be embedded yet, and how many there are; nothing is written."""
        store = self.store
        if store.matrix() is not None:
            return 0, store.origin.count
        if (keys := await asyncio.to_thread(store.known_keys)) is None:
            keys = np.frombuffer(await self._digests(), "<u8").reshape(-1, 2)
        texts, made = await asyncio.to_thread(Texts, keys), await asyncio.to_thread(store.made)
        before = await asyncio.to_thread(earlier, store, None if made is None else made.shape[1], self.say)
        missing = Reuse(texts, before).missing(0 if made is None else len(made))
        return len(missing), int(np.count_nonzero(texts.repeats() < 0))

    async def keys(self) -> Keys:
        """Return the digests of all texts, as they were kept or by reading the corpus."""
        store = self.store
        if (kept := await asyncio.to_thread(store.known_keys)) is not None:
            return kept
        if store.keys.exists():
            self.say(f"{store.keys}: damaged; it is made anew")
        if (keys := await asyncio.to_thread(store.keep_keys, await self._digests())) is None:
            raise EngineError(f"{store.keys}: what was written cannot be read back; set `index_dir`")
        return keys

    async def _digests(self) -> bytearray:
        count, digests = self.store.origin.count, bytearray()
        async for document in self.lender.documents():
            digests += key(passage(document))
            self._progress(f"{len(digests) // KEY:,} of {count:,} documents read")
        if len(digests) != KEY * count:
            raise self._changing(len(digests) // KEY)
        return digests

    def _changing(self, came: int) -> EngineError:
        count = self.store.origin.count
        return EngineError(f"search/vector: {came:,} documents came, {count:,} were counted; is the corpus changing?")

    def _progress(self, line: str) -> None:
        """Say how far it is, now and then."""
        if time.monotonic() - self._told >= _PROGRESS:
            self._told = time.monotonic()
            self.say(f"{self.store.folder}: {line}")

    def _tell(self, done: int, there: int) -> None:
        """Say what an earlier build left of these vectors, and how many were made for others."""
        store, count = self.store, self.store.origin.count
        found = f"{there:,} of {count:,} vectors were there already"
        if store.rows.exists():
            self.say(f"{store.rows}: damaged; its vectors are made anew")
        elif done:
            self.say(f"{store.folder}: going on after {done:,} of {count:,} vectors")
        elif before := store.before():
            changed = "corpus" if before.embedder == store.origin.embedder else "embedder"
            self.say(f"{store.folder}: the {changed} has changed; {found if there else 'its vectors are made anew'}")
            return
        if there:
            self.say(f"{store.folder}: {found}")

    def _begin(self, vectors: Matrix, before: list[Earlier]) -> Manifest:
        """Note what the rows are going to be; tell of what other settings have left beside them."""
        store = self.store
        if len(vectors) and not vectors.shape[1]:
            raise EngineError(f"{store.folder}: the embedder gives vectors of no numbers")
        dimension = before[0].rows.shape[1] if before else vectors.shape[1]
        known = Manifest(**store.origin.model_dump(), dimension=dimension, sources=(store.source,), probe=store.probe)
        if before:
            self._check(known, vectors, before[0].folder)
        store.start(known)
        if others := store.neighbours():
            folders = f"{len(others)} other folder{'s' if len(others) > 1 else ''}"
            self.say(
                f"{store.folder.parent}: {folders} of vectors, by other settings, "
                f"hold{'' if len(others) > 1 else 's'} {sum(others.values()) / 1e6:,.1f} MB; "
                "remove those that no task needs any more"
            )
        return known

    def _check(self, known: Manifest, vectors: Matrix, folder: Path) -> None:
        if len(vectors) and vectors.shape[1] != known.dimension:
            raise EngineError(
                f"{folder}: holds vectors of {known.dimension} numbers, the embedder now gives "
                f"{vectors.shape[1]}; use the model they were made with, or remove the folder to make them anew"
            )

    def _add(self, reuse: Reuse, span: tuple[int, int], vectors: Matrix) -> None:
        """Write the rows of a span, of which these were embedded, some at a time."""
        used = 0
        for start in range(*span, _BLOCK):
            stop = min(start + _BLOCK, span[1])
            wanted = reuse.embedded(start, stop)
            self.store.add(reuse.rows(start, stop, vectors[used : used + wanted], self._own))
            used += wanted

    def _own(self, wanted: int) -> Matrix:
        """Return the rows written so far, of which these many are wanted."""
        rows = self.store.made()
        if rows is None or len(rows) < wanted:
            raise EngineError(f"{self.store.part}: was removed or cut while it was written; start again")
        return rows

    async def _vectors(self, missing: Rows, keys: Keys) -> AsyncGenerator[Matrix]:
        """Embed the texts of these rows batch after batch, several under way at once, in order; nothing is a batch too."""
        under_way: deque[UnderWay] = deque()
        try:
            async with aclosing(self._batches(missing, keys)) as batches:
                async for batch in batches:
                    under_way.append((batch, asyncio.create_task(self._embedded(batch))))
                    if len(under_way) >= self.encoder.in_flight:
                        yield await under_way.popleft()[1]
            while under_way:
                yield await under_way.popleft()[1]
        except EngineError:
            if under_way:
                await asyncio.wait([task for _, task in under_way], timeout=_GRACE)
            raise
        finally:
            await self._spare(under_way)
        if not len(missing):
            yield np.empty((0, 0), np.float32)

    async def _spare(self, under_way: Collection[UnderWay]) -> None:
        """Keep what came beside a batch that failed; the next build finds it as it finds what was made for others."""
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
        done = [(texts, task) for texts, task in under_way if not task.cancelled() and not task.exception()]
        came = [(texts, vectors) for texts, task in done if (vectors := task.result()).size]
        if len({vectors.shape[1] for _, vectors in came}) != 1:
            return
        keys = bytearray().join(key(text) for texts, _ in came for text in texts)
        with suppress(EngineError):  # where there is no room for them they are paid again
            await asyncio.to_thread(self.store.spare, keys, np.concatenate([vectors for _, vectors in came]))

    async def _batches(self, missing: Rows, keys: Keys) -> AsyncGenerator[list[str]]:
        """Read the texts of these rows, as many at a time as are embedded at once, and no further than the last."""
        size = self.encoder.at_once
        texts: list[str] = []
        async with aclosing(self._texts(missing, keys)) as found:
            async for text in found:
                texts.append(text)
                if len(texts) == size:
                    yield texts
                    texts = []
        if texts:
            yield texts

    async def _texts(self, missing: Rows, keys: Keys) -> AsyncGenerator[str]:
        """Read the texts of these rows, and no further than the last."""
        rows = iter(missing)
        wanted, row = next(rows, None), 0
        documents = aiter(self.lender.documents())
        try:
            while wanted is not None:
                if (document := await anext(documents, None)) is None:
                    raise self._changing(row)
                if row == wanted:
                    text = passage(document)
                    if key(text) != keys[row].tobytes():
                        raise EngineError("search/vector: a document has changed since it was first read; start again")
                    yield text
                    wanted = next(rows, None)
                row += 1
        finally:
            if isinstance(documents, AsyncGenerator):
                await documents.aclose()

    async def _embedded(self, texts: list[str]) -> Matrix:
        vectors = await embedded(self.encoder, [text or "." for text in texts], "passage")
        vectors[[not text for text in texts]] = 0
        return vectors
