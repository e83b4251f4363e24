"""What can be said of JavaScript without running it: whether its brackets and quotes match."""

from __future__ import annotations

import re

__all__ = ["syntax_error"]

_PAIRS = {")": "(", "]": "[", "}": "{"}

_TOKENS = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)
    | (?P<word>[\w$]+)
    | (?P<bracket>[()\[\]{}])
    | (?P<quote>["'`]|/\*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Bounded, as is the number of those that fail, so that no source takes long.
_REGEX = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.){0,500}\]){1,1000}/\w*")
MAX_FAILURES = 100
_AMBIGUOUS = re.compile(r"\)\s*/(?![/*])")
_BEFORE_REGEX = frozenset(("return", "typeof", "case", "in", "of", "delete", "void", "new", "do"))


def syntax_error(source: str) -> str | None:
    """The first bracket or quote that matches nothing, as an engine would put it; None for none.

    Other mistakes are not found. The text in a template, between backquotes, is not looked at, nor
    is a source where a slash follows a parenthesis: a division, or a regular expression, and only
    a parser can tell; nor one with more than `MAX_FAILURES` slashes that start no regular
    expression where only one could stand.
    """
    if _AMBIGUOUS.search(source):
        return None
    expected: list[tuple[str, int]] = []
    position, operand, failures = 0, False, 0
    while position < len(source):
        slash = source[position] == "/" and not source.startswith(("//", "/*"), position)
        if slash and not operand:
            regex = _REGEX.match(source, position)
            if regex is not None:
                position, operand = regex.end(), True
                continue
            failures += 1
            if failures > MAX_FAILURES:
                return None
        token = _TOKENS.match(source, position)
        assert token is not None
        kind, text = token.lastgroup, token.group()
        if kind == "quote":
            return f"SyntaxError: Invalid or unexpected token {_place(source, position)}"
        if kind == "bracket":
            if text in _PAIRS:
                if not expected or expected.pop()[0] != _PAIRS[text]:
                    return f"SyntaxError: Unexpected token '{text}' {_place(source, position)}"
            else:
                expected.append((text, position))
        if kind != "space":
            operand = (
                kind == "text"
                or (kind == "word" and text not in _BEFORE_REGEX)
                or (kind == "bracket" and text in ")]}")
            )
        position = token.end()
    if expected:
        return f"SyntaxError: Unexpected end of input, open {_place(source, expected[-1][1])}"
    return None


def _place(source: str, position: int) -> str:
    line = source.count("\n", 0, position) + 1
    return f"at line {line}, column {position - source.rfind(chr(10), 0, position)}"
