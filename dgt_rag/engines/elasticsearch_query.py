"""What we send to Elasticsearch and what we make of a hit: pure functions over the index's shape, no connection."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import JsonValue, model_validator

from dgt_rag.corpus.read import Parts, Projector
from dgt_rag.engines.base import Projection, Where
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.errors import EngineError
from dgt_rag.records import Document, label_of

OWN_ID = "_id"
OURS = "dgt_rag"
"""The key of our notes on an index."""
TERMS = "dgt_rag_text"
"""The field of the terms in an index that `load_index` made by a language."""
_EXACT = {"keyword", "wildcard", "constant_keyword", "boolean", "ip", "date", "version"}
_WHOLE = {"long", "integer", "short", "byte", "unsigned_long"}
_NUMBERS = _WHOLE | {"double", "float", "half_float", "scaled_float"}
_VECTORS = {"dense_vector", "sparse_vector", "rank_vectors"}
_RANKED = {"text", "match_only_text", "search_as_you_type"}
# a token as the standard tokenizer counts them, near enough: Han, kana and Hangul one by one, words, other signs
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MOST_CLAUSES = 1000


class IndexProjection(Projection):
    """Our name → the field of the index (dotted path). Fields that are not named stay in `metadata`."""

    body: str = "content"
    doc_id: str = OWN_ID

    @model_validator(mode="before")
    @classmethod
    def _read_projection(cls, data: Any) -> Any:
        """Read a projection made in Python as one in a task file: what it does not name has the names of this class."""
        if isinstance(data, Projection) and not isinstance(data, cls):
            return {name: getattr(data, name) for name in data.model_fields_set}
        return data


@dataclass(frozen=True)
class Shape:
    """The fields of an index, and the indices behind its name."""

    fields: Mapping[str, Json]
    """Dotted path → its mapping; subfields (`title.keyword`) too."""
    shards: Mapping[str, int] = field(default_factory=dict)
    """Index → how many shards it has."""
    uuids: tuple[str, ...] = ()
    metas: tuple[Mapping[str, Any], ...] = ()
    """What each of the indices says of itself, with what `load_index` noted under `OURS` when it made it."""

    @classmethod
    def of(cls, mappings: Json, settings: Json) -> "Shape":
        """Read the answers of `_mapping` and `_settings`."""
        fields: dict[str, Json] = {}
        for index in mappings.values():
            fields |= dict(flat(index.get("mappings", {}).get("properties", {})))
        facts = {name: found["settings"]["index"] for name, found in sorted(settings.items())}
        return cls(
            fields=fields,
            shards={name: int(fact.get("number_of_shards", 1)) for name, fact in facts.items()},
            uuids=tuple(str(fact.get("uuid", "")) for fact in facts.values()),
            metas=tuple(index.get("mappings", {}).get("_meta", {}) for index in mappings.values()),
        )

    def kind(self, path: str) -> str:
        """Return the type of a field; empty if the index has no such field."""
        return str(self.fields.get(path, {}).get("type", ""))

    def ranked(self, path: str) -> bool:
        """Say whether full text is searched in this field."""
        return self.kind(path) in _RANKED

    def exact(self, path: str) -> str | None:
        """Return the field that holds the whole values of this one, for filters and groups."""
        kinds = _EXACT | _NUMBERS
        # subfields of a field; what is below an object are fields of their own
        beside = [name for name in self.fields if name.rpartition(".")[0] == path] if path in self.fields else []
        names = [path, *beside]
        return next((name for name in names if self.kind(name) in kinds and self._listed(name)), None)

    def _listed(self, path: str) -> bool:
        return (
            self.fields[path].get("index", True) is not False and self.fields[path].get("doc_values", True) is not False
        )

    def can_hold_ids(self, path: str) -> bool:
        """Say whether a field can be sorted and sampled by as the documents' ids."""
        return self.kind(path) in _WHOLE | {"keyword"} and self._listed(path)

    @property
    def notes_of_each(self) -> list[Mapping[str, Any]]:
        """Our notes on each of the indices; empty for those that others made."""
        return [meta.get(OURS, {}) for meta in self.metas]

    def noted(self, key: str) -> list[Any]:
        """Return what is noted under a key on each of the indices that have it."""
        return [notes[key] for notes in self.notes_of_each if key in notes]

    @property
    def own(self) -> list[str]:
        """The fields that we added, which are none of the corpus."""
        return [TERMS] if self.noted("language") else []

    @cached_property
    def unseen(self) -> list[str]:
        """The fields that no document shows: vectors, which are large, and what we added."""
        return [*(path for path in self.fields if self.kind(path) in _VECTORS), *self.own]

    def names(self) -> str:
        """Return the names of all fields as a sentence shows them."""
        subfields = {path for path in self.fields if path.rpartition(".")[0] in self.fields}
        return ", ".join(sorted(set(self.fields) - subfields - set(self.own))) or "none"


def flat(properties: Json, prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Return the fields of a mapping by dotted path, subfields too."""
    for name, mapping in properties.items():
        if "properties" in mapping:
            yield from flat(mapping["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, mapping
            yield from flat(mapping.get("fields", {}), f"{prefix}{name}.")


def corpus_field(path: str, projection: Projection) -> str:
    """Return the corpus's name of a field that may be one of ours."""
    own = projection.model_dump()
    return str(own.get(path) or path)


def conditions(where: Where, shape: Shape, projection: Projection) -> list[Json]:
    """Return the filters that say what `where` says."""
    return [_condition(path, corpus_field(path, projection), wanted, shape) for path, wanted in where.items()]


def _condition(path: str, name: str, wanted: JsonValue, shape: Shape) -> Json:
    """Return the filter for one field: one of the labels, or no value where a label is null."""
    labels = [label_of(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
    if name == OWN_ID:
        return {"ids": {"values": [label for label in labels if label is not None]}}
    exact = shape.exact(name)
    if exact is None and name in shape.fields:
        raise EngineError(
            f"search/elasticsearch: cannot filter by {path!r}: {name!r} is of type {shape.kind(name)} and has no "
            "keyword beside it; add one to the mapping"
        )
    either: list[Json] = []
    if None in labels:
        # a value that is too long to be filtered by is one all the same, and an empty text is none
        absent = [{"exists": {"field": name}}, {"term": {"_ignored": name}}]
        either.append({"bool": {"must_not": absent}})
        either += [{"term": {exact: ""}}] if shape.kind(exact or "") == "keyword" else []
    number = shape.kind(exact or "") in _NUMBERS
    present = [label for label in labels if label is not None and not (number and not _NUMBER.fullmatch(label))]
    if exact and present:
        either.append({"terms": {exact: present}})
    return {"bool": {"should": either, "minimum_should_match": 1}} if either else {"match_none": {}}


def narrowed(filters: Sequence[Json], must: Json | None = None) -> Json:
    """Return a query for what passes the filters, ranked by `must` if given."""
    parts: Json = {"filter": [*filters]}
    return {"bool": {**parts, "must": must} if must else parts}


def matching(query: str, fields: Mapping[str, float]) -> Json:
    """Return the BM25 query for a text that is never read as query syntax."""
    text = cut(query, _MOST_CLAUSES // len(fields))
    if len(fields) == 1:
        ((name, boost),) = fields.items()
        return {"match": {name: {"query": text, "boost": boost}}}
    return {"multi_match": {"query": text, "type": "most_fields", "fields": [f"{k}^{v}" for k, v in fields.items()]}}


def cut(query: str, most: int) -> str:
    """Return the beginning of a text that holds at most so many tokens; servers refuse queries of too many clauses."""
    text = query.encode("utf-8", "replace").decode()
    count = 0
    for token in _TOKEN.finditer(text):
        # the standard tokenizer breaks a longer word
        count += 1 + len(token.group()) // 255
        if count > most:
            return text[: token.start()]
    return text


def document(hit: Json, projection: Projection, id_field: str | None) -> Document:
    """Return the document of a hit."""
    record = dict(hit.get("_source") or {})
    if projection.doc_id == OWN_ID:
        record[OWN_ID] = hit["_id"]
        # the copy of the id that `load_index` stores for sampling
        if id_field and record.get(id_field) == hit["_id"]:
            del record[id_field]
    projector = Projector.of(projection)
    try:
        return projector.document(record, _parts(projector, record))
    except ValueError as error:
        raise EngineError(f"index {hit['_index']!r}, document {hit['_id']!r}: {error}; mend `projection`") from None


def _parts(projector: Projector, record: Json) -> Parts:
    """Return what a record says under our names; any field of an index may hold several values, and text may be a number."""
    body, doc_id, title, domain = projector.paths
    one = {path: _single(record, path) for path in (doc_id, domain)}
    return projector.parts({**one, body: _text(record, body), title: _text(record, title)})


def _text(record: Json, path: str) -> JsonValue:
    """Return a text of several values as its lines."""
    values = found(record, path)
    texts = [one if isinstance(one, str) else label_of(one) for one in values]
    return values if None in texts else "\n".join(map(str, texts))


def _single(record: Json, path: str) -> JsonValue:
    """Return the only value of a field, or the list of them, which is no id and no domain."""
    values = found(record, path)
    return values[0] if len(values) == 1 else values or None


def found(record: Json, path: str) -> list[JsonValue]:
    """Return the values of a field; none if it has no name."""
    value = record.get(path)
    return [value] if isinstance(value, str) else [*_values(record, path)] if path else []


def _values(value: JsonValue, path: str) -> Iterator[JsonValue]:
    """Return all that stands at a dotted path, as the server reads a document: through lists, without nulls."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path)
    elif isinstance(value, dict) and path:
        head, _, rest = path.partition(".")
        yield from _values(value[path], "") if path in value else _values(value.get(head), rest)
    elif value is not None and not path:
        yield value


def seeded(query: Json, number: int, name: str, shard: int, id_field: str) -> Json:
    """Return a query whose scores are random, and depend on the number and the documents' ids alone.

    Elasticsearch mixes the index's name and the shard into the seed by an exclusive or; put in here as well they cancel
    out, so that a re-index under another name or with other shards gives the same sample.
    """
    salt = _java_hash(name) << 10 | shard
    seed = (number ^ salt) & 0xFFFFFFFF
    signed = seed - (1 << 32) if seed >> 31 else seed
    random = {"seed": signed, "field": id_field}
    return {"function_score": {"query": query, "random_score": random, "boost_mode": "replace"}}


def _java_hash(text: str) -> int:
    units = text.encode("utf-16-be")
    value = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value
