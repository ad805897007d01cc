"""Documents on their way into an index: fewer at once after a refusal, since what a server takes hangs on its memory."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from dgt_rag.engines.elasticsearch_client import BUSY, Connection, Refused, error_name, in_path, reason
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.errors import Busy, EngineError

_MOST = 1_000
_TOO_LARGE = 413
_BYTES = re.compile(r"operation_bytes=(\d+)\D.*max_\w*bytes=(\d+)")
"""What a refused operation takes, and what all at once may take."""


@dataclass
class Bulk:
    """Adds documents to one index."""

    connection: Connection
    index: str
    at_once: int = _MOST
    """Documents sent in one request at most."""

    async def add(self, sources: Mapping[str, Json]) -> None:
        """Add documents by their ids, all of them; those that are there already are left as they are."""
        left = dict(sources)
        while left:
            await self.connection.ask_with(lambda: self._send(left))

    async def _send(self, left: dict[str, Json]) -> None:
        """Send the first of the documents once; those that the index took are no longer left."""
        part = dict(islice(left.items(), self.at_once))
        lines = [line for name, source in part.items() for line in ({"create": {"_id": name}}, source)]
        try:
            answer = await self.connection.attempt("POST", in_path(self.index, "_bulk"), lines)
        except Busy as busy:
            if busy.kind == "rate_limit":
                self._fewer(part)
            raise
        except Refused as refused:
            if refused.status != _TOO_LARGE:
                raise
            if len(part) == 1:
                raise self._unfit(next(iter(part)), str(refused)) from None
            self._fewer(part)
            return
        self._read([item["create"] for item in answer["items"]], part, left)

    def _fewer(self, part: Mapping[str, Json]) -> None:
        self.at_once = max(1, len(part) // 2)

    def _read(self, items: list[Json], part: Mapping[str, Json], left: dict[str, Json]) -> None:
        busy = None
        for item in items:
            if item["status"] in BUSY:
                busy = Busy(BUSY[item["status"]], f"{self.connection.place}: {item['status']}: {reason(item)}")
                if len(part) == 1 and _never(item):
                    raise self._unfit(item["_id"], f"the server has not the memory for it ({reason(item)})")
            elif item["status"] < 300 or item["status"] == 409:
                # 409: taken by an earlier try whose answer was lost
                left.pop(item["_id"], None)
            elif item["status"] in {400, _TOO_LARGE}:
                raise self._unfit(item["_id"], reason(item))
            elif error_name(item) == "index_not_found_exception":
                raise deleted(self.connection, self.index)
            else:
                raise EngineError(
                    f"{self.connection.place}: nothing can be added to index {self.index!r} ({item['status']}: "
                    f"{reason(item)}); see that we may write to it"
                )
        if busy:
            if busy.kind == "rate_limit":
                self._fewer(part)
            raise busy
        self.at_once = min(self.at_once + self.at_once // 8 + 1, _MOST)

    def _unfit(self, name: str, why: str) -> EngineError:
        return EngineError(
            f"{self.connection.place}: document {name!r} does not fit index {self.index!r}: {why}; mend it, and the "
            "same command goes on from there"
        )


def deleted(connection: Connection, index: str) -> EngineError:
    """Return the refusal of an index that went away while it was loaded; the server may have made another one since."""
    return EngineError(
        f"{connection.place}: index {index!r} was deleted while it was loaded; delete what is there now, and run the "
        "same command again"
    )


def _never(item: Json) -> bool:
    """Whether an operation takes more than all at once may take, so that waiting is in vain."""
    found = _BYTES.search(str((item.get("error") or {}).get("reason")))
    return found is not None and int(found[1]) > int(found[2])
