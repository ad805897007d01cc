"""The folder beside a corpus file that holds its index: made once, opened by mapping, made anew when the corpus changes.

`<file>.dgt/<settings>/`: `index` (tantivy) · `offsets` (eight bytes for each document) · `groups-*` (four bytes for each
document and field) · `lines.jsonl` (only for corpora that cannot be read by offset) · `manifest.json`. It is made in a
folder of another name and renamed when whole, under a lock that ends with the process that holds it.
"""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dgt_rag.corpus.read import OwnNames
from dgt_rag.engines.building import Build, Recipe, content_digest, groups_file, load_groups, save_groups, write_json
from dgt_rag.engines.documents import FileDocuments, Unchanged, mapped
from dgt_rag.engines.groups import Groups, grouped
from dgt_rag.engines.index import TextIndex
from dgt_rag.errors import EngineError

_MANIFEST = {"size": int, "changed": int, "digest": str, "documents": int, "skipped": list}
"""What a manifest holds at least."""
_TRIES = 20
"""How often a folder that goes is made again."""


@dataclass(frozen=True)
class Sidecar:
    """The index of one corpus file; `folder` holds one for each way of reading and indexing it."""

    recipe: Recipe
    folder: Path

    @property
    def home(self) -> Path:
        """The folder of this index."""
        return self.folder / self.recipe.name_in(self.folder)

    @property
    def corpus(self) -> Path:
        """The file that is indexed."""
        return self.recipe.source.path

    async def make(self, say: Callable[[str], None]) -> int:
        """See to it that the index is there and is that of the file; says what it lacks, whoever made it.

        Returns the time of change of the file that was seen.
        """
        seen = await asyncio.to_thread(self._current)
        if seen is None:
            async with self._alone(say):
                seen = await asyncio.to_thread(self._current)
                if seen is None:
                    await self._build(say)
        known = self._manifest() or {}
        for line in known.get("skipped", []):
            say(f"{self.recipe.source.name}: {line}")
        return int(known.get("changed", 0) if seen is None else seen)

    def documents(self, seen: int) -> FileDocuments:
        """Open the documents, of a file whose time of change `make` has seen; whoever opens closes them."""
        seekable = self.recipe.source.seekable
        known = self._manifest()
        if known is None:
            raise EngineError(f"{self.home}: the index was removed while it was opened; start again")
        try:
            return FileDocuments(
                self.corpus if seekable else self.home / "lines.jsonl",
                mapped(self.home / "offsets", "q"),
                (self.recipe.projector if seekable else OwnNames()).document,
                lambda documents, field: self._groups(documents, groups_file(self.home, field, known["digest"]), field),
                Unchanged(self.corpus, known["size"], seen, self._taken(known["digest"])),
            )
        except OSError as error:
            raise self._unreadable(error) from error

    def index(self) -> TextIndex:
        """Open the index."""
        return TextIndex.open(self.home / "index", self.recipe.language)

    def _taken(self, content: str) -> str:
        """Return a digest of the documents: of what the file holds, and of what of it is taken for a document."""
        recipe = self.recipe
        parts = [content, recipe.source.format, recipe.on_bad_line, *recipe.projector.paths]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _manifest(self) -> dict[str, Any] | None:
        try:
            known = json.loads((self.home / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(known, dict) and all(isinstance(known.get(key), kind) for key, kind in _MANIFEST.items())
        return known if whole else None

    def _current(self) -> int | None:
        """Return the file's time of change if there is an index of it as it is, else None.

        A file that was only touched, or moved with the folder, is known by its content. The time of the last status
        change tells files apart that have one size and, as copying can set it, one time.
        """
        known = self._manifest()
        try:
            found = self.corpus.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        if known is None or known["size"] != found.st_size or not self._whole(known):
            return None
        times = {"changed": found.st_mtime_ns, "status": found.st_ctime_ns}
        if (known["changed"], known.get("status")) == (found.st_mtime_ns, found.st_ctime_ns):
            return found.st_mtime_ns
        try:
            if known["digest"] != content_digest(self.corpus):
                return None
        except OSError as error:
            raise self._unreadable(error) from error
        with suppress(OSError):  # a folder that cannot be written costs the reading at the next start, nothing else
            write_json(self.home / "manifest.json", {**known, **times})
        return found.st_mtime_ns

    def _whole(self, known: dict[str, Any]) -> bool:
        """Whether nobody has cut or taken away a part."""
        try:
            if not 0 < known["documents"] == (self.home / "offsets").stat().st_size / 8 - 1:
                return False
            seekable = self.recipe.source.seekable
            end = known["size"] if seekable else (self.home / "lines.jsonl").stat().st_size
            return mapped(self.home / "offsets", "q")[-1] == end and (self.home / "index" / "meta.json").exists()
        except OSError:
            return False

    @asynccontextmanager
    async def _alone(self, say: Callable[[str], None]) -> AsyncIterator[None]:
        """Hold the lock of this index; whoever comes second waits."""
        lock = FileLock(self.home.with_suffix(".lock"), timeout=0)
        new = not self.folder.exists()
        try:
            if not self._locked(lock):
                say(f"{self.corpus}: another process is indexing it; waiting")
                while not self._locked(lock):
                    await asyncio.sleep(0.05)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            if not self.home.exists():
                with suppress(OSError):  # nothing came of it; who waits for a lock that is gone makes a new one
                    Path(lock.lock_file).unlink()
            lock.release()
            if new:
                with suppress(OSError):  # it holds something
                    self.folder.rmdir()

    async def _build(self, say: Callable[[str], None]) -> None:
        """Make the index under another name and rename it; what a killed build left is removed."""
        for left in self.folder.glob(f"{self.home.name}.*-*"):
            shutil.rmtree(left, ignore_errors=True)
        made = self.home.with_suffix(f".tmp-{os.getpid()}")
        try:
            made.mkdir()
            await Build(self.recipe, made).run(say)
            self._publish(made)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            await _removed(made)

    def _publish(self, made: Path) -> None:
        old = self.home.with_suffix(f".old-{os.getpid()}")
        if self.home.exists():
            self.home.rename(old)
        made.rename(self.home)
        shutil.rmtree(old, ignore_errors=True)

    def _locked(self, lock: FileLock) -> bool:
        """Take the lock if it is free; again if the folder goes meanwhile, as one that fails takes away what it made."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout:
                return False
            except (FileNotFoundError, FileExistsError):
                if not tries_left:
                    raise
            else:
                return True
        return False

    def _unreadable(self, error: OSError) -> EngineError:
        return EngineError(f"{error.filename or self.home}: cannot be read: {error.strerror}")

    def _unwritable(self, error: OSError) -> EngineError:
        return EngineError(
            f"{self.corpus}: its index cannot be written in {self.folder}: {error.strerror}; "
            "set index_dir to a folder that can be written and has room"
        )

    def _groups(self, documents: FileDocuments, name: Path, field: str) -> Groups:
        """Return the groups by a field, which are kept beside the index once they are made."""
        kept = load_groups(name)
        if kept is not None:
            return kept
        groups = grouped(documents.blocks(), field)
        documents.check()
        try:
            save_groups(groups, name)
        except OSError:
            # a folder that cannot be written costs time at the next start, nothing else
            return groups
        return load_groups(name) or groups


async def _removed(folder: Path) -> None:
    """Remove a folder, again while the threads of a writer that was given up still put files into it."""
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        await asyncio.sleep(0.05)
