"""From a SELECT to the pipeline that makes its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from txcouchbase.testing.query.compiler import Compiler
from txcouchbase.testing.query.errors import QueryError, not_done
from txcouchbase.testing.query.execution import (
    LARGEST,
    Evaluator,
    Execution,
    Prefetched,
    Row,
)
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.functions.signature import whole
from txcouchbase.testing.query.grouping import Grouping, Groups, aggregate_calls
from txcouchbase.testing.query.pipeline import (
    Batches,
    SortKey,
    distinct,
    extended,
    filtered,
    merged,
    paged,
    sorted_rows,
)
from txcouchbase.testing.query.projection import aliases, projected, signature
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import (
    Expression,
    Group,
    Query,
    SetOperation,
    SortTerm,
    Subselect,
    constant,
)
from txcouchbase.testing.query.terms import Terms
from txcouchbase.testing.query.values import MISSING, group_key, is_number

__all__ = ["Plan", "Planner", "number_of"]


@dataclass(frozen=True)
class Plan:
    """A query, ready to run.

    :param batches: takes the row around it, gives values.
    :param correlated: whether it uses something of that row.
    """

    batches: Callable[[Row], Batches]
    signature: Any
    correlated: bool


@dataclass(frozen=True)
class _Selected:
    """A SELECT before ORDER BY: its rows, how they become values, and the keys of their order."""

    rows: Callable[[Row], Batches]
    project: Evaluator
    distinct: bool
    order: list[Evaluator]
    signature: Any


class Planner:
    """Plans the queries of one statement."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.operators: list[dict[str, Any]] = []
        """How keyspaces are read, as EXPLAIN shows it."""

    def compiler(self, scope: Scope) -> Compiler:
        """The compiler of expressions in a scope."""
        return Compiler(self.execution, scope, self._subquery)

    def query(self, query: Query, outer: Scope) -> Plan:
        """The plan of a query.

        :param outer: the names around it.
        :raises QueryError: for what cannot be planned.
        """
        scope = Scope(outer)
        ctes = []
        for name, expression in query.ctes:
            ctes.append(self.compiler(scope).expression(expression))
            scope.add_variable(name)
        selected = self._body(query.body, query.order, scope)
        finish = self._finish(query, selected, scope)

        def batches(row: Row) -> Batches:
            for evaluate in ctes:
                row = (*row, evaluate(row))
            return finish(row)

        return Plan(batches, selected.signature, scope.correlated)

    def _finish(self, query: Query, selected: _Selected, scope: Scope) -> Callable[[Row], Batches]:
        """ORDER BY, OFFSET, LIMIT, and the projection where it belongs."""
        execution, project = self.execution, selected.project
        terms = [
            (evaluate, term.descending, term.nulls_last)
            for evaluate, term in zip(selected.order, query.order, strict=True)
        ]
        key = SortKey(terms) if terms else None
        compiler = self.compiler(scope)
        limit = compiler.expression(query.limit) if query.limit is not None else None
        offset = compiler.expression(query.offset) if query.offset is not None else None

        def batches(row: Row) -> Batches:
            most = None if limit is None else number_of("LIMIT", limit(row))
            skipped = 0 if offset is None else number_of("OFFSET", offset(row))
            rows = selected.rows(row)
            if selected.distinct:
                return self._distinct(rows, project, key, skipped, most)
            if key is not None:
                wanted = None if most is None else most + skipped
                rows = sorted_rows(rows, key, execution, wanted)
            if most is not None or skipped:
                rows = paged(rows, skipped, most)
            return _values(rows, project)

        return batches

    def _distinct(
        self,
        rows: Batches,
        project: Evaluator,
        key: SortKey | None,
        skipped: int,
        most: int | None,
    ) -> Batches:
        pairs: Batches = ([(project(row), row) for row in batch] for batch in rows)
        pairs = distinct(pairs, lambda pair: group_key(pair[0]), self.execution.keep)
        if key is not None:
            by_row = _SecondKey(key)
            wanted = None if most is None else most + skipped
            pairs = sorted_rows(pairs, by_row, self.execution, wanted)
        for batch in paged(pairs, skipped, most):
            yield [None if value is MISSING else value for value, _ in batch]

    def _body(
        self,
        body: Subselect | SetOperation | Query,
        order: tuple[SortTerm, ...],
        outer: Scope,
    ) -> _Selected:
        if isinstance(body, Subselect):
            return self._subselect(body, order, outer)
        if isinstance(body, Query):
            plan = self.query(body, outer)
            values, found = plan.batches, plan.signature
        else:
            values, found = self._set_operation(body, outer)
        scope = Scope(outer)
        slot = scope.add_source("", False)
        compiler = self.compiler(scope)

        def rows(row: Row) -> Batches:
            return ([(*row, value) for value in batch] for batch in values(row))

        keys = [compiler.expression(term.expression) for term in order]
        return _Selected(rows, itemgetter(slot), False, keys, found)

    def _set_operation(
        self, node: SetOperation, outer: Scope
    ) -> tuple[Callable[[Row], Batches], Any]:
        plans = []
        for side in (node.left, node.right):
            query = side if isinstance(side, Query) else Query((), side, (), None, None)
            plans.append(self.query(query, outer))
        left, right = plans

        def batches(row: Row) -> Batches:
            sides = left.batches(row), right.batches(row)
            return merged(node.kind, node.all, *sides, self.execution.keep)

        return batches, left.signature

    def _subselect(self, select: Subselect, order: tuple[SortTerm, ...], outer: Scope) -> _Selected:
        scope = Scope(outer)
        compiler = self.compiler(scope)
        rows = self._from_and_where(select, scope)
        group = select.group or Group((), None, (), None)
        if group.alias is not None:
            raise not_done("GROUP AS")
        _check_no_aggregates("GROUP BY", [expression for expression, _ in group.keys])
        keys = []
        for expression, alias in group.keys:
            keys.append(scope.resolve(expression))
            if alias is not None:
                scope.add_alias(alias, keys[-1])
        for name, expression in group.letting:
            scope.add_alias(name, scope.resolve(expression))
        expressions = [
            scope.resolve(term.expression) if term.expression is not None else None
            for term in select.projection.terms
        ]
        having = scope.resolve(group.having) if group.having is not None else None
        for alias, result in zip(aliases(select.projection), expressions, strict=True):
            if alias is not None and result is not None:
                scope.add_result(alias, result)
        sorting = [scope.resolve(term.expression) for term in order]
        calls = aggregate_calls([*expressions, having, *sorting])
        sources = scope.sources() | {name: scope.slot(name) for name, _ in select.let}
        if select.group is not None or calls:
            if None in expressions:
                raise QueryError(4210, "Expression * must depend only on group keys or aggregates.")
            grouping = Grouping(scope.base, scope.size, tuple(keys), tuple(calls))
            rows = Groups(compiler, grouping).after(rows)
            # From here on, what is compiled sees the rows of groups.
            scope.size += grouping.added
            expressions = [
                expression and grouping.regrouped(expression) for expression in expressions
            ]
            sorting = [grouping.regrouped(expression) for expression in sorting]
            if having is not None:
                rows = _after(rows, filtered, compiler.predicate(grouping.regrouped(having)))
        project = projected(select.projection, expressions, compiler, sources)
        ordering = [compiler.resolved(expression) for expression in sorting]
        return _Selected(
            rows, project, select.projection.distinct, ordering, signature(select.projection)
        )

    def _from_and_where(self, select: Subselect, scope: Scope) -> Callable[[Row], Batches]:
        compiler = self.compiler(scope)
        terms = Terms(self, scope)
        if select.source is not None:
            terms.add_source(select.source)
        for join in select.joins:
            terms.add_join(join)
        rows: Callable[[Row], Batches] = terms.rows
        letting = []
        _check_no_aggregates("LET", [expression for _, expression in select.let])
        _check_no_aggregates("WHERE", [select.where])
        for name, expression in select.let:
            letting.append(compiler.expression(expression))
            scope.add_variable(name)
        if letting:
            rows = _after(rows, extended, letting)
        condition = scope.resolve(select.where) if select.where is not None else None
        terms.choose_scans(condition)
        if condition is not None:
            rows = _after(rows, filtered, compiler.predicate(condition))
        return rows

    def _subquery(self, query: Query, scope: Scope, one: bool) -> Evaluator:
        execution = self.execution
        plan = self.query(query, scope)
        if not plan.correlated:
            around = (MISSING,) * scope.size
            once = Prefetched(lambda: _first(plan.batches(around), one), execution.keep)
            execution.prefetch.append(once)
            return lambda row: once.rows()
        pace = execution.pace

        def evaluate(row: Row) -> list[Any]:
            found: list[Any] = []
            # What a step of the outer query takes says nothing about batches in here.
            size, pace.size = pace.size, LARGEST
            try:
                for batch in _first(plan.batches(row), one):
                    found.extend(batch)
                    execution.check_step()
                    execution.check_size(len(found))
            finally:
                pace.size = size
            return found

        return evaluate


def _check_no_aggregates(clause: str, expressions: list[Expression | None]) -> None:
    if aggregate_calls(expressions):
        raise QueryError(4000, f"Aggregates not allowed in {clause}.")


def _after(
    rows: Callable[[Row], Batches], step: Callable[[Batches, Any], Batches], argument: Any
) -> Callable[[Row], Batches]:
    return lambda row: step(rows(row), argument)


def _first(batches: Batches, one: bool) -> Batches:
    for batch in batches:
        yield batch
        if one and batch:
            return


def _values(rows: Batches, project: Evaluator) -> Batches:
    for batch in rows:
        values = [project(row) for row in batch]
        # A value alone cannot be left out, as a member of an object can.
        yield [None if value is MISSING else value for value in values]


class _SecondKey(SortKey):
    """The key of pairs of a value and its row."""

    def __init__(self, key: SortKey) -> None:
        self.reverse = key.reverse
        self._key = key

    def __call__(self, pair: Any) -> tuple[Any, ...]:
        return self._key(pair[1])


def number_of(clause: str, value: Any) -> int:
    """The number of LIMIT or OFFSET; less than zero counts as zero.

    :raises QueryError: 5030 for something else.
    """
    number = whole(value) if is_number(value) else None
    if number is None:
        raise QueryError(5030, f"Invalid {clause} value {formatted(constant(value))}.")
    return max(number, 0)
