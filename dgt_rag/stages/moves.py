"""What the live assistant may reply: searches to make, or its answer."""

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, Field, create_model

from dgt_rag.llm.base import Reply
from dgt_rag.stages.answers import AnswerReply

AT_ONCE = 3
"""How many searches may be made at once."""
Words = Annotated[str, Field(max_length=400)]
"""What is searched for."""


class Query(BaseModel):
    """One search: the number of the tool, and what to search for."""

    tool: int = Field(ge=1)
    query: Words


class SearchReply(BaseModel):
    """The searches to make at once."""

    queries: list[Words] = Field(max_length=AT_ONCE)


class Move(BaseModel):
    """What is done next. Its fields come before those of the answer: a model decides before it writes."""

    action: Literal["search", "answer"]
    queries: list[Words] = Field(max_length=AT_ONCE)


class MoveReply(AnswerReply, Move):
    """The next move: more searches, or the answer."""

    answer: str


class LastMove(BaseModel):
    """A move that can only be the answer."""

    action: Literal["answer"] = "answer"


class LastReply(AnswerReply, LastMove):
    """The answer, in the form of a move."""


@lru_cache(maxsize=32)
def queries_of(base: type[BaseModel], tools: int, least: int) -> type[BaseModel]:
    """Return the reply class whose queries name a tool if there are several, at least so many."""
    bounds = Field(min_length=least, max_length=AT_ONCE)
    if tools == 1:
        return create_model(base.__name__, __base__=base, queries=(list[Words], bounds))
    query = create_model("Query", __base__=Query, tool=(int, Field(ge=1, le=tools)))
    return create_model(base.__name__, __base__=base, queries=(list[query], bounds))


def queries_in(reply: Reply) -> list[str]:
    """Return what a reply would search for: the queries of a search, or every text in the arguments of tool calls."""
    value = reply.value
    if isinstance(value, SearchReply) or (isinstance(value, Move) and value.action == "search"):
        said: list[str | Query] = list(value.queries)
        return [query.query if isinstance(query, Query) else query for query in said]
    return [text for call in reply.tool_calls for text in call.arguments.values() if isinstance(text, str)]
