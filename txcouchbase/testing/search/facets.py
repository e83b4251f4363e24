"""How hits are spread over terms, and over ranges of numbers and dates.

Source: Couchbase's documentation, *Search Facets*; counts are those of bleve's facet builders.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.matchers import chunks
from txcouchbase.testing.search.patterns import between
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.turns import Steps
from txcouchbase.testing.search.values import number, seconds_of

__all__ = ["Facet", "facets_of"]


@dataclass(frozen=True)
class _Range:
    shown: dict[str, Any]
    """Its name and bounds, as they were given."""
    holds: Callable[[float], bool]


@dataclass
class Facet:
    """One facet, and what it has counted.

    :param size: how many terms or ranges are told.
    :param kind: what is counted: ``terms``, ``numeric_ranges`` or ``date_ranges``.
    :param ranges: none for terms.
    """

    field: str
    size: int
    kind: str
    ranges: list[_Range]
    _counts: Counter[Any] = dataclasses.field(default_factory=Counter)
    _missing: int = 0

    def count(self, index: Documents, rows: Iterable[int]) -> Steps:
        """Look at the documents that were found."""
        for part in chunks(rows):
            for row in part:
                values = self._values(index, row)
                if not values:
                    self._missing += 1
                elif self.kind == "terms":
                    self._counts.update(values)
                else:
                    self._counts.update(
                        place
                        for value in values
                        for place, each in enumerate(self.ranges)
                        if each.holds(value)
                    )
                if index.pace.due():
                    yield

    def _values(self, index: Documents, row: int) -> list[Any]:
        if self.kind != "terms":
            kind = "number" if self.kind == "numeric_ranges" else "datetime"
            return [v for column in index.columns(kind, self.field) for v in column.get(row, ())]
        terms = {token.term for _, tokens in index.texts(row, self.field) for token in tokens}
        flags = index.columns("boolean", self.field)
        terms |= {"T" if value else "F" for column in flags for value in column.get(row, ())}
        return sorted(terms)

    def result(self) -> dict[str, Any]:
        """What was counted, as the search service tells it."""
        if self.kind == "terms":
            told = [{"term": term} for term in sorted(self._counts)]
            counts = [self._counts[each["term"]] for each in told]
        else:
            told = [each.shown for each in self.ranges]
            counts = [self._counts[place] for place in range(len(told))]
        found = [each | {"count": count} for each, count in zip(told, counts, strict=True) if count]
        found.sort(key=lambda each: -each["count"])
        total, found = sum(counts), found[: self.size]
        return {
            "field": self.field,
            "total": total,
            "missing": self._missing,
            "other": total - sum(each["count"] for each in found),
            self.kind: found,
        }


def facets_of(asked: Any) -> dict[str, Facet]:
    """The facets of a request, by name.

    :raises SearchRefused: for what is wrong with them.
    """
    if asked is None:
        return {}
    if not isinstance(asked, dict):
        raise SearchRefused("cannot unmarshal: facets must be an object")
    return {name: _facet_of(name, each) for name, each in asked.items()}


def _facet_of(name: str, asked: Any) -> Facet:
    field_name, size = (
        (asked.get("field"), asked.get("size", 0)) if isinstance(asked, dict) else ("", 0)
    )
    if not isinstance(field_name, str) or not field_name or type(size) is not int or size < 0:
        raise SearchRefused(f"facet {name!r} must be an object of a field and a size")
    numbers = asked.get("numeric_ranges") or []
    dates = asked.get("date_ranges") or []
    if not isinstance(numbers, list) or not isinstance(dates, list):
        raise SearchRefused(f"the ranges of the facet {name!r} must be an array")
    if numbers and dates:
        raise SearchRefused("facet can only contain numeric ranges or date ranges, not both")
    kind = "numeric_ranges" if numbers else "date_ranges" if dates else "terms"
    ranges = [_range_of(name, kind, each) for each in numbers or dates]
    names = [each.shown["name"] for each in ranges]
    if len(set(names)) < len(names):
        raise SearchRefused(f"{kind} of the facet {name!r} contain a duplicate name")
    return Facet(field_name, size, kind, ranges)


def _range_of(facet: str, kind: str, asked: Any) -> _Range:
    if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
        raise SearchRefused(f"a range of the facet {facet!r} has no name")
    dates = kind == "date_ranges"
    low_high = []
    shown = {"name": asked["name"]}
    for bound in ("start", "end") if dates else ("min", "max"):
        value = asked.get(bound)
        read = seconds_of(value) if dates else number(value)
        if value is not None:
            if read is None:
                raise SearchRefused(f"the {bound} {value!r} of the facet {facet!r} is not readable")
            # The SDK aborts at negative integers.
            shown[bound] = float(value) if not dates and value < 0 else value
        low_high.append(read)
    if low_high == [None, None]:
        raise SearchRefused(f"a range of the facet {facet!r} must have a bound")
    return _Range(shown, between(low_high[0], low_high[1], True, False))
