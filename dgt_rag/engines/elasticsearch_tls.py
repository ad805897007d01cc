"""Trust in a cluster by TLS: an authority that is known by its fingerprint alone, and what a failed handshake means."""

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from dgt_rag.errors import Busy, EngineError

_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""What OpenSSL calls an answer that is no TLS."""


def failed(place: str, said: str) -> Exception:
    """Return what a failed handshake means: a refusal, or `Busy` where the connection broke in the middle."""
    if "CERTIFICATE_VERIFY_FAILED" not in said:
        if any(name in said for name in _PLAIN):
            return EngineError(f"{place}: there is no TLS at this address ({said}); write http:// in `hosts`")
        return Busy("connection", f"{place}: cannot be reached ({said})")
    if "mismatch" in said:
        return EngineError(
            f"{place}: the certificate is that of another name ({said}); write a name that it holds in `hosts`"
        )
    return EngineError(f"{place}: the certificate is not trusted ({said}); name the authority's file in `ca_certs`")


async def trusting(place: str, hosts: Sequence[str], fingerprint: str, seconds: float) -> ssl.SSLContext:
    """Return a context that trusts the certificate of this fingerprint, which is taken from the first host that answers.

    Only what the fingerprint names is trusted, whoever sends it; signatures and names are then checked as ever.
    """
    wanted = fingerprint.replace(":", "").lower()
    chain = await _shown_by_any(place, hosts, seconds)
    prints = [hashlib.sha256(one).hexdigest() for one in chain]
    if wanted not in prints:
        raise EngineError(
            f"{place}: none of the certificates shown there has the fingerprint in `ca_fingerprint`; theirs are "
            f"{', '.join(prints)}; if yours is right and this is your cluster, name the authority's file in `ca_certs`"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # a server's own certificate is known by its fingerprint, whatever name stands in it
    context.check_hostname = wanted != prints[0]
    context.load_verify_locations(cadata=chain[prints.index(wanted)])
    return context


async def _shown_by_any(place: str, hosts: Sequence[str], seconds: float) -> list[bytes]:
    said = ""
    for host in hosts:
        try:
            async with asyncio.timeout(seconds):
                return await _shown(host)
        except ssl.SSLError as error:
            raise failed(place, str(error)) from None
        except TimeoutError:
            said = f"no answer in {seconds:g} s"
        except OSError as error:
            said = str(error)
    raise Busy("connection", f"{place}: cannot be reached ({said})")


async def _shown(host: str) -> list[bytes]:
    """Return the certificates that a host shows, its own first (DER); nothing of them is checked."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    address = urlsplit(host)
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=blind)
    try:
        return _chain(writer.get_extra_info("ssl_object"))
    finally:
        writer.transport.abort()


def _chain(handshake: Any) -> list[bytes]:
    if hasattr(handshake, "get_unverified_chain"):
        return [*handshake.get_unverified_chain()]
    # before Python 3.13 the same stands one door further in
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in handshake._sslobj.get_unverified_chain()]
