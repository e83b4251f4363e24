"""The nearest vectors, by plain distance to each of them.

Source: Couchbase's documentation, *Vector Search*; scores are those of bleve: the inverse of the
squared distance, or the dot product, of vectors of length one for ``cosine``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from operator import mul
from typing import Any

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.mapping import Mapping
from txcouchbase.testing.search.matchers import (
    Conjunction,
    Disjunction,
    Matcher,
    Weighing,
    chunks,
    explanation,
)
from txcouchbase.testing.search.queries import matcher_of
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.sorting import Best
from txcouchbase.testing.search.turns import Steps
from txcouchbase.testing.search.values import number, vector

__all__ = ["Nearest", "nearest_of"]

CLOSEST = 3.4028234663852886e38
"""The score of a distance of zero."""


class Nearest(Matcher):
    """The documents whose vectors are nearest to a vector.

    :param count: how many.
    :param among: only documents that this finds; None for all.
    """

    def __init__(
        self,
        boost: float,
        field: str,
        similarity: str,
        wanted: Sequence[float],
        count: int,
        among: Matcher | None,
    ) -> None:
        super().__init__(boost)
        self._field, self._similarity, self._count = field, similarity, count
        self._wanted = _unit(wanted) if similarity == "cosine" else wanted
        self._among = among

    def weigh(self, index: Documents, boost: float) -> Weighing:
        """See `Matcher`."""
        if self._among is not None:
            yield from self._among.weigh(index, 1.0)
            yield from self._among.run(index, 1.0)
        return 0.0

    def run(self, index: Documents, norm: float) -> Steps:
        """See `Matcher`."""
        best = Best(self._count, lambda item: (-item[1], item[0]))
        for column in index.columns("vector", self._field):
            # Vectors are long.
            for part in chunks(column.items()):
                for row, vectors in part:
                    if self._among is None or row in self._among.found:
                        best.add([(row, max(map(self._closeness, vectors)))])
                    if index.pace.due():
                        yield
        self.found = {row: score * self.boost for row, score in best.items()}

    def _closeness(self, other: Sequence[float]) -> float:
        if self._similarity == "l2_norm":
            distance = sum((a - b) * (a - b) for a, b in zip(self._wanted, other, strict=True))
            return 1 / distance if distance else CLOSEST
        if self._similarity == "cosine":
            other = _unit(other)
        return float(sum(map(mul, self._wanted, other)))

    def explain(self, row: int) -> dict[str, Any]:
        """See `Matcher`."""
        score = self.found[row]
        children = (
            explanation(self.boost, "boost"),
            explanation(score / self.boost if self.boost else 0.0, self._similarity),
        )
        return explanation(score, f"weight({self._field}:query Vector), product of:", children)


def nearest_of(body: dict[str, Any], mapping: Mapping) -> Matcher | None:
    """What evaluates the ``knn`` of a request; None where there is none.

    :raises SearchRefused: for what is wrong with it.
    """
    asked = body.get("knn")
    if asked is None:
        return None
    operator = body.get("knn_operator") or "or"
    if not isinstance(asked, list):
        raise SearchRefused("cannot unmarshal: knn must be an array")
    if operator not in ("or", "and"):
        raise SearchRefused(f"knn_operator must be 'and' or 'or', got: {operator}")
    parts = [_one(each, mapping) for each in asked]
    if len(parts) < 2:
        return parts[0] if parts else None
    return Conjunction(1.0, parts) if operator == "and" else Disjunction(1.0, parts)


def _one(asked: Any, mapping: Mapping) -> Nearest:
    if not isinstance(asked, dict):
        raise SearchRefused("cannot unmarshal: knn must be an array of objects")
    field, count = asked.get("field"), asked.get("k")
    boost = number(asked.get("boost", 1.0))
    if not isinstance(field, str) or type(count) is not int or count < 1 or boost is None:
        raise SearchRefused("knn: field, k (at least 1) and boost, if any, must have their types")
    wanted = vector(asked.get("vector") or asked.get("vector_base64"))
    if wanted is None:
        raise SearchRefused("knn: vector must be an array of numbers, or vector_base64 be given")
    known = mapping.vector_fields.get(field)
    if known is None:
        raise SearchRefused(f"knn: the index has no vector field {field!r}")
    if len(wanted) != known.dims:
        raise SearchRefused(
            f"knn: the vector has {len(wanted)} dims, the field {field!r} of the index has"
            f" {known.dims}"
        )
    among = asked.get("filter")
    return Nearest(
        boost,
        field,
        known.similarity,
        wanted,
        count,
        None if among is None else matcher_of(among, mapping),
    )


def _unit(values: Sequence[float]) -> Sequence[float]:
    length = sqrt(sum(map(mul, values, values)))
    return [each / length for each in values] if length else values
