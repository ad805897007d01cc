"""What goes wrong between us and a cluster: logins, certificates, overload, cut connections, restarts, deletions."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from faulty_proxy import Fault, basic, cut, failed_shards, faulty, lost_documents, slow, status
from launcher import Node
from loading import SWIFT, call, corpus, engine, load

from dgt_rag.dice import Dice
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import load_index
from dgt_rag.errors import EngineError, ServiceError, TaskError
from dgt_rag.guard import Guards
from dgt_rag.records import Document
from dgt_rag.world import World

PATIENT = SWIFT.model_copy(update={"attempts": 30, "dead_after": 60.0})


async def one_hit(one: ElasticsearchEngine) -> str:
    async with one.open(World()) as opened:
        return (await opened.search("place3", 1))[0].document.doc_id


async def begun(one: ElasticsearchEngine, node: Node) -> None:
    """Wait until documents are in the index of an engine."""
    while True:
        found = (await asyncio.to_thread(call, node, "GET", "/_stats/indexing"))["indices"].get(one.default_index)
        if found and found["primaries"]["indexing"]["index_total"]:
            return
        await asyncio.sleep(0.01)


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


@pytest.fixture
def own_authority(tmp_path) -> tuple[ssl.SSLContext, list[str]]:
    """A server that shows its authority's certificate after its own, as Elasticsearch does; the fingerprints of both."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    file = tmp_path / "server.pem"
    file.write_bytes(issued.private_key_and_cert_chain_pem.bytes() + authority.cert_pem.bytes())
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    return served, [fingerprint(issued.cert_chain_pems[0].bytes()), fingerprint(authority.cert_pem.bytes())]


def fingerprint(pem: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


async def test_an_authority_is_trusted_by_its_fingerprint_and_so_is_a_servers_own_certificate(
    newest, loaded, own_authority
):
    served, (own, authoritys) = own_authority
    with_colons = ":".join(authoritys[at : at + 2] for at in range(0, 64, 2)).upper()
    async with faulty(newest.port, tls=served) as proxy:
        for known in (own, authoritys, with_colons):
            assert await one_hit(engine(proxy.url, loaded, ca_fingerprint=known)) == "d00003"
        by_number = proxy.url.replace("localhost", "127.0.0.1")
        assert await one_hit(engine(by_number, loaded, ca_fingerprint=own)) == "d00003"
        with pytest.raises(EngineError, match="is that of another name"):
            await one_hit(engine(by_number, loaded, ca_fingerprint=authoritys))


async def test_a_certificate_that_only_claims_to_be_of_the_authority_is_not_trusted(
    newest, loaded, own_authority, tmp_path
):
    _, (_, authoritys) = own_authority
    true = (tmp_path / "server.pem").read_bytes().split(b"-----BEGIN CERTIFICATE-----")[-1]
    issued = trustme.CA().issue_cert("localhost")
    false = tmp_path / "false.pem"
    pem = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
    false.write_bytes(pem + b"-----BEGIN CERTIFICATE-----" + true)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(false)
    async with faulty(newest.port, tls=served) as proxy:
        with pytest.raises(EngineError, match="certificate is not trusted"):
            await one_hit(engine(proxy.url, loaded, ca_fingerprint=authoritys))
        assert not proxy.seen


async def test_a_fingerprint_that_no_certificate_has_is_refused_at_once_with_those_there_are(
    newest, loaded, own_authority
):
    served, (own, authoritys) = own_authority
    said: list[str] = []
    async with faulty(newest.port, tls=served) as proxy:
        world = World(guards=Guards(say=said.append))
        with pytest.raises(EngineError, match=f"`ca_fingerprint`; theirs are {own}, {authoritys}; .*") as refusal:
            async with engine(proxy.url, loaded, ca_fingerprint="ab" * 32, retry=PATIENT).open(world):
                pass
        assert not proxy.seen and not said and "\n" not in str(refusal.value)


async def test_https_to_a_server_without_tls_is_told_to_be_just_that(newest, loaded):
    address = newest.url.replace("http://", "https://")
    for trust in ({}, {"ca_fingerprint": "ab" * 32}, {"verify_certs": False}):
        with pytest.raises(EngineError, match=r"there is no TLS at this address .*; write http:// in") as refusal:
            await one_hit(engine(address, loaded, retry=PATIENT, **trust))
        assert "certificate" not in str(refusal.value) and "\n" not in str(refusal.value)


async def test_a_host_that_is_away_is_waited_for_with_a_fingerprint_as_well(own_authority):
    away = SWIFT.model_copy(update={"dead_after": 0.3})
    _, (own, _) = own_authority
    with pytest.raises(ServiceError, match=r"localhost:1: cannot be reached") as refusal:
        await one_hit(engine("https://localhost:1", "x", retry=away, ca_fingerprint=own))
    assert "\n" not in str(refusal.value)


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


async def test_an_index_is_made_although_the_answer_of_its_making_is_lost(node):
    async with faulty(node.port) as proxy:
        one = engine(proxy.url)
        proxy.plan += [Fault("_alias"), cut(one.default_index)]
        assert (await load(one, corpus(9))).added == 9
        assert not proxy.plan


async def test_a_server_that_takes_less_at_once_gets_less_and_all_are_loaded(node):
    async with faulty(node.port) as proxy:
        proxy.plan += [status(429, "_bulk", retry_after="0"), status(413, "_bulk")]
        assert (await load(engine(proxy.url), corpus(1000))).added == 1000
        sent = [request.body.count(b'"create"') for request in proxy.seen if "_bulk" in request.target]
    assert sent[:4] == [1000, 500, 250, 282] and sum(sent[2:]) == 1000


async def test_a_document_that_a_server_can_never_take_is_refused_by_name(newest, loaded):
    def refused(body: Any) -> Any:
        why = "rejected execution of primary operation [coordinating_and_primary_bytes=20816122, replica_bytes=0, "
        why += "all_bytes=20816122, primary_operation_bytes=80000192, max_primary_bytes=53687091]"
        error = {"type": "es_rejected_execution_exception", "reason": why}
        return {
            "items": [{"create": {"_id": one["create"]["_id"], "status": 429, "error": error}} for one in body["items"]]
        }

    async with faulty(newest.port) as proxy:
        proxy.plan += [Fault("_bulk", change=refused)]
        with pytest.raises(
            EngineError, match=r"document 'd00040' does not fit index .*: the server has not the memory"
        ):
            await load(engine(proxy.url, loaded), corpus(41))
        assert len([one for one in proxy.seen if "_bulk" in one.target]) == 1


async def test_who_may_add_documents_but_not_change_an_index_loads_one_that_is_there(node, index):
    async with faulty(node.port) as proxy:
        proxy.plan += [Fault("_mapping"), status(403, "_mapping")]
        assert (await load(engine(proxy.url, index), corpus(2100))).added == 2060
        assert not proxy.plan and sum("_mapping" in one.target for one in proxy.seen) == 2
    one, said = engine(node.url), []
    mixed = [
        Document(doc_id=str(n), body="x", metadata={"pages": value}) for n, value in enumerate([1, {"of": "many"}])
    ]
    with pytest.raises(EngineError, match="does not fit"):
        await load(one, mixed)
    async with faulty(node.port) as proxy:
        proxy.plan += [Fault("_mapping"), status(403, "_mapping")]
        await load(engine(proxy.url, one.default_index), [mixed[0]], World(say=said.append))
    assert any("is loaded whole, but we may not take the note off it" in line for line in said)


async def test_who_may_not_write_is_told_so_and_no_document_is_blamed(newest, loaded):
    call(newest, "PUT", f"/{loaded}/_settings", {"index.blocks.write": True})
    with pytest.raises(EngineError, match=r"nothing can be added to index .* \(403: .*see that we may write to it"):
        await load(engine(newest.url, loaded), corpus(45))


async def test_a_shard_that_is_away_while_documents_are_loaded_is_waited_for(node):
    documents = corpus(1_500)
    async with faulty(node.port) as proxy:
        one = engine(proxy.url)
        proxy.plan += [lost_documents(), lost_documents()]
        assert (await load(one, documents)).added == 1_500
        assert sum("_mget" in request.target for request in proxy.seen) == 4


async def test_a_server_killed_while_documents_are_loaded_is_waited_for(newest):
    documents = corpus(6_000)
    one = engine(newest.url, retry=PATIENT)

    async def with_a_crash() -> AsyncIterator[Document]:
        for number, document in enumerate(documents):
            if number == 3_000:
                await begun(one, newest)
                await asyncio.to_thread(newest.stop)
                await asyncio.to_thread(newest.launch)
            yield document

    done = await load_index(one, with_a_crash(), World())
    await asyncio.to_thread(newest.wait)
    assert (done.added, done.present) == (6_000, 0)
    async with one.open(World()) as opened:
        assert [document async for document in opened.documents()] == documents


async def test_an_index_that_is_deleted_while_it_is_loaded_is_told(node):
    documents = corpus(3_000)
    one = engine(node.url)

    async def with_a_deletion() -> AsyncIterator[Document]:
        for number, document in enumerate(documents):
            if number == 2_000:
                await begun(one, node)
                await asyncio.to_thread(call, node, "DELETE", f"/{one.default_index}")
            yield document

    with pytest.raises(EngineError, match="was deleted while it was loaded"):
        await load_index(one, with_a_deletion(), World())


async def test_an_index_that_the_server_made_in_place_of_a_deleted_one_is_not_taken_for_it(node):
    one = engine(node.url)

    def deleted(answer: Any) -> Any:
        call(node, "DELETE", f"/{one.default_index}")
        return answer

    async with faulty(node.port) as proxy:
        proxy.plan += [Fault("_mget", change=deleted)]
        with pytest.raises(EngineError, match="was deleted while it was loaded; delete what is there now, and run"):
            await load(engine(proxy.url, one.default_index), corpus(9))
    assert call(node, "GET", f"/{one.default_index}/_mapping")[one.default_index]["mappings"].get("_meta") is None


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


async def test_a_stream_that_nobody_ended_asks_nothing_more_when_the_engine_is_closed(newest, loaded):
    async with faulty(newest.port) as proxy:
        async with engine(proxy.url, loaded).open(World()) as opened:
            pages = opened.index.pages({"match_all": {}}, None, {"size": 10})
            assert len(await anext(pages)) == 10
        before = len(proxy.seen)
        await pages.aclose()
        assert len(proxy.seen) == before


async def test_an_index_that_is_deleted_in_mid_run_is_told_in_one_line(node):
    one = engine(node.url)
    await load(one, corpus(3_000))
    async with one.open(World()) as opened:
        stream = opened.documents()
        await anext(stream)
        assert call(node, "DELETE", f"/{one.default_index}")["acknowledged"]
        for use in (opened.search("place3", 1), opened.count(), opened.sample(Dice(1), 3), _rest(stream)):
            with pytest.raises(EngineError, match=f"unknown index '{one.default_index}'") as refusal:
                await use
            assert "\n" not in str(refusal.value)


async def _rest(stream):
    return [document async for document in stream]
