"""The calls of `search/http`, and what a service means that does not answer well. The door to aiohttp for engines."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from dgt_rag.engines.http_request import HttpService, Request
from dgt_rag.errors import Busy, EngineError, Exhausted
from dgt_rag.guard import Guard
from dgt_rag.llm.address import secrets_of
from dgt_rag.llm.refusals import Raw, busy, one_line

_ABOUT_ONE = frozenset({400, 413, 414, 422, 431})
"""Statuses that may speak of one request alone: too long, or not understood."""


class Refused(EngineError):
    """A search that the service does not take; another one it may. `said`: what it says, without advice."""

    def __init__(self, said: str) -> None:
        super().__init__(f"{said}; look at `url`, `method` and `body`")
        self.said = said


@asynccontextmanager
async def client(service: HttpService) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a pool of connections; the guard decides how many calls there are at once and how long each may take."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(),
        headers=_headers(service),
        # not by `trust_env`, which sends passwords of ~/.netrc as well
        proxy=_proxy(service),
    ) as session:
        yield session


def _headers(service: HttpService) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in service.headers.items()}


def _proxy(service: HttpService) -> str | None:
    """Return the proxy that the environment names for a service, if there is one."""
    parts = urlsplit(service.place)
    given = getproxies().get(parts.scheme)
    if not given or proxy_bypass(parts.netloc):
        return None
    proxy = given if "://" in given else f"http://{given}"
    if not proxy.lower().startswith(("http://", "https://")):
        raise EngineError(
            f"search at {service.address}: the environment variable {parts.scheme}_proxy names a proxy that speaks no "
            "HTTP; give one that does, or name the host in NO_PROXY"
        )
    return proxy


class Wire:
    """One service: a request goes out, JSON comes back."""

    def __init__(self, service: HttpService, session: aiohttp.ClientSession, guard: Guard) -> None:
        self.service = service
        self.session = session
        self.guard = guard
        self.name = guard.name
        self._secrets = secrets_of("", _headers(service))
        self._answered: Request | None = None
        """The last request that was answered well."""

    async def ask(self, request: Request) -> Any:
        """Return the JSON of the answer; raises `Refused` if the service does not take this request."""
        answer = await self.guard.call(lambda: self._attempt(request))
        self._answered = request
        return answer

    async def serves(self, plain: Request) -> bool:
        """Say whether the service takes another request: the last that it answered, or a plain one before there was any."""
        try:
            await self.ask(self._answered or plain)
        except (Refused, Exhausted):
            return False
        return True

    async def _attempt(self, request: Request) -> Any:
        at = self.name
        sent = {"Content-Type": "application/json"} if request.is_json and not self._says_type() else {}
        try:
            async with self.session.request(
                self.service.method,
                request.url,
                params=request.params or None,
                data=None if request.body is None else request.body.encode("utf-8", "replace"),
                headers=sent,
                # a redirect may leave out the question, or take secret headers to another host
                allow_redirects=False,
            ) as response:
                raw = Raw(response.status, response.headers, await response.read(), secrets=self._secrets)
        except (aiohttp.InvalidURL, UnicodeError) as error:
            # their words may repeat the address, and with it what stands behind the question mark
            raise EngineError(
                f"{at}: cannot be called: no address; look at `url` and the proxy, if there is one"
            ) from error
        except aiohttp.ClientSSLError as error:
            raise EngineError(f"{at}: cannot be called ({type(error).__name__}: {self._said(error)})") from error
        except aiohttp.ClientPayloadError as error:
            raise Busy("server_error", f"{at}: the answer cannot be read to its end ({self._said(error)})") from error
        except aiohttp.ClientError as error:
            raise Busy("connection", f"{at}: cannot connect ({self._said(error)})") from error
        return self._read(raw, request)

    def _said(self, error: aiohttp.ClientError) -> str:
        """Return what an error says, in one line without the address and what was sent in confidence."""
        said = f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
        for secret in self._secrets:
            said = said.replace(secret, "…")
        return one_line(said)

    def _says_type(self) -> bool:
        return any(name.lower() == "content-type" for name in self.service.headers)

    def _read(self, raw: Raw, request: Request) -> Any:
        """Return the JSON of an answer, or raise what the answer means."""
        at = self.name
        if again := busy(raw, at):
            raise again
        if raw.status in (401, 403):
            raise EngineError(f"{at}: not let in ({raw.status}: {raw.message}); look at `headers`")
        if 300 <= raw.status < 400 and (location := raw.headers.get("Location")):
            there = _leads_to(request.url, location)
            raise EngineError(f"{at}: answered {raw.status}, a redirect to {there}; set `url` to that address")
        if raw.status in _ABOUT_ONE:
            raise Refused(f"{at}: answered {raw.status} ({raw.message})")
        if raw.status >= 300:
            raise EngineError(f"{at}: answered {raw.status} ({raw.message}); look at `url`, `method` and `body`")
        try:
            return json.loads(raw.body)
        except ValueError as error:
            raise EngineError(f"{at}: the answer is no JSON but {raw.message!r}") from error
        except RecursionError:
            raise EngineError(f"{at}: the answer is nested too deeply to be read") from None


def _leads_to(url: str, location: str) -> str:
    """Return where a redirect leads, without user, password and query, as far as it may be shown."""
    try:
        parts = urlsplit(urljoin(url, location))
    except ValueError:
        return "what is no address"
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
