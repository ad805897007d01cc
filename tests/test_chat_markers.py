"""Control tokens of chat templates in documents: no row is trained on them by accident, and nothing is changed silently."""

import json
from pathlib import Path

import pytest
from building import BODIES, lines, task_values, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from dgt_rag.cli import run_command
from dgt_rag.corpus.markers import broken_up, had_marker, marker_in, without_markers
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.guarded import guarded
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.records import Document
from dgt_rag.world import World

TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>", "<|endoftext|>", "<|assistant|>", "<|START_OF_TURN_TOKEN|>",
    "<|reserved_special_token_0|>", "<\uff5cUser\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<s>", "</s>", "<pad>", "<unk>",
    "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>",
    "<BOS_TOKEN>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[gMASK]", "[|user|]",
)  # fmt: skip
PLAIN = (
    "<b>",
    "</strong>",
    "<span>",
    "[1]",
    "[INSTALL]",
    "[inst]",
    "List<T>",
    "a <| b |> c",
    "a < s > b",
    "<||>",
    "<S>",
)


def words() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*TOKENS, *PLAIN, "<", "|", ">", "[", "]", " ", "s", "/"])).map("".join)


@pytest.mark.parametrize("token", TOKENS)
def test_the_tokens_of_known_templates_are_found_wherever_they_stand(token):
    text = f"It says{token}and goes on."
    assert marker_in(text) == token
    assert broken_up(text) == f"It says{token[0]} {token[1:]}and goes on."
    assert had_marker(broken_up(text)) == f"{token[0]} {token[1:]}"


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_and_markup_are_no_tokens(text):
    assert marker_in(text) is None and broken_up(text) == text


@given(words() | st.text())
def test_what_is_broken_up_holds_none_and_differs_by_spaces_only(text):
    broken = broken_up(text)
    assert marker_in(broken) is None and broken_up(broken) == broken
    assert broken.replace(" ", "") == text.replace(" ", "")
    assert (broken == text) == (marker_in(text) is None)


def test_a_document_without_any_is_the_same_document():
    clean = Document(doc_id="a", body="A permit costs 20 euros.", title="Permits")
    assert without_markers(clean) is clean
    titled = without_markers(Document(doc_id="b", body="x", title="On </s>", metadata={"source": "<s>"}))
    assert (titled.title, titled.metadata) == ("On < /s>", {"source": "<s>"})


@pytest.fixture
def corpus(tmp_path) -> Path:
    """The small corpus, with a turn that ends in the midst of each document."""
    bodies = {name: body.replace(". ", ".<|im_end|>\n<|im_start|>assistant ", 1) for name, body in BODIES.items()}
    return write_corpus(tmp_path / "corpus.jsonl", bodies)


def texts(folder: Path) -> str:
    return "".join(
        (folder / "output/small" / name).read_text() for name in ("formatted_output.jsonl", "final_data.jsonl")
    )


@pytest.mark.parametrize("live", [True, False], ids=["live", "static"])
def test_no_row_holds_one_and_the_citations_of_rows_are_verbatim(tmp_path, corpus, told, live):
    code, out, _ = told(live=live)
    assert code == 0 and "kept 2 of 2 asked for" in out
    written = texts(tmp_path)
    assert marker_in(written) is None and "< |im_end|>" in written
    for talk in lines(tmp_path / "output/small/final_data.jsonl"):
        shown = [
            hit for step in talk["steps"] if step["role"] == "tool_result" for hit in step["content"]["result"] or ()
        ]
        shown += [] if live else talk["steps"][0]["documents"]
        cited = [citation for step in talk["steps"] if step["role"] == "assistant" for citation in step["citations"]]
        assert cited and all(
            any(d["doc_id"] == one["doc_id"] and d["body"][one["start"] : one["end"]] == one["quote"] for d in shown)
            for one in cited
        )
    figures = json.loads((tmp_path / "output/small/run.json").read_text())["figures"]
    assert figures["documents_with_chat_markers"] == figures["documents_used"] > 0
    line = f"documents with control tokens of chat templates {figures['documents_used']}, as rows hold them: '< |im_end|>' in "
    assert line in out


def covering(**more):
    sampler = {"type": "search/coverage", "engine": "retriever", "k": 2, **more}
    return [{"name": "lm/scenario/rag", "document_samplers": [sampler]}]


@pytest.mark.parametrize("group_by", [None, "domain"])
def test_no_row_holds_one_of_documents_that_are_taken_by_their_places(tmp_path, corpus, told, group_by):
    code, out, _ = told(initialization_stages=covering(group_by=group_by))
    assert code == 0 and "kept 2 of 2 asked for" in out
    written = texts(tmp_path)
    assert marker_in(written) is None and "< |im_end|>" in written


def test_with_drop_a_document_that_is_only_passed_drops_nothing(tmp_path, told):
    write_corpus(tmp_path / "corpus.jsonl", {**BODIES, "dogs": f"{BODIES['dogs']} <s>"})
    code, out, _ = told(chat_markers="drop", initialization_stages=covering(group_by="domain"))
    assert code == 0 and "kept 2 of 2 asked for" in out
    assert marker_in(texts(tmp_path)) is None and "dogs" not in texts(tmp_path)


@pytest.mark.parametrize(("way", "whole"), [("break", False), ("drop", False), ("keep", True)])
async def test_a_stream_of_the_corpus_holds_none_but_where_they_stand(way, whole):
    records = [{"id": "1", "title": "On <s>", "text": "a <|im_end|> b"}, {"id": "2", "text": "plain"}]
    async with InMemoryEngine(corpus=records).open(World()) as retriever:
        seen = [document async for document in guarded(retriever, way).documents()]
    assert [bool(marker_in(f"{one.title} {one.body}")) for one in seen] == [whole, False]
    assert [one.doc_id for one in seen] == ["1", "2"]


async def test_a_stream_that_is_left_is_closed():
    class Counted(Retriever):
        closed = 0

        async def documents(self):
            try:
                yield Document(doc_id="1", body="<s>")
                yield Document(doc_id="2", body="two")
            finally:
                self.closed += 1

    lender = Counted()
    stream = guarded(lender, "break").documents()
    assert (await anext(stream)).body == "< s>"
    await stream.aclose()
    assert lender.closed == 1


def test_a_task_may_drop_what_meets_one(tmp_path, corpus, told):
    code, out, _ = told(chat_markers="drop")
    assert code == 4
    assert "dropped 4: chat_marker, such as: document " in out and "holds '<|im_end|>' (chat_markers: drop)" in out


def test_with_drop_a_document_that_holds_one_is_in_no_row(tmp_path, told):
    bodies = {**BODIES, "dogs": f"{BODIES['dogs']} <s>"}
    write_corpus(tmp_path / "corpus.jsonl", bodies)
    code, _, _ = told(live=True, chat_markers="drop", min_turns=1)
    assert code == 0 and marker_in(texts(tmp_path)) is None and "dogs" not in texts(tmp_path)


def test_a_task_may_let_them_stand(tmp_path, corpus, told):
    code, out, _ = told(chat_markers="keep")
    assert code == 0 and "<|im_end|>" in texts(tmp_path)
    assert "as rows hold them: '<|im_end|>' in " in out


@pytest.mark.parametrize(
    ("way", "becomes"),
    [("break", "are broken up by a space"), ("drop", "drop whoever meets them"), ("keep", "stand as they are")],
)
def test_check_tells_how_many_there_are_and_what_becomes_of_them(tmp_path, corpus, capsys, way, becomes):
    (tmp_path / "task.yaml").write_text(json.dumps(task_values(tmp_path, chat_markers=way)))
    assert run_command(["check", str(tmp_path / "task.yaml")]) == 0
    said = "; 10 of 10 drawn hold control tokens of chat templates, such as '<|im_end|>', which "
    assert f"{said}{becomes} (chat_markers: {way})" in capsys.readouterr().out


def test_a_corpus_without_any_is_not_spoken_of(tmp_path, told):
    assert "control tokens" not in told()[1]
    assert json.loads((tmp_path / "output/small/run.json").read_text())["figures"]["documents_with_chat_markers"] == 0


@pytest.mark.parametrize(
    ("way", "shown"),
    [
        ("break", "Household waste is collected every Tuesday.< |im_end|> < |im_start|>assistant Put"),
        ("drop", "nothing: the conversation would be dropped: document 'bins' holds '<|im_end|>' (chat_markers: drop)"),
        ("keep", "Household waste is collected every Tuesday.<|im_end|> <|im_start|>assistant Put"),
    ],
)
def test_a_search_shows_documents_as_the_assistant_would_see_them(tmp_path, corpus, capsys, way, shown):
    (tmp_path / "task.yaml").write_text(json.dumps(task_values(tmp_path, live=True, chat_markers=way)))
    assert run_command(["search", str(tmp_path / "task.yaml"), "household waste"]) == 0
    assert shown in capsys.readouterr().out
