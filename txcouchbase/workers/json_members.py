"""Members of JSON objects from a server, each of the kind that it must be.

All functions raise `Unexpected` where it is not.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

__all__ = [
    "Unexpected",
    "as_list",
    "as_object",
    "duration",
    "json_text",
    "member",
    "nanoseconds",
    "number",
    "objects",
    "of_kind",
    "text",
    "unsigned",
]

_to_json = msgspec.json.Encoder(order="sorted").encode


class Unexpected(Exception):
    """A member is missing, or not what it must be."""


_DURATION: Final = re.compile(r"(\d*)(?:\.(\d*))?([^.\d]+)", re.ASCII)
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def duration(text: str) -> int:
    """A duration as Go writes it, such as ``1m2.5s``, in nanoseconds."""
    text = text.removeprefix("+")
    if text == "0":
        return 0
    place = total = 0
    while place < len(text) or not place:
        found = _DURATION.match(text, place)
        if found is None:
            raise Unexpected
        whole, fraction, unit = found[1], found[2] or "", found[3]
        if not (whole or fraction) or unit not in _UNITS or len(found[0]) > 64:
            raise Unexpected
        total += int(whole or "0") * _UNITS[unit]
        if unit != "ns":
            total += int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        place = found.end()
    return nanoseconds(total)


def nanoseconds(count: int) -> int:
    """A count of nanoseconds, as it fits into what the core counts them in."""
    if count >= 2**63:
        raise Unexpected
    return count


def member(of: dict[str, Any], name: str) -> Any:
    """A member that must be there."""
    if name not in of:
        raise Unexpected
    return of[name]


def of_kind(kind: type, value: Any) -> Any:
    """A value that must be of just this type, so that a truth value is no number."""
    if type(value) is not kind:
        raise Unexpected
    return value


def text(of: dict[str, Any], name: str, default: str | None = None) -> str:
    """A text that must be there if there is no default."""
    if name not in of and default is not None:
        return default
    text: str = of_kind(str, member(of, name))
    return text


def unsigned(of: dict[str, Any], name: str, default: int | None = None) -> int:
    """A number of 64 bits without a sign; it must be there if there is no default."""
    if name not in of and default is not None:
        return default
    number: int = of_kind(int, member(of, name))
    if not 0 <= number < 2**64:
        raise Unexpected
    return number


def number(value: Any) -> float:
    """Any number."""
    if type(value) not in (int, float):
        raise Unexpected
    try:
        return float(value)
    except OverflowError:
        raise Unexpected from None


def as_object(value: Any) -> dict[str, Any]:
    """An object."""
    found: dict[str, Any] = of_kind(dict, value)
    return found


def as_list(value: Any) -> list[Any]:
    """A list."""
    found: list[Any] = of_kind(list, value)
    return found


def objects(of: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list, none if there is no list."""
    found = of.get(name)
    return [as_object(item) for item in found] if isinstance(found, list) else []


def json_text(of: dict[str, Any], name: str) -> str | None:
    """Whatever it is, as JSON with sorted names; None if it is not there."""
    return _to_json(of[name]).decode() if name in of else None
