"""The shape that `index` gives an index and its documents, by the engine's projection, and whether one that is there has it."""

from typing import Any

from dgt_rag.corpus.rows import clean
from dgt_rag.engines.base import Projection
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.engines.elasticsearch_query import OURS, OWN_ID, TERMS, flat
from dgt_rag.engines.elasticsearch_terms import FIELD, LOADING, check_notes, server_analyzer
from dgt_rag.engines.elasticsearch_vectors import VectorKind, check_probe
from dgt_rag.errors import EngineError
from dgt_rag.records import Document

_ID_COPY = "doc_id"
"""The keyword field that holds the id where the projection takes the hit's own: `_id` itself cannot be sorted by."""
_KEYWORD: Json = {"type": "keyword"}
_SCALARS = ("string", "long", "double", "boolean")
_SHORT_KEYWORD: Json = {**_KEYWORD, "ignore_above": 1024}
"""Longer text is not filtered or grouped by."""


def mapping_of(
    engine: ElasticsearchEngine, vectors: VectorKind | None, by_terms: bool, analyzer: str | None = None
) -> Json:
    """Return the mapping of an index, with our notes."""
    paths = _fields_of(engine.projection)
    text: Json = {"type": "text", "analyzer": analyzer or engine.analyzer or server_analyzer(engine.language)}
    properties: Json = {}
    notes = {**engine.made, LOADING: True}
    title = {**text, "fields": {"keyword": _SHORT_KEYWORD}}
    for name, mapping in {"body": text, "title": title, "domain": _KEYWORD, "doc_id": _KEYWORD}.items():
        _put_field(properties, paths[name], mapping)
    if by_terms:
        _put_field(properties, TERMS, FIELD)
    if vectors is not None:
        vector = {"type": "dense_vector", "dims": vectors.dims, "index": True, "similarity": "cosine"}
        # servers round vectors to bytes or bits by default, which moves scores by several hundredths
        vector["index_options"] = {"type": "hnsw", "m": 16, "ef_construction": 100}
        _put_field(properties, engine.vector_field, vector)
        notes["embedder"] = vectors.identity
        if vectors.probe:
            notes["probe"] = vectors.probe
    # by its text, as the engines on this machine filter and group: 2 is not 2.0, and a year may be "unknown"
    labels = {kind: {"match_mapping_type": kind, "mapping": _SHORT_KEYWORD} for kind in _SCALARS}
    return {
        "_meta": {OURS: notes},
        **({"_source": {"excludes": [TERMS]}} if by_terms else {}),
        # what looks like a date in one document is none in the next
        "date_detection": False,
        "dynamic_templates": [{kind: template} for kind, template in labels.items()],
        "properties": properties,
    }


def check_shape(index: Index, wanted: Json, vectors: VectorKind | None) -> None:
    """Refuse an index that another mapping made than the one wanted, or another model."""
    place = f"{index.connection.place}: index {index.name!r}"
    way_out = "use another index, or delete this one"
    notes = wanted["_meta"][OURS]
    check_notes(index, notes, way_out)
    fields = dict(flat(wanted["properties"]))
    for path, mapping in fields.items():
        if "fields" in fields.get(path.rpartition(".")[0], {}):
            # a subfield, which helps where it is and is not needed
            continue
        found = index.shape.fields.get(path, {})
        for key in ("type", "dims") if "language" in notes and path != TERMS else ("type", "dims", "analyzer"):
            if mapping.get(key) != found.get(key):
                raise EngineError(
                    f"{place} is of another shape: {path!r} has {key} {found.get(key)}, "
                    f"{mapping.get(key)} is needed; {way_out}"
                )
    made_by, identity = next(iter(index.shape.noted("embedder")), None), notes.get("embedder")
    if made_by != identity:
        raise EngineError(f"{place} holds vectors made by {made_by or 'nothing'}, not by {identity}; {way_out}")
    if vectors is not None:
        check_probe(index, vectors, way_out)


def source_of(document: Document, projection: Projection, by_terms: bool) -> Json:
    """Return a document as the index holds it, without its terms; raises EngineError for one that cannot be kept."""
    if not document.doc_id or len(document.doc_id.encode()) > 512:
        raise EngineError(f"doc_id {document.doc_id[:60]!r}: Elasticsearch takes ids of 1 to 512 bytes; shorten it")
    source: Json = dict(document.metadata)
    for name, path in _fields_of(projection).items():
        if path in document.metadata:
            raise EngineError(
                f"document {document.doc_id!r} has a field {path!r} of its own, which the index needs for ours; "
                "name another one in `projection`"
            )
        if value := getattr(document, name):
            put(source, path, value)
    if by_terms and TERMS in source:
        raise EngineError(
            f"document {document.doc_id!r} has a field {TERMS!r}, which the index needs for the terms of `language`; "
            "rename it, or set `analyzer`"
        )
    found: Json = clean(source)
    return found


def put(source: Json, path: str, value: Any) -> None:
    """Put a value under a dotted path, making the mappings on the way; those that are there are copied."""
    head, _, rest = path.partition(".")
    if rest:
        source[head] = dict(source.get(head) or {})
        put(source[head], rest, value)
    else:
        source[head] = value


def _fields_of(projection: Projection) -> dict[str, str]:
    return {
        "body": projection.body,
        "doc_id": _ID_COPY if projection.doc_id == OWN_ID else projection.doc_id,
        "title": projection.title or "title",
        "domain": projection.domain or "domain",
    }


def _put_field(properties: Json, path: str, mapping: Json) -> None:
    put(properties, path.replace(".", ".properties."), mapping)
