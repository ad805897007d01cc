"""How near a run comes to what its endpoint can serve: wall time of the calls over the ideal, nothing tuned.

    python benchmarks/endpoint_ceiling.py --server PATH [--capacity 64] [--conversations 300] [--latency 0.2]

Ideal: the larger of calls × latency / capacity and the longest conversation's own calls × latency.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from endpoint_yardstick import command, logged, longest_chain, outcomes, parser, task, yardstick


def main() -> None:
    args = parser(__doc__)
    args.add_argument("--capacity", type=int, default=64)
    args.add_argument("--conversations", type=int, default=300)
    args.add_argument("--latency", type=float, default=0.2)
    said = args.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log.jsonl"
        flags = ("--latency", str(said.latency), "--max-concurrent", str(said.capacity))
        with yardstick(said.server, log, *flags) as url:
            start = time.perf_counter()
            subprocess.run(command(task(folder, url, said.conversations)), check=False, capture_output=True)
            whole = time.perf_counter() - start
        rows = logged(log)
        wall = max(row["t_end"] for row in rows) - min(row["t_start"] for row in rows)
        ideal = max(len(rows) * said.latency / said.capacity, longest_chain(folder) * said.latency)
        print(
            f"{said.conversations} conversations, capacity {said.capacity}: {len(rows)} calls, {len(rows) / wall:.0f}/s"
        )
        print(f"calls {wall:.2f} s, ideal {ideal:.2f} s, ratio {wall / ideal:.3f}; whole command {whole:.2f} s")
        print(f"ended: {outcomes(folder)}")


if __name__ == "__main__":
    main()
