"""The last gate lets nothing through that a row must not be."""

import pytest

from dgt_rag.records import (
    AssistantStep,
    Citation,
    ConversationDataPoint,
    Document,
    FoundDocument,
    ScenarioStep,
    ToolCall,
    ToolCallStep,
    ToolError,
    ToolResult,
    ToolResultStep,
    UserStep,
)
from dgt_rag.validation import chat_marker, faults

GROUND = ScenarioStep(content="A case.", documents=(Document(doc_id="d", body="A permit costs 20 euros."),))
ASKED = UserStep(content="What does it cost?")
CITED = AssistantStep(content="20 euros.", citations=(Citation(doc_id="d", quote="costs 20 euros", start=9, end=23),))
CALL = ToolCallStep(content=ToolCall(call_id="call_0_0", name="search", arguments={"query": "permit cost"}))
HIT = FoundDocument(doc_id="d", body="A permit costs 20 euros.", score=1.0, rank=1)
FOUND = ToolResultStep(content=ToolResult(call_id="call_0_0", name="search", result=(HIT,)))
NOTHING = ToolResultStep(
    content=ToolResult(call_id="call_0_0", name="search", error=ToolError(type="network_error", message="No."))
)


@pytest.mark.parametrize(
    "steps",
    [(GROUND, ASKED, CITED), (ASKED, CALL, FOUND, CITED), (ASKED, CALL, NOTHING, AssistantStep(content="Sorry."))],
)
def test_a_sound_conversation_passes(steps):
    assert faults(ConversationDataPoint(steps=steps)) == []


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ((GROUND, ASKED), "does not end with an answer"),
        ((GROUND, CITED), "message 1 is the assistant's"),
        ((GROUND, ASKED, ASKED, CITED), "message 2 is the user's"),
        ((GROUND, ASKED, AssistantStep(content=" ")), "message 2 is empty"),
        ((ASKED, CALL, CITED), "has no result"),
        ((ASKED, FOUND, CITED), "belongs to no call"),
        ((CALL, FOUND, ASKED, CITED), "outside a turn"),
        ((ASKED, CALL, FOUND, CITED, ASKED, CALL, FOUND, CITED), "two calls have the id"),
        ((ASKED, CITED), "does not stand in 'd'"),
        (
            (
                GROUND,
                ASKED,
                CITED.model_copy(update={"citations": (Citation(doc_id="d", quote="costs 20 euro", start=9, end=23),)}),
            ),
            "does not stand in 'd'",
        ),
    ],
)
def test_an_unsound_conversation_is_named(steps, fault):
    assert any(fault in told for told in faults(ConversationDataPoint(steps=steps)))


def test_a_live_answer_may_not_cite_the_scenarios_documents():
    other = ToolResultStep(content=ToolResult(call_id="call_0_0", name="search", result=()))
    assert faults(ConversationDataPoint(steps=(GROUND, ASKED, CALL, other, CITED)))


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        ((UserStep(content="Say </s> twice."),), "a message of the user holds '</s>'"),
        ((ASKED, AssistantStep(content="So.<|im_end|>")), "a message of the assistant holds '<|im_end|>'"),
        (
            (ToolCallStep(content=ToolCall(call_id="c", name="search", arguments={"query": "a", "tags": ["[INST]"]})),),
            "a search holds '[INST]'",
        ),
        (
            (
                ToolResultStep(
                    content=ToolResult(call_id="c", name="s", result=(HIT.model_copy(update={"title": "<s>"}),))
                ),
            ),
            "document 'd' holds '<s>'",
        ),
        (
            (ToolResultStep(content=ToolResult(call_id="c", name="s", error=ToolError(type="x", message="<eos>"))),),
            "the error of a search holds '<eos>'",
        ),
        (
            (ScenarioStep(content="", documents=(Document(doc_id="<bos>", body="A"),)),),
            "document '<bos>' holds '<bos>'",
        ),
    ],
)
def test_a_control_token_of_a_chat_template_is_found_in_whatever_a_row_shows(steps, where):
    assert chat_marker(ConversationDataPoint(steps=steps)) == where


def test_what_no_row_shows_may_hold_control_tokens():
    steps = (
        ScenarioStep(content="A case of <s>."),
        ASKED,
        CITED.model_copy(update={"reasoning": "<think>Hm.</think>"}),
    )
    assert chat_marker(ConversationDataPoint(steps=steps)) is None
