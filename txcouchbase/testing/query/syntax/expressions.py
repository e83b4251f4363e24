"""Expressions: what has a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.syntax.nodes import Expression, Node
from txcouchbase.testing.query.values import type_name

if TYPE_CHECKING:
    from txcouchbase.testing.query.syntax.selects import Query

__all__ = [
    "And",
    "Between",
    "Binary",
    "Binding",
    "Call",
    "Case",
    "Comprehension",
    "Concat",
    "Constant",
    "DynamicField",
    "Element",
    "Exists",
    "Field",
    "In",
    "Is",
    "Like",
    "MakeArray",
    "MakeObject",
    "Meta",
    "Name",
    "Negate",
    "Not",
    "Or",
    "Parameter",
    "Quantified",
    "Slice",
    "Subquery",
    "Variable",
    "constant",
]


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
    """``base.name``.

    :param folded: whether capitals and small letters are the same.
    """

    base: Expression
    name: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class DynamicField(Expression):
    """``base.[name]``, with the parameters of `Field`."""

    base: Expression
    name: Expression
    folded: bool = False


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
