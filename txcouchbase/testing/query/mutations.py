"""From INSERT, UPSERT, UPDATE and DELETE to the pipelines that change documents.

Each gives the values of RETURNING. A document that cannot be changed is an error of the answer;
the others are changed all the same, as on a server.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from txcouchbase.testing.query.catalog import CATALOG
from txcouchbase.testing.query.documents import DocumentMeta
from txcouchbase.testing.query.errors import QueryError, no_index, not_done
from txcouchbase.testing.query.execution import Evaluator, Execution, Row
from txcouchbase.testing.query.keyspaces import Keyspace, find_keyspace, require
from txcouchbase.testing.query.pipeline import Batches, chunked, filtered, paged
from txcouchbase.testing.query.projection import projected
from txcouchbase.testing.query.queries import Planner, number_of
from txcouchbase.testing.query.sargable import usable
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.sources import (
    keys_source,
    rows_source,
    scan_operator,
    scan_source,
)
from txcouchbase.testing.query.syntax import (
    Delete,
    Expression,
    Insert,
    KeyspacePath,
    Projection,
    Target,
    Update,
)
from txcouchbase.testing.query.transaction_statements import writer_of
from txcouchbase.testing.query.updates import Updates
from txcouchbase.testing.query.values import MISSING, is_number

__all__ = ["delete", "insert", "update"]

_PREPAREDS = KeyspacePath("system", ("prepareds",))

Change = Callable[[Row], Row]
"""Changes the document of a row, and gives the row that RETURNING sees."""


def _target(planner: Planner, target: Target, permission: str) -> tuple[Keyspace, str]:
    execution = planner.execution
    if target.path.namespace == "system":
        raise not_done(f"changing system:{target.path.parts[-1]}")
    keyspace = find_keyspace(execution, target.path)
    require(execution, permission, keyspace.bucket.name)
    return keyspace, target.alias or target.path.parts[-1]


def _returning(planner: Planner, scope: Scope, returning: Projection | None) -> Evaluator | None:
    if returning is None:
        return None
    expressions = [
        scope.resolve(term.expression) if term.expression is not None else None
        for term in returning.terms
    ]
    return projected(returning, expressions, planner.compiler(scope), scope.sources())


def _changed(
    execution: Execution, batches: Batches, change: Change, returning: Evaluator | None
) -> Batches:
    for batch in batches:
        found = []
        for row in batch:
            try:
                after = change(row)
            except QueryError as error:
                if error.code != 12009:
                    raise
                execution.errors.append(error)
                continue
            if returning is not None:
                value = returning(after)
                found.append(None if value is MISSING else value)
        yield found


# INSERT and UPSERT.


def insert(planner: Planner, statement: Insert) -> Batches:
    """Carry INSERT or UPSERT out."""
    execution = planner.execution
    word = "UPSERT" if statement.upsert else "INSERT"
    keyspace, alias = _target(planner, statement.target, "insert")
    if statement.upsert:
        require(execution, "update", keyspace.bucket.name)
    writer = writer_of(execution, keyspace, word)
    scope = Scope()
    scope.add_source(alias, True)
    returning = _returning(planner, scope, statement.returning)
    if statement.query is None:
        rows = _given(planner, statement)
    else:
        rows = _selected(planner, statement)

    def change(row: Row) -> Row:
        key, value, options = row
        _check_pair(word, key, value)
        expiry = _expiration(word, options)
        if statement.upsert:
            return value, writer.upsert(key, value, expiry)
        return value, writer.insert(key, value, expiry or 0)

    return _changed(execution, rows, change, returning)


def _given(planner: Planner, statement: Insert) -> Batches:
    compiler = planner.compiler(Scope())
    rows = [
        [compiler.expression(part) if part is not None else _missing for part in row]
        for row in statement.rows
    ]
    for chunk in chunked(rows, planner.execution.pace):
        yield [tuple([evaluate(()) for evaluate in row]) for row in chunk]


def _selected(planner: Planner, statement: Insert) -> Batches:
    assert statement.query is not None
    plan = planner.query(statement.query, Scope())
    scope = Scope()
    scope.add_source("", False)
    compiler = planner.compiler(scope)
    key, value, options = [
        compiler.expression(part) if part is not None else None for part in statement.rows[0]
    ]
    for batch in plan.batches(()):
        found = []
        for content in batch:
            row = (content,)
            assert key is not None
            found.append(
                (
                    key(row),
                    content if value is None else value(row),
                    MISSING if options is None else options(row),
                )
            )
        yield found


def _missing(row: Row) -> Any:
    return MISSING


def _check_pair(word: str, key: Any, value: Any) -> None:
    codes = {"INSERT": (5050, 5060, 5070), "UPSERT": (5072, 5075, 5078)}[word]
    if key is MISSING:
        raise QueryError(codes[0], f"No {word} key for {value!r}")
    if value is MISSING:
        raise QueryError(codes[1], f"No {word} value for {key!r}")
    if type(key) is not str:
        raise QueryError(
            codes[2], f"Cannot {word} non-string key {key!r} of type {type(key).__name__}."
        )


def _expiration(word: str, options: Any) -> int | None:
    if options is MISSING or options is None:
        return None
    if type(options) is not dict:
        raise QueryError(
            5079 if word == "UPSERT" else 5071, f"Cannot {word} with options that are no object."
        )
    for name in options:
        if name != "expiration":
            raise not_done(f"the option {name} of {word}")
    return _seconds(options.get("expiration", 0))


def _seconds(value: Any) -> int:
    if not is_number(value) or value != value or value < 0 or value >= 1 << 32:
        return 0
    return int(value)


# UPDATE and DELETE.


def _rows(
    planner: Planner,
    statement: Update | Delete,
    keyspace: Keyspace,
    alias: str,
    scope: Scope,
) -> Batches:
    """The documents that a statement is about, as values with their metadata."""
    execution = planner.execution
    keys = statement.target.keys
    if keys is not None:
        around = Scope()
        source = keys_source(keyspace, planner.compiler(around).expression(keys), execution)
    else:
        source = scan_source(keyspace, execution)
    slot = scope.add_source(alias, True)
    compiler = planner.compiler(scope)
    condition = scope.resolve(statement.where) if statement.where is not None else None
    found = None
    if keys is None:
        indexes = execution.state.query_indexes.at(keyspace.place)
        found = usable(indexes, Scope.of_term(alias, slot), condition)
        if found is None:
            raise no_index(keyspace.quoted)
    planner.operators.append(scan_operator(keyspace, alias, found))
    rows: Batches = source.rows(())
    if condition is not None:
        rows = filtered(rows, compiler.predicate(condition))
    return _page(planner, statement, rows)


def _page(planner: Planner, statement: Update | Delete, rows: Batches) -> Batches:
    offset = statement.offset if isinstance(statement, Delete) else None
    if statement.limit is None and offset is None:
        return rows
    return _paged(
        rows, _number(planner, "OFFSET", offset), _number(planner, "LIMIT", statement.limit)
    )


def _number(
    planner: Planner, clause: str, expression: Expression | None
) -> Callable[[], int | None]:
    if expression is None:
        return lambda: None
    evaluate = planner.compiler(Scope()).expression(expression)
    return lambda: number_of(clause, evaluate(()))


def _paged(
    rows: Batches, offset: Callable[[], int | None], limit: Callable[[], int | None]
) -> Batches:
    yield from paged(rows, offset() or 0, limit())


def update(planner: Planner, statement: Update) -> Batches:
    """Carry UPDATE out."""
    execution = planner.execution
    keyspace, alias = _target(planner, statement.target, "update")
    writer = writer_of(execution, keyspace, "UPDATE")
    scope = Scope()
    rows = _rows(planner, statement, keyspace, alias, scope)
    updates = Updates(planner.compiler(scope), statement.terms)
    returning = _returning(planner, scope, statement.returning)

    def change(row: Row) -> Row:
        value, meta = row
        assert isinstance(meta, DocumentMeta)
        changed = updates.apply((value, meta), (deepcopy(value), meta))
        expiry = None if changed.expiry is None else _seconds(changed.expiry)
        return changed.value, writer.update(meta, changed.value, expiry)

    return _changed(execution, rows, change, returning)


def delete(planner: Planner, statement: Delete) -> Batches:
    """Carry DELETE out."""
    if statement.target.path == _PREPAREDS:
        return _forget_prepared(planner, statement)
    execution = planner.execution
    keyspace, alias = _target(planner, statement.target, "delete")
    writer = writer_of(execution, keyspace, "DELETE")
    scope = Scope()
    rows = _rows(planner, statement, keyspace, alias, scope)
    returning = _returning(planner, scope, statement.returning)

    def change(row: Row) -> Row:
        writer.delete(row[1])
        return row

    return _changed(execution, rows, change, returning)


def _forget_prepared(planner: Planner, statement: Delete) -> Batches:
    execution = planner.execution
    if statement.target.keys is not None:
        raise not_done("USE KEYS of system:prepareds")
    scope = Scope()
    scope.add_source(statement.target.alias or "prepareds", True)
    rows: Batches = rows_source(partial(CATALOG["prepareds"], execution), execution).rows(())
    if statement.where is not None:
        condition = scope.resolve(statement.where)
        rows = filtered(rows, planner.compiler(scope).predicate(condition))
    returning = _returning(planner, scope, statement.returning)

    def change(row: Row) -> Row:
        execution.state.statements.forget(row[1].id)
        execution.mutations += 1
        return row

    return _changed(execution, _page(planner, statement, rows), change, returning)
