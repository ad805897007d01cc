"""Vectors of `search/elasticsearch`: what an embedder gives, looked at before a server sees it, and which model made those of an index."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dgt_rag.embedders.base import PROBE, Encoder, TextKind, Vector, alike
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.errors import EngineError

_DIGITS = 5
"""Of the numbers that are noted, which may be thousands."""


@dataclass(frozen=True)
class VectorKind:
    """What tells the vectors of one model from those of others."""

    dims: int
    identity: str
    probe: tuple[float, ...] = ()
    """The vector of a fixed passage; empty if the model's identity tells its weights."""


async def vectors_of(encoder: Encoder, texts: Sequence[str], kind: TextKind) -> list[Vector]:
    """Return a vector for each text; raises EngineError for what is none."""
    given = await encoder.embed(texts, kind)
    who = f"search/elasticsearch: the embedder {encoder.settings.plugin_name()!r}"
    try:
        found = [list(map(float, vector)) for vector in given]
    except (TypeError, ValueError) as error:
        raise EngineError(f"{who} gives what is no vector of numbers; use another one") from error
    if len(found) != len(texts):
        raise EngineError(f"{who} gives {len(found)} vectors for {len(texts)} texts; use another one")
    if len({*map(len, found)}) > 1 or not all(math.isfinite(sum(vector)) for vector in found):
        raise EngineError(f"{who} gives vectors of different lengths, or what is no number; use another one")
    return found


async def kind_of(encoder: Encoder, identity: str) -> VectorKind:
    """Return what an open embedder makes, by one passage that it is given."""
    (vector,) = await vectors_of(encoder, [PROBE], "passage")
    probe = () if encoder.settings.tells_weights else tuple(round(number, _DIGITS) for number in vector)
    return VectorKind(len(vector), identity, probe)


def check_probe(index: Index, kind: VectorKind, way_out: str) -> None:
    """Refuse an index whose vectors another model of the same name made."""
    for noted in index.shape.noted("probe"):
        if kind.probe and not alike(noted, kind.probe):
            raise EngineError(
                f"{index.connection.place}: index {index.name!r} holds vectors made by another model than the one that "
                f"now answers as {kind.identity}; {way_out}"
            )
