"""Whether an index serves a condition.

The rule: an index serves a statement if it is online and primary, or if its leading key stands in
a comparison, BETWEEN, IN, LIKE, IS NOT MISSING, IS [NOT] NULL or IS VALUED of the condition; under
OR, in each of its arms. The key of an array is asked for by ANY on the same array, or by UNNEST.
A leading key with INCLUDE MISSING serves every condition. A partial index also needs each part of
its own condition among those of the statement's.

Source: the SQL++ language reference, "Index Selection".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from txcouchbase.testing.query.indexes import QueryIndex
from txcouchbase.testing.query.scope import Scope
from txcouchbase.testing.query.syntax import (
    And,
    Between,
    Binary,
    Comprehension,
    Expression,
    In,
    IndexKey,
    Is,
    Like,
    Not,
    Or,
    Quantified,
)

__all__ = ["conjuncts", "usable"]

Resolve = Callable[[Expression], Expression]


def conjuncts(condition: Expression | None) -> tuple[Expression, ...]:
    """The parts of a condition that must hold all."""
    if condition is None:
        return ()
    if isinstance(condition, And):
        return tuple([part for operand in condition.operands for part in conjuncts(operand)])
    return (condition,)


def usable(
    indexes: Iterable[QueryIndex],
    scope: Scope,
    condition: Expression | None,
    unnested: Iterable[Expression] = (),
) -> QueryIndex | None:
    """The first index that serves a condition, a primary one if none else does.

    :param scope: one in which the names of the index mean what they mean in the statement.
    :param condition: with its names resolved.
    :param unnested: the arrays of UNNEST, with their names resolved.
    """
    primary = None
    parts = conjuncts(condition)
    for index in indexes:
        if not index.online:
            continue
        if index.primary:
            primary = primary or index
        elif _implied(index, scope, parts) and _asked(index, scope, parts, tuple(unnested)):
            return index
    return primary


def _implied(index: QueryIndex, scope: Scope, parts: tuple[Expression, ...]) -> bool:
    if index.condition is None:
        return True
    return all(part in parts for part in conjuncts(scope.resolve(index.condition)))


def _asked(
    index: QueryIndex,
    scope: Scope,
    parts: tuple[Expression, ...],
    unnested: tuple[Expression, ...],
) -> bool:
    leading = index.keys[0]
    if leading.include_missing:
        return True
    key = scope.resolve(_indexed(leading))
    if leading.array is not None and key in unnested:
        return True
    return any(_asks(part, key, leading.array is not None) for part in parts)


def _indexed(key: IndexKey) -> Expression:
    expression = key.expression
    if key.array is not None and isinstance(expression, Comprehension):
        return expression.bindings[0].collection
    return expression


def _asks(condition: Expression, key: Expression, array: bool) -> bool:
    if isinstance(condition, And):
        return any(_asks(operand, key, array) for operand in condition.operands)
    if isinstance(condition, Or):
        return all(_asks(operand, key, array) for operand in condition.operands)
    if array:
        if isinstance(condition, In):
            return condition.collection == key
        return isinstance(condition, Quantified) and any(
            binding.collection == key for binding in condition.bindings
        )
    if isinstance(condition, Not):
        return _asks(condition.operand, key, array)
    if isinstance(condition, Binary):
        return key in (condition.left, condition.right)
    if isinstance(condition, (Between, In, Like)):
        return condition.value == key
    if isinstance(condition, Is):
        asked = condition.kind != "missing" or condition.negated
        return asked and condition.kind != "unknown" and condition.operand == key
    return condition == key
