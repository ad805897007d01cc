"""The stages: who may speak next, what an answer must stand on, and what happens when a model does not keep to it."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from building import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from staging import DOCUMENTS, Told, asked_about, bench_over, numbered, scenario_stage

from dgt_rag import validation
from dgt_rag.dice import Dice
from dgt_rag.engines.base import ErrorCategory
from dgt_rag.errors import Dropped, ModelError, TaskError
from dgt_rag.llm.base import Reply
from dgt_rag.llm.extractive import ExtractiveModel
from dgt_rag.llm.replies import schema_of
from dgt_rag.llm.scripted import Scripted
from dgt_rag.prompts import Prompts
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    Document,
    FlowControllerStep,
    Hit,
    ScenarioStep,
    ToolCall,
    ToolCallStep,
    ToolResultStep,
    Usage,
    UserStep,
)
from dgt_rag.stages.answers import AnswerReply, faults, flaws
from dgt_rag.stages.assistant_live import LiveRagAssistant
from dgt_rag.stages.assistant_static import StaticRagAssistant
from dgt_rag.stages.base import talks_of_documents
from dgt_rag.stages.examples import read_examples
from dgt_rag.stages.flow_controller import FlowController, RagFlowController
from dgt_rag.stages.nonsense import copies, is_no_language
from dgt_rag.stages.patterns import SHIPPED, FlowPattern, draw_order
from dgt_rag.stages.persona import Persona, SamplePersona
from dgt_rag.stages.quoting import keeps_to, nearest
from dgt_rag.stages.user import RagUser
from dgt_rag.world import World

PERMIT = next(document for document in DOCUMENTS if document.doc_id == "parking")
QUESTION = "How much does a resident permit cost?"
GOOD = {
    "answer": "A resident permit costs 120 euros a year.",
    "citations": [{"document": 1, "quote": "A resident permit costs 120 euros a year."}],
    "answerability": "answerable",
}
INVENTED = {**GOOD, "citations": [{"document": 1, "quote": "A resident permit costs 99 euros a month."}]}
BEYOND = {**GOOD, "answer": "Apply at the desk with your passport and two photographs."}
SUPPORTED = {"issues": [], "verdict": "supported"}


def after(*patterns, documents=2):
    """Return a conversation that has had whole turns of these patterns."""
    shown = tuple(Document(doc_id=str(n), body="text") for n in range(documents))
    talk = ConversationDataPoint().add(ScenarioStep(content="…", documents=shown))
    for name in patterns:
        talk = talk.add(FlowControllerStep(content=name), UserStep(content="?"), AssistantStep(content="!"))
    return talk


def pattern(name="p", **rules):
    return FlowPattern(name=name, description="d", **rules)


def told_answer(*replies):
    """Return a model that gives these answers, first to `answer`, then to each `rewrite`."""
    left = list(replies)
    return Told(
        {"answer": lambda ask: left.pop(0), "rewrite": lambda ask: left.pop(0), "critique": lambda ask: SUPPORTED}
    )


async def static(speaker, **settings):
    async with bench_over(speaker=speaker) as bench:
        return await StaticRagAssistant(**settings)(asked_about(QUESTION, PERMIT), bench.at("turn", 0))


async def live(speaker, errors=(), question=QUESTION, **settings):
    async with bench_over(speaker=speaker, errors=errors) as bench:
        return await LiveRagAssistant(**settings)(asked_about(question, *DOCUMENTS[:2]), bench.at("turn", 0))


def of(talk, kind):
    return [step for step in talk.steps if isinstance(step, kind)]


# ------------------------------------------------------------------ the flow controller


@pytest.mark.parametrize(
    ("rules", "talk", "allowed"),
    [
        ({"max_uses": 1}, after("p"), False),
        ({"max_uses": 2}, after("p", "q"), True),
        ({"max_consecutive": 1}, after("p"), False),
        ({"max_consecutive": 1}, after("p", "q"), True),
        ({"max_consecutive": 2}, after("p", "q", "p", "p"), False),
        ({"max_consecutive": 2}, after("p", "p", "q", "p"), True),
        ({"min_turn": 2}, after(), False),
        ({"min_turn": 2}, after("q"), True),
        ({"max_turn": 1}, after("q"), False),
        ({"max_turn": 1}, after(), True),
        ({"requires_documents": 2}, after(documents=1), False),
        ({"requires_documents": 2}, after(documents=2), True),
        ({"after": ("q",)}, after("p"), False),
        ({"after": ("q",)}, after("q"), True),
        ({"after": ("q",)}, after(), False),
        ({"not_after": ("q",)}, after("q"), False),
        ({"not_after": ("q",)}, after("p", "q", "p"), True),
    ],
)
def test_the_rules_of_a_pattern_are_held_by_code(rules, talk, allowed):
    assert pattern(**rules).allows(talk) is allowed


async def chosen(talk, stage=None, turns=(2, 4), dice="x"):
    speaker = Told({"flow": lambda ask: {"choice": 1, "hint": "Ask about the fee."}})
    async with bench_over(speaker=speaker, turns=turns) as bench:
        flow = (await (stage or RagFlowController())(talk, bench.at(dice))).last_flow
    return flow, speaker


async def test_the_last_turn_ends_the_conversation_without_asking_a_model():
    flow, speaker = await chosen(after("rag/factoid", "rag/factoid", "rag/follow_up"))
    assert (flow.content, flow.terminate) == ("rag/termination", True)
    assert not speaker.asked


async def test_no_conversation_ends_before_its_least_number_of_turns():
    for n in range(40):
        assert not (await chosen(after("rag/factoid"), turns=(3, 9), dice=n))[0].terminate


async def test_a_conversation_may_end_between_its_least_and_its_most_turns():
    ends = [(await chosen(after("rag/factoid", "rag/follow_up"), turns=(3, 9), dice=n))[0].terminate for n in range(60)]
    assert 0 < sum(ends) < 60


async def test_without_termination_patterns_no_turn_is_the_last():
    stage = FlowController(termination_patterns=())
    flow, _ = await chosen(after("rag/factoid", "rag/factoid", "rag/follow_up"), stage)
    assert not flow.terminate


async def test_when_no_rule_allows_a_turn_the_conversation_is_dropped_by_name():
    stage = FlowController(patterns=(pattern(max_uses=1),), termination_patterns=())
    with pytest.raises(Dropped) as caught:
        await chosen(after("p"), stage)
    assert caught.value.reason == "no_pattern_left"


async def test_where_only_the_end_is_left_the_conversation_ends():
    stage = FlowController(patterns=(pattern(max_uses=1),))
    assert (await chosen(after("p"), stage, turns=(1, 9)))[0].terminate


async def test_the_model_is_shown_only_what_the_rules_allow_and_its_choice_is_kept():
    speaker = Told({"flow": lambda ask: {"choice": 2, "hint": "Ask about the fee."}})
    async with bench_over(speaker=speaker) as bench:
        talk = await RagFlowController()(after(), bench.at("x"))
    shown = [candidate.name for candidate in speaker.asked[0].values["candidates"]]
    assert "rag/follow_up" not in shown
    assert talk.last_flow.content == shown[1]
    assert talk.last_flow.eligible_patterns == tuple(shown[1:])
    assert talk.last_flow.hint == "Ask about the fee."


WEIGHTS = st.lists(st.floats(0.2, 5), min_size=2, max_size=5)


@given(WEIGHTS, st.integers(0, 10_000), st.data())
@settings(max_examples=25, deadline=None)
def test_the_first_of_any_subset_of_the_order_is_a_draw_by_weight(weights, seed, data):
    patterns = [pattern(str(n), weight=weight) for n, weight in enumerate(weights)]
    fits = data.draw(st.sets(st.sampled_from(patterns), min_size=1).map(lambda found: {p.name for p in found}))
    draws = 1500
    firsts = Counter(next(p.name for p in draw_order(patterns, Dice(seed, n)) if p.name in fits) for n in range(draws))
    total = sum(weights[int(name)] for name in fits)
    for name in fits:
        share = weights[int(name)] / total
        # five standard deviations: hypothesis looks for the unlucky case
        assert abs(firsts[name] / draws - share) < 5 * (share * (1 - share) / draws) ** 0.5 + 1e-9


@given(WEIGHTS, st.integers())
def test_the_order_holds_every_pattern_once(weights, seed):
    patterns = [pattern(str(n), weight=weight) for n, weight in enumerate(weights)]
    assert sorted(p.name for p in draw_order(patterns, Dice(seed))) == [p.name for p in patterns]


def test_patterns_are_taken_whole_picked_and_changed():
    whole = FlowController.model_validate({"patterns": ["rag/standard", {"name": "rag/factoid", "max_uses": 1}]})
    assert {p.name for p in whole.patterns} == {p.name for p in SHIPPED}
    factoid = next(p for p in whole.patterns if p.name == "rag/factoid")
    assert factoid.max_uses == 1
    assert factoid.description == SHIPPED[0].description
    with pytest.raises(ValidationError, match="did you mean 'rag/factoid'"):
        FlowController.model_validate({"patterns": ["rag/factoids"]})
    with pytest.raises(ValidationError, match="needs a `description`"):
        FlowController.model_validate({"patterns": [{"name": "mine"}]})


# ------------------------------------------------------------------ scenario, persona, user


async def test_a_scenario_is_grounded_in_sampled_documents():
    async with bench_over() as bench:
        talk = await scenario_stage()(ConversationDataPoint(), numbered(bench, 3).at("init"))
    assert len(talk.scenario.documents) == 3
    assert all(document in DOCUMENTS for document in talk.scenario.documents)
    assert talk.scenario.content


async def test_personas_are_read_drawn_and_refused_by_place(tmp_path):
    path = tmp_path / "personas.jsonl"
    path.write_text('{"role": "a nurse", "personality": {"openness": 0.9}}\n\n{"role": "a cook"}\n', encoding="utf-8")
    async with bench_over() as bench:
        stage = SamplePersona.model_validate({"persona_store": {"data_path": path}})
        drawn = {(await stage(ConversationDataPoint(), bench.at(n))).persona.persona_role for n in range(20)}
        assert drawn == {"a nurse", "a cook"}
        path.write_text('{"role": "a nurse"}\n{"rolle": "a cook"}\n', encoding="utf-8")
        wrong = SamplePersona.model_validate({"persona_store": {"data_path": path}})
        with pytest.raises(TaskError, match=r"personas.jsonl:2: not a persona"):
            await wrong(ConversationDataPoint(), bench)
    assert "very curious" in Persona(role="x", personality={"openness": 0.9}).text


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("How much?", "user_repeats_question"),
        ("What does document 2 say?", "user_talks_of_documents"),
        ("…!", "user_says_nothing"),
        ("The person wants to know how long a permit lasts.", "user_says_its_task"),
        ("One definite fact: a number, a date, a fee, a place.", "user_says_its_task"),
    ],
)
async def test_a_user_who_cannot_be_trained_on_is_asked_again_then_dropped(message, reason):
    speaker = Told({"user": lambda ask: {"message": message}})
    factoid = next(pattern for pattern in SHIPPED if pattern.name == "rag/factoid")
    flow = FlowControllerStep(content=factoid.name, description=factoid.description)
    talk = asked_about("How much?", PERMIT).add(AssistantStep(content="120 euros."), flow)
    async with bench_over(speaker=speaker) as bench:
        with pytest.raises(Dropped) as caught:
            await RagUser(max_retries=2)(talk, bench)
    assert caught.value.reason == reason
    assert speaker.times("user") == 3
    assert len({ask.dice.number for ask in speaker.asked}) == 3


async def test_a_user_who_is_asked_again_is_told_what_was_wrong():
    speaker = Told({"user": lambda ask: {"message": "And for two?" if ask.values["refused"] else "How much?"}})
    talk = asked_about("How much?", PERMIT).add(AssistantStep(content="120 euros."))
    async with bench_over(speaker=speaker) as bench:
        talk = await RagUser()(talk, bench)
    assert talk.steps[-1].content == "And for two?"
    assert (speaker.asked[1].values["refused"], speaker.asked[1].values["why"]) == (
        "How much?",
        "the person has said that before",
    )


async def test_a_pattern_of_the_tasks_own_reaches_the_user_in_its_own_words():
    own = FlowPattern(name="mine/angry", description="The person loses patience.", hint="Ask for a number.")
    leave = FlowPattern(
        name="mine/leave", description="The person leaves without a word of thanks.", hint="Say goodbye."
    )
    stage = FlowController(patterns=(own, leave), termination_patterns=("mine/leave",))
    speaker = Told(
        {"flow": lambda ask: {"choice": 1, "hint": "Ask again."}, "user": lambda ask: {"message": str(ask.dice.number)}}
    )
    async with bench_over(speaker=speaker, turns=(2, 2)) as bench:
        talk = await RagUser()(await stage(after(), bench.at("a")), bench.at("b"))
        talk = talk.add(AssistantStep(content="!"))
        await RagUser()(await stage(talk, bench.at("c")), bench.at("d"))
    first, last = [ask.values for ask in speaker.asked if ask.purpose == "user"]
    assert (first["description"], first["hint"]) == ("The person loses patience.", "Ask again.")
    assert last["closing"]
    assert (last["description"], last["hint"]) == ("The person leaves without a word of thanks.", "Say goodbye.")


@pytest.mark.parametrize("patterns", [[], ["rag/termination"], ["rag/follow_up"]])
def test_patterns_of_which_none_may_open_a_conversation_are_refused(patterns):
    with pytest.raises(ValidationError, match="none of them may be the first turn"):
        FlowController.model_validate({"patterns": patterns})


async def test_the_user_sees_no_searches_and_the_live_assistant_no_scenario():
    seen = {}

    def told(ask):
        seen[ask.purpose] = {step.role for step in ask.talk.steps}
        return {"message": "And now?"} if ask.purpose == "user" else {**GOOD, "queries": [], "action": "answer"}

    speaker = Told(
        {
            "user": told,
            "search": lambda ask: {"queries": ["resident permit"]},
            "move": told,
            "critique": lambda ask: SUPPORTED,
        }
    )
    async with bench_over(speaker=speaker) as bench:
        talk = await LiveRagAssistant()(asked_about(QUESTION, PERMIT), bench.at("a"))
        await RagUser()(talk, bench.at("b"))
    assert seen["user"] == {"scenario", "user", "assistant"}
    assert seen["move"] == {"user", "tool_call", "tool_result"}


# ------------------------------------------------------------------ the static assistant


async def test_a_good_answer_is_kept_with_its_citation_and_the_tokens_of_all_that_was_asked():
    good = Reply(AnswerReply.model_validate(GOOD), "m", usage=Usage(prompt_tokens=3))
    speaker = Told(
        {
            "answer": lambda ask: Reply(ask.reply_type.model_validate(GOOD), "m", usage=good.usage),
            "critique": lambda ask: SUPPORTED,
        }
    )
    step = (await static(speaker)).steps[-1]
    assert step.citations[0].quote == "A resident permit costs 120 euros a year."
    assert (step.critique.verdict, step.critique.rewrites, step.critique.critic) == ("supported", 0, "told")
    assert step.provenance.usage.prompt_tokens == 3


async def test_an_answer_that_cites_what_was_not_shown_is_rewritten_with_the_reason():
    speaker = told_answer(INVENTED, GOOD)
    step = (await static(speaker)).steps[-1]
    assert step.critique.rewrites == 1
    (rewrite,) = [ask for ask in speaker.asked if ask.purpose == "rewrite"]
    assert "99 euros" in rewrite.values["issues"][0]
    assert rewrite.talk.steps[-1].content == INVENTED["answer"]


async def test_an_answer_that_never_stands_on_the_documents_is_dropped_with_its_reason():
    speaker = told_answer(*[INVENTED] * 2, *[BEYOND] * 2)
    with pytest.raises(Dropped) as caught:
        await static(speaker, max_retries=3)
    assert caught.value.reason == "answer_beyond_quotes"
    assert "after 3 rewrites" in caught.value.detail
    assert speaker.times("rewrite") == 3
    assert len({ask.dice.number for ask in speaker.asked}) == 4
    with pytest.raises(Dropped) as caught:
        await static(told_answer(*[INVENTED] * 2), max_retries=1)
    assert caught.value.reason == "citation_not_shown"


async def test_a_model_that_cannot_copy_chooses_its_quotes_and_must_keep_to_them():
    speaker = told_answer(INVENTED, INVENTED, BEYOND, GOOD)
    step = (await static(speaker)).steps[-1]
    assert (step.content, step.critique.rewrites) == (GOOD["answer"], 3)
    first, second, third = [ask for ask in speaker.asked if ask.purpose == "rewrite"]
    assert "nearest to it: 'A resident permit costs 120 euros a year.'" in first.values["issues"][0]
    assert not first.values["sentences"]
    assert "A resident permit costs 120 euros a year." in second.values["sentences"]
    assert second.values["sentences"] == third.values["sentences"]
    assert all(sentence in PERMIT.body for sentence in third.values["sentences"])
    # what it made up is not shown to it again
    assert third.talk.steps[-1].content != BEYOND["answer"]
    with pytest.raises(ValidationError):
        second.reply_type.model_validate(INVENTED)
    with pytest.raises(ValidationError):
        second.reply_type.model_validate({**GOOD, "citations": []})


async def test_a_rewrite_that_cannot_be_read_leaves_the_next_one():
    cut = ModelError("truncated", "rewrite: the reply was cut off twice", '{"citations')
    said = [cut, GOOD]

    def rewrite(ask):
        if isinstance(told := said.pop(0), ModelError):
            raise told
        return told

    speaker = Told({"answer": lambda ask: INVENTED, "rewrite": rewrite, "critique": lambda ask: SUPPORTED})
    assert (await static(speaker)).steps[-1].critique.rewrites == 2
    said = [cut] * 3
    with pytest.raises(Dropped) as caught:
        await static(speaker)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("It costs 120 euros a year.", True),
        ("A resident permit costs 120 euros.", True),
        ("It costs 130 euros a year.", False),
        ("Apply at the desk with your passport and two photographs.", False),
        ("What does a resident permit cost?", False),
        ("the answer", False),
        ("It is 120 euros a year.", False),
    ],
)
def test_an_answer_keeps_to_its_quotes_in_numbers_and_most_words(answer, kept):
    quotes = ["A resident permit costs 120 euros a year."]
    assert keeps_to(answer, quotes, "What does a resident permit cost?") is kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<the answer>", "malformed_answer"),
        ("{json_object}", "malformed_answer"),
        ("{{<response}}}", "malformed_answer"),
        ("[The answer goes here].", "malformed_answer"),
        ("the answer,", "malformed_answer"),
        ("the answer to the question was refused", "talks_of_its_task"),
        ("The answer is one short friendly sentence without facts or citations.", "talks_of_its_task"),
        ("The chair is answerable to the board.", ""),
        ("It costs more than that. " * 4, "answer_repeats_itself"),
        ("See [Form A] and use <b>bold</b> letters.", ""),
        ("Yes, yes, yes, yes, yes.", ""),
        ("1. Open the left box. 2. Close the left box. 3. Open the right box.", ""),
    ],
)
def test_what_a_weak_model_writes_in_place_of_text_is_refused(text, reason):
    assert flaws(text)[0] == reason


async def test_an_answer_of_signs_that_are_no_words_is_asked_for_again():
    noise = {
        "citations": [],
        "answerability": "unanswerable",
        "answer": "1234567890.123abcdefgcdhjklmno#ABCDEFGHIJ[]_*&%",
    }
    script = Scripted.model_validate(
        {"replies": {"answer": [noise], "rewrite": [json.dumps(noise)], "critique": [SUPPORTED]}}
    )
    async with script.open(World()) as speaker:
        with pytest.raises(Dropped) as caught:
            await static(speaker, max_retries=1)
    assert caught.value.reason == "malformed_answer"


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        ("the_tool_library_open_on_tuesday_and_friday_from_16:00-19:00 is open.", True),
        ("See https://www.example.org/a/long/way/to/the/form/number/17b.html.", False),
        ("Das regelt die Kraftfahrzeughaftpflichtversicherungsgesellschaft.", False),
        (f"| Name | Price |\n|{'-' * 30}|{'-' * 30}|", False),
        ("The key is 0123456789abcdef0123456789abcdef0123456789abcdef.", True),
    ],
)
def test_a_long_row_of_signs_is_told_from_words_addresses_and_what_was_shown(text, noise):
    assert is_no_language(text) is noise
    assert not is_no_language(text, [f"A document: {text}"])


@given(st.text(max_size=300))
def test_any_text_can_be_looked_at_for_nonsense(text):
    assert not is_no_language(text, [text])
    assert isinstance(flaws(text), tuple)
    assert nearest(text, [PERMIT]) in PERMIT.body


async def test_the_shipped_script_is_held_to_the_same_rules():
    script = Scripted.model_validate(
        {"replies": {"answer": [INVENTED], "rewrite": [json.dumps(INVENTED)], "critique": [SUPPORTED]}}
    )
    async with script.open(World()) as speaker:
        with pytest.raises(Dropped) as caught:
            await static(speaker, max_retries=1)
    assert caught.value.reason == "citation_not_shown"
    assert "99 euros" in caught.value.raw


async def test_a_critic_who_is_never_content_ends_in_a_named_drop():
    refuses = {"issues": ["The price is of another zone."], "verdict": "unsupported"}
    speaker = Told({"answer": lambda ask: GOOD, "rewrite": lambda ask: GOOD, "critique": lambda ask: refuses})
    with pytest.raises(Dropped, match="another zone") as caught:
        await static(speaker, max_retries=2)
    assert caught.value.reason == "unsupported_answer"
    assert speaker.times("critique") == 3


async def test_without_a_critic_only_code_checks():
    speaker = Told({"answer": lambda ask: GOOD})
    assert (await static(speaker, critique=False)).steps[-1].critique.verdict == "not_checked"


async def test_the_closing_answer_is_neither_cited_nor_criticised():
    speaker = Told({"answer": lambda ask: {**INVENTED, "answer": "You're welcome."}})
    talk = asked_about("Thanks!", PERMIT).add(FlowControllerStep(content="rag/termination", terminate=True))
    async with bench_over(speaker=speaker) as bench:
        talk = await StaticRagAssistant()(talk, bench)
    assert talk.steps[-1].citations == ()
    assert talk.steps[-1].answerability is None
    assert talk.closed


async def test_a_closing_answer_is_plain_text_as_well():
    speaker = Told(
        {
            "answer": lambda ask: {**GOOD, "answer": "<think>bye</think>"},
            "rewrite": lambda ask: {**GOOD, "answer": "Take care."},
        }
    )
    talk = asked_about("Thanks!", PERMIT).add(FlowControllerStep(content="rag/termination", terminate=True))
    async with bench_over(speaker=speaker) as bench:
        talk = await StaticRagAssistant()(talk, bench)
    assert talk.steps[-1].content == "Take care."


@pytest.mark.parametrize("said", ["It opened on October 7th, 2024.", "Good luck with it all! " * 20])
async def test_a_closing_answer_states_nothing_new(said):
    speaker = told_answer({**GOOD, "answer": said}, {**GOOD, "answer": "Good luck."})
    talk = asked_about("Thanks!", PERMIT).add(FlowControllerStep(content="rag/termination", terminate=True))
    async with bench_over(speaker=speaker) as bench:
        talk = await StaticRagAssistant()(talk, bench)
    assert talk.steps[-1].content == "Good luck."


async def test_a_query_that_says_nothing_is_not_searched_for():
    talk = await live(searching("<query>", GOOD, first=("resident permit", "][")))
    assert [step.content.arguments["query"] for step in of(talk, ToolCallStep)] == ["resident permit"]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("The provided documents do not say when.", True),
        ("The context doesn't mention a fee.", True),
        ("The documents state 20 euros.", True),
        ("That is decided based on the documents you hand in.", False),
        ("Bring the documents that are listed on the form.", False),
    ],
)
def test_speaking_of_the_documents_is_told_from_speaking_of_papers(text, refused):
    assert talks_of_documents(text) is refused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"citations": []}, "no_citation"),
        ({"citations": [], "answerability": "unanswerable"}, ""),
        ({"answer": "According to the documents it costs 120 euros."}, "talks_of_documents"),
        ({"answer": "It costs 120 euros [Document 1]."}, "talks_of_documents"),
        ({"answer": '{"answer": "It costs 120 euros."}'}, "malformed_answer"),
        ({"answer": "<think>hm</think> It costs 120 euros."}, "malformed_answer"),
        ({"answer": "—"}, "malformed_answer"),
    ],
)
async def test_code_refuses_an_answer_by_a_named_reason(change, reason):
    value = {**GOOD, **change}
    speaker = told_answer(value, value)
    if not reason:
        assert (await static(speaker, max_retries=0)).steps[-1].content == value["answer"]
        return
    with pytest.raises(Dropped) as caught:
        await static(speaker, max_retries=0)
    assert caught.value.reason == reason


def test_faults_say_what_to_mend():
    reply = Reply(AnswerReply.model_validate(INVENTED), "m")
    reason, issues = faults(AssistantStep(content=INVENTED["answer"]), reply, [PERMIT])
    assert reason == "citation_not_shown"
    assert issues and "99 euros a month" in issues[0]


async def test_a_document_number_that_was_not_shown_is_no_reply_at_all():
    with pytest.raises(ValidationError):
        await static(told_answer({**GOOD, "citations": [{"document": 2, "quote": "x"}]}))


# ------------------------------------------------------------------ the live assistant


def searching(*moves, first=("resident permit",)):
    """Return a model that begins with these queries and then makes these moves."""
    left = list(moves)
    return Told(
        {
            "search": lambda ask: {"queries": list(first)},
            "move": lambda ask: _move(ask, left.pop(0)),
            "rewrite": lambda ask: GOOD,
            "critique": lambda ask: SUPPORTED,
        }
    )


def _move(ask, said):
    if isinstance(said, str):
        return {"action": "search", "queries": [said], "answer": "", "citations": [], "answerability": "answerable"}
    extra = {"action": "answer", "queries": []} if "action" in ask.reply_type.model_fields else {}
    number = next((n for n, document in enumerate(ask.values["documents"], start=1) if document.doc_id == "parking"), 1)
    return {**extra, **said, "citations": [{**cited, "document": number} for cited in said["citations"]]}


async def test_it_searches_answers_and_cites_what_it_found():
    talk = await live(searching(GOOD))
    assert [step.role for step in talk.steps[2:]] == ["tool_call", "tool_result", "assistant"]
    assert of(talk, ToolCallStep)[0].content.arguments == {"query": "resident permit"}
    assert talk.steps[-1].citations[0].doc_id == "parking"


async def test_a_model_decides_and_quotes_before_it_answers():
    """Where a schema is enforced, fields are written in its order."""
    speaker = searching("permit price", GOOD)
    await live(speaker, max_tool_rounds=2)
    first, last = [schema_of(ask.reply_type)["properties"] for ask in speaker.asked if ask.purpose == "move"]
    assert list(first) == ["action", "queries", "citations", "answerability", "answer"]
    assert list(last) == ["action", "citations", "answerability", "answer"]


async def test_rounds_of_searches_are_bounded():
    speaker = searching("permit price", "parking fee", GOOD)
    talk = await live(speaker, max_tool_rounds=3)
    assert len(of(talk, ToolCallStep)) == 3
    assert [ask.values["last_round"] for ask in speaker.asked if ask.purpose == "move"] == [False, False, True]


async def test_the_last_round_can_only_answer():
    speaker = searching(GOOD)
    await live(speaker, max_tool_rounds=1)
    (move,) = [ask for ask in speaker.asked if ask.purpose == "move"]
    assert move.values["last_round"]
    assert schema_of(move.reply_type)["properties"]["action"]["const"] == "answer"


async def test_searches_made_at_once_are_calls_side_by_side_with_their_results_after_them():
    talk = await live(searching(GOOD, first=("resident permit", "visitor permit")))
    assert [step.role for step in talk.steps[2:]] == [
        "tool_call",
        "tool_call",
        "tool_result",
        "tool_result",
        "assistant",
    ]
    calls, results = of(talk, ToolCallStep), of(talk, ToolResultStep)
    assert (
        [step.content.call_id for step in calls]
        == [step.content.call_id for step in results]
        == ["call00000", "call00001"]
    )


async def test_the_same_query_is_not_made_twice_and_a_model_that_insists_must_answer():
    speaker = searching("Resident  permit", GOOD)
    talk = await live(speaker)
    assert len(of(talk, ToolCallStep)) == 1
    assert [ask.values["last_round"] for ask in speaker.asked if ask.purpose == "move"] == [False, True]


async def test_a_search_that_failed_may_be_made_again():
    errors = (ErrorCategory(type="network_error", probability=1.0),)
    talk = await live(
        searching("resident permit", {**GOOD, "citations": [], "answerability": "unanswerable"}),
        errors,
        max_tool_rounds=2,
    )
    results = of(talk, ToolResultStep)
    assert [step.content.error.type for step in results] == ["network_error"] * 2
    assert all(step.content.error.injected for step in results)
    assert talk.steps[-1].answerability == "unanswerable"


async def test_the_embedded_model_searches_again_after_an_error():
    async with ExtractiveModel().open(World()) as speaker:
        talk = await live(speaker, (ErrorCategory(type="network_error", probability=1.0),))
    assert len(of(talk, ToolCallStep)) >= 2
    assert talk.steps[-1].answerability == "unanswerable"


class Native(Told):
    """A model that makes its first searches as tool calls."""

    tool_mode = "native"

    def __init__(self, calls, *moves):
        super().__init__(searching(*moves).answers)
        self.answers = {**self.answers, "search": lambda ask: Reply(None, "told", tool_calls=tuple(calls))}


async def test_native_and_schema_mode_make_the_same_steps():
    call = ToolCall(call_id="chatcmpl-tool-7f", name="search", arguments={"query": "resident permit"})
    native, schema = await live(Native([call], GOOD)), await live(searching(GOOD))
    assert native.steps == schema.steps


async def test_native_asks_offer_the_tools_and_require_one_first():
    speaker = Native([ToolCall(call_id="1", name="search", arguments={"query": "resident permit"})], GOOD)
    await live(speaker)
    assert [(ask.purpose, ask.native, ask.tool_choice) for ask in speaker.asked][:2] == [
        ("search", True, "required"),
        ("move", True, "none"),
    ]
    assert [tool.name for tool in speaker.asked[0].tools] == ["search"]


async def test_an_unknown_tool_and_bad_arguments_become_results_that_the_model_sees():
    calls = [
        ToolCall(call_id="1", name="browse", arguments={"query": "x"}),
        ToolCall(call_id="2", name="search", arguments={"q": "x"}),
    ]
    speaker = Native(calls, "resident permit", GOOD)
    talk = await live(speaker)
    unknown, bad, good = [step.content for step in of(talk, ToolResultStep)]
    assert unknown.error.type == "unknown_tool"
    assert "there are: search" in unknown.error.message
    assert bad.error.type == "invalid_arguments"
    assert good.result
    seen = next(ask for ask in speaker.asked if ask.purpose == "move")
    assert sum(isinstance(step, ToolResultStep) for step in seen.talk.steps) == 2


async def test_a_turn_whose_calls_are_all_wrong_is_dropped_where_a_search_is_required():
    empty = {**GOOD, "citations": [], "answerability": "unanswerable"}
    speaker = Native([ToolCall(call_id="1", name="browse", arguments={"query": "x"})], empty)
    with pytest.raises(Dropped) as caught:
        await live(speaker, max_tool_rounds=1)
    assert caught.value.reason == "no_valid_search"


async def test_one_query_may_go_to_two_tools_but_not_twice_to_one():
    queries = [{"tool": number, "query": "Permit"} for number in (1, 2, 2)]
    speaker = Told({**searching(GOOD).answers, "search": lambda ask: {"queries": queries}})
    async with bench_over(speaker=speaker) as bench:
        both = replace(bench, tools={"search": bench.tools["search"], "archive": bench.tools["search"]})
        talk = await LiveRagAssistant()(asked_about(QUESTION, PERMIT), both)
    assert [step.content.name for step in of(talk, ToolCallStep)] == ["search", "archive"]


async def test_calls_made_natively_at_once_are_made_once_each():
    queries = ("resident permit", "resident permit", "visitor permit")
    calls = [ToolCall(call_id=str(n), name="search", arguments={"query": query}) for n, query in enumerate(queries)]
    talk = await live(Native(calls, GOOD))
    assert [step.content.arguments["query"] for step in of(talk, ToolCallStep)] == ["resident permit", "visitor permit"]


async def test_a_critic_is_shown_the_conversation_in_its_own_mode():
    """The assistant makes native calls; the critic's endpoint may know no tools at all."""
    speaker = Native([ToolCall(call_id="1", name="search", arguments={"query": "resident permit"})], GOOD)
    critic = Told({"critique": lambda ask: SUPPORTED})
    async with bench_over(speaker=speaker) as bench:
        both = replace(bench, speakers={"generator": speaker, "critic": critic})
        await LiveRagAssistant(critic="critic")(asked_about(QUESTION, PERMIT), both)
    assert [(ask.native, ask.tools) for ask in critic.asked] == [(False, ())]


async def test_a_model_that_writes_its_queries_instead_of_calling_still_searches():
    speaker = Native([], GOOD)
    speaker.answers["search"] = lambda ask: {"queries": ["resident permit"]}
    assert len(of(await live(speaker, tool_choice="auto"), ToolCallStep)) == 1


async def test_a_document_found_again_with_another_text_is_read_and_cited_as_another_one():
    texts = ["A permit costs 120 euros a year.", "A permit for a second car costs 240 euros."]

    class Passages:
        async def search(self, query, limit, where=None):
            return [Hit(document=Document(doc_id="parking", body=texts["second" in query]), score=1.0, rank=1)]

    second = {**GOOD, "citations": [{"document": 2, "quote": texts[1]}, {"document": 1, "quote": texts[0]}]}
    speaker = Told({**searching("second car").answers, "critique": lambda ask: SUPPORTED})
    speaker.answers["move"] = lambda ask: (
        {"action": "search", "queries": ["second car"], "answer": "", "citations": [], "answerability": "unanswerable"}
        if len(ask.values["documents"]) == 1
        else {"action": "answer", "queries": [], **second}
    )
    async with bench_over(speaker=speaker) as bench:
        tool = replace(bench.tools["search"], retriever=Passages())
        talk = await LiveRagAssistant()(asked_about(QUESTION, PERMIT), replace(bench, tools={"search": tool}))
    assert [(cited.doc_id, cited.quote) for cited in talk.steps[-1].citations] == [
        ("parking", texts[1]),
        ("parking", texts[0]),
    ]
    assert not validation.faults(talk)
    told = "\n".join(str(message["content"]) for message in Prompts().messages(speaker.asked[-1]))
    assert told.count(texts[0]) == told.count(f"[Document 2]\n{texts[1]}") == 1


async def test_a_model_that_may_do_without_a_search_can_answer_at_once():
    talk = await live(
        searching({"answer": "Hello! How can I help?", "citations": [], "answerability": "unanswerable"}, first=()),
        tool_choice="auto",
    )
    assert [step.role for step in talk.steps[2:]] == ["assistant"]


async def test_a_required_search_cannot_be_left_out():
    with pytest.raises(ValidationError):
        await live(searching(GOOD, first=()))


async def test_several_tools_are_offered_by_number():
    async with bench_over(speaker=None) as bench:
        tools = {"search": bench.tools["search"], "archive": bench.tools["search"]}
        speaker = Told(
            {**searching(GOOD).answers, "search": lambda ask: {"queries": [{"tool": 2, "query": "resident permit"}]}}
        )
        both = type(bench)(
            {"generator": speaker},
            bench.retrievers,
            tools,
            *(getattr(bench, name) for name in ("examples", "dice", "run_dice", "min_turns", "max_turns")),
        )
        talk = await LiveRagAssistant()(asked_about(QUESTION, PERMIT), both)
        assert of(talk, ToolCallStep)[0].content.name == "archive"
        with pytest.raises(TaskError, match="unknown tool 'wiki'"):
            LiveRagAssistant(tools=("wiki",)).offers(tools)
        with pytest.raises(TaskError, match="nothing to search with"):
            LiveRagAssistant().offers({})
        assert LiveRagAssistant(tools=("archive",)).offers(tools) == ("archive",)


async def test_a_model_without_a_value_is_an_error_of_this_conversation():
    speaker = Told({"answer": lambda ask: Reply(None, "told", text="I refuse.")})
    with pytest.raises(ModelError) as caught:
        await static(speaker)
    assert (caught.value.reason, caught.value.raw) == ("bad_reply", "I refuse.")


# ------------------------------------------------------------------ texts that are copied from the instructions


class Instructed(Told):
    """A model that is told what a remote one is told."""

    told = Prompts().told


ECHO = "A model will be trained on what you do here, so it has to be right in every detail."


@pytest.mark.parametrize("closing", [False, True])
async def test_an_answer_that_is_copied_from_the_prompt_is_written_anew_then_dropped(closing):
    copied = {**GOOD, "answer": "It does not use general knowledge, does not guess, and does not know."}
    speaker = Instructed({purpose: lambda ask: copied for purpose in ("answer", "rewrite")})
    talk = asked_about(QUESTION, PERMIT).add(FlowControllerStep(content="x", terminate=closing))
    async with bench_over(speaker=speaker) as bench:
        with pytest.raises(Dropped) as caught:
            await StaticRagAssistant(max_retries=2)(talk, bench)
    assert (caught.value.reason, speaker.times("rewrite")) == ("talks_of_its_task", 2)


async def test_an_answer_that_is_copied_from_what_was_wrong_with_the_one_before_is_refused():
    told = "The answer says the same thing again and again; say it once."
    left = [{**GOOD, "answer": "It costs more than that. " * 4}, {**GOOD, "answer": told}, GOOD]
    speaker = told_answer(*left)
    assert (await static(speaker)).steps[-1].critique.rewrites == 2


def _searching(queries, native):
    made = [ToolCall(call_id="x", name="search", arguments={"query": query}) for query in queries]
    return Reply(None, "m", tool_calls=tuple(made)) if native else {"queries": queries}


@pytest.mark.parametrize("native", [False, True])
async def test_a_query_that_is_copied_from_the_prompt_is_asked_for_again_then_dropped(native):
    left = [["resident permit", ECHO], ["resident permit"]]
    answers = {"search": lambda ask: _searching(left.pop(0), native), "move": lambda ask: _move(ask, GOOD)}
    speaker = Instructed({**answers, "critique": lambda ask: SUPPORTED})
    if native:
        speaker.tool_mode = "native"
    talk = await live(speaker)
    assert [step.content.arguments for step in of(talk, ToolCallStep)] == [{"query": "resident permit"}]
    left += [[ECHO]] * 3
    with pytest.raises(Dropped) as caught:
        await live(speaker, max_retries=2)
    assert (caught.value.reason, left) == ("query_says_its_task", [])


async def test_a_further_search_that_is_copied_from_the_prompt_is_asked_for_again():
    left = [ECHO, "permit price", GOOD]
    answers = {"search": lambda ask: {"queries": ["permit"]}, "move": lambda ask: _move(ask, left.pop(0))}
    talk = await live(Instructed({**answers, "critique": lambda ask: SUPPORTED}))
    assert [step.content.arguments["query"] for step in of(talk, ToolCallStep)] == ["permit", "permit price"]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I could not look it up just now, so I cannot say.",
        "That is not covered in what I have, and the desk is the place to ask.",
        "You're welcome, and have a nice day!",
        "Search before you answer a question about the matter.",
    ],
)
def test_a_refusal_that_the_prompt_suggests_and_what_a_document_says_are_no_copies(text):
    manual = "How to chat. Search before you answer a question about the matter."
    assert not copies(text, Prompts().told, [manual])


@pytest.mark.parametrize("path", sorted((ROOT / "seed_examples").glob("*.jsonl")), ids=lambda path: path.stem)
def test_nothing_in_the_seed_conversations_is_taken_for_a_copy(path):
    said = [step.content for seed in read_examples(path) for step in seed.steps if isinstance(step.content, str)]
    assert len(said) > 50
    assert not [text for text in said if copies(text, Prompts().told, ())]
