"""Citations: what is kept is always the document's own text, at its own place, from a document that was shown."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dgt_rag.citations import cite, find_citation, holds, is_telling, locate
from dgt_rag.records import Citation, Document

BODY = (
    "A permit costs **48 euros** a year.\nThe city\u2019s second\u2011car rule \u2013 see below \u2013 doubles it.\n\n"
    "| Zone | Price |\n|---|---|\n| Inner ring | 48 euros |\n\nIt ends... and begins... in March of every year."
)


def document(body=BODY, doc_id="d"):
    return Document(doc_id=doc_id, body=body)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("A permit costs **48 euros** a year.", "A permit costs **48 euros** a year."),
        ("A permit costs 48 euros a year", "A permit costs **48 euros** a year"),
        ("a PERMIT  costs\n48 euros", "A permit costs **48 euros"),
        ("\u201cA permit costs 48 euros a year.\u201d", "A permit costs **48 euros** a year"),
        (
            "The city's second-car rule - see below - doubles it",
            "The city\u2019s second\u2011car rule \u2013 see below \u2013 doubles it",
        ),
        ("a year. The city's second-car rule", "a year.\nThe city\u2019s second\u2011car rule"),
        ("Inner ring 48 euros", "Inner ring | 48 euros"),
        ("| Inner ring | 48 euros |", "| Inner ring | 48 euros |"),
    ],
)
def test_a_copyists_differences_are_forgiven_and_the_documents_text_is_kept(quote, found):
    (citation,) = cite(document(), quote)
    assert citation.quote == found
    assert BODY[citation.start : citation.end] == found


@pytest.mark.parametrize(
    "alike", ["k\u212a", "s\u017f", "i\u0131", "i\u0130", "\u03b9\u0345", "\u03c3\u03c2", "\u00df\u1e9e"]
)
def test_letters_that_are_the_same_but_for_case_never_hide_a_quote(alike):
    one, other = alike
    assert locate(f"a letter {one} stands here", f"A LETTER {other} STANDS HERE") == (0, 22)


@pytest.mark.parametrize(
    "quote",
    [
        "A permit costs 49 euros a year",
        "A permit costs euros a year",
        "the permit fee is 48 euros",
        "permit",
        "48 euros",
        "",
        "  ",
        "...",
        "**",
        "| | |",
        "a permit [...] is free",
    ],
)
def test_what_does_not_stand_there_or_shows_nothing_is_no_citation(quote):
    assert cite(document(), quote) == ()


def test_a_quote_that_leaves_something_out_gives_a_citation_for_each_part():
    parts = cite(document(), "A permit costs 48 euros ... second-car rule")
    assert [BODY[part.start : part.end] for part in parts] == ["A permit costs **48 euros", "second\u2011car rule"]


def test_dots_of_the_document_itself_leave_nothing_out():
    (citation,) = cite(document(), "It ends... and begins... in March of every year.")
    assert citation.quote == "It ends... and begins... in March of every year."


def test_a_quote_is_found_in_another_document_than_the_one_named():
    other = document("Glass goes into the containers at the corner.", "glass")
    shown = [document(), other]
    assert find_citation("into the containers", shown, 1)[0].doc_id == "glass"
    assert find_citation("into the containers", shown, 99)[0].doc_id == "glass"
    assert find_citation("into the containers", shown[:1], 1) == ()
    assert find_citation("into the containers", [], 1) == ()


def test_the_document_named_goes_before_another_with_the_same_words():
    shown = [document("The pool opens at noon.", "a"), document("The pool opens at noon.", "b")]
    assert find_citation("The pool opens at noon", shown, 2)[0].doc_id == "b"


def test_a_citation_holds_only_where_its_quote_stands_at_its_place():
    good = Citation(doc_id="d", quote="A permit", start=0, end=8)
    assert holds(good, [document()])
    assert not holds(good.model_copy(update={"start": 1}), [document()])
    assert not holds(good.model_copy(update={"doc_id": "e"}), [document()])
    assert not holds(Citation(doc_id="d", quote="", start=0, end=0), [document()])


def test_words_without_spaces_need_fewer_letters_to_show_something():
    assert is_telling("図書館は休館")
    assert not is_telling("図書館")
    assert not is_telling("the pool")
    assert cite(document("図書館は月曜日に休館します。料金は三百円です。"), "料金は三百円です。")


TEXT = st.text(
    st.sampled_from("abcdefgh ABC\n\t.,;:'\"*_|#>`-\u2019\u2013\u201c\u00e9\u6771123"), min_size=1, max_size=200
)


@given(TEXT, st.data())
def test_every_span_that_is_located_stands_verbatim_in_the_body(body, data):
    start = data.draw(st.integers(0, len(body) - 1))
    end = data.draw(st.integers(start + 1, len(body)))
    span = locate(body[start:end], body)
    assert span is not None
    assert body[slice(*span)] == body[start:end]


@given(TEXT, TEXT)
def test_any_citation_found_is_verbatim_and_telling(body, quote):
    for citation in cite(document(body), quote):
        assert body[citation.start : citation.end] == citation.quote != ""
        assert holds(citation, [document(body)])


@given(st.lists(st.text("abcdefgh", min_size=3, max_size=9), min_size=4, max_size=20), st.data())
def test_white_space_markdown_and_case_never_hide_a_quote(words, data):
    between = st.sampled_from([" ", "\n", "  ", " **", "** ", " | ", "\t", "\n> "])
    body = "".join(f"{word}{data.draw(between)}" for word in words)
    quote = data.draw(between).join(word.upper() if data.draw(st.booleans()) else word for word in words)
    assume(is_telling(quote))
    (citation,) = cite(document(body), quote)
    assert citation.quote.split()[0].strip("*>|").lower().startswith(words[0])


def test_a_long_run_of_marks_is_searched_in_no_time():
    body = "fee " + "| * " * 200_000 + "fee is due in March"
    assert cite(document(body), "the fee is due in May, not in March") == ()
    assert cite(document(body), "Fee is due in march")[0].quote == "fee is due in March"
