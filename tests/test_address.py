"""Addresses, keys, headers, proxies and certificates: what cannot be sent or reached is named before or at the first request."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from asking import ask, one, opened
from endpoint import Endpoint
from pydantic import ValidationError

from dgt_rag.errors import ModelClosed, TaskError
from dgt_rag.llm.address import checked
from dgt_rag.llm.openai import OpenAIModel


async def test_a_key_is_sent_without_the_line_end_that_came_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "hidden\r\n")
    async with Endpoint() as server:
        assert (await one(server)).value
        assert (await one(server, ask(1), api_key=" shown\n")).value
    assert ["hidden" in server.heads[0], "shown\r" in server.heads[1]] == [True, True]


async def test_a_key_that_no_header_can_carry_is_refused_by_its_name_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "ключ")
    with pytest.raises(
        TaskError, match="the key in the environment variable OPENAI_API_KEY: its character 1 "
    ) as refused:
        async with opened("http://localhost:1/v1"):
            pass
    assert "ключ" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"api_key": "a\nb"}, "api_key: its character 2 cannot stand in a header"),
        ({"headers": {"X-A": "ü"}}, "headers: X-A: its character 1"),
        ({"headers": {"X A": "b"}}, "'X A' is no name of a header"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, "not an address"),
        ({"base_url": "http://127.0.0.1:80a/v1"}, "not an address"),
        ({"base_url": "http://[::1:80/v1"}, "not an address"),
        ({"base_url": "http://two words/v1"}, "not an address"),
        ({"base_url": "http://exämple..com/v1"}, "not an address"),
    ],
)
def test_what_cannot_be_sent_or_reached_is_refused_before_anything_runs(keys: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        OpenAIModel.model_validate({"model": "m", **keys})


async def test_space_around_an_address_is_none_of_it_and_ipv6_is_shown_in_brackets():
    async with Endpoint() as server, opened(f" {server.url}\n") as speaker:
        assert (await speaker.reply(ask())).value
        assert speaker.endpoints[0].name == f"test-model at 127.0.0.1:{server.port}/v1"
    async with opened("http://[::1]:8000/v1") as speaker:
        assert speaker.endpoints[0].name == "test-model at [::1]:8000/v1"


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "no-such-proxy.invalid"])
async def test_a_proxy_that_is_not_there_is_named_with_its_variable(proxy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for variable in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, proxy)
    async with Endpoint() as server:
        with pytest.raises(ModelClosed, match=rf"the proxy {proxy.removeprefix('http://')} of the .* HTTP_PROXY "):
            await one(server)


async def test_a_certificate_that_is_not_trusted_is_said_with_the_reason(tmp_path: Path):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    with pytest.raises(ModelClosed, match=r"no secure connection \(unable to get local issuer certificate\)"):
        async with opened(f"https://127.0.0.1:{runner.addresses[0][1]}/v1") as speaker:
            await speaker.reply(ask())
    await runner.cleanup()


@pytest.mark.parametrize(
    "url", ["bob:hunter2@h/v1", "http://bob:hunter2@h:99999/v1", "http://h:99999/v1?api-key=hunter2&x=hunter2"]
)
def test_what_is_no_address_is_told_without_what_may_be_a_secret_in_it(url: str):
    with pytest.raises(ValueError, match=r"not an address: '.*h[:/]") as refused:
        checked(url)
    assert "hunter2" not in str(refused.value)
