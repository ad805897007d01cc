"""What an endpoint's refusals mean: which of them teach, which cost one conversation, which stop the run, each in one line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from asking import GOOD, ask, offered, one, opened
from endpoint import Body, Endpoint, Said, error, text
from small_server import serving

from dgt_rag.errors import EndpointDown, ModelClosed, ModelError
from dgt_rag.llm.refusals import Raw, refusal
from dgt_rag.llm.traits import Traits
from dgt_rag.store.calls import Calls, open_calls


def memory(calls: Calls, url: str) -> dict[str, Any]:
    return json.loads(calls.recall(f"endpoint test-model at {url.removeprefix('http://')}") or "{}")


async def closed(said: Said, **keys: Any) -> str:
    async with Endpoint(lambda body, seen: said) as server:
        with pytest.raises(ModelClosed) as stop:
            await one(server, **keys)
    assert "\n" not in str(stop.value)
    return str(stop.value).partition(": ")[2]


@pytest.mark.parametrize("status", [400, 422, 418, 417])
async def test_a_host_that_never_answered_and_refuses_all_stops_the_run_and_nothing_of_it_is_remembered(
    status: int, tmp_path: Path
):
    mended = False

    def say(body: Body, seen: int) -> Said:
        return text(GOOD) if mended else error(status, "Your account is not active")

    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint(say) as server:
            with pytest.raises(
                ModelClosed, match=r"refuses every request \(Your account is not active\); check `model`"
            ):
                await one(server, calls=calls)
            assert memory(calls, server.url).get("rung", "json_schema") == "json_schema"
            mended = True
            said: list[str] = []
            assert (await one(server, calls=calls, said=said)).value
        assert said == []
        assert "response_format" in server.requests[-1]


async def test_a_way_of_asking_in_which_nothing_was_read_is_not_believed_later(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        async with Endpoint() as server:
            calls.remember(f"endpoint test-model at 127.0.0.1:{server.port}/v1", Traits(rung="text").model_dump_json())
            assert (await one(server, calls=calls)).value
        assert server.requests[0]["response_format"]["type"] == "json_schema"


async def test_a_dozen_refusals_in_a_row_stop_the_run_and_those_among_answers_cost_one_conversation_each():
    refusing = False

    def say(body: Body, seen: int) -> Said | None:
        return error(418, "no") if refusing else text(GOOD)

    async with Endpoint(say) as server, opened(server.url) as speaker:
        ends: list[type[Exception]] = []
        for index in range(32):
            refusing = index % 8 != 0 if index < 16 else index > 16
            try:
                await speaker.reply(ask(index))
            except (ModelError, ModelClosed) as end:
                ends.append(type(end))
                if isinstance(end, ModelClosed):
                    break
    assert (len(ends), ends.count(ModelClosed), index) == (14 + 12, 1, 28)
    assert not issubclass(ends[0], ModelClosed)


async def test_a_refusal_before_any_answer_is_judged_once_the_others_are_heard():
    def say(body: Body, seen: int) -> Said | None:
        return error(418, "not this one") if body["seed"] == odd.dice.number & 0x7FFFFFFF else text(GOOD)

    odd = ask(7)
    async with Endpoint(say, latency=0.1) as server, opened(server.url) as speaker:
        asks = [odd, *(ask(n) for n in range(4))]
        ends = await asyncio.gather(*map(speaker.reply, asks), return_exceptions=True)
    assert isinstance(ends[0], ModelError) and "not this one" in str(ends[0])
    assert not any(isinstance(end, Exception) for end in ends[1:])


@pytest.mark.parametrize(
    "said",
    [
        error(400, "The model `test-model` does not exist."),
        error(400, "Model Not Exist"),
        error(422, "no", code="model_not_found"),
        error(400, "test-model is not a valid model ID"),
        error(405, "Method Not Allowed"),
        Said(status=405, raw=b""),
    ],
)
async def test_a_model_or_an_address_that_is_not_there_is_said_whatever_the_status(said: Said):
    assert "check `model` and `base_url`" in await closed(said)


async def test_where_an_endpoint_has_moved_to_is_said():
    def answer(request: web.Request) -> web.Response:
        if not request.path.startswith("/new"):
            raise web.HTTPMovedPermanently(f"/new{request.path}")
        return web.Response(status=405, text="Method Not Allowed")

    async with serving(answer) as url, opened(f"{url}/v1") as speaker:
        with pytest.raises(
            ModelClosed, match=r"Method Not Allowed; redirected to 127.0.0.1:\d+/new/v1/chat/completions"
        ):
            await speaker.reply(ask())


async def test_a_login_page_and_a_circle_of_redirections_are_said():
    def login(request: web.Request) -> web.Response:
        if request.path != "/login":
            raise web.HTTPFound("/login")
        return web.Response(text="<html><title>Sign in</title></html>", content_type="text/html")

    def circle(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(request.path)

    for answer, words in ((login, r"an HTML page \(Sign in\), redirected to .*/login"), (circle, "without end")):
        async with serving(answer) as url, opened(url) as speaker:
            with pytest.raises(ModelClosed, match=words):
                await speaker.reply(ask())


async def test_a_request_that_is_too_large_is_too_long_a_context():
    async with Endpoint(lambda body, seen: Said(status=413, raw=b"<html><h1>Too Large</h1></html>")) as server:
        with pytest.raises(ModelError) as failed:
            await one(server)
    assert failed.value.reason == "context_too_long"


async def test_what_llama_cpp_says_of_tools_with_a_500_is_learned_and_any_other_500_is_not():
    def say(body: Body, seen: int) -> Said | None:
        return error(500, "tools param requires --jinja flag") if "tools" in body else text(GOOD)

    said: list[str] = []
    async with Endpoint(say) as server, opened(server.url, said=said) as speaker:
        assert (await speaker.reply(offered())).value is None
        assert speaker.tool_mode == "schema"
    assert ["ignores tools" in line for line in said] == [True]
    async with Endpoint(lambda body, seen: error(500, "no schema today")) as server, opened(server.url) as speaker:
        with pytest.raises(ModelError, match="no schema today"):
            await speaker.reply(ask())
        assert speaker.endpoints[0].traits == Traits()


def dated(seconds: float) -> dict[str, str]:
    return {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)}


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, 1.5),
        (dated(1e6), 9e5, 1e6),
        (dated(-3600), 0, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30, 30),
    ],
)
def test_when_to_come_back_is_read_as_seconds_or_as_a_date(headers: dict[str, str], least: float, most: float):
    assert least <= (Raw(429, headers, b"").retry_after or 0.0) <= most


@pytest.mark.parametrize("said", ["soon", "-5", "inf", "", "32 Foo 2015"])
def test_a_time_to_come_back_that_is_none_is_no_time(said: str):
    assert Raw(429, {"retry-after": said}, b"").retry_after is None


async def test_an_endpoint_that_says_to_come_back_in_hours_stops_the_run():
    line = await closed(error(429, "slow down", {"retry-after": "86400"}))
    assert line == "no room (slow down); room again in 24 h; resume then"


async def test_an_endpoint_that_says_429_and_to_come_back_at_once_is_not_hammered():
    policy = {"first_wait": 0.05, "refused_after": 1.0, "timeout": 2.0}
    async with Endpoint(lambda body, seen: error(429, "slow", {"retry-after": "0"})) as server:
        with pytest.raises((ModelClosed, EndpointDown), match="nothing but 429"):
            await one(server, retry=policy)
    assert len(server.requests) < 20


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("PerMinutePerProject", "Busy"),
        ("PerDayPerProject-FreeTier", "ModelClosed"),
        ("", "ModelClosed"),
    ],
)
def test_a_list_of_errors_is_read_and_a_quota_by_the_minute_is_waited_for(details: str, kind: str):
    held = {
        "code": 429,
        "message": f"You exceeded your current quota, please check your plan and billing details. {details}",
    }
    raw = Raw(429, {}, json.dumps([{"error": held}]).encode())
    meant = refusal(raw, "here", "")
    assert (type(meant).__name__, "You exceeded your current quota" in str(meant)) == (kind, True)
    assert "[{" not in str(meant)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error(403, "no access to this region"), "not allowed (no access to this region); get access"),
        (
            Said(status=403, raw=b"<!DOCTYPE html><title>Just a moment...</title>"),
            "answered 403 with an HTML page (Just a moment...): what stands before the endpoint",
        ),
    ],
)
async def test_a_403_is_not_always_the_key(said: Said, words: str):
    assert (await closed(said)).startswith(words)


async def test_a_403_of_a_moderator_costs_one_conversation():
    flagged = error(403, "Your chosen model requires moderation and your input was flagged")
    server = Endpoint(lambda body, seen: flagged if seen == 1 else text(GOOD))
    async with server, opened(server.url) as speaker:
        with pytest.raises(ModelError) as failed:
            await speaker.reply(ask())
        assert (await speaker.reply(ask())).value
    assert failed.value.reason == "content_filter"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"error": {"message": "No auth credentials found", "code": 401}}, "the key was refused"),
        ({"error": {"message": "gone", "code": "404"}}, "gone; check `model`"),
        (
            {"choices": [{"error": {"message": "no money", "code": 402}, "message": {"content": ""}}]},
            "account is spent",
        ),
    ],
)
async def test_an_error_in_the_body_of_a_200_is_the_error_it_says(held: Body, words: str):
    assert words in await closed(Said(raw=json.dumps(held).encode()))


async def test_an_error_without_a_code_in_the_body_of_a_200_is_tried_again():
    upstream = Said(raw=json.dumps({"error": {"message": "upstream is overloaded"}}).encode())
    async with Endpoint(lambda body, seen: upstream if seen == 1 else text(GOOD)) as server:
        assert (await one(server)).value
    assert len(server.requests) == 2


async def test_the_key_and_the_headers_that_were_sent_are_blotted_out_where_an_endpoint_repeats_them():
    said = error(400, "model not found for gemstone42 with team-secret-9")
    line = await closed(said, api_key="gemstone42", headers={"X-Team": "Token team-secret-9"})
    assert line.startswith("model not found for … with …; check")


async def test_a_key_that_is_refused_is_named_by_where_it_came_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOUSE_KEY", "of-the-house")
    assert (await closed(error(401, "no"), api_key="abcdef")).endswith("; check `api_key`")
    assert (await closed(error(401, "no"), api_key_env="HOUSE_KEY")).endswith("the environment variable HOUSE_KEY")


async def test_a_stream_of_events_and_json_without_a_bottom_are_named():
    stream = Said(raw=b'data: {"choices": []}\n\ndata: [DONE]\n\n', headers={"content-type": "text/event-stream"})
    assert await closed(stream) == (
        "answered a stream of events: it streams, unasked; switch that off at the server or in `extra_body`"
    )
    assert "JSON that cannot be read (it is nested too deeply)" in await closed(Said(raw=b"[" * 100_000))
