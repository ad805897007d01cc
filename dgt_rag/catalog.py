"""Every plugin that is shipped, and how those of others are found."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from dgt_rag.embedders.model2vec import Model2VecEmbedder
from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.embedders.sentence_transformers import SentenceTransformersEmbedder
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.http import HttpEngine
from dgt_rag.engines.hybrid import HybridEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.vector import VectorEngine
from dgt_rag.errors import PluginError
from dgt_rag.formats.messages import MessagesFormatter, StaticRagFormatter
from dgt_rag.llm.extractive import ExtractiveModel
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.scripted import Scripted
from dgt_rag.plugins import KINDS, Plugin, Plugins
from dgt_rag.samplers.coverage import CoverageSampler
from dgt_rag.samplers.random import RandomSampler
from dgt_rag.samplers.related import RelatedSampler
from dgt_rag.stages.assistant_live import LiveRagAssistant
from dgt_rag.stages.assistant_static import StaticRagAssistant
from dgt_rag.stages.flow_controller import FlowController, RagFlowController
from dgt_rag.stages.persona import SamplePersona
from dgt_rag.stages.scenario import RagScenario
from dgt_rag.stages.user import RagUser

SHIPPED: tuple[type[Plugin], ...] = (
    RagScenario,
    SamplePersona,
    FlowController,
    RagFlowController,
    RagUser,
    StaticRagAssistant,
    LiveRagAssistant,
    InMemoryEngine,
    FileEngine,
    ElasticsearchEngine,
    VectorEngine,
    HybridEngine,
    HttpEngine,
    RandomSampler,
    RelatedSampler,
    CoverageSampler,
    ExtractiveModel,
    OpenAIModel,
    Scripted,
    OpenAIEmbedder,
    SentenceTransformersEmbedder,
    Model2VecEmbedder,
    MessagesFormatter,
    StaticRagFormatter,
)


@cache
def installed() -> tuple[type[Plugin], ...]:
    """Return the plugins that installed packages bring, by the entry points `dgt_rag.<kind>`."""
    return tuple(_loaded())


def _loaded() -> Iterator[type[Plugin]]:
    for kind in KINDS:
        for point in entry_points(group=f"dgt_rag.{kind}"):
            try:
                plugin = point.load()
            except Exception as error:  # a guest's module may raise anything; the user must learn whose it is
                raise PluginError(
                    f"plugin {point.name!r} ({point.value}) cannot be loaded: {error}; repair or uninstall its package"
                ) from error
            if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
                raise PluginError(f"plugin {point.name!r} ({point.value}) is no plugin class of dgt_rag")
            yield plugin


def plugins(guests: Sequence[type[Plugin]] = ()) -> Plugins:
    """Return all plugins known: shipped, installed, and those given."""
    return Plugins.of((*SHIPPED, *installed(), *guests))


def local_plugins(path: Path) -> list[type[Plugin]]:
    """Return the plugin classes that a Python file of the task defines."""
    module = _module(path)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == module.__name__
    ]
    concrete = [
        value
        for value in found
        if value.key in value.model_fields and isinstance(value.model_fields[value.key].default, str)
    ]
    if not concrete:
        raise PluginError(f"{path}: defines no plugin; a class of a plugin base with `type: Literal[...]` is needed")
    return concrete


def _module(path: Path) -> ModuleType:
    # a name of its own for each file: two tasks may both have an `engine.py`
    name = f"dgt_rag_task_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PluginError(f"{path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a guest's module may raise anything; the user must learn where
        del sys.modules[name]
        raise PluginError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    return module
