"""What goes wrong between us and a cluster: logins, certificates, overload, cut connections, restarts, deletions."""

import asyncio
import json
import ssl
import urllib.request

import pytest
import trustme
from faulty_proxy import basic, cut, failed_shards, faulty, slow, status
from loading import SWIFT, corpus, engine, load

from dgt_rag.dice import Dice
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.errors import EngineError, ServiceError, TaskError
from dgt_rag.guard import Guards
from dgt_rag.world import World

PATIENT = SWIFT.model_copy(update={"attempts": 30, "dead_after": 60.0})


async def one_hit(one: ElasticsearchEngine) -> str:
    async with one.open(World()) as opened:
        return (await opened.search("place3", 1))[0].document.doc_id


@pytest.fixture
async def index(node) -> str:
    one = engine(node.url)
    await load(one, corpus(40))
    return one.default_index


@pytest.fixture
async def loaded(newest) -> str:
    one = engine(newest.url)
    await load(one, corpus(40))
    return one.default_index


async def test_a_key_and_a_password_from_the_environment_let_us_in_and_nothing_else_does(node, index, monkeypatch):
    monkeypatch.setenv("ES_KEY", "bXkta2V5")
    monkeypatch.setenv("ES_PASSWORD", "hunter2")
    async with faulty(node.port, logins=frozenset({"ApiKey bXkta2V5", basic("reader", "hunter2")})) as proxy:
        for login in (
            {"api_key_env": "ES_KEY"},
            {"api_key": "bXkta2V5"},
            {"username": "reader", "password_env": "ES_PASSWORD"},
        ):
            assert await one_hit(engine(proxy.url, index, **login)) == "d00003"
        for login in ({}, {"api_key": "d3Jvbmc="}, {"username": "reader", "password": "hunter3"}):
            with pytest.raises(EngineError, match=r"we are not let in .401: .*set `api_key_env`") as refusal:
                await one_hit(engine(proxy.url, index, **login))
            assert "hunter" not in str(refusal.value) and "\n" not in str(refusal.value)


async def test_secrets_do_not_show_in_the_engine():
    one = engine("http://localhost:9200", "x", username="reader", password="hunter2")
    assert "hunter2" not in f"{one!r} {one.model_dump_json()} {one.place}"


async def test_a_variable_that_is_not_set_is_named(newest):
    with pytest.raises(TaskError, match="environment variable NO_SUCH_KEY is not set"):
        await one_hit(engine(newest.url, "x", api_key_env="NO_SUCH_KEY"))


async def test_a_private_authority_is_trusted_when_its_file_is_named_and_not_otherwise(node, index, tmp_path):
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(served)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    said: list[str] = []
    async with faulty(node.port, tls=served) as proxy:
        assert await one_hit(engine(proxy.url, index, ca_certs=file)) == "d00003"
        async with engine(proxy.url, index, verify_certs=False).open(World(say=said.append)) as opened:
            assert await opened.count() == 40
        with pytest.raises(EngineError, match=r"certificate is not trusted .*`ca_certs`"):
            await one_hit(engine(proxy.url, index))
    assert any("certificates are not checked" in line for line in said)


async def test_a_busy_cluster_is_asked_again_when_it_said(node, index):
    async with faulty(node.port) as proxy:
        one = engine(proxy.url, index)
        async with one.open(World()) as opened:
            proxy.plan += [status(429, "_search", retry_after="0"), status(503, "_search"), status(429, "_search")]
            before = len(proxy.seen)
            assert (await opened.search("place3", 1))[0].document.doc_id == "d00003"
            assert len(proxy.seen) - before == 4


@pytest.mark.parametrize("keep", [0, 0.5])
async def test_cut_connections_and_half_answers_are_asked_for_again(node, index, keep):
    async with faulty(node.port) as proxy, engine(proxy.url, index).open(World()) as opened:
        whole = await opened.search("place3 described", 5)
        proxy.plan += [cut("_search", keep), cut("_search", keep)]
        assert await opened.search("place3 described", 5) == whole
        proxy.plan += [cut("_search", keep), cut("_pit", keep)]
        assert len([document async for document in opened.documents()]) == 40


async def test_an_answer_that_comes_too_late_is_asked_for_again_and_then_given_up_in_one_line(newest, loaded):
    async with faulty(newest.port) as proxy, engine(proxy.url, loaded, timeout=0.3).open(World()) as opened:
        proxy.plan += [slow(5, "_search")]
        assert await opened.search("place3", 1)
        proxy.always = slow(5, "_search")
        with pytest.raises(ServiceError, match="no answer in time") as refusal:
            await opened.search("place3", 1)
        assert proxy.url in str(refusal.value) and "\n" not in str(refusal.value)


async def test_hits_of_some_shards_only_are_never_taken_for_all(node, index):
    async with faulty(node.port) as proxy, engine(proxy.url, index).open(World()) as opened:
        whole = await opened.search("place3 described", 5)
        proxy.plan += [failed_shards(), failed_shards()]
        assert await opened.search("place3 described", 5) == whole
        proxy.always = failed_shards()
        with pytest.raises(ServiceError, match=r"1 of 2 shards failed: .*the node that held the shard is gone"):
            await opened.search("place3 described", 5)


async def test_what_is_not_elasticsearch_is_told(newest, loaded):
    async with faulty(newest.port, product=False) as proxy:
        with pytest.raises(EngineError, match="this is not Elasticsearch"):
            await one_hit(engine(proxy.url, loaded))


async def test_an_address_where_nobody_answers_is_refused_in_one_line():
    lost = engine("http://localhost:1", "x", retry=SWIFT.model_copy(update={"dead_after": 0.3}))
    with pytest.raises(ServiceError, match="localhost:1") as refusal:
        await one_hit(lost)
    assert "\n" not in str(refusal.value)


async def test_a_cut_load_goes_on_and_doubles_nothing(node):
    documents = corpus(2_500)
    async with faulty(node.port) as proxy:
        one = engine(proxy.url)
        # the first batch is taken, but its answer is lost; the second is refused; then the way is gone for good
        proxy.plan += [cut("_bulk"), status(429, "_bulk"), cut("_bulk", forward=False)]
        stopped = engine(
            proxy.url, one.default_index, retry=SWIFT.model_copy(update={"attempts": 1, "dead_after": 0.0})
        )
        with pytest.raises(ServiceError):
            await load(stopped, documents)
        done = await load(one, documents)
        again = await load(one, documents)
        async with one.open(World()) as opened:
            assert [document async for document in opened.documents()] == documents
    assert done.added + done.present == 2_500
    assert (again.added, again.present) == (0, 2_500)


async def test_a_server_killed_in_mid_stream_and_mid_search_is_waited_for(node):
    documents = corpus(3_000)
    one = engine(node.url, retry=PATIENT)
    await load(one, documents)
    said: list[str] = []
    async with one.open(World(guards=Guards(say=said.append))) as opened:
        stream = opened.documents()
        first = [await anext(stream) for _ in range(1_500)]
        node.stop()
        searches = [asyncio.create_task(opened.search(f"place{number}", 1)) for number in range(8)]
        rest = asyncio.create_task(_rest(stream))
        node.launch()
        found = await asyncio.gather(*searches)
        assert [hits[0].document for hits in found] == documents[:8]
        assert [*first, *await rest] == documents
    await asyncio.to_thread(node.wait)


async def test_an_index_that_is_deleted_in_mid_run_is_told_in_one_line(node):
    one = engine(node.url)
    await load(one, corpus(3_000))
    async with one.open(World()) as opened:
        stream = opened.documents()
        await anext(stream)
        request = urllib.request.Request(f"{node.url}/{one.default_index}", method="DELETE")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["acknowledged"]
        for use in (opened.search("place3", 1), opened.count(), opened.sample(Dice(1), 3), _rest(stream)):
            with pytest.raises(EngineError, match=f"unknown index '{one.default_index}'") as refusal:
                await use
            assert "\n" not in str(refusal.value)


async def _rest(stream):
    return [document async for document in stream]
