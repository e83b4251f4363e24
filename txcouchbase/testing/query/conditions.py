"""How AND, OR, NOT, LIKE, BETWEEN, IN, IS, EXISTS and CASE are evaluated.

Source: the SQL++ language reference, "Logical Operators", "Comparison Operators", "Collection
Operators" and "Conditional Operators".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.like import LikePattern
from txcouchbase.testing.query.syntax import (
    And,
    Between,
    Case,
    Exists,
    In,
    Is,
    Like,
    Not,
    Or,
    Subquery,
)
from txcouchbase.testing.query.values import MISSING, equals, is_array, less_or_equal, truth

if TYPE_CHECKING:
    from txcouchbase.testing.query.compiler import Compiler

__all__ = ["COMPILERS", "contains", "descendants"]


def _and(compiler: Compiler, node: And) -> Evaluator:
    operands = [compiler.resolved(operand) for operand in node.operands]

    def evaluate(row: Row) -> Any:
        result: Any = True
        for operand in operands:
            value = truth(operand(row))
            if value is False:
                return False
            if value is not True and result is not MISSING:
                result = value
        return result

    return evaluate


def _or(compiler: Compiler, node: Or) -> Evaluator:
    operands = [compiler.resolved(operand) for operand in node.operands]

    def evaluate(row: Row) -> Any:
        result: Any = False
        for operand in operands:
            value = truth(operand(row))
            if value is True:
                return True
            if value is not False and result is not None:
                result = value
        return result

    return evaluate


def _not(compiler: Compiler, node: Not) -> Evaluator:
    operand = compiler.resolved(node.operand)

    def evaluate(row: Row) -> Any:
        value = truth(operand(row))
        return not value if type(value) is bool else value

    return evaluate


def _like(compiler: Compiler, node: Like) -> Evaluator:
    value, pattern = compiler.resolved(node.value), compiler.resolved(node.pattern)
    escape = compiler.resolved(node.escape) if node.escape is not None else lambda row: "\\"
    made = lru_cache(maxsize=64)(LikePattern)

    def evaluate(row: Row) -> Any:
        text, wanted, escaping = value(row), pattern(row), escape(row)
        if text is MISSING or wanted is MISSING or escaping is MISSING:
            return MISSING
        if type(text) is not str or type(wanted) is not str or type(escaping) is not str:
            return None
        return made(wanted, escaping).matches(text)

    return evaluate


def _between(compiler: Compiler, node: Between) -> Evaluator:
    value = compiler.resolved(node.value)
    low, high = compiler.resolved(node.low), compiler.resolved(node.high)

    def evaluate(row: Row) -> Any:
        found = value(row)
        above = less_or_equal(low(row), found)
        if above is False:
            return False
        below = less_or_equal(found, high(row))
        if below is False or above is True:
            return below
        return MISSING if below is MISSING else above

    return evaluate


def contains(collection: Any, value: Any) -> Any:
    """Whether a value is among those of a collection; None or MISSING where that is open."""
    result: Any = False
    for item in collection:
        same = equals(item, value)
        if same is True:
            return True
        if same is not False and result is not None:
            result = same
    return result


def descendants(value: Any) -> list[Any]:
    """What is in an array or object, at any depth."""
    found = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        inner = list(current.values()) if type(current) is dict else list(current)
        found.extend(inner)
        waiting.extend([item for item in inner if type(item) is dict or is_array(item)])
    return found


def _in(compiler: Compiler, node: In) -> Evaluator:
    value, collection = compiler.resolved(node.value), compiler.resolved(node.collection)
    within = node.within
    tick = compiler.execution.tick

    def evaluate(row: Row) -> Any:
        wanted, items = value(row), collection(row)
        if wanted is MISSING or items is MISSING:
            return MISSING
        if within and (type(items) is dict or is_array(items)):
            items = descendants(items)
        elif not is_array(items):
            return None
        tick()
        if type(items) is range and type(wanted) is int:
            return wanted in items
        return contains(items, wanted) if wanted is not None else None

    return evaluate


def _exists(compiler: Compiler, node: Exists) -> Evaluator:
    if isinstance(node.operand, Subquery):
        scope = compiler.scope.extended(node.operand.bound)
        operand = compiler.subquery(node.operand.query, scope, True)
    else:
        operand = compiler.resolved(node.operand)

    def evaluate(row: Row) -> Any:
        value = operand(row)
        if value is MISSING:
            return MISSING
        return len(value) > 0 if is_array(value) else None if value is None else False

    return evaluate


def _is_null(value: Any) -> Any:
    return MISSING if value is MISSING else value is None


_KINDS: dict[str, Callable[[Any], Any]] = {
    "null": _is_null,
    "missing": lambda value: value is MISSING,
    "valued": lambda value: value is not MISSING and value is not None,
    "known": lambda value: value is not MISSING and value is not None,
    "unknown": lambda value: value is MISSING or value is None,
}


def _is(compiler: Compiler, node: Is) -> Evaluator:
    operand, test, negated = compiler.resolved(node.operand), _KINDS[node.kind], node.negated

    def evaluate(row: Row) -> Any:
        result = test(operand(row))
        return not result if negated and type(result) is bool else result

    return evaluate


def _case(compiler: Compiler, node: Case) -> Evaluator:
    arms = [(compiler.resolved(when), compiler.resolved(then)) for when, then in node.arms]
    otherwise = compiler.resolved(node.otherwise) if node.otherwise is not None else None
    subject = compiler.resolved(node.subject) if node.subject is not None else None

    def evaluate(row: Row) -> Any:
        wanted = subject(row) if subject is not None else True
        for when, then in arms:
            value = when(row)
            if (truth(value) if subject is None else equals(wanted, value)) is True:
                return then(row)
        return otherwise(row) if otherwise is not None else None

    return evaluate


COMPILERS: dict[type, Callable[[Any, Any], Evaluator]] = {
    And: _and,
    Or: _or,
    Not: _not,
    Like: _like,
    Between: _between,
    In: _in,
    Exists: _exists,
    Is: _is,
    Case: _case,
}
