"""SELECT and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from txcouchbase.testing.query.syntax.nodes import Expression, Node, Statement

__all__ = [
    "FromTerm",
    "Group",
    "Join",
    "KeyspacePath",
    "Projection",
    "Query",
    "ResultTerm",
    "SetOperation",
    "SortTerm",
    "Subselect",
]


@dataclass(frozen=True, slots=True)
class KeyspacePath(Node):
    """``namespace:bucket.scope.collection``, or fewer parts."""

    namespace: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResultTerm(Node):
    """``expression AS alias``, ``expression.*``, or ``*`` where there is no expression."""

    expression: Expression | None
    alias: str | None
    star: bool


@dataclass(frozen=True, slots=True)
class Projection(Node):
    """What SELECT or RETURNING makes of a row."""

    distinct: bool
    raw: bool
    terms: tuple[ResultTerm, ...]


@dataclass(frozen=True, slots=True)
class FromTerm(Node):
    """A keyspace, an expression or a subquery in FROM."""

    source: KeyspacePath | Expression
    alias: str | None
    keys: Expression | None


@dataclass(frozen=True, slots=True)
class Join(Node):
    """What follows the first term: ``join``, ``nest`` or ``unnest``.

    :param on: the condition; None for UNNEST, for a comma, and with keys.
    :param keys: of ON KEYS.
    """

    kind: str
    outer: bool
    term: FromTerm
    on: Expression | None
    keys: Expression | None


@dataclass(frozen=True, slots=True)
class Group(Node):
    """``GROUP BY keys GROUP AS alias LETTING bindings HAVING condition``."""

    keys: tuple[tuple[Expression, str | None], ...]
    alias: str | None
    letting: tuple[tuple[str, Expression], ...]
    having: Expression | None


@dataclass(frozen=True, slots=True)
class Subselect(Node):
    """``SELECT ... FROM ... LET ... WHERE ... GROUP BY ...``."""

    projection: Projection
    source: FromTerm | None
    joins: tuple[Join, ...]
    let: tuple[tuple[str, Expression], ...]
    where: Expression | None
    group: Group | None


@dataclass(frozen=True, slots=True)
class SetOperation(Node):
    """``left UNION right``: ``union``, ``intersect`` or ``except``."""

    kind: str
    all: bool
    left: Subselect | SetOperation | Query
    right: Subselect | Query


@dataclass(frozen=True, slots=True)
class SortTerm(Node):
    """One key of ORDER BY; ``nulls_last`` is None where it was not said."""

    expression: Expression
    descending: bool
    nulls_last: bool | None


@dataclass(frozen=True, slots=True)
class Query(Statement):
    """A whole SELECT."""

    ctes: tuple[tuple[str, Expression], ...]
    body: Subselect | SetOperation | Query
    order: tuple[SortTerm, ...]
    limit: Expression | None
    offset: Expression | None
