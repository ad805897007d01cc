"""A task file is read whole or refused in one line that says where, what and what instead."""

from pathlib import Path

import pytest
import yaml

from dgt_rag.errors import TaskError
from dgt_rag.loader import Loaded, load, task_text

TASK = """\
task_name: t
num_outputs: 3
min_turns: 2
max_turns: 4
models:
  generator: {type: extractive}
tools:
  engines:
    retriever:
      type: search/in_memory
      corpus: [{id: a, text: One.}]
initialization_stages:
  - name: lm/scenario/rag
    document_samplers:
      - type: search/random
        engine: retriever
        weight: 1.0
  - name: sample/persona
    persona_store: {data_path: personas.jsonl}
iteration_stages:
  - name: lm/flow_controller/rag
    patterns: [rag/factoid]
  - name: lm/user/rag
  - name: lm/assistant/rag/static
formatter: {type: messages}
"""
STAGES = (
    "lm/assistant/rag, lm/assistant/rag/live, lm/assistant/rag/static, lm/flow_controller, lm/flow_controller/rag, "
    "lm/scenario/rag, lm/user/rag, sample/persona"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("personas.jsonl").write_text('{"role": "caller"}\n')
    Path("task.yaml").write_text(TASK)
    return tmp_path


def changed(old: str, new: str) -> str:
    assert old in TASK
    return TASK.replace(old, new, 1)


def loaded(text: str | bytes = TASK, *overrides: str) -> Loaded:
    Path("task.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(Path("task.yaml"), overrides)


def refused(text: str | bytes = TASK, *overrides: str) -> str:
    with pytest.raises(TaskError) as caught:
        loaded(text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("num_outputs", "num_output", "task.yaml:2: num_output: unknown key 'num_output'; did you mean 'num_outputs'?"),
        (
            "    patterns:",
            "    paterns:",
            "task.yaml:22: iteration_stages.0.paterns: unknown key 'paterns'; did you mean 'patterns'?",
        ),
        (
            "        weight",
            "        wieght",
            "task.yaml:17: initialization_stages.0.document_samplers.0.wieght: "
            "unknown key 'wieght'; did you mean 'weight'?",
        ),
        (
            "corpus:",
            "corpsu:",
            "task.yaml:11: tools.engines.retriever.corpsu: unknown key 'corpsu'; did you mean 'corpus'?",
        ),
        (
            "data_path",
            "datapath",
            "task.yaml:19: initialization_stages.1.persona_store.datapath: "
            "unknown key 'datapath'; did you mean 'data_path'?",
        ),
    ],
    ids=["top", "stage", "sampler", "engine", "nested"],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_key(old, new, line):
    assert refused(changed(old, new)) == line


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("num_outputs: 3", "num_outputs: three", "task.yaml:2: num_outputs: an integer is needed; got 'three'"),
        ("num_outputs: 3", "num_outputs: 0", "task.yaml:2: num_outputs: must be at least 1; got 0"),
        ("min_turns: 2", "min_turns: 9", "task.yaml:3: min_turns: 9 is more than max_turns (4)"),
        (
            "weight: 1.0",
            "weight: 0",
            "task.yaml:17: initialization_stages.0.document_samplers.0.weight: must be more than 0; got 0",
        ),
        (
            "weight: 1.0",
            "weight: -1",
            "task.yaml:17: initialization_stages.0.document_samplers.0.weight: must be more than 0; got -1",
        ),
        (
            "weight: 1.0",
            "weight: [1]",
            "task.yaml:17: initialization_stages.0.document_samplers.0.weight: a number is needed",
        ),
        ("engines:\n    retriever", "engines:\n    - retriever", "task.yaml:8: tools.engines: a mapping is needed"),
        (
            "formatter:",
            "termination_stages:\nformatter:",
            "task.yaml:25: termination_stages: a list is needed; got nothing",
        ),
        ("task_name: t", "task_name: ../t", "task.yaml:1: task_name: must stay inside the output folder; got '../t'"),
        (
            "task_name: t",
            "data_builder: rag/conversations",
            "task.yaml:1: data_builder: unknown value 'rag/conversations'; did you mean 'rag/conversation'?",
        ),
        (
            "formatter:",
            "num_outputs: 4\nformatter:",
            "task.yaml:25: 'num_outputs' stands at task.yaml:2 already; leave one out",
        ),
        ("initialization_stages", "termination_stages", "task.yaml: initialization_stages: is missing"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_needed(old, new, line):
    assert refused(changed(old, new)) == line


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "search/in_memory",
            "search/inmemory",
            "task.yaml:10: tools.engines.retriever.type: unknown engine 'search/inmemory'; did you mean 'search/in_memory'?",
        ),
        (
            "lm/user/rag",
            "lm/usr/rag",
            "task.yaml:23: iteration_stages.1.name: unknown stage 'lm/usr/rag'; did you mean 'lm/user/rag'?",
        ),
        ("lm/user/rag", "zzz", f"task.yaml:23: iteration_stages.1.name: unknown stage 'zzz'; there are: {STAGES}"),
        (
            "- name: lm/user/rag",
            "- generator: generator",
            f"task.yaml:23: iteration_stages.1: the key `name` is missing; there are: {STAGES}",
        ),
        (
            "type: messages",
            "type: mesages",
            "task.yaml:25: formatter.type: unknown formatter 'mesages'; did you mean 'messages'?",
        ),
        (
            "engine: retriever",
            "engine: retriver",
            "task.yaml:16: initialization_stages.0.document_samplers.0.engine: "
            "unknown engine 'retriver'; did you mean 'retriever'?",
        ),
        (
            "- name: lm/user/rag",
            "- name: lm/user/rag\n    generator: generater",
            "task.yaml:24: iteration_stages.1.generator: unknown model 'generater'; did you mean 'generator'?",
        ),
        (
            "rag/factoid",
            "rag/factoit",
            "task.yaml:22: iteration_stages.0.patterns: unknown pattern 'rag/factoit'; did you mean 'rag/factoid'?",
        ),
        (
            "[rag/factoid]",
            "[{name: my/own}]",
            "task.yaml:22: iteration_stages.0.patterns: pattern 'my/own' is not one of ours, so it needs a `description`",
        ),
        (
            "patterns: [rag/factoid]",
            "termination_patterns: [rag/terminatoin]",
            "task.yaml:21: iteration_stages.0: unknown termination pattern 'rag/terminatoin'; did you mean 'rag/termination'?",
        ),
        (
            "formatter: {type: messages}",
            "formatters:\n  - {type: messages}\n  - {type: formatters/conversation/rag/static}",
            "task.yaml:27: formatters.1: two formatters write 'formatted_output.jsonl'; give one a `file_name`",
        ),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest_one(old, new, line):
    assert refused(changed(old, new)) == line


def test_files_that_are_missing_or_folders_are_refused_with_where_they_were_looked_for(folder):
    assert refused(changed("personas.jsonl", "persons.jsonl")) == (
        "task.yaml:19: initialization_stages.1.persona_store.data_path: "
        f"no such file: persons.jsonl (looked in {folder})"
    )
    Path("people").mkdir()
    assert refused(changed("personas.jsonl", "people")) == (
        "task.yaml:19: initialization_stages.1.persona_store.data_path: people is a folder; a file is needed here"
    )
    assert refused(changed("formatter:", "prompts: personas.jsonl\nformatter:")) == (
        "task.yaml:25: prompts: personas.jsonl is a file; a folder is needed here"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"a: [1,\nb: 2\n", "task.yaml:3: not YAML: did not find expected ',' or ']'"),
        (b"a: 1\n  b: 2\n", "task.yaml:2: not YAML: mapping values are not allowed in this context"),
        (b"a:\n\tb: 2\n", "task.yaml:2: not YAML: found character that cannot start any token"),
        (b"a: \0\n", "task.yaml: not YAML: unacceptable character #x0000: control characters are not allowed"),
        (b"a: &a [*a]\n", "task.yaml: nested too deep, or an anchor that holds itself"),
        (b"", "task.yaml: a task is a mapping of keys to values; this is empty"),
        (b"# nothing\n", "task.yaml: a task is a mapping of keys to values; this is empty"),
        (b"- a\n", "task.yaml: a task is a mapping of keys to values; this is a list"),
        (b"hello\n", "task.yaml: a task is a mapping of keys to values; this is one text"),
        ("t\xe4sk: 1\n".encode("latin-1"), "task.yaml: not UTF-8 text (invalid continuation byte at byte 1)"),
    ],
)
def test_a_file_that_is_no_task_is_refused_with_the_reason(text, line):
    assert refused(text) == line


def test_a_task_file_that_is_not_there_or_a_folder_is_refused(folder):
    for path, line in (("nope.yaml", "nope.yaml: no such file"), (".", ".: is a folder; name a task file in it")):
        with pytest.raises(TaskError) as caught:
            load(Path(path))
        assert str(caught.value) == line


def test_a_byte_order_mark_is_no_part_of_a_task():
    assert loaded(b"\xef\xbb\xbf" + TASK.encode()).task.task_name == "t"


def test_a_date_in_a_corpus_stays_text():
    task = loaded(changed("text: One.", "text: One., since: 2024-01-01")).task
    assert task.tools.engines["retriever"].corpus[0]["since"] == "2024-01-01"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("max_turns", "command line: 'max_turns': an override is written key=value, as in max_turns=4"),
        ("=5", "command line: '=5': an override is written key=value, as in max_turns=4"),
        ("max_turn=5", "command line: max_turn: unknown key 'max_turn'; did you mean 'max_turns'?"),
        ("max_turns=x", "command line: max_turns: an integer is needed; got 'x'"),
        ("max_turns=[1", "command line: 'max_turns=[1': did not find expected ',' or ']'"),
        (
            "iteration_stages.9.max_retries=1",
            "command line: 'iteration_stages.9.max_retries=1': list index out of range",
        ),
        (
            "iteration_stages.2.max_retrys=1",
            "command line: iteration_stages.2.max_retrys: unknown key 'max_retrys'; did you mean 'max_retries'?",
        ),
        (
            "num_outputs=${NOT_SET_HERE}",
            "command line: num_outputs: environment variable NOT_SET_HERE is not set; "
            "set it, or write ${oc.env:NOT_SET_HERE,default}",
        ),
    ],
)
def test_a_bad_override_is_refused_by_its_own_words(override, line):
    assert refused(TASK, override) == line


@pytest.mark.parametrize("key", ["iteration_stages.2.max_retries", "iteration_stages[2].max_retries"])
def test_an_override_reaches_into_a_list(key):
    assert loaded(TASK, f"{key}=1").task.iteration_stages[2].max_retries == 1


def test_an_override_takes_another_value_of_the_file_and_goes_before_it():
    task = loaded(TASK, "num_outputs=${max_turns}", "max_turns=5", "models.generator.type=extractive").task
    assert (task.num_outputs, task.max_turns) == (5, 5)


def test_environment_defaults_and_other_keys_are_filled_in(monkeypatch):
    monkeypatch.setenv("HOW_MANY", "7")
    text = changed("num_outputs: 3", "num_outputs: ${HOW_MANY}")
    text = text.replace("max_turns: 4", "max_turns: ${oc.env:NOT_SET_HERE,5}").replace(
        "task_name: t", "task_name: ${created_by}/x\ncreated_by: me"
    )
    task = loaded(text).task
    assert (task.num_outputs, task.max_turns, task.task_name) == (7, 5, "me/x")


def test_a_task_given_as_a_mapping_is_filled_in_as_a_file_is(monkeypatch):
    monkeypatch.setenv("HOW_MANY", "7")
    monkeypatch.setenv("SAID", "One, ${two} and \\ three.")
    changes = {
        "task_name": "${created_by}/x",
        "created_by": "me",
        "num_outputs": "${HOW_MANY}",
        "max_turns": "${oc.env:NOT_SET_HERE,5}",
        "iteration_stages": (
            {"name": "lm/user/rag"},
            {"name": "lm/assistant/rag/static", "max_retries": "${HOW_MANY}"},
        ),
    }
    corpus = [{"id": "a", "text": "${SAID}"}, {"id": "b", "text": "costs \\${HOW_MANY}"}]
    values = {**yaml.safe_load(TASK), **changes}
    values["tools"] = {"engines": {"retriever": {"type": "search/in_memory", "corpus": corpus}}}
    task = load(values).task
    assert load(values, ["num_outputs=${HOW_MANY}"]).task == task
    Path("task.yaml").write_text(yaml.safe_dump({**values, "iteration_stages": [*changes["iteration_stages"]]}))
    assert load(Path("task.yaml")).task == task
    assert (task.task_name, task.num_outputs, task.max_turns) == ("me/x", 7, 5)
    assert task.iteration_stages[1].max_retries == 7
    texts = [document["text"] for document in task.tools.engines["retriever"].corpus]
    assert texts == ["One, ${two} and \\ three.", "costs ${HOW_MANY}"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            "${NOT_SET_HERE}",
            "environment variable NOT_SET_HERE is not set; set it, or write ${oc.env:NOT_SET_HERE,default}",
        ),
        ("${no.such}", "there is no key 'no.such' to fill in"),
        ("from ${ to", "no viable alternative at input '${ to'; a plain ${ is written \\${"),
    ],
)
def test_what_cannot_be_filled_in_in_a_mapping_is_refused_in_one_line(value, told):
    with pytest.raises(TaskError) as caught:
        load({**yaml.safe_load(TASK), "instructions": value})
    assert str(caught.value) == f"task: instructions: {told}"


def test_what_cannot_be_filled_in_is_refused_with_its_line():
    missing = "environment variable NOT_SET_HERE is not set; set it, or write ${oc.env:NOT_SET_HERE,default}"
    assert refused(changed("num_outputs: 3", "num_outputs: ${NOT_SET_HERE}")) == f"task.yaml:2: num_outputs: {missing}"
    assert (
        refused(changed("num_outputs: 3", "num_outputs: ${no.such}"))
        == "task.yaml:2: num_outputs: there is no key 'no.such' to fill in"
    )
    assert (
        refused(changed("num_outputs: 3", "num_outputs: ${num_outputs}"))
        == "task.yaml:2: num_outputs: recursive interpolation detected"
    )
    assert refused(changed("One.", "'from ${ to'")) == (
        "task.yaml:11: tools.engines.retriever.corpus.0.text: no viable alternative at input '${ to'; a plain ${ is written \\${"
    )


def test_a_file_is_laid_over_the_task_and_its_own_lines_are_told():
    Path("models.yaml").write_text("models:\n  generator: {type: openai, model: m}\nnum_outputs: 9\n")
    task = load(Path("task.yaml"), [], [Path("models.yaml")]).task
    assert (task.models["generator"].plugin_name(), task.num_outputs, task.max_turns) == ("openai", 9, 4)
    Path("models.yaml").write_text("models:\n  generator:\n    type: openai\n    modl: m\n")
    with pytest.raises(TaskError) as caught:
        load(Path("task.yaml"), [], [Path("models.yaml")])
    assert (
        str(caught.value).splitlines()[0]
        == "models.yaml:4: models.generator.modl: unknown key 'modl'; did you mean 'model'?"
    )


def test_an_engine_of_another_type_laid_over_the_task_takes_nothing_over():
    Path("live.yaml").write_text(
        "tools: {engines: {retriever: {type: search/elasticsearch, hosts: 'http://127.0.0.1:9', default_index: i}}}\n"
    )
    task = load(Path("task.yaml"), [], [Path("live.yaml")]).task
    assert task.tools.engines["retriever"].plugin_name() == "search/elasticsearch"
    Path("live.yaml").write_text("tools: {engines: {retriever: {limit: 2}}}\n")
    task = load(Path("task.yaml"), [], [Path("live.yaml")]).task
    assert (task.tools.engines["retriever"].plugin_name(), task.tools.engines["retriever"].limit) == (
        "search/in_memory",
        2,
    )


def test_a_tool_that_cannot_be_called_is_refused_with_its_line():
    registry = """\
  registry:
    - type: inline
      engine: retriever
      tools:
        - name: look_up
          description: Looks it up.
          parameters: {type: object, properties: %s}
"""
    expected = {
        "{q: {$ref: 'http://example.org/x.json'}}": "its parameters refer to 'http://example.org/x.json', "
        "which does not stand in them; write it out there, under $defs",
        "{q: {type: integer}}": "it needs a parameter of type string for the query",
        "{q: {type: strung}}": "its parameters are no JSON Schema: 'strung' is not valid under any of the given schemas",
    }
    for properties, line in expected.items():
        text = changed("  engines:\n", registry % properties + "  engines:\n")
        assert refused(text) == f"task.yaml:14: tools.registry.0.tools.0.parameters: {line}"


@pytest.mark.parametrize(
    "other", ["tools: [a]", "models: 3", "tools: {engines: x}", "tools: ${nowhere}", "models: ${oc.env:NOT_SET_HERE}"]
)
def test_a_file_laid_over_the_task_that_holds_something_else_there_is_refused(other):
    Path("other.yaml").write_text(other)
    for first, second in (("task.yaml", "other.yaml"), ("other.yaml", "task.yaml")):
        with pytest.raises(TaskError):
            load(Path(first), [], [Path(second), Path("other.yaml")])


def test_relative_paths_are_looked_for_beside_the_task_then_in_the_data_folder_then_here(folder, monkeypatch):
    for name in ("beside", "data", "here"):
        Path(name).mkdir()
        Path(name, "personas.jsonl").write_text('{"role": "caller"}\n')
    Path("beside/task.yaml").write_text(TASK)
    monkeypatch.setenv("DGT_DATA_DIR", str(folder / "data"))
    monkeypatch.chdir(folder / "here")
    found = []
    for name in ("beside", "data", "here"):
        task = load(folder / "beside" / "task.yaml").task
        found.append(task.initialization_stages[1].persona_store.data_path)
        (folder / name / "personas.jsonl").unlink()
    assert found == [folder / name / "personas.jsonl" for name in ("beside", "data", "here")]


def test_a_secret_is_in_no_dump_and_no_error(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    model = "{type: openai, model: m, api_key: '${MY_KEY}', headers: {X-Auth: '${MY_KEY}'}}"
    task = loaded(changed("{type: extractive}", model)).task
    assert task.models["generator"].api_key.get_secret_value() == "sk-very-secret"
    assert "very-secret" not in task_text(task) + repr(task) + task.model_dump_json()
    assert "api_key" not in task_text(task)
    line = refused(changed("{type: extractive}", "{type: openai, model: m, api_key: ['${MY_KEY}']}"))
    assert line == "task.yaml:6: models.generator.api_key: text is needed"


def test_what_a_dump_says_is_the_same_task_again():
    text = changed("text: One.", "text: 'costs \\${5}, \"yes\"', when: 2024-01-01")
    task = loaded(text, "models.generator.sampling.temperature=0.5").task
    assert loaded(task_text(task)).task == task


def test_a_backslash_keeps_the_name_of_a_variable_as_it_is_written(monkeypatch):
    monkeypatch.setenv("HOME_TOWN", "Ulm")
    text = changed("text: One.", r"text: 'from ${HOME_TOWN}, not \${HOME_TOWN}, not \${oc.env:HOME_TOWN}'")
    task = loaded(text).task
    said = task.tools.engines["retriever"].corpus[0]["text"]
    assert said == "from Ulm, not ${HOME_TOWN}, not ${oc.env:HOME_TOWN}"
    assert loaded(task_text(task)).task == task


def test_a_plugin_file_that_does_not_serve_is_one_line(folder):
    Path("raises.py").write_text("raise ValueError('no luck')\n")
    Path("empty.py").write_text("x = 1\n")
    Path("taken.py").write_text(
        "from typing import Literal\nfrom dgt_rag import SearchToolEngine\n"
        "class Mine(SearchToolEngine):\n    '''Mine.'''\n    type: Literal['search/file'] = 'search/file'\n"
    )
    expected = {
        "nope.py": "task.yaml:1: plugins: nope.py: no such Python file",
        "raises.py": f"task.yaml:1: plugins: {folder}/raises.py: cannot be loaded: ValueError: no luck",
        "empty.py": f"task.yaml:1: plugins: {folder}/empty.py: defines no plugin; a class of a plugin base with `type: Literal[...]` is needed",
        "taken.py": f"engines: 'search/file' is both dgt_rag.engines.file.FileEngine and Mine in {folder}/taken.py; rename one",
    }
    for file, line in expected.items():
        assert refused(changed("task_name: t", f"plugins: [{file}]")) == line
    assert (
        refused(changed("task_name: t", "plugins: nope.py")) == "task.yaml:1: plugins: a list of Python files is needed"
    )


def test_each_thing_that_is_wrong_is_one_line():
    text = changed("num_outputs: 3", "num_outputs: x").replace("weight: 1.0", "weight: 0")
    assert refused(text).splitlines() == [
        "task.yaml:2: num_outputs: an integer is needed; got 'x'",
        "task.yaml:17: initialization_stages.0.document_samplers.0.weight: must be more than 0; got 0",
    ]
