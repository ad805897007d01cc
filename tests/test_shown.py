"""What is learned of an endpoint, said of it, remembered and forgotten; and `check --online`, which looks anew."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from asking import GOOD, ask, offered, one, opened
from building import task_values
from endpoint import Body, Endpoint, Said, error, text

from dgt_rag.errors import EndpointDown, ModelClosed, ModelError
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.probe import probe
from dgt_rag.loader import load
from dgt_rag.pipeline.run import run_task
from dgt_rag.pipeline.way import Way
from dgt_rag.store.calls import Calls, open_calls


async def told(server: Endpoint, calls: Calls | None = None, silence: float = 5.0, **keys: Any) -> list[str]:
    model = OpenAIModel.model_validate({"model": "test-model", "base_url": server.url, **keys})
    return [line.strip() async for line in probe({"generator": model}, calls, silence)]


def plain_where_tools(body: Body, seen: int) -> Said | None:
    return text("I would search, but cannot.") if "tools" in body else None


async def test_what_is_remembered_against_an_endpoint_is_said_when_it_is_opened_again(tmp_path: Path):
    def say(body: Body, seen: int) -> Said | None:
        if "seed" in body:
            return error(400, "Unrecognized request argument supplied: seed")
        return plain_where_tools(body, seen)

    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(say) as server:
            await one(server, offered(), calls=calls)
            said: list[str] = []
            async with opened(server.url, calls, said) as speaker:
                assert speaker.tool_mode == "schema"
    assert said == [
        f"test-model at 127.0.0.1:{server.port}/v1: remembered: ignores tools; searches are asked for as JSON "
        "(tool_mode: schema); does not take 'seed'; it is left out; `check --online` or --restart looks again"
    ]


async def test_check_online_puts_what_it_finds_in_the_place_of_what_a_run_remembers(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(plain_where_tools) as server:
            await one(server, offered(), calls=calls)
            assert "remembered it otherwise" not in "\n".join(await told(server, calls))
            server.say = None
            lines = await told(server, calls)
            assert "tools: makes tool calls" in lines
            assert "remembered it otherwise" in lines[-1]
            async with opened(server.url, calls) as speaker:
                assert speaker.tool_mode == "native"
                assert (await speaker.reply(offered())).tool_calls
    async with Endpoint() as server:
        with open_calls(tmp_path / "other.sqlite") as calls:
            await told(server, calls)
            assert calls.recall(f"endpoint test-model at 127.0.0.1:{server.port}/v1") is None


async def test_a_restart_asks_anew_what_an_endpoint_can_do_and_pays_for_no_call_twice(tmp_path: Path):
    async with Endpoint(plain_where_tools) as server:
        model = {"type": "openai", "model": "test-model", "base_url": server.url}
        path = tmp_path / "task.yaml"
        values = task_values(tmp_path, live=True, num_outputs=1, max_turns=2, models={"generator": model})
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        task, said = load(path, []).task, list[str]()
        await run_task(task, Way(say=said.append))
        asked = len(server.requests)
        await run_task(task, Way(say=said.append, restart=True))
        again = server.requests[asked:]
        assert again and all("tools" in body for body in again), "only whether it takes tools was to be asked"
        server.say = None
        await run_task(task, Way(say=said.append, restart=True))
    assert [line for line in said if "remembered" in line] == []
    assert len([line for line in said if "ignores tools" in line]) == 2
    assert any(message["role"] == "tool" for body in server.requests for message in body["messages"])


async def test_rows_of_a_resumed_run_go_on_in_the_way_that_was_remembered(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(plain_where_tools) as server:
            await one(server, offered(), calls=calls)
            server.say = None
            for index in range(3):
                async with opened(server.url, calls) as speaker:
                    assert (await speaker.reply(offered("required", index))).value is None
        assert not [body for body in server.requests[3:] if "tools" in body]


async def test_another_model_that_answers_in_mid_run_is_said_once():
    served = "granite"

    def say(body: Body, seen: int) -> Said:
        choice = {"message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4}
        return Said(raw=json.dumps({"model": served, "choices": [choice], "usage": usage}).encode())

    said: list[str] = []
    async with Endpoint(say) as server, opened(server.url, said=said) as speaker:
        for index in range(6):
            served = "granite" if index in (0, 1, 4) else "qwen"
            await speaker.reply(ask(index))
    assert [line.partition(": ")[2] for line in said] == [
        "its replies name the model 'qwen' now, 'granite' before; the rows come from both"
    ]


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": 1e9}, {"prompt_tokens": "7"}, []]
)
async def test_an_endpoint_that_tells_no_token_counts_is_said_once_and_counts_as_none(usage: Any):
    choice = {"message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}
    raw = json.dumps({"choices": [choice], "usage": usage}).encode()
    said: list[str] = []
    async with Endpoint(lambda body, seen: Said(raw=raw)) as server, opened(server.url, said=said) as speaker:
        for index in range(2):
            reply = await speaker.reply(ask(index))
            assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (0, 0)
    assert [line.partition(": ")[2] for line in said] == [
        "tells no token counts; max_tokens and max_cost cannot be kept"
    ]


@pytest.mark.parametrize("calls", ["no", ["x"], [None], 7, {"a": 1}, [{"function": "search"}]])
async def test_tool_calls_of_a_wrong_type_are_a_bad_reply(calls: Any):
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    async with Endpoint(lambda body, seen: Said(message)) as server:
        with pytest.raises(ModelError, match="a tool call has no name") as failed:
            await one(server, offered(), tool_mode="native")
    assert failed.value.reason == "bad_reply"


async def test_arguments_that_are_nested_too_deeply_are_a_bad_reply():
    function = {"name": "search", "arguments": '{"a":' * 400 + "1" + "}" * 400}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": function}]}
    async with Endpoint(lambda body, seen: Said(message)) as server:
        with pytest.raises(ModelError, match="nested too deeply"):
            await one(server, offered(), tool_mode="native")


def thinking(budget: int) -> Any:
    """Answer as a model that thinks for so many tokens before it says anything."""

    def say(body: Body, seen: int) -> Said | None:
        room = body.get("max_tokens")
        if room is None or room >= budget:
            return None
        thought = {"role": "assistant", "content": None, "reasoning_content": "hm " * room}
        usage = {"prompt_tokens": 9, "completion_tokens": room, "completion_tokens_details": {"reasoning_tokens": room}}
        choice = {"message": thought, "finish_reason": "length"}
        return Said(raw=json.dumps({"choices": [choice], "usage": usage}).encode())

    return say


async def test_a_model_that_thinks_before_it_answers_is_judged_by_its_answers():
    async with Endpoint(thinking(3000)) as server:
        lines = await told(server)
    assert [line.partition(": ")[2] for line in lines[2:5]] == [
        "obeys a JSON schema",
        "makes tool calls",
        "the same reply for every seed; rows will be much alike at one prompt",
    ]


async def test_replies_that_are_cut_off_decide_nothing_and_are_named():
    async with Endpoint(thinking(10_000)) as server:
        lines = await told(server)
        said: list[str] = []
        async with opened(server.url, said=said) as speaker:
            before = len(server.requests)
            replies = await asyncio.gather(*(speaker.reply(offered("required", n)) for n in range(4)))
            assert len(server.requests) == before + 6
            assert [reply.value for reply in replies] == [None] * 4
            assert (speaker.tool_mode, speaker.endpoints[0].traits.tools) == ("schema", "unknown")
    short = "cut off after 4,096 tokens, 4,096 reasoning tokens"
    assert lines[2:5] == [
        f"JSON: could not be told; what came was {short}",
        f"tools: could not be told ({short}); a run asks for searches as JSON (tool_mode: native or schema settles it)",
        f"seed: could not be told; what came was {short}",
    ]
    assert [line.partition(": ")[2] for line in said] == [
        f"whether it makes tool calls could not be told ({short}); searches are asked for as JSON in this run "
        "(tool_mode: native or schema settles it)"
    ]


async def test_an_endpoint_with_a_short_context_is_asked_without_a_length():
    def say(body: Body, seen: int) -> Said | None:
        if body.get("max_tokens", 0) > 400:
            return error(400, "'max_tokens' is too large: 4096. This model's maximum context length is 2048 tokens")
        return None

    async with Endpoint(say) as server:
        assert "tools: makes tool calls" in await told(server)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": ""}, "empty"),
        ({"refusal": "I must not."}, "refused"),
        ({"reasoning": "hm"}, "empty, only reasoning"),
    ],
)
async def test_what_came_in_place_of_a_reply_is_named(message: Body, words: str):
    async with Endpoint(lambda body, seen: Said({"role": "assistant", **message})) as server:
        lines = await told(server)
    assert f"JSON: could not be told; what came was {words}" in lines


async def test_check_online_says_what_it_waits_for_and_gives_up_after_two_tries():
    async with Endpoint(lambda body, seen: Said(hang=True)) as server:
        lines: list[str] = []
        model = OpenAIModel(model="test-model", base_url=server.url, retry={"timeout": 0.4, "first_wait": 0.01})
        with pytest.raises(ModelClosed, match=r"no answer in 0.4 s \(2 tries\)"):
            async for line in probe({"generator": model}, silence=0.05):
                lines.append(line.strip())
        assert len(server.requests) == 2
    assert lines[1:] == ["waiting for the first reply: up to 1 s for one that is not answered"]


async def test_check_online_gives_up_an_endpoint_that_says_nothing_but_429():
    async with Endpoint(lambda body, seen: error(429, "slow")) as server:
        lines: list[str] = []
        retry = {"first_wait": 0.01, "refused_after": 0.3}
        model = OpenAIModel(model="test-model", base_url=server.url, retry=retry)
        with pytest.raises((ModelClosed, EndpointDown), match="nothing but 429"):
            async for line in probe({"generator": model}, silence=0.1):
                lines.append(line.strip())
    assert lines[1].startswith("waiting for the first reply: so far ") and lines[1].endswith(" × rate_limit")


async def test_the_time_of_the_first_reply_is_without_that_of_the_listing():
    async with Endpoint(latency=0.01) as server:
        slow = server._answer

        async def answer(method: str, path: str, raw: bytes) -> Said:
            if method == "GET":
                await asyncio.sleep(0.3)
            return await slow(method, path, raw)

        server._answer = answer
        lines = await told(server)
    assert lines[1].startswith("answers; lists the model; 0.0 s")
