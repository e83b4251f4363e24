"""The parser that lark makes of the grammar."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from lark import Lark, Token, UnexpectedToken
from lark.exceptions import VisitError
from lark.lexer import Lexer

from txcouchbase.testing.query.errors import QueryError, syntax_error
from txcouchbase.testing.query.grammar.lexer import Lexeme, near, tokens
from txcouchbase.testing.query.grammar.statements import StatementBuilder
from txcouchbase.testing.query.grammar.words import RESERVED
from txcouchbase.testing.query.syntax import Statement

__all__ = ["Grammar"]


class _Tokens(Lexer):
    """Hands over what was cut already."""

    def __init__(self, configuration: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        for lexeme in lexer_state:
            yield Token(lexeme.kind, lexeme.value, lexeme.start)


class Grammar:
    """The grammar, ready to parse. Making one takes some tenths of a second."""

    def __init__(self) -> None:
        text = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
        self._lark = Lark(
            text,
            parser="lalr",
            lexer=_Tokens,
            transformer=StatementBuilder(),
            maybe_placeholders=False,
        )

    def parse(self, text: str) -> Statement:
        """The statement that a text is.

        :raises QueryError: 3000 if it is none.
        """
        lexemes = tokens(text)
        try:
            found: Any = self._lark.parse(lexemes)
        except UnexpectedToken as error:
            raise _unexpected(text, error.token, lexemes) from None
        except VisitError as error:
            if isinstance(error.orig_exc, QueryError):
                raise error.orig_exc from None
            raise
        statement: Statement = found
        return statement


def _unexpected(text: str, token: Token, lexemes: list[Lexeme]) -> QueryError:
    if token.type == "$END":
        return syntax_error(f"{near(text, len(text))}, at: end of input")
    start = token.start_pos or 0
    reserved = " (reserved word)" if token.type in RESERVED else ""
    return syntax_error(f"{near(text, start)}, at: {_written(text, start, lexemes)}{reserved}")


def _written(text: str, start: int, lexemes: list[Lexeme]) -> str:
    following = next((lexeme.start for lexeme in lexemes if lexeme.start > start), len(text))
    return text[start:following].strip()[:40]
