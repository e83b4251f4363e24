"""GROUP BY: the groups, their aggregates, and what may be said of a group afterwards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from txcouchbase.testing.query.aggregates import AGGREGATES, GATHERING, Aggregate, Distinct
from txcouchbase.testing.query.compiler import Compiler
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.pipeline import Batches, chunked
from txcouchbase.testing.query.syntax import (
    Call,
    Expression,
    Meta,
    Node,
    Subquery,
    Variable,
    children,
    transformed,
)
from txcouchbase.testing.query.values import MISSING, group_key

__all__ = ["Grouping", "Groups", "aggregate_calls"]


def aggregate_calls(nodes: Iterable[Node | None]) -> list[Call]:
    """The different calls of aggregates in expressions, not those of their subqueries."""
    found: list[Call] = []
    waiting = [node for node in nodes if node is not None]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Call) and node.name in AGGREGATES:
            if node not in found:
                found.append(node)
        elif not isinstance(node, Subquery):
            waiting.extend(children(node))
    return found


@dataclass(frozen=True)
class Grouping:
    """What expressions of a statement become once its rows are groups.

    A row of a group is its first row, then the keys, then the aggregates.

    :param base: the places of outer scopes, which stay as they are.
    :param size: how many places the rows had before.
    :param keys: resolved.
    :param calls: the aggregates, resolved.
    """

    base: int
    size: int
    keys: tuple[Expression, ...]
    calls: tuple[Call, ...]

    @property
    def added(self) -> int:
        """How many places the rows get."""
        return len(self.keys) + len(self.calls)

    def regrouped(self, node: Expression) -> Expression:
        """A resolved expression, with keys and aggregates taken from their places.

        :raises QueryError: 4210 for an expression that depends on more than that.
        """
        found: Expression = self._regrouped(node, node)
        return found

    def _regrouped(self, node: Any, whole: Expression) -> Any:
        if node in self.keys:
            return Variable("", self.size + self.keys.index(node))
        if node in self.calls:
            return Variable("", self.size + len(self.keys) + self.calls.index(node))
        if isinstance(node, (Variable, Meta)):
            slot = node.slot
            if slot is None or slot < self.base:
                return node
            if slot < self.size:
                raise QueryError(
                    4210,
                    f"Expression {formatted(whole)} must depend only on group keys or aggregates.",
                )
            return replace(node, slot=slot + self.added)
        if isinstance(node, Subquery):
            bound = tuple([(name, slot + self.added) for name, slot in node.bound])
            return replace(node, bound=bound)
        return transformed(node, lambda child: self._regrouped(child, whole))


@dataclass(frozen=True)
class _Column:
    """One aggregate: how it starts, what it looks at, and which rows count."""

    start: Callable[[], Aggregate]
    value: Evaluator
    holds: Callable[[Row], bool] | None


def _column(compiler: Compiler, call: Call) -> _Column:
    make = AGGREGATES[call.name]
    value: Evaluator = _one
    name = call.name.upper()
    if call.star:
        if call.name != "count" or call.distinct:
            raise QueryError(3000, f"syntax error - {name} does not take *")
        make = Aggregate
    else:
        if len(call.arguments) != 1:
            raise QueryError(
                3000, f"syntax error - Number of arguments to function {name} must be 1."
            )
        if aggregate_calls(call.arguments):
            raise QueryError(3000, f"syntax error - {name} of an aggregate is not allowed.")
        value = compiler.resolved(call.arguments[0])
    holds = compiler.predicate(call.condition) if call.condition is not None else None
    if call.distinct:
        return _Column(lambda: Distinct(make()), value, holds)
    return _Column(make, value, holds)


def _one(row: Row) -> int:
    return 1


class Groups:
    """The step that makes groups of rows.

    :param compiler: of expressions on the rows before.
    """

    def __init__(self, compiler: Compiler, grouping: Grouping) -> None:
        self._execution = compiler.execution
        self._size = grouping.size
        self._keys = [compiler.resolved(key) for key in grouping.keys]
        self._columns = [_column(compiler, call) for call in grouping.calls]
        self._gathers = any(call.distinct or call.name in GATHERING for call in grouping.calls)

    def after(self, rows: Callable[[Row], Batches]) -> Callable[[Row], Batches]:
        """The rows of groups: the first row of each, its keys, and its aggregates."""
        return lambda row: self._grouped(rows(row), row)

    def _grouped(self, batches: Batches, around: Row) -> Batches:
        keys, columns = self._keys, self._columns
        groups: dict[Hashable, tuple[Row, list[Aggregate]]] = {}
        if not keys:
            # Without GROUP BY there is one group, even of no rows.
            empty = around + (MISSING,) * (self._size - len(around))
            groups[()] = (empty, [column.start() for column in columns])
        for batch in batches:
            for member in batch:
                values = [key(member) for key in keys]
                identity = tuple([group_key(value) for value in values])
                group = groups.get(identity)
                if group is None:
                    started = [column.start() for column in columns]
                    group = groups[identity] = ((*member, *values), started)
                for column, aggregate in zip(columns, group[1], strict=True):
                    if column.holds is None or column.holds(member):
                        aggregate.add(column.value(member))
            # Aggregates may keep every value, as ARRAY_AGG does.
            self._execution.keep(len(batch) if self._gathers else 0)
            self._execution.check_size(len(groups))
            yield []
        self._execution.keep(len(groups))
        for chunk in chunked(groups.values(), self._execution.pace):
            yield [
                (*first, *[aggregate.result() for aggregate in aggregates])
                for first, aggregates in chunk
            ]
