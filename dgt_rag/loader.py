"""Task file and overrides → `Task`, or the line that is wrong. The door to YAML and OmegaConf."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import SecretStr, ValidationError

from dgt_rag.catalog import local_plugins, plugins
from dgt_rag.digit import Place, translate, written
from dgt_rag.errors import PluginError, TaskError
from dgt_rag.plugins import Plugin, loading
from dgt_rag.sentences import sentence
from dgt_rag.task import Task

_ENVIRONMENT = re.compile(r"(?<!\\)((?:\\\\)*)\$\{([A-Z][A-Z0-9_]*)\}")
"""`${NAME}`; not one that a backslash before it makes plain text."""
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MASK = str(SecretStr("-"))


class _YAML(_SAFE):  # type: ignore[misc]
    """Safe YAML in which a date stays the text that it is."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _SAFE.yaml_implicit_resolvers.items()
    }


@dataclass
class Source:
    """What a task is read from: the values, and the line that each key stands on."""

    values: DictConfig
    lines: dict[Place, str] = field(default_factory=dict)

    def where(self, place: Place, default: str) -> str:
        """Return `file:line` of the deepest part of a place that stands in a file or on the command line."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return default


@dataclass(frozen=True)
class Loaded:
    """A task, and remarks about its file that are no errors."""

    task: Task
    warnings: tuple[str, ...] = ()


def load(
    path: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    over: Sequence[Path] = (),
    guests: Sequence[type[Plugin]] = (),
) -> Loaded:
    """Load a task from a file (or from values), with files laid over it and `key=value` overrides."""
    source = _from_values(path) if isinstance(path, Mapping) else _from_file(path)
    for file in over:
        _lay_over(source, file)
    for override in overrides:
        _override(source, override)
    name = "task" if isinstance(path, Mapping) else str(path)
    folder = Path.cwd() if isinstance(path, Mapping) else path.resolve().parent
    return _parse(source, name, folder, guests)


def _parse(source: Source, name: str, folder: Path, guests: Sequence[type[Plugin]]) -> Loaded:
    values = _resolved(source, name)
    values, warnings = translate(values, lambda place: source.where(place, name))
    values.setdefault("task_name", Path(name).stem)
    values["plugins"], local = _local(values.get("plugins"), folder, source, name)
    data = os.environ.get("DGT_DATA_DIR")
    folders = [folder, *([Path(data)] if data else []), Path.cwd()]
    with loading(plugins([*guests, *local]), list(dict.fromkeys(folders))):
        try:
            task = Task.model_validate(values)
        except ValidationError as error:
            raise TaskError("\n".join(_told(error, source, name))) from error
    return Loaded(task, tuple(warnings))


def _local(files: Any, folder: Path, source: Source, name: str) -> tuple[list[str], list[type[Plugin]]]:
    """Return the paths of a task's own plugin files, and their classes."""
    if not isinstance(files or [], list):
        raise TaskError(f"{source.where(('plugins',), name)}: plugins: a list of Python files is needed")
    paths, found = [], []
    for number, file in enumerate(files or []):
        path = folder / str(file) if (folder / str(file)).exists() else Path(str(file))
        try:
            found += local_plugins(path)
        except PluginError as error:
            raise PluginError(f"{source.where(('plugins', number), name)}: plugins: {error}") from error
        paths.append(str(path.resolve()))
    return paths, found


def _told(error: ValidationError, source: Source, name: str) -> Iterator[str]:
    """Return a line for each thing that is wrong: `file:line: place: what`."""
    lines = error.errors(include_url=False)
    for line in lines[:8]:
        if any(
            line["loc"] == other["loc"][: len(line["loc"])] for other in lines if len(other["loc"]) > len(line["loc"])
        ):
            # a list whose item is wrong is told to be too short as well
            continue
        place = written(tuple(part for part in line["loc"] if not str(part).startswith("function-")), source.lines)
        told = ".".join(str(part) for part in place)
        yield f"{source.where(place, name)}: {told + ': ' if told else ''}{sentence(line)}"


def _from_values(values: Mapping[str, Any]) -> Source:
    return Source(_config(_environment(values, set(values)), "task", {}))


def _from_file(path: Path) -> Source:
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=_YAML)
        values = yaml.load(text, Loader=_YAML)
        lines = _places(node, path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise TaskError(f"{path}{line}: not YAML: {_problem(error)}") from error
    except RecursionError as error:
        raise TaskError(f"{path}: nested too deep, or an anchor that holds itself") from error
    if not isinstance(values, dict):
        raise TaskError(f"{path}: a task is a mapping of keys to values; this is {_KINDS.get(type(values), 'none')}")
    top = set(values)
    return Source(_config(_environment(values, top), str(path), lines), lines)


def _places(node: Any, path: Path) -> dict[Place, str]:
    """Return `file:line` of every place; a key that stands twice in a mapping is refused."""
    lines: dict[Place, str] = {}
    for place, line in _lines(node, ()):
        if place in lines:
            raise TaskError(f"{path}:{line}: {place[-1]!r} stands at {lines[place]} already; leave one out")
        lines[place] = f"{path}:{line}"
    return lines


_KINDS = {
    type(None): "empty",
    list: "a list",
    str: "one text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}


def _problem(error: Exception) -> str:
    return getattr(error, "problem", None) or str(error).splitlines()[0]


def read_text(path: Path) -> str:
    """Return a file's text; one that cannot be read is refused."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise TaskError(f"{path}: is a folder; name a task file in it") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error


def _environment(value: Any, top: set[str]) -> Any:
    """Turn `${NAME}`, as DiGiT writes the environment, into OmegaConf's way, unless the file has such a key."""
    if isinstance(value, str):
        return _ENVIRONMENT.sub(
            lambda found: found[0] if found[2] in top else f"{found[1]}${{oc.env:{found[2]}}}", value
        )
    if isinstance(value, Mapping):
        return {key: _environment(part, top) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_environment(part, top) for part in value]
    return value


def _config(values: dict[Any, Any], name: str, lines: Mapping[Place, str]) -> DictConfig:
    try:
        # a task from Python may hold plugins that are made already
        return OmegaConf.create(values, flags={"allow_objects": True})
    except OmegaConfBaseException as error:
        raise TaskError(_unresolved(error, Source(OmegaConf.create(), dict(lines)), name)) from error


def _lines(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    """Return the line of every key and item of a YAML tree."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*place, number), item.start_mark.line + 1
            yield from _lines(item, (*place, number))


def _lay_over(source: Source, file: Path) -> None:
    other = _from_file(file)
    # a plugin of another type takes nothing over from the one it replaces
    for group in ("models", "tools.engines"):
        after, before = (_selected(one.values, group) for one in (other, source))
        for name, value in after.items() if OmegaConf.is_dict(after) else ():
            if OmegaConf.is_dict(before) and name in before and OmegaConf.is_dict(value) and "type" in value:
                del before[name]
    try:
        source.values = OmegaConf.merge(source.values, other.values)  # type: ignore[assignment]
    except (OmegaConfBaseException, TypeError) as error:
        raise TaskError(f"{file}: cannot be laid over the task: {_problem(error)}") from error
    source.lines.update(other.lines)


def _selected(values: DictConfig, key: str) -> Any:
    # what cannot be filled in is told when all is filled in
    return OmegaConf.select(values, key, throw_on_resolution_failure=False)


def _override(source: Source, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise TaskError(f"command line: {override!r}: an override is written key=value, as in max_turns=4")
    try:
        value = _environment(yaml.load(text, Loader=_YAML) if text else "", set(source.values))
        OmegaConf.update(source.values, key.strip(), value, merge=True)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, IndexError) as error:
        raise TaskError(f"command line: {override!r}: {_problem(error)}") from error
    place = _place(key.strip())
    source.lines = {known: line for known, line in source.lines.items() if known[: len(place)] != place}
    source.lines[place] = "command line"
    for length in range(1, len(place)):
        source.lines.setdefault(place[:length], "command line")


def _place(key: str) -> Place:
    """Return the place that OmegaConf writes as `stages.2.name` or `stages[2].name`."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", key) if part)


def _resolved(source: Source, name: str) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(source.values, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise TaskError(_unresolved(error, source, name)) from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def _unresolved(error: OmegaConfBaseException, source: Source, name: str) -> str:
    """Return the line for a `${...}` that cannot be filled in."""
    message = str(error).splitlines()[0]
    variable = re.search(r"Environment variable '(\w+)' not found", message)
    key = re.search(r"Interpolation key '(.+)' not found", message)
    if variable:
        message = f"environment variable {variable[1]} is not set; set it, or write ${{oc.env:{variable[1]},default}}"
    elif key:
        message = f"there is no key {key[1]!r} to fill in"
    elif "${" in message or "interpolation type" in message:
        message = f"{message}; a plain ${{ is written \\${{"
    place = _place(str(error.full_key or ""))
    told = ".".join(map(str, place))
    return f"{source.where(place, name)}: {told + ': ' if told else ''}{message[:1].lower()}{message[1:]}"


def task_text(task: Task) -> str:
    """Return a task as YAML that can be run again; secrets are left out."""
    values = _without_secrets(task.model_dump(mode="json", exclude_defaults=True))
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(part) for key, part in value.items() if part != _MASK}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    # what is filled in already is not to be filled in again
    return value.replace("${", "\\${") if isinstance(value, str) else value
