"""`search/file`: BM25 over a file of up to millions of documents; index and offsets on disk, made once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Literal

from dgt_rag.corpus.read import OnBadLine, Projector
from dgt_rag.corpus.rows import Format, Source
from dgt_rag.engines.analysis import Language
from dgt_rag.engines.base import Projection, Retriever, SearchToolEngine
from dgt_rag.engines.building import Recipe
from dgt_rag.engines.lexical import LexicalRetriever
from dgt_rag.engines.sidecar import Sidecar
from dgt_rag.plugins import InputFile, OwnFolder
from dgt_rag.world import World


class FileEngine(SearchToolEngine):
    """Ranked search (BM25) over a file of any size; its index is made once and stands on disk beside it."""

    aliases: ClassVar[tuple[str, ...]] = ("file",)
    operational: ClassVar[frozenset[str]] = frozenset({"index_dir"})

    type: Literal["search/file"] = "search/file"
    path: InputFile
    """The file of documents."""
    format: Format | None = None
    """How the file is read; told from its name if not given (.gz and .zst are unpacked)."""
    projection: Projection = Projection()
    """Our names for the corpus's fields."""
    language: Language = "english"
    """Whose word forms and function words are known; Chinese, Japanese and Korean are found with any."""
    on_bad_line: OnBadLine = "refuse"
    """What to do about a line that cannot be read or repeats an id."""
    index_dir: OwnFolder | None = None
    """The folder for the index, relative to the task file; `<file>.dgt` beside the corpus if not given."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Make the index if there is none of the present file, and open it."""
        source = Source.of(self.path, self.format)
        recipe = Recipe(source, Projector.of(self.projection), self.language, self.on_bad_line)
        folder = self.index_dir or self.path.with_name(f"{self.path.name}.dgt")
        sidecar = Sidecar(recipe, folder)
        seen = await sidecar.make(world.say)
        documents = sidecar.documents(seen)
        try:
            index = await asyncio.to_thread(sidecar.index)
            async with LexicalRetriever.over(documents, index, self, world.name) as retriever:
                yield retriever
        finally:
            documents.close()
