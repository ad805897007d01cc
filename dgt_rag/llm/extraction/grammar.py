"""As much English grammar as it takes to turn a statement around: subject, finite verb, rest."""

import re
from dataclasses import dataclass, replace

from dgt_rag.llm.extraction.words import content

AUXILIARIES = frozenset("is are was were must may can could will would should shall".split())
BREAKS = frozenset(
    "that which who whose whom if when where because but unless until while although though so how what why then not "
    "please note".split()
)
UNCLEAR = frozenset(
    "it they this these those that he she such both here there one another others neither either each all some many most "
    "other we our its their his her so then also however otherwise therefore instead thus see note".split()
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
    "use wait wash wear weigh wipe write".split()
)
"""Verbs that an instruction begins with."""
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
_YOU = re.compile(r"\b(you are|are you|you were|were you|yourself|yours|your|you)\b", re.I)
_MINE = {
    "you are": "I am",
    "are you": "am I",
    "you were": "I was",
    "were you": "was I",
    "yourself": "myself",
    "yours": "mine",
    "your": "my",
}
_BEFORE_ME = frozenset(
    "to for of with from by at on about allow allows give gives tell help helps let lets send sends call ask between "
    "behind".split()
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
    words = re.sub(r"\bcannot\b", "can not", re.sub(r"n['\u2019]t\b", " not", main)).split()
    first = words[0].lower().strip(",") if words else ""
    if not first or first in UNCLEAR | BREAKS | PREPOSITIONS or first.endswith("ly"):
        return None
    for place, word in enumerate(words[1:9], start=1):
        found = _at_verb(words, place)
        if found:
            subject = " ".join(words[:place])
            return _whole(found, subject if lead else decapitalised(subject, body), decapitalised(lead, body))
        ordered = place == 1 and first in ORDERS
        if word.lower().strip(",") in BREAKS | AUXILIARIES or word[-1] in ",;:." or ordered:
            return None
    return None


def _whole(found: Clause, subject: str, lead: str) -> Clause | None:
    """Return the clause with its subject and lead, if they can be understood without the sentence before."""
    if subject.lower().startswith("no "):
        subject = f"any{subject[2:]}"
    telling = content(subject) or subject.lower() == "you"
    unclear = any(word.lower() in POINTERS for word in lead.split())
    return replace(found, subject=subject, lead=in_first_person(lead)) if telling and not unclear else None


def _at_verb(words: list[str], place: int) -> Clause | None:
    """Return the clause whose verb stands at a place, if one can stand there."""
    verb, before, rest = words[place].lower(), words[place - 1].lower(), words[place + 1 :]
    if not rest or before in {"and", "or", "to", "of", "for"} | DETERMINERS:
        return None
    following = rest[0].lower()
    negated = following == "not"
    perfect = verb in {"has", "have"} and re.search(r"(?:ed|en)$", following)
    if verb in AUXILIARIES or perfect or (verb in {"do", "does"} and negated):
        return Clause("", verb, " ".join(rest[1:] if negated else rest), negated)
    if following in AUXILIARIES | {"of", "and", "or"} or following in SINGULAR:
        return None
    if verb in SINGULAR and not before.endswith("ly"):
        return Clause("", SINGULAR[verb], " ".join(rest), helper="does")
    several = (before.endswith("s") and not before.endswith("ss")) or before in {"you", "we", "people", "children", "i"}
    return Clause("", verb, " ".join(rest), helper="do") if verb in _PLURAL and several else None


def in_first_person(text: str) -> str:
    """Return a text that speaks to somebody as that person would say it."""

    def mine(match: re.Match[str]) -> str:
        word = match[0].lower()
        if word != "you":
            return _MINE[word]
        before = text[: match.start()].split()
        return "me" if before and before[-1].lower() in _BEFORE_ME else "I"

    return _YOU.sub(mine, text)


def decapitalised(text: str, body: str) -> str:
    """Return a text that began a sentence as it stands inside one; a name keeps its capital."""
    first = text.split(" ", 1)[0] if text else ""
    if not first[:1].isupper() or first[1:2].isupper() or first == "I":
        return text
    word = re.sub(r"['\u2019]s$", "", first.rstrip(",.:;"))
    named = re.search(rf"[a-z0-9,;)] {re.escape(word)}\b", body)
    common = first.lower() in DETERMINERS or re.search(rf"(?<![\w.]){re.escape(word.lower())}\b", body)
    return text if named and not common else text[0].lower() + text[1:]


def in_sentence(title: str, body: str) -> str:
    """Return a title as it stands inside a sentence: a name as it is, anything else with a small letter and an article."""
    if f"the {title}" in body:
        return f"the {title}"
    words = title.split(" ")
    if len(words) > 1 and all(word[:1].isupper() for word in words if content(word)):
        return f"the {title}" if " of " in title else with_article(title)
    if title in body and any(word[:1].isupper() for word in words[1:]):
        return title
    alone = re.search(rf"[a-z0-9,;)] {re.escape(words[0])}(?: (?!of )[^A-Z]|[.,;:])", body)
    common = len(words) > 1 and words[1][:1].islower() and not alone
    title = title[0].lower() + title[1:] if common and not title[1:2].isupper() else decapitalised(title, body)
    counted = (
        title[:1].islower()
        and not words[0].endswith(("ing", "s"))
        and words[0].lower() not in {"how", "what", "your"} | DETERMINERS
    )
    return f"the {in_first_person(title)}" if counted else with_article(title)


def with_article(name: str) -> str:
    """Return a name as it stands inside a sentence: that of an office or a rule book has an article."""
    named = name[:1].isupper() and name.split(" ")[-1].lower() in _WITH_ARTICLE
    return f"the {name}" if named else in_first_person(name)
