"""The file engine: its index is made once, follows the corpus, and never half-written."""

import asyncio
import gc
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from operator import neg
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgt_rag.dice import Dice
from dgt_rag.engines.analysis import Language, prepare
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.index import IndexBuilder
from dgt_rag.errors import EngineError
from dgt_rag.records import Document
from dgt_rag.testing import corpus, write_corpus
from dgt_rag.world import World

ROOT = Path(__file__).resolve().parent.parent
WORDS = [f"{a}{b}" for a in ("ta", "ro", "mi", "ke", "lu") for b in ("ban", "cor", "del", "fin", "gor", "hul")]


def many(count):
    for number in range(count):
        dice = Dice("many", number)
        body = " ".join(dice.choose(WORDS) for _ in range(30))
        yield Document(doc_id=f"d{number}", body=body, domain=f"g{number % 7}", metadata={"lot": {"n": number % 500}})


@pytest.fixture
def path(tmp_path):
    return write_corpus(corpus(), tmp_path / "corpus.jsonl")


async def ids(engine, query="office form", limit=3, **where):
    said = []
    async with engine.open(World(say=said.append)) as retriever:
        return [hit.document.doc_id for hit in await retriever.search(query, limit, where)], said


def made(path):
    """Return the finished indexes beside a corpus, with the times of their manifests."""
    return {folder.parent.name: folder.stat().st_mtime_ns for folder in Path(f"{path}.dgt").glob("*/manifest.json")}


def left_over(folder):
    return [one.name for one in folder.iterdir() if ".tmp-" in one.name or ".old-" in one.name or ".part-" in one.name]


SCRIPT = """
import asyncio, sys, resource
from dgt_rag.engines.analysis import Language
from dgt_rag.engines.file import FileEngine
from dgt_rag.errors import DgtError
from dgt_rag.world import World

async def main():
    async with FileEngine(path=sys.argv[1], **eval(sys.argv[2])).open(World(say=lambda line: print(line, flush=True))) as one:
        print("open", await one.count(), flush=True)

if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    asyncio.run(main())
except DgtError as error:
    print("refused:", error, flush=True)
"""


def process(path, limit=None, **settings):
    arguments = [sys.executable, "-c", SCRIPT, str(path), repr(settings), *([str(limit)] if limit else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


async def test_the_index_is_made_once_and_found_again(path):
    first, _ = await ids(FileEngine(path=path))
    before = made(path)
    assert (await ids(FileEngine(path=path)))[0] == first
    assert made(path) == before
    assert len(before) == 1


async def test_a_corpus_replaced_by_one_of_the_same_size_and_time_is_indexed_anew(path):
    await ids(FileEngine(path=path))
    before, other = path.stat(), path.with_name("other")
    other.write_text(path.read_text().replace("kerb", "lamp"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (await ids(FileEngine(path=path), "lamp"))[0] and not (await ids(FileEngine(path=path), "kerb"))[0]


async def test_a_corpus_that_was_moved_with_its_index_keeps_it(path):
    await ids(FileEngine(path=path))
    before = {name: (Path(f"{path}.dgt") / name / "offsets").stat().st_ino for name in made(path)}
    path.chmod(0o600)
    path.rename(path.with_name("elsewhere"))
    path.with_name("elsewhere").rename(path)
    assert (await ids(FileEngine(path=path)))[0]
    assert {name: (Path(f"{path}.dgt") / name / "offsets").stat().st_ino for name in made(path)} == before


async def test_a_changed_corpus_is_indexed_anew_and_a_touched_one_is_not(path):
    await ids(FileEngine(path=path))
    before = made(path)
    size = path.stat().st_size
    os.utime(path, ns=(1, 1))
    await ids(FileEngine(path=path))
    (home,) = made(path)
    assert (path.parent / "corpus.jsonl.dgt" / home / "offsets").stat().st_mtime_ns < next(iter(made(path).values()))
    path.write_text(path.read_text().replace("amber", "zebra"))
    assert path.stat().st_size == size
    assert (await ids(FileEngine(path=path), "zebra"))[0]
    assert (await ids(FileEngine(path=path), "amber"))[0] == []
    assert list(made(path)) == list(before)
    assert not left_over(path.parent / "corpus.jsonl.dgt")


async def test_other_settings_get_an_index_of_their_own(path):
    for keys in ({}, {"language": "none"}, {"projection": {"body": "title"}}, {"on_bad_line": "skip"}):
        await ids(FileEngine(path=path, **keys))
    before = made(path)
    assert len(before) == 4
    for keys in ({}, {"language": "none"}, {"limit": 9}, {"filter": {"domain": "waste"}}):
        await ids(FileEngine(path=path, **keys))
    assert made(path) == before


async def test_a_language_changes_what_is_found(tmp_path):
    texts = {
        "de": "Die Häuser der Stadt werden vermietet.",
        "zh": "停车许可证在市政厅领取。",
        "en": "Renewing a permit",
    }
    made = write_corpus([Document(doc_id=k, body=v) for k, v in texts.items()], tmp_path / "c.jsonl")
    assert (await ids(FileEngine(path=made, language="german"), "ein Haus vermieten"))[0] == ["de"]
    assert (await ids(FileEngine(path=made, language="none"), "renew"))[0] == []
    assert (await ids(FileEngine(path=made), "renew"))[0] == ["en"]
    for language in ("english", "none", "german", "chinese"):
        assert (await ids(FileEngine(path=made, language=language), "许可证"))[0] == ["zh"]


@pytest.mark.parametrize("language", get_args(Language))
async def test_every_language_finds_its_own_words(language):
    made = [{"id": "1", "text": "Straße café permit λόγος слово 単語 단어"}, {"id": "2", "text": "other"}]
    async with InMemoryEngine(corpus=made, language=language).open(World()) as retriever:
        for query in ("Straße", "CAFÉ", "λόγος", "слово", "単語", "단어", "permit"):
            assert [hit.document.doc_id for hit in await retriever.search(query, 5)] == ["1"], query


async def test_a_corpus_changed_under_an_open_index_is_noticed(path):
    async with FileEngine(path=path).open(World()) as retriever:
        assert await retriever.search("office", 3)
        with path.open("a") as file:
            file.write("\n")
        for call in (retriever.search("office", 3), retriever.sample(Dice("x"), 2), retriever.at([0])):
            with pytest.raises(EngineError, match="was changed while it was in use; start again"):
                await call
        path.unlink()
        with pytest.raises(EngineError, match="the corpus is gone"):
            await retriever.search("office", 3)


async def test_both_engines_answer_alike_beyond_what_is_done_inline(tmp_path):
    path = write_corpus(list(many(3000)), tmp_path / "c.jsonl")
    file, memory = FileEngine(path=path), InMemoryEngine(path=path)
    queries = [" ".join(Dice("q", n).sample(WORDS, 3)) for n in range(20)]
    wheres = (None, {"domain": "g3"}, {"lot.n": 77}, {"lot.n": list(range(400))}, {"domain": "g1", "lot.n": [1, 8, 15]})
    async with file.open(World()) as one, memory.open(World()) as other:
        for where in wheres:
            for query in queries:
                assert await one.search(query, 5, where) == await other.search(query, 5, where), (query, where)
            assert await one.sample(Dice(1), 9, where) == await other.sample(Dice(1), 9, where)
            assert await one.count(where) == await other.count(where)
        assert await one.groups("lot.n") == await other.groups("lot.n")
        assert [d.doc_id async for d in one.documents()] == [f"d{n}" for n in range(3000)]
    async with FileEngine(path=path, filter={"domain": "g2"}).open(World()) as some:
        assert [d.doc_id async for d in some.documents()][:2] == ["d2", "d9"]
        assert (await some.at([1]))[0].doc_id == "d9"


async def test_a_search_of_many_documents_leaves_the_loop_to_others():
    async with InMemoryEngine(corpus=list(many(3000))).open(World()) as retriever:
        asked, turns = asyncio.ensure_future(retriever.search(WORDS[0], 5, {"domain": "g3"})), 0
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1 and len(await asked) == 5


async def test_a_search_of_very_many_documents_leaves_the_loop_to_others_if_there_are_any(tmp_path):
    async with FileEngine(path=write_corpus(list(many(100_001)), tmp_path / "c.jsonl")).open(World()) as retriever:
        with pytest.raises(StopIteration) as at_once:
            retriever.search(WORDS[0], 5).send(None)
        asked, turns = asyncio.ensure_future(retriever.search(WORDS[0], 5)), 0
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1 and len(await asked) == 5 and await asked == at_once.value.value


async def test_an_engine_that_is_closed_has_nothing_that_still_reads(tmp_path):
    path = write_corpus(list(many(3000)), tmp_path / "c.jsonl")
    async with FileEngine(path=path).open(World()) as retriever:
        given_up = asyncio.ensure_future(retriever.groups("lot.n"))
        while not (reading := [one for one in threading.enumerate() if one.name.startswith("search")]):
            await asyncio.sleep(0)
        given_up.cancel()
    assert not any(one.is_alive() for one in reading)


def test_an_index_answers_alike_however_its_writers_ordered_it():
    indexes = []
    for threads in (1, 2):
        builder = IndexBuilder("english", threads=threads)
        for document in many(3000):
            builder.add(document.title, document.body, document.domain)
        # two writers make two parts, whose places are not the ordinals
        indexes.append(builder.finish(range(3000)))
    for number in range(50):
        words = Dice("q", number).sample(WORDS, 3)
        for limit in (1, 5, 40, 3000, 5000):
            query = " ".join([*words, words[0]])
            scores = [index.best(index.query(index.terms(query)), limit)[:2] for index in indexes]
            one, other = (sorted(zip(map(neg, each[0]), each[1], strict=True))[:limit] for each in scores)
            assert one == other, (words, limit)


@pytest.mark.parametrize("sign", ["\u0e01", "\u0ec0", "\u1000", "\u1780", "\u3042", "\u4e2d", "\uac00", "\U00020000"])
def test_signs_that_are_written_without_spaces_are_found_alone_and_in_pairs_whatever_stands_beside_them(sign):
    assert prepare(f"é {sign}{sign} \u2013 x").split() == ["é", sign, sign, sign * 2, "\u2013", "x"]
    assert prepare(f"é\ud800{sign}").split() == ["é\ufffd", sign]


def test_a_word_of_the_title_counts_twice():
    builder = IndexBuilder("english")
    builder.add("", "amber bridge stone harbour", "")
    builder.add("amber", "bridge stone harbour", "")
    builder.add("", "amber amber bridge stone harbour", "")
    index = builder.finish()
    scores, ordinals, tied = index.best(index.query(index.terms("amber")), 3)
    assert (ordinals, tied) == ([1, 2, 0], True)
    assert scores[0] == scores[1] > scores[2]


def test_what_is_tied_with_the_last_hit_is_found_however_much_it_is():
    builder = IndexBuilder("english")
    for number in range(500):
        builder.add("", "amber bridge" if number % 5 else "amber amber bridge", "")
    index = builder.finish()
    query = index.query(index.terms("amber"))
    assert index.best(query, 100)[1] == list(range(0, 500, 5))
    assert [len(column) for column in index.best(query, 99)[:2]] == [100, 100]
    assert [len(column) for column in index.best(query, 101)[:2]] == [500, 500]
    few = bytearray(number in {3, 5, 9} for number in range(500))
    assert index.best(query, 1, few, 166)[1] == [5]
    assert index.best(query, 2, few, 166)[1] == [5, 3, 9]


@pytest.mark.parametrize("engine", [FileEngine, InMemoryEngine])
async def test_a_word_of_all_documents_still_ranks_them_and_ties_go_by_id(engine, tmp_path):
    length = {n: 1 + n % 3 * 20 for n in range(6000)}
    documents = [Document(doc_id=f"d{n * 7919 % 6000:04}", body="amber " + "bridge " * length[n]) for n in length]
    path = write_corpus(documents, tmp_path / "c.jsonl")
    async with engine(path=path).open(World()) as retriever:
        hits = await retriever.search("amber", 2500)
    short = sorted(document.doc_id for document in documents if len(document.body) < 20)
    assert [hit.document.doc_id for hit in hits[:2000]] == short
    assert hits[0].score == hits[1999].score > hits[2000].score > 0
    rest = [hit.document.doc_id for hit in hits[2000:]]
    assert rest == sorted(document.doc_id for document in documents if 100 < len(document.body) < 200)[:500]


BODIES = st.sampled_from(
    ["amber", "amber bridge", "bridge amber", "amber amber bridge", "stone amber bridge " * 9, "stone"]
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text("abc019", min_size=1, max_size=4), BODIES, min_size=1), st.integers(1, 12))
def test_whatever_order_a_corpus_has_the_best_few_are_the_first_of_all_and_ties_go_by_id(bodies, limit):
    documents = [Document(doc_id=name, body=body) for name, body in bodies.items()]

    async def found(engine):
        async with engine.open(World()) as retriever:
            return [await retriever.search("amber bridge", most) for most in (limit, len(documents))]

    with tempfile.TemporaryDirectory() as folder:
        path = write_corpus(documents, Path(folder) / "c.jsonl")
        few, whole = asyncio.run(found(InMemoryEngine(path=path)))
        assert [few, whole] == asyncio.run(found(FileEngine(path=path)))
    order = [(-hit.score, hit.document.doc_id) for hit in whole]
    assert order == sorted(order)
    assert few == whole[:limit]


async def test_texts_of_the_same_words_are_tied_however_many_words_are_asked_for(tmp_path):
    # sums of many parts differ in their last bits with the order in which they are made
    words = "amber bridge stone harbour quiet lantern meadow copper".split()
    dice = Dice("permuted")
    bodies = [" ".join(dice.sample(words, 8 - n % 3)) for n in range(400)]
    documents = [Document(doc_id=f"d{n * 7919 % 400}", body=body) for n, body in enumerate(bodies)]
    path = write_corpus(documents, tmp_path / "c.jsonl")
    async with InMemoryEngine(path=path).open(World()) as one, FileEngine(path=path).open(World()) as other:
        for number in range(60):
            query = " ".join(Dice("asked", number).sample(words, 6))
            whole = await one.search(query, 400)
            order = [(-hit.score, hit.document.doc_id) for hit in whole]
            assert order == sorted(order)
            for limit in (1, 5, 30, 400):
                assert await one.search(query, limit) == await other.search(query, limit) == whole[:limit]


def test_a_word_that_is_asked_twice_counts_twice():
    builder = IndexBuilder("english")
    for body in ("amber stone", "bridge stone", "stone meadow"):
        builder.add("", body, "")
    index = builder.finish()

    def score(query, ordinal):
        scores, ordinals, _ = index.best(index.query(index.terms(query)), 3)
        return dict(zip(ordinals, scores, strict=True))[ordinal]

    assert score("amber amber bridge", 0) == pytest.approx(2 * score("amber bridge", 0), abs=2e-4)
    assert score("amber amber bridge", 1) == pytest.approx(score("amber bridge", 1), abs=2e-4)


async def test_text_is_found_however_its_accents_are_written(tmp_path):
    written = {
        "ecole": "L'e\u0301cole ferme",
        "pool": "\uff8c\uff9f\uff70\uff99 \u306f\u4f11\u307f",
        "office": "the o\ufb03ce is shut",
    }
    path = write_corpus([Document(doc_id=key, body=body) for key, body in written.items()], tmp_path / "c.jsonl")
    for query, key in (("\u00e9cole", "ecole"), ("\u30d7\u30fc\u30eb", "pool"), ("office", "office")):
        found, _ = await ids(FileEngine(path=path, language="none"), query)
        assert found == [key]


@contextmanager
def may_only_be_read(folder):
    """Take away the right to write in a folder, and, from root, what root may do all the same."""
    for one in (folder, *folder.rglob("*")):
        one.chmod(0o555 if one.is_dir() else 0o444 if one.name[0] != "." else 0o600)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for one in folder.rglob("*"):
            one.chmod(0o755)
        folder.chmod(0o755)


@pytest.mark.parametrize("touched", [False, True])
async def test_an_index_that_others_made_is_opened_by_whoever_may_only_read_it(tmp_path, touched):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_corpus(corpus(), folder / "corpus.jsonl")
        found = await ids(FileEngine(path=path))
        if touched:
            # as a copy or an image that does not keep times
            os.utime(path)
        with may_only_be_read(folder):
            assert await ids(FileEngine(path=path)) == found


async def test_a_corpus_replaced_under_an_index_that_may_only_be_read_is_not_answered_from_what_it_was(tmp_path):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_corpus(corpus(), folder / "corpus.jsonl")
        await ids(FileEngine(path=path))
        before, text = path.stat(), path.read_text()
        path.write_text(text.replace("permit", "parmit"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size and path.read_text() != text
        with may_only_be_read(folder), pytest.raises(EngineError, match="its index cannot be written in"):
            await ids(FileEngine(path=path))


def removed(file):
    file.unlink()


def cut(file):
    os.truncate(file, file.stat().st_size // 8 * 4)


def emptied(file):
    file.write_bytes(b"")


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("part", "damage"),
    [
        *(("offsets", damage) for damage in (removed, cut, emptied, zeroed)),
        *(("lines.jsonl", damage) for damage in (removed, cut, emptied)),
        ("index", shutil.rmtree),
        *(("manifest.json", damage) for damage in (removed, cut, emptied)),
    ],
)
async def test_an_index_with_a_part_cut_or_taken_away_is_made_anew(part, damage, packed, path):
    if packed:
        path.with_name("c.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_name("c.jsonl.gz")
    elif part == "lines.jsonl":
        return
    found = await ids(FileEngine(path=path))
    (one,) = Path(f"{path}.dgt").glob(f"*/{part}")
    damage(one)
    assert await ids(FileEngine(path=path)) == found


@pytest.mark.parametrize("key", ["size", "changed", "digest", "documents", "skipped"])
async def test_an_index_with_a_manifest_of_another_kind_is_made_anew(key, path):
    found = await ids(FileEngine(path=path))
    (manifest,) = Path(f"{path}.dgt").glob("*/manifest.json")
    whole = json.loads(manifest.read_text())
    for known in ({}, [], {name: whole[name] for name in whole if name != key}, {**whole, key: None}):
        manifest.write_text(json.dumps(known))
        assert await ids(FileEngine(path=path)) == found
        assert json.loads(manifest.read_text()).keys() == whole.keys()


@pytest.mark.parametrize("name", ["ordinals", "names"])
@pytest.mark.parametrize("damage", [removed, cut, emptied, lambda file: file.write_text("{}")])
async def test_groups_that_are_cut_or_taken_away_are_made_anew(name, damage, tmp_path):
    path = write_corpus(list(many(3000)), tmp_path / "c.jsonl")

    async def seen():
        async with FileEngine(path=path).open(World()) as retriever:
            where = {"lot.n": 77}
            hits = [hit.document.doc_id for hit in await retriever.search(" ".join(WORDS), 9, where)]
            return hits, await retriever.groups("lot.n"), await retriever.sample(Dice(1), 9, where)

    first = await seen()
    assert sorted(first[0]) == ["d1077", "d1577", "d2077", "d2577", "d577", "d77"]
    kept = [one for one in Path(f"{path}.dgt").glob("*/groups-*") if (one.suffix == ".json") == (name == "names")]
    before = {one: one.read_bytes() for one in kept}
    for one in kept:
        damage(one)
    assert await seen() == first
    asked = [one for one in kept if one.exists() and one.read_bytes() == before[one]]
    assert len(kept) == 2 and len(asked) == 1


async def test_groups_whose_names_point_past_the_end_are_made_anew(path):
    async with FileEngine(path=path).open(World()) as retriever:
        groups = await retriever.groups("year")
    for bounds in ({"2021": [0, 4000]}, {"2021": [5, 2]}, {"2021": [-1, 2]}, {"2021": 5}, [1], None):
        for names in Path(f"{path}.dgt").glob("*/groups-*.json"):
            names.write_text(json.dumps({**json.loads(names.read_text()), "bounds": bounds}))
        async with FileEngine(path=path).open(World()) as retriever:
            assert await retriever.groups("year") == groups


@pytest.mark.parametrize("kept", [True, False], ids=["writable", "read-only"])
async def test_a_corpus_that_may_no_more_be_read_is_refused_in_one_line(kept):
    with tempfile.TemporaryDirectory() as name:
        path = write_corpus(corpus(), Path(name) / "corpus.jsonl")
        Path(name).chmod(0o755)
        await ids(FileEngine(path=path))
        path.chmod(0)
        (manifest,) = Path(f"{path}.dgt").glob("*/manifest.json")
        manifest.parent.chmod(0o777 if kept else 0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(EngineError, match=f"^{path}: cannot be read: Permission denied$"):
                await ids(FileEngine(path=path))
        finally:
            if root:
                os.seteuid(0)
            manifest.parent.chmod(0o755)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are not counted on this system")
@pytest.mark.parametrize("broken", [False, True])
async def test_an_engine_that_was_opened_or_could_not_be_leaves_no_file_open(broken, path):
    async def opened(times):
        for _ in range(times):
            if broken:
                with pytest.raises(EngineError, match="the index cannot be opened"):
                    await ids(FileEngine(path=path))
            else:
                await ids(FileEngine(path=path))
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    await ids(FileEngine(path=path))
    if broken:
        for meta in Path(f"{path}.dgt").glob("*/index/meta.json"):
            meta.write_text("x")
    first = await opened(1)
    assert await opened(50) <= first


async def test_whoever_waited_for_the_lock_looks_again_and_does_not_build(path):
    async def opened():
        async with FileEngine(path=path).open(World()) as retriever:
            await retriever.search("office", 1)
            (offsets,) = Path(f"{path}.dgt").glob("*/offsets")
            return offsets.stat().st_ino, offsets.stat().st_mtime_ns

    assert len(set(await asyncio.gather(*(opened() for _ in range(3))))) == 1


async def test_a_corpus_that_grows_while_it_is_indexed_is_refused(tmp_path):
    path = write_corpus(list(many(20_000)), tmp_path / "c.jsonl")
    opening = asyncio.create_task(ids(FileEngine(path=path)))
    while not list(tmp_path.glob("c.jsonl.dgt/*.tmp-*")):
        await asyncio.sleep(0)
    with path.open("a") as file:
        file.write('{"id": "late", "text": "an office form"}\n')
    with pytest.raises(EngineError, match="the corpus was changed while it was indexed; start again"):
        await opening
    assert list(tmp_path.iterdir()) == [path]
    assert (await ids(FileEngine(path=path)))[0] == ["late"]


@pytest.mark.parametrize("lots", [[8, 400], [400, 8]])
async def test_documents_of_two_groups_stand_in_the_order_of_the_corpus(lots, tmp_path):
    path = write_corpus(list(many(3000)), tmp_path / "c.jsonl")
    ascending = [f"d{number}" for number in range(3000) if number % 500 in lots]
    drawn = [ascending[place] for place in Dice("two").sample(range(len(ascending)), 7)]
    where = {"lot.n": lots}
    async with FileEngine(path=path).open(World()) as whole, FileEngine(path=path, filter=where).open(World()) as some:
        assert [one.doc_id for one in await some.at(list(range(len(ascending))))] == ascending
        assert [one.doc_id async for one in some.documents()] == ascending
        assert [one.doc_id for one in await whole.sample(Dice("two"), 7, where)] == drawn
        assert [one.doc_id for one in await some.sample(Dice("two"), 7)] == drawn


async def test_a_corpus_read_in_another_way_is_another_corpus(path):
    async def mark(**settings):
        async with FileEngine(path=path, **settings).open(World()) as retriever:
            return await retriever.fingerprint()

    titles = {"doc_id": "id", "body": "title", "title": "text"}
    assert await mark() == await mark(limit=2) == await mark(language="german")
    assert len({await mark(), await mark(projection=titles), await mark(on_bad_line="skip")}) == 3


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.json", "c.csv"])
async def test_packed_and_other_formats_are_copied_once_and_served_alike(name, path, tmp_path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    other = tmp_path / name
    if name == "c.jsonl.gz":
        other.write_bytes(gzip.compress(path.read_bytes()))
    elif name == "c.json":
        other.write_text(json.dumps(records))
    else:
        quoted = [
            ",".join('"' + str(record[key]).replace('"', '""') + '"' for key in ("id", "title", "text"))
            for record in records
        ]
        other.write_text("id,title,text\n" + "\n".join(quoted))
    assert (await ids(FileEngine(path=other)))[0] == (await ids(FileEngine(path=path)))[0]
    assert (await ids(FileEngine(path=other), "pools iris", 5))[0] == (
        await ids(FileEngine(path=path), "pools iris", 5)
    )[0]


async def test_what_was_skipped_is_told_whenever_the_index_is_opened(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "a", "text": "an office form"}\n{"id": "", "text": "an office form"}\n')
    for _ in range(2):
        found, said = await ids(FileEngine(path=path))
        assert found == ["a"]
        assert said == [f"{path}: skipped 1 document: the field 'id' (doc_id) is empty (at 2)"]


async def test_skipped_lines_between_documents_are_not_served(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"id":"a","text":"one"}\n\nnot json\n{"id":"b","text":""}\r\n{"id":"c","text":"three"}\nbroken')
    engine = FileEngine(path=path, on_bad_line="skip")
    said = []
    async with engine.open(World(say=said.append)) as retriever:
        assert [d.body async for d in retriever.documents()] == ["one", "three"]
        assert [d.body for d in await retriever.at([1, 0])] == ["three", "one"]
    assert any("not JSON (at 3, 6)" in line for line in said)
    with pytest.raises(EngineError, match=f"{path}:3: not JSON"):
        await ids(FileEngine(path=path))
    assert not left_over(tmp_path / "c.jsonl.dgt")


async def test_groups_are_kept_beside_the_index(path):
    async with FileEngine(path=path).open(World()) as retriever:
        groups = await retriever.groups("source.category")
    kept = len(list((path.parent / "corpus.jsonl.dgt").glob("*/groups-*.json")))
    assert kept == 2
    async with FileEngine(path=path).open(World()) as retriever:
        assert await retriever.groups("source.category") == groups


async def test_files_of_one_name_may_share_a_folder_for_their_indexes(tmp_path):
    engines = {}
    for name, documents in (("few", corpus()[:9]), ("all", corpus())):
        (tmp_path / name).mkdir()
        file = write_corpus(documents, tmp_path / name / "documents.jsonl")
        engines[name] = FileEngine(path=file, index_dir=tmp_path / "indexes")
    for _ in range(2):
        async with engines["few"].open(World()) as few, engines["all"].open(World()) as every:
            assert sum((await few.groups("year")).values()) == await few.count() == 9
            assert sum((await every.groups("year")).values()) == await every.count() == 40
            assert all(one.field("year") == 2021 for one in await every.sample(Dice("y"), 20, {"year": 2021}))
    assert len(list((tmp_path / "indexes").glob("*/manifest.json"))) == 2


async def test_groups_of_a_corpus_that_was_replaced_meanwhile_are_not_taken_for_those_of_the_new_one(path):
    async with FileEngine(path=path).open(World()) as behind:
        write_corpus(corpus()[:9], path.with_name("new")).replace(path)
        async with FileEngine(path=path).open(World()) as ahead:
            with pytest.raises(EngineError, match="the corpus was changed while it was in use"):
                await behind.groups("year")
            assert sum((await ahead.groups("year")).values()) == 9


async def test_a_corpus_that_cannot_be_indexed_leaves_nothing_beside_it(path):
    path.write_text('{"id": "a"}\n')
    with pytest.raises(EngineError, match="no document is left"):
        await ids(FileEngine(path=path))
    assert list(path.parent.iterdir()) == [path]
    own = path.parent / "own"
    own.mkdir(mode=0o710)
    with pytest.raises(EngineError, match="no document is left"):
        await ids(FileEngine(path=path, index_dir=own))
    assert not list(own.iterdir())
    write_corpus(corpus(), path)
    assert len(await asyncio.gather(*(ids(FileEngine(path=path)) for _ in range(4)))) == 4


async def test_a_filter_that_leaves_nothing_is_refused(path):
    with pytest.raises(EngineError, match="no document of the corpus has"):
        await ids(FileEngine(path=path, filter={"domain": "nowhere"}))


async def test_a_folder_that_cannot_be_written_is_refused_in_one_line(path):
    with pytest.raises(EngineError) as caught:
        await ids(FileEngine(path=path, index_dir=Path("/proc/no-index-here")))
    assert "set index_dir to a folder that can be written" in str(caught.value)
    (path.parent / "file").write_text("")
    with pytest.raises(EngineError, match="set index_dir"):
        await ids(FileEngine(path=path, index_dir=path.parent / "file"))


async def test_an_index_stands_where_it_is_told_to(path, tmp_path):
    await ids(FileEngine(path=path, index_dir=tmp_path / "deep" / "indexes"))
    assert list((tmp_path / "deep" / "indexes").glob("*/manifest.json"))
    assert not Path(f"{path}.dgt").exists()


def test_a_build_killed_at_any_moment_restarts_cleanly(tmp_path):
    path = write_corpus(list(many(20_000)), tmp_path / "c.jsonl")
    folder = tmp_path / "c.jsonl.dgt"
    for wait in (0.0, 0.05, 0.2, 0.5):
        running = process(path)
        deadline = time.monotonic() + 20
        while not list(folder.glob("*.tmp-*")) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    output, _ = process(path).communicate()
    assert output.endswith("open 20000\n")
    assert not left_over(folder)
    assert len(made(path)) == 1


def test_two_processes_open_at_once_and_one_of_them_builds(tmp_path):
    path = write_corpus(list(many(20_000)), tmp_path / "c.jsonl")
    running = [process(path) for _ in range(3)]
    outputs = [one.communicate()[0] for one in running]
    assert all(output.endswith("open 20000\n") for output in outputs), outputs
    assert not left_over(tmp_path / "c.jsonl.dgt")


async def test_two_engines_of_one_program_open_at_once_and_one_of_them_builds(path):
    opened = await asyncio.gather(*(ids(FileEngine(path=path)) for _ in range(3)))
    assert len({tuple(found) for found, _ in opened}) == 1
    assert sorted(len(said) for _, said in opened) == [0, 1, 1]
    assert all("another process is indexing it" in said[0] for _, said in opened if said)
    assert len(made(path)) == 1


@pytest.mark.parametrize("limit", [2_000, 60_000, 200_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(limit, tmp_path):
    path = write_corpus(list(many(20_000)), tmp_path / "c.jsonl")
    output, _ = process(path, limit).communicate()
    assert "Traceback" not in output
    assert output.startswith("refused: ")
    assert output.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]
    assert process(path).communicate()[0].endswith("open 20000\n")


async def test_a_cancelled_build_leaves_nothing(tmp_path):
    path = write_corpus(list(many(20_000)), tmp_path / "c.jsonl")
    opening = asyncio.create_task(ids(FileEngine(path=path)))
    while not list((tmp_path).glob("c.jsonl.dgt/*.tmp-*")):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert list(tmp_path.iterdir()) == [path]


async def test_documents_may_come_from_a_program_by_the_engines_name():
    world = World(name="mine", corpora={"mine": corpus()})
    async with InMemoryEngine().open(world) as retriever:
        assert await retriever.count() == 40
    with pytest.raises(EngineError, match="there are no documents; give `corpus`, `path`, or from Python run"):
        await ids(InMemoryEngine())


def test_both_a_corpus_and_a_path_are_refused(path):
    with pytest.raises(ValueError, match="both `corpus` and `path` are given"):
        InMemoryEngine(path=path, corpus=[])


def test_a_corpus_that_is_no_list_is_refused_and_one_that_is_is_written_back():
    with pytest.raises(ValueError, match="a list of documents is needed"):
        InMemoryEngine(corpus="documents.jsonl")
    records = [{"id": 1, "text": "one", "extra": {"a": [1]}}]
    engine = InMemoryEngine(corpus=records)
    assert InMemoryEngine.model_validate(engine.model_dump(mode="json")) == engine
    assert engine.model_dump(mode="json", exclude_defaults=True) == {"corpus": records}
    assert InMemoryEngine.model_json_schema()["properties"]["corpus"]


@pytest.mark.parametrize("module", ["file", "in_memory", "tool", "faults"])
def test_importing_an_engine_imports_nothing_heavy(module):
    code = f"import sys, dgt_rag.engines.{module}; print({{'tantivy', 'numpy', 'jsonschema', 'pyarrow'}} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert output == "set()\n"
