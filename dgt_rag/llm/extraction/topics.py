"""What a document is about, by its title, as it would stand after "about"."""

import re

from dgt_rag.llm.extraction.grammar import AUXILIARIES, DETERMINERS, PREPOSITIONS, in_sentence
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.words import content

_SITE = re.compile(r"\s+[|\u2022\u00b7\u2013\u2014\u00bb-]\s+")
"""What stands between the name of a page and that of its site."""
_KIND = re.compile(
    r"\b(?:frequently asked questions?|faq['\u2019]?s?|q ?& ?a|home ?page|fact ?sheet|overview|welcome to|official website)\b(?: (?:about|on|for))?\s*",
    re.I,
)
_GENERIC = frozenset(
    "about contact content contents document documents general guide help home index info information introduction main "
    "menu news note notes notice overview page pages part readme section site start summary text title topic untitled "
    "welcome captcha error search results part chapter".split()
)
_READING = re.compile(r"^(?:(?:learn|find out|read)(?: more)?(?: about)? |about |on |regarding )(?=\w)", re.I)
"""What a title may begin with before its matter."""
_ASKING = re.compile(r"(?:which|what|how|who|whom|whose|when|where|why)\b", re.I)
_NO_NAME = re.compile(
    r"(?:can|could|do|does|did|is|are|was|were|has|have|should|must|may|i|if|because|it|this|that|these|there|we|you|don't)\b",
    re.I,
)
_SURE_VERBS = frozenset(
    "get register renew replace restore apply become find learn obtain choose submit install remove create add delete "
    "configure sell buy bring keep prepare enroll renounce understand build make take send pay correct report surrender exchange provide obtain change explore order estimate schedule".split()
)
"""Verbs that a title may begin with; those that are nouns too count only before an article or "your"."""
_NOUNS_TOO = frozenset(
    "apply find make take send pay report change exchange schedule book plan request check order file use run set test share claim return "
    "transfer move start stop open close store contact update cancel schedule manage clean dispose review appeal prevent".split()
)
_AFTER_NOUNS = frozenset("of form forms status number history details page list book office".split()) | {""}
_DOUBLED = frozenset("get put run set cut stop plan submit begin permit let transfer refer".split())


def topic_of(title: str, body: str) -> str:
    """Return what a document is about; "" if its title does not say it."""
    name = _READING.sub("", re.sub(r"\s*\([^)]*\)|#\d+\w*$", "", title))
    parts = [_KIND.sub("", part) for part in _SITE.split(name)[:2]]
    # what stands after the name of a page is that of its site, unless the page has none of its own
    for part in parts if _is_generic(parts[0]) else parts[:1]:
        before, _, after = part.partition(": ")
        for said in (before, after):
            said = re.split(r"; |(?<![A-Z])\.\s", said)[0].strip(" .:-")
            if _names(said):
                return in_first_person(_spoken(said, body))
    return ""


def _is_generic(said: str) -> bool:
    return set(said.lower().split()) <= _GENERIC


def _names(said: str) -> bool:
    words = [word.lower() for word in said.split()]
    if not words or not 3 <= len(said) <= 90 or said[-1] in "?!\uff1f" or _NO_NAME.match(said) or _is_generic(said):
        return False
    if len(words) == 1 and (any(map(str.isdigit, said)) or "_" in said):
        return False
    asking = bool(_ASKING.match(said))
    if words[0] in PREPOSITIONS or (not asking and {"is", "are", "was", "were"} & set(words)):
        return False
    return not (asking and (len(words) < 3 or _is_turned(words))) and bool(content(said))


def _is_turned(words: list[str]) -> bool:
    """Say whether a name that begins with what or how is a question: its verb stands before its subject."""
    someone = DETERMINERS | {"i", "you", "we", "it", "they", "there"}
    return any(
        word in AUXILIARIES | {"do", "does", "did"} and after in someone and before not in someone
        for before, word, after in zip(words, words[1:4], words[2:5], strict=False)
    )


def _spoken(said: str, body: str) -> str:
    words = said.split()
    if _ASKING.match(said):
        said = re.sub(r"^How To (\w)", lambda begin: begin[0].lower(), said)
        return f"{said[0].lower()}{said[1:]}"
    first, second = words[0].lower(), words[1].lower() if len(words) > 1 else ""
    if _is_verb(first, second):
        rest = [
            gerund(word) if n and words[n] in {"or", "and"} and _is_verb(word, "the") else word
            for n, word in enumerate(words[1:])
        ]
        small = [word.lower() if word.lower() in PREPOSITIONS | DETERMINERS else word for word in rest]
        return " ".join([gerund(first), *small])
    return in_sentence(said, body)


def _is_verb(word: str, following: str) -> bool:
    sure = word in _SURE_VERBS and word not in _NOUNS_TOO and following not in AUXILIARIES | _AFTER_NOUNS
    return sure or (
        word in _SURE_VERBS | _NOUNS_TOO and following in DETERMINERS | {"for", "on", "to"} - {"new", "other"}
    )


def gerund(verb: str) -> str:
    """Return the -ing form of a verb."""
    if verb.endswith("ie"):
        return f"{verb[:-2]}ying"
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
        return f"{verb[:-1]}ing"
    return f"{verb}{verb[-1] if verb in _DOUBLED else ''}ing"
