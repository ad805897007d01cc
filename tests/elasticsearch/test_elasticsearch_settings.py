"""The keys of `search/elasticsearch`, without a server."""

import json

import pytest
from loading import WordEmbedder
from pydantic import ValidationError

from dgt_rag.cli import run_command
from dgt_rag.engines.base import Projection
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_query import IndexProjection
from dgt_rag.errors import TaskError
from dgt_rag.loader import load
from dgt_rag.world import World


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give `hosts` or `cloud_id`"),
        ({"hosts": "https://a:9200", "cloud_id": "x:y"}, "only one of them"),
        ({"hosts": "localhost:9200"}, "'localhost:9200' is no address; write `https://name:9200`"),
        ({"hosts": "127.0.0.1:9359"}, "'127.0.0.1:9359' is no address; write `https://name:9200`"),
        ({"hosts": "https://a:99999"}, "a host is no address; write `https://name:9200`"),
        ({"hosts": "https://[a"}, "a host is no address; write `https://name:9200`"),
        ({"hosts": "https://me:secret@a:9200"}, "a host must not hold a user or password"),
        ({"hosts": "me:secret@a:9200"}, "a host must not hold a user or password"),
        ({"hosts": ["https://a:9200", "https://me:secret"]}, "a host is no address"),
        ({"hosts": "https://a:9200", "ca_fingerprint": "AB:CD"}, "no SHA-256 fingerprint: 64 hex digits are needed"),
        ({"hosts": "https://a:9200", "ca_fingerprint": "xy" * 32}, "no SHA-256 fingerprint: 64 hex digits are needed"),
        ({"hosts": "http://a:9200", "ca_fingerprint": "ab" * 32}, "`ca_fingerprint` is for `hosts` with https://"),
        (
            {"hosts": "https://a:9200", "ca_fingerprint": "ab" * 32, "verify_certs": False},
            "`ca_fingerprint` and `verify_certs: false` are both given; keep one",
        ),
        ({"hosts": "https://a:9200", "api_key": "k", "username": "u", "password": "p"}, "`api_key` and `username`"),
        ({"hosts": "https://a:9200", "username": "u"}, "`username` needs `password_env`"),
        ({"hosts": "https://a:9200", "query": "knn"}, "`query: knn` needs an `embedder`"),
        ({"hosts": "https://a:9200", "fields": {"title": 0}}, "weights of `fields` must be above 0"),
        ({"hosts": "https://a:9200", "analyser": "english"}, "did you mean 'analyzer'"),
        ({"hosts": "https://a:9200", "query": "bm26"}, "'bm25', 'knn' or 'hybrid'"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys, said):
    with pytest.raises(ValidationError, match=said) as refusal:
        ElasticsearchEngine.model_validate({"default_index": "x", **keys})
    assert "secret" not in refusal.value.errors(include_input=False).__repr__()
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("host", ["https://bob:secret@a:9200", "bob:secret@a:9200", "https://bob:secret"])
def test_a_password_in_a_host_is_never_shown_again(tmp_path, host):
    scenario = {"name": "lm/scenario/rag", "document_samplers": [{"type": "search/random", "engine": "es"}]}
    stages = {"initialization_stages": [scenario], "iteration_stages": [{"name": "lm/user/rag"}]}
    es = {"type": "search/elasticsearch", "hosts": "https://a", "default_index": "x"}
    task = {"tools": {"engines": {"es": es}}, **stages}
    file = tmp_path / "task.yaml"
    file.write_text(json.dumps(task), encoding="utf-8")
    for written in (host, f"[{host}]", f"https://b:9200, {host}"):
        with pytest.raises(TaskError, match=r"command line: tools.engines.es.hosts.*: a host ") as refusal:
            load(file, [f"tools.engines.es.hosts={written}"])
        assert "secret" not in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_projection_that_names_some_fields_leaves_the_others_as_this_engine_has_them():
    for given in ({"body": "text"}, Projection(body="text")):
        one = ElasticsearchEngine.model_validate({"hosts": "https://a", "default_index": "x", "projection": given})
        assert one.projection == IndexProjection(body="text", doc_id="_id", title="title", domain="domain")
    bare = ElasticsearchEngine(hosts=("https://a",), default_index="x").projection
    assert (bare.body, bare.doc_id) == ("content", "_id")


def test_explain_tells_the_names_that_fields_have_by_default(capsys):
    assert run_command(["explain", "search/elasticsearch"]) == 0
    said = capsys.readouterr().out
    assert "body: text, default content\n" in said and "doc_id: text, default _id\n" in said
    assert "projection: {body: content, doc_id: _id}" in said


def test_hosts_may_be_one_or_a_list_and_index_is_default_index():
    one = ElasticsearchEngine.model_validate({"hosts": "https://a:9200, https://b", "index": "x"})
    listed = ElasticsearchEngine.model_validate({"hosts": ["https://a:9200", "https://b"], "default_index": "x"})
    assert one == listed
    assert one.options()["hosts"] == ["https://a:9200", "https://b:443"]


def test_what_is_written_down_is_read_back_equal_but_for_the_secret():
    one = ElasticsearchEngine(hosts=("https://a:9200",), default_index="x", query="hybrid", embedder=WordEmbedder())
    assert ElasticsearchEngine.model_validate({**one.model_dump(), "embedder": WordEmbedder()}) == one


async def test_a_cloud_id_that_is_none_is_refused_in_one_line():
    with pytest.raises(TaskError, match=r"search/elasticsearch: .*[Cc]loud ID") as refusal:
        async with ElasticsearchEngine(cloud_id="nonsense", default_index="x").open(World()):
            pass
    assert "\n" not in str(refusal.value)
