"""Functions on arrays.

Not like a server: results that a server leaves without order (unions, intersections, symmetric
differences) are in the order of the arguments; `ARRAY_STAR` has NULL where an item lacks a name.

Source: the SQL++ language reference, "Array Functions".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from txcouchbase.testing.query.functions.signature import (
    ANY,
    ARRAY,
    KNOWN,
    NUMBER,
    VALUE,
    Function,
    by_name,
    function,
    whole,
)
from txcouchbase.testing.query.limits import LARGEST_RESULT, bounded
from txcouchbase.testing.query.values import (
    MISSING,
    add,
    compare,
    divide,
    equals,
    group_key,
    is_array,
    is_number,
    number,
    sort_key,
)

__all__ = ["FUNCTIONS"]

Array = list[Any] | range
"""An array, which may be one that is made while it is read."""

_ITEM_SIZE = 8
"""Bytes that a server counts for a number in an array."""


# What is in an array.


def _contains(array: Array, value: Any) -> bool:
    return any(equals(value, item) is True for item in array)


def _found(array: Array, values: Any) -> Iterator[bool]:
    """Which of some values, or of one, are in an array."""
    items = {group_key(item): item for item in array}
    for value in values if is_array(values) else [values]:
        # A NULL in it makes it unequal to itself.
        yield equals(value, items.get(group_key(value), MISSING)) is True


def _contains_all(array: Array, values: Any) -> bool:
    return all(_found(array, values))


def _contains_any(array: Array, values: Any) -> bool:
    return any(_found(array, values))


def _position(array: Array, value: Any) -> int:
    for place, item in enumerate(array):
        if equals(value, item) is True:
            return place
    return -1


def _binary_search(array: Array, value: Any) -> int:
    low, high = 0, len(array) - 1
    while low < high:
        middle = (low + high) // 2
        if compare(array[middle], value) < 0:
            low = middle + 1
        else:
            high = middle
    return low if array and compare(array[low], value) == 0 else -1


def _known(array: Array) -> list[Any]:
    return [item for item in array if item is not None and item is not MISSING]


def _first_known(array: Array) -> Any:
    return next((item for item in array if item is not None and item is not MISSING), None)


# Aggregates.


def _sum(array: Array) -> Any:
    if type(array) is range:
        return number(sum(array))
    total: Any = 0
    for item in array:
        if is_number(item):
            total = add(total, item)
    return total


def _average(array: Array) -> Any:
    count = len(array) if type(array) is range else sum(map(is_number, array))
    return divide(_sum(array), count)


def _smallest(array: Array) -> Any:
    if type(array) is range:
        return min(array[0], array[-1]) if array else None
    return min(_known(array), key=sort_key, default=None)


def _largest(array: Array) -> Any:
    if type(array) is range:
        return max(array[0], array[-1]) if array else None
    return max(_known(array), key=sort_key, default=None)


# Arrays as sets.


def _distinct(array: Array) -> Array:
    return array if type(array) is range else _union(array)


def _union(*arrays: Array) -> list[Any]:
    found: dict[Any, Any] = {}
    for array in arrays:
        for item in array:
            found.setdefault(group_key(item), item)
    return list(found.values())


def _intersection(first: Array, *others: Array) -> list[Any]:
    keys = [{group_key(item) for item in other} for other in others]
    found = {group_key(item): item for item in _known(first)}
    return [item for key, item in found.items() if all(key in other for other in keys)]


def _difference(array: Array, taken: Array) -> Array:
    if not array or not taken:
        return array
    keys = {group_key(item) for item in taken}
    return [item for item in array if group_key(item) not in keys]


def _counted(arrays: Iterable[Array]) -> list[tuple[Any, int]]:
    """The different items, and in how many of the arrays each one is."""
    items: dict[Any, Any] = {}
    counts: dict[Any, int] = {}
    for array in arrays:
        for key, item in {group_key(item): item for item in array}.items():
            items.setdefault(key, item)
            counts[key] = counts.get(key, 0) + 1
    return [(items[key], count) for key, count in counts.items()]


def _in_one(*arrays: Array) -> list[Any]:
    return [item for item, count in _counted(arrays) if count == 1]


def _in_odd_number(*arrays: Array) -> list[Any]:
    return [item for item, count in _counted(arrays) if count % 2]


# Arrays that are made.


def _range(start: int | float, end: int | float, step: int | float = 1) -> Array:
    first, last, width = number(start), number(end), number(step)
    if not width or not (math.isfinite(first) and math.isfinite(last)) or width != width:
        return []
    if type(first) is int and type(last) is int and type(width) is int:
        made = range(first, last, width)
        bounded("ARRAY_RANGE()", abs(last - first) // abs(width) if made else 0, _ITEM_SIZE)
        return made
    if (last - first) * width <= 0:
        return []
    bounded("ARRAY_RANGE()", int(min(abs((last - first) / width), 1e18)), _ITEM_SIZE)
    items: list[Any] = []
    at = float(first)
    while at < last if width > 0 else at > last:
        items.append(number(at))
        at += width
    return items


def _size(value: Any) -> int:
    """About how many bytes a value needs; no more than are allowed anyway."""
    size = 0
    pending = [value]
    while pending and size <= LARGEST_RESULT:
        value = pending.pop()
        size += _ITEM_SIZE
        if type(value) is str or type(value) is bytes or type(value) is range:
            size += len(value)
        elif type(value) is list:
            pending += value
        elif type(value) is dict:
            pending += [*value, *value.values()]
    return size


def _repeat(value: Any, times: int | float) -> list[Any] | None:
    count = whole(times)
    if count is None or count < 0:
        return None
    bounded("ARRAY_REPEAT()", count, _size(value))
    return [value] * count


def _concatenation(*arrays: Array) -> list[Any]:
    bounded("ARRAY_CONCAT()", sum(map(len, arrays)), _ITEM_SIZE)
    return [item for array in arrays for item in array]


def _flatten(array: Array, depth: int | float) -> list[Any] | None:
    levels = whole(depth)
    if levels is None:
        return None
    found: list[Any] = []
    pending: list[tuple[Iterator[Any], int]] = [(iter(array), levels)]
    while pending:
        items, left = pending[-1]
        for item in items:
            if left and is_array(item):
                pending.append((iter(item), left - 1))
                break
            found.append(item)
        else:
            pending.pop()
    return found


def _star(array: Array) -> dict[str, list[Any]]:
    names = {name: None for item in array if type(item) is dict for name in item}
    bounded("ARRAY_STAR()", len(names) * len(array), _ITEM_SIZE)
    return {
        name: [item.get(name) if type(item) is dict else None for item in array] for name in names
    }


# Arrays that are changed.


def _append(array: Array, *values: Any) -> list[Any]:
    return [*array, *values]


def _prepend(*arguments: Any) -> Any:
    if MISSING in arguments:
        return MISSING
    *values, array = arguments
    return [*values, *array] if is_array(array) else None


def _put(array: Array, *values: Any) -> list[Any]:
    return [*array, *(value for value in values if not _contains(array, value))]


def _insert(array: Array, place: int | float, *values: Any) -> list[Any] | None:
    at = whole(place)
    if at is None:
        return None
    if at < 0:
        at += len(array)
    if not 0 <= at <= len(array):
        return None
    return [*array[:at], *values, *array[at:]]


def _remove(array: Array, *values: Any) -> list[Any]:
    return [item for item in array if not any(equals(item, value) is True for value in values)]


def _replace(array: Array, old: Any, new: Any, times: int | float | None = None) -> Any:
    if old is None:
        return None
    return _replace_where(array, lambda item: equals(old, item) is True, new, times)


def _replace_same(array: Array, old: Any, new: Any, times: int | float | None = None) -> Any:
    return _replace_where(array, lambda item: compare(old, item) == 0, new, times)


def _replace_where(array: Array, is_old: Any, new: Any, times: int | float | None) -> Any:
    left = len(array) if times is None else whole(times)
    if left is None:
        return None
    found = []
    for item in array:
        if left > 0 and is_old(item):
            left -= 1
            item = new
        found.append(item)
    return found


def _sort(array: Array) -> Array:
    if type(array) is range:
        return array if array.step > 0 else array[::-1]
    return sorted(array, key=sort_key)


def _places(array: Array, *numbers: int | float) -> list[int] | None:
    """Places in an array, negative ones from its end; None if one is not in it."""
    found = []
    for place in map(whole, numbers):
        if place is None or not -len(array) <= place < len(array):
            return None
        found.append(place % len(array))
    return found


def _move(array: Array, old: int | float, new: int | float) -> list[Any] | None:
    places = _places(array, old, new)
    if places is None:
        return None
    items = list(array)
    items.insert(places[1], items.pop(places[0]))
    return items


def _swap(array: Array, one: int | float, other: int | float) -> list[Any] | None:
    places = _places(array, one, other)
    if places is None:
        return None
    first, second = places
    items = list(array)
    items[first], items[second] = items[second], items[first]
    return items


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "array_append": function(_append, ARRAY, VALUE, rest=VALUE),
        "array_avg": function(_average, ARRAY),
        "array_binary_search": function(_binary_search, ARRAY, ANY),
        "array_concat": function(_concatenation, ARRAY, ARRAY, rest=ARRAY),
        "array_contains": function(_contains, ARRAY, KNOWN),
        "array_contains_all": function(_contains_all, ARRAY, KNOWN),
        "array_contains_any": function(_contains_any, ARRAY, KNOWN),
        "array_count": function(lambda array: len(_known(array)), ARRAY),
        "array_distinct": function(_distinct, ARRAY),
        "array_except": function(_difference, ARRAY, ARRAY),
        "array_flatten": function(_flatten, ARRAY, NUMBER),
        "array_ifnull": function(_first_known, ARRAY),
        "array_insert": function(_insert, ARRAY, NUMBER, VALUE, rest=VALUE),
        "array_intersect": function(_intersection, ARRAY, ARRAY, rest=ARRAY),
        "array_length": function(len, ARRAY),
        "array_max": function(_largest, ARRAY),
        "array_min": function(_smallest, ARRAY),
        "array_move": function(_move, ARRAY, NUMBER, NUMBER),
        "array_position array_pos": function(_position, ARRAY, KNOWN),
        "array_prepend": function(_prepend, ANY, ANY, rest=ANY),
        "array_put array_add array_upsert": function(_put, ARRAY, KNOWN, rest=KNOWN),
        "array_range": function(_range, NUMBER, NUMBER, NUMBER, optional=1),
        "array_remove": function(_remove, ARRAY, KNOWN, rest=KNOWN),
        "array_repeat": function(_repeat, VALUE, NUMBER),
        "array_replace": function(_replace, ARRAY, VALUE, VALUE, NUMBER, optional=1),
        "array_replace_equivalent": function(
            _replace_same, ARRAY, VALUE, VALUE, NUMBER, optional=1
        ),
        "array_reverse": function(lambda array: array[::-1], ARRAY),
        "array_sort": function(_sort, ARRAY),
        "array_star": function(_star, ARRAY),
        "array_sum": function(_sum, ARRAY),
        "array_swap": function(_swap, ARRAY, NUMBER, NUMBER),
        "array_symdiff array_symdiff1": function(_in_one, ARRAY, ARRAY, rest=ARRAY),
        "array_symdiffn": function(_in_odd_number, ARRAY, ARRAY, rest=ARRAY),
        "array_union": function(_union, ARRAY, ARRAY, rest=ARRAY),
    }
)
"""The functions by name."""
