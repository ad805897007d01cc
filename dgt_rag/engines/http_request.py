"""What `search/http` sends: an address, headers and a body made of templates and a question."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.engines.base import Projection
from dgt_rag.errors import TaskError
from dgt_rag.llm.address import Headers, checked, shown
from dgt_rag.llm.refusals import one_line
from dgt_rag.plugins import Settings
from dgt_rag.retry import RetryPolicy

_NAMES = ("query", "limit", "where")
_WHOLE = re.compile(rf"\s*\{{\{{\s*({'|'.join(_NAMES)})\s*\}}\}}\s*")
_MAPPING = TypeAdapter(dict[str, JsonValue], config=ConfigDict(defer_build=True))
_PROBES = ("a question", 'a "quoted\\ question\nin two lines')


class Request(Settings):
    """What is sent for one search."""

    url: str
    params: tuple[tuple[str, str], ...]
    body: str | None
    is_json: bool


class HttpService(Settings):
    """How a search service is called, and how its answers are read."""

    # a refusal of pydantic's repeats what it refuses, keys in an address too
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(examples=["https://search.example.org/api"])
    """The address; may hold {{ query | urlencode }} and {{ limit }}."""
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: Headers = Field(default_factory=dict)
    """Sent with every call, such as Authorization: "Bearer ${oc.env:SEARCH_TOKEN}"; never shown or written."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """Added to the address as ?name=value; may hold {{ query }} and {{ limit }}. A list is sent as one value after another."""
    body: dict[str, JsonValue] | str | None = None
    """What is sent: a mapping sent as JSON whose texts may hold {{ query }} and {{ limit }}, or a template of the text."""
    hits: str = ""
    """Where the list of hits stands in the answer, a dotted path such as results.items; empty if it is the answer."""
    projection: Projection = Projection()
    """Our name → where it stands in a hit, a dotted path such as document.text."""
    score: str = "score"
    """Where the score stands in a hit; 1 / rank where there is none."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds for one call; where `retry` has a `timeout` too, the longer holds."""
    retry: RetryPolicy = Field(default_factory=RetryPolicy)

    @field_validator("body", mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        """Read the form that was written, so that what is wrong is told of that one alone."""
        if isinstance(value, Mapping):
            return _MAPPING.validate_python(value)
        if value is None or isinstance(value, str):
            return value
        raise PydanticCustomError("body", "a mapping is needed, or a template of the text that is sent")

    @model_validator(mode="after")
    def _an_address(self) -> Self:
        if "@" in self.place:
            raise ValueError("`url` holds a user or password; give them by `headers`")
        try:
            checked(self.place)
        except ValueError:
            raise ValueError("`url` is no address; it looks like https://search.example/api") from None
        if self.method == "GET" and self.body is not None:
            raise ValueError("`body` is not sent with GET; use `params`, or method: POST")
        return self

    @property
    def place(self) -> str:
        """Scheme, host and port."""
        return "/".join(self._fixed.split("/")[:3])

    @property
    def address(self) -> str:
        """The address as it may be shown: without user, password and query."""
        return shown(self._fixed)

    @property
    def _fixed(self) -> str:
        """The address up to its query, or to the first template."""
        return re.split("[?#{]", self.url.strip(), maxsplit=1)[0]

    @property
    def policy(self) -> RetryPolicy:
        """How often the service is asked, and how long a call may take: the longest time that is said."""
        said = [own.timeout for own in (self, self.retry) if "timeout" in own.model_fields_set]
        return self.retry.model_copy(update={"timeout": max(said, default=self.timeout)})

    def request(self, query: str, limit: int, where: Mapping[str, JsonValue]) -> Request:
        """Return what is sent for a search."""
        known = json.loads(_utf8(json.dumps(dict(where), ensure_ascii=False)))
        values = dict(zip(_NAMES, (_utf8(query), limit, known), strict=True))
        body = None if self.body is None else _filled(self.body, values)
        text = body if isinstance(body, str) or body is None else json.dumps(body, ensure_ascii=False)
        params = [pair for name, value in self.params.items() for pair in _pairs(name, _filled(value, values))]
        url = _utf8(_text(self.url.strip(), values))
        return Request(url=url, params=tuple(params), body=text, is_json=_is_json(text))

    def check(self, who: str) -> None:
        """Refuse templates that do not fill, and a JSON text that a question breaks."""
        try:
            sent = [self.request(probe, 5, {}) for probe in _PROBES]
        except TaskError as error:
            raise TaskError(f"{who}: {error}; it may use {', '.join(_NAMES)}") from error
        if sent[0].is_json and not sent[1].is_json:
            raise TaskError(
                f"{who}: body: a question with quotes in it breaks the JSON; write {{{{ query | tojson }}}} without "
                "quotes around it, or give `body` as a mapping"
            )


def _filled(value: JsonValue, values: Mapping[str, Any]) -> JsonValue:
    """Return a value with all texts in it filled; one that is nothing but {{ limit }} becomes the number."""
    if isinstance(value, dict):
        return {name: _filled(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    whole = _WHOLE.fullmatch(value)
    return values[whole[1]] if whole else _text(value, values)


def _pairs(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Yield a parameter as it is sent: each of a list, nothing for null, and what is no text as JSON writes it."""
    if isinstance(value, list):
        for one in value:
            yield from _pairs(name, one)
    elif value is not None:
        yield name, _utf8(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _utf8(text: str) -> str:
    """Return a text that can be sent: half a surrogate pair, which a cut text may end in, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _text(template: str, values: Mapping[str, Any]) -> str:
    from dgt_rag.prompts import fill

    try:
        return fill(template, values)
    except TaskError as error:
        # the template's own text may hold a key
        raise TaskError(str(error).replace(f"template {template!r}", "a template cannot be filled")) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise TaskError(f"a template cannot be filled: {one_line(str(error))}") from error


def _is_json(text: str | None) -> bool:
    try:
        return text is not None and isinstance(json.loads(text), dict | list)
    except ValueError:
        return False
