"""Retrieval as a tool: what a model sees of an engine, and how its calls are answered."""

import asyncio
import json
import math
from collections import Counter

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from dgt_rag.dice import Dice
from dgt_rag.engines.base import ErrorCategory, Retriever
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.tool import SearchTool
from dgt_rag.engines.tool_schema import problem_of
from dgt_rag.errors import EngineError, TaskError
from dgt_rag.records import Document, Hit, ToolCall, ToolSpec
from dgt_rag.testing import corpus
from dgt_rag.world import World

FAULTS = ("network_error", "empty_result", "unparseable_result", "index_not_found", "irrelevant_result")


def call(name="search", **arguments):
    return ToolCall(call_id="c1", name=name, arguments=arguments)


async def answer(made, spec=None, dice=Dice("x"), **settings):  # noqa: B008
    engine = InMemoryEngine(corpus=corpus(), **settings)
    async with engine.open(World()) as retriever:
        return await SearchTool.of(engine, retriever, spec).execute(made, dice)


async def test_a_good_call_brings_documents_best_first():
    result = await answer(call(query="renew books library iris"), limit=3)
    assert result.error is None
    assert result.call_id == "c1"
    assert [found.rank for found in result.result] == [1, 2, 3]
    assert result.result[0].title == "Library iris"
    assert result.result[0].domain == "library"
    assert result.result[0].score == round(result.result[0].score, 4)
    assert result.metadata == {}


@pytest.mark.parametrize("limit", [2, 2.0])
async def test_a_model_may_ask_for_fewer_but_not_for_more(limit):
    assert len((await answer(call(query="office", limit=limit))).result) == 2
    assert (await answer(call(query="office", limit=50))).error.type == "invalid_arguments"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "'query' is a required property"),
        ({"query": 3}, "query: 3 is not of type 'string'"),
        ({"query": ""}, "query: "),
        ({"query": "   "}, "query: the query is empty"),
        ({"query": "a", "limit": 0}, "limit: 0 is less than the minimum of 1"),
        ({"query": "a", "filter": "x"}, "'filter' was unexpected"),
        ({"q": "a"}, "'query' is a required property"),
    ],
)
async def test_a_bad_call_is_an_error_that_a_model_can_mend(arguments, words):
    result = await answer(call(**arguments))
    assert result.result is None
    assert result.error.type == "invalid_arguments"
    assert not result.error.injected
    assert words in result.error.message


def test_the_definition_is_a_schema_made_from_the_engine():
    spec = SearchTool.of(InMemoryEngine(limit=7, tool_name="find", tool_description="Finds."), Retriever()).spec
    Draft202012Validator.check_schema(spec.parameters)
    assert (spec.name, spec.description) == ("find", "Finds.")
    assert spec.parameters["required"] == ["query"]
    assert spec.parameters["properties"]["limit"]["maximum"] == 7


@pytest.mark.parametrize("limit", [True, 1.5, "1", [1], None, 10**400, 1e300])
async def test_what_is_no_whole_number_limits_nothing(limit):
    assert len((await answer(call("look_up", query="office", limit=limit), with_limit({}))).result) == 5


class Guest(Retriever):
    """A guest's engine that keeps no limit."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    async def search(self, query, limit, where=None):
        documents = [Document(doc_id=str(n), body="x") for n in range(len(self.scores))]
        return [Hit(document=one, score=self.scores[n], rank=n + 1) for n, one in enumerate(documents)]


async def test_no_more_is_shown_than_was_asked_for_whatever_an_engine_gives():
    tool = SearchTool.of(InMemoryEngine(), Guest(*[1.0] * 9))
    assert [found.rank for found in (await tool.execute(call(query="x"), Dice("x"))).result] == [1, 2, 3, 4, 5]
    assert len((await tool.execute(call(query="x", limit=2), Dice("x"))).result) == 2


async def test_a_threshold_leaves_out_what_is_below_it_and_not_what_is_no_number():
    tool = SearchTool.of(InMemoryEngine(relevance_threshold=0.5), Guest(0.9, 0.5, 0.4))
    assert [found.score for found in (await tool.execute(call(query="x"), Dice("x"))).result] == [0.9, 0.5]
    tool = SearchTool.of(InMemoryEngine(relevance_threshold=0.5), Guest(0.9, math.nan))
    with pytest.raises(ValidationError, match="finite number"):
        await tool.execute(call(query="x"), Dice("x"))


async def test_a_definition_of_ones_own_names_the_query():
    parameters = {
        "type": "object",
        "properties": {"lang": {"type": "string"}, "question": {"type": "string"}, "top_k": {"type": "integer"}},
        "required": ["question"],
    }
    spec = ToolSpec(name="ask", description="Asks.", parameters=parameters)
    result = await answer(call("ask", question="swimming lessons", top_k=1), spec)
    assert [found.domain for found in result.result] == ["pools"]


@pytest.mark.parametrize(
    "parameters",
    [{"type": "object", "properties": {"n": {"type": "integer"}}}, {"type": "object"}, {"type": "nonsense"}],
)
async def test_a_definition_without_a_query_or_that_is_no_schema_is_refused(parameters):
    with pytest.raises(TaskError, match="tool 'ask'"):
        await answer(call("ask"), ToolSpec(name="ask", description="", parameters=parameters))


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_injected_fault_is_marked(fault):
    result = await answer(call(query="season ticket"), error_categories=[{"type": fault, "probability": 1.0}])
    assert result.metadata == {"injected": fault}
    if result.error:
        assert result.error.type == fault
        assert result.error.injected
        assert result.error.message


async def test_an_irrelevant_result_holds_nothing_that_the_search_found():
    faulty = [{"type": "irrelevant_result", "probability": 1.0}]
    engine = InMemoryEngine(corpus=corpus(), limit=4)
    async with engine.open(World()) as retriever:
        true = {hit.document.doc_id for hit in await retriever.search("swimming lessons season ticket", 20)}
    result = await answer(call(query="swimming lessons season ticket"), limit=4, error_categories=faulty)
    assert len(result.result) == 4
    assert not true & {found.doc_id for found in result.result}
    again = await answer(call(query="swimming lessons season ticket"), limit=4, error_categories=faulty)
    assert again == result
    few = await answer(call(query="permit"), error_categories=faulty, filter={"domain": "parking"})
    assert few.result == ()


async def test_an_empty_result_is_a_result():
    result = await answer(call(query="ticket"), error_categories=[{"type": "empty_result", "probability": 1.0}])
    assert result.error is None
    assert result.result == ()


async def test_faults_come_as_often_as_their_probabilities_say():
    categories = [ErrorCategory(type=fault, probability=0.1) for fault in FAULTS]
    engine = InMemoryEngine(corpus=corpus(), error_categories=categories)
    async with engine.open(World()) as retriever:
        tool = SearchTool.of(engine, retriever)
        results = [await tool.execute(call(query="ticket"), Dice("often", n)) for n in range(1500)]
    seen = Counter(result.metadata.get("injected", "none") for result in results)
    assert set(seen) == {*FAULTS, "none"}
    assert 650 < seen["none"] < 850
    assert all(100 < seen[fault] < 200 for fault in FAULTS)


def test_probabilities_over_one_are_refused():
    categories = [{"type": fault, "probability": 0.6} for fault in FAULTS[:2]]
    with pytest.raises(TaskError, match="add up to more than 1"):
        SearchTool.of(InMemoryEngine(error_categories=categories), Retriever())


async def test_a_message_of_ones_own_is_shown():
    categories = [{"type": "network_error", "probability": 1.0, "message": "gone fishing"}]
    assert (await answer(call(query="ticket"), error_categories=categories)).error.message == "gone fishing"


async def test_a_real_failure_of_the_engine_is_raised():
    class Broken(Retriever):
        async def search(self, query, limit, where=None):
            raise EngineError("the disk is on fire")

    with pytest.raises(EngineError, match="on fire"):
        await SearchTool.of(InMemoryEngine(), Broken()).execute(call(query="x"), Dice("x"))


HOSTILE = {
    "http": {"$ref": "http://127.0.0.1:{port}/limit.json"},
    "deep": {"allOf": [{"items": {"$ref": "http://127.0.0.1:{port}/limit.json#/$defs/a"}}]},
    "file": {"$ref": "file:///etc/hostname"},
    "base": {"$id": "http://127.0.0.1:{port}/all", "$ref": "other"},
    "nowhere": {"$ref": "#/$defs/limit"},
}


def with_limit(schema) -> ToolSpec:
    parameters = {"type": "object", "properties": {"query": {"type": "string"}, "limit": schema}, "required": ["query"]}
    return ToolSpec(name="look_up", description="", parameters=parameters)


@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_a_schema_refers_to_outside_itself_is_refused_and_never_fetched(kind):
    asked = []
    server = await asyncio.start_server(lambda reader, writer: (asked.append(1), writer.close()), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        schema = json.loads(json.dumps(HOSTILE[kind]).replace("{port}", str(port)))
        with pytest.raises(TaskError) as caught:
            await answer(call("look_up", query="office", limit=3), with_limit(schema))
        assert problem_of({"query": "office"}, with_limit({})) == ""
    assert not asked
    assert str(caught.value).startswith("tool 'look_up': its parameters refer to '")
    assert str(caught.value).endswith("', which does not stand in them; write it out there, under $defs")


@pytest.mark.parametrize(
    ("limit", "inside"),
    [
        ({"$ref": "#/$defs/limit"}, {"type": "integer", "maximum": 2}),
        ({"$ref": "http://127.0.0.1:9/limit"}, {"$id": "http://127.0.0.1:9/limit", "type": "integer", "maximum": 2}),
        ({"enum": [1, {"$ref": "http://127.0.0.1:9/data"}]}, {}),
    ],
)
async def test_what_a_schema_refers_to_within_itself_is_followed(limit, inside):
    spec = with_limit(limit)
    spec = spec.model_copy(update={"parameters": {**spec.parameters, "$defs": {"limit": inside}}})
    assert len((await answer(call("look_up", query="office", limit=1), spec)).result) == 1
    assert (await answer(call("look_up", query="office", limit=50), spec)).error.type == "invalid_arguments"


async def test_a_schema_that_refers_to_itself_without_an_end_is_refused():
    spec = with_limit({})
    loop = {"allOf": [{"$ref": "#/$defs/loop"}]}
    spec = spec.model_copy(update={"parameters": {**spec.parameters, "$defs": {"loop": loop}, "$ref": "#/$defs/loop"}})
    with pytest.raises(TaskError, match="refer to themselves without an end"):
        await answer(call("look_up", query="office"), spec)
