"""Formats of dates in strings: how they are read and written.

A format is one of four kinds: a reference date of Go (``2006-01-02``), codes (``YYYY-MM-DD``),
percent specifiers (``%Y-%m-%d``), or an example (``1111-11-11``).

Not like a server: the node's own time zone is UTC; seconds have six decimal places; the years are
1 to 9999, and a time without a date is on the first day of year 1, not of year 0; a percent
specifier has no width. Other time zones are those that the system knows.

Source: the SQL++ language reference, "Date Functions", section "Date Formats"; the documentation
of Go's package ``time``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from txcouchbase.testing.query.functions.dateparts import (
    CODES,
    GO,
    PERCENT,
    Part,
    fraction,
    literal,
    upper,
)
from txcouchbase.testing.query.limits import FunctionFailed

__all__ = ["DEFAULT_LAYOUT", "layout_of", "parse", "write"]

DEFAULT_LAYOUT = "2006-01-02T15:04:05.999Z07:00"
"""How a date is written when no format is given."""

Found = dict[str, Any]
"""What a text says of a date, by the names of its fields."""

_LONGEST = 100
"""Characters of a date, or of a format."""

_GO_PIECES = re.compile(
    "|".join(re.escape(piece) for piece in sorted(GO, key=len, reverse=True))
    + r"|[.,](?:0+|9+)(?!\d)|."
)
_CODE_PIECES = re.compile(
    "|".join(re.escape(piece) for piece in sorted(CODES, key=len, reverse=True)) + "|.",
    re.DOTALL,
)
_IS_CODES = re.compile("YY|CC|MM|DD|hh|HH|mm|MI|ss|SS|TZD")
_PERCENT_SHORT = {"T": "%H:%M:%S", "R": "%H:%M", "D": "%Y-%m-%d"}
_PERCENT_PIECES = re.compile(r"%([-_0]?)(\^?)(.?)|[^%]+", re.DOTALL)


@dataclass(frozen=True)
class Format:
    """A format that is taken apart."""

    parts: tuple[Part, ...]
    pattern: re.Pattern[str]


def _format(parts: list[Part]) -> Format:
    # What comes twice is read as what is nothing: it would be ambiguous, and slow to find out.
    fields = [part.field for part in parts if part.field]
    twice = len(fields) != len(set(fields))
    pattern = "(?!)" if twice else "".join(f"({part.pattern})" for part in parts)
    return Format(tuple(parts), re.compile(pattern, re.ASCII))


def _go(layout: str) -> Iterator[Part]:
    for piece in _GO_PIECES.findall(layout):
        if piece in GO:
            yield GO[piece]
        elif len(piece) > 1:
            yield fraction(piece[0], min(len(piece) - 1, 9), trimmed=piece[1] == "9")
        else:
            yield literal(piece)


def _codes(text: str) -> Iterator[Part]:
    for piece in _CODE_PIECES.findall(text):
        yield CODES[piece] if piece in CODES else literal(piece)


def _percent(text: str) -> Iterator[Part]:
    for found in _PERCENT_PIECES.finditer(text):
        pad, capitals, letter = found.groups()
        if letter is None:
            yield literal(found.group())
        elif letter in _PERCENT_SHORT:
            yield from _percent(_PERCENT_SHORT[letter])
        elif letter == "F":
            yield from _go(DEFAULT_LAYOUT)
        elif letter in PERCENT:
            part = PERCENT[letter](pad or "0")
            yield upper(part) if capitals else part
        else:
            raise FunctionFailed(f"the embedded node does not know {found.group()!r} in a date")


_IS_GO = re.compile(r"2006(?!\d)|0?[1-6](?!\d)|\D")


@lru_cache(maxsize=128)
def _compiled(text: str) -> Format | None:
    """A format; None for a text that says nothing of a date."""
    if not text:
        return _format(list(_go(DEFAULT_LAYOUT)))
    if len(text) > _LONGEST:
        raise FunctionFailed(f"a format of a date has more than {_LONGEST} characters")
    if "%" in text:
        return _format(list(_percent(text)))
    if _IS_CODES.search(text):
        return _format(list(_codes(text)))
    if _IS_GO.match(text):
        says_something = any(piece in GO for piece in _GO_PIECES.findall(text))
        return _format(list(_go(text))) if says_something else None
    layout = layout_of(text)
    return None if layout is None else _format(list(_go(layout)))


_KNOWN = re.compile(
    r"""\s*
    (?P<date>\d{4}(?P<separator>[-/.])\d\d(?P=separator)\d\d)?
    (?P<between>T|\ +)?
    (?P<time>\d\d:\d\d(?P<second>:\d\d)?)?
    (?P<fraction>\.\d{1,9})?
    (?P<space>\ *)(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?
    \s*""",
    re.VERBOSE | re.ASCII,
)


def layout_of(text: str) -> str | None:
    """The layout, as Go writes it, of a date in one of the usual formats; None for another text."""
    found = _KNOWN.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or not (found["date"] or found["time"]):
        return None
    if bool(found["between"]) != bool(found["date"] and found["time"]):
        return None
    if (found["fraction"] or found["zone"]) and not found["second"]:
        return None
    layout = f"2006{found['separator']}01{found['separator']}02" if found["date"] else ""
    layout += found["between"] or ""
    if found["time"]:
        layout += "15:04" + (":05" if found["second"] else "")
    if found["fraction"]:
        layout += "." + "9" * (3 * -(-(len(found["fraction"]) - 1) // 3))
    if found["zone"]:
        digits = found["zone"]
        layout += found["space"] + (
            "Z07" if len(digits) == 3 else "Z0700" if len(digits) == 5 else "Z07:00"
        )
    return layout


def parse(text: str, given: str = "") -> datetime | None:
    """The date in a text.

    :param given: its format; empty for one of the usual ones.
    :returns: None if the text is none.
    :raises FunctionFailed: for a format that has what the node does not know.
    """
    if not given:
        layout = layout_of(text)
        if layout is None:
            return None
        given = layout
        text = text.strip()
    form = _compiled(given)
    found = None if form is None or len(text) > _LONGEST else form.pattern.fullmatch(text)
    if form is None or found is None:
        return None
    fields: Found = {}
    for part, piece in zip(form.parts, found.groups(), strict=True):
        if part.field and piece:
            fields[part.field] = part.value(piece)
    return _assembled(fields)


def _assembled(fields: Found) -> datetime | None:
    zone = fields.get("zone", timezone.utc)
    if zone is None:
        return None
    try:
        if "epoch" in fields:
            return datetime.fromtimestamp(fields["epoch"], zone)
        at = datetime(
            _year(fields),
            fields["month_name"] + 1 if "month_name" in fields else fields.get("month", 1),
            fields.get("day", 1),
            _hour(fields),
            fields.get("minute", 0),
            int(re.split("[.,]", fields.get("seconds", "0"))[0]),
            _microseconds(fields),
            zone,
        )
        if "day_of_year" in fields:
            at = at.replace(month=1, day=1) + timedelta(days=fields["day_of_year"] - 1)
        return at
    except (ValueError, OverflowError, OSError):
        return None


def _year(fields: Found) -> int:
    if "year" in fields:
        return int(fields["year"])
    if "short_year" not in fields and "century" not in fields:
        return 1
    short = fields.get("short_year", 0)
    return int(fields.get("century", 19 if short >= 69 else 20) * 100 + short)


def _hour(fields: Found) -> int:
    hour = fields.get("hour12")
    if hour is None:
        return int(fields.get("hour", 0))
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return int(hour % 12 + (12 if fields.get("half") == "pm" else 0))


def _microseconds(fields: Found) -> int:
    digits = fields.get("fraction") or re.split("[.,]", fields.get("seconds", "") + ".")[1]
    return int(digits[:6].ljust(6, "0")) if digits else 0


def write(at: datetime, given: str = "") -> str:
    """A date as a text.

    :param given: its format; empty for the usual one.
    :raises FunctionFailed: for a format that has what the node does not know.
    """
    form = _compiled(given) or _compiled("")
    return "".join(part.write(at) for part in form.parts) if form is not None else ""
