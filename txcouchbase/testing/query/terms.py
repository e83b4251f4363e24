"""The terms of FROM: what each of them reads, and how they are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from txcouchbase.testing.query.catalog import CATALOG, REFUSED_KEYSPACES
from txcouchbase.testing.query.errors import QueryError, no_index, not_done, syntax_error
from txcouchbase.testing.query.execution import Row
from txcouchbase.testing.query.keyspaces import Keyspace, find_keyspace, path_of, require
from txcouchbase.testing.query.pipeline import Batches, unnested
from txcouchbase.testing.query.projection import implicit_alias
from txcouchbase.testing.query.sargable import usable
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.sources import (
    Source,
    array_source,
    batches_source,
    joined,
    keys_source,
    looked_up,
    rows_source,
    scan_operator,
    scan_source,
)
from txcouchbase.testing.query.syntax import (
    And,
    Expression,
    FromTerm,
    Join,
    KeyspacePath,
    Subquery,
)

if TYPE_CHECKING:
    from txcouchbase.testing.query.queries import Planner

__all__ = ["Terms"]


@dataclass(frozen=True)
class _Scan:
    """A keyspace that is read by an index.

    :param on: the condition of the join, resolved.
    :param first: whether it is the first term.
    """

    keyspace: Keyspace
    alias: str
    slot: int
    on: Expression | None
    first: bool


class Terms:
    """The terms of one FROM.

    :param scope: gets their aliases.
    """

    def __init__(self, planner: Planner, scope: Scope) -> None:
        self._planner = planner
        self._scope = scope
        self._first: Source | None = None
        self._steps: list[Callable[[Batches], Batches]] = []
        self._scans: list[_Scan] = []
        self._unnested: list[Expression] = []

    def rows(self, row: Row) -> Batches:
        """The rows of all terms; the row around alone, where there is no FROM."""
        batches = self._first_rows(row)
        for step in self._steps:
            batches = step(batches)
        return batches

    def _first_rows(self, row: Row) -> Batches:
        if self._first is None:
            yield [row]
            return
        for batch in self._first.rows(row):
            yield [row + values for values in batch]

    def add_source(self, term: FromTerm) -> None:
        """Take in the first term."""
        self._first = self._source(term, "FROM", None)

    def add_join(self, join: Join) -> None:
        """Take in a further term."""
        if join.kind == "unnest":
            self._add_unnest(join)
            return
        slot = self._scope.size
        source = self._source(join.term, join.kind.upper(), join)
        on = self._scope.resolve(join.on) if join.on is not None else None
        holds = self._planner.compiler(self._scope).predicate(on) if on is not None else None
        for place, scan in enumerate(self._scans):
            if scan.slot == slot:
                self._scans[place] = _Scan(scan.keyspace, scan.alias, slot, on, False)
        source = looked_up(source, self._planner.execution.keep)
        self._steps.append(
            lambda batches: joined(batches, source, holds, join.outer, join.kind == "nest")
        )

    def _add_unnest(self, join: Join) -> None:
        assert isinstance(join.term.source, Expression)
        array = self._scope.resolve(join.term.source)
        evaluate = self._planner.compiler(self._scope).resolved(array)
        self._unnested.append(array)
        alias = _required(join.term.alias or implicit_alias(join.term.source), "UNNEST")
        self._scope.add_source(alias, False)
        pace = self._planner.execution.pace
        self._steps.append(lambda batches: unnested(batches, evaluate, join.outer, pace))

    def choose_scans(self, condition: Expression | None) -> None:
        """See that every keyspace that is read has an index that serves the statement.

        :param condition: of WHERE, resolved.
        :raises QueryError: 4000, or 4330 for one that is joined.
        """
        indexes = self._planner.execution.state.query_indexes
        for scan in self._scans:
            conditions = [part for part in (condition, scan.on) if part is not None]
            scope = Scope.of_term(scan.alias, scan.slot)
            both = And(tuple(conditions)) if conditions else None
            found = usable(indexes.at(scan.keyspace.place), scope, both, self._unnested)
            if found is not None:
                self._planner.operators.append(scan_operator(scan.keyspace, scan.alias, found))
            elif scan.first:
                raise no_index(scan.keyspace.quoted)
            else:
                raise QueryError(4330, f"No index available for ANSI join term {scan.alias}")

    def _source(self, term: FromTerm, clause: str, join: Join | None) -> Source:
        source = term.source
        if isinstance(source, Expression):
            path = path_of(source)
            if path is None or self._scope.knows(path.parts[0]):
                return self._expression(term, source, clause, join)
            source = path
        alias = term.alias or source.parts[-1]
        execution = self._planner.execution
        keys = join.keys if join is not None and join.keys is not None else term.keys
        if execution.sources is not None:
            if keys is not None:
                raise syntax_error(f"{alias} is no keyspace, so that it has no KEYS")
            found = execution.sources(source)
            self._scope.add_source(alias, True)
            return found
        if source.namespace == "system":
            return self._catalog(source, alias)
        keyspace = find_keyspace(execution, source)
        require(execution, "select", keyspace.bucket.name)
        if keys is not None:
            evaluate = self._planner.compiler(self._scope).expression(keys)
            self._scope.add_source(alias, True)
            self._planner.operators.append(scan_operator(keyspace, alias, None))
            return keys_source(keyspace, evaluate, execution)
        slot = self._scope.add_source(alias, True)
        self._scans.append(_Scan(keyspace, alias, slot, None, join is None))
        return scan_source(keyspace, execution)

    def _expression(
        self, term: FromTerm, source: Expression, clause: str, join: Join | None
    ) -> Source:
        if term.keys is not None or (join is not None and join.keys is not None):
            raise QueryError(
                4110, f"{clause} Expression term should not have USE KEYS or USE INDEX"
            )
        if isinstance(source, Subquery):
            plan = self._planner.query(source.query, self._scope)
            self._scope.add_source(_required(term.alias, f"{clause} Subquery"), False)
            return batches_source(plan.batches)
        evaluate = self._planner.compiler(self._scope).expression(source)
        alias = _required(term.alias or implicit_alias(source), f"{clause} Expression")
        self._scope.add_source(alias, False)
        return array_source(evaluate, self._planner.execution)

    def _catalog(self, path: KeyspacePath, alias: str) -> Source:
        execution = self._planner.execution
        name = ".".join(path.parts)
        if name in REFUSED_KEYSPACES:
            raise not_done(f"system:{name}")
        rows = CATALOG.get(name)
        if rows is None:
            raise QueryError(12003, f"Keyspace not found system:{name}")
        self._scope.add_source(alias, True)
        return rows_source(partial(rows, execution), execution)


def _required(alias: str | None, clause: str) -> str:
    if alias is None:
        raise QueryError(4010, f"{clause} term must have a name or alias")
    return alias
