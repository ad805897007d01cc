"""Everything that can go wrong, by whose it is to mend, and the exit code that says so.

A refusal is one line: what is wrong, where, and the way out. A bad conversation is no error but data
(`Dropped`, `ModelError`: caught in one place, `pipeline/conversation.py`); a bad task stops before anything
runs (`TaskError`); a service that is closed to us stops the run and leaves it resumable (`ServiceError`).
"""

from collections.abc import Iterator
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of the program."""

    MADE = 0
    YOURS = 2
    SERVICE = 3
    NOTHING_KEPT = 4
    BUDGET_SPENT = 5
    INTERRUPTED = 130


EXIT_CODES = {
    Exit.MADE: "rows are made",
    Exit.YOURS: "a flag, the task file, or a file or folder that it names is wrong",
    Exit.SERVICE: "a model or an engine does not serve; once it does, the same command goes on",
    Exit.NOTHING_KEPT: "the run is at its end and nothing was kept",
    Exit.BUDGET_SPENT: "max_minutes, max_tokens or max_cost is reached; rows so far are written, and the run can go on",
    Exit.INTERRUPTED: "interrupted; rows so far are written, and the same command goes on",
}
"""What each code tells a script; several tasks in one command end with the greatest of theirs."""


class DgtError(Exception):
    """A refusal that a user reads as one line."""

    exit_code = Exit.SERVICE


class TaskError(DgtError):
    """The task file, a file it names, or a flag is wrong."""

    exit_code = Exit.YOURS


class PluginError(TaskError):
    """A plugin cannot be loaded, or does not keep the contract."""


class StoreError(DgtError):
    """The run folder cannot be used: locked, changed, or not writable."""

    exit_code = Exit.YOURS


class ServiceError(DgtError):
    """Something outside does not serve us; the run stops and can be resumed."""


class EngineError(ServiceError):
    """A search engine, an index or a corpus does not serve."""


class CorpusError(EngineError):
    """The documents, or what the task says of them, are wrong."""

    exit_code = Exit.YOURS


class ModelClosed(ServiceError):
    """A model will not answer whatever we ask: wrong key, unknown model, spent daily quota, dead endpoint."""


class Exhausted(ServiceError):
    """One call failed as often as the retry policy allows, while its endpoint serves others. `kind` is that of `Busy`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class EndpointDown(ServiceError):
    """An endpoint has not been reached for as long as its retry policy waits."""


class BudgetSpent(DgtError):
    """`max_cost`, `max_tokens` or `max_minutes` is reached; the run can be resumed."""

    exit_code = Exit.BUDGET_SPENT


class Busy(Exception):
    """A service asks to be tried again: too many requests, an overload, a broken connection, a time-out.

    `kind` is one of rate_limit, server_error, unavailable, timeout, connection; `retry_after` is in seconds, as the service said it.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class ModelError(Exception):
    """One call of a model failed for a named reason; the conversation that asked is dropped with it.

    `reason` is a short name (`truncated`, `refused`, `empty_reply`, `bad_reply`, `context_too_long`, `content_filter`, …);
    `raw` is the text the model sent, kept in the journal.
    """

    def __init__(self, reason: str, message: str, raw: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.raw = raw


class Dropped(Exception):
    """A stage gives a conversation up. `reason` is counted, `detail` and `raw` are kept with the conversation."""

    def __init__(self, reason: str, detail: str = "", raw: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.raw = raw


def not_installed(who: str, error: ImportError, extra: str) -> TaskError:
    """Return the refusal for a package that is an extra of ours and is missing, or is there and cannot be loaded."""
    if not isinstance(error, ModuleNotFoundError):
        said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason is given")
        return TaskError(
            f"{who}: a package cannot be loaded ({said}); is it installed for this machine, is there memory? "
            f"if it is old: pip install -U 'dgt-rag[{extra}]'"
        )
    return TaskError(f"{who}: the package {error.name or extra!r} is not installed; pip install 'dgt-rag[{extra}]'")


def told_by(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a group that a user must read: what stopped the work, before what that stopped."""
    flat = list(_flat(group))
    return next((error for error in flat if isinstance(error, DgtError)), flat[0])


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _flat(inner)
    else:
        yield error
