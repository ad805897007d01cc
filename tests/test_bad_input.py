"""What a user gets for a mistake: a line with a place and a way out and the right exit code, or a counted drop; never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from building import lines, task_values, write_corpus

from dgt_rag import run
from dgt_rag.errors import TaskError


def engine(**keys: Any) -> dict[str, Any]:
    return {"tools": {"engines": {"retriever": {"type": "search/in_memory", **keys}}}}


def rows(folder: Path) -> list[dict[str, Any]]:
    return lines(folder / "output" / "small" / "formatted_output.jsonl")


DOCUMENT = {"id": "a", "text": "A permit costs 5 euros a year. It is valid for one zone. Apply with form P-2."}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "corpus.jsonl: empty corpus: there is no document in it"),
        ("\n \n\n", "corpus.jsonl: empty corpus: there is no document in it"),
        (
            json.dumps(DOCUMENT) + "\n{nope\n",
            "corpus.jsonl:2: not JSON: Expecting property name enclosed in double quotes (column 2); mend it, or set on_bad_line: skip",
        ),
        ("[1]\n", "corpus.jsonl:1: a JSON object is needed, this is a list; mend it, or set on_bad_line: skip"),
        (
            '{"id": "a", "content": "Long words."}\n',
            "corpus.jsonl: no document is left: skipped 1 document: the field 'text' (body) is not there (at 1); the first one has the fields 'id', 'content'; set e.g. projection: {body: content, doc_id: id}",
        ),
        (
            '{"id": "a", "text": " \\n "}\n{"id": "b"}\n',
            "corpus.jsonl: no document is left: skipped 1 document: the field 'text' (body) is empty (at 1); skipped 1 document: the field 'text' (body) is not there (at 2); the first one has the fields 'id', 'text'; no field of it looks like a text; set projection to the fields that hold them",
        ),
        (
            (json.dumps(DOCUMENT) + "\n") * 2,
            "corpus.jsonl:2: the id 'a' stands at 1 already; ids must differ (or set on_bad_line: skip to keep the first)",
        ),
        (
            json.dumps({**DOCUMENT, "domain": ["x", "y"]}) + "\n",
            "corpus.jsonl:1: the field 'domain' (domain) is not text (projection: {domain: ''} leaves it among the metadata); mend it, or set on_bad_line: skip",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["search/in_memory", "search/file"])
def test_a_corpus_that_cannot_be_used_is_the_users_to_mend(tmp_path, told, kind, text, line):
    (tmp_path / "corpus.jsonl").write_text(text)
    assert told(**engine(type=kind, path=str(tmp_path / "corpus.jsonl")))[::2] == (2, line + "\n")


@pytest.mark.parametrize("kind", ["search/in_memory", "search/file"])
def test_a_field_left_among_the_metadata_still_makes_groups(tmp_path, told, kind):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({**DOCUMENT, "id": n, "domain": ["x", "y"]}) + "\n" for n in (1, 2, 3)))
    assert told(**engine(type=kind, path=str(corpus), projection={"domain": ""}))[0] == 0


TEXTS = {
    "templates": "{{ 7*7 }} costs 5 euros. {% raise %} A form is needed for ${oc.env:HOME}. ${nope} opens on Monday.",
    "html": "<h1>Fees</h1><script>alert(1)</script> The fee is 5 euros. <b>A form</b> is needed. </script>It opens on Monday.",
    "control": "A permit\x00 costs\x07 5 euros.\r\nIt is \x1b[31mvalid for\u202e one zone\u202c.\u2028A form\u0085 is needed for it.",
    "chinese": "居民停车许可证每年费用为120欧元。该许可证仅适用于一辆车和一个区域。请携带登记证申请。",
    "arabic": "تبلغ تكلفة تصريح الإقامة 120 يورو سنويًا. التصريح صالح لمركبة واحدة ومنطقة واحدة.",
    "thai": "บัตรห้องสมุดฟรีสำหรับทุกคนที่อายุต่ำกว่า 18 ปี ผู้ใหญ่จ่าย 20 ยูโรต่อปี",
    "one line": "household waste is collected every tuesday put the bin out before seven a second bin costs 48 euros a year",
    "table": "\n".join(f"| item {n} | {n * 3} euros | zone {n % 7} |" for n in range(500)),
}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_data_and_comes_out_as_it_went_in(tmp_path, told, text, live):
    bodies = {"a": text, "b": f"{text} And more.", "c": f"Also: {text}"}
    write_corpus(tmp_path / "corpus.jsonl", bodies)
    assert told(live=live)[0] == 0
    held = json.dumps(rows(tmp_path), ensure_ascii=False)
    shown = (
        json.dumps(json.dumps(text, ensure_ascii=False), ensure_ascii=False)
        if live
        else json.dumps(text, ensure_ascii=False)
    )
    assert shown.strip('\\"') in held
    raw = (tmp_path / "output" / "small" / "final_data.jsonl").read_text(encoding="utf-8")
    assert len(raw.splitlines()) == len(rows(tmp_path)) > 0


def test_words_that_nothing_can_be_asked_about_are_dropped_with_the_reason(tmp_path, told):
    write_corpus(tmp_path / "corpus.jsonl", {"a": "Hello", "b": "... !!!"})
    code, out, _ = told()
    assert code == 4
    assert "dropped 4: nothing_to_ask, such as: no document holds a sentence" in out


def test_a_very_long_document_is_one_among_others(tmp_path, told):
    long = " ".join(f"The fee for item {n} is {n * 3} euros in every district." for n in range(40_000))
    write_corpus(tmp_path / "corpus.jsonl", {"a": long, "b": "word " * 300_000, "c": "x" * 2_000_000})
    assert told(live=True)[0] == 0


@pytest.mark.parametrize("live", [False, True])
def test_one_document_is_enough_also_for_more_than_it_holds(tmp_path, told, live):
    (tmp_path / "corpus.jsonl").write_text(json.dumps({**DOCUMENT, "domain": "d"}) + "\n")
    assert told(live=live)[0] == 0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"task_name": "a/../b"}, "task.yaml:{}: task_name: must stay inside the output folder; got 'a/../b'"),
        ({"task_name": "a//b"}, "task.yaml:{}: task_name: must name a folder, as rag/parking does; got 'a//b'"),
        (
            {"task_name": "a\0b"},
            r"task.yaml:{}: task_name: no white space and none of \ : * ? "
            r"""" < > | may stand in the name of a folder; got 'a\x00b'""",
        ),
        ({"max_turns": 1}, "task.yaml:{}: max_turns: 1 is less than min_turns (2); set that too"),
        ({"max_minutes": float("inf")}, "task.yaml:{}: max_minutes: a finite number is needed; got inf"),
        ({"concurrency": 0}, "task.yaml:{}: concurrency: must be at least 1; got 0"),
        (
            {"formatters": [{"type": "messages", "file_name": "final_data.jsonl"}]},
            "task.yaml:{}: formatters.0.file_name: a run writes a file of this name itself; choose another; got 'final_data.jsonl'",
        ),
        (
            {"seed_examples": "~nobody-of-that-name/x"},
            "task.yaml:{}: seed_examples: ~nobody-of-that-name/x cannot be looked for",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_line(tmp_path, told, changes, line):
    code, _, err = told(**changes)
    key = next(iter(changes))
    text = (tmp_path / "task.yaml").read_text().splitlines()
    inner = {"formatters": "file_name:"}.get(key, f"{key}:")
    number = next(n for n, one in enumerate(text, start=1) if one.strip().removeprefix("- ").startswith(inner))
    assert code == 2
    assert err.startswith(line.format(number)) and err.count("\n") == 1


def test_an_override_below_nothing_is_told_to_stand_on_the_command_line(told):
    code, _, err = told(None, "a.b.c=3")
    assert (code, err.partition(";")[0]) == (2, "command line: a: unknown key 'a'")


def test_a_wrong_change_from_python_is_told_in_one_line(tmp_path):
    with pytest.raises(TaskError, match=r"^num_outputs: must be at least 1; got 0$"):
        run(task_values(tmp_path), num_outputs=0)
    with pytest.raises(TaskError, match=r"^outputs: unknown key 'outputs'; did you mean 'num_outputs'\?$"):
        run(task_values(tmp_path), outputs=3)


@pytest.mark.parametrize("file", ["seeds", "personas"])
def test_a_file_of_seeds_or_personas_may_begin_with_a_byte_order_mark_but_not_be_empty(tmp_path, told, file):
    one = {
        "seeds": {
            "steps": [{"role": "user", "content": "{{ 7 }} ${nope}"}, {"role": "assistant", "content": "{% x %}"}]
        },
        "personas": {"role": "{{ 7*7 }} ${oc.env:HOME}"},
    }[file]
    path = tmp_path / f"{file}.jsonl"
    values = task_values(tmp_path, num_outputs=2)
    if file == "seeds":
        values["seed_examples"] = str(path)
    else:
        values["initialization_stages"].append({"name": "sample/persona", "persona_store": {"data_path": str(path)}})
    path.write_text(json.dumps(one) + "\n", encoding="utf-8-sig")
    assert told(values)[0] == 0
    path.write_text("\n")
    code, _, err = told(values, "--restart")
    assert code == 2 and err.startswith(f"{file}.jsonl: holds no ")


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("user.j2", b"{% if %}", "prompts/user.j2:1: Expected an expression, got 'end of statement block'"),
        ("user.j2", b"\xff", "prompts/user.j2: not UTF-8 text (invalid start byte)"),
        ("usr.j2", b"x", "prompts/usr.j2: replaces no prompt of ours; there are: answer.j2, "),
    ],
)
def test_a_template_that_is_none_is_refused_whichever_model_is_asked(tmp_path, told, name, data, line):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / name).write_bytes(data)
    code, _, err = told(prompts=str(tmp_path / "prompts"))
    assert code == 2 and err.startswith(line)


@pytest.mark.parametrize("name", ["my tool!", "", "x" * 65])
def test_a_tool_name_that_models_do_not_take_is_refused(told, tmp_path, name):
    values = task_values(tmp_path, live=True)
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    tool = {"name": name, "description": "Finds.", "parameters": schema}
    values["tools"]["registry"] = [{"engine": "retriever", "tools": [tool]}]
    line = f"tool {name!r}: models take names of 1 to 64 letters, digits, _ and - only\n"
    assert told(values)[::2] == (2, line)


@pytest.mark.parametrize("fault", ["network_error", "empty_result", "unparseable_result", "index_not_found"])
def test_conversations_are_sound_though_every_search_fails(tmp_path, told, fault):
    values = task_values(tmp_path, live=True)
    values["tools"]["engines"]["retriever"]["error_categories"] = [{"type": fault, "probability": 1.0}]
    assert told(values)[0] == 0
    for row in lines(tmp_path / "output" / "small" / "final_data.jsonl"):
        answers = [step for step in row["steps"] if step["role"] == "assistant" and step["answerability"]]
        assert answers and all(not step["citations"] for step in answers)
        assert {step["answerability"] for step in answers} == {"unanswerable"}


@pytest.mark.parametrize("name", ["journal.jsonl", "final_data.jsonl", "run.json", "calls.sqlite"])
def test_a_folder_where_a_file_is_to_be_written_is_told(tmp_path, told, name):
    (tmp_path / "output" / "small" / name).mkdir(parents=True)
    code, _, err = told()
    assert code == 2 and err.startswith(f"output/small/{name}: cannot be ")


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"identity": 5}', "\x00"])
def test_a_damaged_run_json_is_refused_and_a_restart_mends_it(tmp_path, told, text):
    told()
    (tmp_path / "output" / "small" / "run.json").write_text(text)
    code, _, err = told()
    assert code == 2 and err.startswith("output/small/run.json: ") and err.endswith("start over with --restart\n")
    assert told(None, "--restart")[0] == 0


def test_a_damaged_line_of_the_journal_is_named_and_without_it_the_rows_are_the_same(tmp_path, told):
    told()
    folder = tmp_path / "output" / "small"
    journal, before = folder / "journal.jsonl", (folder / "final_data.jsonl").read_bytes()
    first, *others = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([first[:50] + b"\n", *others]))
    code, _, err = told()
    assert code == 2 and err.startswith("output/small/journal.jsonl:1: not a line of ours")
    journal.write_bytes(b"".join(others))
    (folder / "final_data.jsonl").unlink()
    assert told()[0] == 0
    assert (folder / "final_data.jsonl").read_bytes() == before
