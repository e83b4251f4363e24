"""Values of SQL++: the order of all of them, comparison with MISSING and NULL, arithmetic.

A value is what JSON parses to: None is NULL, `MISSING` is MISSING, a ``range`` is an array that
is made while it is read, ``bytes`` are a document that is not JSON. Nothing here changes a value.

Source: the SQL++ language reference, "Data Types", "Comparison Operators", "Arithmetic Operators",
"Boolean Logic" and "Collation".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Final

from txcouchbase.testing.query.limits import bounded

__all__ = [
    "MISSING",
    "Missing",
    "add",
    "compare",
    "concatenate",
    "divide",
    "equals",
    "group_key",
    "is_array",
    "is_number",
    "less",
    "less_or_equal",
    "modulo",
    "multiply",
    "negate",
    "number",
    "sort_key",
    "subtract",
    "truth",
    "type_name",
]


class Missing:
    """The type of `MISSING`, which there is one of."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"

    def __copy__(self) -> Missing:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Missing:
        return self

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""The value of what is not there."""

_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1
"""What an integer may be before it becomes a float."""

_EXACT = 1 << 53
"""Floats above it are integers all, and no longer exact."""

_TYPES: Final[dict[type, str]] = {
    Missing: "missing",
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    range: "array",
    dict: "object",
    bytes: "binary",
}

_RANKS: Final[dict[type, int]] = {
    Missing: 0,
    type(None): 1,
    bool: 2,
    int: 4,
    float: 4,
    str: 5,
    list: 6,
    range: 6,
    dict: 7,
    bytes: 8,
}
_TRUE_RANK = 3


def type_name(value: Any) -> str:
    """The name of a value's type, as the function ``TYPE`` has it."""
    return _TYPES[type(value)]


def is_number(value: Any) -> bool:
    """Whether a value is a number; a boolean is none."""
    kind = type(value)
    return kind is int or kind is float


def is_array(value: Any) -> bool:
    """Whether a value is an array, one that is made while it is read included."""
    kind = type(value)
    return kind is list or kind is range


def truth(value: Any) -> Any:
    """What AND, OR, NOT and WHERE see of a value.

    :returns: True, False, None or MISSING: zero, NaN and what is empty are false.
    """
    if value is True or value is False or value is None or value is MISSING:
        return value
    return bool(value) and value == value


# Order.


def sort_key(value: Any) -> tuple[Any, ...]:
    """A key that sorts as SQL++ does.

    The order: MISSING, NULL, false, true, numbers (NaN first), strings by code point, arrays item
    by item, objects by their length and then by their names in order, binary.
    """
    kind = type(value)
    if kind is str:
        return (5, value)
    if kind is int:
        return (4, value)
    if kind is float:
        return (4, value) if value == value else (_TRUE_RANK, 1)
    if kind is list or kind is range:
        return (6, [sort_key(item) for item in value])
    if kind is dict:
        return (7, len(value), [(name, sort_key(value[name])) for name in sorted(value)])
    if kind is bool:
        return (_TRUE_RANK, 0) if value else (2,)
    if kind is bytes:
        return (8, value)
    return (_RANKS[kind],)


def compare(left: Any, right: Any) -> int:
    """Which of two values sorts first.

    :returns: below zero for the left one, above zero for the right one, zero for neither.
    """
    kind = type(left)
    if kind is type(right) and (kind is str or kind is int):
        return 1 if left > right else -1 if left < right else 0
    first, second = sort_key(left), sort_key(right)
    return 1 if first > second else -1 if first < second else 0


def group_key(value: Any) -> Hashable:
    """A key that is the same for values that are the same: for 1 and 1.0, not for 1 and true."""
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return value if value == value else (3,)
    if kind is bool:
        return (0, value)
    if kind is list or kind is range:
        return (1, tuple([group_key(item) for item in value]))
    if kind is dict:
        return (2, tuple([(name, group_key(value[name])) for name in sorted(value)]))
    return value  # type: ignore[no-any-return]


# Comparison.


def equals(left: Any, right: Any) -> Any:
    """The operator ``=``.

    :returns: MISSING if one side is MISSING, else None if one is NULL, also inside of arrays and
        objects that are the same but for it; False for values of different types.
    """
    kind = type(left)
    if kind is type(right):
        if kind is str or kind is int:
            return left == right
        if kind is list:
            return _arrays_equal(left, right)
        if kind is dict:
            return _objects_equal(left, right)
    if left is MISSING or right is MISSING:
        return MISSING
    if left is None or right is None:
        return None
    if _RANKS[kind] != _RANKS[type(right)]:
        return False
    if kind is range or type(right) is range:
        return left == right if kind is type(right) else _arrays_equal(left, right)
    return left == right


def _arrays_equal(left: list[Any] | range, right: list[Any] | range) -> Any:
    if len(left) != len(right):
        return False
    found: Any = True
    for one, other in zip(left, right, strict=True):
        same = equals(one, other)
        if same is False:
            return False
        if same is MISSING or found is True:
            found = same
    return found


def _objects_equal(left: dict[str, Any], right: dict[str, Any]) -> Any:
    if left.keys() != right.keys():
        return False
    return _arrays_equal(list(left.values()), [right[name] for name in left])


def _ordered(left: Any, right: Any) -> Any:
    """As `compare`, but MISSING or None where the first items that differ are so."""
    if left is MISSING or right is MISSING:
        return MISSING
    if left is None or right is None:
        return None
    if is_array(left) and is_array(right):
        for one, other in zip(left, right, strict=False):
            found = _ordered(one, other)
            if found != 0:
                return found
        return len(left) - len(right)
    return compare(left, right)


def less(left: Any, right: Any) -> Any:
    """The operator ``<``.

    :returns: MISSING if one side is MISSING, else None if one is NULL; values of different types
        are in the order of their types.
    """
    kind = type(left)
    if kind is type(right) and (kind is str or kind is int):
        return left < right
    order = _ordered(left, right)
    return order < 0 if type(order) is int else order


def less_or_equal(left: Any, right: Any) -> Any:
    """The operator ``<=``, with MISSING, NULL and types as `less` has them."""
    kind = type(left)
    if kind is type(right) and (kind is str or kind is int):
        return left <= right
    order = _ordered(left, right)
    return order <= 0 if type(order) is int else order


# Arithmetic.


def number(value: int | float) -> int | float:
    """A number as a server keeps it: integers have 64 bits, a float without fraction is one."""
    if type(value) is int:
        if _SMALLEST <= value <= _LARGEST:
            return value
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if -_EXACT <= value <= _EXACT and value == int(value):
        return int(value)
    return value


def _calculate(left: Any, right: Any, operator: Callable[[Any, Any], Any]) -> Any:
    if left is MISSING or right is MISSING:
        return MISSING
    if not (is_number(left) and is_number(right)):
        return None
    result = operator(number(left), number(right))
    return None if result is None else number(result)


def add(left: Any, right: Any) -> Any:
    """The operator ``+``.

    :returns: MISSING if one side is MISSING, else None if one is no number.
    """
    if type(left) is int and type(right) is int:
        result = left + right
        if _SMALLEST <= result <= _LARGEST:
            return result
    return _calculate(left, right, lambda one, other: one + other)


def subtract(left: Any, right: Any) -> Any:
    """The operator ``-``, with MISSING and NULL as `add` has them."""
    if type(left) is int and type(right) is int:
        result = left - right
        if _SMALLEST <= result <= _LARGEST:
            return result
    return _calculate(left, right, lambda one, other: one - other)


def multiply(left: Any, right: Any) -> Any:
    """The operator ``*``, with MISSING and NULL as `add` has them."""
    return _calculate(left, right, lambda one, other: one * other)


def divide(left: Any, right: Any) -> Any:
    """The operator ``/``: never an integer division; None by zero."""
    return _calculate(left, right, lambda one, other: one / other if other else None)


def modulo(left: Any, right: Any) -> Any:
    """The operator ``%``: the sign is the left side's; None by zero."""
    return _calculate(left, right, _remainder)


def _remainder(left: int | float, right: int | float) -> int | float | None:
    if not right:
        return None
    if type(left) is int and type(right) is int:
        result = abs(left) % abs(right)
        return -result if left < 0 else result
    return math.fmod(left, right) if math.isfinite(left) else math.nan


def negate(value: Any) -> Any:
    """The operator ``-`` with one operand, with MISSING and NULL as `add` has them."""
    return subtract(0, value)


def concatenate(left: Any, right: Any) -> Any:
    """The operator ``||``.

    :returns: MISSING if one side is MISSING, else None if one is no string.
    :raises FunctionFailed: for more than a server makes.
    """
    if type(left) is str and type(right) is str:
        bounded("||", len(left) + len(right), 1)
        return left + right
    return MISSING if left is MISSING or right is MISSING else None
