"""Parts of formats of dates: what each one reads and how it is written.

Source: the SQL++ language reference, "Date Functions", section "Date Formats"; the documentation
of Go's package ``time``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

__all__ = [
    "CODES",
    "GO",
    "PERCENT",
    "WEEKDAYS",
    "Part",
    "fraction",
    "literal",
    "upper",
    "zone_named",
]

MONTHS: Final = (
    "January February March April May June July August September October November December"
).split()
WEEKDAYS: Final = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()


def zone_named(name: str) -> tzinfo | None:
    """A time zone by its IANA name; None for an unknown one."""
    if name in ("UTC", "", "Local"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@dataclass(frozen=True)
class Part:
    """One part of a format.

    Attributes:
        pattern: What it reads, as a regular expression.
        write: How a date is written.
        field: The name of what it says; empty for one that says nothing.
        value: What the text means.
    """

    pattern: str
    write: Callable[[datetime], str]
    field: str = ""
    value: Callable[[str], Any] = str


_PADS = {"0": "0", "_": " ", "-": ""}


def _number(field: str, width: int, get: Callable[[datetime], int], pad: str = "0") -> Part:
    """A part that is a number.

    :param pad: what fills its width: ``0``, ``_`` for spaces, ``-`` for nothing.
    """
    filling = _PADS[pad]
    patterns = {
        "0": rf"\d{{{width}}}",
        "_": rf"[ \d]{{0,{width - 1}}}\d",
        "-": rf"\d{{1,{width}}}",
    }
    return Part(
        patterns[pad],
        lambda at: str(get(at)).rjust(width, filling) if filling else str(get(at)),
        field,
        int,
    )


def literal(text: str) -> Part:
    """A part that says nothing; a space in it stands for any character that is read."""
    return Part("".join("." if c == " " else re.escape(c) for c in text), lambda at: text)


def _name(field: str, names: list[str], get: Callable[[datetime], int], length: int) -> Part:
    """A part that is one of some names, or their beginnings."""
    short = [name[:length] for name in names]
    places = {name.lower(): place for place, name in enumerate(short)}
    return Part(
        "(?i:" + "|".join(short) + ")",
        lambda at: short[get(at)],
        field,
        lambda text: places[text.lower()],
    )


def _cased(part: Part, change: Callable[[str], str]) -> Part:
    return Part(part.pattern, lambda at: change(part.write(at)), part.field, part.value)


def _hour12(at: datetime) -> int:
    return at.hour % 12 or 12


def _half(upper: bool) -> Part:
    names = ("AM", "PM") if upper else ("am", "pm")
    return Part("(?i:[ap]m)", lambda at: names[at.hour // 12], "half", str.lower)


def _seconds(pad: str) -> Part:
    number = _number("second", 2, lambda at: at.second, pad)
    return Part(rf"{number.pattern}(?:[.,]\d{{1,9}})?", number.write, "seconds", str)


def fraction(point: str, digits: int, trimmed: bool) -> Part:
    """A part that is the fraction of a second.

    :param point: what is before it, and may be left out with it; empty if that is another part.
    :param trimmed: whether zeros at its end are left out.
    """
    if not point:
        return Part(r"\d{1,9}", lambda at: f"{at.microsecond:06}000"[:digits], "fraction")

    def write(at: datetime) -> str:
        text = f"{at.microsecond:06}000"[:digits]
        if trimmed:
            text = text.rstrip("0")
        return point + text if text else ""

    return Part(r"(?:[.,]\d{1,9})?", write, "fraction", lambda text: text[1:])


_OFFSET = r"[+-]\d{2}(?::?\d{2})?|Z"
_ZONE = rf"{_OFFSET}|[A-Za-z_]+(?:/[A-Za-z_+\-0-9]+)*"


def _offset(separator: str, minutes: bool, letter: bool) -> Part:
    """A part that is a distance from UTC.

    :param letter: whether none is written as ``Z``.
    """

    def write(at: datetime) -> str:
        total = int((at.utcoffset() or timedelta()).total_seconds()) // 60
        if letter and not total:
            return "Z"
        hours, rest = divmod(abs(total), 60)
        sign = "-" if total < 0 else "+"
        return f"{sign}{hours:02}" + (f"{separator}{rest:02}" if minutes else "")

    return Part(_OFFSET, write, "zone", _zone)


def _zone(text: str) -> tzinfo | None:
    if text == "Z":
        return timezone.utc
    if text[0] not in "+-":
        return zone_named(text)
    digits = text[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
    if minutes >= 24 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _zone_name(at: datetime) -> str:
    zone = at.tzinfo
    if isinstance(zone, ZoneInfo):
        return zone.key
    return "UTC" if zone is timezone.utc else _offset(":", True, False).write(at)


def _suffix(at: datetime) -> str:
    if 10 < at.day < 14:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(at.day % 10, "th")


def _weekday(at: datetime) -> int:
    return at.isoweekday() % 7


def upper(part: Part) -> Part:
    """A part that is written in capitals."""
    return _cased(part, str.upper)


_YEAR = _number("year", 4, lambda at: at.year)
_YEAR_IN_CENTURY = _number("short_year", 2, lambda at: at.year % 100)
_CENTURY = _number("century", 2, lambda at: at.year // 100)
_MONTH = _number("month", 2, lambda at: at.month)
_DAY = _number("day", 2, lambda at: at.day)
_HOUR = _number("hour", 2, lambda at: at.hour)
_HOUR12 = _number("hour12", 2, _hour12)
_MINUTE = _number("minute", 2, lambda at: at.minute)
_SECONDS = _seconds("0")
_MONTH_NAME = _name("month_name", MONTHS, lambda at: at.month - 1, 9)
_MONTH_SHORT = _name("month_name", MONTHS, lambda at: at.month - 1, 3)
_WEEKDAY_NAME = _name("", WEEKDAYS, _weekday, 9)
_WEEKDAY_SHORT = _name("", WEEKDAYS, _weekday, 3)
_OFFSET_OR_Z = _offset(":", True, True)

GO: Final[dict[str, Part]] = {
    "2006": _YEAR,
    "06": _YEAR_IN_CENTURY,
    "January": _MONTH_NAME,
    "Jan": _MONTH_SHORT,
    "01": _MONTH,
    "1": _number("month", 2, lambda at: at.month, "-"),
    "Monday": _WEEKDAY_NAME,
    "Mon": _WEEKDAY_SHORT,
    "02": _DAY,
    "_2": _number("day", 2, lambda at: at.day, "_"),
    "2": _number("day", 2, lambda at: at.day, "-"),
    "002": _number("day_of_year", 3, lambda at: at.timetuple().tm_yday),
    "__2": _number("day_of_year", 3, lambda at: at.timetuple().tm_yday, "_"),
    "15": _HOUR,
    "03": _HOUR12,
    "3": _number("hour12", 2, _hour12, "-"),
    "PM": _half(upper=True),
    "pm": _half(upper=False),
    "04": _MINUTE,
    "4": _number("minute", 2, lambda at: at.minute, "-"),
    "05": _SECONDS,
    "5": _seconds("-"),
    "MST": Part(_ZONE, _zone_name, "zone", _zone),
    "Z07:00": _OFFSET_OR_Z,
    "Z0700": _offset("", True, True),
    "Z07": _offset("", False, True),
    "-07:00": _offset(":", True, False),
    "-0700": _offset("", True, False),
    "-07": _offset("", False, False),
}
"""Parts by the piece of a reference date of Go."""

CODES: Final[dict[str, Part]] = {
    "YYYY": _YEAR,
    "YY": _YEAR_IN_CENTURY,
    "CC": _CENTURY,
    "MM": _MONTH,
    "DD": _DAY,
    "hh": _HOUR,
    "HH24": _HOUR,
    "HH12": _HOUR12,
    "HH": _HOUR,
    "mm": _MINUTE,
    "MI": _MINUTE,
    "ss": _SECONDS,
    "SS": _SECONDS,
    "sss": fraction("", 9, trimmed=False),
    "s": fraction("", 3, trimmed=False),
    "AM": _half(upper=True),
    "PM": _half(upper=True),
    "am": _half(upper=False),
    "pm": _half(upper=False),
    "TZD": _OFFSET_OR_Z,
    "TZN": Part(_ZONE, _zone_name, "zone", _zone),
    "MONTH": _cased(_MONTH_NAME, str.upper),
    "Month": _MONTH_NAME,
    "month": _cased(_MONTH_NAME, str.lower),
    "MON": _cased(_MONTH_SHORT, str.upper),
    "Mon": _MONTH_SHORT,
    "mon": _cased(_MONTH_SHORT, str.lower),
    "DAY": _cased(_WEEKDAY_NAME, str.upper),
    "Day": _WEEKDAY_NAME,
    "day": _cased(_WEEKDAY_NAME, str.lower),
    "DY": _cased(_WEEKDAY_SHORT, str.upper),
    "Dy": _WEEKDAY_SHORT,
    "dy": _cased(_WEEKDAY_SHORT, str.lower),
}
"""Parts by their code."""

PERCENT: Final[dict[str, Callable[[str], Part]]] = {
    "Y": lambda pad: _number("year", 4, lambda at: at.year, pad),
    "C": lambda pad: _number("century", 2, lambda at: at.year // 100, pad),
    "y": lambda pad: _number("short_year", 2, lambda at: at.year % 100, pad),
    "m": lambda pad: _number("month", 2, lambda at: at.month, pad),
    "d": lambda pad: _number("day", 2, lambda at: at.day, pad),
    "H": lambda pad: _number("hour", 2, lambda at: at.hour, pad),
    "I": lambda pad: _number("hour12", 2, _hour12, pad),
    "M": lambda pad: _number("minute", 2, lambda at: at.minute, pad),
    "S": _seconds,
    "j": lambda pad: _number("day_of_year", 3, lambda at: at.timetuple().tm_yday, pad),
    "B": lambda pad: _MONTH_NAME,
    "b": lambda pad: _MONTH_SHORT,
    "A": lambda pad: _WEEKDAY_NAME,
    "a": lambda pad: _WEEKDAY_SHORT,
    "f": lambda pad: Part("(?i:st|nd|rd|th)", _suffix),
    "p": lambda pad: _half(upper=True),
    "P": lambda pad: _half(upper=False),
    "N": lambda pad: fraction("", 3, trimmed=False),
    "z": lambda pad: Part(_ZONE, _offset(":", True, False).write, "zone", _zone),
    "Z": lambda pad: Part(_ZONE, _zone_name, "zone", _zone),
    "s": lambda pad: Part(r"-?\d{1,12}", lambda at: str(int(at.timestamp())), "epoch", int),
    "%": lambda pad: literal("%"),
}
"""Makers of parts by the letter of a percent specifier; they get its kind of padding."""
