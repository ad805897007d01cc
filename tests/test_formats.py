"""Rows are what trainers take."""

import json
from itertools import pairwise

import pytest
from building import lines, task_values

from dgt_rag import run
from dgt_rag.formats.messages import MessagesFormatter
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    FoundDocument,
    ToolCall,
    ToolCallStep,
    ToolError,
    ToolResult,
    ToolResultStep,
    ToolSpec,
    UserStep,
)

SEARCH = ToolSpec(
    name="search",
    description="Search.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)


def faults(row: dict) -> list[str]:
    """Return what OpenAI's fine-tuning or TRL would refuse in a row."""
    found = []
    messages = row["messages"]
    roles = [message["role"] for message in messages]
    if set(row) - {"messages", "tools", "documents", "metadata"}:
        found.append("unknown key")
    if not set(roles) <= {"system", "user", "assistant", "tool"} or "system" in roles[1:]:
        found.append("role")
    if roles[-1] != "assistant" or "tool_calls" in messages[-1]:
        found.append("does not end with an answer")
    open_calls: list[str] = []
    seen: set[str] = set()
    names = {tool["function"]["name"] for tool in row.get("tools", [])}
    for message in messages:
        if not isinstance(message.get("content"), str):
            found.append("content")
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                found.append("dangling result")
            else:
                open_calls.remove(message["tool_call_id"])
        elif open_calls:
            found.append("call without result")
        for call in message.get("tool_calls", []):
            if call["type"] != "function" or call["function"]["name"] not in names or call["id"] in seen:
                found.append("call")
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                found.append("arguments")
            seen.add(call["id"])
            open_calls.append(call["id"])
    said = [role for role in roles if role in {"user", "assistant"}]
    if any(one == other == "user" for one, other in pairwise(said)):
        found.append("two user messages")
    return found


@pytest.mark.parametrize("live", [False, True])
def test_every_row_is_valid_for_trainers(tmp_path, live):
    result = run(task_values(tmp_path, live, num_outputs=20))
    rows = lines(result.folder / "formatted_output.jsonl")
    assert [faults(row) for row in rows] == [[]] * 20
    assert all(("tools" in row) == live for row in rows)


def test_a_static_row_shows_its_documents_to_the_model_that_is_trained(tmp_path):
    result = run(task_values(tmp_path))
    for row in lines(result.folder / "formatted_output.jsonl"):
        system = row["messages"][0]["content"]
        assert row["documents"]
        assert all(document["text"] in system for document in row["documents"])


def test_calls_made_at_once_stand_in_one_message_and_are_paired_with_their_results():
    hit = FoundDocument(doc_id="d", title="T", body="Text.", score=1.0, rank=1)
    talk = ConversationDataPoint(
        steps=(
            UserStep(content="Both?"),
            ToolCallStep(content=ToolCall(call_id="call_0_0", name="search", arguments={"query": "one"})),
            ToolCallStep(content=ToolCall(call_id="call_0_1", name="search", arguments={"query": "zwö"})),
            ToolResultStep(content=ToolResult(call_id="call_0_0", name="search", result=(hit,))),
            ToolResultStep(
                content=ToolResult(
                    call_id="call_0_1", name="search", error=ToolError(type="network_error", message="No route.")
                )
            ),
            AssistantStep(content="One."),
        )
    )
    (row,) = MessagesFormatter(system_prompt="").rows(talk, {"search": SEARCH})
    assert [message["role"] for message in row["messages"]] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [call["function"]["arguments"] for call in row["messages"][1]["tool_calls"]] == [
        '{"query": "one"}',
        '{"query": "zwö"}',
    ]
    assert json.loads(row["messages"][2]["content"]) == [{"doc_id": "d", "title": "T", "text": "Text."}]
    assert json.loads(row["messages"][3]["content"]) == {"error": {"type": "network_error", "message": "No route."}}
    assert faults(row) == []


def test_a_wrong_call_stands_in_no_row():
    hit = FoundDocument(doc_id="d", title="T", body="Text.", score=1.0, rank=1)
    wrong = ToolError(type="unknown_tool", message="There is no tool 'browse'; there are: search.")
    talk = ConversationDataPoint(
        steps=(
            UserStep(content="What?"),
            ToolCallStep(content=ToolCall(call_id="call_0_0", name="browse", arguments={"query": "one"})),
            ToolCallStep(content=ToolCall(call_id="call_0_1", name="search", arguments={"query": "one"})),
            ToolResultStep(content=ToolResult(call_id="call_0_0", name="browse", error=wrong)),
            ToolResultStep(content=ToolResult(call_id="call_0_1", name="search", result=(hit,))),
            AssistantStep(content="One."),
        )
    )
    (row,) = MessagesFormatter().rows(talk, {"search": SEARCH})
    assert faults(row) == []
    assert "browse" not in json.dumps(row)


def test_a_row_offers_the_tools_that_the_assistant_was_offered(tmp_path):
    values = task_values(tmp_path, True, num_outputs=2)
    engine = values["tools"]["engines"]["retriever"]
    values["tools"]["engines"] = {
        "one": {**engine, "tool_name": "first"},
        "retriever": {**engine, "tool_name": "search"},
    }
    values["iteration_stages"][2]["tools"] = ["search"]
    result = run(values)
    for row in lines(result.folder / "formatted_output.jsonl"):
        assert [tool["function"]["name"] for tool in row["tools"]] == ["search"]


def test_nothing_of_the_scenario_reaches_a_live_row(tmp_path):
    result = run(task_values(tmp_path, True))
    for talk, row in zip(result.conversations(), lines(result.folder / "formatted_output.jsonl"), strict=True):
        assert talk.scenario
        assert talk.scenario.content not in json.dumps(row, ensure_ascii=False)
        assert "documents" not in row
