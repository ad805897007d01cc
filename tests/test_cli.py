"""What the verbs of the command line print, and the codes they end with."""

import asyncio
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from endpoint import Body, Endpoint, Said, honest, text

from dgt_rag.cli import VERBS, run_command
from dgt_rag.commands.estimate import make_pilot, told
from dgt_rag.commands.search import snippet
from dgt_rag.errors import ModelClosed
from dgt_rag.loader import load
from dgt_rag.pipeline.run import run_task
from dgt_rag.pipeline.way import Way
from dgt_rag.report.conversation import printable


@pytest.fixture
def demo(tmp_path, monkeypatch, capsys):
    """A folder made by `init`, beside the present folder."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "demo"]) == 0
    capsys.readouterr()
    return tmp_path / "demo"


def said(capsys, *words: str) -> tuple[int, str, str]:
    code = run_command(words)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_help_names_every_verb(capsys):
    code, out, err = said(capsys, "--help")
    assert (code, err) == (0, "")
    assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("serach", "serach: no such file, and unknown verb 'serach'; did you mean 'search'?\n"),
        (
            "eval_retrieval",
            "eval_retrieval: no such file, and unknown verb 'eval_retrieval'; did you mean 'eval-retrieval'?\n",
        ),
        ("city", f"city: no such file, and unknown verb 'city'; there are: {', '.join(sorted(VERBS))}\n"),
        ("serach.yaml", "serach.yaml: no such file\n"),
        ("serach/it", "serach/it: no such file\n"),
    ],
)
def test_a_misspelled_verb_is_told_from_a_file_that_is_not_there(capsys, word, line):
    assert said(capsys, word, "task.yaml") == (2, "", line)


def test_a_task_file_may_be_named_as_a_verb_is_misspelled(demo, capsys, monkeypatch):
    monkeypatch.chdir(demo)
    Path("task.yaml").rename("serach")
    assert said(capsys, "serach", "num_outputs=1", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["run", "a.yaml", "--num-ouputs", "3"],
            "dgt-rag run: unknown flag '--num-ouputs'; did you mean '--num-outputs'?\n",
        ),
        (["--restrat", "a.yaml"], "dgt-rag run: unknown flag '--restrat'; did you mean '--restart'?\n"),
        (["check", "a.yaml", "--onlin=1"], "dgt-rag check: argument --online: ignored explicit argument '1'\n"),
        (["a.yaml", "--show", "x"], "dgt-rag run: argument --show: invalid int value: 'x'\n"),
        (["explain"], "dgt-rag explain: the following arguments are required: name\n"),
        (["check", "a.yaml", "--xyz"], "dgt-rag check: unknown flag '--xyz'; there are: "),
    ],
)
def test_a_wrong_flag_is_refused_in_one_line(capsys, words, line):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "") and err.startswith(line) and err.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_its_flags(capsys, verb):
    with pytest.raises(SystemExit) as ended:
        run_command([verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: dgt-rag {verb}" in capsys.readouterr().out


def test_no_words_at_all_is_a_mistake_with_help(capsys):
    code, out, _ = said(capsys)
    assert code == 2 and out.startswith("usage: dgt-rag")


def test_the_version_is_that_of_the_package(capsys):
    assert said(capsys, "--version") == (0, f"dgt-rag {version('dgt-rag')}\n", "")


def test_list_shows_plugins_by_kind_with_aliases(capsys):
    code, out, _ = said(capsys, "list", "samplers")
    assert code == 0
    assert out.splitlines() == [
        "samplers",
        "  search/coverage  The next documents of a shuffled corpus; each is used once before any is used again. (also coverage)",
        "  search/random    Documents by chance; with `group_by`, all of a conversation's from one group. (also random)",
        "  search/related   One document by chance and those most like it, as the engine itself ranks them. (also related)",
        "",
        "`dgt-rag explain NAME` tells the keys of one, with a sample.",
    ]
    assert said(capsys, "list", "sampler")[2] == "unknown kind of plugins 'sampler'; did you mean 'samplers'?\n"


def test_explain_tells_keys_defaults_help_and_a_sample(capsys):
    code, out, _ = said(capsys, "explain", "sample/persona")
    assert code == 0
    assert (
        out
        == """\
sample/persona (stages)

Draws who the user is, how much they know and how they write.

keys
  persona_store: mapping, required
      The file of personas.
      data_path: file, required
          JSON Lines: `{role, expertise, domain, goals, personality, style_override}`; only `role` is needed.
      type: default, default default
  target: user, default user
      Whose persona it is.
  metadata: mapping of names to any value, default {}
      Free remarks of yours; not read.

sample
  # in initialization_stages, iteration_stages or termination_stages
  - name: sample/persona
    persona_store: {data_path: personas.jsonl}
    # target: user
    # metadata: {}

"""
    )


def test_explain_tells_of_every_kind_that_has_the_name(capsys):
    out = said(capsys, "explain", "openai")[1]
    assert "openai (models)" in out and "openai (embedders)" in out


def test_explain_task_tells_the_task_file_itself(capsys):
    out = said(capsys, "explain", "task")[1]
    assert "  num_outputs: integer ≥ 1, default 10\n      How many conversations to make.\n" in out
    assert "  tools: mapping, required\n" in out


@pytest.mark.parametrize("name", ["patterns", "rag/standard"])
def test_explain_patterns_tells_the_shipped_ones_with_their_rules(capsys, name):
    out = said(capsys, "explain", name)[1]
    assert "\nrag/multi_hop\n" in out and "  max_uses: 2, max_consecutive: 1, requires_documents: 2\n" in out


def test_explain_of_an_unknown_name_says_the_nearest(capsys):
    assert said(capsys, "explain", "sarch/file") == (2, "", "unknown name 'sarch/file'; did you mean 'search/file'?\n")


def test_init_says_what_to_type_next_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "init", "a task") == (
        0,
        "a task: task.yaml, documents.jsonl, seed_examples.jsonl, personas.jsonl\nnext: dgt-rag 'a task/task.yaml'\n",
        "",
    )
    before = (tmp_path / "a task/documents.jsonl").read_bytes()
    assert said(capsys, "init", "a task")[::2] == (
        2,
        "a task/task.yaml: is there already and is not overwritten; name another folder\n",
    )
    assert (tmp_path / "a task/documents.jsonl").read_bytes() == before
    Path("file").write_text("")
    assert said(capsys, "init", "file")[::2] == (2, "file: cannot be written (File exists); name another folder\n")


def test_what_init_made_runs_from_any_folder(demo, monkeypatch, capsys):
    elsewhere = demo.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, err = said(capsys, str(demo / "task.yaml"))
    # a slow machine is shown how far the run is
    assert (code, [line for line in err.splitlines() if " of 5" not in line]) == (0, [])
    assert "kept 5 of 5 asked for\n" in out
    assert len((elsewhere / "output/my_task/formatted_output.jsonl").read_text().splitlines()) == 5


def test_check_tells_what_is_there(demo, capsys):
    code, out, err = said(capsys, "check", "demo/task.yaml")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "demo/task.yaml: my_task",
        "  seed conversations: 2 with 10 turns, in seed_examples.jsonl",
        "  personas: 6, in personas.jsonl",
        "  engine retriever: search/file, 16 documents, fields domain, title",
        "  groups by domain: 4: borrowing 6, membership 2, service 5, workshop 3",
        "  tool search(query, limit): Search the document collection. Returns the documents that match the query best, best first.",
        "  model generator: extractive",
        "  right: 5 conversations of 3 to 6 turns, of at most 10 begun",
    ]


def test_check_tells_which_key_is_missing(demo, capsys, monkeypatch):
    monkeypatch.delenv("DGT_NO_SUCH_KEY", raising=False)
    hosted = "type: openai\n    model: some-model\n    api_key_env: DGT_NO_SUCH_KEY\n    base_url: https://api.openai.com/v1\n"
    task = demo / "task.yaml"
    task.write_text(task.read_text().replace("type: extractive ", f"{hosted}    #", 1))
    code, out, err = said(capsys, "check", "demo/task.yaml")
    needed = "no key; set the environment variable DGT_NO_SUCH_KEY, or give base_url for a server of your own"
    assert (code, err) == (0, "")
    assert f"  model generator: openai; still needed: some-model at api.openai.com/v1: {needed}" in out.splitlines()
    monkeypatch.setenv("DGT_NO_SUCH_KEY", "k")
    assert "  model generator: openai" in said(capsys, "check", "demo/task.yaml")[1].splitlines()


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        (
            "seed_examples.jsonl",
            "{",
            "seed_examples.jsonl:1: not a seed conversation: not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "seed_examples.jsonl",
            '\n{"steps": [{"role": "usr", "content": "x"}]}',
            "seed_examples.jsonl:2: not a seed conversation: steps.0: unknown role 'usr'; did you mean 'user'?",
        ),
        (
            "seed_examples.jsonl",
            '{"steps": [{"role": "user"}]}',
            "seed_examples.jsonl:1: not a seed conversation: steps.0.user.content: is missing",
        ),
        (
            "seed_examples.jsonl",
            '{"steps": []}',
            "seed_examples.jsonl:1: not a seed conversation: it has no turn; `steps` needs at least a user and an assistant step",
        ),
        ("personas.jsonl", '{"role": "x"}\n{"expertise": "y"}', "personas.jsonl:2: not a persona: role: is missing"),
        ("personas.jsonl", "[]", "personas.jsonl:1: not a persona: a mapping is needed"),
        (
            "personas.jsonl",
            "",
            "personas.jsonl: holds no persona; one JSON object a line with at least `role` is needed",
        ),
    ],
)
def test_a_bad_line_of_seeds_or_personas_is_refused_with_its_place(demo, capsys, file, text, line):
    (demo / file).write_text(text)
    assert said(capsys, "check", "demo/task.yaml")[::2] == (2, f"{demo}/{line}\n")


def test_check_goes_on_after_a_task_that_is_wrong_and_ends_with_the_worst_code(demo, capsys):
    (demo / "bad.jsonl").write_text("not json\n")
    Path("bad.yaml").write_text((demo / "task.yaml").read_text().replace(" documents.jsonl", " bad.jsonl"))
    (demo / "bad.yaml").write_bytes(Path("bad.yaml").read_bytes())
    code, out, err = said(capsys, "check", "nope.yaml", "demo/bad.yaml", "demo/task.yaml")
    assert (code, out.splitlines()[-1]) == (2, "  right: 5 conversations of 3 to 6 turns, of at most 10 begun")
    assert err.splitlines()[0] == "nope.yaml: no such file"
    assert err.splitlines()[1].startswith(f"{demo}/bad.jsonl:1: not JSON: ")


def test_check_refuses_groups_tools_templates_and_circles_that_do_not_fit(demo, capsys):
    def line(*overrides: str) -> str:
        code, _, err = said(capsys, "check", "demo/task.yaml", *overrides)
        assert code == 2
        return err.rstrip("\n")

    sampler = "initialization_stages.1.document_samplers.0"
    assert (
        line(f"{sampler}.group_by=domian")
        == "engine 'retriever': group_by: unknown field 'domian'; did you mean 'domain'?"
    )
    assert (
        line(f"{sampler}.include_groups=[servic]")
        == "engine 'retriever': group_by domain: unknown group 'servic'; did you mean 'service'?"
    )
    assert (
        line("iteration_stages.2.tools=[find]")
        == "lm/assistant/rag/live: tools: unknown tool 'find'; there are: search"
    )
    (demo / "prompts").mkdir()
    (demo / "prompts/user.j2").write_text("{{ hint }\n")
    assert line("prompts=prompts") == f"{demo}/prompts/user.j2:1: unexpected '}}'"
    (demo / "prompts/user.j2").rename(demo / "prompts/usr.j2")
    assert line("prompts=prompts").startswith(
        f"{demo}/prompts/usr.j2: replaces no prompt of ours; there are: answer.j2, "
    )
    circle = (f"tools.engines.{a}={{type: search/hybrid, engines: {{{b}: 1, retriever: 1}}}}" for a, b in ("xy", "yx"))
    assert line(*circle) == "tools.engines: x needs y needs x: engines cannot need each other in a circle"


def test_an_engine_that_does_not_open_takes_nothing_from_those_before_it(demo, capsys):
    Path("empty.jsonl").write_text("")
    empty = "tools.engines.empty={type: search/file, path: empty.jsonl}"
    words = ("search", "demo/task.yaml", "deposit", empty, "--engine", "retriever", "--engine", "empty")
    code, out, err = said(capsys, *words)
    assert code == 2 and "engine retriever: search/file" in out and "Deposits" in out
    assert "empty.jsonl: empty corpus" in err and err.count("\n") == 1


def test_search_shows_what_the_assistant_would_see(demo, capsys):
    code, out, err = said(capsys, "search", "demo/task.yaml", "What deposit is held for a chainsaw?", "--limit", "2")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line]
    assert lines[0].startswith("engine retriever: search/file, opened in ")
    assert lines[1].startswith("2 hits in ") and lines[1].endswith(" ms: What deposit is held for a chainsaw?")
    assert lines[2].split()[0] == "1." and lines[2].endswith("deposits  Deposits")
    assert "chainsaws and floor sanders of £100" in lines[3]


def test_search_shows_what_is_found_though_the_task_injects_faults(demo, capsys):
    faults = [f"{{type: {one}, probability: 0.5}}" for one in ("network_error", "irrelevant_result")]
    words = ("demo/task.yaml", "What deposit is held for a chainsaw?", "--limit", "1")
    plain = said(capsys, "search", *words)[1]
    code, out, err = said(capsys, "search", *words, f"tools.engines.retriever.error_categories=[{', '.join(faults)}]")
    assert (code, err) == (0, "")
    assert out.splitlines()[3:] == plain.splitlines()[3:] and "chainsaws and floor sanders" in out


@pytest.mark.parametrize("type", ["search/file", "search/in_memory"])
def test_search_tells_the_best_score_where_a_threshold_leaves_nothing(demo, capsys, type):
    engine = ["tools.engines.retriever.type=" + type, "--engine", "retriever"]
    words = ["search", "demo/task.yaml", "What deposit is held for a chainsaw?", *engine]
    score = float(said(capsys, *words)[1].split(" 1. ")[1].split()[0])
    code, out, err = said(capsys, *words, "tools.engines.retriever.relevance_threshold=1000")
    assert (code, err) == (0, "")
    told = out.splitlines()
    assert told[-2].startswith("0 hits in ")
    assert told[-1] == f"relevance_threshold 1000 leaves nothing: the best score is {score:.4g}"
    assert "leaves nothing" not in said(capsys, *words, "tools.engines.retriever.relevance_threshold=0.1")[1]
    words[2] = "zzzz"
    assert "leaves nothing" not in said(capsys, *words, "tools.engines.retriever.relevance_threshold=1000")[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["demo/task.yaml"], 'search: a task file and a question are wanted: dgt-rag search TASK.yaml "a question"'),
        (["demo/task.yaml", " "], "search: query: the query is empty."),
        (["demo/task.yaml", "a", "--engine", "retriver"], "unknown engine 'retriver'; did you mean 'retriever'?"),
        (["demo/task.yaml", "a", "--limit", "0"], "--limit 0: at least 1"),
    ],
)
def test_search_refuses_what_it_cannot_answer(demo, capsys, words, line):
    assert said(capsys, "search", *words)[::2] == (2, f"{line}\n")


def test_a_snippet_is_the_stretch_with_most_words_of_the_question():
    body = "Opening hours are posted at the door. " * 20 + "A deposit of 50 is held for chainsaws. " + "The end. " * 40
    shown = snippet(body, "deposit for a chainsaw")
    assert "deposit of 50 is held for chainsaws" in shown and len(shown) < 240
    assert snippet("", "x") == ""
    assert snippet("bell \x07 and\nline", "nothing") == "bell \ufffd and line"


def test_a_snippet_is_looked_for_in_the_first_million_characters_of_a_body():
    sentence, words = "Opening hours are posted. ", " ".join(f"w{n}" for n in range(20_000))
    assert "permit of 50" in snippet(sentence * 30_000 + "A permit of 50. " + sentence * 400_000, f"permit {words}")
    far = snippet(sentence * 40_000 + "A permit of 50.", f"permit {words}")
    assert far.startswith("Opening hours") and far.endswith(" …") and "permit" not in far
    assert snippet("permit " * 1_400_000, "permit " * 15_000).startswith("permit permit")


def test_the_first_of_equally_good_stretches_is_shown_and_words_far_apart_are_not_counted_together():
    gap = "and so it goes on " * 20
    assert "first alpha beta" in snippet(f"{gap}first alpha beta {gap}second alpha beta", "alpha beta")
    assert "alpha beta" in snippet(f"{gap}alpha {gap}beta beta beta {gap}gamma {gap}alpha beta", "alpha beta gamma")


def test_a_snippet_keeps_the_signs_that_scripts_and_typography_need():
    kept = "5\u202fkm, 2\u00a0h, Donau\u00addampf, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645, \U0001f468\u200d\U0001f33e"
    assert printable(kept) == kept
    assert printable("a\u202eb\u2066c\x1b[2J\x9bd\x00") == "a\ufffdb\ufffdc\ufffd[2J\ufffdd\ufffd"
    assert printable("one\r\ntwo\rthree\u2028four") == "one\ntwo\nthree\nfour"
    assert snippet("lines\r\nof two\u00a0words", "nothing") == "lines of two words"


def test_index_tells_its_own_way_to_skip_bad_lines(demo, capsys):
    Path("bad.jsonl").write_text('{"id": "1", "text": "one"}\nnot json\n')
    cluster = "tools.engines.cluster={type: search/elasticsearch, hosts: 'http://127.0.0.1:9', default_index: i}"
    words = ["index", "demo/task.yaml", cluster, "--engine", "cluster", "--from", "bad.jsonl"]
    assert (
        said(capsys, *words)[2]
        == "bad.jsonl:2: not JSON: Expecting value (column 1); mend it, or give --on-bad-line skip\n"
    )
    Path("bad.jsonl").write_text("not json\n")
    assert said(capsys, *words, "--on-bad-line", "skip")[2] == (
        "bad.jsonl: empty corpus: there is no document in it (skipped 1 document: not JSON (at 1))\n"
    )


def test_index_loads_elasticsearch_only(demo, capsys):
    assert said(capsys, "index", "demo/task.yaml", "--engine", "retriever")[::2] == (
        2,
        "engine 'retriever' is a search/file, which needs no loading; a search/elasticsearch engine is wanted\n",
    )
    both = "tools.engines.cluster={type: search/elasticsearch, hosts: 'http://127.0.0.1:9', default_index: i}"
    Path("only.yaml").write_text(
        "tools: {engines: {cluster: {type: search/elasticsearch, hosts: 'http://127.0.0.1:9', default_index: i}}}\n"
        "initialization_stages: [{name: lm/scenario/rag, document_samplers: {type: search/random, engine: cluster}}]\n"
    )
    assert said(capsys, "index", "only.yaml", "--engine", "cluster")[2] == (
        "where are the documents? name a file of them with --from\n"
    )
    assert said(capsys, "index", "demo/task.yaml", both, "--engine", "cluster", "--from", "retriver")[2] == (
        "--from: no such file, and unknown engine 'retriver'; did you mean 'retriever'?\n"
    )


def test_an_estimate_of_the_embedded_model_tells_the_time(demo, capsys):
    code, out, _ = said(capsys, "estimate", "demo/task.yaml", "--num-outputs", "50")
    assert code == 0
    assert out.splitlines()[0].startswith("pilot: 3 conversations, 3 kept, ")
    assert out.splitlines()[1] == "a run of 50: about 50 conversations begun"
    assert out.splitlines()[2].startswith("no calls: the embedded model is asked in this process; about ")
    assert not list(Path("output/my_task").glob("*.jsonl"))


def unanswerable(body: Body, seen: int) -> Said:
    """Answer as a good endpoint does whose answers say that the documents hold none, and no figures either."""
    said = honest(body, seen)
    value = json.loads(said.message["content"])
    if "citations" in value:
        value |= {"citations": [], "answerability": "unanswerable", "answer": re.sub(r"\d", "x", value["answer"])}
    return text(json.dumps(value))


def remote(server: Endpoint, *more: str) -> list[str]:
    model = f"{{type: openai, model: test-model, base_url: '{server.url}', prices: {{input: 1, output: 2}}}}"
    return [f"models.generator={model}", "iteration_stages.2={name: lm/assistant/rag/static}", "num_outputs=3", *more]


async def test_an_estimate_adds_up_to_what_the_run_takes_and_is_not_paid_twice(demo):
    async with Endpoint(say=unanswerable) as server:
        task = load(demo / "task.yaml", remote(server)).task
        pilot = await make_pilot(task, 3)
        asked = len(server.requests)
        lines = list(told(task, pilot))
        result = await run_task(task, Way())
        assert (len(server.requests), result.summary.kept) == (asked, 3)
    totals = result.facts["usage"]["totals"]
    figures = {line[:18].strip(): int(line[30:44].replace(",", "")) for line in lines[3:7]}
    assert lines[1] == "a run of 3: about 3 conversations begun"
    assert figures == {
        "calls": asked,
        "tokens in": totals["prompt_tokens"],
        "of them cached": totals["cached_tokens"],
        "tokens out": totals["completion_tokens"],
    }
    assert float(lines[7].split()[2]) == pytest.approx(totals["cost"], rel=0.01)


async def test_an_estimate_at_a_closed_model_is_one_line(demo):
    async with Endpoint(models=("other",)) as server:
        task = load(demo / "task.yaml", remote(server)).task
        with pytest.raises(ModelClosed, match=r"^test-model at \S+: has no model 'test-model'; it lists: other$"):
            await make_pilot(task, 2)


async def test_check_online_tells_what_an_endpoint_can_do(demo):
    async with Endpoint() as server:
        words = [sys.executable, "-m", "dgt_rag", "check", "demo/task.yaml", "--online", *remote(server)]
        ended = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = await ended.communicate()
    assert (ended.returncode, err) == (0, b"")
    assert "  model generator: test-model at 127.0.0.1:" in out.decode()
    assert "    JSON: obeys a JSON schema\n    tools: makes tool calls\n" in out.decode()


def test_eval_retrieval_sets_engines_side_by_side(demo, capsys):
    Path("queries.jsonl").write_text(
        '{"id": "1", "text": "how late may a tool be", "form": "plain"}\n{"id": "1", "text": "late", "form": "short"}\n'
    )
    Path("qrels.tsv").write_text("query\tdocument\tgrade\n1\tlate\t2\n")
    other = "tools.engines.other={type: search/in_memory, path: documents.jsonl, language: none}"
    words = ["eval-retrieval", "demo/task.yaml", other, "--queries", "queries.jsonl", "--qrels", "qrels.tsv"]
    code, out, _ = said(capsys, *words, "--form", "short")
    assert code == 0
    assert out.splitlines() == [
        "1 query of form short, in brackets 95 % confidence intervals; so few that the intervals say little",
        "engine     nDCG@10                Recall@5               MRR@10                 nDCG@10 above retriever",
        "retriever  1.000 (1.000…1.000)    1.000 (1.000…1.000)    1.000 (1.000…1.000)",
        "other      1.000 (1.000…1.000)    1.000 (1.000…1.000)    1.000 (1.000…1.000)    +0.000 (+0.000…+0.000)",
        "",
    ]
    assert said(capsys, *words, "--form", "shrt")[::2] == (2, "--form: unknown form 'shrt'; did you mean 'short'?\n")
    assert said(capsys, *words, "--engine", "othr")[::2] == (2, "unknown engine 'othr'; did you mean 'other'?\n")
    assert said(capsys, *words[:-1], "demo/task.yaml")[0] == 2


def test_eval_retrieval_warns_of_judged_documents_that_the_corpus_lacks(demo, capsys):
    Path("queries.jsonl").write_text('{"id": "1", "text": "how late may a tool be"}\n')
    Path("qrels.tsv").write_text("1\tlate\t2\n")
    words = ["eval-retrieval", "demo/task.yaml", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"]
    assert said(capsys, *words)[::2] == (0, "")
    line = (
        "warning: engine retriever: the corpus lacks 1 of the {} relevant documents, such as 'other-1'; "
        "do the ids of judgements and corpus agree?\n"
    )
    Path("qrels.tsv").write_text("1\tlate\t2\n1\tother-1\t1\n")
    assert said(capsys, *words)[::2] == (0, line.format(2))
    Path("qrels.tsv").write_text("1\tother-1\t1\n")
    code, out, err = said(capsys, *words)
    assert (code, err) == (0, line.format(1))
    assert "0.000" in out
    words.append("tools.engines.other={type: search/in_memory, path: documents.jsonl}")
    both = said(capsys, *words, "--engine", "retriever", "--engine", "other")[2]
    assert both == line.format(1).replace("engine retriever", "engines retriever, other")


def test_eval_retrieval_tells_how_many_judged_queries_are_not_there_and_how_many_are_not_judged(demo, capsys):
    Path("queries.tsv").write_text("1\thow late may a tool be\n2\tdeposit\n3\tchainsaw\n")
    Path("qrels.txt").write_text("1 0 late 2\n7 0 late 1\n8 0 deposits 1\n")
    code, out, err = said(
        capsys, "eval-retrieval", "demo/task.yaml", "--queries", "queries.tsv", "--qrels", "qrels.txt"
    )
    assert code == 0
    heading = "1 query, in brackets 95 % confidence intervals; so few that the intervals say little; 2 without a relevant document were not asked"
    assert out.splitlines()[0] == heading
    assert err == (
        "warning: qrels.txt: 2 of the 3 queries with a relevant document are not in queries.tsv, such as '7'; "
        "they are not asked\n"
    )


def test_what_a_link_names_is_read_by_the_name_of_the_link(demo, capsys):
    blob = Path("demo/blob-of-a-cache")
    Path("demo/documents.jsonl").rename(blob)
    Path("demo/documents.jsonl").symlink_to(blob.resolve())
    assert said(capsys, "search", "demo/task.yaml", "What deposit is held for a chainsaw?")[::2] == (0, "")
    assert Path("demo/documents.jsonl.dgt").is_dir()


def test_a_relative_index_dir_is_looked_for_beside_the_task_like_its_corpus(demo, capsys, monkeypatch):
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    words = ["search", "../demo/task.yaml", "deposit", "tools.engines.retriever.index_dir=made/index"]
    assert said(capsys, *words)[0] == 0
    assert list(Path("../demo/made/index").glob("*/manifest.json"))
    assert not list(Path().iterdir())


def test_a_task_that_is_not_named_is_asked_for(capsys):
    assert said(capsys, "run")[::2] == (2, "no task file is named; try: dgt-rag init my_task\n")
    assert said(capsys, "estimate", "a.yaml", "b.yaml")[::2] == (2, "one task file is wanted, not 2\n")


def test_a_question_without_quotes_and_a_key_without_its_sign_are_told_how(demo, capsys, monkeypatch):
    monkeypatch.chdir(demo)
    line = 'search: one question is wanted; put it in quotes: "how long is it"\n'
    assert said(capsys, "search", "task.yaml", "how", "long", "is", "it")[::2] == (2, line)
    assert (
        said(capsys, "search", "--task-paths", "task.yaml", "--limit", "1", "how long is it", "num_outputs=2")[0] == 0
    )
    line = "num_outputs: no such file; to set that key of the task, write num_outputs=VALUE\n"
    assert said(capsys, "task.yaml", "num_outputs", "5")[::2] == (2, line)


def test_the_help_of_a_verb_keeps_its_capitals(capsys):
    with pytest.raises(SystemExit):
        run_command(["eval-retrieval", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Measure engines on queries with judgements: nDCG@10, Recall@5, MRR." in told
    assert "in a file named .tsv, lines of id and text parted by a tab" in told
    assert "or TREC's four columns, parted by blanks" in told


def test_two_tasks_of_one_name_are_refused(demo, capsys):
    (demo / "other.yaml").write_bytes((demo / "task.yaml").read_bytes())
    assert said(capsys, "demo/task.yaml", "demo/other.yaml")[::2] == (
        2,
        "two tasks are named 'my_task' and would share a run folder; change one `task_name`\n",
    )


def test_a_reader_that_has_read_enough_is_no_error():
    command = f"{sys.executable} -m dgt_rag explain task | head -1"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("A task file\n", "", 0)
