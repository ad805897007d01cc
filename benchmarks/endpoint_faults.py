"""What faults cost: nothing lost, nothing twice, every token accounted for; prints what was found, exits 1 if not so.

    python benchmarks/endpoint_faults.py --server PATH [--conversations 300] [--kills 20]

Three scenes: 10 % each of 429, 500, garbage and cut-off replies and 2 % of calls that hang; the server killed and
started three times; our process killed at random moments. The last two must end with the rows of an undisturbed run.
"""

import random
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from endpoint_yardstick import command, logged, outcomes, parser, task, yardstick

FAULTS = [
    *("--fault-rate-429", "0.1", "--fault-rate-500", "0.1", "--fault-rate-garbage", "0.1"),
    *("--fault-rate-truncate", "0.1", "--fault-rate-timeout", "0.02"),
]


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rows(folder: Path) -> bytes:
    return (folder / "output" / "yardstick" / "final_data.jsonl").read_bytes()


def spent(folder: Path) -> tuple[int, int]:
    import sqlite3

    with sqlite3.connect(folder / "output" / "yardstick" / "calls.sqlite") as calls:
        count, tokens = calls.execute("SELECT count(*), sum(completion_tokens) FROM calls").fetchone()
    return int(count), int(tokens)


def faulty(server: Path, count: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with yardstick(server, folder / "log", "--latency", "0.05", "--max-concurrent", "64", *FAULTS) as url:
            start = time.perf_counter()
            done = subprocess.run(
                command(task(folder, url, count, retry={"timeout": 3})), check=False, capture_output=True
            )
        served = [row for row in logged(folder / "log") if row["status"] == 200 and row["t_run"] and not row["aborted"]]
        theirs = (len(served), sum(row["completion_tokens"] for row in served))
        ended = outcomes(folder)
        print(f"faults: {count} conversations in {time.perf_counter() - start:.0f} s, exit {done.returncode}: {ended}")
        print(f"  replies and tokens: ours {spent(folder)}, the server's {theirs}")
        return sum(ended.values()) >= count and spent(folder) == theirs and b"Traceback" not in done.stderr


def undisturbed(server: Path, count: int) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with yardstick(server, folder / "log", "--latency", "0.05", "--max-concurrent", "64") as url:
            subprocess.run(command(task(folder, url, count)), check=False, capture_output=True)
        return rows(folder)


def restarted(server: Path, count: int, wanted: bytes) -> bool:
    place = port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ("--latency", "0.05", "--max-concurrent", "64")
        path = task(folder, f"http://127.0.0.1:{place}/v1", count)
        with yardstick(server, folder / "log", *flags, port=place):
            run = subprocess.Popen(command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(3)
        for _ in range(3):
            time.sleep(1)
            with yardstick(server, folder / "log", *flags, port=place):
                time.sleep(1.5)
        with yardstick(server, folder / "log", *flags, port=place):
            run.wait(600)
        print(f"server killed and started again: exit {run.returncode}, same rows: {rows(folder) == wanted}")
        return rows(folder) == wanted


def killed(server: Path, count: int, kills: int, wanted: bytes) -> bool:
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with yardstick(server, folder / "log", "--latency", "0.05", "--max-concurrent", "64") as url:
            path = task(folder, url, count)
            for _ in range(kills):
                run = subprocess.Popen(command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1 + draw.random())
                run.send_signal(signal.SIGKILL)
                run.wait()
            done = subprocess.run(command(path), check=False, capture_output=True)
        calls = len(logged(folder / "log"))
        same = rows(folder) == wanted
        print(
            f"our process killed {kills} times: exit {done.returncode}, same rows: {same}; {calls} calls reached the server, {spent(folder)[0]} kept"
        )
        return same


def main() -> None:
    args = parser(__doc__)
    args.add_argument("--conversations", type=int, default=300)
    args.add_argument("--kills", type=int, default=20)
    said = args.parse_args()
    good = [faulty(said.server, said.conversations)]
    wanted = undisturbed(said.server, said.conversations)
    good.append(restarted(said.server, said.conversations, wanted))
    good.append(killed(said.server, said.conversations, said.kills, wanted))
    raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
