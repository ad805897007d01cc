"""What people ask about a matter that its documents often do not say, and how one sees whether they do."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dgt_rag.llm.extraction.question import plain


@dataclass(frozen=True)
class Aspect:
    """Something that may be said of any matter."""

    question: str
    """How one asks for it; the matter follows or stands in its middle."""
    name: str
    """What an answer calls it."""
    evidence: re.Pattern[str]
    """What stands in a text that may say something of it: wider than needed, so that nothing is asked that is said."""
    needs: re.Pattern[str] | None = None
    """What stands in documents of whose matter one would ask it."""

    def is_open(self, texts: Iterable[str]) -> bool:
        """Say whether it can be asked and none of the texts says anything of it."""
        held = list(texts)
        return (self.needs is None or any(map(self.needs.search, held))) and not any(map(self.evidence.search, held))

    def asked_in(self, message: str) -> bool:
        """Say whether a message asks for it."""
        before, _, after = self.question.partition("{topic}")
        said, first, last = plain(message), plain(before), plain(after.strip("?"))
        return first in said and (not last.strip() or last in said[said.index(first) :])


def _aspect(question: str, name: str, evidence: str, needs: str = "") -> Aspect:
    found = re.compile(evidence, re.IGNORECASE)
    return Aspect(question, name, found, re.compile(needs, re.IGNORECASE) if needs else None)


_MONEY = r"[$\u20ac\u00a3\u00a5]\s?\d|\b(?:fees?|charges?|prices?|costs?|euros?|pay|paid|payment)\b"
_SERVICE = r"\b(?:you|your|apply|request|book|visitors?|residents?|staff|customers?|employees?)\b"
ASPECTS = (
    _aspect("Is there a discount for students on {topic}?", "a discount for students", r"discount|reduc|concession|half price", _MONEY),
    _aspect("Can one pay in instalments for {topic}?", "paying in instalments", r"instal|monthly|payment plan|defer|partial pay|spread", _MONEY),
    _aspect("Is there a leaflet about {topic}?", "a leaflet", r"leaflet|brochure|booklet|flyer|pamphlet|handout|publication|factsheet|printed|manual", _SERVICE),
    _aspect("Is there a video about {topic}?", "a video", r"video|film|youtube|footage|recording|webinar"),
    _aspect("Is there a newsletter about {topic}?", "a newsletter", r"newsletter|subscri|mailing|bulletin|sign up|e-?mail"),
    _aspect("Is there anything in other languages about {topic}?", "other languages", r"translat|interpret|language|spanish|french|german|english|chinese|bilingual"),
    _aspect("Is there a course on {topic}?", "a course", r"\btrain|(?<!of )course|workshop|seminar|class|lesson|tuition|instruct|teach"),
    _aspect("Are there any statistics on {topic}?", "statistics", r"statistic|per ?cent|%|on average|figures|number of|survey|data|\d,\d{3}"),
    _aspect("Is there a telephone number for questions about {topic}?", "a telephone number", r"phone|\bcall|hotline|helpline|\btel\b|dial|\d{3}[ .-]{1,3}\d{3,4}|\b(?:line|number)\b", _SERVICE),
    _aspect("Will anything change next year about {topic}?", "changes next year", r"will change|next year|from 20\d\d|amend|revis|in force|takes effect|as of|until 20|20[2-9]\d|new rules", _SERVICE),
    _aspect("Who wrote the rules on {topic}?", "who wrote the rules", r"written|author|adopted|issued|approved by|drawn up|council|board|committee|congress|legislat|\blaw\b|\bact\b|policy of|made by", r"\b(?:must|may not|not allowed|required)\b"),
    _aspect("Is there a book about {topic}?", "a book", r"\bbooks?\b|literature|further reading|published|publication|manual|handbook|novel"),
    _aspect("Is there a fee for {topic}?", "a fee", _MONEY + r"|free|%|\bdollars?|\bfund|\bbudget|\bbills?\b|\btax", _SERVICE),
    _aspect("Is there a deadline for {topic}?", "a deadline", r"deadline|within|\bby \d|\bdays?\b|weeks?\b|months?\b|years?\b|before|until|no later|latest|\btime", _SERVICE),
    _aspect("Is there any help with {topic} at the weekend?", "help at the weekend", r"weekend|saturday|sunday|hours|\bopen\b|24/7|\d ?[ap]\.?m\b|\d[:.]\d\d|daily|every day|any time", r"\b(?:help|office|desk|call|contact|staff)\b"),
    _aspect("Can somebody else take care of {topic} for me?", "having somebody else do it", r"behalf|represent|prox(?:y|ies)|authori|else|another person|agent|relative|famil|parent|guardian|attorney|spouse|partner|friend|colleague|anyone|anybody|someone|somebody", r"\b(?:you|your)\b"),
)  # fmt: skip
"""In no order; which one is asked is drawn."""
