"""From the text of a statement to what it is made of."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from txcouchbase.testing.query.errors import QueryError, syntax_error
from txcouchbase.testing.query.syntax import Node, Statement, children

if TYPE_CHECKING:
    from txcouchbase.testing.query.grammar.load import Grammar

__all__ = ["Parser", "parse"]

MAX_DEPTH = 120
"""How many levels of parentheses, operators and queries one statement has at most."""

_KEPT_LENGTH = 20_000
"""Characters of the longest statement that is kept parsed."""


@cache
def _grammar() -> Grammar:
    if find_spec("lark") is None:
        raise QueryError(5000, "SQL++ needs lark, which txcouchbase[testing] installs")
    # Lark and the table of states are for those who ask the query service alone.
    from txcouchbase.testing.query.grammar.load import Grammar

    return Grammar()


def parse(text: str) -> Statement:
    """The statement that a text is.

    :raises QueryError: 3000 if it is none, 1020 if it is one that the node refuses, 5000 if lark
        is not installed.
    """
    statement = _grammar().parse(text)
    _check_depth(statement)
    return statement


def _check_depth(statement: Statement) -> None:
    level: list[Node] = [statement]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise syntax_error(f"the statement is nested more than {MAX_DEPTH} levels deep")


class Parser:
    """Parses, and keeps the statements that were parsed last.

    :param size: how many.
    """

    def __init__(self, size: int = 500) -> None:
        self._size = size
        self._kept: OrderedDict[str, Statement] = OrderedDict()

    def parse(self, text: str) -> Statement:
        """As the function `parse`."""
        statement = self._kept.get(text)
        if statement is not None:
            self._kept.move_to_end(text)
            return statement
        statement = parse(text)
        if len(text) <= _KEPT_LENGTH:
            self._kept[text] = statement
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return statement
