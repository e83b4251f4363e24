"""What is not text: points in time, places, distances and vectors, as they are read.

Source: Couchbase's documentation, *Supported Queries* and *Child Field Options*; layouts of dates
are those of bleve's ``dateTimeOptional``.
"""

from __future__ import annotations

import math
import re
import sys
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime, timezone
from struct import unpack
from typing import Any

__all__ = [
    "MAX_FLOAT",
    "Place",
    "distance_between",
    "inside",
    "metres",
    "number",
    "place",
    "seconds_of",
    "unit_of",
    "vector",
]

Place = tuple[float, float]
"""Longitude and latitude in degrees."""

MAX_FLOAT = sys.float_info.max

EARTH = 6_371_008.7714
"""Metres of the mean radius."""

_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?)?\Z"
)
_DISTANCE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*\Z")
_PAIR = re.compile(r"\s*(-?[0-9.]+)\s*,\s*(-?[0-9.]+)\s*\Z")
_GEOHASH = re.compile(r"[0-9b-hjkmnp-z]{1,12}\Z")
_GEOHASH_DIGITS = "0123456789bcdefghjkmnpqrstuvwxyz"

_UNITS = {
    ("in", "inch"): 0.0254,
    ("yd", "yards"): 0.9144,
    ("ft", "feet"): 0.3048,
    ("km", "kilometers"): 1000.0,
    ("nm", "nauticalmiles"): 1852.0,
    ("mm", "millimeters"): 0.001,
    ("cm", "centimeters"): 0.01,
    ("mi", "miles"): 1609.344,
    ("m", "meters", ""): 1.0,
}


def number(value: Any) -> float | None:
    """A number of JSON that fits in 64 bits; None for anything else."""
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_FLOAT else None


def seconds_of(text: Any) -> float | None:
    """The seconds since the epoch of a date; None for what is none."""
    found = _DATE.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    offset = 0
    if zone and zone != "Z":
        digits = zone.replace(":", "")
        offset = int(digits[1:3]) * 3600 + int(digits[3:5]) * 60
        offset = -offset if zone[0] == "-" else offset
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=timezone.utc,
        )
    except ValueError:
        return None
    return moment.timestamp() - offset + (float(f"0.{fraction}") if fraction else 0.0)


def place(value: Any) -> Place | None:
    """A place: an object of ``lon`` (or ``lng``) and ``lat``, a list of longitude and latitude, a
    text of latitude and longitude, or a geohash.
    """
    if isinstance(value, dict):
        longitude = number(value.get("lon", value.get("lng")))
        latitude = number(value.get("lat"))
    elif isinstance(value, (list, tuple)) and len(value) == 2:
        longitude, latitude = number(value[0]), number(value[1])
    elif isinstance(value, str):
        pair = _PAIR.match(value)
        if pair is None:
            return _of_geohash(value)
        try:
            latitude, longitude = float(pair[1]), float(pair[2])
        except ValueError:
            return None
    else:
        return None
    if longitude is None or latitude is None:
        return None
    return longitude, latitude


def _of_geohash(text: str) -> Place | None:
    if not _GEOHASH.match(text):
        return None
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    bit = 0
    for digit in text:
        value = _GEOHASH_DIGITS.index(digit)
        for shift in (4, 3, 2, 1, 0):
            low_high = bounds[bit % 2]
            low_high[1 - (value >> shift & 1)] = sum(low_high) / 2
            bit += 1
    return sum(bounds[0]) / 2, sum(bounds[1]) / 2


def unit_of(name: str) -> float | None:
    """The metres of a unit of length; None for an unknown one."""
    for names, length in _UNITS.items():
        if name in names:
            return length
    return None


def metres(text: Any) -> float | None:
    """The metres of a distance such as ``10mi``; None for what is none."""
    found = _DISTANCE.match(text) if isinstance(text, str) else None
    unit = unit_of(found[2]) if found is not None else None
    return None if found is None or unit is None else float(found[1]) * unit


def distance_between(a: Place, b: Place) -> float:
    """The metres between two places, on a sphere."""
    longitude, latitude = math.radians(b[0] - a[0]), math.radians(b[1] - a[1])
    part = (
        math.sin(latitude / 2) ** 2
        + math.cos(math.radians(a[1])) * math.cos(math.radians(b[1])) * math.sin(longitude / 2) ** 2
    )
    return 2 * EARTH * math.asin(math.sqrt(min(1.0, part)))


def inside(point: Place, corners: Sequence[Place]) -> bool:
    """Whether a place is within a polygon, whose last corner is joined to the first."""
    within = False
    x, y = point
    previous = corners[-1]
    for corner in corners:
        (x1, y1), (x2, y2) = previous, corner
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            within = not within
        previous = corner
    return within


def vector(value: Any) -> tuple[float, ...] | None:
    """A vector: a list of numbers, or little-endian floats of 32 bits in base64."""
    if isinstance(value, str):
        try:
            packed = b64decode(value, validate=True)
        except ValueError:
            return None
        whole = packed and len(packed) % 4 == 0
        return unpack(f"<{len(packed) // 4}f", packed) if whole else None
    if not isinstance(value, list) or not value:
        return None
    numbers = [number(each) for each in value]
    found = tuple(each for each in numbers if each is not None)
    return found if len(found) == len(numbers) else None
