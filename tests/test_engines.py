"""The laws that every engine keeps, for every engine that is shipped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dgt_rag.engines.base import SearchToolEngine
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.records import Document
from dgt_rag.testing import LAWS, Factory, Opener, write_corpus


def in_memory(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return InMemoryEngine(corpus=documents, **settings)


def file(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return FileEngine(path=write_corpus(documents, folder / "corpus.jsonl"), **settings)


ENGINES: dict[str, Factory] = {"in_memory": in_memory, "file": file}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("engine", ENGINES)
async def test_every_engine_keeps_the_law(engine, law, tmp_path):
    await law(Opener(ENGINES[engine], tmp_path))
