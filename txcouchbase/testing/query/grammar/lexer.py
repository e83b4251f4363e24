"""The text of a statement, cut into tokens.

Source: the SQL++ language reference, "Identifiers", "Literals" and "Comments".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from txcouchbase.testing.query.errors import QueryError, not_done, syntax_error
from txcouchbase.testing.query.grammar.words import REFUSED_STATEMENTS, REFUSED_WORDS, RESERVED

__all__ = ["Lexeme", "near", "tokens"]

MAX_STATEMENT = 1024 * 1024
"""Characters of the longest statement; parsing one takes some seconds."""

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n\r]*|/\*.*?\*/)
    | (?P<NUMBER>(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z_0-9]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<quoted>`(?:[^`]|``)*`i?)
    | (?P<string>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
    | (?P<parameter>\$[A-Za-z_0-9]+|@[A-Za-z_][A-Za-z_0-9]*|\?)
    | (?P<symbol>\|\||<>|!=|<=|>=|==|\]i|[-+*%^=<>.,:;()\[\]{}]|/(?!\*))
    """,
    re.VERBOSE | re.DOTALL,
)

_SYMBOLS = {
    "=": "EQ",
    "==": "EQ",
    "-": "MINUS",
    "*": "STAR",
    ".": "DOT",
    ",": "COMMA",
    ":": "COLON",
    ";": "SEMICOLON",
    "(": "LPAR",
    ")": "RPAR",
    "[": "LSQB",
    "]": "RSQB",
    "]i": "RSQB_FOLDED",
    "{": "LBRACE",
    "}": "RBRACE",
}
"""Kinds of the symbols that the grammar knows; the other ones are operators."""

_QUOTED = ("NAME", "NAME_FOLDED", "PARAMETER", "TEXT")
"""Kinds of tokens whose value is no word of the language."""

_INFIX = frozenset({"OR", "LIKE", "BETWEEN", "ESCAPE"})
"""Words that are nothing but operators between operands."""

_NEGATED = frozenset({"IN", "LIKE", "BETWEEN", "WITHIN"})


@dataclass(frozen=True, slots=True)
class Lexeme:
    """One token: its kind in the grammar, its value, and where it begins in the text.

    :param value: of a reserved word the word in capitals, of a name or text what it stands for.
    """

    kind: str
    value: str
    start: int


def tokens(text: str) -> list[Lexeme]:
    """The tokens of a statement.

    NOT before IN, LIKE, BETWEEN and WITHIN is one token with it, and IS [NOT] DISTINCT FROM is one
    token, so that one token of looking ahead is enough for the grammar.

    :raises QueryError: 3000 for what is no token, 1020 for what the node does not do.
    """
    if len(text) > MAX_STATEMENT:
        raise syntax_error(f"the statement has more than {MAX_STATEMENT} characters")
    found: list[Lexeme] = []
    for lexeme in _lexemes(text):
        count = _absorbed(found, lexeme)
        if count:
            words = [*found[-count:], lexeme]
            del found[-count:]
            lexeme = Lexeme("INFIX", " ".join([word.value for word in words]), words[0].start)
        found.append(lexeme)
    _refuse(found)
    return found


def _absorbed(found: list[Lexeme], lexeme: Lexeme) -> int:
    """How many of the tokens before one are an operator together with it."""
    kinds = [before.kind for before in found[-3:]]
    if lexeme.kind == "FROM":
        if kinds == ["IS", "NOT", "DISTINCT"]:
            return 3
        return 2 if kinds[-2:] == ["IS", "DISTINCT"] else 0
    if lexeme.kind not in _QUOTED and lexeme.value in _NEGATED:
        return 1 if kinds[-1:] == ["NOT"] else 0
    return 0


def _lexemes(text: str) -> Iterator[Lexeme]:
    at = 0
    positional = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(f"{near(text, at)}, at: {text[at : at + 20]!r}")
        start, at = at, match.end()
        group, value = match.lastgroup, match.group()
        if group == "space":
            continue
        if group == "word":
            upper = value.upper()
            if upper in RESERVED:
                yield Lexeme("INFIX" if upper in _INFIX else upper, upper, start)
            else:
                yield Lexeme("NAME", value, start)
        elif group == "NUMBER":
            yield Lexeme("NUMBER", value, start)
        elif group == "quoted":
            folded = value.endswith("i")
            name = value[1 : -2 if folded else -1].replace("``", "`")
            if not name:
                raise syntax_error(f"{near(text, start)}, at: ``")
            yield Lexeme("NAME_FOLDED" if folded else "NAME", name, start)
        elif group == "string":
            yield Lexeme("TEXT", _string(text, value, start), start)
        elif group == "parameter":
            positional += value == "?"
            yield Lexeme("PARAMETER", str(positional) if value == "?" else value[1:], start)
        else:
            yield Lexeme(_SYMBOLS.get(value, "INFIX"), value, start)


def _string(text: str, quoted: str, start: int) -> str:
    quote, inner = quoted[0], quoted[1:-1]
    inner = inner.replace(quote * 2, quote)
    if "\\" not in inner:
        return inner
    # What JSON escapes, and the quotes that it does not.
    inner = re.sub(r"\\(.)|\"", _json_escape, inner, flags=re.DOTALL)
    try:
        found: str = json.loads(f'"{inner}"', strict=False)
        found.encode()
    except ValueError:
        raise QueryError(
            3006, f"invalid escape sequence - {near(text, start)}, at: {quoted[:40]}"
        ) from None
    return found


def _json_escape(match: re.Match[str]) -> str:
    escaped = match.group(1)
    if escaped is None:
        return '\\"'
    return "'" if escaped == "'" else match.group()


def near(text: str, at: int) -> str:
    """Where in a statement something is, as a server says it: line and column count from 1."""
    before = text[:at]
    line = before.count("\n") + 1
    column = at - (before.rfind("\n") + 1) + 1
    shown = before[-40:].replace("\n", " ")
    dots = "..." if at > 40 else ""
    return f"line {line}, column {column}, near '{dots}{shown}'"


def _refuse(found: list[Lexeme]) -> None:
    kinds = ["" if lexeme.kind in _QUOTED else lexeme.value for lexeme in found]
    first = 1 if kinds[:1] == ["EXPLAIN"] else 0
    for length in (1, 2):
        refused = REFUSED_STATEMENTS.get(tuple(kinds[first : first + length]))
        if refused is not None:
            raise not_done(refused)
    for kind in kinds:
        if kind in REFUSED_WORDS:
            raise not_done(REFUSED_WORDS[kind])
