"""What statements are made of, once they are parsed: small frozen dataclasses.

Equality is structural, so that an expression of the projection can be found among the keys of
GROUP BY.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from txcouchbase.testing.query.values import type_name

__all__ = [
    "And",
    "Between",
    "Binary",
    "Binding",
    "BuildIndex",
    "Call",
    "Case",
    "Comprehension",
    "Concat",
    "Constant",
    "CreateCollection",
    "CreateIndex",
    "CreateScope",
    "Delete",
    "DropCollection",
    "DropIndex",
    "DropScope",
    "DynamicField",
    "Element",
    "Execute",
    "Exists",
    "Explain",
    "Expression",
    "Field",
    "FromTerm",
    "Group",
    "In",
    "IndexKey",
    "Insert",
    "Is",
    "Join",
    "KeyspacePath",
    "Like",
    "MakeArray",
    "MakeObject",
    "Meta",
    "Name",
    "Negate",
    "Node",
    "Not",
    "Or",
    "Parameter",
    "Prepare",
    "Projection",
    "Quantified",
    "Query",
    "ResultTerm",
    "SetOperation",
    "Slice",
    "SortTerm",
    "Statement",
    "Subquery",
    "Subselect",
    "Target",
    "Update",
    "UpdateTerm",
    "Variable",
    "children",
    "constant",
    "transformed",
]


N = TypeVar("N", bound="Node")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a statement."""

    def __deepcopy__(self: N, memo: dict[int, Any]) -> N:
        return self


@dataclass(frozen=True, slots=True)
class Expression(Node):
    """What has a value."""


@dataclass(frozen=True, slots=True)
class Statement(Node):
    """What can be executed."""


# Expressions.


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """A literal; the kind keeps 1 and true apart."""

    value: Any
    kind: str


def constant(value: Any) -> Constant:
    """A literal of a value."""
    return Constant(value, type_name(value))


@dataclass(frozen=True, slots=True)
class Parameter(Expression):
    """``$name``, ``$1`` or the n-th ``?``: a name, or a position that counts from 1."""

    key: str | int


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """An identifier as it was written."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable(Expression):
    """An identifier that was found: a place in the row."""

    name: str
    slot: int


@dataclass(frozen=True, slots=True)
class Meta(Expression):
    """``META(alias)`` that was found: a place in the row, None for what has no metadata."""

    slot: int | None


@dataclass(frozen=True, slots=True)
class Field(Expression):
    """``base.name``."""

    base: Expression
    name: str


@dataclass(frozen=True, slots=True)
class DynamicField(Expression):
    """``base.[name]``."""

    base: Expression
    name: Expression


@dataclass(frozen=True, slots=True)
class Element(Expression):
    """``base[index]``."""

    base: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Slice(Expression):
    """``base[start:end]``."""

    base: Expression
    start: Expression | None
    end: Expression | None


@dataclass(frozen=True, slots=True)
class Negate(Expression):
    """``-operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """Arithmetic and comparison with two operands."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Concat(Expression):
    """``a || b || c``."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class And(Expression):
    """``a AND b AND c``."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """``a OR b OR c``."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """``NOT operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Like(Expression):
    """``value LIKE pattern ESCAPE escape``."""

    value: Expression
    pattern: Expression
    escape: Expression | None


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """``value BETWEEN low AND high``."""

    value: Expression
    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class In(Expression):
    """``value IN collection``, or WITHIN."""

    value: Expression
    collection: Expression
    within: bool


@dataclass(frozen=True, slots=True)
class Exists(Expression):
    """``EXISTS operand``."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Is(Expression):
    """``operand IS kind``: ``null``, ``missing``, ``valued``, ``known`` or ``unknown``."""

    operand: Expression
    kind: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """``CASE subject WHEN ... THEN ... ELSE ... END``."""

    subject: Expression | None
    arms: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression | None


@dataclass(frozen=True, slots=True)
class MakeArray(Expression):
    """``[a, b]``."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class MakeObject(Expression):
    """``{a: b}``."""

    members: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """``name(arguments)``, aggregates included.

    :param star: whether the argument is ``*``.
    :param condition: of ``FILTER (WHERE condition)``.
    """

    name: str
    arguments: tuple[Expression, ...]
    distinct: bool = False
    star: bool = False
    condition: Expression | None = None


@dataclass(frozen=True, slots=True)
class Binding(Node):
    """``name: value IN collection``, or WITHIN."""

    index: str | None
    name: str
    collection: Expression
    within: bool


@dataclass(frozen=True, slots=True)
class Quantified(Expression):
    """``ANY bindings SATISFIES condition END``: ``any``, ``every`` or ``any and every``."""

    kind: str
    bindings: tuple[Binding, ...]
    condition: Expression


@dataclass(frozen=True, slots=True)
class Comprehension(Expression):
    """``ARRAY value FOR bindings WHEN condition END``: ``array``, ``first`` or ``object``."""

    kind: str
    key: Expression | None
    value: Expression
    bindings: tuple[Binding, ...]
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Subquery(Expression):
    """``(SELECT ...)``.

    :param bound: the variables of ANY, ARRAY and so on around it, and their places in the row.
    """

    query: Query
    bound: tuple[tuple[str, int], ...] = ()


# Queries.


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


# Mutations.


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
    """``SET path = value FOR bindings WHEN condition END``; the value is None for UNSET."""

    path: Expression
    value: Expression | None
    bindings: tuple[Binding, ...]
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


# Definitions.


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
class Explain(Statement):
    """EXPLAIN."""

    statement: Statement


def parts_of(node: Node) -> tuple[str, ...]:
    """The names of a node's attributes."""
    names: tuple[str, ...] = getattr(node, "__slots__", ())
    return names


def children(node: Node) -> Iterator[Node]:
    """The nodes right below a node."""
    for name in parts_of(node):
        yield from _nodes(getattr(node, name))


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif type(value) is tuple:
        for item in value:
            yield from _nodes(item)


def transformed(node: N, change: Callable[[Any], Any]) -> N:
    """A node whose children, those that are right below it, are replaced."""
    before = [getattr(node, name) for name in parts_of(node)]
    after = [_changed(value, change) for value in before]
    if all(new is old for new, old in zip(after, before, strict=True)):
        return node
    return type(node)(*after)


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if type(value) is tuple:
        items = tuple([_changed(item, change) for item in value])
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    return value
