"""What need not be embedded: texts that occur twice in a corpus, and those whose vectors were made before for another one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgt_rag.embedders.base import alike
from dgt_rag.engines.vector_keys import Keys
from dgt_rag.engines.vector_rows import Matrix
from dgt_rag.engines.vector_store import VectorStore

Rows = np.ndarray[Any, np.dtype[np.int64]]

_BLOCK = 65_536
"""Keys that are looked up at once."""
_NONE = -1


@dataclass(frozen=True)
class Earlier:
    """Vectors that were made before, as far as they are made, the keys of their texts, and the folder that holds them."""

    folder: Path
    rows: Matrix
    keys: Keys


def earlier(store: VectorStore, dimension: int | None, say: Callable[[str], None]) -> list[Earlier]:
    """Return the other vectors by a store's embedder, newest first, of one dimension; tells of those that cannot be used."""
    found: list[Earlier] = []
    for other in store.others():
        if not alike(other.probe, store.probe):
            say(f"{other.folder}: made by another model than the embedder's settings now lead to; not used here")
            continue
        rows = other.made()
        if rows is None or rows.shape[1] != (dimension or rows.shape[1]):
            continue
        if (keys := other.known_keys()) is not None:
            dimension = rows.shape[1]
            found.append(Earlier(other.folder, rows, keys[: len(rows)]))
        elif other.keys.exists():
            say(f"{other.keys}: damaged; texts of these vectors that are needed are embedded again")
    return found


class Texts:
    """The keys of a corpus, in order to be looked up; each text is known by the first of its rows."""

    def __init__(self, keys: Keys) -> None:
        self._seconds = keys[:, 1]
        self._order: Rows = np.argsort(keys[:, 0], kind="stable")
        self._firsts = keys[:, 0][self._order]

    def __len__(self) -> int:
        return len(self._order)

    def repeats(self) -> Rows:
        """Return for each row the first one of the same text, or -1 if it is that one."""
        places = np.arange(len(self))
        begins = np.append(True, self._firsts[1:] != self._firsts[:-1])
        heads = self._order[np.maximum.accumulate(np.where(begins, places, 0))]
        same = ~begins & (self._seconds[self._order] == self._seconds[heads])
        first: Rows = np.full(len(self), _NONE)
        first[self._order[same]] = heads[same]
        return first

    def rows(self, keys: Keys) -> Rows:
        """Return for each of these keys the first row of its text, or -1."""
        places = np.minimum(np.searchsorted(self._firsts, keys[:, 0]), len(self) - 1)
        rows = self._order[places]
        same = (self._firsts[places] == keys[:, 0]) & (self._seconds[rows] == keys[:, 1])
        found: Rows = np.where(same, rows, _NONE)
        return found

    def hold(self, keys: Keys) -> bool:
        """Whether all these keys are among them."""
        return all(bool((self.rows(keys[start : start + _BLOCK]) >= 0).all()) for start in range(0, len(keys), _BLOCK))


class Reuse:
    """Where the vector of each row of a corpus comes from."""

    def __init__(self, texts: Texts, before: Sequence[Earlier]) -> None:
        self._before = before
        self._count = len(texts)
        # -1: it is to be embedded; below count: an earlier row of this corpus; from there on: a row made before
        self._source = texts.repeats()
        base = self._count
        for one in before:
            for start in range(0, len(one.keys), _BLOCK):
                rows = texts.rows(one.keys[start : start + _BLOCK])
                wanted = np.flatnonzero((rows >= 0) & (self._source[rows] == _NONE))
                self._source[rows[wanted]] = base + start + wanted
            base += len(one.keys)

    def missing(self, start: int) -> Rows:
        """Return the rows from `start` on that are to be embedded."""
        return np.flatnonzero(self._source[start:] == _NONE) + start

    def embedded(self, start: int, stop: int) -> int:
        """Return how many of the rows from `start` to `stop` are to be embedded."""
        return int(np.count_nonzero(self._source[start:stop] == _NONE))

    def there(self, start: int) -> int:
        """Return how many of the rows from `start` on were made before for another corpus."""
        source = self._source
        copied = source >= self._count
        twice = (source >= 0) & ~copied
        return int(np.count_nonzero(copied[start:])) + int(np.count_nonzero(copied[source[start:][twice[start:]]]))

    def rows(self, start: int, stop: int, made: Matrix, own: Callable[[int], Matrix]) -> Matrix:
        """Return the vectors from `start` to `stop`, of which `made` were embedded; `own` gives those before them."""
        source = self._source[start:stop]
        out = np.empty((stop - start, made.shape[1]), np.float32)
        out[source == _NONE] = made
        base = self._count
        for one in self._before:
            here = (source >= base) & (source < base + len(one.keys))
            out[here] = one.rows[source[here] - base]
            base += len(one.keys)
        twice = (source != _NONE) & (source < self._count)
        older, newer = twice & (source < start), twice & (source >= start)
        if older.any():
            out[older] = own(start)[source[older]]
        out[newer] = out[source[newer] - start]
        return out
