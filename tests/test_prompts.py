"""What a remote model is shown: every prompt renders, rules first, and text of others stays text."""

from itertools import pairwise

import pytest
from staging import DOCUMENTS, Told, asked_about, bench_over, scenario_stage

from dgt_rag.dice import Dice
from dgt_rag.errors import TaskError
from dgt_rag.llm.base import Ask
from dgt_rag.llm.extractive import ExtractiveSpeaker
from dgt_rag.prompts import SHIPPED, Prompts, template
from dgt_rag.records import ConversationDataPoint, Document
from dgt_rag.stages.answers import AnswerReply
from dgt_rag.stages.assistant_live import LiveRagAssistant
from dgt_rag.stages.assistant_static import StaticRagAssistant
from dgt_rag.stages.flow_controller import RagFlowController
from dgt_rag.stages.user import RagUser


async def asks(live, mode="schema"):
    """Return every ask of a conversation that the embedded model makes."""
    seen = []
    inner = ExtractiveSpeaker()

    class Watched(Told):
        tool_mode = "schema"

        async def reply(self, ask):
            seen.append(ask)
            return await inner.reply(ask)

    async with bench_over(speaker=Watched({})) as bench:
        talk = await scenario_stage()(ConversationDataPoint(), bench.at("init"))
        while talk.turns < bench.max_turns and not talk.closed:
            for stage in (RagFlowController(), RagUser(), LiveRagAssistant() if live else StaticRagAssistant()):
                talk = await stage(talk, bench.at("turn", talk.turns))
    return seen


def ask(document, **values):
    shown = {"documents": (document,), "examples": (), "instructions": "", "closing": False, **values}
    return Ask("answer", asked_about("How much?", document), shown, AnswerReply, Dice("x"))


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
    systems = {Prompts().messages(one)[0]["content"] for one in await asks(live=False)}
    assert len(systems) == 1


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
