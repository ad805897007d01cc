"""What an index is looked at for before it is used: documents that are left, text that is stored, ids that differ."""

import json

from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_corpus import ElasticsearchCorpus
from dgt_rag.engines.elasticsearch_query import OWN_ID, found, narrowed
from dgt_rag.errors import CorpusError
from dgt_rag.together import together

_LOOKED_AT = 10
_COMPARED = 1_000
"""Ids of each index behind an alias that are looked for in the others; what they miss is told when it is met."""


async def look_over(corpus: ElasticsearchCorpus, total: int) -> None:
    """Refuse a corpus of which nothing is left, one whose text is not there to be read, one that has documents twice."""
    index, body = corpus.index, corpus.projection.body
    place = f"{index.connection.place}: index {index.name!r}"
    without = await index.count({"bool": {"must_not": {"exists": {"field": body}}}})
    if without == total:
        raise CorpusError(f"{place}: no document has a {body!r} (projection.body); there are: {index.shape.names()}")
    if without:
        corpus.say(f"{place}: {without:,} documents have no {body!r}; they are left out")
    if not await corpus.count():
        raise CorpusError(f"{place}: filter: no document has {json.dumps(dict(corpus.filter))}; change `filter`")
    hits = await index.search({"query": narrowed(corpus.filters(None)), "size": _LOOKED_AT, "_source": [body]})
    if not any(found(hit.get("_source") or {}, body) for hit in hits):
        raise CorpusError(
            f"{place}: {body!r} (projection.body) can be searched but is not stored with the documents; "
            f"name the field that holds their text: {index.shape.names()}"
        )
    if len(index.shape.shards) > 1:
        await _compare_ids(corpus)


async def _compare_ids(corpus: ElasticsearchCorpus) -> None:
    """Refuse indices behind one name that share ids."""
    if corpus.projection.doc_id != OWN_ID and corpus.id_field is None:
        return
    for doc_id in await together(_elsewhere(corpus, name) for name in corpus.index.shape.shards):
        if doc_id is not None:
            raise corpus.twice(doc_id)


async def _elsewhere(corpus: ElasticsearchCorpus, name: str) -> str | None:
    """Return an id of one index that a document of another one has as well; the first of its ids are looked at."""
    own = corpus.projection.doc_id == OWN_ID
    here, filters = {"term": {"_index": name}}, corpus.filters(None)
    order: Json = {"_source": False, "sort": [{corpus.id_field: "asc"}] if corpus.id_field else ["_doc"]}
    hits = await corpus.index.search({"query": narrowed([*filters, here]), "size": _COMPARED, **order})
    ids = [hit["_id"] if own else hit["sort"][0] for hit in hits]
    same: Json = {"ids": {"values": ids}} if own else {"terms": {corpus.id_field: ids}}
    others = narrowed([*filters, same, {"bool": {"must_not": here}}])
    twice = await corpus.index.search({"query": others, "size": 1, **order})
    return str(twice[0]["_id"] if own else twice[0]["sort"][0]) if twice else None
