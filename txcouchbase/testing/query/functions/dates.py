"""Functions on dates, which are milliseconds since the epoch or strings.

Not like a server: see `dateformats`; a function named ``clock_`` answers the time at which the
statement started, as one named ``now_`` does; `DATE_RANGE_STR` and `DATE_RANGE_MILLIS` make no
more than 100,000 dates.

Source: the SQL++ language reference, "Date Functions".
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import count
from typing import Any, Final

from txcouchbase.testing.query.functions.dateformats import (
    DEFAULT_LAYOUT,
    layout_of,
    parse,
    write,
)
from txcouchbase.testing.query.functions.dateparts import WEEKDAYS, zone_named
from txcouchbase.testing.query.functions.signature import (
    NUMBER,
    STRING,
    Function,
    by_name,
    function,
    whole,
)
from txcouchbase.testing.query.limits import OUT_OF_RANGE, FunctionFailed
from txcouchbase.testing.query.values import number

__all__ = ["FUNCTIONS"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_DATES = 100_000

_YEARS = {"millennium": 1000, "century": 100, "decade": 10, "year": 1}
_MONTHS = {"quarter": 3, "month": 1}
_DAYS = {"week": 7, "day": 1}
_MILLISECONDS = {"hour": 3_600_000, "minute": 60_000, "second": 1000, "millisecond": 1}


def _at(milliseconds: int | float) -> datetime:
    """The date of a number of milliseconds, in UTC."""
    try:
        return _EPOCH + timedelta(microseconds=round(milliseconds * 1000))
    except (OverflowError, ValueError):
        raise _no_such_year() from None


def _milliseconds(at: datetime) -> int:
    return round((at - _EPOCH) / timedelta(milliseconds=1))


def _no_such_year() -> FunctionFailed:
    text = "Out of range evaluating a date: the embedded node's years are 1 to 9999."
    return FunctionFailed(text, OUT_OF_RANGE)


def _in_zone(at: datetime, zone: tzinfo) -> datetime:
    try:
        return at.astimezone(zone)
    except OverflowError:
        raise _no_such_year() from None


# Parts.

_PARTS: Final[dict[str, Callable[[datetime], int]]] = {
    "millennium": lambda at: at.year // 1000 + 1,
    "century": lambda at: at.year // 100 + 1,
    "decade": lambda at: at.year // 10,
    "year": lambda at: at.year,
    "quarter": lambda at: (at.month + 2) // 3,
    "month": lambda at: at.month,
    "calendar_month": lambda at: at.month,
    "day": lambda at: at.day,
    "hour": lambda at: at.hour,
    "minute": lambda at: at.minute,
    "second": lambda at: at.second,
    "millisecond": lambda at: at.microsecond // 1000,
    "week": lambda at: (at.timetuple().tm_yday + 6) // 7,
    "day_of_year": lambda at: at.timetuple().tm_yday,
    "doy": lambda at: at.timetuple().tm_yday,
    "day_of_week": lambda at: at.isoweekday() % 7,
    "dow": lambda at: at.isoweekday() % 7,
    "iso_week": lambda at: at.isocalendar()[1],
    "iso_year": lambda at: at.isocalendar()[0],
    "iso_dow": lambda at: at.isoweekday(),
    "timezone": lambda at: _offset(at),
    "timezone_hour": lambda at: int(_offset(at) / 3600),
    "timezone_minute": lambda at: int((_offset(at) - int(_offset(at) / 3600) * 3600) / 60),
}


def _offset(at: datetime) -> int:
    return int((at.utcoffset() or timedelta()).total_seconds())


def _part(at: datetime, name: str) -> int:
    if name.lower() not in _PARTS:
        raise FunctionFailed(f"Unsupported date part {name}.")
    return _PARTS[name.lower()](at)


# Sums and differences.


def _added(at: datetime, amount: int, part: str) -> datetime:
    name = part.lower()
    try:
        if name in _YEARS:
            return _months_later(at, amount * _YEARS[name] * 12)
        if name in _MONTHS:
            return _months_later(at, amount * _MONTHS[name])
        if name == "calendar_month":
            return _calendar_months_later(at, amount)
        if name in _DAYS:
            return at + timedelta(days=amount * _DAYS[name])
        if name in _MILLISECONDS:
            later = at.astimezone(timezone.utc) + timedelta(
                milliseconds=amount * _MILLISECONDS[name]
            )
            return later.astimezone(at.tzinfo)
    except (OverflowError, ValueError):
        raise _no_such_year() from None
    raise FunctionFailed(f"Unsupported date add part {part}.")


def _months_later(at: datetime, months: int) -> datetime:
    """The same day of a later month; a day that it does not have is one of the month after it."""
    first = at.replace(day=1)
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return first.replace(year=year, month=month + 1) + timedelta(days=at.day - 1)


def _calendar_months_later(at: datetime, months: int) -> datetime:
    """The same day of a later month, or its last one: also of the last day of a month."""
    first = _months_later(at.replace(day=1), months)
    last = _last_day(first)
    is_last = at.day == _last_day(at) and months != 0
    return first.replace(day=last if is_last else min(at.day, last))


def _last_day(at: datetime) -> int:
    return monthrange(at.year, at.month)[1]


def _difference(later: datetime, earlier: datetime, part: str) -> int:
    if later < earlier:
        return -_difference(earlier, later, part)
    name = part.lower()
    if name in _YEARS:
        return (later.year - earlier.year) // _YEARS[name]
    if name in ("month", "calendar_month"):
        return abs((later.year - earlier.year) * 12 + later.month - earlier.month)
    if name == "quarter":
        return abs((later.year - earlier.year) * 4 + _part(later, name) - _part(earlier, name))
    days = later.date().toordinal() - earlier.date().toordinal()
    if name in _DAYS:
        return days // _DAYS[name]
    if name in _MILLISECONDS:
        return _within(later, days, name) - _within(earlier, 0, name)
    raise FunctionFailed(f"Unsupported date diff part {part}.")


def _within(at: datetime, days: int, part: str) -> int:
    """How many of a part have begun since the start of the day, and in some days before it."""
    passed = at.hour * 3600 + at.minute * 60 + at.second + days * 86_400
    return (passed * 1000 + at.microsecond // 1000) // _MILLISECONDS[part]


def _truncated(at: datetime, part: str) -> datetime:
    name = part.lower()
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if name in _YEARS:
            return day.replace(year=day.year - day.year % _YEARS[name], month=1, day=1)
        if name == "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        if name in ("month", "calendar_month"):
            return day.replace(day=1)
        if name == "week":
            return day - timedelta(days=day.isoweekday() % 7)
        if name == "iso_week":
            return day - timedelta(days=day.isoweekday() - 1)
    except (OverflowError, ValueError):
        raise _no_such_year() from None
    if name == "day":
        return day
    if name in _MILLISECONDS:
        width = timedelta(milliseconds=_MILLISECONDS[name])
        return at - (at - _EPOCH) % width
    raise FunctionFailed(f"Unsupported date trunc part {part}.")


def _from_to(start: datetime, end: datetime, part: str, step: int) -> Iterator[datetime]:
    if start == end or (start > end) == (step >= 0):
        return
    if abs(_difference(start, end, part)) // abs(step or 1) > _MOST_DATES:
        raise FunctionFailed("Out of range evaluating a range of dates.", OUT_OF_RANGE)
    at = start
    for number_of_steps in count(1):
        if not (at < end if step > 0 else at > end) or not step:
            return
        yield at
        if part.lower() == "calendar_month":
            at = _added(start, step * number_of_steps, part)
        else:
            at = _added(at, step, part)


# Functions.


def _now(zone: bool = False) -> Function:
    """A function that tells the time.

    :param zone: whether its first argument is a time zone.
    """

    def call(seconds: float, *arguments: str) -> str | None:
        found = zone_named(arguments[0]) if zone else timezone.utc
        if found is None:
            return None
        return write(_in_zone(_at(seconds * 1000), found), "".join(arguments[zone:]))

    kinds = (STRING, STRING) if zone else (STRING,)
    return function(call, *kinds, optional=1, clock=True)


def _now_milliseconds(seconds: float) -> Any:
    return number(seconds * 1000)


def _add_milliseconds(date: int | float, amount: int | float, part: str) -> int | None:
    steps = whole(amount)
    return None if steps is None else _milliseconds(_added(_at(date), steps, part))


def _add_string(date: str, amount: int | float, part: str) -> str | None:
    at, steps = parse(date), whole(amount)
    if at is None or steps is None:
        return None
    return write(_added(at, steps, part), layout_of(date) or DEFAULT_LAYOUT)


def _difference_of_milliseconds(one: int | float, other: int | float, part: str) -> int:
    return _difference(_at(one), _at(other), part)


def _difference_of_strings(one: str, other: str, part: str) -> int | None:
    first, second = parse(one), parse(other)
    return None if first is None or second is None else _difference(first, second, part)


def _distance(body: Callable[..., int | None]) -> Callable[..., int | None]:
    def call(*arguments: Any) -> int | None:
        found = body(*arguments)
        return None if found is None else abs(found)

    return call


def _format(date: str, first: str, second: str | None = None) -> str | None:
    at = parse(date) if second is None else parse(date, first)
    return None if at is None else write(at, first if second is None else second)


def _part_of_milliseconds(date: int | float, part: str, zone: str = "UTC") -> int | None:
    found = zone_named(zone)
    return None if found is None else _part(_in_zone(_at(date), found), part)


def _part_of_string(date: str, part: str) -> int | None:
    at = parse(date)
    return None if at is None else _part(at, part)


def _range_of_milliseconds(
    start: int | float, end: int | float, part: str, step: int | float = 1
) -> list[int] | None:
    steps = whole(step)
    if steps is None:
        return None
    return [_milliseconds(at) for at in _from_to(_at(start), _at(end), part, steps)]


def _range_of_strings(start: str, end: str, part: str, step: int | float = 1) -> list[str] | None:
    first, last, steps = parse(start), parse(end), whole(step)
    if first is None or last is None or steps is None:
        return None
    layout = layout_of(start) or DEFAULT_LAYOUT
    return [write(at, layout) for at in _from_to(first, last, part, steps)]


def _truncated_milliseconds(date: int | float, part: str) -> int:
    return _milliseconds(_truncated(_at(date), part))


def _truncated_string(date: str, part: str, form: str | None = None) -> str | None:
    at = parse(date, form or "")
    if at is None:
        return None
    return write(_truncated(at, part), form or layout_of(date) or DEFAULT_LAYOUT)


def _to_string(date: int | float, form: str = "") -> str:
    return write(_at(date), form)


def _to_zone(date: int | float, zone: str, form: str = "") -> str | None:
    found = zone_named(zone)
    return None if found is None else write(_in_zone(_at(date), found), form)


def _to_milliseconds(date: str, form: str = "") -> int | None:
    at = parse(date, form)
    return None if at is None else _milliseconds(at)


def _string_to_utc(date: str, form: str = "", output: str | None = None) -> str | None:
    return _string_to_zone(date, "UTC", form, output)


def _string_to_zone(date: str, zone: str, form: str = "", output: str | None = None) -> str | None:
    at, found = parse(date, form), zone_named(zone)
    if at is None or found is None:
        return None
    if output is None:
        output = form or layout_of(date) or DEFAULT_LAYOUT
    return write(_in_zone(at, found), output)


def _weekday(at: datetime) -> str:
    return WEEKDAYS[at.isoweekday() % 7]


def _weekday_of_milliseconds(date: int | float, zone: str = "UTC") -> str | None:
    found = zone_named(zone)
    return None if found is None else _weekday(_in_zone(_at(date), found))


def _weekday_of_string(date: str) -> str | None:
    at = parse(date)
    return None if at is None else _weekday(at)


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "clock_local clock_str clock_utc now_local now_str now_utc": _now(),
        "clock_millis now_millis": function(_now_milliseconds, clock=True),
        "clock_tz now_tz": _now(zone=True),
        "date_add_millis": function(_add_milliseconds, NUMBER, NUMBER, STRING),
        "date_add_str": function(_add_string, STRING, NUMBER, STRING),
        "date_diff_abs_millis": function(
            _distance(_difference_of_milliseconds), NUMBER, NUMBER, STRING
        ),
        "date_diff_abs_str": function(_distance(_difference_of_strings), STRING, STRING, STRING),
        "date_diff_millis": function(_difference_of_milliseconds, NUMBER, NUMBER, STRING),
        "date_diff_str": function(_difference_of_strings, STRING, STRING, STRING),
        "date_format_str": function(_format, STRING, STRING, STRING, optional=1),
        "date_part_millis": function(_part_of_milliseconds, NUMBER, STRING, STRING, optional=1),
        "date_part_str": function(_part_of_string, STRING, STRING),
        "date_range_millis": function(
            _range_of_milliseconds, NUMBER, NUMBER, STRING, NUMBER, optional=1
        ),
        "date_range_str": function(_range_of_strings, STRING, STRING, STRING, NUMBER, optional=1),
        "date_trunc_millis": function(_truncated_milliseconds, NUMBER, STRING),
        "date_trunc_str": function(_truncated_string, STRING, STRING, STRING, optional=1),
        "millis_to_str millis_to_local millis_to_utc": function(
            _to_string, NUMBER, STRING, optional=1
        ),
        "millis_to_tz millis_to_zone_name": function(_to_zone, NUMBER, STRING, STRING, optional=1),
        "str_to_millis millis": function(_to_milliseconds, STRING, STRING, optional=1),
        "str_to_tz str_to_zone_name": function(
            _string_to_zone, STRING, STRING, STRING, STRING, optional=2
        ),
        "str_to_utc": function(_string_to_utc, STRING, STRING, STRING, optional=2),
        "weekday_millis": function(_weekday_of_milliseconds, NUMBER, STRING, optional=1),
        "weekday_str": function(_weekday_of_string, STRING),
    }
)
"""The functions by name."""
