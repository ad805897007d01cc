"""What an endpoint's error means: try again, give up on this ask, or stop the run; always one line without secrets."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dgt_rag.errors import Busy, ModelClosed, ModelError

_CONTEXT = re.compile(
    r"context (length|size|window)|maximum context|context_length_exceeded|max_model_len|(prompt|input) is too long"
    r"|too many (input )?tokens|request too large",
    re.IGNORECASE,
)
_FILTER = re.compile(r"content_filter|content policy|content management|ResponsibleAI|safety", re.IGNORECASE)
_DAILY = re.compile(r"per[- ]day|daily|\b[RT]PD\b", re.IGNORECASE)
_SPENT = re.compile(r"insufficient_quota|billing|out of credit|payment", re.IGNORECASE)
_SECRET = re.compile(r"\b(sk|pk|key|api)[-_][\w*.-]{6,}|(?<=//)[^/\s@]+@|(?i:bearer\s+\S+)")


@dataclass(frozen=True)
class Raw:
    """A response as it came: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the service says it."""
        return _seconds(self.headers.get("retry-after-ms"), 1000.0) or _seconds(self.headers.get("retry-after"), 1.0)

    @property
    def message(self) -> str:
        """What the service says went wrong, in one line."""
        return one_line(_message(self.body) or f"status {self.status}")

    @property
    def code(self) -> str:
        """The short names that the service gives the error: its code, type and parameter."""
        error = _error(self.body)
        return " ".join(str(error.get(key) or "") for key in ("code", "type", "param")).strip()

    @property
    def is_json(self) -> bool:
        """Whether the body is a JSON object."""
        return self.body.lstrip()[:1] == b"{"


def one_line(text: str, limit: int = 300) -> str:
    """Return a service's text as one short line without keys or passwords."""
    return _SECRET.sub("…", " ".join(text.split()))[:limit]


def _seconds(said: str | None, scale: float) -> float | None:
    """Return a number of seconds; the form of a date is not worth reading, waits grow by themselves."""
    return float(said) / scale if said and re.fullmatch(r"\d+(\.\d+)?", said) else None


def _error(body: bytes) -> Mapping[str, object]:
    try:
        whole = json.loads(body)
    except ValueError:
        return {}
    error = whole.get("error", whole) if isinstance(whole, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _message(body: bytes) -> str:
    error = _error(body)
    found = error.get("message") or error.get("detail")
    if found:
        return str(found)
    text = body.decode("utf-8", "replace")
    title = re.search(r"<(title|h1)[^>]*>([^<]+)<", text, re.IGNORECASE)
    return f"an HTML page ({title.group(2).strip()})" if title else text[:300]


def refusal(raw: Raw, name: str, key_name: str) -> Exception:
    """Return what a response other than 200 means for the one who asked. `name` names the endpoint in messages."""
    said, code = raw.message, raw.code
    if raw.status in (401, 403):
        return ModelClosed(f"{name}: the key was refused ({said}); set the environment variable {key_name}")
    if raw.status == 402 or (raw.status in (403, 429) and _SPENT.search(f"{code} {said}")):
        return ModelClosed(f"{name}: the account is spent ({said}); the run can be resumed")
    if raw.status == 429 and _DAILY.search(said):
        return ModelClosed(f"{name}: the day's quota is spent ({said}); resume the run when it is renewed")
    if _CONTEXT.search(f"{code} {said}") and raw.status in (400, 413, 422, 429, 500):
        return ModelError("context_too_long", f"{name}: {said}")
    if again := busy(raw, name):
        return again
    if _FILTER.search(f"{code} {said}"):
        return ModelError("content_filter", f"{name}: {said}")
    return ModelError("bad_request", f"{name}: {said}")


def busy(raw: Raw, name: str) -> Busy | None:
    """Return what says that the same request may be made again, if the response means that."""
    kinds = {429: "rate_limit", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
    kinds |= dict.fromkeys((408, 409, 425), "server_error")
    kind = kinds.get(raw.status) or ("server_error" if raw.status >= 500 else None)
    return Busy(kind, f"{name}: {raw.message}", raw.retry_after) if kind else None
