"""`search/http`: calls a service as it is, reads what it answers, and says what it cannot do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml
from aiohttp import web
from building import task_values
from embedding_server import free_port
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SkipValidation, ValidationError
from small_server import serving

from dgt_rag.api import run
from dgt_rag.cli import run_command
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine
from dgt_rag.engines.http import HttpEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.selected import Selected
from dgt_rag.errors import CorpusError, Dropped, EngineError, Exhausted, Exit, ServiceError, TaskError
from dgt_rag.records import Document, Hit
from dgt_rag.retry import RetryPolicy
from dgt_rag.samplers.base import Shelf, Source
from dgt_rag.samplers.related import RelatedSampler
from dgt_rag.testing import LAWS, Opener
from dgt_rag.world import World

QUICK = {"attempts": 3, "first_wait": 0.001, "max_wait": 0.002, "dead_after": 0.2}
ITEMS = [
    {"doc": {"id": 7, "text": "Ferries leave at noon."}, "meta": {"score": 2.5}, "lang": "en"},
    {"doc": {"id": 8, "text": "Trams leave at one.", "name": "Trams"}, "meta": {"score": 1.5}, "lang": "de"},
]
PROJECTION = {"body": "doc.text", "doc_id": "doc.id", "title": "doc.name"}


class Served(SearchToolEngine):
    """An engine behind a real HTTP service, which applies filters, and `search/http` in front of it."""

    type: Literal["test/served"] = "test/served"
    corpus: SkipValidation[Sequence[Document]]

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        whole, seen = InMemoryEngine(corpus=self.corpus), InMemoryEngine(corpus=self.corpus, filter=self.filter)
        async with whole.open(world) as service, seen.open(world) as held:

            async def answer(request: web.Request) -> web.Response:
                asked = await request.json()
                hits = await service.search(asked["q"], asked["n"], asked["where"])
                return web.json_response({"hits": [flat(hit) for hit in hits]})

            async with serving(answer) as url:
                engine = HttpEngine(
                    url=url,
                    body={"q": "{{ query }}", "n": "{{ limit }}", "where": "{{ where }}"},
                    hits="hits",
                    documents_from="held",
                    filter=self.filter,
                    relevance_threshold=self.relevance_threshold,
                )
                async with engine.open(World(engines={"held": held})) as retriever:
                    yield retriever


def flat(hit: Hit) -> dict[str, Any]:
    one = hit.document
    own = {"id": one.doc_id, "text": one.body, "title": one.title, "domain": one.domain}
    return {**one.metadata, **own, "score": hit.score}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_it_keeps_the_laws_of_every_engine(law, tmp_path: Path) -> None:
    await law(Opener(lambda documents, folder, **settings: Served(corpus=documents, **settings), tmp_path))


async def searched(engine: HttpEngine, query: str = "ferry", limit: int = 5, world: World | None = None) -> list[Hit]:
    async with engine.open(world or World()) as retriever:
        return await retriever.search(query, limit)


@asynccontextmanager
async def recording(answer: Any = None) -> AsyncIterator[tuple[str, list[Any]]]:
    """Serve one answer and keep what was asked."""
    seen: list[Any] = []

    async def serve(request: web.Request) -> web.Response:
        asked = {"path": request.path, **request.query}
        seen.append((request.method, asked, dict(request.headers), (await request.read()).decode()))
        return web.json_response(answer if answer is not None else {"results": {"items": ITEMS}})

    async with serving(serve) as url:
        yield url, seen


async def test_a_body_as_a_mapping_is_filled_and_the_answer_is_read_by_its_paths() -> None:
    async with recording() as (url, seen):
        body = {"query": {"match": "{{ query }}"}, "size": "{{ limit }}", "tags": ["a", "for {{ query }}"], "on": True}
        engine = HttpEngine(
            url=f"{url}/find", body=body, hits="results.items", projection=PROJECTION, score="meta.score"
        )
        hits = await searched(engine, 'the "east" pier\n{{ 7 * 7 }}', 2)
    asked = 'the "east" pier\n{{ 7 * 7 }}'
    assert json.loads(seen[0][3]) == {"query": {"match": asked}, "size": 2, "tags": ["a", f"for {asked}"], "on": True}
    assert seen[0][:2] == ("POST", {"path": "/find"})
    assert seen[0][2]["Content-Type"] == "application/json"
    assert [(hit.document.doc_id, hit.document.body, hit.score, hit.rank) for hit in hits] == [
        ("7", "Ferries leave at noon.", 2.5, 1),
        ("8", "Trams leave at one.", 1.5, 2),
    ]
    assert hits[1].document.title == "Trams"
    assert hits[0].document.field("lang") == "en"


async def test_a_body_as_a_template_and_an_address_with_parameters_are_filled() -> None:
    async with recording() as (url, seen):
        text = '{"q": {{ query | tojson }}, "n": {{ limit }}}'
        await searched(HttpEngine(url=url, body=text, hits="results.items", projection=PROJECTION), 'a "b"', 3)
        get = HttpEngine(
            url=f"{url}/s/{{{{ query | urlencode }}}}?again={{{{ query | urlencode }}}}",
            method="GET",
            params={"q": "{{ query }}", "n": "{{ limit }}", "x": 1},
            hits="results.items",
            projection=PROJECTION,
        )
        await searched(get, "a b&c", 3)
    assert json.loads(seen[0][3]) == {"q": 'a "b"', "n": 3}
    assert seen[1][:2] == ("GET", {"path": "/s/a b&c", "again": "a b&c", "q": "a b&c", "n": "3", "x": "1"})


async def test_headers_are_sent_and_never_shown() -> None:
    async with recording() as (url, seen):
        engine = HttpEngine(
            url=url, headers={"Authorization": "Bearer s3cret\n"}, hits="results.items", projection=PROJECTION
        )
        await searched(engine)
    assert seen[0][2]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in f"{engine!r} {engine.model_dump_json()}"


async def test_what_was_sent_in_confidence_is_blotted_out_of_what_a_service_says() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"detail": f"who is {request.headers['Authorization']}"}, status=404)

    async with serving(answer) as url:
        with pytest.raises(EngineError, match=r"404 \(who is …\)"):
            await searched(HttpEngine(url=url, headers={"Authorization": "Token s3cret-s3cret"}))


async def test_a_key_in_the_address_is_in_no_refusal() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"NO HTTP AT ALL\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/?key=s3cret-s3cret"
        with pytest.raises(ServiceError, match="cannot connect") as refused:
            await searched(HttpEngine(url=url, retry={**QUICK, "attempts": 1}))
    assert "s3cret" not in str(refused.value) and "\n" not in str(refused.value)


async def test_passwords_of_netrc_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with recording([]) as (url, seen):
        for headers in ({"Authorization": "Bearer abc"}, {}):
            await searched(HttpEngine(url=url, headers=headers))
    assert [sent.get("Authorization") for _, _, sent, _ in seen] == ["Bearer abc", None]


async def test_the_proxy_of_the_environment_is_used_as_far_as_it_is_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with recording([]) as (url, seen):
        for proxy in (url.removeprefix("http://"), url.replace("//", "//me:s3cret@")):
            monkeypatch.setenv("http_proxy", proxy)
            await searched(HttpEngine(url="http://search.invalid/find"))
        assert [sent["Host"] for _, _, sent, _ in seen] == ["search.invalid"] * 2
        assert [sent.get("Proxy-Authorization") for _, _, sent, _ in seen] == [None, "Basic bWU6czNjcmV0"]
        monkeypatch.setenv("no_proxy", "search.invalid")
        with pytest.raises(ServiceError, match="cannot connect"):
            await searched(HttpEngine(url="http://search.invalid/find", retry={**QUICK, "attempts": 1}))
        monkeypatch.setenv("http_proxy", "socks5://me:s3cret@127.0.0.1:1")
        with pytest.raises(EngineError, match=r"search\.other/find: the environment variable http_proxy .* NO_PROXY$"):
            await searched(HttpEngine(url="http://search.other/find"))
        for proxy in ("127.0.0.1:99999", "proxy..example:80"):
            monkeypatch.setenv("http_proxy", f"http://me:s3cret@{proxy}")
            with pytest.raises(EngineError, match="cannot be called: no address") as refused:
                await searched(HttpEngine(url="http://search.other/find"))
            assert "s3cret" not in str(refused.value)


async def test_parameters_are_sent_as_services_read_them() -> None:
    async with recording([]) as (url, seen):
        params = {
            "exact": True,
            "none": None,
            "tag": ["a", "b", None, 2],
            "x": 1.5,
            "n": "{{ limit }}",
            "w": {"a": [1]},
        }
        await searched(HttpEngine(url=url, method="GET", params=params), limit=3)
    sent = {"exact": "true", "tag": "a", "x": "1.5", "n": "3", "w": '{"a": [1]}'}
    assert seen[0][1] == {"path": "/", **sent}
    engine = HttpEngine(url="http://x/", params=params)
    assert [value for name, value in engine.request("q", 3, {}).params if name == "tag"] == ["a", "b", "2"]


async def test_half_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    async with recording([]) as (url, seen):
        templated = f"{url}/?u={{{{ query | urlencode }}}}&w={{{{ where.lang | default('') | urlencode }}}}"
        engine = HttpEngine(url=templated, params={"q": "{{ query }}"}, body={"q": "{{ query }}"})
        async with engine.open(World()) as retriever:
            await retriever.search("cut \ud83d", 3, {"lang": "e\ud83d"})
    assert seen[0][1] == {"path": "/", "u": "cut ?", "w": "e?", "q": "cut ?"}
    assert json.loads(seen[0][3]) == {"q": "cut ?"}


async def test_a_template_that_computes_what_cannot_be_is_refused_before_anything_is_sent() -> None:
    for body in ("{{ 1 / 0 }}", "{{ query + limit }}", "{{ where['a']['b'] }}"):
        with pytest.raises(TaskError, match="it may use query, limit, where") as refused:
            await searched(HttpEngine(url="http://localhost/", body=body))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 30),
        ({"timeout": 10}, 10),
        ({"retry": {"timeout": 7}}, 7),
        ({"timeout": 600}, 600),
        ({"timeout": 10, "retry": {"timeout": 1}}, 10),
        ({"timeout": 10, "retry": {"timeout": 100, "attempts": 2}}, 100),
    ],
)
def test_the_longest_time_that_is_said_is_what_a_call_may_take(settings: dict[str, Any], seconds: float) -> None:
    assert HttpEngine.model_validate({"url": "http://x/", **settings}).policy.timeout == seconds


async def test_engines_of_one_service_share_its_places_and_keep_their_own_tries() -> None:
    asked: list[int] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(1)
        return web.Response(status=500)

    async with serving(answer) as url:
        world = World()
        for tries in (3, 1, 2):
            engine = HttpEngine(url=url, retry={**QUICK, "attempts": tries, "dead_after": 60})
            with pytest.raises(ServiceError, match=rf"\({tries} tries\)"):
                await searched(engine, world=world)
            # those of the query, and those of a plain one that shows whether it is the query's fault
            assert len(asked) == 2 * tries
            asked.clear()
    (guard,) = world.guards.known.values()
    assert guard.gate.outcomes["server_error"] == 12


@pytest.mark.parametrize("score", ["true", '"0.75"', "1" + "0" * 400, "-1" + "0" * 400, "NaN", "-Infinity", "null"])
async def test_what_is_no_score_is_told_by_the_rank(score: str) -> None:
    hits = ", ".join(f'{{"id": "{n}", "text": "x", "score": {score}}}' for n in (1, 2))
    async with serving(of(f"[{hits}]")) as url:
        assert [hit.score for hit in await searched(HttpEngine(url=url))] == [1.0, 0.5]


async def test_a_limit_is_filled_by_hits_that_match_though_the_service_knows_no_filter() -> None:
    asked: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((await request.json())["n"])
        return web.json_response([{"id": n, "text": "x", "lang": "deenit"[n % 3 * 2 :][:2]} for n in range(asked[-1])])

    async with serving(answer) as url:
        engine = HttpEngine(url=url, body={"n": "{{ limit }}"}, filter={"lang": "it"})
        hits = await searched(engine, limit=4)
    assert [hit.document.doc_id for hit in hits] == ["2", "5", "8", "11"] and asked == [20]


async def test_limit_threshold_and_filter_hold_whatever_the_service_sends() -> None:
    async with recording(
        [{"id": n, "text": f"t{n}", "lang": "de" if n % 2 else "en", "score": 9 - n} for n in range(8)]
    ) as (
        url,
        _,
    ):
        assert [hit.document.doc_id for hit in await searched(HttpEngine(url=url), limit=3)] == ["0", "1", "2"]
        german = HttpEngine(url=url, filter={"lang": "de"}, relevance_threshold=4)
        assert [hit.document.doc_id for hit in await searched(german)] == ["1", "3", "5"]


async def test_without_scores_the_order_of_the_service_is_the_rank_and_twice_is_once() -> None:
    async with recording([{"id": i, "text": "x"} for i in "bab"]) as (url, _):
        hits = await searched(HttpEngine(url=url))
    assert [(hit.document.doc_id, hit.score) for hit in hits] == [("b", 1.0), ("a", 0.5)]


async def test_an_unreadable_hit_is_left_out_and_told_once() -> None:
    said: list[str] = []
    async with recording([{"id": "1", "text": ""}, 5, {"id": "2", "text": "x"}, {"id": "3", "text": None}]) as (url, _):
        hits = await searched(HttpEngine(url=url), world=World(say=said.append))
    assert [hit.document.doc_id for hit in hits] == ["2"]
    assert len(said) == 1
    assert "a hit is left out: the field 'text' (body) is empty" in said[0]


@pytest.mark.parametrize(
    ("path", "answer"),
    [("results.items", '{"results": {"items": null}}'), ("0", "[null]"), ("", "null"), ("", "[]")],
)
async def test_null_where_the_hits_should_stand_is_no_hits(path: str, answer: str) -> None:
    async with serving(of(answer)) as url:
        assert await searched(HttpEngine(url=url, hits=path)) == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_but_told_with_the_address_it_leads_to(method: str, status: int) -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "//user:s3cret@search.example/v2/find?key=s3cret"})

    async with serving(answer) as url:
        with pytest.raises(EngineError, match=r"redirect to http://search\.example/v2/find; set `url` to") as refused:
            await searched(HttpEngine(url=f"{url}/find", method=method))
    assert asked == ["/find"]
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "headers", "line"),
    [
        (302, {"Location": "/v2?x=1"}, r"answered 302, a redirect to http://127.0.0.1:\d+/v2; set `url`"),
        (302, {"Location": "http://[x"}, "a redirect to what is no address; set `url`"),
        (304, {}, r"answered 304 \(status 304\); look at `url`, `method` and `body`"),
    ],
)
async def test_a_redirect_of_any_form_is_one_line(status: int, headers: dict[str, str], line: str) -> None:
    async with serving(lambda _: web.Response(status=status, headers=headers)) as url:
        with pytest.raises(EngineError, match=line) as refused:
            await searched(HttpEngine(url=url))
    assert "\n" not in str(refused.value)


async def test_an_answer_that_names_a_place_without_being_a_redirect_is_read() -> None:
    body = '[{"id": 1, "text": "x"}]'
    async with serving(lambda _: web.Response(text=body, status=201, headers={"Location": "/1"})) as url:
        assert [hit.document.doc_id for hit in await searched(HttpEngine(url=url))] == ["1"]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (web.Response(text="[" * 100_000), "the answer is nested too deeply to be read"),
        *(
            (web.Response(text=f'[{{"id": "1", "text": "x", "deep": {"[" * deep}{"]" * deep}}}]'), "nested too deeply")
            for deep in (150, 700)
        ),
        (web.Response(text="[]", headers={"Content-Encoding": "gzip"}), "the answer cannot be read to its end"),
        (web.Response(text='{"detail": "d"}', status=500), r"500: d \(2 tries\)"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_told_by_what_is_wrong_with_it(answer: web.Response, line: str) -> None:
    def serve(request: web.Request) -> web.Response:
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)

    async with serving(serve) as url:
        with pytest.raises(ServiceError, match=line) as refused:
            await searched(HttpEngine(url=url, retry=RetryPolicy(attempts=2, first_wait=0.01)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("query", ["", " \n"])
async def test_an_empty_query_is_not_sent(query: str) -> None:
    async with recording() as (url, seen):
        assert await searched(HttpEngine(url=url), query) == []
    assert seen == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_service_is_asked_again(status: int) -> None:
    asked: list[int] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(1)
        if len(asked) < 3:
            return web.Response(status=status, headers={"Retry-After": "0"})
        return web.json_response([{"id": "1", "text": "x"}])

    async with serving(answer) as url:
        assert len(await searched(HttpEngine(url=url, retry=QUICK))) == 1
    assert len(asked) == 3


def of(text: str, status: int = 200) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(text=text, status=status)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (of("no", 401), r"not let in \(401: no\); look at `headers`"),
        (of("who?", 404), r"answered 404 \(who\?\); look at `url`, `method` and `body`"),
        (of("<html><title>Welcome</title></html>"), r"the answer is no JSON but 'an HTML page \(Welcome\)'"),
        (of('{"results": {"rows": []}}'), "hits: the answer.results has no 'items'; it is a mapping with 'rows'"),
        (of('{"results": {"items": {}}}'), "hits: the answer.results.items is no list; it is a mapping"),
        (of("[]"), "the answer has no 'results'; it is a list"),
        (of('{"results": null}'), "hits: the answer.results has no 'items'; it is null"),
        (
            of('{"results": {"items": [{"_id": 1, "content": "x"}]}}'),
            r"no hit can be read: the field 'text' \(body\) is empty; .*'_id', 'content'; .*body: content, doc_id: _id",
        ),
        (of('{"results": {"items": [{"id": 1, "text": ["x"]}]}}'), r"the field 'text' \(body\) is not text"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_one_line_with_the_way_out(answer, line: str) -> None:
    async with serving(answer) as url:
        with pytest.raises(EngineError, match=line) as refused:
            await searched(HttpEngine(url=url, hits="results.items", retry=QUICK))
    assert "\n" not in str(refused.value)


LONG = "a ferry that leaves the southern pier"


@asynccontextmanager
async def picky(longest: int = 26, status: int = 422) -> AsyncIterator[tuple[str, list[str], dict[str, int]]]:
    """Serve a search that refuses queries longer than so many characters; `most` may be changed meanwhile."""
    asked: list[str] = []
    most = {"most": longest}

    async def answer(request: web.Request) -> web.Response:
        query = (await request.json())["q"]
        asked.append(query)
        if len(query) > most["most"]:
            said = "no such word" if query == "information" else "query too long"
            return web.json_response({"detail": said}, status=status)
        return web.json_response([{"id": "bins", "text": "Household waste is collected.", "score": 1}])

    async with serving(answer) as url:
        yield url, asked, most


@pytest.mark.parametrize("status", [400, 413, 414, 422, 431])
async def test_a_query_that_a_service_refuses_while_it_answers_others_drops_who_asks_it(status: int) -> None:
    async with (
        picky(status=status) as (url, asked, _),
        HttpEngine(url=url, body={"q": "{{ query }}"}).open(World()) as retriever,
    ):
        assert len(await retriever.search("ferry", 3)) == 1
        with pytest.raises(Dropped) as dropped:
            await retriever.search(LONG, 3)
        assert len(await retriever.search("tram", 3)) == 1
    assert asked == ["ferry", LONG, "ferry", "tram"]
    assert dropped.value.reason == "search_refused"
    told = f"answered {status} (query too long) to a query of 37 characters, {LONG!r}, and answers others"
    assert dropped.value.detail == f"search at {url.removeprefix('http://')}: {told}"


async def test_a_query_that_a_service_fails_at_however_often_drops_who_asks_it_and_one_that_fails_at_all_stops() -> (
    None
):
    async with picky(status=500) as (url, asked, most):
        engine = HttpEngine(url=url, body={"q": "{{ query }}"}, retry=QUICK)
        async with engine.open(World()) as retriever:
            assert len(await retriever.search("ferry", 3)) == 1
            with pytest.raises(Dropped, match="search_refused") as dropped:
                await retriever.search(LONG, 3)
            assert asked == ["ferry", *[LONG] * 3, "ferry", *[LONG] * 3]
            most["most"] = 0
            with pytest.raises(Exhausted, match=r"500.*\(3 tries\)"):
                await retriever.search("tram", 3)
    assert dropped.value.detail.endswith(f"(3 tries) to a query of 37 characters, {LONG!r}, and answers others")


@pytest.mark.parametrize("away", [3, 4, 5])
async def test_a_service_that_comes_back_after_the_last_try_costs_no_conversation(away: int) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((await request.json())["q"])
        if len(asked) <= away:
            return web.Response(status=500)
        return web.json_response([{"id": "bins", "text": "Household waste is collected.", "score": 1}])

    async with serving(answer) as url:
        engine = HttpEngine(url=url, body={"q": "{{ query }}"}, retry={**QUICK, "dead_after": 60})
        assert [hit.document.doc_id for hit in await searched(engine, "ferry")] == ["bins"]
    assert asked == [*["ferry"] * 3, *["information"] * (away - 2), "ferry"]


async def test_before_a_service_has_answered_a_plain_word_tells_whether_it_refuses_the_query_or_all() -> None:
    async with picky() as (url, asked, most):
        engine = HttpEngine(url=url, body={"q": "{{ query }}"})
        with pytest.raises(Dropped, match="search_refused"):
            await searched(engine, LONG)
        assert asked == [LONG, "information"]
        most["most"] = 0
        with pytest.raises(EngineError, match=r"answered 422 \(query too long\); look at `url`, `method` and `body`$"):
            await searched(engine, "ferry")
        assert asked[2:] == ["ferry", "information"]


async def test_a_service_that_comes_to_refuse_all_stops_the_run() -> None:
    async with picky() as (url, _, most), HttpEngine(url=url, body={"q": "{{ query }}"}).open(World()) as retriever:
        await retriever.search("ferry", 3)
        most["most"] = 0
        with pytest.raises(EngineError, match="look at `url`, `method` and `body`"):
            await retriever.search("tram", 3)


async def test_a_run_goes_on_past_a_query_that_the_service_refuses(tmp_path: Path) -> None:
    async with picky(longest=22) as (url, asked, _):
        engines = task_values(tmp_path)["tools"]["engines"]
        web_search = {"type": "search/http", "url": url, "body": {"q": "{{ query }}"}, "documents_from": "retriever"}
        values = task_values(
            tmp_path,
            live=True,
            num_outputs=20,
            min_turns=1,
            max_turns=1,
            tools={"engines": {**engines, "web": web_search}},
        )
        made = await asyncio.to_thread(run, values)
    refused = [query for query in asked if len(query) > 22]
    told = (made.folder / "journal.jsonl").read_text(encoding="utf-8").count("(query too long) to a query of ")
    assert made.summary.kept == 20
    assert refused and made.summary.dropped == {"search_refused": len(refused)} and told == len(refused)


async def test_a_query_that_is_refused_is_one_line_of_the_verbs_that_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with picky() as (url, _, _):
        web_search = {"type": "search/http", "url": url, "body": {"q": "{{ query }}"}, "documents_from": "retriever"}
        values = task_values(tmp_path)
        values["tools"]["engines"]["web"] = web_search
        task = tmp_path / "task.yaml"
        task.write_text(yaml.safe_dump(values), encoding="utf-8")
        (tmp_path / "queries.tsv").write_text(f"1\t{LONG}\n", encoding="utf-8")
        (tmp_path / "qrels.tsv").write_text("1\tbins\t1\n", encoding="utf-8")
        judged = ["--queries", str(tmp_path / "queries.tsv"), "--qrels", str(tmp_path / "qrels.tsv")]
        assert await asyncio.to_thread(run_command, ["search", str(task), LONG]) == Exit.MADE
        out = capsys.readouterr().out
        measuring = ["eval-retrieval", str(task), *judged, "--engine", "web"]
        assert await asyncio.to_thread(run_command, measuring) == Exit.SERVICE
    assert "nothing: the conversation would be dropped: search at 127.0.0.1" in out
    err = capsys.readouterr().err
    assert "answered 422 (query too long) to a query of 37 characters" in err and err.count("\n") == 1


async def test_a_service_that_is_not_there_or_slow_or_speaks_no_tls_is_named() -> None:
    port = free_port()
    with pytest.raises(ServiceError, match=f"search at 127.0.0.1:{port}/x: cannot connect"):
        await searched(HttpEngine(url=f"http://127.0.0.1:{port}/x?key=s3cret", retry=QUICK))

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.json_response([])

    async with serving(slow) as url:
        with pytest.raises(ServiceError, match=r"no answer in 0\.05 s"):
            await searched(HttpEngine(url=url, timeout=0.05, retry=QUICK))
        with pytest.raises(EngineError, match="cannot be called"):
            await searched(HttpEngine(url=url.replace("http:", "https:"), retry=QUICK))


async def test_what_it_cannot_do_it_says_with_the_way_out() -> None:
    async with HttpEngine(url="http://localhost/find?key=s3cret").open(World()) as retriever:
        for call in (retriever.count(), retriever.sample(Dice(1), 2), retriever.groups("domain"), retriever.at([0])):
            with pytest.raises(TaskError, match="set `documents_from: ENGINE`") as refused:
                await call
            assert "s3cret" not in str(refused.value)
        assert await retriever.fingerprint()


async def test_documents_may_be_those_of_another_engine() -> None:
    engine = HttpEngine(url="http://localhost/find", documents_from="held")
    assert engine.needs() == ("held",)
    async with InMemoryEngine(corpus=[{"id": "1", "text": "x"}]).open(World()) as held:
        async with engine.open(World(engines={"held": held})) as retriever:
            assert [one.doc_id async for one in retriever.documents()] == ["1"]
            assert await retriever.count() == 1
        with pytest.raises(TaskError, match="documents_from: unknown engine 'held'"):
            await searched(engine)


HELD = [
    {"id": f"d{n:03}", "text": f"Ferry {n} leaves pier {n % 4}.", "domain": f"pier{n % 4}", "meta": {"lang": "en"}}
    for n in range(120)
]


@asynccontextmanager
async def fronted(most: int = 10_000, **settings: Any) -> AsyncIterator[tuple[Retriever, list[int], list[str]]]:
    """Serve the corpus under other names and without its fields by a service that knows no filter, as an engine over it."""
    asked: list[int] = []
    said: list[str] = []
    async with InMemoryEngine(corpus=HELD).open(World()) as held:

        async def answer(request: web.Request) -> web.Response:
            wanted = await request.json()
            asked.append(wanted["n"])
            if wanted["n"] > most:
                return web.json_response({"detail": "too many"}, status=400)
            hits = await held.search(wanted["q"], wanted["n"])
            return web.json_response([{"key": one.document.doc_id, "passage": one.document.body} for one in hits])

        async with serving(answer) as url:
            projection = {"doc_id": "key", "body": "passage", **settings.pop("projection", {})}
            body = {"q": "{{ query }}", "n": "{{ limit }}"}
            engine = HttpEngine.model_validate({"url": url, "body": body, "projection": projection, **settings})
            async with engine.open(World(name="web", engines={"held": held}, say=said.append)) as retriever:
                yield retriever, asked, said


async def test_hits_are_told_to_be_in_a_group_by_the_documents_of_their_ids() -> None:
    async with fronted(documents_from="held") as (retriever, _, said):
        hits = await retriever.search("ferry leaves", 10, {"domain": "pier3"})
        assert [hit.document.doc_id for hit in hits] == [f"d{n:03}" for n in range(3, 43, 4)]
        assert [hit.rank for hit in hits] == list(range(1, 11)) and not hits[0].document.domain
        sampler = RelatedSampler(engine="web", group_by="domain")
        shelf = Shelf(retriever)
        drawn = [await sampler.sample(Source(shelf, Dice(n), Dice(), n), 5) for n in range(6)]
    pier = {one["id"]: one["domain"] for one in HELD}
    assert all(len(one) == 5 and len({pier[document.doc_id] for document in one}) == 1 for one in drawn)
    assert said == []


async def test_a_filter_over_anothers_documents_holds_for_documents_and_hits() -> None:
    async with fronted(documents_from="held", filter={"domain": ["pier1", "pier2"]}) as (retriever, _, _):
        assert await retriever.count() == 60
        assert {one.domain async for one in retriever.documents()} == {"pier1", "pier2"}
        assert await retriever.groups("domain") == {"pier1": 30, "pier2": 30}
        every = await retriever.search("ferry", 100)
        assert len(every) == 60 and all(int(hit.document.doc_id[1:]) % 4 in (1, 2) for hit in every)
        one = await retriever.search("ferry", 100, {"domain": ["pier0", "pier1"]})
        assert len(one) == 30 and all(int(hit.document.doc_id[1:]) % 4 == 1 for hit in one)
    with pytest.raises(CorpusError, match=r"^engine 'web': filter: no document of the corpus has .*; did you mean"):
        async with fronted(documents_from="held", filter={"meta.lnag": "en"}):
            pass


async def test_more_is_asked_for_until_the_filter_leaves_enough_or_the_service_has_no_more() -> None:
    async with fronted(documents_from="held") as (retriever, asked, said):
        last = await retriever.search("ferry", 2, {"doc_id": ["d118", "d119"]})
        assert [hit.document.doc_id for hit in last] == ["d118", "d119"]
        assert asked == [10, 40, 160] and said == []
        assert len(await retriever.search("ferry", 50, {"domain": "pier0"})) == 30
        assert asked[3:] == [250]
    async with fronted(most=50, documents_from="held") as (retriever, asked, said):
        for _ in range(2):
            assert len(await retriever.search("ferry", 9, {"doc_id": ["d030", "d119"]})) == 1
        assert asked == [45, 180] * 2
    assert len(said) == 1 and "filters are kept among the first 45 hits" in said[0] and "too many" in said[0]


async def test_a_service_that_always_has_more_is_asked_for_a_thousand_hits_and_no_more() -> None:
    asked: list[int] = []

    async def endless(request: web.Request) -> web.Response:
        asked.append((await request.json())["limit"])
        return web.json_response([{"id": f"d{n}", "text": "x", "domain": "there"} for n in range(asked[-1])])

    body = {"q": "{{ query }}", "limit": "{{ limit }}"}
    async with serving(endless) as url, HttpEngine(url=url, body=body, retry=QUICK).open(World()) as retriever:
        assert await retriever.search("ferry", 3, {"domain": "here"}) == []
    assert asked == [15, 60, 240, 960, 1000]


async def test_ids_that_are_none_of_the_documents_are_told_once() -> None:
    async with fronted(documents_from="held", projection={"doc_id": "passage"}) as (retriever, asked, said):
        for _ in range(2):
            assert await retriever.search("ferry", 3, {"domain": "pier0"}) == []
        assert asked == [15, 60, 240] * 2
    assert len(said) == 1
    assert "no hit is a document of 'held' (documents_from), such as 'Ferry 0 leaves pier 0.'" in said[0]


async def test_a_field_that_no_hit_has_is_told_once_with_those_that_there_are() -> None:
    async with recording([{"id": n, "text": f"t{n}", "lang": "en", "x": {"y": 1}} for n in range(30)]) as (url, seen):
        said: list[str] = []
        engine = HttpEngine(url=url, filter={"meta.lang": "en"})
        async with engine.open(World(say=said.append)) as retriever:
            for _ in range(2):
                assert await retriever.search("ferry", 3) == []
            assert len(said) == 1 and len(seen) == 4
            assert "filter: no hit has a field 'meta.lang', so all are left out; there are: lang, x.y;" in said[0]
        async with HttpEngine(url=url, filter={"lang": "de"}).open(World(say=said.append)) as retriever:
            assert await retriever.search("ferry", 3) == []
        async with HttpEngine(url=url, filter={"gone": None}).open(World(say=said.append)) as retriever:
            assert len(await retriever.search("ferry", 3)) == 3
        assert len(said) == 1


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.lists(st.sampled_from("abcdefghxyz")))
def test_a_selection_holds_the_ids_of_what_matches(ids: list[str], asked: list[str]) -> None:
    async def told() -> list[bool]:
        documents = [Document(doc_id=one, body=one, domain="ab"[number % 2]) for number, one in enumerate(ids)]
        async with InMemoryEngine(corpus=[*documents, Document(doc_id="z", body="z", domain="a")]).open(World()) as all:
            has = await Selected(all).by({"domain": "a"}, {"doc_id": [*"abcdefgh"]})
            return [has(one) for one in asked]

    assert asyncio.run(told()) == [one in ids and ids.index(one) % 2 == 0 for one in asked]


async def test_a_selection_is_read_once_however_many_ask() -> None:
    class Counted(InMemoryEngine):
        streams: ClassVar[list[int]] = []

        async def documents(self) -> AsyncIterator[Document]:
            self.streams.append(1)
            await asyncio.sleep(0)
            yield Document(doc_id="a", body="x")

    selected = Selected(Counted())
    asked = await asyncio.gather(*(selected.by({"doc_id": n % 2}) for n in range(20)))
    assert not any(has("b") for has in asked) and len(Counted.streams) == 2
    for number in range(70):
        await selected.by({"doc_id": number})
    await selected.by({"doc_id": 69})
    assert len(Counted.streams) == 70
    await selected.by({"doc_id": 0})
    assert len(Counted.streams) == 71


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"q": "{{ query }}"}', r"a question with quotes in it breaks the JSON; write \{\{ query \| tojson \}\}"),
        ({"q": "{{ qeury }}"}, r"'qeury' is undefined; it may use query, limit, where"),
        ({"q": "{{ query"}, "not a template"),
    ],
)
async def test_a_template_that_does_not_work_is_refused_before_anything_is_sent(body: Any, line: str) -> None:
    with pytest.raises(TaskError, match=line) as refused:
        await searched(HttpEngine(url="http://localhost/", body=body))
    assert "\n" not in str(refused.value)
    with pytest.raises(TaskError, match="a template cannot be filled: 'qeury' is undefined") as refused:
        await searched(HttpEngine(url="http://localhost/?key=s3cret&q={{ qeury }}"))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"url": "localhost:9200"}, "no address; it looks like https://"),
        ({"url": "http://h:99999?key=s3cret"}, "no address; it looks like https://"),
        ({"url": "http://[::1/?key=s3cret"}, "no address; it looks like https://"),
        ({"url": "http://search..example/?key=s3cret"}, "no address; it looks like https://"),
        ({"url": "http:///?key=s3cret"}, "no address; it looks like https://"),
        ({"url": "https://me:s3cret@x/"}, "holds a user or password; give them by `headers`"),
        (
            {"url": "http://x/", "headers": {"A": "s3cret\nB: c"}},
            "headers: A: its character 7 cannot stand in a header",
        ),
        ({"url": "http://x/", "headers": {"A": "s3cret \u201cx\u201d"}}, "headers: A: its character 8 cannot stand"),
        ({"url": "http://x/", "headers": {"A b": "s3cret"}}, "'A b' is no name of a header"),
        ({"url": "http://x/", "method": "GET", "body": "x"}, "`body` is not sent with GET"),
        ({"url": "http://x/", "timeout": 0}, "greater than 0"),
        ({"url": "http://x/", "body": ["{{ query }}"]}, "a mapping is needed, or a template of the text that is sent"),
        ({"url": "http://x/", "body": 3}, "a mapping is needed, or a template of the text that is sent"),
        ({"url": "http://x/", "body": {1: "{{ query }}"}}, "should be a valid string"),
    ],
)
def test_settings_that_make_no_sense_are_refused_once(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError, match=line) as refused:
        HttpEngine.model_validate(settings)
    assert refused.value.error_count() == 1 and "s3cret" not in str(refused.value)


async def test_check_online_asks_the_service_and_says_if_it_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = task_values(tmp_path)
    engine = {"type": "search/http", "documents_from": "retriever", "body": {"q": "{{ query }}"}, "retry": QUICK}
    task = tmp_path / "task.yaml"
    async with picky() as (url, asked, _):
        values["tools"]["engines"]["web"] = {**engine, "url": url}
        task.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert await asyncio.to_thread(run_command, ["check", str(task)]) == Exit.MADE and not asked
        assert "engine web: answers" not in capsys.readouterr().out
        assert await asyncio.to_thread(run_command, ["check", str(task), "--online"]) == Exit.MADE and asked
        assert "  engine web: answers\n" in capsys.readouterr().out
    assert await asyncio.to_thread(run_command, ["check", str(task), "--online"]) == Exit.SERVICE
    assert f"search at {url.removeprefix('http://')}: " in capsys.readouterr().err
