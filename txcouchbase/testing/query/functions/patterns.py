"""Regular expressions, in the syntax of RE2 on Python's `re`.

Not like a server: classes by Unicode property (``\\pL``), ungreedy mode (``(?U)``) and flags in the
middle of a pattern are refused; a pattern that backtracks without end takes as long as it takes.

Source: the SQL++ language reference, "Pattern-Matching Functions"; the syntax that RE2 publishes (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from txcouchbase.testing.query.functions.signature import (
    NUMBER,
    STRING,
    Function,
    by_name,
    function,
    whole,
)
from txcouchbase.testing.query.limits import FunctionFailed, bounded

__all__ = ["FUNCTIONS", "full_pattern", "pattern"]

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}

_LEADING_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")

_PIECES = re.compile(
    r"""
    \\Q(?P<quoted>.*?)(?:\\E|$)
  | \\(?P<escaped>.)
  | \[(?P<negated>\^?)(?P<class>\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*)\]
  | (?P<group>\(\?(?:P<\w+>|[imsU]*(?:-[imsU]+)?:)?)
  | (?P<repeated>[*+?]|\{\d+(?:,\d*)?\})(?P<more>[*+]|\?[*+?]|)
  | (?P<end>\$)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPES = frozenset("AbBdDsSwWnrtfvax") | frozenset("\\.+*?()|[]{}^$-/\"'`~!@#%&=,:;<> _")

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_NAMED_CLASS = re.compile(r"\[:(\^?)(\w+):\]")

_MOST_REPETITIONS = 1000
_LONGEST_PATTERN = 2000


def _refused(text: str, why: str) -> FunctionFailed:
    return FunctionFailed(f"error parsing regexp: {why}: `{text}`")


def _translated(text: str, several_lines: bool) -> Iterator[str]:
    """The pieces of a pattern as Python has them."""
    for piece in _PIECES.finditer(text):
        kind, source = piece.lastgroup, piece.group()
        if piece["quoted"] is not None:
            yield re.escape(piece["quoted"])
        elif piece["escaped"] is not None:
            yield _escape(source, piece["escaped"])
        elif piece["class"] is not None:
            yield f"[{piece['negated']}{_class(piece['class'])}]"
        elif piece["group"] is not None:
            if source == "(?" or "U" in source:
                raise _refused(text[piece.start() :], "invalid or unsupported Perl syntax")
            yield source
        elif piece["repeated"] is not None:
            if piece["more"]:
                raise _refused(source, "invalid nested repetition operator")
            if any(int(times) > _MOST_REPETITIONS for times in re.findall(r"\d+", source)):
                raise _refused(source, "invalid repeat count")
            yield source
        elif kind == "end":
            yield "$" if several_lines else r"\Z"
        elif source == "[":
            raise _refused(text[piece.start() :][:100], "missing closing ]")
        else:
            yield source


def _escape(source: str, letter: str) -> str:
    if letter == "z":
        return r"\Z"
    if letter not in _ESCAPES:
        raise _refused(source, "invalid escape sequence")
    return {"a": r"\x07"}.get(letter, source)


def _class(content: str) -> str:
    def named(found: re.Match[str]) -> str:
        if found[1] or found[2] not in _CLASSES:
            raise _refused(found.group(), "invalid character class range")
        return _CLASSES[found[2]]

    return re.sub(r"\[(?!:)|&&|--|~~|\|\|", _doubled, _NAMED_CLASS.sub(named, content))


def _doubled(found: re.Match[str]) -> str:
    """Characters that Python means to give a meaning in a class, without it."""
    return "".join("\\" + letter for letter in found.group())


@lru_cache(maxsize=256)
def pattern(text: str) -> re.Pattern[str]:
    """A regular expression.

    :raises FunctionFailed: for what is none, or is not translated.
    """
    return _compiled(text, "{}")


@lru_cache(maxsize=256)
def full_pattern(text: str) -> re.Pattern[str]:
    """A regular expression between ``^`` and ``$``, as `REGEXP_LIKE` has it.

    :raises FunctionFailed: as of `pattern`.
    """
    pattern(text)
    return _compiled(text, r"^{}\Z")


def _compiled(text: str, frame: str) -> re.Pattern[str]:
    if len(text) > _LONGEST_PATTERN:
        raise _refused(text[:100], "expression is too large")
    flags, rest = re.ASCII, text
    while leading := _LEADING_FLAGS.match(rest):
        rest = rest[leading.end() :]
        for letter in leading[1]:
            if letter not in _FLAGS:
                raise _refused(leading.group(), "invalid or unsupported Perl syntax")
            flags |= _FLAGS[letter]
    translated = "".join(_translated(rest, bool(flags & re.MULTILINE)))
    try:
        return re.compile(frame.replace("{}", translated), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(text, str(error)) from None


# Functions.


def _contains(text: str, expression: str) -> bool:
    return pattern(expression).search(text) is not None


def _like(text: str, expression: str) -> bool:
    return full_pattern(expression).search(text) is not None


def _finder(first: int) -> Function:
    """A function that finds a match; its place is in bytes of UTF-8, from `first` on."""

    def call(text: str, expression: str) -> int:
        found = pattern(expression).search(text)
        if found is None:
            return -1
        return len(text[: found.start()].encode("utf-8", "surrogatepass")) + first

    return function(call, STRING, STRING)


def _replace(text: str, expression: str, new: str, times: int | float | None = None) -> str | None:
    count = 0 if times is None else whole(times)
    if count is None:
        return None
    compiled = pattern(expression)
    if times is not None and count <= 0:
        return text
    size = len(text)

    def replacement(_: re.Match[str]) -> str:
        nonlocal size
        size += len(new)
        bounded("REGEXP_REPLACE()", size, 1)
        return new

    return compiled.sub(replacement, text, count)


def _matches(text: str, expression: str) -> list[str]:
    matches: list[str] = []
    for found in pattern(expression).finditer(text):
        matches.append(found.group())
        bounded("REGEXP_MATCHES()", len(matches), 8)
    return matches


def _split(text: str, expression: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for found in pattern(expression).finditer(text):
        if found.end():
            parts.append(text[start : found.start()])
            bounded("REGEXP_SPLIT()", len(parts), 8)
            start = found.end()
    if parts and start < len(text):
        parts.append(text[start:])
    return parts


FUNCTIONS: Final[dict[str, Function]] = by_name(
    {
        "regexp_contains regex_contains contains_regexp contains_regex": function(
            _contains, STRING, STRING
        ),
        "regexp_like regex_like": function(_like, STRING, STRING),
        "regexp_matches": function(_matches, STRING, STRING),
        "regexp_position regexp_pos regexp_position0 regexp_pos0 regex_position regex_pos "
        "regex_position0 regex_pos0": _finder(0),
        "regexp_position1 regexp_pos1 regex_position1 regex_pos1": _finder(1),
        "regexp_replace regex_replace": function(
            _replace, STRING, STRING, STRING, NUMBER, optional=1
        ),
        "regexp_split": function(_split, STRING, STRING),
    }
)
"""The functions by name."""
