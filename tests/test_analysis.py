"""What makes terms of texts finds words in their other forms, in scripts that are cut and cased otherwise than ours."""

import pytest

from dgt_rag.engines.analysis import prepare
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.index import Terms
from dgt_rag.records import Document
from dgt_rag.world import World


@pytest.mark.parametrize(
    ("language", "text", "query"),
    [
        ("tamil", "நூலகங்கள் திங்கள் கிழமை மூடப்படும்.", "நூலகம்"),
        ("turkish", "İSTANBUL'DA KÜTÜPHANELER KAPALIDIR.", "istanbul"),
        ("turkish", "istanbul'da kütüphaneler", "İstanbul"),
        ("none", "सभी विद्यालय बंद हैं।", "विद्यालय"),
        ("english", "The offices of \u0130zmir are closed.", "izmir"),
        ("english", "The offices of i\u0307zmir are closed.", "\u0130zmir"),
    ],
)
async def test_a_word_is_found_by_another_of_its_forms(language, text, query):
    others = [Document(doc_id=f"other{n}", body=f"nothing of that {n}") for n in range(3)]
    engine = InMemoryEngine(corpus=[*others, Document(doc_id="it", body=text)], language=language)
    async with engine.open(World()) as opened:
        assert [hit.document.doc_id for hit in await opened.search(query, 5)] == ["it"]


def test_a_sign_that_joins_letters_parts_no_word():
    assert Terms("tamil").of_document("", "கள்") == ["கள்"]
    assert len(Terms("none").of_document("", "हिन्दी")) == len(Terms("none").of_document("", "ශ්‍රී")) == 1


def test_what_needs_no_preparing_is_left_as_it_is():
    for text in ("plain", "déjà vu", "Привет", "ಕನ್ನಡ".replace("\u0ccd", "")):
        assert prepare(text) == text
