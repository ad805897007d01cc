"""One pass over a corpus file that makes its index, its offsets and its groups by domain in a folder."""

import asyncio
import hashlib
import json
import os
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dgt_rag.corpus.read import Corpus, Found, OnBadLine, Projector, as_record
from dgt_rag.corpus.rows import Source
from dgt_rag.engines.analysis import ANALYSIS, Language
from dgt_rag.engines.documents import mapped
from dgt_rag.engines.groups import GroupBuilder, Groups
from dgt_rag.engines.index import IndexBuilder
from dgt_rag.errors import EngineError

_LAYOUT = 2
_STEP = 2_000
"""Documents between two looks at the clock, which are also the chances to stop."""
_PROGRESS = 5.0
"""Seconds between two lines of progress."""
_SMALL = 32_000_000
"""Bytes of a corpus up to which one thread indexes it, so that the index is the same whenever it is made."""


@dataclass(frozen=True)
class Recipe:
    """What an index is made from, and how: all that makes one index differ from another."""

    source: Source
    projector: Projector
    language: Language
    on_bad_line: OnBadLine

    def name_in(self, folder: Path) -> str:
        """Return a name for these settings among the indexes of a folder."""
        source = self.source
        parts = [_LAYOUT, ANALYSIS, place_seen_from(folder, source.path), source.format, source.packing]
        parts += [self.on_bad_line, self.language, *self.projector.paths]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Build:
    """An index being made."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._recipe = recipe
        self._folder = folder
        self._before = recipe.source.path.stat()
        self._corpus = Corpus(recipe.source, recipe.projector, recipe.on_bad_line)
        self._offsets = array("q")
        self._domains = GroupBuilder()
        self._seekable = recipe.source.seekable

    async def run(self, say: Callable[[str], None]) -> None:
        """Read, index and write; it can be cancelled between two steps."""
        path, started = self._recipe.source.path, time.monotonic()
        told = started
        steps = self._steps()
        while progress := await asyncio.to_thread(next, steps, None):
            if time.monotonic() - told > _PROGRESS:
                told = time.monotonic()
                say(f"{path}: indexing, {progress}")
        if time.monotonic() - started > 1:
            say(f"{path}: {len(self._offsets) - 1:,} documents indexed in {time.monotonic() - started:.0f} s")

    def _steps(self) -> Iterator[str]:
        """Do the work, a step at a time, and say how far it is."""
        (self._folder / "index").mkdir()
        threads = 1 if self._before.st_size <= _SMALL else min(4, os.cpu_count() or 1)
        index = IndexBuilder(self._recipe.language, self._folder / "index", threads)
        end = self._before.st_size
        with (self._folder / "lines.jsonl").open("wb", buffering=1 << 20) as lines:
            for number, found in enumerate(self._corpus.found(), 1):
                body, _, title, domain = found.parts
                index.add(title, body, domain)
                self._domains.add((domain,) if domain else ())
                self._offsets.append(found.start if self._seekable else self._copy(found, lines))
                if number % _STEP == 0:
                    done = f", {found.start * 100 // max(end, 1)} %" if self._seekable else ""
                    yield f"{number:,} documents{done}"
            self._offsets.append(end if self._seekable else lines.tell())
        yield "merging"
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(content_digest, self._recipe.source.path)
            index.finish()
        yield "writing"
        try:
            self._write(digest.result(), self._recipe.source.path.stat())
        except FileNotFoundError as error:
            if self._recipe.source.path.exists():
                raise
            raise EngineError(f"{self._recipe.source.path}: the corpus was removed while it was indexed") from error

    def _copy(self, found: Found, lines: IO[bytes]) -> int:
        """Write a document of a file that cannot be read by offset; return where it starts."""
        start = lines.tell()
        record = as_record(self._recipe.projector.document(found.record, found.parts))
        lines.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        return start

    def _write(self, digest: str, after: os.stat_result) -> None:
        source = self._recipe.source
        if self._seekable:
            (self._folder / "lines.jsonl").unlink()
        with (self._folder / "offsets").open("wb") as file:
            self._offsets.tofile(file)
        if self._recipe.projector.paths[3]:
            save_groups(self._domains.finish(), groups_file(self._folder, "domain", digest))
        if (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise EngineError(f"{source.path}: the corpus was changed while it was indexed; start again")
        manifest = {"size": after.st_size, "changed": after.st_mtime_ns, "status": after.st_ctime_ns, "digest": digest}
        manifest["skipped"] = self._corpus.tally.lines()
        write_json(self._folder / "manifest.json", {**manifest, "documents": len(self._offsets) - 1})


def content_digest(path: Path) -> str:
    """Return a digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(f".part-{os.getpid()}")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(path)


def place_seen_from(folder: Path, path: Path) -> str:
    """Return what tells a file apart from others whose indexes stand in a folder, also when it is moved with that folder."""
    return path.name if folder.parent == path.parent else seen_from(folder, path)


def seen_from(folder: Path, path: Path) -> str:
    """Return the way from a folder to a file."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        # another drive
        return str(path)


def groups_file(folder: Path, field: str, content: str) -> Path:
    """Return where the groups by a field stand; those of other content, which one left behind may still write, do not."""
    return folder / f"groups-{hashlib.sha256(f'{content} {field}'.encode('utf-8', 'replace')).hexdigest()[:16]}"


def save_groups(groups: Groups, name: Path) -> None:
    """Write groups; the names last, so that they are there only if the ordinals are."""
    part = name.with_suffix(f".part-{os.getpid()}")
    try:
        with part.open("wb") as file:
            for ordinals in (groups.order, groups.bare):
                array("i", ordinals).tofile(file)
        part.replace(name)
    finally:
        part.unlink(missing_ok=True)
    write_json(
        name.with_suffix(".json"), {"bounds": groups.bounds, "ordinals": len(groups.order), "bare": len(groups.bare)}
    )


def load_groups(name: Path) -> Groups | None:
    """Open groups, if they are there and whole; the ordinals are mapped, not read."""
    try:
        known = json.loads(name.with_suffix(".json").read_text(encoding="utf-8"))
        ordinals, end = mapped(name, "i"), known["ordinals"]
        bounds = {value: (start, stop) for value, (start, stop) in known["bounds"].items()}
        if len(ordinals) != end + known["bare"] or not all(0 <= a <= b <= end for a, b in bounds.values()):
            return None
        return Groups(bounds, ordinals[:end], ordinals[end:])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # not there, or not what was written there: a disk that was full, a copy that was cut short
        return None
