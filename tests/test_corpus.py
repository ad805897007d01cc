"""Corpus files are read whole, and what is not read is said."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgt_rag.corpus.read import Corpus, Inline, Projector
from dgt_rag.corpus.rows import Source
from dgt_rag.engines.base import Projection
from dgt_rag.errors import EngineError
from dgt_rag.records import Document

DOCUMENTS = [
    {"id": "a", "title": "First", "text": "One, with a comma\nand a line.", "domain": "x", "year": "2020"},
    {"id": "b", "title": "", "text": 'Two "quoted" ünïcode 停车', "domain": "y", "year": "2021"},
    {"id": "c", "title": "Third", "text": "Three", "domain": "x", "year": "2020"},
]


def read(path, format=None, on_bad_line="refuse", **projection):
    said = []
    corpus = Corpus(Source.of(Path(path), format), Projector.of(Projection(**projection)), on_bad_line)
    found = list(corpus.documents())
    corpus.tell(said.append)
    return found, said


def lines(path, *records):
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records))
    return path


def refusal(path, *args, **kwargs):
    with pytest.raises(EngineError) as caught:
        read(path, *args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def as_csv(path, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(DOCUMENTS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(DOCUMENTS)


def as_jsonl(path):
    lines(path, *DOCUMENTS)


def as_json(path):
    path.write_text(json.dumps(DOCUMENTS, indent=2), encoding="utf-8")


def as_gzip(path):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in DOCUMENTS)


def as_zstd(path):
    zstandard = pytest.importorskip("zstandard", reason="pip install 'dgt-rag[zstd]'")
    text = "".join(json.dumps(one) + "\n" for one in DOCUMENTS)
    path.write_bytes(zstandard.compress(text.encode()))


def as_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'dgt-rag[parquet]'")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(DOCUMENTS), path)


WRITERS = {
    "c.jsonl": as_jsonl,
    "c.ndjson": as_jsonl,
    "lines.json": as_jsonl,
    "c.json": as_json,
    "c.csv": as_csv,
    "c.tsv": lambda path: as_csv(path, "\t"),
    "c.jsonl.gz": as_gzip,
    "c.jsonl.zst": as_zstd,
    "c.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents(name, tmp_path):
    WRITERS[name](tmp_path / name)
    found, said = read(tmp_path / name)
    assert [document.doc_id for document in found] == ["a", "b", "c"]
    assert [document.body for document in found] == [one["text"] for one in DOCUMENTS]
    assert found[0] == Document(
        doc_id="a", body=DOCUMENTS[0]["text"], title="First", domain="x", metadata={"year": "2020"}
    )
    assert not said


def test_a_given_format_goes_before_the_name(tmp_path):
    as_csv(tmp_path / "c.txt")
    assert len(read(tmp_path / "c.txt", "csv")[0]) == 3
    assert "set format to one of csv, json, jsonl, parquet, tsv" in refusal(tmp_path / "c.txt")


def test_a_mark_crlf_blank_lines_and_a_missing_last_newline_are_fine(tmp_path):
    path = lines(
        tmp_path / "c.jsonl", b"\xef\xbb\xbf", {"id": 1, "text": "one"}, b"\r\n\n  \n", b'{"id": 2, "text": "two"}\r\n',
        b'{"id": 3, "text": "three"}',
    )  # fmt: skip
    found, said = read(path)
    assert [(d.doc_id, d.body) for d in found] == [("1", "one"), ("2", "two"), ("3", "three")]
    assert not said


def test_dotted_paths_are_projected_and_the_rest_stays(tmp_path):
    record = {"meta": {"key": 7, "kind": {"name": "k"}}, "content": {"text": "body"}, "a.b": "dotted", "n": [1]}
    found, _ = read(
        lines(tmp_path / "c.jsonl", record),
        doc_id="meta.key",
        body="content.text",
        title="a.b",
        domain="meta.kind.name",
    )
    assert found == [Document(doc_id="7", body="body", title="dotted", domain="k", metadata={"n": [1]})]
    nested, _ = read(lines(tmp_path / "c.jsonl", {"id": "x", "text": "t", "s": {"c": "v"}}))
    assert nested[0].field("s.c") == "v"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{not json}\n", "not JSON"),
        (b'"text"\n', "a JSON object is needed, this is text"),
        (b"[1]\n", "a JSON object is needed, this is a list"),
        (b"null\n", "this is null"),
        (b'{"id": "q", "text": "\xff"}\n', "not UTF-8"),
        (b'{"id": "q", "text": ["a"]}\n', "the field 'text' (body) is not text"),
        (b'{"id": {"x": 1}, "text": "a"}\n', "the field 'id' (doc_id) is not text"),
        (b'{"id": "q", "text": "cut', "not JSON"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b'{"id": "a", "text": "again"}\n', "the id 'a' stands at 1 already"),
    ],
)
def test_a_bad_line_is_refused_with_its_place_or_counted(line, words, tmp_path):
    path = lines(tmp_path / "c.jsonl", DOCUMENTS[0], b"\n", line)
    message = refusal(path)
    assert message.startswith(f"{path}:3: ")
    assert words in message
    assert "on_bad_line" in message
    found, said = read(path, on_bad_line="skip")
    assert [document.doc_id for document in found] == ["a"]
    assert len(said) == 1
    assert "skipped 1 document" in said[0]
    assert "(at 3)" in said[0]


def test_documents_without_a_body_or_an_id_are_skipped_and_counted(tmp_path):
    empty = [{"id": f"e{n}", "text": text} for n, text in enumerate(["", "  \n", None, "", "", "", ""])]
    found, said = read(lines(tmp_path / "c.jsonl", *empty, {"text": "no id"}, *DOCUMENTS))
    assert len(found) == 3
    assert said == [
        f"{tmp_path / 'c.jsonl'}: skipped 7 documents: the field 'text' (body) is empty (at 1, 2, 3, 4, 5, …)",
        f"{tmp_path / 'c.jsonl'}: skipped 1 document: the field 'id' (doc_id) is empty (at 8)",
    ]


def test_a_wrong_projection_is_refused_with_the_fields_there_are(tmp_path):
    message = refusal(lines(tmp_path / "c.jsonl", {"_id": "1", "content": "words of it", "lang": "en"}))
    assert "no document is left" in message
    assert "'_id', 'content', 'lang'" in message
    assert "projection: {body: content, doc_id: _id}" in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_corpus_is_refused(content, tmp_path):
    assert "empty corpus" in refusal(lines(tmp_path / "c.jsonl", content))
    (tmp_path / "c.json").write_text("[]")
    assert "empty corpus" in refusal(tmp_path / "c.json")


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.jsonl.zst", "c.parquet", "c.json", "c.csv"])
def test_a_broken_file_is_refused_in_one_line(name, tmp_path):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if name != "c.csv" else b"id,text\n1,\xff\xfe\n")
    assert str(tmp_path / name) in refusal(tmp_path / name)


def test_utf_16_is_named(tmp_path):
    (tmp_path / "c.jsonl").write_text(json.dumps(DOCUMENTS[0]), encoding="utf-16")
    assert "UTF-16" in refusal(tmp_path / "c.jsonl")


def test_odd_text_is_kept_and_lone_surrogates_become_readable(tmp_path):
    text = "NUL \x00, escape \x1b, {{ template }}, <b>markup</b>, 停车"
    made = [{"id": "a", "text": text}, {"id": "b", "text": "lone \ud800 here", "m": {"k": ["\udfff"]}}]
    found, _ = read(lines(tmp_path / "c.jsonl", *made))
    assert found[0].body == text
    assert found[1].body == "lone � here"
    assert found[1].metadata == {"m": {"k": ["�"]}}
    assert Document.model_validate_json(found[1].model_dump_json()) == found[1]


def test_a_document_of_ten_megabytes_is_read(tmp_path):
    found, _ = read(lines(tmp_path / "c.jsonl", {"id": "big", "text": "many words " * 1_000_000}))
    assert len(found[0].body) == 11_000_000
    with (tmp_path / "c.csv").open("w") as file:
        csv.writer(file).writerows([["id", "text"], ["big", "x" * 10_000_000]])
    assert len(read(tmp_path / "c.csv")[0][0].body) == 10_000_000


def test_a_csv_row_with_too_many_values_is_named(tmp_path):
    (tmp_path / "c.csv").write_text('id,text\n1,"two\nlines"\n2,three,four\n')
    assert f"{tmp_path / 'c.csv'}:4: more values" in refusal(tmp_path / "c.csv")


def test_records_at_hand_are_checked_alike():
    one, projector = {"id": 1, "text": "one"}, Projector.of(Projection())
    with pytest.raises(EngineError, match="corpus, document 2: the id '1' stands at 1 already"):
        list(Corpus(Inline("corpus", [one, one]), projector).documents())
    with pytest.raises(EngineError, match="corpus, document 2: a mapping is needed, this is Document"):
        list(Corpus(Inline("corpus", [one, Document(doc_id="1", body="x")]), projector).documents())
    with pytest.raises(EngineError, match="empty corpus"):
        list(Corpus(Inline("corpus", []), projector).documents())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.builds(
            Document,
            doc_id=st.text(min_size=1, max_size=8).filter(str.strip),
            body=st.text(min_size=1, max_size=40).filter(str.strip),
            title=st.text(max_size=8),
            domain=st.text(max_size=8),
            metadata=st.dictionaries(st.text("abcm", min_size=1, max_size=3), JSON, max_size=3),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda document: document.doc_id,
    )
)
def test_documents_written_as_json_lines_are_read_back_equal(tmp_path_factory, documents):
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    own = [{"id": d.doc_id, "text": d.body, "title": d.title, "domain": d.domain, **d.metadata} for d in documents]
    path.write_text("".join(json.dumps(one) + "\n" for one in own))
    assert read(path)[0] == documents
