"""As much English grammar as it takes to turn a statement around: subject, finite verb, rest."""

import re
from dataclasses import dataclass, replace

from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.words import content

AUXILIARIES = frozenset("is are was were must may can could will would should shall".split())
BREAKS = frozenset(
    "that which who whose whom if when where because but unless until while although though so how what why then not "
    "please note whether once whenever wherever given".split()
)
UNCLEAR = frozenset(
    "it they this these those that he she such both here there one another others neither either each all some many most "
    "other our its their his her so then also however otherwise therefore instead thus see note even only just nobody everybody everyone "
    "somebody someone anyone anybody nothing something whoever else i my".split()
)
"""Words that a sentence begins with when it cannot be understood alone."""
POINTERS = frozenset("it them they this these those such he she him her here there".split())
PREPOSITIONS = frozenset(
    "in on from for at during after before until with without under within outside between as since by to of about up "
    "down".split()
)
ORDERS = frozenset(
    "add aim apply ask avoid book bring call change charge check choose clean clear close collect complete contact cut "
    "disconnect dry enter fill fit fix follow give hand hold insert inspect keep leave let list load lock loosen make mark "
    "measure note open park pay place plan pluck post press pull push put read register release remove rename renew repeat "
    "replace report reset return ride rinse send set show sign slide stop store submit switch take tell test tighten turn "
    "use wait wash wear weigh wipe write answer attach begin boil click compare consider consult create download drink eat "
    "email ensure find gather get go keep learn look mail move obtain prepare print protect provide review see select start "
    "stay swipe teach think try type undo update upload view visit watch bend inform refer notify skip attend know explore enjoy discover".split()
)
"""Verbs that an instruction begins with."""
POINTING = frozenset("see read learn find refer look view note watch click visit select go".split())
"""Those that only point to another place."""
OBLIGING = frozenset(
    "add apply bring call charge check clean close collect complete contact disconnect dry enter fill give hand inspect keep "
    "leave list load lock loosen measure notify inform open pay place post press provide pull push put register release remove "
    "renew repeat replace report reset return rinse send set show sign stop store submit switch tighten use wait wash wear "
    "weigh wipe write".split()
)
"""Those that oblige somebody, and do not only invite them."""
DETERMINERS = frozenset("the a an every each no any all some this your my its our their new other".split())
SINGULAR = dict(
    pair.split(":")
    for pair in "adds:add allows:allow applies:apply asks:ask becomes:become begins:begin belongs:belong carries:carry "
    "closes:close comes:come consists:consist contains:contain costs:cost counts:count covers:cover decides:decide "
    "depends:depend ends:end expires:expire falls:fall follows:follow gets:get gives:give goes:go happens:happen has:have "
    "helps:help holds:hold includes:include keeps:keep lasts:last leads:lead lets:let lies:lie makes:make means:mean "
    "meets:meet needs:need offers:offer opens:open pays:pay protects:protect provides:provide receives:receive "
    "remains:remain replaces:replace requires:require runs:run serves:serve sets:set shows:show sits:sit stands:stand "
    "starts:start stays:stay stops:stop takes:take uses:use wears:wear weighs:weigh".split()
)
_PLURAL = frozenset(
    "add allow apply become begin belong carry close come consist contain cost decide depend end expire fall get give go "
    "happen have include keep last let lie make mean meet need offer open pay protect provide receive remain replace "
    "require run serve sit stand start stay take wear weigh".split()
)
_LEAD = re.compile(
    r"(?P<lead>(?:If|When|Where|Once|Unless|As long as|Provided|In case|In|On|From|For|At|During|After|Before|Until|With"
    r"|Without|Under|Within|Outside|Between|As|Since|By)\b[^,;:]{3,90}), (?P<main>.+)"
)

_WITH_ARTICLE = frozenset(
    "policy schedule act office programme program scheme code charter handbook panel board council committee division "
    "department inspectorate archive library line desk team".split()
)


@dataclass(frozen=True)
class Clause:
    """A statement taken apart."""

    subject: str
    verb: str
    rest: str
    negated: bool = False
    lead: str = ""
    """What stands before the subject: a condition, a time, a place."""
    helper: str = ""
    """do or does, where the verb itself cannot come first."""

    def asked(self, rest: str, opening: str = "") -> str:
        """Return the question with another rest, after an opening such as When."""
        parts = [self.helper or self.verb, self.subject, *([self.verb] if self.helper else []), rest, self.lead]
        words = " ".join(part.strip(" ,") for part in [opening, *parts] if part.strip(" ,"))
        return in_first_person(words) + "?"


def leading(text: str) -> tuple[str, str]:
    """Return what stands before the comma that opens the main clause, and the main clause."""
    match = _LEAD.match(text)
    return (match["lead"], match["main"]) if match else ("", text)


def clause_of(text: str, body: str) -> Clause | None:
    """Take a statement apart at its first finite verb; None if that is not surely found."""
    lead, main = leading(text)
    main = re.sub(r"\b(?:cannot|can['\u2019]t)\b", "can not", re.sub(r"\bwon['\u2019]t\b", "will not", main))
    words = re.sub(r"n['\u2019]t\b", " not", main).split()
    first = words[0].lower().strip(",") if words else ""
    if not first or first in UNCLEAR | BREAKS | PREPOSITIONS or first.endswith("ly"):
        return None
    for place, word in enumerate(words[1:9], start=1):
        found = _at_verb(words, place)
        if found:
            subject = " ".join(words[:place])
            if _are_two(words[:place], body):
                return None
            return _whole(found, subject if lead else decapitalised(subject, body), decapitalised(lead, body))
        # a word that begins an instruction is a noun only if the verb follows it at once
        if first in ORDERS or word.lower().strip(",") in BREAKS | AUXILIARIES or word[-1] in ",;:.":
            return None
    return None


def _are_two(subject: list[str], body: str) -> bool:
    """Say whether a subject is two side by side, a plain noun and a name: of a clause without its "that"."""
    first, *others = subject
    named = len(others) > 1 and first.endswith("s") and others[0][:1].isupper() and first.lower() not in DETERMINERS
    return named and re.search(rf"\b{re.escape(first.lower())}\b", body) is not None


def _whole(found: Clause, subject: str, lead: str) -> Clause | None:
    """Return the clause with its subject and lead, if they can be understood without the sentence before."""
    if subject.lower().startswith("no "):
        subject, found = f"any{subject[2:]}", replace(found, negated=True)
    subject = re.sub(r" (?:also|then|now|usually|often|always|still|generally|normally|typically)$", "", subject)
    words = [word.lower().strip(",\"'\u201c\u201d") for word in subject.split()]
    telling = content(subject) or subject.lower() in {"you", "we"}
    unclear = (
        any(word.lower() in POINTERS for word in lead.split())
        or (_DEICTIC | POINTERS | AUXILIARIES) & set(words)
        or words[-1] in _NO_HEAD | _META
        or _UNSURE.search(subject)
    )
    return replace(found, subject=subject, lead=lead) if telling and not unclear else None


_DEICTIC = frozenset("below above following former latter preceding previous aforementioned same".split())
"""Words that point to another place of the text."""
_NO_HEAD = frozenset("first second third fourth last next one two other one's example following and or".split())
"""Words that no subject ends with, if it is to be understood alone."""
_META = frozenset(
    "table tables chart figure section page list document documents link links sentence paragraph example examples".split()
)
"""What is said of these is said of the text, not of its matter."""
_UNSURE = re.compile(
    r"\byou (?:and|or)\b|[\"(\[{:]|^\d+ (?:[A-Z]|\w+[^s]\b)|^[a-z]+s [A-Z][a-z]|\b(?:[Ss]ee|[Mm]ust|[Pp]lease|[Nn]ote|etc)\b|^[^a-zA-Z]*/|,| - "
)
"""Marks of a subject that was not cut out rightly: two nouns side by side, a number before a sentence."""


def _at_verb(words: list[str], place: int) -> Clause | None:
    """Return the clause whose verb stands at a place, if one can stand there."""
    verb, before, rest = words[place].lower(), words[place - 1].lower(), words[place + 1 :]
    if not rest or before in {"and", "or", "to", "of", "for", "by", "with", "in", "on", "at"} | DETERMINERS:
        return None
    following = rest[0].lower()
    negated = following == "not"
    if verb in AUXILIARIES or (verb in {"has", "have", "had"} and _is_perfect(rest)):
        return Clause("", verb, " ".join(rest[1:] if negated else rest), negated)
    if verb in {"do", "does"} and negated:
        return Clause("", verb, " ".join(rest[1:]), negated)
    if following in AUXILIARIES | {"of", "and", "or"} or following in SINGULAR or verb_comes(rest):
        return None
    if verb in SINGULAR and not before.endswith("ly"):
        return Clause("", SINGULAR[verb], " ".join(rest), helper="does")
    several = (before.endswith("s") and not before.endswith("ss")) or before in {"you", "we", "people", "children", "i"}
    return Clause("", verb, " ".join(rest), helper="do") if verb in _PLURAL and several else None


def _is_perfect(rest: list[str]) -> bool:
    """Say whether the words after has or have make a perfect: participle, with adverbs before it."""
    adverbs = {"not", "also", "already", "never", "always", "since", "now", "previously", "recently"}
    first = next((word.lower() for word in rest[:3] if word.lower() not in adverbs), "")
    return bool(re.search(r"(?:ed|en|wn|nt|pt|ght|ung|ade)$", first)) or first in {"had", "put", "set", "done", "gone"}


def verb_comes(rest: list[str]) -> bool:
    """Say whether an auxiliary follows in the same clause, so that what looked like the verb is a noun."""
    for word in rest[:7]:
        if word.lower().strip(",") in BREAKS | {"and", "or", "as", "than", "that"} or word[-1] in ",;:":
            return False
        if word.lower() in AUXILIARIES:
            return True
    return False


def decapitalised(text: str, body: str) -> str:
    """Return a text that began a sentence as it stands inside one; a name keeps its capital."""
    first = text.split(" ", 1)[0] if text else ""
    if not first[:1].isupper() or first[1:2].isupper() or first == "I":
        return text
    following = text[len(first) + 1 : len(first) + 2]
    if (
        following.isupper()
        and first.lower() not in DETERMINERS | PREPOSITIONS | BREAKS
        and not text.startswith(f"{first} I ")
    ):
        return text
    word = re.sub(r"['\u2019]s$", "", first.rstrip(",.:;"))
    named = re.search(rf"[a-z0-9,;)] {re.escape(word)}\b", body)
    common = first.lower() in DETERMINERS or re.search(rf"(?<![\w.]){re.escape(word.lower())}\b", body)
    return text if named and not common else text[0].lower() + text[1:]


def in_sentence(title: str, body: str) -> str:
    """Return a title as it stands inside a sentence: a name as it is, anything else with a small letter and an article."""
    if title.lower().startswith(("the ", "a ", "an ")):
        return title[0].lower() + title[1:]
    if f"the {title}" in body:
        return f"the {title}"
    words = title.split(" ")
    if len(words) > 1 and all(word[:1].isupper() for word in words if content(word)):
        return with_article(title)
    if title in body and any(word[:1].isupper() for word in words[1:]):
        return title
    if len(words) == 1 and title.istitle() and not re.search(rf"\b{re.escape(title.lower())}", body):
        return title
    alone = re.search(rf"[a-z0-9,;)] {re.escape(words[0])}(?: (?!of )[^A-Z]|[.,;:])", body)
    common = len(words) > 1 and words[1][:1].islower() and not alone
    title = title[0].lower() + title[1:] if common and not title[1:2].isupper() else decapitalised(title, body)
    return f"the {title}" if title[:1].islower() and _is_counted(words, body) else with_article(title)


def _is_counted(words: list[str], body: str) -> bool:
    """Say whether a name without an article needs one: the body speaks of one such thing, as of a fee or the form."""
    first = next((n for n, word in enumerate(words) if n and word.lower() in PREPOSITIONS), len(words))
    head = words[first - 1].lower().strip(",.:;")
    plain = words[0].lower() in {"how", "what", "your"} | DETERMINERS | PREPOSITIONS or words[0].endswith("ing")
    if plain or head.endswith(("s", "ing")) or " and " in f" {' '.join(words[:first])} ":
        return False
    return re.search(rf"\b(?:the|an?) (?:\w+ )?{re.escape(head)}\b", body, re.I) is not None


def with_article(name: str) -> str:
    """Return a name as it stands inside a sentence: that of an office or a rule book has an article."""
    named = name[:1].isupper() and name.split(" ")[-1].lower() in _WITH_ARTICLE
    return f"the {name}" if named else name
