"""Addresses, keys and headers as a user gives them: what can be sent at all, and how an address is shown."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr

from dgt_rag.llm.refusals import one_line

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET = re.compile(r"(?<=\?).+|(?<![^/])[^/@]+(?=@)")
"""What may be a secret in what is no address: all behind a question mark, user and password."""
_SHORTEST_KEY, _SHORTEST_HEADER = 6, 8
"""Shorter ones are words that a service may well use."""


def checked(url: str) -> str:
    """Return an address that can be asked; raises ValueError for one that cannot."""
    url = url.strip()
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url):
        told = _SECRET.sub("…", one_line(url))
        raise ValueError(f"not an address: {told!r}; it looks like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("an address holds no user, password or key; give them by `api_key_env` or `headers`")
    return url


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        return None if parts.port == 0 else parts
    except ValueError:  # a port that is none, a bracket that is not closed, two dots in a row
        return None


def shown(url: str) -> str:
    """Return an address without scheme, user, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


def sendable(value: str, what: str) -> str:
    """Return a key or a header's value without the space around it; raises ValueError, which names it, if it cannot be sent."""
    value = value.strip()
    odd = next((place for place, letter in enumerate(value) if not " " <= letter <= "~"), None)
    if odd is not None:
        raise ValueError(f"{what}: its character {odd + 1} cannot stand in a header (only printable ASCII can)")
    return value


def header_name(name: str) -> str:
    """Return the name of a header; raises ValueError for what can be none."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"headers: {one_line(name, 60)!r} is no name of a header")
    return name


def headers_to_send(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    """Return headers as they are sent; raises ValueError, which names the header, for one that cannot be."""
    return {
        header_name(name): SecretStr(sendable(value.get_secret_value(), f"headers: {name}"))
        for name, value in headers.items()
    }


Headers = Annotated[dict[str, SecretStr], AfterValidator(headers_to_send)]
"""Headers of a task, secret as keys are."""


def secrets_of(key: str, headers: dict[str, str]) -> tuple[str, ...]:
    """Return what an endpoint's words must not repeat, the longest first."""
    values = {*headers.values(), *(value.rpartition(" ")[2] for value in headers.values())}
    said = {key} if len(key) >= _SHORTEST_KEY else set()
    return tuple(sorted(said | {one for one in values if len(one) >= _SHORTEST_HEADER}, key=len, reverse=True))
