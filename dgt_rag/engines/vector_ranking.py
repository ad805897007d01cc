"""How the rows of a corpus are searched: compared one by one, or through an index that is made once."""

import asyncio
from collections.abc import Callable
from typing import Any

from dgt_rag.engines.vector_build import alone
from dgt_rag.engines.vector_faiss import kept_index, make_index, through
from dgt_rag.engines.vector_rows import Matrix
from dgt_rag.engines.vector_search import Ranking, exact
from dgt_rag.engines.vector_store import VectorStore
from dgt_rag.errors import EngineError

Say = Callable[[str], None]


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
    async with alone(store, say):
        if index := await asyncio.to_thread(kept_index, matrix, store.index):
            return index
        if store.index.exists():
            say(f"{store.index}: damaged; it is made anew")
        return await asyncio.to_thread(make_index, matrix, store.index)
