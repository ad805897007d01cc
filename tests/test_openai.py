"""The `openai` model against a real HTTP server: what it sends, how it reads replies, and what endpoints' errors become."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from asking import FAST, GOOD, PROMPTS, Queries, ask, offered, one, opened
from endpoint import Body, Endpoint, Said, error, text
from pydantic import ValidationError
from small_server import serving

from dgt_rag.dice import Dice
from dgt_rag.errors import ModelClosed, ModelError
from dgt_rag.llm.base import Sampling
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.quota import rest
from dgt_rag.store.calls import open_calls
from dgt_rag.world import World


async def test_a_reply_is_asked_for_with_a_strict_schema_and_read_with_its_usage():
    async with Endpoint(lambda body, seen: text(GOOD)) as server:
        reply = await one(server, ask(sampling=Sampling(temperature=0.5, max_tokens=99)), sampling={"top_p": 0.9})
    assert reply.value == Queries(queries=["opening hours"], why="so")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == tuple(server.usage.values())
    body = server.requests[0]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 99)
    assert body["seed"] == Dice("test", 0).number & 0x7FFFFFFF
    assert body["response_format"]["json_schema"]["strict"] is True
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


async def test_a_request_that_was_answered_is_never_sent_again(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(lambda body, seen: text(GOOD)) as server:
            first = await one(server, calls=calls)
            again = await one(server, calls=calls)
            other = await one(server, ask(1), calls=calls)
        assert first == again
        assert other.prompt_hash != first.prompt_hash
        assert (len(server.requests), calls.hits) == (2, 1)
        assert calls.totals()["prompt_tokens"] == server.usage["prompt_tokens"]


def refusing(
    *kinds: str, message: str = "response_format type {kind} is not supported"
) -> Callable[[Body, int], Said | None]:
    def say(body: Body, seen: int) -> Said | None:
        kind = (body.get("response_format") or {}).get("type", "text")
        return error(400, message.format(kind=kind)) if kind in kinds else text(GOOD)

    return say


@pytest.mark.parametrize(
    ("say", "rung"),
    [
        (refusing("json_schema"), "json_object"),
        (refusing("json_schema", "json_object"), "text"),
        (refusing("json_schema", "json_object", message="bad request"), "text"),
    ],
)
async def test_how_json_can_be_had_is_found_out_once_and_remembered(say: Any, rung: str, tmp_path: Path):
    said: list[str] = []
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(say) as server:
            async with opened(server.url, calls, said) as speaker:
                await asyncio.gather(*(speaker.reply(ask(n)) for n in range(10)))
            before = len(server.requests)
            assert (await one(server, ask(99), calls=calls)).value
        assert len(server.requests) == before + 1
        assert json.loads(calls.recall(f"endpoint test-model at 127.0.0.1:{server.port}/v1") or "")["rung"] == rung
    assert len(said) == (2 if rung == "json_object" else 3)
    assert "JSON schema" in server.requests[-1]["messages"][-1]["content"]


async def test_a_schema_that_is_taken_but_never_obeyed_is_given_up():
    def say(body: Body, seen: int) -> Said | None:
        return (
            text("As you like: " + GOOD.replace('"', "'"))
            if "json schema" in str(body["messages"]).lower()
            else text("Hm.")
        )

    async with Endpoint(say) as server, opened(server.url) as speaker:
        ends = await asyncio.gather(*(speaker.reply(ask(n)) for n in range(4)), return_exceptions=True)
        assert any(isinstance(end, ModelError) for end in ends)
        for n in range(5, 12):
            try:
                reply = await speaker.reply(ask(n))
            except ModelError:
                continue
        assert reply.value == Queries(queries=["opening hours"], why="so")


async def test_a_bad_reply_is_shown_to_the_model_once_with_its_error():
    def say(body: Body, seen: int) -> Said | None:
        return text("never mind") if len(body["messages"]) == 2 else text(GOOD)

    async with Endpoint(say) as server:
        reply = await one(server)
    assert reply.value
    assert [message["role"] for message in server.requests[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert server.requests[1]["messages"][:2] == server.requests[0]["messages"]
    assert reply.usage.prompt_tokens == server.usage["prompt_tokens"]


@pytest.mark.parametrize(
    ("said", "reason", "raw"),
    [
        (text("never mind"), "bad_reply", "never mind"),
        (text('{"queries": []}'), "bad_reply", '{"queries": []}'),
        (text(""), "empty_reply", ""),
        (Said({}), "empty_reply", ""),
        (Said({"role": "assistant", "content": None, "refusal": "I must not."}), "refused", "I must not."),
        (text("half", finish="content_filter"), "content_filter", "half"),
        (text('{"queries": ["ope', finish="length"), "truncated", '{"queries": ["ope'),
        (error(400, "This model's maximum context length is 8192 tokens."), "context_too_long", ""),
        (error(400, "request (9031 tokens) exceeds the available context size (8192 tokens)"), "context_too_long", ""),
        (error(400, "flagged", code="content_filter"), "content_filter", ""),
        (error(500, "out of luck"), "server_error", ""),
        (Said(hang=True), "timeout", ""),
    ],
)
async def test_every_failure_of_a_call_has_a_name_and_keeps_the_text(said: Said, reason: str, raw: str):
    policy = {**FAST, "attempts": 2, "timeout": 0.2}
    async with Endpoint(lambda body, seen: said) as server:
        with pytest.raises(ModelError) as failed:
            await one(server, retry=policy)
    assert (failed.value.reason, failed.value.raw) == (reason, raw)
    assert "\n" not in str(failed.value)


async def test_a_reply_that_was_cut_off_is_asked_for_again_with_more_room():
    def say(body: Body, seen: int) -> Said | None:
        return text(GOOD) if body.get("max_tokens", 0) >= 1000 else text(GOOD[:9], finish="length")

    async with Endpoint(say) as server:
        assert (await one(server, ask(sampling=Sampling(max_tokens=600)))).value
        assert (await one(server, ask(1))).value
    assert [body.get("max_tokens") for body in server.requests] == [600, 1200, None, 1024]


@pytest.mark.parametrize(
    "message",
    [
        {"content": GOOD, "reasoning_content": "let me see"},
        {"content": GOOD, "reasoning": "let me see"},
        {"content": f"<think>let me see</think>\n{GOOD}"},
        {"content": [{"type": "text", "text": GOOD}], "reasoning": "let me see"},
    ],
)
async def test_reasoning_is_kept_apart_from_the_reply(message: Body):
    async with Endpoint(lambda body, seen: Said({"role": "assistant", **message})) as server:
        reply = await one(server)
    assert (reply.value, reply.reasoning) == (Queries.model_validate_json(GOOD), "let me see")


@pytest.mark.parametrize("setting", ["max_tokens", "temperature", "seed"])
async def test_a_setting_that_an_endpoint_refuses_is_put_otherwise(setting: str):
    instead = "; use 'max_completion_tokens' instead" if setting == "max_tokens" else ""

    def say(body: Body, seen: int) -> Said | None:
        return error(400, f"Unsupported parameter: '{setting}'{instead}") if setting in body else text(GOOD)

    async with Endpoint(say) as server, opened(server.url) as speaker:
        for n in range(2):
            assert (await speaker.reply(ask(n, sampling=Sampling(temperature=0.1, max_tokens=50)))).value
    assert len(server.requests) == 3
    assert setting not in server.requests[-1]
    assert ("max_completion_tokens" in server.requests[-1]) is (setting == "max_tokens")


async def test_tool_calls_are_read_with_ids_of_our_own():
    async with Endpoint() as server, opened(server.url) as speaker:
        reply = await speaker.reply(offered())
        again = await speaker.reply(offered())
    assert speaker.tool_mode == "native"
    assert reply.value is None
    assert [call.name for call in reply.tool_calls] == ["search"]
    assert set(reply.tool_calls[0].arguments) == {"query"}
    assert reply.tool_calls == again.tool_calls
    assert reply.tool_calls[0].call_id != "call_1"


async def test_tools_stay_in_the_request_when_none_may_be_called():
    async with Endpoint() as server, opened(server.url, tool_mode="native") as speaker:
        reply = await speaker.reply(offered("none"))
    assert reply.value
    body = server.requests[-1]
    assert (body["tool_choice"], body["tools"][0]["function"]["name"]) == ("none", "search")


@pytest.mark.parametrize(
    "say",
    [
        lambda body, seen: text("I would search, but cannot."),
        lambda body, seen: (
            error(400, '"auto" tool choice requires --enable-auto-tool-choice') if "tools" in body else None
        ),
    ],
)
async def test_ignored_tools_are_noticed_said_once_and_remembered(say: Any, tmp_path: Path):
    said: list[str] = []
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(say) as server:
            async with opened(server.url, calls, said) as speaker:
                assert speaker.tool_mode == "native"
                replies = await asyncio.gather(*(speaker.reply(offered("required", n)) for n in range(8)))
                assert speaker.tool_mode == "schema"
                assert all(reply.value is None and not reply.tool_calls for reply in replies)
            assert [line for line in said if "ignores tools" in line] == said
            assert len(said) == 1
            async with opened(server.url, calls, said) as later:
                assert later.tool_mode == "schema"
        assert len(server.requests) <= 3


async def test_an_answer_in_place_of_a_call_is_asked_for_in_its_shape():
    def say(body: Body, seen: int) -> Said | None:
        return text("At nine.") if body.get("tool_choice") == "auto" else None

    async with Endpoint(say) as server, opened(server.url) as speaker:
        reply = await speaker.reply(offered("auto"))
    assert reply.value
    assert [body.get("tool_choice") for body in server.requests] == ["required", "auto", "none"]


async def test_faults_that_pass_lose_nothing():
    def say(body: Body, seen: int) -> Said | None:
        faults = [
            error(429, "slow down", {"retry-after": "0.01"}),
            error(500, "oops"),
            Said(cut=True),
            error(503, "loading"),
        ]
        return faults[seen - 1] if seen <= len(faults) else text(GOOD)

    async with Endpoint(say) as server, opened(server.url, retry={**FAST, "attempts": 5}) as speaker:
        replies = await asyncio.gather(*(speaker.reply(ask(n)) for n in range(20)))
    assert all(reply.value for reply in replies)


async def test_a_server_that_is_killed_and_started_again_is_waited_for():
    async with Endpoint(latency=0.05) as server, opened(server.url, retry={**FAST, "dead_after": 30.0}) as speaker:
        await speaker.reply(ask(0))
        calls = [asyncio.create_task(speaker.reply(ask(n))) for n in range(1, 100)]
        for _ in range(2):
            await asyncio.sleep(0.02)
            await server.stop()
            await asyncio.sleep(0.4)
            await server.start()
        assert all(reply.value for reply in await asyncio.gather(*calls))


async def test_connections_that_a_proxy_has_closed_are_opened_again():
    async with Endpoint(close_idle=0.05) as server, opened(server.url) as speaker:
        for n in range(4):
            assert (await speaker.reply(ask(n))).value
            await asyncio.sleep(0.08)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error(401, "Incorrect API key provided: sk-abc123def456"), "the key was refused"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "the account is spent"),
        (error(429, "Rate limit reached: 1000 requests per day"), "the day's quota is spent"),
        (
            Said(raw=b"<html><title>Welcome to nginx</title></html>", headers={"content-type": "text/html"}),
            "an HTML page",
        ),
        (Said(raw=b'{"hello": 1}'), "not a chat completion"),
    ],
)
async def test_an_endpoint_that_will_not_answer_stops_the_run_in_one_line(said: Said, words: str):
    async with Endpoint(lambda body, seen: said) as server:
        with pytest.raises(ModelClosed, match=words) as closed:
            await one(server)
    assert "\n" not in str(closed.value)
    assert "sk-abc" not in str(closed.value)


async def test_a_model_that_is_not_there_is_answered_with_those_that_are():
    async with Endpoint(models=("granite", "qwen")) as server:
        with pytest.raises(ModelClosed, match="has no model 'test-model'; it lists: granite, qwen"):
            await one(server)


async def test_nothing_that_listens_is_said_within_seconds():
    async with Endpoint() as server:
        pass
    with pytest.raises(ModelClosed, match="nothing listens there"):
        await one(server)


async def test_a_host_that_does_not_exist_and_a_broken_tls_are_said_at_once():
    async with Endpoint() as server:
        with pytest.raises(ModelClosed, match="no such host"):
            async with opened("http://no-such-host.invalid/v1") as speaker:
                await speaker.reply(ask())
        with pytest.raises(ModelClosed, match="no secure connection"):
            async with opened(server.url.replace("http://", "https://")) as speaker:
                await speaker.reply(ask())


async def test_conversations_stay_on_their_endpoint_and_move_when_it_dies():
    async with (
        Endpoint(lambda body, seen: text(GOOD)) as one,
        Endpoint(lambda body, seen: text(GOOD)) as two,
        opened("", base_urls=[one.url, two.url]) as speaker,
    ):
        await asyncio.gather(*(speaker.reply(ask(n)) for n in (0, 2, 4, 1)))
        assert (len(one.requests), len(two.requests)) == (3, 1)
        await one.stop()
        replies = await asyncio.gather(*(speaker.reply(ask(n)) for n in range(10, 20)))
        assert all(reply.value for reply in replies)
        assert len(two.requests) == 11
        await one.start()


async def test_an_endpoint_that_says_it_has_no_room_is_not_asked_until_it_has():
    headers = {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "5m0s",
    }
    async with Endpoint(lambda body, seen: text(GOOD, headers=headers)) as server, opened(server.url) as speaker:
        await speaker.reply(ask())
        limiter = speaker.endpoints[0].guard.limiter
        assert 20 < limiter.delay(time.monotonic()) <= 30


@pytest.mark.parametrize(
    ("left", "reset", "tokens", "seconds"),
    [
        ("0", "10s", 100, 1.0),
        ("50", "9.5s", 100, 0.5),
        ("400", "6s", 100, 0.0),
        ("0", "500ms", 100, 0.05),
        ("0", "1h0m10s", 2000, 3610.0),
        ("0", "soon", 100, 0.0),
        ("", "10s", 100, 0.0),
    ],
)
def test_the_room_an_endpoint_speaks_of_is_read_from_its_headers(left, reset, tokens, seconds):
    headers = {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": left,
        "x-ratelimit-reset-tokens": reset,
    }
    assert rest(headers, tokens) == pytest.approx(seconds)


async def test_an_azure_deployment_is_asked_at_its_own_path_with_its_own_header(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "hidden")
    async with Endpoint(lambda body, seen: text(GOOD)) as server:
        azure = {"endpoint": server.url.removesuffix("/v1"), "api_version": "2024-10-21"}
        model = OpenAIModel.model_validate({"model": "test-model", "azure": azure, "retry": FAST})
        async with model.open(World(prompts=PROMPTS)) as speaker:
            assert (await speaker.reply(ask())).value
            assert (await speaker.reply(ask(1))).value
    for line, *headers in map(str.splitlines, server.heads):
        assert line == "POST /openai/deployments/test-model/chat/completions?api-version=2024-10-21 HTTP/1.1"
        assert "api-key: hidden" in [header.lower() for header in headers]
    assert len(server.heads) == 2


async def test_every_request_carries_the_headers_of_the_first():
    async with Endpoint() as server, opened(server.url, api_key="hidden", headers={"X-Team": "rag"}) as speaker:
        for index in range(3):
            await speaker.reply(ask(index))
    sent = [{line.lower() for line in head.splitlines()} for head in server.heads]
    lengths = [{line for line in head if line.startswith("content-length:")} for head in sent]
    first, *later = [head - length for head, length in zip(sent, lengths, strict=True)]
    assert {"authorization: bearer hidden", "x-team: rag"} <= first
    assert later == [first, first]
    assert len(set.union(*lengths)) > 1, "the requests were to be of different lengths"


async def test_an_endpoint_that_has_moved_is_followed_with_the_whole_request():
    async with Endpoint() as server:
        place = {"location": f"{server.url}/chat/completions"}
        async with serving(lambda request: web.Response(status=307, headers=place)) as url, opened(url) as speaker:
            assert [(await speaker.reply(ask(index))).value is not None for index in range(3)] == [True] * 3
    assert len(server.requests) == 3


async def test_no_key_is_needed_for_ones_own_server_but_for_the_hosted_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with Endpoint() as server:
        assert (await one(server)).value
    with pytest.raises(ModelClosed, match="set the environment variable OPENAI_API_KEY"):
        async with opened("https://api.openai.com/v1"):
            pass


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch):
    model = OpenAIModel(model="m", base_url="http://host/v1", api_key="hidden2", headers={"X": "hidden3"})
    assert "hidden2" not in repr(model) + model.model_dump_json()
    assert "hidden3" not in repr(model) + model.model_dump_json()


@pytest.mark.parametrize(
    "place", [{"base_url": "localhost:8000"}, {"base_url": "http://a/v1", "base_urls": ["http://b/v1"]}]
)
def test_an_address_that_is_none_is_refused(place: dict[str, Any]):
    with pytest.raises(ValidationError, match=r"not an address|give one of"):
        OpenAIModel(model="m", **place)


def test_importing_the_model_imports_no_client():
    import subprocess
    import sys

    code = "import sys, dgt_rag.llm.openai; print([m for m in ('openai', 'aiohttp', 'httpx2') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
