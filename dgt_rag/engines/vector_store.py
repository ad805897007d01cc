"""Vectors of passages in a folder: appended while they are made, so that a killed build goes on where it was.

Files are named after what they hold, by a digest of embedder and corpus: `<digest>.json` says what that is, `<digest>.part`
has the rows made so far (float32, length one; a blank passage has zeros), `<digest>.f32` all of them, `<digest>.keys` the
digests of their texts, by which other corpora find what need not be embedded again, `<digest>.faiss` an index of them. What
is whole is never written to, since others may have it mapped; it is removed by name when other vectors have taken its place.
Who makes vectors holds `lock`; who writes notes, which is done in a moment, holds `notes`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout

from dgt_rag.embedders.base import alike
from dgt_rag.engines.vector_keys import KEY, Keys, keep_keys, kept_keys
from dgt_rag.engines.vector_notes import Manifest, Origin, noted
from dgt_rag.engines.vector_rows import Matrix
from dgt_rag.errors import EngineError

_OURS = {".f32", ".part", ".keys", ".faiss", ".json", ".draft"}
_NOTES = f"*/{'[0-9a-f]' * 16}.json"

_PATIENCE = 60
"""Seconds to wait for the lock of the notes, which is held for a moment."""

Hold = Callable[[Keys], bool]
"""Whether a corpus has all these texts."""


@dataclass(frozen=True)
class Place:
    """Where vectors are kept, and for whom."""

    folder: Path
    source: str = ""
    """Where the corpus stands, seen from above the folder, if several share it: vectors that others use are not replaced."""
    lent: bool = False
    """Whether the documents have no place that could be looked at: only vectors are replaced whose texts these have too."""


class VectorStore:
    """The vectors of one corpus by one embedder."""

    def __init__(self, place: Place, origin: Origin, probe: tuple[float, ...] = ()) -> None:
        self.folder = folder = place.folder
        self.source = place.source
        self.lent = place.lent
        self.origin = origin
        self.probe = probe
        name = origin.digest
        self.rows = folder / f"{name}.f32"
        self.part = folder / f"{name}.part"
        self.keys = folder / f"{name}.keys"
        self.index = folder / f"{name}.faiss"
        self.note = folder / f"{name}.json"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Name the folder when it cannot be written, or the disk is full."""
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"{self.folder}: cannot keep the vectors here ({error.strerror}); set `index_dir` to another folder"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Give whether this process may write; False while another one does."""
        lock = FileLock(self.folder / "lock", timeout=0)
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                mine = False
            else:
                mine = True
        try:
            yield mine
        finally:
            lock.release()

    def check_model(self) -> None:
        """Refuse vectors by a model other than the one that goes by its name now."""
        known = self.manifest()
        if known and not alike(known.probe, self.probe):
            raise EngineError(
                f"{self.folder}: its vectors were made by another model than the one that the embedder's settings now "
                "lead to; use that one, or remove the folder to make them anew"
            )

    def manifest(self) -> Manifest | None:
        """Return what was noted of these vectors; None if there is nothing that can be read."""
        return noted(self.note)

    def matrix(self) -> Matrix | None:
        """Return all rows, read from the disk when they are needed; None unless all are there."""
        known = self.manifest()
        try:
            if known is None or self.rows.stat().st_size != _row(known) * known.count:
                return None
            return np.memmap(self.rows, np.float32, "r", shape=(known.count, known.dimension))
        except FileNotFoundError:
            # not made yet, or removed meanwhile by a process that has made others
            return None
        except OSError as error:
            raise EngineError(
                f"{self.rows}: cannot be read ({error.strerror}); let this user read it, or set `index_dir`"
            ) from error

    def made(self) -> Matrix | None:
        """Return the rows that are there, all or not yet, read from the disk when they are needed; None if there are none."""
        try:
            if (whole := self.matrix()) is not None:
                return whole
            known = self.manifest()
            done = min(self.part.stat().st_size // _row(known), known.count) if known else 0
            return np.memmap(self.part, np.float32, "r", shape=(done, known.dimension)) if known and done else None
        except (EngineError, OSError):
            # those of another user cost tokens, nothing else
            return None

    def known_keys(self) -> Keys | None:
        """Return the digests of all texts, also of rows that are not made yet; None if they are not there, or damaged."""
        return kept_keys(self.keys, self.origin.count)

    def has_keys(self) -> bool:
        """Whether the digests of all texts are there, as far as their size tells."""
        with suppress(OSError):
            return self.keys.stat().st_size == KEY * (self.origin.count + 1)
        return False

    def keep_keys(self, keys: bytearray) -> Keys | None:
        """Write the digests of all texts and return them."""
        with self.writing():
            keep_keys(self.keys, keys)
        return self.known_keys()

    def others(self) -> "list[VectorStore]":
        """Return the other vectors by this embedder, here and in the folders beside this one, the newest first."""
        found: list[tuple[float, VectorStore]] = []
        for path in self.folder.parent.glob(_NOTES):
            with suppress(EngineError, OSError):  # those of another user cost tokens, nothing else
                known, changed = noted(path), path.stat().st_mtime
                if known and path.stem == known.digest != self.origin.digest and known.embedder == self.origin.embedder:
                    found.append((changed, VectorStore(Place(path.parent), known, known.probe)))
        return [store for _, store in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def before(self) -> Manifest | None:
        """Return what was noted of other vectors that these are to replace, whatever texts they are of."""
        replaced = self._replaced(lambda _: False)
        notes = (noted(path.with_suffix(".json")) for path in replaced if path.suffix == ".f32")
        return next((note for note in notes if note and not note.spare), None)

    def neighbours(self) -> dict[Path, int]:
        """Return the folders beside this one that hold vectors as well, with their bytes."""
        sizes: dict[Path, int] = {}
        for path in sorted(self.folder.parent.glob("*/*")):
            if path.suffix in {".f32", ".part"} and path.parent != self.folder:
                with suppress(FileNotFoundError):  # another process is done with it
                    sizes[path.parent] = sizes.get(path.parent, 0) + path.stat().st_size
        return sizes

    def beside(self) -> list[int]:
        """Return the bytes of each of the other vectors in this folder."""
        sizes: list[int] = []
        for path in self.folder.iterdir():
            if path.suffix in {".f32", ".part"} and path.stem != self.origin.digest:
                with suppress(FileNotFoundError):  # another process is done with it
                    sizes.append(path.stat().st_size)
        return sizes

    def start(self, manifest: Manifest) -> None:
        """Begin anew: no rows, and what they are going to be."""
        with self.writing():
            for path in (self.part, self.rows, self.index):
                path.unlink(missing_ok=True)
            with self._noting():
                known = self.manifest()
                sources = dict.fromkeys((*(known.sources if known else ()), *manifest.sources))
                self._write(self.note, manifest.model_copy(update={"sources": tuple(sources)}))
            self.part.touch()

    def resume(self) -> tuple[Manifest | None, int]:
        """Return what an earlier build left of these vectors, and how many; a torn last row is cut off."""
        known = self.manifest()
        if known is None or self.rows.exists() or not self.part.exists():
            return None, 0
        with self.writing():
            done = self.part.stat().st_size // _row(known)
            if done > known.count:
                return None, 0
            os.truncate(self.part, done * _row(known))
        return known, done

    def add(self, vectors: Matrix) -> None:
        """Append rows."""
        with self.writing(), self.part.open("ab") as file:
            file.write(vectors.tobytes())

    def spare(self, keys: bytearray, vectors: Matrix) -> None:
        """Keep vectors for a later build, with the digests of their texts, as of a corpus of its own."""
        own = f"spare {hashlib.sha256(keys).hexdigest()}"
        origin = Origin(embedder=self.origin.embedder, fingerprint=own, count=len(vectors))
        kept = VectorStore(Place(self.folder, self.source), origin)
        kept.keep_keys(keys)
        fields = {"dimension": vectors.shape[1], "sources": (self.source,), "spare": True, "probe": self.probe}
        kept.start(Manifest(**origin.model_dump(), **fields))
        kept.add(vectors)
        with self.writing():
            kept.part.replace(kept.rows)

    def use(self) -> bool:
        """Note that this corpus stands on these vectors, whichever they were made for; False if they are gone meanwhile."""
        known = self.manifest()
        if known and self.source in known.sources:
            return True
        try:
            with self._noting():
                if (known := self.manifest()) is None:
                    return False
                self._write(self.note, known.model_copy(update={"sources": (*known.sources, self.source)}))
        except OSError:
            # a folder that cannot be written is not cleared either
            return True
        return True

    def publish(self, hold: Hold) -> None:
        """Remove what these rows, of a corpus that has some texts, replace, and give them their name, now that all are there."""
        with self.writing():
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            with self._noting():
                replaced = self._replaced(hold)
                if not self.lent:
                    self._leave()
                for path in replaced:
                    with suppress(PermissionError):  # not every system lets go of a file that is mapped
                        path.unlink(missing_ok=True)
            self.index.unlink(missing_ok=True)
            self.part.replace(self.rows)

    def _leave(self) -> None:
        """Note on other vectors that this corpus stands on them no more."""
        for note in self.folder.glob("*.json"):
            with suppress(EngineError, OSError):  # one of another user costs room, nothing else
                known = noted(note)
                if note != self.note and known and self.source in known.sources:
                    left = tuple(source for source in known.sources if source != self.source)
                    self._write(note, known.model_copy(update={"sources": left}))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Hold the lock of the notes of the folder, which others read, change and write too."""
        lock = FileLock(self.folder / "notes", timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout as error:
            raise EngineError(
                f"{self.folder / 'notes'}: is held by another process for more than {_PATIENCE} s; end that one"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, note: Path, manifest: Manifest) -> None:
        draft = self.folder / f"note-{uuid4().hex}.draft"
        try:
            draft.write_text(json.dumps(manifest.model_dump(), indent=1) + "\n", encoding="utf-8")
            draft.replace(note)
        finally:
            draft.unlink(missing_ok=True)

    def _replaced(self, hold: Hold) -> list[Path]:
        """Return the files of other vectors that no corpus but this one stands on, and those that nothing is noted of."""
        ours = [path for path in self.folder.iterdir() if path.suffix in _OURS and path.stem != self.origin.digest]
        used = {stem for stem in {path.stem for path in ours} if self._used(self.folder / f"{stem}.json", hold)}
        return [path for path in ours if path.stem not in used]

    def _used(self, note: Path, hold: Hold) -> bool:
        """Whether another corpus stands on vectors, as far as their note can be read, or they have texts that this one lacks."""
        try:
            known = noted(note)
        except EngineError:
            return True
        sources = set(known.sources) - {self.source} if known else set()
        if any((self.folder.parent / source).exists() for source in sources):
            return True
        if not self.lent or not known or known.embedder != self.origin.embedder:
            return False
        keys = kept_keys(note.with_suffix(".keys"), known.count)
        return keys is None or not hold(keys)


def _row(known: Manifest) -> int:
    """Return the bytes of a row."""
    return 4 * known.dimension
