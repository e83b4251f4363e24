"""The order of hits: by score, key, a field or a distance.

Source: Couchbase's documentation, *Sorting Query Results*. What has no value of a field comes last
unless the request says ``first``; documents that are otherwise equal are in the order in which they
were indexed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.values import Place, distance_between, place, unit_of

__all__ = ["Best", "Order", "by_score", "key_of", "orders_of"]

SLACK = 256
"""How many items more are kept before they are sorted."""

_TYPES = ("auto", "string", "number", "date")
_MODES = ("default", "min", "max")


@dataclass(frozen=True)
class Order:
    """One criterion.

    :param read: the value of a document, from its number and score; None where there is none.
    :param shown: the value as a hit tells it.
    """

    read: Callable[[Documents, int, float], Any]
    descending: bool = False
    missing_first: bool = False
    shown: Callable[[Any], str] = str
    by_score: bool = False

    def compare(self, mine: Any, theirs: Any) -> int:
        """Which of two values comes first: below, equal to or above zero."""
        if mine is None or theirs is None:
            behind = (mine is None) - (theirs is None)
            return -behind if self.missing_first else behind
        # A field may have numbers in some documents and texts in others.
        a, b = (isinstance(mine, str), mine), (isinstance(theirs, str), theirs)
        order = int(a > b) - int(a < b)
        return -order if self.descending else order


def by_score(descending: bool = True) -> Order:
    """The best hits first."""
    return Order(
        lambda index, row, score: score, descending, shown=lambda value: "_score", by_score=True
    )


def _by_id(descending: bool) -> Order:
    return Order(lambda index, row, score: index.rows[row].key, descending)


def orders_of(asked: Any) -> list[Order]:
    """The criteria of a request; the best hits first if it has none.

    :raises SearchRefused: for what is wrong with them.
    """
    if asked is None or asked == []:
        return [by_score()]
    if not isinstance(asked, list):
        raise SearchRefused("cannot unmarshal: sort must be an array")
    return [_order_of(each) for each in asked]


def _order_of(asked: Any) -> Order:
    if isinstance(asked, str):
        descending = asked.startswith("-")
        name = asked.lstrip("+-") if asked[:1] in "+-" else asked
        if name == "_score":
            return by_score(descending)
        if name == "_id":
            return _by_id(descending)
        return _by_field({"field": name, "desc": descending})
    if not isinstance(asked, dict):
        raise SearchRefused("unknown search sort: neither a string nor an object")
    descending = asked.get("desc", False)
    if not isinstance(descending, bool):
        raise SearchRefused("cannot unmarshal: desc of a search sort must be true or false")
    by = asked.get("by")
    if by == "id":
        return _by_id(descending)
    if by == "score":
        return by_score(descending)
    if by == "field":
        return _by_field(asked)
    if by == "geo_distance":
        return _by_distance(asked)
    raise SearchRefused(f"unknown search sort by: {by}")


def _field_of(asked: dict[str, Any], by: str) -> str:
    field = asked.get("field")
    if not isinstance(field, str) or not field:
        raise SearchRefused(f"search sort mode {by} must specify field")
    return field


def _choice(asked: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = asked.get(name)
    value = choices[0] if value is None else value
    if value not in choices:
        raise SearchRefused(f"unknown sort field {name}: {value}")
    return str(value)


def _by_field(asked: dict[str, Any]) -> Order:
    field = _field_of(asked, "field")
    kind, mode = _choice(asked, "type", _TYPES), _choice(asked, "mode", _MODES)
    missing = _choice(asked, "missing", ("last", "first"))
    if mode == "default":
        pick: Callable[[list[Any]], Any] = lambda values: values[0]  # noqa: E731
    else:
        pick = min if mode == "min" else max

    def read(index: Documents, row: int, score: float) -> Any:
        values: list[Any] = []
        if kind in ("auto", "number"):
            values = [v for column in index.columns("number", field) for v in column.get(row, ())]
        if kind == "date" or (kind == "auto" and not values):
            dates = index.columns("datetime", field)
            values = [v for column in dates for v in column.get(row, ())]
        if kind == "string" or (kind == "auto" and not values):
            values = [token.term for _, tokens in index.texts(row, field) for token in tokens]
            flags = index.columns("boolean", field)
            values += ["T" if v else "F" for column in flags for v in column.get(row, ())]
        return pick(values) if values else None

    return Order(read, asked.get("desc", False), missing == "first")


def _by_distance(asked: dict[str, Any]) -> Order:
    field = _field_of(asked, "geo_distance")
    centre, unit = place(asked.get("location")), asked.get("unit") or "m"
    if centre is None:
        raise SearchRefused("unable to parse geo_distance location")
    length = unit_of(unit) if isinstance(unit, str) else None
    if length is None:
        raise SearchRefused(f"unknown distance unit: {unit}")

    def read(index: Documents, row: int, score: float) -> Any:
        found: list[Place] = [
            at for column in index.columns("geopoint", field) for at in column.get(row, ())
        ]
        return min(distance_between(centre, at) for at in found) / length if found else None

    return Order(read, asked.get("desc", False))


def key_of(orders: list[Order]) -> Callable[[tuple[list[Any], int]], Any]:
    """What sorts values of all criteria, each list with its document's number."""

    if len(orders) == 1 and orders[0].by_score:
        sign = -1 if orders[0].descending else 1
        return lambda item: (sign * item[0][0], item[1])

    def compare(mine: tuple[list[Any], int], theirs: tuple[list[Any], int]) -> int:
        for order, a, b in zip(orders, mine[0], theirs[0], strict=True):
            found = order.compare(a, b)
            if found:
                return found
        return mine[1] - theirs[1]

    return cmp_to_key(compare)


class Best:
    """The first of many items in an order; the others are forgotten on the way.

    :param count: how many.
    :param key: what they are sorted by.
    """

    def __init__(self, count: int, key: Callable[[Any], Any]) -> None:
        self._count, self._key = count, key
        self._items: list[Any] = []

    def add(self, items: Iterable[Any]) -> None:
        """Look at more items."""
        self._items.extend(items)
        if len(self._items) > 2 * self._count + SLACK:
            self.items()

    def items(self) -> list[Any]:
        """The first of all so far, in their order."""
        self._items.sort(key=self._key)
        del self._items[self._count :]
        return self._items
