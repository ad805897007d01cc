"""The run folder: who may use it, what it was made from, and how its files come to be whole."""

import hashlib
import json
import os
import platform
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines
from filelock import FileLock, Timeout

from dgt_rag.errors import StoreError
from dgt_rag.store.journal import Journal, json_line

MADE = ("journal.jsonl", "final_data.jsonl", "run.json", "report.html", "task.yaml")
"""What a run writes that `--restart` clears away; the calls stay, so that what was asked is not paid again."""


class RunFolder:
    """One run's folder, locked for as long as it is open."""

    def __init__(self, path: Path) -> None:
        try:
            self.path = path = path.expanduser()
            self._made_by: list[str] = []
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{path}: another run is at work in this folder; wait for it, or choose another --output-dir"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            told = getattr(error, "strerror", None) or error
            raise StoreError(f"{str(path)!r}: cannot be written ({told}); choose another --output-dir") from error

    def restart(self, formatted: Iterable[str]) -> None:
        """Clear away what an earlier run made, but for the calls."""
        for name in (*MADE, *formatted):
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(
                    f"{self.path / name}: cannot be removed ({error.strerror}); remove it yourself"
                ) from error

    def journal(self) -> Journal:
        """Open the journal."""
        return Journal(self.path / "journal.jsonl")

    def facts(self) -> dict[str, Any]:
        """Return what `run.json` says, or nothing if there is none."""
        path = self.path / "run.json"
        try:
            facts: Any = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (ValueError, OSError) as error:
            raise StoreError(f"{path}: cannot be read ({error}); start over with --restart") from error
        if not isinstance(facts, dict) or not isinstance(facts.get("identity", {}), dict):
            raise StoreError(f"{path}: is none of ours; start over with --restart")
        return facts

    def kept(self) -> int:
        """Return how many rows the last run in this folder left."""
        figures = self.facts().get("figures")
        kept = figures.get("kept") if isinstance(figures, dict) else None
        return kept if isinstance(kept, int) else 0

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse to go on with another task than the one that the folder was begun with, naming what differs."""
        facts = self.facts()
        before = facts.get("identity")
        self._made_by = [str(one) for one in facts.get("made_by") or [facts.get("dgt_rag")] if one]
        if before is None or before == identity:
            return
        changed = [key for key in sorted({*before, *identity}) if before.get(key) != identity.get(key)]
        told = ", ".join(
            f"{key} ({before.get(key, 'not set')} → {identity.get(key, 'not set')})" for key in changed[:6]
        )
        more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise StoreError(
            f"{self.path}: was begun with another task; changed: {told}{more}; undo that, start over with --restart, or choose another --output-dir"
        )

    def versions(self, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """Return the version of this package and of Python, and all versions of it that had a hand in the rows so far."""
        now, journal = version("dgt-rag"), self.path / "journal.jsonl"
        begun = self._made_by if journal.exists() and journal.stat().st_size else []
        if others := [one for one in begun if one != now]:
            say(
                f"{self.path}: was begun with dgt_rag {', '.join(others)} and goes on with {now}: what is finished stays as it is; "
                "to have all rows made alike, start over with --restart"
            )
        self._made_by = list(dict.fromkeys([*begun, now]))
        return {"dgt_rag": now, "made_by": self._made_by, "python": platform.python_version()}

    def write(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        self.write_lines(name, [text.encode("utf-8", "backslashreplace")])

    def write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """Write lines as they stand, the file whole or not at all."""
        with self._replacing(name) as file:
            file.writelines(lines)

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Sequence[int]:
        """Write rows as JSON Lines, the file whole or not at all; return the bytes of each."""
        sizes, end = array("q"), 0
        with self._replacing(name) as file, jsonlines.Writer(file, dumps=_dumps) as writer:
            for row in rows:
                writer.write(row)
                sizes.append(file.tell() - end)
                end += sizes[-1]
        return sizes

    @contextmanager
    def _replacing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file beside the one of this name and put it in its place once it is whole."""
        target = self.path / f".{name}.tmp"
        try:
            with target.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            target.replace(self.path / name)
        except OSError as error:
            told = f"{self.path / name}: cannot be written ({error.strerror}); mend that and run again"
            raise StoreError(told) from error
        finally:
            with suppress(OSError):
                target.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the folder free."""
        self._lock.release()


def _dumps(row: object) -> bytes:
    return json_line(json.dumps(row, ensure_ascii=False, allow_nan=False))


def digest(text: bytes | str) -> str:
    """Return a short name for a content."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()[:16]
