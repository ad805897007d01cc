"""How long the program takes to start, against `import pydantic, yaml` (the bound is 2).

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import pydantic, yaml": ["-c", "import pydantic, yaml"],
    "dgt-rag --help": ["-m", "dgt_rag", "--help"],
    "dgt-rag --version": ["-m", "dgt_rag", "--version"],
    "dgt-rag list": ["-m", "dgt_rag", "list"],
    "dgt-rag explain search/file": ["-m", "dgt_rag", "explain", "search/file"],
}
ROUNDS = 15


def seconds(words):
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main():
    # rounds are interleaved, so that what else the machine does meets all alike
    times = [{name: seconds(words) for name, words in COMMANDS.items()} for _ in range(ROUNDS)]
    base = statistics.median(found["import pydantic, yaml"] for found in times)
    for name in COMMANDS:
        median = statistics.median(found[name] for found in times)
        print(f"{name:<28} {median * 1000:6.0f} ms   {median / base:5.2f} ×")


if __name__ == "__main__":
    main()
