"""Checks of what a search engine promises, for engines of your own: each law is one async function.

    from dgt_rag.testing import LAWS, Opener

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    async def test_my_engine_keeps(law, tmp_path):
        await law(Opener(my_factory, tmp_path))

`my_factory(documents, folder, **settings)` gives an engine (a `SearchToolEngine`) that serves these documents; settings
are keys of the task file (`limit`, `relevance_threshold`, `filter`). A law that is broken raises AssertionError.
"""

from dgt_rag.testing.corpus import HOSTILE, corpus, write_corpus
from dgt_rag.testing.laws import LAWS, Factory, Law, Opener

__all__ = ["HOSTILE", "LAWS", "Factory", "Law", "Opener", "corpus", "write_corpus"]
