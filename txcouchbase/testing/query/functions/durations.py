"""Functions on durations, which are nanoseconds or strings.

Not like a server: the style ``interval`` is not known.

Source: the SQL++ language reference, "Date Functions"; the documentation of Go's package ``time``.
"""

from __future__ import annotations

import re
from typing import Final

from txcouchbase.testing.query.functions.conditions import number_text
from txcouchbase.testing.query.functions.signature import (
    NUMBER,
    STRING,
    Function,
    by_name,
    function,
)
from txcouchbase.testing.query.limits import FunctionFailed
from txcouchbase.testing.query.values import number

__all__ = ["FUNCTIONS"]

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_UNITS["h"] = 60 * _UNITS["m"]
_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_LONGEST = (1 << 63) - 1
_LONGEST_TEXT = 100


def _duration(nanoseconds: int | float, style: str = "legacy") -> str | None:
    """A duration as Go writes it (``1h2m3.5s``), or in seconds."""
    if not -_LONGEST <= nanoseconds <= _LONGEST:
        return None
    total = int(nanoseconds)
    if style.lower() in ("seconds", "compatible"):
        text = f"{total / 1e9:.9f}".rstrip("0").rstrip(".")
        return text + "s" * (style.lower() == "compatible")
    if style.lower() == "interval":
        raise FunctionFailed("DURATION_TO_STR: the embedded node does not know 'interval'")
    if style.lower() not in ("legacy", "default", ""):
        return None
    sign, total = "-" if total < 0 else "", abs(total)
    if not total:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if total < _UNITS[unit] * 1000:
            return sign + number_text(number(total / _UNITS[unit])) + unit
    minutes, rest = divmod(total, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _to_duration(text: str) -> int | None:
    """A duration in nanoseconds; a plain number is seconds."""
    if re.fullmatch(r"[+-]?\d{1,10}(\.\d{1,9})?", text, re.ASCII):
        return round(float(text) * 1e9)
    clock = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,6}(?:\.\d{1,9})?)", text, re.ASCII)
    if clock is not None:
        hours, minutes, seconds = clock.groups()
        return round((int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)) * 1e9)
    found = _DURATION.fullmatch(text) if len(text) < _LONGEST_TEXT else None
    if found is None:
        return None
    total = sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(found[2]))
    if total > _LONGEST:
        return None
    return round(-total if found[1] == "-" else total)


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "duration_to_str": function(_duration, NUMBER, STRING, optional=1),
        "str_to_duration": function(_to_duration, STRING),
    }
)
"""The functions by name."""
