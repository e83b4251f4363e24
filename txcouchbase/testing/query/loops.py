"""How ANY, EVERY, ARRAY, FIRST, OBJECT and subqueries are evaluated.

Source: the SQL++ language reference, "Collection Operators".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.syntax import (
    Binding,
    Comprehension,
    Expression,
    Quantified,
    Subquery,
)
from txcouchbase.testing.query.values import MISSING, is_array, truth

if TYPE_CHECKING:
    from txcouchbase.testing.query.compiler import Compiler

__all__ = ["COMPILERS", "Loop"]

MAX_ELEMENTS = 2_000_000
"""Elements that one loop of an expression makes; a server has its memory quota for that."""


class Loop:
    """The rows that bindings make of one row.

    Several bindings go on together; the shortest collection ends the loop.
    """

    def __init__(self, compiler: Compiler, bindings: tuple[Binding, ...]) -> None:
        self._bindings = [
            (compiler.resolved(binding.collection), binding.index is not None, binding.within)
            for binding in bindings
        ]
        self._tick = compiler.execution.tick

    def rows(self, row: Row) -> Iterator[Row] | None:
        """The rows; None where a collection is NULL or something else.

        :raises LookupError: where a collection is MISSING.
        """
        columns: list[Any] = []
        for collection, indexed, within in self._bindings:
            value = collection(row)
            if value is MISSING:
                raise LookupError
            if within and (type(value) is dict or is_array(value)):
                pairs = _descendants(value)
                columns.append(pairs if indexed else [(item,) for _, item in pairs])
            elif type(value) is dict and indexed:
                columns.append(value.items())
            elif is_array(value):
                columns.append(enumerate(value) if indexed else ((item,) for item in value))
            else:
                return None
        return self._joined(row, columns)

    def _joined(self, row: Row, columns: list[Any]) -> Iterator[Row]:
        tick = self._tick
        for parts in zip(*columns, strict=False):
            tick()
            extended = row
            for part in parts:
                extended += part
            yield extended


def _descendants(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        pairs = list(current.items()) if type(current) is dict else list(enumerate(current))
        found.extend(pairs)
        waiting.extend([item for _, item in pairs if type(item) is dict or is_array(item)])
    return found


def _condition(compiler: Compiler, node: Expression | None) -> Callable[[Row], bool]:
    return (lambda row: True) if node is None else compiler.predicate(node)


def _quantified(compiler: Compiler, node: Quantified) -> Evaluator:
    loop, condition = Loop(compiler, node.bindings), compiler.resolved(node.condition)
    wanted = node.kind == "any"
    # ANY AND EVERY wants at least one element.
    empty = node.kind == "every"

    def evaluate(row: Row) -> Any:
        try:
            rows = loop.rows(row)
        except LookupError:
            return MISSING
        if rows is None:
            return None
        seen = False
        for extended in rows:
            seen = True
            if (truth(condition(extended)) is True) is wanted:
                return wanted
        return (not wanted) if seen else empty

    return evaluate


def _comprehension(compiler: Compiler, node: Comprehension) -> Evaluator:
    loop, condition = Loop(compiler, node.bindings), _condition(compiler, node.condition)
    value = compiler.resolved(node.value)
    gather = {"array": _gather_array, "first": _gather_first, "object": _gather_object}[node.kind]
    key = compiler.resolved(node.key) if node.key is not None else value

    def evaluate(row: Row) -> Any:
        try:
            rows = loop.rows(row)
        except LookupError:
            return MISSING
        if rows is None:
            return None
        return gather((item for item in rows if condition(item)), key, value)

    return evaluate


def _gather_array(rows: Iterator[Row], key: Evaluator, value: Evaluator) -> list[Any]:
    found = []
    for row in rows:
        item = value(row)
        if item is not MISSING:
            found.append(item)
            if len(found) > MAX_ELEMENTS:
                raise QueryError(5010, f"ARRAY makes more than {MAX_ELEMENTS} elements.")
    return found


def _gather_first(rows: Iterator[Row], key: Evaluator, value: Evaluator) -> Any:
    return next(map(value, rows), MISSING)


def _gather_object(rows: Iterator[Row], key: Evaluator, value: Evaluator) -> Any:
    found: dict[str, Any] = {}
    for row in rows:
        name, item = key(row), value(row)
        if type(name) is not str:
            return MISSING if name is MISSING else None
        if item is not MISSING:
            found[name] = item
    return found


def _subquery(compiler: Compiler, node: Subquery) -> Evaluator:
    return compiler.subquery(node.query, compiler.scope.extended(node.bound), False)


COMPILERS: dict[type, Callable[[Any, Any], Evaluator]] = {
    Quantified: _quantified,
    Comprehension: _comprehension,
    Subquery: _subquery,
}
