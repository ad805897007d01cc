"""DiGiT's way to write a task → ours; what has no meaning here is named in a warning."""

from collections.abc import Callable, Container, Mapping
from typing import Any

from dgt_rag.errors import TaskError

_BUILDERS = {"public/rag/conversation", "core/conversation", "rag/conversation"}
NO_MEANING = {
    "dataloader": "seed conversations are read from `seed_examples`",
    "datastore": "rows are written into the run folder",
    "final_datastore": "rows are written into the run folder",
    "formatted_datastore": "rows are written into the run folder",
    "intermediate_datastore": "rows are written into the run folder",
    "output_datastore": "rows are written into the run folder",
    "task_card": "what a run was made from stands in its `run.json`",
    "blocks": "models are named under `models`",
    "metadata": "it is not read",
}
"""Keys of a task file of DiGiT's that are passed over with a warning."""
OTHER_WAY = {
    "formatter": "one formatter; several stand under `formatters`",
    "seed_datastore": "`{type: default, data_path: FILE}`, as DiGiT writes `seed_examples: FILE`",
    "runner_config": "as DiGiT writes it; `num_outputs_to_generate` and `save_formatted_output` have a meaning here",
}
"""Keys that are another way to write one of ours."""
_STAGES = ("initialization_stages", "iteration_stages", "termination_stages")
_RUNNER = {
    "seed_batch_size": "there are no batches; `concurrency` bounds the conversations in the air",
    "machine_batch_size": "there are no batches, and a run's own rows are no examples",
    "num_outputs_to_generate": "",
    "save_formatted_output": "",
}

Place = tuple[str | int, ...]
Where = Callable[[Place], str]
"""Returns `file:line` of a place."""


_WRITTEN: dict[Place, Place] = {
    ("formatters", 0): ("formatter",),
    ("seed_examples",): ("seed_datastore", "data_path"),
    ("num_outputs",): ("runner_config", "num_outputs_to_generate"),
}


def written(place: Place, lines: Container[Place]) -> Place:
    """Return a place as the file writes it, where that is another way than ours."""
    for ours, theirs in _WRITTEN.items():
        if place[: len(ours)] == ours and ours not in lines and theirs in lines:
            return (*theirs, *place[len(ours) :])
    return place


def translate(values: Mapping[str, Any], where: Where) -> tuple[dict[str, Any], list[str]]:
    """Return the values under our keys, and warnings about those that have no meaning here."""
    out = dict(values)
    warnings = []
    for key in [key for key in out if key in NO_MEANING]:
        del out[key]
        warnings.append(f"{where((key,))}: {key} has no meaning here: {NO_MEANING[key]}")
    if out.get("data_builder") in _BUILDERS:
        out["data_builder"] = "rag/conversation"
    out.update({key: _stages(out[key]) for key in _STAGES if key in out})
    warnings += _seeds(out, where)
    warnings += _runner(out, where)
    if out.get("formatters") is None and "formatter" in out and out["formatter"] is None:
        del out["formatter"]
    return out, warnings


def _stages(stages: Any) -> Any:
    """Return the stages with `patterns: [...]`, as DiGiT's documents abbreviate it, standing for our set."""
    if not isinstance(stages, list | tuple):
        return stages
    return [
        {**stage, "patterns": "rag/standard"}
        if isinstance(stage, Mapping) and stage.get("patterns") == ["..."]
        else stage
        for stage in stages
    ]


def _seeds(out: dict[str, Any], where: Where) -> list[str]:
    if "seed_datastore" not in out:
        return []
    store, place = out.pop("seed_datastore"), where(("seed_datastore",))
    if not isinstance(store, Mapping) or not isinstance(store.get("data_path"), str):
        raise TaskError(f"{place}: seed_datastore: needs a `data_path`, the file of seed conversations")
    if store.get("type", "default") != "default":
        raise TaskError(f"{place}: seed_datastore: only `type: default`, a file, is read; got {store['type']!r}")
    if "seed_examples" in out:
        raise TaskError(f"{place}: seed_datastore: `seed_examples` names the seed conversations already; leave one out")
    out["seed_examples"] = store["data_path"]
    return [
        f"{where(('seed_datastore', key))}: seed_datastore.{key} has no meaning here: a file of JSON Lines is read whole"
        for key in store
        if key not in {"type", "data_path"}
    ]


def _runner(out: dict[str, Any], where: Where) -> list[str]:
    runner = out.pop("runner_config", None) or {}
    if not isinstance(runner, Mapping):
        raise TaskError(f"{where(('runner_config',))}: runner_config: a mapping is needed")
    if runner.get("save_formatted_output") is False:
        out["formatters"] = []
        out.pop("formatter", None)
    if "num_outputs_to_generate" in runner:
        out.setdefault("num_outputs", runner["num_outputs_to_generate"])
    return [
        f"{where(('runner_config', key))}: runner_config.{key} has no meaning here: {_RUNNER.get(key) or 'it is not read'}"
        for key in runner
        if _RUNNER.get(key) != ""
    ]
