"""Functions on numbers and on their bits.

Not like a server: `RANDOM` with a seed repeats, but with other numbers than a server's.

Source: the SQL++ language reference, "Number Functions" and "Bitwise Functions".
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import reduce
from operator import and_, or_, xor
from typing import Any, Final

from txcouchbase.testing.query.functions.signature import (
    ARRAY,
    BOOLEAN,
    NUMBER,
    Function,
    by_name,
    function,
    whole,
)
from txcouchbase.testing.query.values import is_array, is_number, modulo, number

__all__ = ["FUNCTIONS"]

_WORD = 1 << 64
"""One more than the largest number of 64 bits."""


def _real(body: Callable[..., float], arguments: int = 1) -> Function:
    """A function of real numbers: infinite above the largest float, NaN where it is not defined."""

    def call(*values: int | float) -> Any:
        try:
            return number(body(*map(_as_float, values)))
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    return function(call, *[NUMBER] * arguments)


def _as_float(value: int | float) -> float:
    return float(number(value))


def _logarithm(body: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: -math.inf if value == 0 else body(value)


def _power(base: float, exponent: float) -> float:
    if base == 0 and exponent < 0:
        return math.inf
    return math.pow(base, exponent)


def _to_integer(body: Callable[[float], int]) -> Function:
    """A function that takes away a fraction."""

    def call(value: int | float) -> Any:
        return number(body(value)) if math.isfinite(number(value)) else value

    return function(call, NUMBER)


def _sign(value: int | float) -> int:
    return (value > 0) - (value < 0)


def _absolute(value: int | float) -> Any:
    return number(abs(value))


def _rounding(body: Callable[[float], float]) -> Function:
    """A function that rounds to some decimal places, or to powers of ten for negative ones."""

    def call(value: int | float, places: int | float = 0) -> Any:
        digits = whole(places)
        if digits is None:
            return None
        plain = number(value)
        if not math.isfinite(plain) or (type(plain) is int and digits >= 0):
            return plain
        if not -308 <= digits <= 308:
            return plain if digits > 0 else 0
        scale = 10.0**digits
        scaled = abs(plain) * scale
        if not math.isfinite(scaled):
            return plain
        return number(math.copysign(body(scaled) / scale, plain))

    return function(call, NUMBER, NUMBER, optional=1)


def _half_to_even(value: float) -> float:
    raised = value + 0.5
    rounded = math.floor(raised)
    return rounded - 1 if rounded == raised and rounded % 2 else rounded


def _half_up(value: float) -> float:
    return math.floor(value + 0.5)


def _random(seed: int | float | None = None) -> float | None:
    if seed is None:
        return random.random()
    start = whole(seed)
    return None if start is None else random.Random(start).random()


def _integer_division(left: Any, right: Any) -> Any:
    first, second = _truncated(left), _truncated(right)
    if first is None or not second:
        return None
    quotient = abs(first) // abs(second)
    return number(-quotient if (first < 0) != (second < 0) else quotient)


def _integer_modulo(left: Any, right: Any) -> Any:
    first, second = _truncated(left), _truncated(right)
    return None if first is None or not second else modulo(first, second)


def _truncated(value: int | float) -> int | None:
    return math.trunc(value) if math.isfinite(number(value)) else None


# Bits.


def _signed(bits: int) -> int:
    """The integer that 64 bits stand for."""
    bits %= _WORD
    return bits - _WORD if bits >= _WORD // 2 else bits


def _bits(body: Callable[[int, int], int]) -> Function:
    def call(*values: int | float) -> int | None:
        integers = [whole(value) for value in values]
        if None in integers:
            return None
        return _signed(reduce(body, integers))  # type: ignore[arg-type]

    return function(call, NUMBER, NUMBER, rest=NUMBER)


def _not(value: int | float) -> int | None:
    bits = whole(value)
    return None if bits is None else _signed(~bits)


def _shift(value: int | float, places: int | float, rotate: bool = False) -> int | None:
    bits, by = whole(value), whole(places)
    if bits is None or by is None:
        return None
    bits %= _WORD
    if rotate:
        by %= 64
        return _signed(bits << by | bits >> 64 - by)
    if abs(by) >= 64:
        return 0
    return _signed(bits << by if by >= 0 else bits >> -by)


def _mask(places: Any) -> int | None:
    """The bits at some places, the lowest of which is 1; None if one is none of 64."""
    mask = 0
    for place in places if is_array(places) else [places]:
        at = whole(place) if is_number(place) else None
        if at is None or not 1 <= at <= 64:
            return None
        mask |= 1 << at - 1
    return mask


def _set(value: int | float, places: Any) -> int | None:
    bits, mask = whole(value), _mask(places)
    return None if bits is None or mask is None else _signed(bits | mask)


def _clear(value: int | float, places: Any) -> int | None:
    bits, mask = whole(value), _mask(places)
    return None if bits is None or mask is None else _signed(bits & ~mask)


def _test(value: int | float, places: Any, every: bool = False) -> bool | None:
    bits, mask = whole(value), _mask(places)
    if bits is None or mask is None:
        return None
    return bits & mask == mask if every else bits & mask != 0


def _constant(value: float) -> Function:
    return function(lambda: value)


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "abs": function(_absolute, NUMBER),
        "acos": _real(math.acos),
        "asin": _real(math.asin),
        "atan": _real(math.atan),
        "atan2": _real(math.atan2, 2),
        "bitand": _bits(and_),
        "bitclear": function(_clear, NUMBER, NUMBER | ARRAY),
        "bitnot": function(_not, NUMBER),
        "bitor": _bits(or_),
        "bitset": function(_set, NUMBER, NUMBER | ARRAY),
        "bitshift": function(_shift, NUMBER, NUMBER, BOOLEAN, optional=1),
        "bittest isbitset": function(_test, NUMBER, NUMBER | ARRAY, BOOLEAN, optional=1),
        "bitxor": _bits(xor),
        "ceil": _to_integer(math.ceil),
        "cos": _real(math.cos),
        "degrees deg": _real(math.degrees),
        "e": _constant(math.e),
        "exp": _real(math.exp),
        "floor": _to_integer(math.floor),
        "idiv": function(_integer_division, NUMBER, NUMBER),
        "imod": function(_integer_modulo, NUMBER, NUMBER),
        "inf posinf pos_inf": _constant(math.inf),
        "ln": _real(_logarithm(math.log)),
        "log": _real(_logarithm(math.log10)),
        "nan": _constant(math.nan),
        "neginf neg_inf": _constant(-math.inf),
        "pi": _constant(math.pi),
        "power": _real(_power, 2),
        "radians rad": _real(math.radians),
        "random": function(_random, NUMBER, optional=1, volatile=True),
        "round round_even": _rounding(_half_to_even),
        "round_nearest": _rounding(_half_up),
        "sign": function(_sign, NUMBER),
        "sin": _real(math.sin),
        "sqrt": _real(math.sqrt),
        "tan": _real(math.tan),
        "trunc": _rounding(math.floor),
    }
)
"""The functions by name."""
