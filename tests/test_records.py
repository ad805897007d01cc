"""What is written is read back equal."""

from hypothesis import given
from hypothesis import strategies as st

from dgt_rag.dice import Dice
from dgt_rag.records import (
    AssistantStep,
    Citation,
    ConversationDataPoint,
    Critique,
    Document,
    FlowControllerStep,
    FoundDocument,
    PersonaStep,
    Provenance,
    ScenarioStep,
    ToolCall,
    ToolCallStep,
    ToolError,
    ToolResult,
    ToolResultStep,
    Usage,
    UserStep,
)

text = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
documents = st.builds(
    Document, doc_id=text, body=text, title=text, domain=text, metadata=st.dictionaries(text, json_values, max_size=3)
)
provenance = st.none() | st.builds(
    Provenance,
    model=text,
    prompt_hash=text,
    usage=st.builds(Usage, prompt_tokens=st.integers(0, 10**9)),
    fault=st.none() | text,
)
found = st.builds(
    FoundDocument,
    doc_id=text,
    title=text,
    domain=text,
    body=text,
    score=st.floats(allow_nan=False, allow_infinity=False),
    rank=st.integers(1, 9),
)
results = st.builds(
    ToolResult,
    call_id=text,
    name=text,
    result=st.none() | st.lists(found, max_size=2).map(tuple),
    error=st.none() | st.builds(ToolError, type=text, message=text, injected=st.booleans()),
)
steps = st.one_of(
    st.builds(ScenarioStep, content=text, documents=st.lists(documents, max_size=2).map(tuple), provenance=provenance),
    st.builds(PersonaStep, content=text, goals=st.lists(text, max_size=2).map(tuple)),
    st.builds(
        FlowControllerStep,
        content=text,
        hint=text,
        terminate=st.booleans(),
        eligible_patterns=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(UserStep, content=text, provenance=provenance),
    st.builds(
        AssistantStep,
        content=text,
        citations=st.lists(
            st.builds(Citation, doc_id=text, quote=text, start=st.integers(0, 99), end=st.integers(0, 99)), max_size=2
        ).map(tuple),
        critique=st.none() | st.builds(Critique, verdict=st.sampled_from(["supported", "not_checked"])),
        reasoning=text,
    ),
    st.builds(
        ToolCallStep,
        content=st.builds(ToolCall, call_id=text, name=text, arguments=st.dictionaries(text, json_values, max_size=2)),
    ),
    st.builds(ToolResultStep, content=results),
)
conversations = st.builds(
    ConversationDataPoint,
    task_name=text,
    index=st.integers(0, 10**9),
    conversation_id=text,
    steps=st.lists(steps, max_size=5).map(tuple),
)


@given(conversations)
def test_a_conversation_is_read_back_equal(talk):
    assert ConversationDataPoint.model_validate_json(talk.model_dump_json()) == talk


@given(documents)
def test_a_document_is_read_back_equal(document):
    assert Document.model_validate_json(document.model_dump_json()) == document


def test_a_digit_document_is_read_under_our_names():
    read = Document.model_validate(
        {"id": "a", "text": "b", "metadata": {"id": "a", "text": "b", "title": "t", "domain": "d", "page": 3}}
    )
    assert read == Document(doc_id="a", body="b", title="t", domain="d", metadata={"page": 3})


def test_fields_are_found_by_dotted_path():
    document = Document(doc_id="a", body="b", domain="d", metadata={"source": {"part": "x"}, "dotted.name": 1})
    assert [document.field(path) for path in ("domain", "source.part", "dotted.name", "source.none", "none")] == [
        "d",
        "x",
        1,
        None,
        None,
    ]


@given(
    st.lists(st.text(max_size=5) | st.integers(), max_size=4), st.lists(st.text(max_size=5) | st.integers(), max_size=4)
)
def test_dice_draw_the_same_for_the_same_path_and_differ_for_others(one, other):
    assert Dice(*one).unit() == Dice(*one).unit()
    if [str(part) for part in one] != [str(part) for part in other]:
        assert Dice(*one).number != Dice(*other).number


def test_a_child_does_not_depend_on_what_its_parent_drew():
    dice = Dice(1)
    before = dice.child("a").unit()
    dice.unit()
    assert dice.child("a").unit() == before
