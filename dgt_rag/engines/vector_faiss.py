"""An IVF-SQ8 index of vectors, kept beside them, whose finds are scored exactly. The door to faiss."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dgt_rag.engines.vector_search import BLOCK, DECIMALS, Mask, Places, Ranking, best
from dgt_rag.engines.vector_store import Matrix

_WIDER = 10
"""Candidates that the index brings for each hit wanted, to be scored exactly."""
_REASON = re.compile(r"\(([^()]+)\)$")


def kept_index(matrix: Matrix, path: Path) -> Any:
    """Return the index of these vectors that is kept at `path`; None if there is none, or it is damaged."""
    faiss: Any = import_module("faiss")
    if not path.exists():
        return None
    try:
        index = faiss.read_index(str(path))
    except RuntimeError:
        # all that faiss raises; the caller makes the index anew
        return None
    return index if (index.ntotal, index.d) == matrix.shape else None


def make_index(matrix: Matrix, path: Path) -> Any:
    """Make the index, keep it at `path` and return it; OSError if it cannot be kept."""
    faiss: Any = import_module("faiss")
    index, draft = _trained(matrix), path.with_suffix(".faiss.part")
    try:
        faiss.write_index(index, str(draft))
        del index
        # faiss does not tell when the last bytes found no room
        if (kept := kept_index(matrix, draft)) is None:
            raise OSError(None, "what was written cannot be read back; is the disk full?")
        draft.replace(path)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        reason = _REASON.search(said)
        raise OSError(None, reason[1] if reason else said.rpartition(": ")[2]) from error
    finally:
        draft.unlink(missing_ok=True)
    return kept


def _trained(matrix: Matrix) -> Any:
    faiss: Any = import_module("faiss")
    count, dimension = matrix.shape
    lists = max(1, int(2 * count**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    step = max(1, count // (64 * lists))
    index.train(np.ascontiguousarray(matrix[::step]))
    for start in range(0, count, BLOCK):
        index.add(np.ascontiguousarray(matrix[start : start + BLOCK]))
    return index


def through(index: Any, matrix: Matrix) -> Ranking:
    """Return a ranking of the candidates that an index brings."""
    faiss: Any = import_module("faiss")
    probes = max(16, index.nlist // 8)

    def rank(query: Matrix, limit: int, mask: Mask | None) -> tuple[Places, Matrix]:
        chosen = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        settings = faiss.SearchParametersIVF(nprobe=index.nlist if chosen else probes, sel=chosen)
        _, found = index.search(query[None, :], min(_WIDER * limit, len(matrix)), params=settings)
        places = np.sort(found[0][found[0] >= 0])
        scores = np.round(matrix[places] @ query, DECIMALS)
        near = scores != 0
        return best(places[near], scores[near], limit)

    return rank
