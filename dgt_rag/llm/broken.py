"""What a connection that failed means: what is in the way, and whether waiting helps."""

import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from dgt_rag.errors import Busy, ModelClosed
from dgt_rag.llm.address import shown
from dgt_rag.llm.refusals import one_line


def broken(error: Exception, name: str, url: str, reached: bool) -> Exception:
    """Return what a failed connection means to an address; one that was never reached will not come by waiting."""
    from aiohttp import ClientConnectorDNSError, ClientHttpProxyError, ClientProxyConnectionError, InvalidURL
    from httpx2 import TooManyRedirects

    causes = list(_causes(error))
    for cause in causes:
        elsewhere = isinstance(cause, ClientConnectorDNSError) and cause.host != urlsplit(url).hostname
        if elsewhere or isinstance(cause, ClientProxyConnectionError | ClientHttpProxyError):
            return _proxy(cause, name, url, reached)
        if isinstance(cause, TooManyRedirects):
            return ModelClosed(f"{name}: is sent from one address to the next without end; check `base_url`")
        if isinstance(cause, InvalidURL) and not reached:
            return ModelClosed(f"{name}: not an address; check `base_url`")
        if isinstance(cause, socket.gaierror) and not reached:
            return ModelClosed(f"{name}: no such host; check `base_url` and the network")
    if not reached and (reasons := [cause for cause in causes if isinstance(cause, ssl.SSLError)]):
        return ModelClosed(f"{name}: no secure connection ({_reason(reasons[-1])}); check https:// and certificates")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Busy("connection", f"{name}: nothing listens there; is the server running?")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        plain = "; does it speak https?" if url.startswith("https:") and not reached else ""
        return Busy("connection", f"{name}: no connection in time{plain}")
    secure = "; does it speak https only?" if url.startswith("http:") and not reached else ""
    return Busy("connection", f"{name}: the connection broke ({type(causes[-1]).__name__}){secure}")


def _proxy(error: BaseException, name: str, url: str, reached: bool) -> Exception:
    """Return what a proxy means that does not let us through; it stands in the environment, not in the task."""
    scheme = url.partition(":")[0]
    kinds = (f"{scheme}_proxy", "all_proxy")
    variable = next((one for kind in kinds for one in os.environ if one.lower() == kind), kinds[0].upper())
    status, said = getattr(error, "status", None), getattr(error, "message", "")
    why = f"answered {status} {said}".rstrip() if status else "cannot be reached"
    place = os.environ.get(variable, "")
    line = (
        f"{name}: the proxy {one_line(shown(place) if '//' in place else place)} of the environment variable {variable} {one_line(why)}; "
        "mend or unset that, or name the host in NO_PROXY"
    )
    return Busy("connection", line) if reached else ModelClosed(line)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, inner errors of the HTTP library as well."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        for inner in (getattr(seen, "os_error", None), getattr(seen, "certificate_error", None)):
            if isinstance(inner, BaseException):
                yield inner
        seen = seen.__cause__ or seen.__context__


def _reason(error: ssl.SSLError) -> str:
    said = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return one_line(said.replace("_", " ").lower() if said.isupper() else said)
