"""The keys of `search/elasticsearch`, without a server."""

import pytest
from loading import WordEmbedder
from pydantic import ValidationError

from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.errors import TaskError
from dgt_rag.world import World


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give `hosts` or `cloud_id`"),
        ({"hosts": "https://a:9200", "cloud_id": "x:y"}, "only one of them"),
        ({"hosts": "localhost:9200"}, "is no address; write `https://name:9200`"),
        ({"hosts": "https://me:secret@a:9200"}, "a host must not hold a user or password"),
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
