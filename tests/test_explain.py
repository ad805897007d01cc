"""The samples that `explain` prints are parts of a task file that the loader takes."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgt_rag.catalog import SHIPPED
from dgt_rag.cli import run_command
from dgt_rag.loader import load
from dgt_rag.plugins import KINDS, Plugin
from dgt_rag.task import Task


@pytest.fixture
def demo(tmp_path, monkeypatch, capsys) -> dict[str, Any]:
    """The task that `init` writes, with its folder as the present one."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "."]) == 0
    capsys.readouterr()
    return dict(yaml.safe_load(Path("task.yaml").read_text()))


def samples(capsys, name: str) -> list[Any]:
    """Return the samples that are printed for a name, one for each kind that has it."""
    assert run_command(["explain", name]) == 0
    parts = capsys.readouterr().out.split("\nsample")[1:]
    return [yaml.safe_load(textwrap.dedent(part[: part.find("\n\n")].partition("\n")[2])) for part in parts]


def pasted(task: dict[str, Any], kind: str, sample: Any) -> dict[str, Any]:
    """Return the task with a sample at the place that its kind has in a task file."""
    match kind:
        case "stages":
            return {**task, "iteration_stages": [*task["iteration_stages"], *sample]}
        case "samplers":
            stages = [
                {**stage, **sample} if "document_samplers" in stage else stage
                for stage in task["initialization_stages"]
            ]
            return {**task, "initialization_stages": stages}
        case "embedders":
            engine = {"type": "search/vector", "path": "documents.jsonl", **sample}
            return {**task, "tools": {"engines": {**task["tools"]["engines"], "dense": engine}}}
        case "formatters":
            return {**{key: value for key, value in task.items() if key != "formatter"}, **sample}
        case _:
            return {**task, **sample}


def held(task: Task) -> list[object]:
    """Return every plugin of a task."""
    engines = [*task.tools.engines.values()]
    stages = [stage for part in task.stages.values() for stage in part]
    samplers = [one for stage in stages for one in getattr(stage, "document_samplers", ())]
    return [
        *engines,
        *(getattr(one, "embedder", None) for one in engines),
        *stages,
        *samplers,
        *task.models.values(),
        *task.formatters,
    ]


@pytest.mark.parametrize("plugin", SHIPPED, ids=lambda plugin: f"{plugin.kind}-{plugin.plugin_name()}")
def test_the_sample_of_every_plugin_is_taken_by_the_loader(demo, capsys, plugin: type[Plugin]):
    same_name = sorted(
        (one for one in SHIPPED if one.plugin_name() == plugin.plugin_name()), key=lambda one: KINDS.index(one.kind)
    )
    for one, sample in zip(same_name, samples(capsys, plugin.plugin_name()), strict=True):
        loaded = load(pasted(demo, one.kind, sample))
        assert any(type(part) is one for part in held(loaded.task)) and not loaded.warnings


@pytest.mark.parametrize("name", [one.plugin_name() for one in SHIPPED if one.kind in {"engines", "models"}])
def test_the_sample_of_an_engine_or_a_model_can_be_laid_over_a_task(demo, capsys, name):
    for sample in samples(capsys, name):
        if not {"tools", "models"} & set(sample):
            continue
        Path("over.yaml").write_text(yaml.safe_dump(sample))
        assert name in {
            getattr(part, "type", "") for part in held(load(Path("task.yaml"), over=[Path("over.yaml")]).task)
        }


def test_the_sample_of_a_task_file_is_taken_whole(demo, capsys):
    assert run_command(["explain", "task"]) == 0
    printed = capsys.readouterr().out.partition("\nsample, as")[2].partition("\n")[2]
    assert load(yaml.safe_load(textwrap.dedent(printed))).task == load(demo).task


def test_the_samples_that_hold_vectors_say_where_these_are_kept(demo, capsys):
    assert samples(capsys, "search/vector")[0]["tools"]["engines"]["retriever"]["index_dir"] == "vectors"
    assert samples(capsys, "search/hybrid")[0]["tools"]["engines"]["vectors"]["index_dir"] == "vectors"
