"""`search/vector`: documents found by meaning, through vectors that an embedder makes of them."""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SkipValidation, model_validator

from dgt_rag.corpus.read import OnBadLine
from dgt_rag.corpus.rows import Format
from dgt_rag.embedders.base import AnyEmbedder
from dgt_rag.engines.base import Narrowed, Projection, Retriever, SearchToolEngine
from dgt_rag.engines.borrowed import opened
from dgt_rag.engines.building import seen_from
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import not_installed
from dgt_rag.plugins import InputFile, OwnFolder
from dgt_rag.records import Document
from dgt_rag.world import World


class VectorEngine(SearchToolEngine):
    """Dense search: the nearest documents by an embedding model, kept on disk and made once."""

    operational: ClassVar[frozenset[str]] = frozenset({"index_dir"})

    type: Literal["search/vector"] = "search/vector"
    embedder: AnyEmbedder
    """The model that turns text into vectors."""
    documents_from: str | None = None
    """Another engine of the task, whose documents these are."""
    corpus: SkipValidation[Sequence[Mapping[str, Any] | Document]] | None = Field(default=None, validate_default=False)
    """The documents themselves, each a mapping with the fields that `projection` names."""
    path: InputFile | None = None
    """A file of documents."""
    format: Format | None = None
    """How the file is read; told from its name if not given."""
    projection: Projection = Projection()
    """Our names for the corpus's fields."""
    on_bad_line: OnBadLine = "refuse"
    """What to do about a line that cannot be read or repeats an id."""
    index_dir: OwnFolder | None = Field(default=None, examples=["vectors"])
    """Where the vectors are kept: beside the corpus if it is a file, else only for this run, unless given."""
    exact_up_to: int = Field(default=100_000, ge=0)
    """Up to this many documents all are compared; beyond, a faiss index finds most of the nearest much sooner."""

    @model_validator(mode="after")
    def _one_source(self) -> "VectorEngine":
        given = [name for name in ("corpus", "path", "documents_from") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` are both given; keep one")
        return self

    def needs(self) -> tuple[str, ...]:
        """Return the engine that has the documents."""
        return (self.documents_from,) if self.documents_from else ()

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Open the corpus and the model; make the vectors that are not there yet."""
        try:
            from dgt_rag.engines.vector_build import Build, build, stored
            from dgt_rag.engines.vector_ranking import ranking
            from dgt_rag.engines.vector_search import Unmade, VectorRetriever
            from dgt_rag.engines.vector_store import Place
        except ImportError as error:
            raise not_installed("search/vector", error, "vector") from error
        who = f"engine {world.name or self.type!r}"
        borrowed = self.filter if self.documents_from else {}
        async with AsyncExitStack() as stack:
            lender = await stack.enter_async_context(self._lender(world))
            await Narrowed(lender, borrowed).refuse_nothing(who)
            encoder = await stack.enter_async_context(self.embedder.open(world))
            place = Place(*self._kept(world) or (self._for_now(world, stack), ""), lent=self.path is None)
            identity = await asyncio.to_thread(self.embedder.identity)
            store = await stored(place, identity, lender)
            left, texts = await Build(store, lender, encoder, world.say).outstanding() if world.lazy else (0, 0)
            if left:
                told = f"vectors: {left:,} of {texts:,} texts are still to be embedded; the first search makes them"
                world.say(f"{who}: {told}")
                found: Retriever = Unmade(lender, who)
            else:
                matrix = await build(store, lender, encoder, world.say)
                ranked = await ranking(matrix, store, self.exact_up_to, world.say)
                found = VectorRetriever(lender, encoder, matrix, ranked, self.relevance_threshold)
            yield Narrowed(found, borrowed, sure=True) if borrowed else found

    @asynccontextmanager
    async def _lender(self, world: World) -> AsyncIterator[Retriever]:
        """Open what holds the documents."""
        if self.documents_from:
            yield opened(world, self.documents_from, f"engine {world.name or self.type!r}: documents_from")
            return
        names = {"corpus", "path", "format", "projection", "on_bad_line", "filter"}
        given = {name: getattr(self, name) for name in names & self.model_fields_set}
        if self.path:
            index_dir = self._named(world, "corpus")
            engine: SearchToolEngine = FileEngine(**given, index_dir=index_dir)
        else:
            engine = InMemoryEngine(**given)
        async with engine.open(world) as retriever:
            yield retriever

    def _for_now(self, world: World, stack: AsyncExitStack) -> Path:
        """Make a folder for as long as the engine is open; nothing that others keep beside it is looked at."""
        who = f"engine {world.name or self.type!r}"
        world.say(
            f"{who}: vectors are made for this run alone, and in every process of it; set `index_dir` to keep them"
        )
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dgt-rag-")), "vectors")

    def _kept(self, world: World) -> tuple[Path, str] | None:
        """Return the folder of the vectors of these settings, and which corpus of those that share it this one is."""
        seen = self.model_dump(mode="json", include={"format", "projection", "filter"})
        if self.documents_from:
            # the vectors are those of all its documents, whichever are seen here
            seen["filter"] = {}
        own = hashlib.sha256(json.dumps([self.embedder.describe(), seen], sort_keys=True).encode()).hexdigest()[:12]
        if folder := self._named(world, own):
            # resolved: from behind a link, `..` leads elsewhere
            source = self.path and self.path.parent.resolve() / self.path.name
            return folder, seen_from(folder.parent.resolve(), source) if source else ""
        return (self.path.with_name(f"{self.path.name}.dgt-vectors") / own, "") if self.path else None

    def _named(self, world: World, part: str) -> Path | None:
        """Return a folder of this engine's own under `index_dir`, if one is given."""
        return self.index_dir / f"{world.name or 'vectors'}-{part}" if self.index_dir else None
