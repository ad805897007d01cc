"""Groups of a corpus by a field, and selections made of them: ordinals, four bytes each, no documents."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from dgt_rag.records import Document, label_of


@dataclass(frozen=True)
class Groups:
    """The ordinals of a corpus by one field; a document stands in as many groups as its field has values."""

    bounds: dict[str, tuple[int, int]]
    """Value → the first place in `order` and the one after the last; by value."""
    order: Sequence[int]
    """Ordinals, group after group, ascending in each."""
    bare: Sequence[int]
    """Ordinals of the documents that have no value there."""

    def members(self, value: str | None) -> Sequence[int]:
        """Return the ordinals of a group, ascending; None means those without a value."""
        if value is None:
            return self.bare
        start, end = self.bounds.get(value, (0, 0))
        return self.order[start:end]

    def wanted(self, value: JsonValue) -> Sequence[int]:
        """Return the ordinals that have the value, or one of a list of values."""
        values = {label_of(item) for item in value} if isinstance(value, list) else {label_of(value)}
        if len(values) == 1:
            return self.members(values.pop())
        return array("i", sorted({ordinal for item in values for ordinal in self.members(item)}))


class GroupBuilder:
    """Takes the values of one document after another, in the order of the corpus."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._owners, self._ordinals, self._bare = array("i"), array("i"), array("i")
        self._count = 0

    def add(self, labels: Sequence[str]) -> None:
        """Add the next document."""
        numbers = self._numbers
        for label in labels:
            self._owners.append(numbers.setdefault(label, len(numbers)))
            self._ordinals.append(self._count)
        if not labels:
            self._bare.append(self._count)
        self._count += 1

    def finish(self) -> Groups:
        """Sort by counting: each group gets its stretch, then each ordinal goes to the next place of its group's."""
        bounds: dict[str, tuple[int, int]] = {}
        sizes, free = ([0] * len(self._numbers) for _ in range(2))
        for owner in self._owners:
            sizes[owner] += 1
        end = 0
        for value in sorted(self._numbers):
            number = self._numbers[value]
            free[number] = end
            end += sizes[number]
            bounds[value] = (free[number], end)
        order = array("i", bytes(4 * end))
        for owner, ordinal in zip(self._owners, self._ordinals, strict=True):
            order[free[owner]] = ordinal
            free[owner] += 1
        return Groups(bounds, order, self._bare)


def grouped(blocks: Iterable[Sequence[Document]], path: str) -> Groups:
    """Group documents by a dotted field."""
    builder = GroupBuilder()
    for block in blocks:
        for document in block:
            builder.add(document.labels(path))
    return builder.finish()


class Selection:
    """Some documents of a corpus, by ordinals in ascending order."""

    def __init__(self, ordinals: Sequence[int], of: int) -> None:
        self.ordinals = ordinals
        self._of = of

    def __len__(self) -> int:
        return len(self.ordinals)

    @cached_property
    def member(self) -> bytearray:
        """One byte for each document of the corpus: whether it is selected."""
        marks = bytearray(self._of)
        for ordinal in self.ordinals:
            marks[ordinal] = 1
        return marks

    def both(self, other: "Selection") -> "Selection":
        """Return what this and another select."""
        fewer, more = sorted((self, other), key=len)
        mark = more.member
        return Selection(array("i", [ordinal for ordinal in fewer.ordinals if mark[ordinal]]), self._of)
