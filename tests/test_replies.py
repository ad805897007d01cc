"""From text to value: strict schemas, texts that hold JSON among other words, and what is not taken for a value."""

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from dgt_rag.llm.replies import BadReply, apart, arguments_of, read, schema_of


class Quote(BaseModel):
    document: int = Field(ge=1)
    quote: str = Field(min_length=1, max_length=300)


class Answer(BaseModel):
    """What an assistant says."""

    answer: str
    citations: list[Quote] = Field(default_factory=list)
    verdict: Literal["yes", "no"] = "no"
    title: str | None = None


def test_a_strict_schema_is_closed_without_references_and_requires_all():
    schema = schema_of(Answer)
    assert "$ref" not in json.dumps(schema)
    assert schema["required"] == ["answer", "citations", "verdict", "title"]
    assert schema["additionalProperties"] is schema["properties"]["citations"]["items"]["additionalProperties"] is False
    assert schema["properties"]["title"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_a_bare_schema_leaves_out_lengths_and_ranges():
    text = json.dumps(schema_of(Answer, bare=True))
    assert not any(word in text for word in ("minLength", "maxLength", "minimum"))
    assert "minLength" in json.dumps(schema_of(Answer))
    assert "maxLength" not in json.dumps(schema_of(Answer))


def test_a_text_that_a_bound_cuts_off_is_too_long_to_be_taken():
    bound = schema_of(Answer, bounded=True)["properties"]["citations"]["items"]["properties"]["quote"]["maxLength"]
    cut = json.dumps({"answer": "so", "citations": [{"document": 1, "quote": "x" * bound}]})
    with pytest.raises(BadReply, match=r"citations\.0\.quote: "):
        read(cut, Answer, mend=True)
    assert read(cut.replace("xx", "x", 1), Answer, mend=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "so"}',
        'Sure!\n```json\n{"answer": "so"}\n```\nAnything else?',
        'Here it is: {"answer": "so"} - done',
        '\n\n {"answer": "so", "citations": []} ',
    ],
)
def test_json_is_found_among_other_words(text: str):
    assert read(text, Answer, mend=False).answer == "so"


def test_broken_json_is_mended_only_where_no_schema_was_enforced():
    text = "{'answer': 'so', citations: [],"
    assert read(text, Answer, mend=True).answer == "so"
    with pytest.raises(BadReply):
        read(text, Answer, mend=False)


def test_what_is_wrong_is_named_by_its_place():
    with pytest.raises(BadReply, match=r"citations\.0\.document: "):
        read('{"answer": "so", "citations": [{"document": 0, "quote": "x"}]}', Answer, mend=True)


@pytest.mark.parametrize(
    ("content", "reasoning", "wanted"),
    [
        ("<think>hm</think>\n\nyes", "", ("yes", "hm")),
        ("hm, so</think>yes", "", ("yes", "hm, so")),
        ("<thinking>a</thinking>b", "given", ("b", "given")),
        ("I think </ so", "r", ("I think </ so", "r")),
    ],
)
def test_reasoning_is_kept_apart(content: str, reasoning: str, wanted: tuple[str, str]):
    assert apart(content, reasoning) == wanted


def test_arguments_come_as_text_or_as_an_object():
    assert (
        arguments_of('{"query": "x"}')
        == arguments_of({"query": "x"})
        == arguments_of('{"query": "x"')
        == {"query": "x"}
    )
    assert arguments_of("") == {}
    for bad in ("no", "[1]", None, 3):
        with pytest.raises(BadReply, match="not a JSON object"):
            arguments_of(bad)


@given(st.text(), st.booleans())
def test_any_text_is_a_value_or_a_bad_reply(text: str, mend: bool):
    try:
        assert isinstance(read(text, Answer, mend), Answer)
    except BadReply as bad:
        assert "\n" not in str(bad)


@given(st.builds(Answer, answer=st.text(), title=st.none() | st.text()))
def test_what_was_written_as_json_is_read_back(value: Answer):
    assert read(value.model_dump_json(), Answer, mend=False) == value


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_what_is_nested_without_end_is_a_bad_reply(text: str):
    for mend in (True, False):
        with pytest.raises(BadReply):
            read(text, Answer, mend)
    with pytest.raises(BadReply, match="not a JSON object"):
        arguments_of(text)
