"""Corpus files are read whole, and what is not read is said."""

import csv
import gzip
import json
import re
import resource
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dgt_rag.corpus.read import Corpus, Inline, Projector
from dgt_rag.corpus.rows import Source, clean, parse_line
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


PLAIN = [name for name in WRITERS if not name.endswith((".gz", ".zst"))]


@pytest.mark.parametrize("packing", ["gz", "zst"])
@pytest.mark.parametrize("name", PLAIN)
def test_every_format_is_read_packed_as_well(name, packing, tmp_path):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    if packing == "zst":
        zstandard = pytest.importorskip("zstandard", reason="pip install 'dgt-rag[zstd]'")
        # frames of one byte and of many
        packed = b"".join(zstandard.compress(part) for part in (whole[:1], whole[1:2], whole[2:]))
    else:
        packed = gzip.compress(whole)
    (tmp_path / f"{name}.{packing}").write_bytes(packed)
    assert read(tmp_path / f"{name}.{packing}")[0] == read(tmp_path / name)[0]


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


def nested(levels: int) -> bytes:
    """Return a document so many levels deep."""
    return b'{"id": "q", "text": "t", "n": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


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
        (nested(101), "not readable: nested too deeply"),
        (nested(600), "not readable: nested too deeply"),
        (nested(3000), "not readable: nested too deeply"),
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


def test_a_document_may_be_a_hundred_levels_deep_in_lines_and_in_an_array(tmp_path):
    for name, content in [("c.jsonl", nested(100)), ("c.json", b"[" + nested(100) + b"]")]:
        (tmp_path / name).write_bytes(content)
        (document,) = read(tmp_path / name)[0]
        assert document.field("n")


@pytest.mark.parametrize(("levels", "line"), [(101, "c.json, item 2: not readable"), (100_000, "item 2 is")])
def test_an_item_of_an_array_that_is_nested_too_deeply_is_one_line(levels, line, tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(b'[{"id": "a", "text": "t"}, ' + nested(levels) + b"]")
    assert re.search(rf"{line}.* nested too deeply", refusal(path))


def test_documents_without_a_body_or_an_id_are_skipped_and_counted(tmp_path):
    empty = [{"id": f"e{n}", "text": text} for n, text in enumerate(["", "  \n", None, "", "", "", ""])]
    found, said = read(lines(tmp_path / "c.jsonl", *empty, {"text": "no id"}, *DOCUMENTS))
    assert len(found) == 3
    assert said == [
        f"{tmp_path / 'c.jsonl'}: skipped 7 documents: the field 'text' (body) is empty (at 1, 2, 3, 4, 5, …)",
        f"{tmp_path / 'c.jsonl'}: skipped 1 document: the field 'id' (doc_id) is not there (at 8)",
    ]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("body", ["", " \n"])
def test_a_document_with_an_empty_body_is_skipped_and_told_in_every_format(name, body, tmp_path, monkeypatch):
    monkeypatch.setitem(DOCUMENTS[1], "text", body)
    WRITERS[name](tmp_path / name)
    found, said = read(tmp_path / name)
    assert [document.doc_id for document in found] == ["a", "c"]
    assert len(said) == 1
    assert "skipped 1 document: the field 'text' (body) is empty (at " in said[0]


def test_a_second_document_of_one_id_is_told_beside_the_first_that_has_a_body(tmp_path):
    path = lines(tmp_path / "c.jsonl", {"id": "a", "text": " "}, {"id": "a", "text": "x"}, {"id": "a", "text": "y"})
    assert f"{path}:3: the id 'a' stands at 2 already" in refusal(path)


def test_a_wrong_projection_is_refused_with_the_fields_there_are(tmp_path):
    message = refusal(lines(tmp_path / "c.jsonl", {"_id": "1", "content": "words of it", "lang": "en"}))
    assert "no document is left" in message
    assert "'_id', 'content', 'lang'" in message
    assert "projection: {body: content, doc_id: _id}" in message


def test_fields_within_fields_are_suggested(tmp_path):
    record = {"key": 3, "content": {"title": "t", "text": "words"}, "note": ""}
    assert refusal(lines(tmp_path / "c.jsonl", record)).endswith(
        "set e.g. projection: {body: content.text, doc_id: key}"
    )


def test_documents_that_lie_within_one_object_are_asked_for_one_by_one(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({f"d{n}": {"text": "words"} for n in range(50)}))
    message = refusal(tmp_path / "c.json")
    assert "'d11' and 38 more; if each of these is a document, write them as an array, or one on each line" in message
    (tmp_path / "c.json").write_text(json.dumps({"version": 2, "documents": DOCUMENTS}))
    assert refusal(tmp_path / "c.json").endswith(
        "if the documents are those in 'documents', write them as an array, or one on each line"
    )


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


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.jsonl.zst", "c.json"])
def test_no_beginning_of_a_packed_file_or_of_an_array_is_taken_for_the_whole(name, tmp_path):
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        assert str(tmp_path / name) in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[{"id": "1", "text": "a"} {"id": "2", "text": "b"}]',
            "after item 1 a comma or the end of the array is needed",
        ),
        ('[{"id": "1", "text": "a"},, {"id": "2", "text": "b"}]', "not JSON in item 2"),
        ('[{"id": "1", "text": "a"}] more', "there is more after the end of the array"),
        ('[{"id": "1", "text": "a"}]\n[{"id": "2", "text": "b"}]', "there is more after the end of the array"),
        ('{\n "documents": [{"id": "1", "text": "a"}]\n}', "this is one object over several lines"),
    ],
)
def test_what_is_not_one_array_is_refused(text, words, tmp_path):
    (tmp_path / "c.json").write_text(text)
    assert words in refusal(tmp_path / "c.json")
    assert words in refusal(tmp_path / "c.json", on_bad_line="skip")


def test_frames_of_zstd_one_after_the_other_are_all_read(tmp_path):
    zstandard = pytest.importorskip("zstandard", reason="pip install 'dgt-rag[zstd]'")
    frames = [zstandard.compress(json.dumps(one).encode() + b"\n") for one in DOCUMENTS]
    passed_over = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    (tmp_path / "c.jsonl.zst").write_bytes(frames[0] + passed_over + frames[1] + frames[2])
    assert len(read(tmp_path / "c.jsonl.zst")[0]) == 3


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_what_cannot_be_unpacked_is_refused_with_the_way_out(suffix, tmp_path):
    path = tmp_path / f"c.jsonl.{suffix}"
    as_jsonl(path)
    assert "is it damaged or cut? write or fetch it anew" in refusal(path)
    WRITERS[f"c.jsonl.{suffix}"](path)
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2 : len(packed) // 2 + 8] = b"\xff" * 8
    path.write_bytes(packed)
    assert str(path) in refusal(path, on_bad_line="skip")


@pytest.mark.parametrize("rows", [10, 100_000])
def test_a_full_disk_while_a_file_is_unpacked_is_told_as_one(rows, tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'dgt-rag[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"id": [f"d{n}" for n in range(rows)], "text": [f"some text {n}" for n in range(rows)]})
    parquet.write_table(table, tmp_path / "c.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "c.parquet.gz").write_bytes(gzip.compress(whole))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 1, hard))
    try:
        refused = refusal(tmp_path / "c.parquet.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "where no room is left (File too large); set TMPDIR to a folder with room" in refused
    assert "damaged" not in refused


def test_a_name_of_the_projection_that_no_document_has_is_told(tmp_path):
    rows = [{"id": "a", "text": "x", "headline": "T"}, {"id": "b", "text": "y"}]
    path = lines(tmp_path / "c.jsonl", *rows)
    assert read(path, title="headline")[1] == read(path)[1] == []
    (told,) = read(path, title="headlin", domain="")[1]
    assert "no document has a 'headlin' (projection.title); the first one has 'id', 'text', 'headline'" in told


def test_fields_that_lie_deeper_are_suggested_where_every_line_is_a_document(tmp_path):
    rows = [{"key": {"id": f"d{n}"}, "content": {"text": "words"}} for n in range(2)]
    message = refusal(lines(tmp_path / "c.jsonl", *rows))
    assert message.endswith("set e.g. projection: {body: content.text, doc_id: key.id}")


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


ROWS = "id,text\n1,one\n2,{}\n3,three\n4,four\n"


def test_an_open_quote_of_a_csv_file_does_not_swallow_the_rows_after_it(tmp_path):
    path = tmp_path / "c.csv"
    for text in (ROWS.format('"two'), ROWS.format('"two') + '5,"five"\n', 'id,text\n1,one\n2,"the file ends he'):
        path.write_text(text)
        for on_bad_line in ("refuse", "skip"):
            assert f"{path}: cannot be read as csv: line 3: a quote that is opened here is not closed" in refusal(
                path, on_bad_line=on_bad_line
            )


def test_a_quote_within_a_line_of_csv_spoils_that_line_only(tmp_path):
    (tmp_path / "c.csv").write_text(ROWS.format('"two" or so'))
    assert f"{tmp_path / 'c.csv'}:3: not CSV" in refusal(tmp_path / "c.csv")
    found, said = read(tmp_path / "c.csv", on_bad_line="skip")
    assert [document.doc_id for document in found] == ["1", "3", "4"]
    assert said == [f"{tmp_path / 'c.csv'}: skipped 1 document: not CSV (at 3)"]
    (tmp_path / "c.csv").write_text('"id" of it,text\n1,one\n')
    assert "line 1: not CSV" in refusal(tmp_path / "c.csv", on_bad_line="skip")


@pytest.mark.parametrize("passage", ['"Two', '"Two" is quoted', 'is "two"', '""', '"a" and "b"'])
def test_a_quote_in_a_tsv_file_belongs_to_the_text_unless_the_field_is_quoted(passage, tmp_path):
    (tmp_path / "c.tsv").write_text(f'id\ttext\n1\tone\n2\t{passage} x\n3\tthree"\n4\t{passage} x')
    found, _ = read(tmp_path / "c.tsv")
    assert [document.body for document in found] == ["one", f"{passage} x", 'three"', f"{passage} x"]


def test_a_quoted_tsv_field_may_hold_tabs_and_lines(tmp_path):
    text = 'def f(x):\n\treturn "x"\n\tpass\nend\n'
    with (tmp_path / "c.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["id", "text"], ["1", text], ["2", "a\tb"], ["3", "c"]])
    assert [document.body for document in read(tmp_path / "c.tsv")[0]] == [text, "a\tb", "c"]


def test_a_tsv_row_of_many_quoted_fields_may_look_like_two(tmp_path):
    rows = [["1", "two\nlines", "a\tb"], ["2", "plain", '"said" he'], ["3", "a\tb\tc", "three\n\nlines"]]
    with (tmp_path / "c.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["id", "text", "note"], *rows])
    found, _ = read(tmp_path / "c.tsv")
    assert [[one.doc_id, one.body, one.metadata["note"]] for one in found] == rows


def test_a_tsv_row_whose_quote_is_not_closed_before_the_next_row_is_refused_or_skipped(tmp_path):
    (tmp_path / "c.tsv").write_text('id\ttext\n1\t"one\nand more\n2\ttwo\n')
    assert f"{tmp_path / 'c.tsv'}:2: a quote that is opened here is not closed" in refusal(tmp_path / "c.tsv")
    found, said = read(tmp_path / "c.tsv", on_bad_line="skip")
    assert [document.body for document in found] == ["two"]
    assert "(at 2)" in said[0]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_csv_file_parted_by_something_else_than_commas_is_read(delimiter, tmp_path):
    as_csv(tmp_path / "c.csv", delimiter)
    assert [document.body for document in read(tmp_path / "c.csv")[0]] == [one["text"] for one in DOCUMENTS]
    (tmp_path / "c.csv").write_text(f'"id"{delimiter}"text, all"\n1{delimiter}"a, b{delimiter} c"\n')
    assert read(tmp_path / "c.csv", body="text, all")[0][0].body == f"a, b{delimiter} c"
    (tmp_path / "c.csv").write_text(f"id{delimiter}title, main{delimiter}text\n1{delimiter}a, b{delimiter}c\n")
    assert read(tmp_path / "c.csv", title="title, main")[0][0].title == "a, b"


@pytest.mark.parametrize("name", ["c.csv", "c.tsv"])
def test_two_columns_of_one_name_are_refused_and_columns_without_a_name_are_numbered(name, tmp_path):
    def write(*rows):
        delimiter = "," if name == "c.csv" else "\t"
        (tmp_path / name).write_text("\n" + "".join(delimiter.join(row) + "\n" for row in rows))

    write(["id", "text", "text"], ["1", "one", "two"])
    assert "two columns are named 'text'; rename one" in refusal(tmp_path / name, on_bad_line="skip")
    write(["", "id", "text", ""], ["7", "1", "one", ""])
    assert read(tmp_path / name)[0][0].metadata == {"column 1": "7", "column 4": ""}


def test_a_table_without_names_is_told_to_lack_them(tmp_path):
    passage = "The first passage of a collection whose first line holds no names."
    (tmp_path / "c.tsv").write_text(f"0\t{passage}\n1\tAnother passage.\n")
    message = refusal(tmp_path / "c.tsv")
    assert message.endswith("the first line must hold the names of the columns, such as id and text")
    assert passage not in message


@pytest.mark.parametrize("name", ["c.csv", "c.json", "c.tsv"])
def test_a_file_that_is_not_utf_8_is_refused_with_the_way_out(name, tmp_path):
    WRITERS[name](tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"Three", b"Thr\xe9"))
    assert "not UTF-8 (byte 0xe9: invalid continuation byte); write it as UTF-8" in refusal(tmp_path / name)


FIELDS = st.text('ab"\r\n,; é', max_size=12)


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=5))
def test_what_a_csv_writer_writes_is_read_back_equal(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("tables")
    for name, delimiter in (("c.csv", ","), ("d.csv", ";"), ("c.tsv", "\t")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([("x", "y", "z"), *rows])
        found = [(row.problem, row.record) for row in Source.of(folder / name).rows()]
        assert found == [("", dict(zip("xyz", row, strict=True))) for row in rows]


@given(st.lists(st.text('ab" ', max_size=8), min_size=1, max_size=8))
def test_no_line_of_a_tsv_file_of_plain_text_is_swallowed(tmp_path_factory, passages):
    path = tmp_path_factory.mktemp("tables") / "c.tsv"
    path.write_text("id\ttext\n" + "".join(f"{number}\t{text}\n" for number, text in enumerate(passages)))
    assert [row.record["id"] for row in Source.of(path).rows()] == [str(number) for number in range(len(passages))]


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
    st.dictionaries(st.text(max_size=5), JSON | st.floats() | st.integers(), max_size=4),
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(0, 200), st.sampled_from(["", "x", '"', "\\", "\\ud800", "NaN", "1e999", "\xff", "{", ","])
        )
    ),
)
@example({"v": [{"w": 0}]}, True, [(13, "1e999")])
@example({"v": 0}, True, [(6, "1e999")])
def test_a_line_is_read_as_the_standard_library_reads_it(record, ascii_only, changes):
    text = json.dumps(record, ensure_ascii=ascii_only)
    for at, sign in changes:
        text = text[: at % len(text)] + sign + text[at % len(text) + 1 :] if text else sign
    line = text.encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(line.decode("utf-8"), parse_constant=lambda name: None)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert json.dumps(parse_line(line), allow_nan=False) == json.dumps(clean(expected))
    else:
        with pytest.raises(ValueError, match=r"not JSON|not UTF-8|a JSON object is needed"):
            parse_line(line)


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
