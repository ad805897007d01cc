"""An IVF-SQ8 index of vectors, kept beside them, whose finds are scored exactly. The door to faiss."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dgt_rag.engines.vector_rows import Matrix
from dgt_rag.engines.vector_search import BLOCK, Mask, Order, Places, Ranking, best, cosines

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
    lists = min(count, int(2 * count**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    # of few vectors there are few for each list, and all there are serve
    index.cp.min_points_per_centroid = 1
    step = max(1, count // (64 * lists))
    index.train(np.ascontiguousarray(matrix[::step]))
    for start in range(0, count, BLOCK):
        index.add(np.ascontiguousarray(matrix[start : start + BLOCK]))
    return index


def through(index: Any, matrix: Matrix) -> Ranking:
    """Return a ranking of the candidates that an index brings."""
    faiss: Any = import_module("faiss")
    probes = max(16, index.nlist // 8)
    count = len(matrix)

    def found(query: Matrix, wanted: int, chosen: Any, lists: int) -> tuple[Places, Matrix]:
        settings = faiss.SearchParametersIVF(nprobe=lists, sel=chosen)
        _, near = index.search(query[None, :], wanted, params=settings)
        places = np.sort(near[0][near[0] >= 0])
        return places, cosines(matrix[places], query)

    def rank(query: Matrix, limit: int, mask: Mask | None, order: Order | None = None) -> tuple[Places, Matrix]:
        chosen = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        wanted, lists = min(_WIDER * limit, count), index.nlist if chosen else probes
        places, scores = found(query, wanted, chosen, lists)
        if len(places) < min(limit, count) and lists < index.nlist:
            # the lists that were looked into are empty, as they are where many vectors are the same
            lists = index.nlist
            places, scores = found(query, wanted, chosen, lists)
        while len(places) == wanted < count and _all_tied(scores, limit):
            wanted = min(_WIDER * wanted, count)
            places, scores = found(query, wanted, chosen, lists)
        near = scores != 0
        return best(places[near], scores[near], limit, order)

    return rank


def _all_tied(scores: Matrix, limit: int) -> bool:
    """Whether the candidates end among those that tie with the last one wanted, so that more of these may be left."""
    return len(scores) > limit and bool(np.partition(scores, len(scores) - limit)[len(scores) - limit] == scores.min())
