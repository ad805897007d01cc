"""What a remote model is shown: every prompt renders, rules first, and text of others stays text."""

import contextlib
import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from building import ROOT, lines
from endpoint import Endpoint as Server
from endpoint import error, text
from staging import DOCUMENTS, Told, asked_about, bench_over, scenario_stage

from dgt_rag.dice import Dice
from dgt_rag.errors import ModelError, TaskError
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Ask, Reply
from dgt_rag.llm.extractive import ExtractiveSpeaker
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.prompts import SHIPPED, Prompts, template
from dgt_rag.prompts.told import runs, said_in
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    Document,
    ToolCall,
    ToolCallStep,
    ToolResult,
    ToolResultStep,
    UserStep,
)
from dgt_rag.stages.answers import AnswerReply
from dgt_rag.stages.assistant_live import LiveRagAssistant
from dgt_rag.stages.assistant_static import StaticRagAssistant
from dgt_rag.stages.examples import Examples, read_examples
from dgt_rag.stages.flow_controller import RagFlowController
from dgt_rag.stages.user import RagUser
from dgt_rag.world import World

SEED = "seed_examples/city_services_{}.jsonl"


def city():
    """Return ten documents of the city's corpus."""
    rows = lines(ROOT / "data" / "city_services" / "documents.jsonl")[:10]
    return tuple(Document(doc_id=row["id"], title=row["title"], domain=row["domain"], body=row["text"]) for row in rows)


class Recorded(Told):
    """The embedded model behind a speaker of either mode that notes what it is asked."""

    def __init__(self, mode: str) -> None:
        super().__init__({})
        self.tool_mode = mode
        self._inner = ExtractiveSpeaker()

    async def reply(self, ask):
        self.asked.append(ask)
        reply = await self._inner.reply(ask)
        if ask.tool_choice == "none":
            return reply
        calls = [ToolCall(call_id="x", name="search", arguments={"query": query}) for query in reply.value.queries]
        return Reply(None, "recorded", tool_calls=tuple(calls))


async def asks(live, mode="schema", documents=DOCUMENTS):
    """Return every ask of a conversation that the embedded model makes."""
    speaker = Recorded(mode)
    seeds = read_examples(ROOT / SEED.format("live" if live else "static"))
    async with bench_over(documents, speaker) as bench:
        bench = replace(bench, examples=Examples(seeds))
        talk = await scenario_stage()(ConversationDataPoint(), bench.at("init"))
        while talk.turns < bench.max_turns and not talk.closed:
            for stage in (RagFlowController(), RagUser(), LiveRagAssistant() if live else StaticRagAssistant()):
                talk = await stage(talk, bench.at("turn", talk.turns))
    return speaker.asked


def ask(document, **values):
    shown = {"documents": (document,), "examples": (), "instructions": "", "closing": False, **values}
    return Ask("answer", asked_about("How much?", document), shown, AnswerReply, Dice("x"))


def as_text(messages):
    """Return a request as one text, as a chat template would write it."""
    return "".join(f"<{m['role']}>{m['content']}{json.dumps(m.get('tool_calls', ''))}" for m in messages)


def alike(text, other):
    """Return how long a beginning two texts share."""
    return next(
        (n for n, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), min(len(text), len(other))
    )


@pytest.mark.parametrize(("live", "mode"), [(False, "schema"), (True, "schema"), (True, "native")])
async def test_at_least_seventy_percent_of_what_a_conversation_sends_repeats_a_prefix_already_sent(live, mode):
    sent = []
    whole = again = 0
    for one in await asks(live, mode, city()):
        text = as_text(Prompts().messages(one))
        whole += len(text)
        again += max((alike(text, before) for before in sent), default=0)
        sent.append(text)
    assert len(sent) > 10
    assert again >= 0.7 * whole


async def test_native_messages_hold_what_chat_templates_ask_for():
    """User and assistant take turns, not counting calls and results; calls are followed by their results at once."""
    for one in await asks(True, "native", city()):
        messages = Prompts().messages(one)
        if not one.native:
            continue
        spoken = [m["role"] for m in messages[1:] if m["role"] != "tool" and "tool_calls" not in m]
        assert spoken == [("user", "assistant")[n % 2] for n in range(len(spoken))]
        for before, after in pairwise(messages):
            assert ("tool_calls" in before or before["role"] == "tool") or after["role"] != "tool"
            assert "tool_calls" not in before or after["role"] == "tool"


@pytest.mark.parametrize(("live", "mode"), [(True, "schema"), (True, "native")])
async def test_nothing_of_scenario_or_hint_is_shown_to_the_live_assistant(live, mode):
    made = await asks(live, mode, city())
    told = [one for one in made if one.purpose == "user"]
    secrets = {told[0].values["scenario"], *(one.values["hint"] for one in told if one.values["hint"])}
    for one in made:
        if one.system == "system_live":
            text = as_text(Prompts().messages(one))
            assert not any(secret in text for secret in secrets)


def test_one_prompt_is_never_taken_for_another():
    """Two engines may give one id to two documents, and seed conversations may have no ids."""
    prompts = Prompts()
    seeds = [ConversationDataPoint(steps=(UserStep(content=said), AssistantStep(content="Yes."))) for said in "ABAB"]
    made = [
        prompts.messages(ask(Document(doc_id="1", body=body), examples=(seed,), instructions=told))[0]["content"]
        for body, seed, told in zip("xxyy", seeds, ("", "", "", "Be brief."), strict=True)
    ]
    assert len(set(made)) == 4
    examples = Examples(
        [
            ConversationDataPoint(steps=(UserStep(content=f"What about {word}?"), AssistantStep(content="!")))
            for word in ("parking", "glass")
        ]
    )
    first, second = [
        examples.like([Document(doc_id="1", body=body)]) for body in ("All about parking.", "All about glass.")
    ]
    assert first != second


@pytest.mark.parametrize("live", [False, True])
async def test_every_ask_of_a_conversation_renders_without_an_undefined_name(live):
    seen = await asks(live)
    wanted = {"scenario", "flow", "user", "critique"} | ({"search", "move"} if live else {"answer"})
    assert wanted <= {one.purpose for one in seen}
    for one in seen:
        messages = Prompts().messages(one)
        assert messages[0]["role"] == "system"
        assert all(message["content"].strip() for message in messages)


async def test_the_asks_of_a_conversation_share_their_system_message():
    asked = await asks(live=False)
    systems = {(one.system, Prompts().messages(one)[0]["content"]) for one in asked}
    assert {kind for kind, _ in systems} == {"system", "system_person"}
    assert len(systems) == 2


async def test_what_was_said_only_grows_so_that_an_endpoint_can_reuse_what_it_read():
    texts = [Prompts().messages(one)[1]["content"] for one in await asks(live=False) if one.purpose == "user"]
    histories = [text.partition("Background of the person")[0].rstrip() for text in texts]
    for before, later in pairwise(histories[1:]):
        assert later.startswith(before)


async def test_native_asks_are_chat_messages_with_paired_calls():
    for one in await asks(live=True):
        if one.purpose != "move":
            continue
        native = Ask(one.purpose, one.talk, one.values, one.reply_type, one.dice, system=one.system, native=True)
        messages = Prompts().messages(native)
        called = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert called and sorted(called) == sorted(answered)
        assert all(isinstance(call["function"]["arguments"], str) for m in messages for call in m.get("tool_calls", ()))


@pytest.mark.parametrize(
    "body", ["{{ 7 * 7 }}", "{% for x in y %}", "{# gone #}", "<b>&amp;</b>", "{{ talk.__class__ }}"]
)
def test_text_of_a_document_is_filled_in_as_it_stands(body):
    system = Prompts().messages(ask(Document(doc_id="d", title=body, body=body)))[0]["content"]
    assert system.count(body) == 2


def test_a_folder_replaces_single_prompts(tmp_path):
    (tmp_path / "answer.j2").write_text("Answer in rhyme, {{ documents | length }} document.", encoding="utf-8")
    prompts = Prompts(tmp_path)
    prompts.check()
    messages = prompts.messages(ask(DOCUMENTS[0]))
    assert messages[1]["content"].endswith("Answer in rhyme, 1 document.")
    assert messages[0] == Prompts().messages(ask(DOCUMENTS[0]))[0]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("answers.j2", "x", "replaces no prompt of ours"),
        ("answer.j2", "{% if %}", r"answer\.j2:1"),
        ("answer.j2", "{{ colour }}", None),
    ],
)
def test_a_wrong_template_is_refused_by_its_place(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=complaint or "'colour' is undefined"):
        Prompts(tmp_path).check() if complaint else Prompts(tmp_path).messages(ask(DOCUMENTS[0]))


@pytest.mark.parametrize("text", ["{{ ''.__class__.__mro__ }}", "{{ values.append(1) }}"])
def test_a_template_of_a_user_cannot_reach_out_of_its_values(text):
    with pytest.raises(Exception, match=r"unsafe|not safely callable|access to attribute"):
        template(text).render(values=[])


def test_every_shipped_template_is_read_without_an_error():
    prompts = Prompts(SHIPPED)
    prompts.check()


# ------------------------------------------------------------------ what chat templates take


def template_refusal(messages):
    """Return why a strict chat template (as Mistral's, Gemma's, Llama's) would refuse these messages; "" if it takes them."""
    if [message["role"] for message in messages].count("system") > (messages[0]["role"] == "system"):
        return "a system message is not the first"
    spoken = [m["role"] for m in messages if m["role"] in ("user", "assistant") and "tool_calls" not in m]
    if spoken != [("user", "assistant")[n % 2] for n in range(len(spoken))]:
        return f"user and assistant do not take turns: {spoken}"
    for before, after in pairwise(messages):
        if before["role"] == "tool" and after["role"] not in ("tool", "assistant"):
            return f"a {after['role']} message follows a tool's"
        if ("tool_calls" in before) is not (after["role"] == "tool") and before["role"] != "tool":
            return "a call has no result after it"
    ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    if any(len(one) != 9 or not one.isalnum() for one in ids):
        return f"ids of calls have not nine letters and digits: {ids}"
    return ""


def as_served(taken, wrong):
    """Return a way to answer that takes one way of asking for JSON, and answers each ask wrongly at first."""

    def say(body, seen):
        if refusal := template_refusal(body["messages"]):
            return error(400, refusal)
        kind = (body.get("response_format") or {}).get("type", "text")
        if kind not in (taken, "text"):
            return error(400, f"response_format {kind} is not supported")
        first = not any("used" in str(message["content"]) for message in body["messages"][2:])
        return text(wrong) if first and wrong is not None and not body.get("tools") else None

    return say


@pytest.mark.parametrize("wrong", [None, "", "never mind"])
@pytest.mark.parametrize("taken", ["json_schema", "json_object", "text"])
@pytest.mark.parametrize(("live", "mode"), [(False, "schema"), (True, "schema"), (True, "native")])
async def test_every_request_of_a_run_is_one_that_strict_chat_templates_take(live, mode, taken, wrong):
    made = await asks(live, mode, city())
    async with Server(as_served(taken, wrong)) as server:
        model = OpenAIModel(model="test-model", base_url=server.url, tool_mode=mode)
        async with model.open(World(guards=Guards())) as speaker:
            for one in made:
                with contextlib.suppress(ModelError):
                    await speaker.reply(one)
    assert len(server.requests) >= len(made)
    assert {template_refusal(body["messages"]) for body in server.requests} == {""}


async def test_the_hash_of_a_prompt_does_not_depend_on_how_its_reply_is_asked_for():
    (one, *_) = await asks(live=False)
    hashes = set()
    for taken in ("json_schema", "json_object", "text"):
        told = json.dumps({"scenario": "Somebody wants a permit."})

        def say(body, seen, taken=taken, told=told):
            kind = (body.get("response_format") or {}).get("type", "text")
            return text(told) if kind == taken else error(400, f"response_format {kind} is not supported")

        async with Server(say) as server:
            model = OpenAIModel(model="test-model", base_url=server.url)
            async with model.open(World(guards=Guards())) as speaker:
                hashes.add((await speaker.reply(one)).prompt_hash)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("refusal", "line", "wrong"),
    [
        (
            "System role not supported",
            "takes no system message",
            lambda messages: messages[0]["role"] == "system",
        ),
        (
            "This model only supports single tool-calls at once!",
            "takes one tool call in a message",
            lambda messages: any(len(message.get("tool_calls", ())) > 1 for message in messages),
        ),
    ],
)
async def test_messages_are_put_as_a_chat_template_takes_them(refusal, line, wrong):
    """Told apart by the refusal, found out once; nothing of what was said is lost."""
    (one,) = [one for one in await asks(True, "native", city()) if one.purpose == "move"][:1]
    calls = [ToolCall(call_id=f"call0000{n}", name="search", arguments={"query": f"q{n}"}) for n in range(2)]
    made = [ToolCallStep(content=call) for call in calls]
    found = [ToolResultStep(content=ToolResult(call_id=call.call_id, name="search", result=())) for call in calls]
    one = replace(one, talk=ConversationDataPoint(steps=(UserStep(content="How much?"), *made, *found)))
    said: list[str] = []

    def say(body, seen):
        return error(400, refusal) if wrong(body["messages"]) else None

    async with Server(say) as server:
        model = OpenAIModel(model="test-model", base_url=server.url, tool_mode="native")
        async with model.open(World(guards=Guards(), say=said.append)) as speaker:
            for _ in range(2):
                assert (await speaker.reply(one)).value
    assert len(server.requests) == 3
    assert [line in one for one in said] == [True]
    first, last = (body["messages"] for body in (server.requests[0], server.requests[-1]))
    assert wrong(first) and not wrong(last)
    assert template_refusal(last) == ""
    whole = [str(message["content"]) for message in last]
    assert all(any(str(message["content"]) in text for text in whole) for message in first)


async def test_a_reply_that_ran_on_is_asked_for_again_with_bounds_for_its_texts():
    (one, *_) = await asks(live=False)
    lengths = []

    def say(body, seen):
        shape = body["response_format"]["json_schema"]["schema"]["properties"]["scenario"]
        lengths.append(shape.get("maxLength"))
        return text('{"scenario": "on and on', finish="length") if len(lengths) == 1 else None

    async with Server(say) as server:
        model = OpenAIModel(model="test-model", base_url=server.url)
        async with model.open(World(guards=Guards())) as speaker:
            assert (await speaker.reply(one)).value
    # llama.cpp takes no bound of 2,000 or more
    assert lengths[0] is None and lengths[1] < 2000


def told_of(folder):
    """Return whether the prompts say a text themselves."""
    told = Prompts(folder).told
    return lambda text: not runs(text).isdisjoint(told)


def test_what_the_prompts_say_themselves_is_known_and_what_they_are_filled_with_is_not():
    says = told_of(None)
    for path in SHIPPED.glob("*.j2"):
        text = re.sub(r"(?s)\{[{%].*?[%}]\}", "\n", path.read_text(encoding="utf-8"))
        longest = max(text.split("\n"), key=lambda line: len(line.split()))
        assert says(longest) or len(longest.split()) < 6, path.name
    assert says("the documents answer, at best several of them together")
    assert not says("candidates or closing or description or hint or refused or why or persona or scenario")


async def test_a_template_of_the_tasks_own_counts_in_place_of_ours(tmp_path):
    own, ours = (
        "Write what a customer of the old mill would ask first",
        "to write training conversations between a person",
    )
    (tmp_path / "system_person.j2").write_text(f"{own}. {{{{ instructions }}}}", encoding="utf-8")
    (tmp_path / "system.j2").write_text("Be good.", encoding="utf-8")
    assert told_of(tmp_path)(own) and not told_of(tmp_path)(ours)
    assert told_of(None)(ours) and not told_of(None)(own)
    async with OpenAIModel(model="m", base_url="http://localhost:9/v1").open(World(prompts=tmp_path)) as speaker:
        assert speaker.told > Prompts(tmp_path).told
        assert not runs("Reply with one JSON object and nothing else.").isdisjoint(speaker.told)


def test_a_template_that_cannot_be_read_is_named_where_its_words_are_wanted(tmp_path):
    (tmp_path / "system.j2").write_text("{% if %}", encoding="utf-8")
    with pytest.raises(TaskError, match=r"system\.j2:1"):
        _ = Prompts(tmp_path).told


@pytest.mark.parametrize(("left", "right"), ['""', "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb"])
def test_what_a_prompt_puts_in_quotation_marks_may_be_said(left, right):
    told = said_in(
        [f"If all else fails say {left}I am afraid that nobody here can tell you{right} and nothing more of it."]
    )
    assert runs("I am afraid that nobody here can tell you").isdisjoint(told)
    assert runs("nobody here can tell you and nothing more of it").isdisjoint(told)
    keys = said_in([f"Reply with an object that has {left}name{right} and {left}date{right}."])
    assert not runs("an object that has name and date").isdisjoint(keys)
