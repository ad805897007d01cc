"""What `search/file` takes to build, open, serve and sample at a size, beside tantivy alone, on a synthetic corpus.

    python benchmarks/search_scale.py SIZE [--builds 2] [--dir FOLDER]

Every step runs in a process of its own, so that its memory is its own. Builds take turns with builds of tantivy alone,
which reads and parses the same file; searches take turns with searches of tantivy alone on terms that are analysed.
`--builds 0` builds once, ours alone: for sizes at which only whether it works is asked.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from raw_libraries import Analysis, RawTantivy
from search_speed import Contest
from synthetic_corpus import queries, sentences, write

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.file import FileEngine
from dgt_rag.records import Hit
from dgt_rag.world import World

T = TypeVar("T")


class Built(NamedTuple):
    """What a build took: seconds, seconds of the processors, and the most memory of its own and in all, in MB."""

    wall: float
    cpu: float
    own: float
    peak: float


def memory() -> dict[str, float]:
    """Return this process's memory in MB: in all (Rss), its share of it (Pss), and what is no file's (Anonymous)."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {name: sizes[name] for name in ("Rss", "Pss", "Anonymous")}


def shown(sizes: dict[str, float]) -> str:
    """Return memory as a reader sees it."""
    return ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items())


def watched(work: Callable[[], object]) -> Built:
    """Do the work and look at the memory meanwhile."""
    most, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], memory()["Anonymous"])

    looking = threading.Thread(target=look)
    looking.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        work()
        took = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        over.set()
        looking.join()
    return Built(*took, most[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def build_raw(path: Path, folder: Path) -> Built:
    """Build tantivy's own index of a file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def work() -> None:
        with path.open(encoding="utf-8") as file:
            RawTantivy(folder, threads=2).build(json.loads(line) for line in file)

    return watched(work)


def build_ours(path: Path, folder: Path) -> Built:
    """Build the index of `search/file`."""
    shutil.rmtree(folder, ignore_errors=True)

    async def work() -> None:
        async with FileEngine(path=path, index_dir=folder).open(World()):
            pass

    return watched(lambda: asyncio.run(work()))


def serve(path: Path, folder: Path) -> list[str]:
    """Open the index, search, and say what memory that took."""

    async def work() -> list[str]:
        lines = [f"before opening: {shown(memory())}"]
        start = time.perf_counter()
        async with FileEngine(path=path, index_dir=folder).open(World()) as retriever:
            opened = time.perf_counter()
            await retriever.search(queries()[0], 5)
            lines.append(f"open {opened - start:.4f} s, first answer {time.perf_counter() - opened:.4f} s after it")
            for query in queries():
                await retriever.search(query, 5)
        return [*lines, f"serving, {len(queries())} searches done: {shown(memory())}"]

    return asyncio.run(work())


def sample(path: Path, folder: Path) -> list[str]:
    """Group and sample, and say what that took."""

    async def work() -> list[str]:
        lines, wanted = [], {"domain": next(iter(sentences()))}
        async with FileEngine(path=path, index_dir=folder).open(World()) as retriever:

            async def timed(what: str, call: Any) -> None:
                start = time.perf_counter()
                found = await call
                size = found if isinstance(found, int) else len(found)
                lines.append(f"{what}: {size:,} in {(time.perf_counter() - start) * 1e3:.1f} ms")

            await timed("count", retriever.count())
            await timed("groups by domain", retriever.groups("domain"))
            await timed("1,000 documents of all", retriever.sample(Dice("benchmark"), 1000))
            await timed("1,000 documents of one domain", retriever.sample(Dice("benchmark"), 1000, wanted))
            count = await retriever.count()
            await timed("documents by place", retriever.at(list(range(0, count, max(1, count // 1000)))))
            await timed("one search in one domain", retriever.search(queries()[0], 5, wanted))
        return [*lines, f"after that: {shown(memory())}"]

    return asyncio.run(work())


class Accompanied(Borrowing):
    """An engine whose caller is not alone on its event loop, as in a run: its searches leave the loop to others."""

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Search while another task waits."""
        other = asyncio.create_task(asyncio.Event().wait())
        try:
            return await self.lender.search(query, limit, where)
        finally:
            other.cancel()


def search(path: Path, folder: Path, raw: Path) -> list[str]:
    """Let searches take turns with those of tantivy alone."""

    async def work() -> list[str]:
        contest = Contest()
        async with FileEngine(path=path, index_dir=folder).open(World()) as retriever:
            contest.library("tantivy", RawTantivy(raw).search, Analysis())
            contest.engine("search/file", retriever)
            contest.engine("search/file, beside another task", Accompanied(retriever))
            await contest.run()
        return contest.lines()

    return asyncio.run(work())


def fresh(work: Callable[..., T], *args: Any) -> T:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def builds(path: Path, ours: Path, raw: Path, times: int) -> None:
    """Print what building takes, ours and tantivy's in turns."""
    ratios: list[tuple[float, float]] = []
    for _ in range(max(times, 1)):
        rows = {"tantivy alone": fresh(build_raw, path, raw)} if times else {}
        rows["search/file"] = fresh(build_ours, path, ours)
        for name, one in rows.items():
            print(f"build, {name}: {one.wall:.1f} s, CPU {one.cpu:.1f} s", end="; ")
            print(f"at most {one.own:.0f} MB own, {one.peak:.0f} MB in all", flush=True)
        if times:
            theirs, mine = rows.values()
            ratios.append((mine.wall / theirs.wall, mine.cpu / theirs.cpu))
    if ratios:
        wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"build over tantivy alone: {wall:.2f} by the clock, {cpu:.2f} by the processors")


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", type=int)
    parser.add_argument("--builds", type=int, default=2, help="how often both are built")
    parser.add_argument("--dir", type=Path, default=None, help="where corpus and indexes stand meanwhile")
    args = parser.parse_args()
    if args.dir:
        args.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.dir) as made:
        folder = Path(made)
        path, ours, raw = write(args.size, folder / "corpus.jsonl"), folder / "ours", folder / "raw"
        print(f"{args.size:,} passages, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        builds(path, ours, raw, args.builds)
        size = sum(one.stat().st_size for one in ours.rglob("*") if one.is_file())
        print(f"index and offsets: {size / 1e6:,.0f} MB")
        for work in (serve, sample):
            print(*fresh(work, path, ours), sep="\n", flush=True)
        if args.builds:
            print(*fresh(search, path, ours, raw), sep="\n")


if __name__ == "__main__":
    main()
