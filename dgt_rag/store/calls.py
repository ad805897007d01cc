"""The store of model calls, `calls.sqlite`: every reply that was paid for, found again by its whole request."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dgt_rag.errors import StoreError

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, reply TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    purpose TEXT NOT NULL, talk INTEGER NOT NULL, outcome TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, at REAL NOT NULL, cost REAL
);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key);
CREATE TABLE IF NOT EXISTS traits (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_DEFAULTS: dict[str, Any] = {
    "model": "",
    "endpoint": "",
    "purpose": "",
    "talk": -1,
    "outcome": "ok",
    "prompt_tokens": 0,
    "cached_tokens": 0,
    "completion_tokens": 0,
    "reasoning_tokens": 0,
    "seconds": 0.0,
    "at": 0.0,
    "cost": None,
}
_INSERT = f"INSERT INTO calls (key, reply, {', '.join(_DEFAULTS)}) VALUES (:key, :reply, :{', :'.join(_DEFAULTS)})"
_SUMS = (
    "count(*) AS calls, sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens, "
    "sum(completion_tokens) AS completion_tokens, sum(reasoning_tokens) AS reasoning_tokens, "
    "sum(seconds) AS seconds, sum(cost) AS cost, sum(outcome NOT IN ('ok', 'tool_calls')) AS failed"
)


_UNREADABLE = "cannot be used ({}); move it away to start without earlier calls"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass
class Calls:
    """Model calls on disk. Written in small batches; `flush` before anything that rests on them is written down."""

    connection: sqlite3.Connection
    read_cache: bool = True
    """Whether requests are answered from the store (`--no-cache` turns it off); they are written in any case."""
    clock: Callable[[], float] = time.monotonic
    batch: int = 64
    patience: float = 0.2
    """Seconds after which a batch is written however small it is."""
    hits: int = 0
    """Requests of this run that were answered from the store."""
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _fresh: dict[str, str] = field(default_factory=dict)
    _totals: dict[str, Any] = field(default_factory=dict)
    _written: float = 0.0

    def find(self, key: str) -> str | None:
        """Return the reply stored for a request's key, or None."""
        if not self.read_cache:
            return None
        found = self._fresh.get(key)
        if found is None:
            query = "SELECT reply FROM calls WHERE key = ? ORDER BY id DESC LIMIT 1"
            with _reading():
                row = self.connection.execute(query, (bytes.fromhex(key),)).fetchone()
            found = row[0] if row else None
        self.hits += found is not None
        return found

    def add(self, key: str, reply: str, facts: Mapping[str, Any]) -> None:
        """Store a reply under its request's key with its facts (model, tokens, seconds, outcome)."""
        row = {**_DEFAULTS, **facts, "key": bytes.fromhex(key), "reply": reply}
        self._waiting.append(row)
        self._fresh[key] = reply
        if self._totals:
            self._totals = _with(self._totals, row)
        if len(self._waiting) >= self.batch or self.clock() - self._written >= self.patience:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            with _writing(self.connection):
                self.connection.executemany(_INSERT, self._waiting)
            self._waiting.clear()
            self._fresh.clear()
        self._written = self.clock()

    def recall(self, name: str) -> str | None:
        """Return what was remembered under a name."""
        with _reading():
            row = self.connection.execute("SELECT value FROM traits WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def remember(self, name: str, value: str) -> None:
        """Remember a small fact, such as what an endpoint can do."""
        with _writing(self.connection):
            self.connection.execute("INSERT OR REPLACE INTO traits VALUES (?, ?)", (name, value))

    def forget(self) -> None:
        """Forget what was remembered; the calls stay."""
        with _writing(self.connection):
            self.connection.execute("DELETE FROM traits")

    def totals(self) -> dict[str, Any]:
        """Return the sums over all calls; cheap, since a display and a budget look often."""
        if not self._totals:
            self._totals = self._sums("SELECT " + _SUMS + " FROM calls")[0]
        return dict(self._totals)

    def read_again(self) -> None:
        """Count from the disk: other processes may have written as well."""
        self._totals = {}

    def by(self, *columns: str) -> list[dict[str, Any]]:
        """Return the sums by columns of the table, such as purpose, model or outcome."""
        unknown = set(columns) - set(_DEFAULTS)
        if unknown or not columns:
            raise ValueError(f"no such columns: {sorted(unknown)}")
        names = ", ".join(columns)
        return self._sums(f"SELECT {names}, {_SUMS} FROM calls GROUP BY {names} ORDER BY {names}")

    def spent_on(self, talks: Iterable[int]) -> dict[str, Any]:
        """Return the sums over the calls made for these conversations, by their indices."""
        chosen = "SELECT " + _SUMS + " FROM calls WHERE talk IN (SELECT value FROM json_each(?))"
        return self._sums(chosen, json.dumps(list(talks)))[0]

    def _sums(self, query: str, *values: str) -> list[dict[str, Any]]:
        self.flush()
        with _reading():
            cursor = self.connection.execute(query, values)
            rows = cursor.fetchall()
        names = [column[0] for column in cursor.description]
        keep_none = {"cost"}
        return [
            {
                name: value if value is not None or name in keep_none else 0
                for name, value in zip(names, row, strict=True)
            }
            for row in rows
        ]


def _with(totals: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums with one more call."""
    sums = {name: value + (row[name] or 0) for name, value in totals.items() if name in row and name != "cost"}
    cost = totals["cost"] if row["cost"] is None else (totals["cost"] or 0.0) + row["cost"]
    failed = totals["failed"] + (row["outcome"] not in ("ok", "tool_calls"))
    return {**totals, **sums, "calls": totals["calls"] + 1, "cost": cost, "failed": failed}


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        with connection:
            yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise StoreError(f"calls.sqlite: {_UNREADABLE.format(error)}") from error
        raise StoreError(f"calls.sqlite: cannot be written ({error}); is the disk full?") from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"calls.sqlite: {_UNREADABLE.format(error)}") from error


@contextmanager
def open_calls(path: Path, read_cache: bool = True) -> Iterator[Calls]:
    """Open the store of a run folder, made if it is not there, and close it on every way out."""
    try:
        connection = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_UNREADABLE.format(error)}") from error
    with closing(connection):
        _prepare(connection, path)
        calls = Calls(connection, read_cache)
        try:
            yield calls
        finally:
            calls.flush()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # a killed process loses nothing that was written; a power cut may lose the last moments, and no more
        connection.execute("PRAGMA synchronous = NORMAL")
        # moving the log into the file waits for the disk, and every call with it: seldom, and when the store is closed
        connection.execute("PRAGMA wal_autocheckpoint = 65536")
        connection.executescript(_TABLES)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_UNREADABLE.format(error)}") from error
