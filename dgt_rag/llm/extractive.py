"""The embedded default model: no network, no weights. It reads an ask's values and answers by rules from the documents.

It picks informative sentences, asks about them, forms search queries, answers by quoting and citing. What it writes
depends on the ask and its dice alone. It is for first runs, tests and estimates, and says its name in every row.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from dgt_rag.errors import ModelError
from dgt_rag.llm.base import Ask, Model, Reply, Speaker
from dgt_rag.llm.extraction import wording
from dgt_rag.llm.extraction.answering import GOES_ON, WEAK, Answer
from dgt_rag.llm.extraction.asking import message
from dgt_rag.llm.extraction.critic import objections
from dgt_rag.llm.extraction.facts import Facts
from dgt_rag.llm.extraction.manner import Manner, Wish, kind_of
from dgt_rag.llm.extraction.matching import Pages, matter, words_of
from dgt_rag.llm.extraction.parts import Parts, questions_in
from dgt_rag.llm.extraction.planning import hint
from dgt_rag.llm.extraction.reading import Readings
from dgt_rag.llm.extraction.scenes import scene
from dgt_rag.llm.extraction.words import content, stems, tokens
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    Document,
    Step,
    ToolCallStep,
    ToolResultStep,
    ToolSpec,
    UserStep,
)
from dgt_rag.world import World

_NAME = "extractive"
_QUESTION = re.compile(r"[^.!?:]+\?")


class ExtractiveModel(Model):
    """Answers by rules from the documents, without network or weights; for first runs, tests and estimates."""

    type: Literal["extractive"] = "extractive"

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Speaker]:
        """Open it; there is nothing to wait for."""
        yield ExtractiveSpeaker()


class ExtractiveSpeaker(Speaker):
    """The embedded model, open: remembers the documents it read lately."""

    def __init__(self) -> None:
        self._readings = Readings()
        self._ways: Mapping[str, Callable[[Ask, Pages], dict[str, Any]]] = {
            "scenario": _scenario,
            "flow": _flow,
            "user": _user,
            "search": _search,
            "move": _move,
            "answer": _answer,
            "rewrite": _answer,
            "critique": _critique,
        }

    async def reply(self, ask: Ask) -> Reply:
        """Answer from the documents of the ask; raises `ModelError` where they hold nothing to ask about."""
        way = self._ways.get(ask.purpose)
        if way is None:
            raise ModelError(
                "not_supported",
                f"the embedded model has no answer to {ask.purpose!r}; it knows {', '.join(self._ways)}",
            )
        documents: Sequence[Document] = ask.values["documents"]
        # of a document that was found with several texts, one is read
        first = {document.doc_id: document for document in reversed(documents)}
        value = way(ask, Pages([self._readings.of(one) for one in documents if one is first[one.doc_id]]))
        return Reply(ask.reply_type.model_validate(value), _NAME, prompt_hash=_hash(ask))


def _hash(ask: Ask) -> str:
    said = [step.content for step in ask.talk.steps[-3:] if isinstance(step, UserStep | AssistantStep)]
    read = [document.doc_id for document in ask.values["documents"]]
    seen = repr((ask.purpose, ask.dice.number, read, said, ask.values.get("hint")))
    return hashlib.sha256(seen.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _scenario(ask: Ask, pages: Pages) -> dict[str, Any]:
    return {"scenario": scene(Facts(pages, ask.talk, ask.dice))}


def _flow(ask: Ask, pages: Pages) -> dict[str, Any]:
    """Take the first kind of turn that fits, with a hint; where none does, ask for what is left in a simple one."""
    facts = Facts(pages, ask.talk, ask.dice)
    kinds = [kind_of(pattern.name) for pattern in ask.values["candidates"]]
    for number, kind in enumerate(kinds, start=1):
        if wanted := hint(facts, kind):
            return {"choice": number, "hint": wanted}
    simple = (n for n, kind in enumerate(kinds, start=1) if kind in {"factoid", "explanation", "follow_up"})
    if wanted := hint(facts, "factoid"):
        return {"choice": next(simple, 1), "hint": wanted}
    raise ModelError("nothing_to_ask", "none of the kinds of turns fits what is left in the documents")


def _user(ask: Ask, pages: Pages) -> dict[str, Any]:
    values = ask.values
    manner = Manner(values["persona"], values["turn"], ask.dice)
    if values["closing"]:
        return {"message": manner.goodbye()}
    wish = Wish(values["pattern"], values["hint"])
    return {"message": message(Facts(pages, ask.talk, ask.dice), wish, manner)}


def _said(talk: ConversationDataPoint) -> list[str]:
    return [step.content for step in talk.steps if isinstance(step, UserStep)]


def _parts(ask: Ask, pages: Pages) -> Parts:
    said = _said(ask.talk) or [""]
    return Parts(pages, said[-1], said[:-1], ask.dice)


def _answer(ask: Ask, pages: Pages) -> dict[str, Any]:
    if ask.values.get("closing"):
        return {"answer": ask.dice.choose(wording.FAREWELLS), "citations": [], "answerability": "answerable"}
    failed = _failed(ask.talk)
    answer = _parts(ask, pages).answer(int(ask.values.get("rewrites", 0)), bool(failed))
    if failed and answer.answerability == "unanswerable":
        # that something could not be looked up is not that there is nothing
        return {"answer": ask.dice.choose(wording.SEARCH_FAILED), "citations": [], "answerability": "unanswerable"}
    return {
        "answer": answer.text,
        "citations": _citations(answer, ask.values["documents"]),
        "answerability": answer.answerability,
    }


def _citations(answer: Answer, documents: Sequence[Document]) -> list[dict[str, Any]]:
    cited = []
    for sentence in answer.rests_on[:12]:
        if not sentence.quotable:
            continue
        number, document = next((n, d) for n, d in enumerate(documents, start=1) if d.doc_id == sentence.doc_id)
        cited.append({"document": number, "quote": document.body[sentence.start : sentence.end]})
    return cited


def _search(ask: Ask, pages: Pages) -> dict[str, Any]:
    return {"queries": _for_tools(_queries(ask.talk), ask.values["offered"])}


def _move(ask: Ask, pages: Pages) -> dict[str, Any]:
    """Answer, or search once more with other words where the first search brought too little."""
    values = ask.values
    if not values["last_round"]:
        again = _again(ask.talk, pages, _parts(ask, pages))
        if again:
            return {
                "action": "search",
                "queries": _for_tools(again, values["offered"]),
                "answer": "",
                "citations": [],
                "answerability": "unanswerable",
            }
    extra = {} if values["last_round"] else {"action": "answer", "queries": []}
    return {**extra, **_answer(ask, pages)}


def _turn(talk: ConversationDataPoint) -> Sequence[Step]:
    begin = max((n for n, step in enumerate(talk.steps) if isinstance(step, UserStep)), default=0)
    return talk.steps[begin:]


def _outcomes(talk: ConversationDataPoint) -> dict[str, str]:
    """Return what this turn has searched for, each with why it failed; "" for what was searched at last."""
    turn = _turn(talk)
    errors = {
        step.content.call_id: step.content.error.type if step.content.error else ""
        for step in turn
        if isinstance(step, ToolResultStep)
    }
    found: dict[str, str] = {}
    for call in (step.content for step in turn if isinstance(step, ToolCallStep)):
        query = " ".join(value for value in call.arguments.values() if isinstance(value, str))
        found[query] = found.get(query, "?") and errors.get(call.call_id, "")
    return found


def _failed(talk: ConversationDataPoint) -> dict[str, str]:
    """Return the searches of this turn that never worked, with why."""
    return {query: why for query, why in _outcomes(talk).items() if why}


def _again(talk: ConversationDataPoint, pages: Pages, parts: Parts) -> list[str]:
    """Return the searches to make after those of this turn; none if an answer can be tried."""
    made, failed = _outcomes(talk), _failed(talk)
    best, weakest = parts.weakest()
    if failed and (best < WEAK or len(failed) == len(made)):
        return [query for query, why in failed.items() if why != "index_not_found"]
    rounds = sum(isinstance(step, ToolResultStep) for step in _turn(talk))
    if best >= WEAK or rounds > max(1, len(questions_in(_said(talk)[-1]))):
        return []
    # the broader matter: what of the question stands in any document at all
    known = [word for word in _telling(weakest) if any(map(pages.has, stems(word)))]
    wider = " ".join(known[:6])
    return [wider] if wider and wider not in made else []


def _queries(talk: ConversationDataPoint) -> list[str]:
    """Return what to search for: the telling words of the last message, with those before it where it goes on from them."""
    said = _said(talk) or [""]
    words = _telling(said[-1])
    parts = questions_in(said[-1])
    apart = len(parts) > 1 and all(len(matter(part)) >= 2 for part in parts)
    found = [" ".join(_telling(part)) for part in parts] if apart else [" ".join(words)]
    if not apart and len(said) > 1 and (len(matter(said[-1])) < 2 or GOES_ON.match(said[-1])):
        found = [" ".join(_different([*words, *_telling(said[-2])[:5]]))]
    return [query for query in dict.fromkeys(found) if query] or [said[-1].strip()[:200] or "information"]


def _telling(message: str) -> list[str]:
    """Return the words of a message that are searched for, as they stand in it."""
    wanted = set(matter(message[:2000]))
    if len(wanted) < 2:
        # where little else is said, a question's own words count though phrases of ours have them too
        wanted |= set(content(" ".join(_QUESTION.findall(message[:2000]))))
    return _different(token for token in tokens(message[:2000]) if wanted & set(stems(token)))[:14]


def _different(words: Iterable[str]) -> list[str]:
    """Return the words that are not among those before them in another form or case."""
    found: dict[tuple[str, ...], str] = {}
    for word in words:
        found.setdefault(stems(word), word)
    return list(found.values())


def _for_tools(queries: list[str], offered: Sequence[ToolSpec]) -> list[Any]:
    """Return the queries as the reply wants them: with the number of the tool whose description they are most like."""
    if len(offered) <= 1:
        return list(queries)
    known = [set(words_of(f"{tool.name.replace('_', ' ')} {tool.description}")) for tool in offered]
    return [
        {"tool": 1 + max(range(len(known)), key=lambda n: (len(known[n] & set(words_of(query))), -n)), "query": query}
        for query in queries
    ]


def _critique(ask: Ask, pages: Pages) -> dict[str, Any]:
    said = _said(ask.talk) or [""]
    last = next((step.content for step in reversed(ask.talk.steps) if isinstance(step, AssistantStep)), "")
    context = " ".join(said[-2:])
    issues = objections(
        last, context, pages, [cited.quote for cited in ask.values["citations"]], ask.values["answerability"] or ""
    )
    return {"issues": issues, "verdict": "unsupported" if issues else "supported"}
