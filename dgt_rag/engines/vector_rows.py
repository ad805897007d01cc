"""What an embedder gives, made rows of length one in float32; what is no vector is refused before it is kept anywhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgt_rag.embedders.base import Encoder, TextKind
from dgt_rag.errors import EngineError

Matrix = np.ndarray[Any, np.dtype[np.float32]]

_SHOWN = 60
"""Characters of a text that are shown in a refusal."""


async def embedded(encoder: Encoder, texts: Sequence[str], kind: TextKind) -> Matrix:
    """Return the vectors of texts as rows of length one."""
    given = await encoder.embed(texts, kind)
    who = f"search/vector: the embedder {encoder.settings.plugin_name()!r}"
    try:
        vectors = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise EngineError(f"{who} gives vectors of different lengths, or what is no number; use another one") from error
    if vectors.ndim == 0 or len(vectors) != len(texts):
        many = len(vectors) if vectors.ndim else "no"
        raise EngineError(f"{who} gives {many} vectors for {len(texts)} texts; use another one")
    if vectors.ndim != 2:
        raise EngineError(f"{who} gives what is no vector of numbers; use another one")
    if not (finite := np.isfinite(vectors).all(axis=1)).all():
        text = texts[int(np.argmin(finite))]
        raise EngineError(f"{who} gives a vector with what is no number for {text[:_SHOWN]!r}; use another one")
    return unit(vectors)


def unit(vectors: np.ndarray[Any, Any]) -> Matrix:
    """Return the rows brought to length one; zeros stay zeros."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
    # so that the squares of what is very large or very small are numbers still
    scaled = vectors.astype(np.float64) / np.where(largest == 0, 1, largest)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    out: Matrix = (scaled / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return out
