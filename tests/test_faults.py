"""Faults that a task asks for: what the data then teach the assistant to do."""

import json
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
from building import lines, task_values

from dgt_rag.llm.extraction.wording import NO_SUCH, NOT_COVERED, NOT_COVERED_NAMED, SEARCH_FAILED


@pytest.fixture
def made(tmp_path, told) -> Callable[..., list[list[dict]]]:
    """Runs a live task with one kind of fault; returns the turns (but closing ones) of all conversations, as lists of steps."""

    def run(kind: str, probability: float) -> list[list[dict]]:
        values = task_values(tmp_path, live=True, num_outputs=4)
        fault = {"type": kind, "probability": probability}
        values["tools"]["engines"]["retriever"]["error_categories"] = [fault]
        code, out, _ = told(values)
        assert code == 0 and "kept 4 of 4 asked for" in out
        return [turn for talk in lines(tmp_path / "output/small/final_data.jsonl") for turn in turns(talk["steps"])]

    return run


def turns(steps: list[dict]) -> list[list[dict]]:
    found: list[list[dict]] = []
    for step in steps:
        if step["role"] == "flow_controller":
            found.append([])
        if found:
            found[-1].append(step)
    return [turn for turn in found if not turn[0]["terminate"]]


def rounds(turn: list[dict]) -> int:
    return sum(role == "tool_call" for role, _ in groupby(step["role"] for step in turn))


def results(turn: list[dict]) -> list[dict]:
    return [step["content"] for step in turn if step["role"] == "tool_result"]


@pytest.mark.parametrize(
    ("kind", "searches"), [("network_error", 3), ("unparseable_result", 3), ("index_not_found", 1)]
)
def test_an_assistant_whose_searches_all_fail_says_so_and_not_that_there_is_nothing(made, kind, searches):
    for turn in made(kind, 1.0):
        assert rounds(turn) == searches
        assert {result["error"]["type"] for result in results(turn)} == {kind}
        assert all(result["error"]["injected"] for result in results(turn))
        assert turn[-1]["content"] in SEARCH_FAILED
        assert (turn[-1]["citations"], turn[-1]["answerability"]) == ([], "unanswerable")


def says_not_covered(text: str) -> bool:
    """Whether an answer says that nothing is there, in general or about what was asked for by its name."""
    frames = [re.split(r"\{\w+\}", told) for told in (*NOT_COVERED_NAMED, *NO_SUCH)]
    return text in NOT_COVERED or any(text.startswith(head) and text.endswith(tail) for head, tail in frames)


def test_an_assistant_that_found_nothing_says_that_there_is_nothing(made):
    for turn in made("empty_result", 1.0):
        assert results(turn)[0]["result"] == [] and turn[-1]["answerability"] == "unanswerable"
        assert turn[-1]["content"] not in SEARCH_FAILED
        assert says_not_covered(turn[-1]["content"])


def test_a_search_that_fails_now_and_then_is_made_again_and_the_answer_stands_on_what_it_found(made, tmp_path):
    mended = [turn for turn in made("network_error", 0.3) if results(turn)[0]["error"] and results(turn)[-1]["result"]]
    assert mended
    assert any(turn[-1]["citations"] for turn in mended)
    assert not any(turn[-1]["content"] in SEARCH_FAILED for turn in mended)
    figures = json.loads(Path(tmp_path, "output/small/run.json").read_text())["figures"]
    assert 0 < figures["failed_tool_calls"] < figures["tool_calls"]
