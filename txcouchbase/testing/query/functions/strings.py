"""Functions on strings.

Lengths and places are in bytes of UTF-8, those of the functions named ``mb_`` in characters. What
a cut in the middle of a character leaves of it becomes U+FFFD.

Source: the SQL++ language reference, "String Functions".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from txcouchbase.testing.query.functions.patterns import pattern
from txcouchbase.testing.query.functions.signature import (
    ARRAY,
    NUMBER,
    OBJECT,
    STRING,
    Function,
    by_name,
    function,
    whole,
)
from txcouchbase.testing.query.limits import bounded
from txcouchbase.testing.query.values import is_number

__all__ = ["FUNCTIONS", "utf8"]

_WHITE_SPACE = " \t\n\f\r"


def utf8(text: str) -> bytes:
    """The bytes of a text, which may have a half of a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# Places and parts.


def _finder(first: int, characters: bool) -> Function:
    """A function that finds the place of one text in another.

    :param first: the number of the first place.
    :param characters: whether places are in characters, else in bytes.
    """

    def call(text: str, searched: str) -> int:
        if characters or text.isascii():
            return text.find(searched) + first
        return utf8(text).find(utf8(searched)) + first

    return function(call, STRING, STRING)


def _part(first: int, characters: bool) -> Function:
    """A function that cuts a part out of a text; arguments as of `_finder`."""

    def call(text: str, start: int | float, length: int | float | None = None) -> str | None:
        place, count = whole(start), None if length is None else whole(length)
        if place is None or (length is not None and (count is None or count < 0)):
            return None
        if characters or text.isascii():
            found: str | None = _cut(text, place, count, first)
            return found
        part = _cut(utf8(text), place, count, first)
        return None if part is None else _text(part)

    return function(call, STRING, NUMBER, NUMBER, optional=1)


def _cut(text: Any, place: int, count: int | None, first: int) -> Any:
    if place < 0:
        place += len(text)
    elif place:
        place -= first
    if not 0 <= place < len(text):
        return None
    return text[place:] if count is None else text[place : place + count]


def _padding(name: str, left: bool, characters: bool) -> Function:
    """A function that gives a text a length; `characters` as of `_finder`."""

    def call(text: str, length: int | float, filling: str = " ") -> str | None:
        size = whole(length)
        if size is None or size < 0 or not filling:
            return None
        bounded(f"{name}()", size, 1)
        if characters or (text.isascii() and filling.isascii()):
            return str(_padded(text, size, filling, left))
        return _text(_padded(utf8(text), size, utf8(filling), left))

    return function(call, STRING, NUMBER, STRING, optional=1)


def _padded(text: Any, size: int, filling: Any, left: bool) -> Any:
    lacking = size - len(text)
    if lacking <= 0:
        return text[:size]
    added = (filling * (lacking // len(filling) + 1))[:lacking]
    return added + text if left else text + added


def _suffixes(text: str) -> list[str]:
    bounded("SUFFIXES()", len(text) + 1, len(text) // 2)
    return [text[place:] for place in range(len(text))]


def _split(text: str, separator: str | None = None) -> list[str]:
    bounded("SPLIT()", text.count(separator) if separator is not None else len(text) // 2, 8)
    return list(text) if separator == "" else text.split(separator)


# Letters.


def _each(change: Callable[[str], str]) -> Callable[[str], str]:
    """A change of case that, as a server's, leaves characters alone that would become several."""

    def call(text: str) -> str:
        if text.isascii():
            return change(text)
        return "".join(new if len(new := change(letter)) == 1 else letter for letter in text)

    return call


_upper, _lower = _each(str.upper), _each(str.lower)

_FIRST_LETTER = re.compile(r"(?<!\w)\w")


def _title(text: str) -> str:
    return _FIRST_LETTER.sub(lambda found: _upper(found.group()), _lower(text))


# Other texts.


def _concatenation(*texts: str) -> str:
    bounded("CONCAT()", sum(map(len, texts)), 1)
    return "".join(texts)


def _joined(separator: str, *parts: Any) -> str | None:
    texts: list[str] = []
    for part in parts:
        texts += [part] if type(part) is str else part
    if any(type(text) is not str for text in texts):
        return None
    bounded("CONCAT2()", sum(map(len, texts)) + len(separator) * len(texts), 1)
    return separator.join(texts)


def _repeat(text: str, times: int | float) -> str | None:
    count = whole(times)
    if count is None or count < 0:
        return None
    bounded("REPEAT()", count, len(utf8(text)))
    return text * count


def _replace(text: str, old: str, new: str, times: int | float = -1) -> str | None:
    count = whole(times)
    if count is None:
        return None
    bounded("REPLACE()", text.count(old), len(new))
    return text.replace(old, new, max(count, -1))


def _strip(strip: Callable[[str, str], str]) -> Function:
    return function(
        lambda text, characters=_WHITE_SPACE: strip(text, characters), STRING, STRING, optional=1
    )


def _decoded_url(text: str) -> str | None:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return None
    return _text(unquote_to_bytes(text.replace("+", " ")))


_MASK = "********"


def _mask(text: str, options: dict[str, Any] | None = None) -> str:
    """A text behind a mask.

    :param options: ``mask``; ``hole``, characters of it that let the text through; ``inject``,
        characters that are put between; ``anchor``, where it starts: ``start``, ``end``, a place
        (negative from the end) or a pattern; ``length``, which ``source`` keeps.
    """
    chosen = {name: option for name, option in (options or {}).items() if type(option) is str}
    mask = chosen.get("mask") or _MASK
    hole, inject = chosen.get("hole", " "), chosen.get("inject", "")
    bounded("MASK()", len(mask), 1 + len(hole) + len(inject))
    kept, from_end = _anchor(text, (options or {}).get("anchor"))
    if kept is None or kept > len(text):
        return text
    if chosen.get("length", "").lower() == "source":
        size = len(text) + sum(letter in inject for letter in mask)
    else:
        size = len(mask) + kept
    source, covering = (text[::-1], mask[::-1]) if from_end else (text, mask)
    found, at = list(source[:kept]), kept
    for letter in covering[: size - kept]:
        through = letter in hole and at < len(source)
        found.append(source[at] if through else letter)
        at += letter in hole or letter not in inject
    found += source[at : at + size - len(found)]
    return "".join(found[::-1] if from_end else found)


def _anchor(text: str, anchor: Any) -> tuple[int | None, bool]:
    """How many characters stay before a mask, None for all; whether they are the last ones."""
    if is_number(anchor) and whole(anchor) is not None:
        return abs(int(anchor)), anchor < 0
    if type(anchor) is not str or anchor.lower() in ("start", "end"):
        return 0, anchor is not None and str(anchor).lower() == "end"
    found = pattern(anchor).search(text)
    return (None if found is None else found.start()), False


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "concat": function(_concatenation, STRING, STRING, rest=STRING),
        "concat2 array_to_string": function(_joined, STRING, STRING | ARRAY, rest=STRING | ARRAY),
        "contains": function(lambda text, searched: searched in text, STRING, STRING),
        "length": function(lambda text: len(utf8(text)), STRING),
        "lower": function(_lower, STRING),
        "lpad": _padding("LPAD", left=True, characters=False),
        "ltrim": _strip(str.lstrip),
        "mask": function(_mask, STRING, OBJECT, optional=1),
        "mb_length": function(len, STRING),
        "mb_lpad": _padding("MB_LPAD", left=True, characters=True),
        "mb_position mb_pos mb_position0 mb_pos0": _finder(0, characters=True),
        "mb_position1 mb_pos1": _finder(1, characters=True),
        "mb_rpad": _padding("MB_RPAD", left=False, characters=True),
        "mb_substr mb_substr0": _part(0, characters=True),
        "mb_substr1": _part(1, characters=True),
        "position pos position0 pos0": _finder(0, characters=False),
        "position1 pos1": _finder(1, characters=False),
        "repeat": function(_repeat, STRING, NUMBER),
        "replace": function(_replace, STRING, STRING, STRING, NUMBER, optional=1),
        "reverse": function(lambda text: text[::-1], STRING),
        "rpad": _padding("RPAD", left=False, characters=False),
        "rtrim": _strip(str.rstrip),
        "split": function(_split, STRING, STRING, optional=1),
        "substr substr0": _part(0, characters=False),
        "substr1": _part(1, characters=False),
        "suffixes": function(_suffixes, STRING),
        "title initcap": function(_title, STRING),
        "trim": _strip(str.strip),
        "upper": function(_upper, STRING),
        "urldecode": function(_decoded_url, STRING),
        "urlencode": function(lambda text: quote(utf8(text), safe="~"), STRING),
    }
)
"""The functions by name."""
