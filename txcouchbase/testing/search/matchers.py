"""What a query is made of: each part finds documents, scores them and explains itself.

Scores are those of bleve's classic model (tf-idf): a term counts the square root of how often it
is there, its rarity, and the shortness of the field; all of it is weighed by the query's norm.
Parts without terms score the same for all that they find.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from txcouchbase.testing.search.analyzers import Token
from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.turns import Steps

__all__ = [
    "Boolean",
    "Conjunction",
    "Constant",
    "Disjunction",
    "Matcher",
    "Place",
    "Values",
    "chunks",
    "explanation",
]

Weighing = Generator[None, None, float]
Place = tuple[str, Token]
"""A field, and a term in it that was found."""

CHUNK = 200


def chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Items in lists that one step can handle."""
    whole = list(items)
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]


def explanation(value: float, message: str, children: Sequence[Any] = ()) -> dict[str, Any]:
    """Why a score is what it is, as the search service says it."""
    found: dict[str, Any] = {"value": value, "message": message}
    if children:
        found["children"] = list(children)
    return found


class Matcher:
    """One part of a query. First it is weighed, then it runs, then it is asked about documents.

    :param boost: by what its score is multiplied.
    """

    def __init__(self, boost: float) -> None:
        self.boost = boost
        self.found: dict[int, float] = {}
        """The scores of the documents that it finds."""

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """Look up what the score depends on.

        :param boost: that of all parts around it.
        :returns: the square of its weight.
        """
        raise NotImplementedError

    def run(self, index: Documents, norm: float) -> Steps:
        """Find documents.

        :param norm: by which weights are multiplied.
        """
        raise NotImplementedError

    def explain(self, row: int) -> dict[str, Any]:
        """Why a document that was found has its score."""
        raise NotImplementedError

    def places(self, index: Documents, row: int) -> Iterator[Place]:
        """Where in a document are the terms that it looked for."""
        return iter(())


class Constant(Matcher):
    """Documents that all have the same score.

    :param label: what it is called in explanations.
    """

    def __init__(self, boost: float, label: str) -> None:
        super().__init__(boost)
        self._label = label
        self._weight = 0.0

    def candidates(self, index: Documents) -> Iterator[Iterable[int]]:
        """The documents, in parts that one step can handle."""
        raise NotImplementedError

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """See `Matcher`."""
        self._weight = boost * self.boost
        return self._weight * self._weight
        yield

    def run(self, index: Documents, norm: float) -> Steps:
        """See `Matcher`."""
        score = self._weight * norm
        for part in self.candidates(index):
            self.found.update((row, score) for row in part)
            if index.pace.due():
                yield

    def explain(self, row: int) -> dict[str, Any]:
        """See `Matcher`."""
        return explanation(
            self.found[row], f"ConstantScore({self._label}), product of: boost, queryNorm"
        )


class Values(Constant):
    """Documents with a value, other than text, that passes a test.

    :param kind: as `Field` has it.
    :param test: takes a value.
    """

    def __init__(
        self, boost: float, label: str, field: str, kind: str, test: Callable[[Any], bool]
    ) -> None:
        super().__init__(boost, label)
        self._field, self._kind, self._test = field, kind, test

    def candidates(self, index: Documents) -> Iterator[Iterable[int]]:
        """See `Constant`."""
        for column in index.columns(self._kind, self._field):
            for part in chunks(column.items()):
                yield [row for row, values in part if any(map(self._test, values))]


class _Compound(Matcher):
    """Parts that are weighed and run one after the other."""

    def __init__(self, boost: float, parts: Sequence[Matcher]) -> None:
        super().__init__(boost)
        self.parts = parts

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """See `Matcher`."""
        total = 0.0
        for part in self.parts:
            total += yield from part.weigh(index, boost * self.boost)
        return total

    def run(self, index: Documents, norm: float) -> Steps:
        """See `Matcher`."""
        for part in self.parts:
            yield from part.run(index, norm)
        yield from self.combine(index)

    def combine(self, index: Documents) -> Steps:
        """Find documents from what the parts found."""
        raise NotImplementedError

    def _explained(self, row: int) -> list[dict[str, Any]]:
        return [part.explain(row) for part in self.parts if row in part.found]

    def explain(self, row: int) -> dict[str, Any]:
        """See `Matcher`."""
        return explanation(self.found[row], "sum of:", self._explained(row))

    def places(self, index: Documents, row: int) -> Iterator[Place]:
        """See `Matcher`."""
        for part in self.parts:
            if row in part.found:
                yield from part.places(index, row)


class Conjunction(_Compound):
    """Documents that all parts find."""

    def combine(self, index: Documents) -> Steps:
        """See `_Compound`."""
        smallest = min((part.found for part in self.parts), key=len, default={})
        for rows in chunks(smallest):
            for row in rows:
                if all(row in part.found for part in self.parts):
                    self.found[row] = sum(part.found[row] for part in self.parts)
            if index.pace.due():
                yield


class Disjunction(_Compound):
    """Documents that at least some parts find; the more, the higher the score.

    :param least: how many parts.
    """

    def __init__(self, boost: float, parts: Sequence[Matcher], least: int = 1) -> None:
        super().__init__(boost, parts)
        self.least = least

    def combine(self, index: Documents) -> Steps:
        """See `_Compound`."""
        sums: dict[int, float] = {}
        counts: dict[int, int] = {}
        for part in self.parts:
            for rows in chunks(part.found.items()):
                for row, score in rows:
                    sums[row] = sums.get(row, 0.0) + score
                    counts[row] = counts.get(row, 0) + 1
                if index.pace.due():
                    yield
        least = max(self.least, 1)
        for rows in chunks(counts.items()):
            for row, count in rows:
                if count >= least:
                    self.found[row] = sums[row] * count / len(self.parts)
            if index.pace.due():
                yield

    def explain(self, row: int) -> dict[str, Any]:
        """See `Matcher`."""
        children = self._explained(row)
        if len(self.parts) == 1:
            return children[0]
        coord = f"coord({len(children)}/{len(self.parts)})"
        parts = explanation(sum(each["value"] for each in children), "sum of:", children)
        share = explanation(len(children) / len(self.parts), coord)
        return explanation(self.found[row], "product of:", (parts, share))


class Boolean(_Compound):
    """Documents that have what they must have, and not what they must not have.

    :param must: None if there is nothing.
    :param should: adds to the score; without it a document is found if no part of it is asked for.
    :param must_not: None if there is nothing.
    """

    def __init__(
        self,
        boost: float,
        must: Matcher | None,
        should: Disjunction | None,
        must_not: Matcher | None,
    ) -> None:
        super().__init__(boost, [each for each in (must, should) if each is not None])
        self._must, self._should, self._must_not = must, should, must_not

    def run(self, index: Documents, norm: float) -> Steps:
        """See `Matcher`."""
        if self._must_not is not None:
            yield from self._must_not.weigh(index, 1.0)
            yield from self._must_not.run(index, 1.0)
        yield from super().run(index, norm)

    def combine(self, index: Documents) -> Steps:
        """See `_Compound`."""
        excluded = self._must_not.found if self._must_not is not None else {}
        must, should = self._must, self._should
        first = must if must is not None else should
        assert first is not None
        needed = should is not None and (must is None or should.least > 0)
        for rows in chunks(first.found):
            for row in rows:
                if row in excluded or (needed and row not in should.found):  # type: ignore[union-attr]
                    continue
                self.found[row] = sum(part.found.get(row, 0.0) for part in self.parts)
            if index.pace.due():
                yield
