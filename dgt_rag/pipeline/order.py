"""Which conversation gets the next free call."""

from dgt_rag.pipeline.ledger import Ledger
from dgt_rag.records import ConversationDataPoint


class Order:
    """Those begun first go first, so that few contexts are warm at once; at the end, those that have most to go.

    When nothing new is left to begin, the run ends with the conversation that ends last; as long as all have about as much
    to go, all places stay in use until the end.
    """

    def __init__(self) -> None:
        self.ledger: Ledger | None = None

    def __call__(self, talk: ConversationDataPoint) -> tuple[int, ...]:
        """Return the rank of a conversation's next call; the smaller goes first."""
        return self.rank(talk.turns, talk.index)

    def rank(self, turns: int, index: int) -> tuple[int, ...]:
        """Return the rank of the next call of a conversation that has so many turns."""
        if self.ledger is not None and self.ledger.all_begun:
            return (turns, index)
        return (index,)
