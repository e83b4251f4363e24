"""Functions that choose among their arguments, and functions on what a type is.

Source: the SQL++ language reference, "Comparison Functions", "Conditional Functions for Numbers",
"Conditional Functions for Unknowns" and "Type Functions".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from txcouchbase.testing.query.functions.signature import (
    ANY,
    ARRAY,
    BOOLEAN,
    KNOWN,
    NUMBER,
    OBJECT,
    STRING,
    Function,
    Kind,
    by_name,
    function,
)
from txcouchbase.testing.query.values import (
    MISSING,
    compare,
    equals,
    is_array,
    is_number,
    number,
    sort_key,
    truth,
    type_name,
)

__all__ = ["FUNCTIONS", "number_text"]

# Comparison.


def _known(values: tuple[Any, ...]) -> list[Any]:
    return [value for value in values if value is not None and value is not MISSING]


def _greatest(*values: Any) -> Any:
    return max(_known(values), key=sort_key, default=None)


def _least(*values: Any) -> Any:
    return min(_known(values), key=sort_key, default=None)


# What is not known.


def _if_missing(*values: Any) -> Any:
    return next((value for value in values if value is not MISSING), None)


def _if_null(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _if_unknown(*values: Any) -> Any:
    return next(iter(_known(values)), None)


def _instead(result: Any) -> Callable[[Any, Any], Any]:
    """A function that answers its first argument, or `result` where it equals the second."""

    def call(first: Any, second: Any) -> Any:
        same = equals(first, second)
        if same is True:
            return result
        return first if same is False else same

    return call


def _first_or_other(first: Any, other: Any) -> Any:
    return other if first is None or first is MISSING else first


def _by_first(first: Any, known: Any, unknown: Any) -> Any:
    return unknown if first is None or first is MISSING else known


def _decode(value: Any, *pairs: Any) -> Any:
    for place in range(0, len(pairs) - 1, 2):
        if compare(value, pairs[place]) == 0:
            return pairs[place + 1]
    return pairs[-1] if len(pairs) % 2 else None


# Numbers that are none.


def _first_number(fits: Callable[[float], bool]) -> Callable[..., Any]:
    """A function that answers its first number that fits, NULL from the first other value on."""

    def call(*values: Any) -> Any:
        for value in values:
            if value is MISSING:
                continue
            if not is_number(value):
                return None
            if fits(value):
                return value
        return MISSING if MISSING in values else None

    return call


# Types.


def _is(kind: Kind) -> Function:
    return function(lambda value: type(value) in kind, KNOWN)


def number_text(value: int | float) -> str:
    """A number in decimal, never with an exponent."""
    if type(value) is int:
        return str(value)
    if math.isfinite(value):
        plain = number(value)
        return str(plain) if type(plain) is int else format(Decimal(repr(plain)), "f")
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"


_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_SPECIAL = re.compile(r"[+-]?(inf|infinity)|nan", re.IGNORECASE)


def _to_number(value: Any, stripped: str | None = None) -> Any:
    if type(value) is bool:
        return int(value)
    if type(value) is not str:
        return value if is_number(value) else None
    text = value if stripped is None else _without(value, stripped)
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) or _SPECIAL.fullmatch(text):
        return number(float(text))
    return None


def _without(text: str, stripped: str) -> str:
    """A text without white space and some characters; its only comma is a decimal point."""
    kept = "".join(c for c in text if not c.isspace() and c not in stripped)
    return kept.replace(",", ".") if kept.count(",") == 1 and "." not in text else kept


def _to_string(value: Any) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    if is_number(value):
        return number_text(value)
    if type(value) is bytes:
        return value.decode("utf-8", "replace")
    return value if type(value) is str else None


def _to_array(value: Any) -> Any:
    if is_array(value):
        return value
    return None if type(value) is bytes else [value]


def _to_atom(value: Any) -> Any:
    while is_array(value) or type(value) is dict:
        if len(value) != 1:
            return None
        value = value[0] if is_array(value) else next(iter(value.values()))
    return value


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "greatest": function(_greatest, ANY, ANY, rest=ANY),
        "least": function(_least, ANY, ANY, rest=ANY),
        "ifmissing if_missing": function(_if_missing, ANY, ANY, rest=ANY),
        "ifnull if_null": function(_if_null, ANY, ANY, rest=ANY),
        "ifmissingornull if_missing_or_null coalesce": function(_if_unknown, ANY, ANY, rest=ANY),
        "missingif missing_if": function(_instead(MISSING), ANY, ANY),
        "nullif null_if": function(_instead(None), ANY, ANY),
        "nvl": function(_first_or_other, ANY, ANY),
        "nvl2": function(_by_first, ANY, ANY, ANY),
        "decode": function(_decode, ANY, ANY, ANY, rest=ANY),
        "ifinf if_inf": function(_first_number(lambda n: not math.isinf(n)), ANY, ANY, rest=ANY),
        "ifnan if_nan": function(_first_number(lambda n: n == n), ANY, ANY, rest=ANY),
        "ifnanorinf if_nan_or_inf": function(_first_number(math.isfinite), ANY, ANY, rest=ANY),
        "nanif nan_if": function(_instead(math.nan), ANY, ANY),
        "neginfif neginf_if": function(_instead(-math.inf), ANY, ANY),
        "posinfif posinf_if": function(_instead(math.inf), ANY, ANY),
        "isarray is_array": _is(ARRAY),
        "isatom is_atom": _is(BOOLEAN | NUMBER | STRING),
        "isbinary is_binary isbin is_bin": _is(frozenset({bytes})),
        "isboolean is_boolean isbool is_bool": _is(BOOLEAN),
        "isnumber is_number isnum is_num": _is(NUMBER),
        "isobject is_object isobj is_obj": _is(OBJECT),
        "isstring is_string isstr is_str": _is(STRING),
        "type typename type_name": function(type_name, ANY),
        "toarray to_array": function(_to_array, KNOWN),
        "toatom to_atom": function(_to_atom, KNOWN),
        "toboolean to_boolean tobool to_bool": function(truth, KNOWN),
        "tonumber to_number tonum to_num": function(_to_number, KNOWN, STRING, optional=1),
        "toobject to_object toobj to_obj": function(
            lambda value: value if type(value) is dict else {}, KNOWN
        ),
        "tostring to_string tostr to_str": function(_to_string, KNOWN),
    }
)
"""The functions by name."""
