"""What a run costs us on the embedded model: memory and time per conversation, for few and for many conversations.

    python benchmarks/run_cost.py [--few 1000] [--many 10000]

Prints peak memory and seconds per conversation of the larger run as ratios to the smaller one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASK = Path(__file__).parents[1] / "tasks" / "rag" / "live" / "city_services.yaml"


def measure(count: int) -> tuple[float, float]:
    """Run so many conversations in a process of their own; return (peak memory in MB, seconds per conversation)."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "dgt_rag", str(TASK), f"num_outputs={count}", "--output-dir", folder, "--quiet"]
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=TASK.parents[3]
        )
        return int(done.stdout) / 1024, (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    args = parser.parse_args()
    few_memory, few_time = measure(args.few)
    many_memory, many_time = measure(args.many)
    print(f"{args.few} conversations: peak {few_memory:.0f} MB, {few_time * 1000:.1f} ms each")
    print(f"{args.many} conversations: peak {many_memory:.0f} MB, {many_time * 1000:.1f} ms each")
    print(
        f"memory ratio {many_memory / few_memory:.2f} (at most 1.2), time ratio {many_time / few_time:.2f} (at most about 1)"
    )


if __name__ == "__main__":
    main()
