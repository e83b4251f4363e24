"""The parts of a query that look for terms: one, several of a kind, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import log, sqrt
from typing import Any

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.matchers import (
    Conjunction,
    Disjunction,
    Matcher,
    Place,
    Weighing,
    chunks,
    explanation,
)
from txcouchbase.testing.search.turns import Steps

__all__ = ["Expanded", "Phrase", "Term"]


class Term(Matcher):
    """Documents with one term in a field."""

    def __init__(self, boost: float, field: str, term: str) -> None:
        super().__init__(boost)
        self._field, self._term = field, term
        self._fields: list[int] = []
        self.counts: dict[int, int] = {}
        """How often each document has it."""
        self._idf = self._weight = self._query_weight = 0.0
        self._lengths: Callable[[int], int] = lambda row: 1

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """See `Matcher`."""
        self._fields = index.field_numbers(self._field)
        counts = self.counts
        for number in self._fields:
            for batch in index.text.rows(number, self._term):
                for row in batch:
                    counts[row] = counts.get(row, 0) + 1
                if index.pace.due():
                    yield
        self._idf = 1.0 + log(max(len(index.rows), 1) / (len(counts) + 1))
        self._lengths = lambda row: index.length(self._fields, row)
        self._weight = boost * self.boost * self._idf
        return self._weight * self._weight

    def run(self, index: Documents, norm: float) -> Steps:
        """See `Matcher`."""
        self._query_weight = self._weight * norm
        for part in chunks(self.counts.items()):
            for row, count in part:
                self.found[row] = self._query_weight * self._of_field(row, count)
            if index.pace.due():
                yield

    def _of_field(self, row: int, count: int) -> float:
        return sqrt(count) * self._idf / sqrt(self._lengths(row))

    def explain(self, row: int) -> dict[str, Any]:
        """See `Matcher`."""
        count = self.counts[row]
        name = f"{self._field}:{self._term}"
        idf = explanation(self._idf, f"idf(docFreq={len(self.counts)})")
        of_field = explanation(
            self._of_field(row, count),
            f"fieldWeight({name} in {row}), product of:",
            (
                explanation(sqrt(count), f"tf(termFreq({name})={count})"),
                explanation(1 / sqrt(self._lengths(row)), f"fieldNorm(field={self._field})"),
                idf,
            ),
        )
        weight = explanation(
            self._query_weight,
            f"queryWeight({name}^{self.boost}), product of:",
            (explanation(self.boost, "boost"), idf),
        )
        return explanation(self.found[row], f"weight({name}), product of:", (weight, of_field))

    def places(self, index: Documents, row: int) -> Iterator[Place]:
        """See `Matcher`."""
        for field, tokens in index.texts(row, self._field):
            if field.vectors:
                for token in tokens:
                    if token.term == self._term:
                        yield field.name, token


class Expanded(Disjunction):
    """Documents with any of the terms of a field that a choice picks.

    :param prefix: with which they begin.
    :param pick: whether a term is one of them.
    """

    def __init__(self, boost: float, field: str, prefix: str, pick: Callable[[str], bool]) -> None:
        super().__init__(boost, [])
        self._field, self._prefix, self._pick = field, prefix, pick

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """See `Matcher`."""
        terms: set[str] = set()
        for number in index.field_numbers(self._field):
            for batch in index.text.terms(number, self._prefix):
                terms.update(filter(self._pick, batch))
                if index.pace.due():
                    yield
        self.parts = [Term(1.0, self._field, term) for term in sorted(terms)]
        return (yield from super().weigh(index, boost))


class Phrase(Conjunction):
    """Documents with terms one after the other.

    :param terms: of each place those that may be there; none where any term may.
    """

    def __init__(self, boost: float, field: str, terms: Sequence[Sequence[str]]) -> None:
        parts = [
            Disjunction(1.0, [Term(1.0, field, each) for each in some]) for some in terms if some
        ]
        super().__init__(boost, parts)
        self._field, self._terms = field, terms

    def combine(self, index: Documents) -> Steps:
        """See `_Compound`."""
        yield from super().combine(index)
        for row in list(self.found):
            if next(self.places(index, row), None) is None:
                del self.found[row]
            if index.pace.due():
                yield

    def places(self, index: Documents, row: int) -> Iterator[Place]:
        """See `Matcher`."""
        for field, tokens in index.texts(row, self._field):
            if not field.vectors:
                continue
            at = {token.position: token for token in tokens}
            for start in at:
                here = [at.get(start + offset) for offset in range(len(self._terms))]
                if all(
                    not wanted or (token is not None and token.term in wanted)
                    for wanted, token in zip(self._terms, here, strict=True)
                ):
                    for wanted, token in zip(self._terms, here, strict=True):
                        if wanted and token is not None:
                            yield field.name, token
