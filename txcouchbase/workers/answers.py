"""`AnswerReader`: takes a service's answer apart while it arrives.

An answer is a JSON object, one of whose members is the array of rows. Rows leave as bytes as soon
as they are complete; the other members are kept for the end.

There is no parser of its own behind it for the bulk: once the bytes between two rows are known, a
piece that ends with them is tried as a whole by msgspec, which only takes it if it is a row of
complete values. That is 0.3 µs for a row; the scanner, which finds every bracket by itself, needs
ten times as long and does what is left: the first rows, the last ones, and what that guess was
wrong about.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

__all__ = ["AnswerReader", "MalformedAnswer"]

_OUTSIDE: Final = re.compile(rb'["{}\[\],:]')
_IN_STRING: Final = re.compile(rb'["\\]')
_SPACE: Final = re.compile(rb"[ \t\r\n]*")

_many: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_one: Final = msgspec.json.Decoder(msgspec.Raw).decode

_GUESSES: Final = 16
"""How many separators are tried, from the last one on, until the scanner goes through a piece."""


class MalformedAnswer(Exception):
    """The answer is not JSON, or none of this form, or it ends too soon."""


class _At(Enum):
    """Where the reader is."""

    HEAD = "before the rows"
    VALUE = "before a row, or in it"
    GAP = "behind a row"
    TAIL = "behind the rows"


class AnswerReader:
    """Takes one answer apart.

    Args:
        member: The name of the member that holds the rows.
    """

    def __init__(self, member: str) -> None:
        self._member = member
        self._at = _At.HEAD
        self._buffer = bytearray()
        self._rest = bytearray()
        # Of the scanner: how far it is, in how many brackets, and whether in a string.
        self._position = 0
        self._depth = 0
        self._in_string = False
        # In the head: where the last string began, the name before the last colon.
        self._string = 0
        self._name = b""
        # Between rows: where the last one ended and with which byte, and what stands between two.
        self._end = 0
        self._last = b""
        self._start = 0
        self._separator = b""
        # What arrived last begins here.
        self._new = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what has arrived.

        Returns:
            The rows that are complete now.

        Raises:
            MalformedAnswer: It cannot be the answer any more.
        """
        self._new = len(self._buffer)
        self._buffer += data
        rows: list[bytes] = []
        if self._at is _At.HEAD:
            self._read_head()
        if self._at in (_At.VALUE, _At.GAP):
            self._read_rows(rows)
        if self._at is _At.TAIL:
            self._rest += self._buffer
            self._buffer.clear()
        return rows

    def finish(self) -> bytes:
        """The answer has ended.

        Returns:
            All but its rows; where they were, an empty array is left.

        Raises:
            MalformedAnswer: It ended within its rows.
        """
        if self._at is _At.HEAD:
            self._rest += self._buffer
        elif self._at is not _At.TAIL:
            raise MalformedAnswer("the answer ended within its rows")
        return bytes(self._rest)

    # -- before the rows ------------------------------------------------------------------

    def _read_head(self) -> None:
        buffer = self._buffer
        while (found := self._next_mark()) is not None:
            place, mark = found
            if mark == b'"':
                self._in_string = not self._in_string
                if self._in_string:
                    self._string = place
            elif mark == b":":
                if self._depth == 1:
                    self._name = bytes(buffer[self._string : place]).rstrip()
            elif mark in b"[{":
                if mark == b"[" and self._depth == 1 and self._is_rows(self._name):
                    self._rest += buffer[: place + 1]
                    del buffer[: place + 1]
                    self._at = _At.VALUE
                    self._position = self._depth = self._start = self._end = 0
                    return
                self._depth += 1
            elif mark in b"]}":
                self._depth -= 1
            elif self._depth == 1:  # a comma: the next value has a name of its own
                self._name = b""

    def _is_rows(self, name: bytes) -> bool:
        try:
            return bool(msgspec.json.decode(name) == self._member)
        except msgspec.MsgspecError:
            return False

    def _next_mark(self) -> tuple[int, bytes] | None:
        """Where the next bracket, comma, colon or end of a string is, None if not there yet."""
        while True:
            pattern = _IN_STRING if self._in_string else _OUTSIDE
            match = pattern.search(self._buffer, self._position)
            if match is None:
                self._position = len(self._buffer)
                return None
            place, mark = match.start(), match.group()
            if mark != b"\\":
                self._position = place + 1
                return place, mark
            self._position = place
            if place + 2 > len(self._buffer):
                return None
            self._position = place + 2

    # -- the rows -------------------------------------------------------------------------

    def _read_rows(self, rows: list[bytes]) -> None:
        if self._at is _At.GAP:
            self._cross_gap()
        if self._at is _At.VALUE and self._separator:
            self._take_many(rows)
        while self._at is _At.VALUE and self._take_one(rows):
            self._cross_gap()
        del self._buffer[: self._end]
        self._position -= self._end
        self._start -= self._end
        self._end = 0

    def _take_many(self, rows: list[bytes]) -> None:
        """Try all up to the last separator at once; the one before it if that is within a row."""
        buffer, separator = self._buffer, self._separator
        first = max(self._start, self._new - len(separator))
        cut = len(buffer)
        for _ in range(_GUESSES):
            cut = buffer.rfind(separator, first, cut)
            if cut < 0:
                return
            try:
                many = _many(b"[%b]" % bytes(buffer[self._start : cut + 1]))
            except (msgspec.MsgspecError, RecursionError):
                continue
            rows += map(bytes, many)
            self._last = separator[:1]
            self._end = cut + 1
            self._enter_value(cut + len(separator) - 1)
            return

    def _enter_value(self, start: int) -> None:
        self._at = _At.VALUE
        self._start = self._position = start
        self._depth = 0
        self._in_string = False

    def _take_one(self, rows: list[bytes]) -> bool:
        """Scan to the end of a row; whether it is complete."""
        while (found := self._next_mark()) is not None:
            place, mark = found
            if mark == b'"':
                self._in_string = not self._in_string
                if self._in_string or self._depth:
                    continue
                place += 1
            elif mark in b"[{":
                self._depth += 1
                continue
            elif mark in b"]}" and self._depth:
                self._depth -= 1
                if self._depth:
                    continue
                place += 1
            elif self._depth:
                continue
            # A container or a string ends with its last byte, other values before what follows.
            row = bytes(self._buffer[self._start : place]).strip()
            if row:
                self._check(row)
                rows.append(row)
                self._last = row[-1:]
            elif mark != b"]" or self._separator:
                raise MalformedAnswer("there is no row where one should be")
            self._at = _At.GAP
            self._end = self._position = place
            return True
        return False

    @staticmethod
    def _check(row: bytes) -> None:
        try:
            _one(row)
        except RecursionError:
            pass  # whoever reads the row has to get along with its depth
        except msgspec.MsgspecError as error:
            raise MalformedAnswer(f"a row is no JSON: {error}") from None

    def _cross_gap(self) -> None:
        """Go on to the next row, or behind the rows, as far as that is there."""
        buffer = self._buffer
        mark = self._after_space(self._end)
        if mark == len(buffer):
            return
        if buffer[mark] == ord("]"):
            del buffer[:mark]
            self._end = 0
            self._at = _At.TAIL
        elif buffer[mark] != ord(","):
            raise MalformedAnswer(f"{bytes(buffer[mark : mark + 1])!r} stands behind a row")
        else:
            start = self._after_space(mark + 1)
            if start < len(buffer):
                self._separator = self._last + bytes(buffer[self._end : start + 1])
                self._enter_value(start)

    def _after_space(self, place: int) -> int:
        match = _SPACE.match(self._buffer, place)
        assert match is not None
        return match.end()
