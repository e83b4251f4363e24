"""Statements that change documents, and those that define indexes and collections."""

from __future__ import annotations

from dataclasses import dataclass

from txcouchbase.testing.query.syntax.expressions import Binding
from txcouchbase.testing.query.syntax.nodes import Expression, Node, Statement
from txcouchbase.testing.query.syntax.selects import KeyspacePath, Projection, Query

__all__ = [
    "BuildIndex",
    "CreateCollection",
    "CreateIndex",
    "CreateScope",
    "Delete",
    "DropCollection",
    "DropIndex",
    "DropScope",
    "Execute",
    "Explain",
    "FlattenKeys",
    "IndexKey",
    "Insert",
    "Prepare",
    "Target",
    "TransactionControl",
    "Update",
    "UpdateTerm",
]


@dataclass(frozen=True, slots=True)
class Target(Node):
    """The keyspace that a statement changes."""

    path: KeyspacePath
    alias: str | None
    keys: Expression | None


@dataclass(frozen=True, slots=True)
class Insert(Statement):
    """INSERT or UPSERT of values, or of the rows of a query.

    :param rows: key, value and options of each document; one row of expressions on the row of
        ``query``, where there is one. The value may be None then.
    """

    target: Target
    upsert: bool
    rows: tuple[tuple[Expression, Expression | None, Expression | None], ...]
    query: Query | None
    returning: Projection | None


@dataclass(frozen=True, slots=True)
class UpdateTerm(Node):
    """``SET path = value FOR ... WHEN condition END``; the value is None for UNSET.

    :param loops: the bindings of each FOR, the outermost one first.
    """

    path: Expression
    value: Expression | None
    loops: tuple[tuple[Binding, ...], ...]
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Update(Statement):
    """UPDATE."""

    target: Target
    terms: tuple[UpdateTerm, ...]
    where: Expression | None
    limit: Expression | None
    returning: Projection | None


@dataclass(frozen=True, slots=True)
class Delete(Statement):
    """DELETE."""

    target: Target
    where: Expression | None
    limit: Expression | None
    offset: Expression | None
    returning: Projection | None


@dataclass(frozen=True, slots=True)
class IndexKey(Node):
    """One key of an index.

    :param array: ``all`` or ``distinct`` where the elements of an array are indexed.
    """

    expression: Expression
    array: str | None
    descending: bool
    include_missing: bool


@dataclass(frozen=True, slots=True)
class FlattenKeys(Expression):
    """``FLATTEN_KEYS(a, b DESC)``: several keys for one element of an array."""

    keys: tuple[IndexKey, ...]


@dataclass(frozen=True, slots=True)
class CreateIndex(Statement):
    """CREATE INDEX; a primary one has no keys."""

    name: str | None
    keyspace: KeyspacePath
    primary: bool
    if_not_exists: bool
    keys: tuple[IndexKey, ...]
    partition: tuple[Expression, ...]
    where: Expression | None
    options: Expression | None


@dataclass(frozen=True, slots=True)
class DropIndex(Statement):
    """DROP INDEX; without a name the primary one."""

    name: str | None
    keyspace: KeyspacePath
    if_exists: bool


@dataclass(frozen=True, slots=True)
class BuildIndex(Statement):
    """BUILD INDEX."""

    keyspace: KeyspacePath
    names: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class CreateScope(Statement):
    """CREATE SCOPE."""

    path: KeyspacePath
    if_not_exists: bool


@dataclass(frozen=True, slots=True)
class DropScope(Statement):
    """DROP SCOPE."""

    path: KeyspacePath
    if_exists: bool


@dataclass(frozen=True, slots=True)
class CreateCollection(Statement):
    """CREATE COLLECTION."""

    path: KeyspacePath
    if_not_exists: bool
    options: Expression | None


@dataclass(frozen=True, slots=True)
class DropCollection(Statement):
    """DROP COLLECTION."""

    path: KeyspacePath
    if_exists: bool


@dataclass(frozen=True, slots=True)
class Prepare(Statement):
    """PREPARE."""

    name: str | None
    force: bool
    statement: Statement


@dataclass(frozen=True, slots=True)
class Execute(Statement):
    """EXECUTE."""

    name: str
    using: Expression | None


@dataclass(frozen=True, slots=True)
class TransactionControl(Statement):
    """BEGIN, COMMIT or ROLLBACK.

    :param kind: the first word.
    """

    kind: str


@dataclass(frozen=True, slots=True)
class Explain(Statement):
    """EXPLAIN."""

    statement: Statement
