"""`search/in_memory`: BM25 over documents held in memory, from the task file, from a file, or from a program."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field, SkipValidation, model_validator

from dgt_rag.corpus.read import Corpus, Inline, OnBadLine, OwnNames, Projector
from dgt_rag.corpus.rows import Format, Source
from dgt_rag.engines.analysis import Language
from dgt_rag.engines.base import Projection, Retriever, SearchToolEngine
from dgt_rag.engines.documents import MemoryDocuments
from dgt_rag.engines.index import IndexBuilder, TextIndex
from dgt_rag.engines.lexical import LexicalRetriever
from dgt_rag.errors import CorpusError
from dgt_rag.plugins import InputFile
from dgt_rag.records import Document
from dgt_rag.world import World


class InMemoryEngine(SearchToolEngine):
    """Ranked search (BM25) over documents held in memory: inline, from a file, or handed over by a program."""

    aliases: ClassVar[tuple[str, ...]] = ("in_memory",)

    type: Literal["search/in_memory"] = "search/in_memory"
    corpus: SkipValidation[Sequence[Mapping[str, Any] | Document]] | None = Field(default=None, validate_default=False)
    """The documents themselves, each a mapping with the fields that `projection` names."""
    path: InputFile | None = None
    """A file of documents; give this, or `corpus`, or hand documents over from Python."""
    format: Format | None = None
    """How the file is read; told from its name if not given (.gz and .zst are unpacked)."""
    projection: Projection = Projection()
    """Our names for the corpus's fields."""
    language: Language = "english"
    """Whose word forms and function words are known; Chinese, Japanese and Korean are found with any."""
    on_bad_line: OnBadLine = "refuse"
    """What to do about a line that cannot be read or repeats an id."""

    @model_validator(mode="after")
    def _one_source(self) -> "InMemoryEngine":
        if self.corpus is not None and self.path is not None:
            raise ValueError("both `corpus` and `path` are given; keep one")
        if self.corpus is not None and not isinstance(self.corpus, list | tuple):
            raise ValueError("corpus: a list of documents is needed, each a mapping; for a file give `path`")
        return self

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Read and index the documents."""
        documents, index = await asyncio.to_thread(self._load, world)
        async with LexicalRetriever.over(MemoryDocuments(documents), index, self, world.name) as retriever:
            yield retriever

    def _load(self, world: World) -> tuple[list[Document], TextIndex]:
        documents = self._read(world)
        builder = IndexBuilder(self.language)
        by_id = sorted(range(len(documents)), key=lambda ordinal: documents[ordinal].doc_id)
        for ordinal in by_id:
            document = documents[ordinal]
            builder.add(document.title, document.body, document.domain, ordinal)
        return documents, builder.finish(by_id)

    def _read(self, world: World) -> list[Document]:
        given: Source | Inline
        projector = Projector.of(self.projection)
        if self.path is not None:
            given = Source.of(self.path, self.format)
        else:
            records = world.corpora.get(world.name) if self.corpus is None else self.corpus
            if records is None:
                raise CorpusError(
                    f"engine {world.name or self.type!r}: there are no documents; give `corpus`, `path`, "
                    f"or from Python run(task, corpora={{{world.name or 'NAME'!r}: [...]}})"
                )
            given = Inline(f"corpus of engine {world.name or self.type!r}", records)
            projector = OwnNames() if given.made else projector
        corpus = Corpus(given, projector, self.on_bad_line)
        documents = list(corpus.documents())
        corpus.tell(world.say)
        return documents
