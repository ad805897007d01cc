"""What a plugin is, and how a task file finds one.

A plugin is a frozen pydantic model with one or two async methods: its fields are the YAML keys, its docstring is the help,
its `type` (stages: `name`) is what YAML says. Shipped ones stand in `catalog.py`, installed ones are found by entry points,
a task may name a local module, from Python one passes the class. A task is read inside `loading(...)`, which holds the
plugins known and the folders that relative paths are looked for in; a field of a plugin's kind (`Annotated[Base,
Choice("engines")]`) then parses to the class that the YAML names.
"""

import difflib
import inspect
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from dgt_rag.errors import DgtError, PluginError

KINDS = ("builders", "stages", "engines", "samplers", "models", "embedders", "formatters", "executors")


def bug_line(bug: BaseException) -> str:
    """Return what was raised, and on which line, as one short line."""
    last = traceback.extract_tb(bug.__traceback__)[-1]
    if isinstance(bug, ValidationError):
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in bug.errors()[:3])
    else:
        said = " ".join(str(bug)[:2000].encode("utf-8", "backslashreplace").decode().split())
    what = f"{type(bug).__name__}{': ' if said else ''}{said if len(said) <= 300 else said[:299] + '…'}"
    return f"{what} ({Path(last.filename).name}:{last.lineno})"


@contextmanager
def answering_for(who: str) -> Iterator[None]:
    """Turn whatever a plugin's own code raises into a line that names it; refusals pass as they are."""
    try:
        yield
    except DgtError:
        raise
    except (Exception, SystemExit) as bug:  # a guest's code may raise anything; the user must learn whose it is
        raise PluginError(f"{who}: {bug_line(bug)}") from bug


class Settings(BaseModel):
    """A frozen part of a task file; an unknown key is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            lines = [
                InitErrorDetails(
                    type=PydanticCustomError("unknown_key", "{message}", {"message": unknown("key", str(key), known)}),
                    loc=(str(key),),
                    input=key,
                )
                for key in data
                if key not in known
            ]
            if lines:
                raise ValidationError.from_exception_data(cls.__name__, lines)
        return data


class Plugin(Settings):
    """Base of all plugins; a kind's own base sets `kind` and the name of the key that tells its plugins apart."""

    kind: ClassVar[str]
    key: ClassVar[str] = "type"
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other names that a task file may use for it."""
    operational: ClassVar[frozenset[str]] = frozenset()
    """Keys that change how it works, not what comes out; they may differ when a run is resumed."""

    @classmethod
    def plugin_name(cls) -> str:
        """Return what YAML says to mean this class."""
        field = cls.model_fields.get(cls.key)
        name = field.default if field else None
        if not isinstance(name, str):
            raise PluginError(
                f'{cls.__module__}.{cls.__qualname__}: a plugin needs a field `{cls.key}: Literal["name"] = "name"`'
            )
        return name

    @classmethod
    def first_line(cls) -> str:
        """Return the first line of its help."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


@dataclass(frozen=True)
class Plugins:
    """The plugins known to one task, by kind and name."""

    classes: Mapping[str, Mapping[str, type[Plugin]]]

    @classmethod
    def of(cls, found: Sequence[type[Plugin]]) -> "Plugins":
        """Sort classes by kind; two of one name are refused."""
        classes: dict[str, dict[str, type[Plugin]]] = {kind: {} for kind in KINDS}
        for plugin in found:
            for name in (plugin.plugin_name(), *plugin.aliases):
                other = classes[plugin.kind].setdefault(name, plugin)
                if other is not plugin:
                    raise PluginError(
                        f"{plugin.kind}: {name!r} is both {_where(other)} and {_where(plugin)}; rename one"
                    )
        return cls(classes)

    def find(self, kind: str, name: str) -> type[Plugin]:
        """Return the class of this name, or say which there are."""
        known = self.classes[kind]
        if name not in known:
            raise PydanticCustomError(
                "unknown_plugin", "{message}", {"message": unknown(kind.removesuffix("s"), name, known)}
            )
        return known[name]

    def own(self, kind: str) -> list[type[Plugin]]:
        """Return the classes of a kind, each once, by name."""
        return sorted(set(self.classes[kind].values()), key=lambda plugin: plugin.plugin_name())


@dataclass(frozen=True)
class Loading:
    """What a task file is read with."""

    plugins: Plugins = field(default_factory=lambda: Plugins.of(()))
    folders: tuple[Path, ...] = ()


_LOADING: ContextVar[Loading | None] = ContextVar("loading", default=None)


@contextmanager
def loading(plugins: Plugins, folders: Sequence[Path] = ()) -> Iterator[None]:
    """Read task files with these plugins and folders, as long as the context is open."""
    token = _LOADING.set(Loading(plugins, tuple(folders)))
    try:
        yield
    finally:
        _LOADING.reset(token)


def current() -> Loading:
    """Return what task files are being read with."""
    return _LOADING.get() or Loading()


_SHOWN = 60
"""Names that a refusal lists at most."""


def unknown(what: str, name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """Return the sentence for a name that is not there: the nearest one, else all there are."""
    near = difflib.get_close_matches(name, [one for one in known if one != name], n=1, cutoff=0.6)
    shown = ", ".join(sorted(known)[:_SHOWN]) or "none"
    more = f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    there = f"did you mean {near[0]!r}?" if near else f"there are: {shown}{more}"
    return f"unknown {what} {name!r}; {there}"


def _where(plugin: type[Plugin]) -> str:
    if plugin.__module__.startswith("dgt_rag_task_"):
        return f"{plugin.__qualname__} in {inspect.getfile(plugin)}"
    return f"{plugin.__module__}.{plugin.__qualname__}"


@dataclass(frozen=True)
class Choice:
    """Annotation of a field that holds a plugin: `Annotated[SearchToolEngine, Choice("engines")]`."""

    kind: str

    def parse(self, value: object) -> object:
        """Return the plugin that the mapping describes; errors keep their place in the file."""
        if isinstance(value, Plugin):
            return value
        plugins = current().plugins
        key = _key_of(self.kind)
        if isinstance(value, str):
            value = {key: value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("plugin_type", "expected a mapping with the key `{key}`", {"key": key})
        name = value.get(key)
        if not isinstance(name, str):
            raise PydanticCustomError(
                "plugin_missing",
                "the key `{key}` is missing; there are: {known}",
                {"key": key, "known": ", ".join(sorted(plugins.classes[self.kind]))},
            )
        try:
            plugin = plugins.find(self.kind, name)
        except PydanticCustomError as error:
            raise ValidationError.from_exception_data(
                self.kind, [InitErrorDetails(type=error, loc=(key,), input=name)]
            ) from None
        return plugin.model_validate({**value, key: plugin.plugin_name()})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=dump, metadata={"pydantic_js_functions": [self._json_schema]}
        )

    def _json_schema(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        key = _key_of(self.kind)
        options, names = [], []
        for plugin in current().plugins.own(self.kind):
            plugin.model_rebuild()
            option = handler(plugin.__pydantic_core_schema__)
            keys = handler.resolve_ref_schema(option)
            own = [plugin.plugin_name(), *plugin.aliases]
            keys["properties"][key] = {"enum": own, "description": plugin.first_line()}
            keys["required"] = [key, *(name for name in keys.get("required", ()) if name != key)]
            options.append(option)
            names += own
        return {"anyOf": [*options, {"enum": names}]}


def _dump(value: Plugin, info: core_schema.SerializationInfo) -> Any:
    own = value.model_dump(mode=info.mode, exclude_defaults=info.exclude_defaults, by_alias=True)
    return {value.key: value.plugin_name(), **own}


def _key_of(kind: str) -> str:
    return "name" if kind == "stages" else "type"


def find_path(path: Path) -> Path:
    """Return an existing path for one that may be relative to the task file, the data folder or the present folder.

    A file that is a link keeps its name, which tells its format: what caches link to is named by its digest.
    """
    folders = () if path.is_absolute() else current().folders
    try:
        path = path.expanduser()
        for candidate in (*(folder / path for folder in folders), path):
            if candidate.exists():
                return candidate.resolve() if candidate.is_dir() else candidate.parent.resolve() / candidate.name
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be looked for: {error}") from error
    looked = ", ".join(str(folder) for folder in folders)
    raise PydanticCustomError(
        "missing_file",
        "no such file: {path}{looked}",
        {"path": str(path), "looked": f" (looked in {looked})" if looked else ""},
    )


def _file(path: Path) -> Path:
    found = find_path(path)
    if found.is_dir():
        raise PydanticCustomError("is_folder", "{path} is a folder; a file is needed here", {"path": str(path)})
    if found.is_fifo():
        # it is read more than once
        raise PydanticCustomError("is_pipe", "{path} is a pipe; a file is needed here", {"path": str(path)})
    return found


def _folder(path: Path) -> Path:
    found = find_path(path)
    if not found.is_dir():
        raise PydanticCustomError("is_file", "{path} is a file; a folder is needed here", {"path": str(path)})
    return found


def _beside_task(path: Path) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be looked for: {error}") from error
    folders = current().folders
    return folders[0] / path if folders else path


InputFile = Annotated[Path, AfterValidator(_file)]
"""A file that must be there; relative to the task file, to the data folder, or to the present folder."""
InputFolder = Annotated[Path, AfterValidator(_folder)]
"""A folder that must be there; looked for like `InputFile`."""
OwnFolder = Annotated[Path, AfterValidator(_beside_task)]
"""A folder that is made if it is not there; relative to the task file."""
