"""What an endpoint's error means: try again, give up on this ask, or stop the run; always one line without secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from dgt_rag.errors import Busy, ModelClosed, ModelError
from dgt_rag.llm.replies import loaded

_CONTEXT = re.compile(
    r"context (length|size|window)|maximum context|context_length_exceeded|max_model_len|(prompt|input) is too long"
    r"|too many (input )?tokens|request too large",
    re.IGNORECASE,
)
_FILTER = re.compile(r"content_filter|content policy|content management|ResponsibleAI|safety", re.IGNORECASE)
_MODERATED = re.compile(r"moderation|flagged", re.IGNORECASE)
_DAILY = re.compile(r"per[- ]?day|daily|\b[RT]PD\b", re.IGNORECASE)
_MINUTELY = re.compile(rb"per ?minute|retryDelay", re.IGNORECASE)
_SPENT = re.compile(r"insufficient_quota|billing|out of credit|payment", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model_not_found|model_decommissioned|DeploymentNotFound|\b(invalid|unknown|no such) model\b|not a valid model"
    r"|\bmodel[:\s]+[`'\"]?[^\s`'\"]*[`'\"]?\s*"
    r"((does )?not exist|(is |was )?not found|is (invalid|unknown|not available)|has been decommissioned)",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(
    r"--jinja|unsupported param: tools|single tool.?calls?|system (role|message|prompt)s? (is |are )?not supported|pars\w+ grammar",
    re.IGNORECASE,
)
"""What llama.cpp says with a 500 of a request that it takes in another form."""
_DELAY = re.compile(rb'"retryDelay":\s*"([\d.]+)s"')
_SECRET = re.compile(r"\b(sk|pk|key|api)[-_][\w*.-]{6,}|(?<=//)[^/\s@]+@|(?i:bearer\s+\S+)")
_QUOTA = 3600.0
"""Seconds; who says 429 and to come back after that long has no room today."""


@dataclass(frozen=True)
class Raw:
    """A response as it came: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    moved: str = ""
    """Where the answer came from, if not from where the request was sent."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What was sent in confidence; blotted out where the service repeats it."""

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the service says it."""
        said = self.headers.get("retry-after")
        found = _DELAY.search(self.body) if said is None else None
        return (
            _seconds(self.headers.get("retry-after-ms"), 1000.0)
            or _seconds(found[1].decode() if found else said, 1.0)
            or _until(said, self.headers.get("date"))
        )

    @property
    def message(self) -> str:
        """What the service says went wrong, in one line."""
        said = _message(self.body) or f"status {self.status}"
        for secret in self.secrets:
            said = said.replace(secret, "…")
        return one_line(said)

    @property
    def code(self) -> str:
        """The short names that the service gives the error: its code, type and parameter."""
        error = _error(self.body)
        return " ".join(str(error.get(key) or "") for key in ("code", "type", "param")).strip()

    @property
    def is_json(self) -> bool:
        """Whether the body is a JSON object or list."""
        return self.body.lstrip()[:1] in (b"{", b"[")

    @property
    def is_page(self) -> bool:
        """Whether the body is an HTML page, which no endpoint writes."""
        return self.body.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<head")

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of events."""
        return self.body.lstrip()[:5] == b"data:" or "event-stream" in (self.headers.get("content-type") or "")

    @property
    def held(self) -> "Raw | None":
        """The error that stands in the body of a 200, as the response it should have been."""
        error = _error(self.body)
        if not (error.get("message") and _is_error(self.body)):
            return None
        code = str(error.get("code") or "")
        return replace(self, status=int(code) if re.fullmatch(r"[45]\d\d", code) else 502)


class Refused(ModelError):
    """A request that an endpoint does not take; in another form it may. `said`: the endpoint's words."""

    def __init__(self, name: str, said: str, teaches: bool) -> None:
        super().__init__("bad_request", f"{name}: {said}")
        self.said = said
        self.teaches = teaches
        """Whether the status is one that speaks of the request's form."""


def one_line(text: str, limit: int = 300) -> str:
    """Return a service's text as one short line without keys or passwords."""
    return _SECRET.sub("…", " ".join(text.split()))[:limit]


def kind_of(raw: Raw) -> str:
    """Return what a response is that is none of those expected."""
    moved = f", redirected to {raw.moved}" if raw.moved else ""
    if raw.streams:
        return f"a stream of events{moved}"
    if not raw.is_json:
        return f"{raw.message}{moved}"
    try:
        loaded(raw.body)
    except ValueError as error:
        return f"JSON that cannot be read ({one_line(str(error), 80)}){moved}"
    return f"JSON of another kind{moved}"


def _seconds(said: str | None, scale: float) -> float | None:
    return float(said) / scale if said and re.fullmatch(r"\d+(\.\d+)?", said) else None


def _until(said: str | None, now: str | None) -> float | None:
    """Return the seconds until a date, from the service's own now if it tells it."""
    try:
        then = parsedate_to_datetime(said) if said else None
        at = parsedate_to_datetime(now) if now else datetime.now(UTC)
    except ValueError:
        return None
    if then is None:
        return None
    return max(0.0, (_aware(then) - _aware(at)).total_seconds())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _whole(body: bytes) -> object:
    """Return what a body says; of a list, in which some services put their errors, the first."""
    try:
        whole = loaded(body)
    except ValueError:
        return None
    return whole[0] if isinstance(whole, list) and whole else whole


def _is_error(body: bytes) -> bool:
    whole = _whole(body)
    return isinstance(whole, dict) and bool(whole.get("error") or whole.get("object") == "error" or _in_choice(whole))


def _in_choice(whole: Mapping[str, object]) -> object:
    choices = whole.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("error") if isinstance(first, dict) else None


def _error(body: bytes) -> Mapping[str, object]:
    whole = _whole(body)
    if not isinstance(whole, dict):
        return {}
    error = whole.get("error") or _in_choice(whole) or whole
    return error if isinstance(error, dict) else {"message": error}


def _message(body: bytes) -> str:
    error = _error(body)
    found = error.get("message") or error.get("detail")
    if found:
        return str(found)
    text = body.decode("utf-8", "replace")
    title = re.search(r"<(title|h1)[^>]*>([^<]+)<", text, re.IGNORECASE)
    return f"an HTML page ({title.group(2).strip()})" if title else text[:300]


def misses(raw: Raw) -> bool:
    """Say whether the response means that the address or the model is not there."""
    if raw.status in (404, 405) or 300 <= raw.status < 400:
        return True
    return raw.status in (400, 422) and bool(_NO_MODEL.search(f"{raw.code} {raw.message}"))


def refusal(raw: Raw, name: str, key: str) -> Exception:
    """Return what a response other than 200 means for the one who asked. `name` names the endpoint, `key` how its key is given."""
    said, words = raw.message, f"{raw.code} {raw.message}"
    if closed := _closed(raw, name, key):
        return closed
    if raw.status == 413 or (_CONTEXT.search(words) and raw.status in (400, 422, 429, 500)):
        return ModelError("context_too_long", f"{name}: {said}")
    if raw.status in (500, 501) and _TEMPLATE.search(said):
        return Refused(name, said, teaches=True)
    if again := busy(raw, name):
        return again
    if _FILTER.search(words) or (raw.status == 403 and _MODERATED.search(words)):
        return ModelError("content_filter", f"{name}: {said}")
    return Refused(name, said, teaches=raw.status in (400, 422))


def _closed(raw: Raw, name: str, key: str) -> ModelClosed | None:
    """Return what stops the run, if the response means that: no key, no money, no room for hours."""
    said, words = raw.message, f"{raw.code} {raw.message}"
    if raw.status == 401:
        return ModelClosed(f"{name}: the key was refused ({said}); {key}")
    if raw.status == 429 and _DAILY.search(said):
        return ModelClosed(f"{name}: the day's quota is spent ({said}); resume the run when it is renewed")
    spent = raw.status in (403, 429) and _SPENT.search(words) and not _MINUTELY.search(raw.body)
    if raw.status == 402 or spent:
        return ModelClosed(f"{name}: the account is spent ({said}); the run can be resumed")
    if raw.status == 429 and (raw.retry_after or 0.0) >= _QUOTA:
        hours = (raw.retry_after or 0.0) / 3600
        return ModelClosed(f"{name}: no room ({said}); room again in {hours:.2g} h; resume then")
    if raw.status != 403 or _FILTER.search(words) or _MODERATED.search(words):
        return None
    if raw.is_page:
        return ModelClosed(
            f"{name}: answered 403 with {said}: what stands before the endpoint (a firewall, a proxy) lets no program through; "
            "check `base_url` and the network"
        )
    return ModelClosed(f"{name}: not allowed ({said}); get access, or {key}")


def busy(raw: Raw, name: str) -> Busy | None:
    """Return what says that the same request may be made again, if the response means that."""
    kinds = {429: "rate_limit", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
    kinds |= dict.fromkeys((408, 409, 425), "server_error")
    kind = kinds.get(raw.status) or ("server_error" if raw.status >= 500 else None)
    said = raw.message if str(raw.status) in raw.message else f"{raw.status}: {raw.message}"
    return Busy(kind, f"{name}: {said}", raw.retry_after) if kind else None
