"""Which operators bind how strongly: a row of operands and operators becomes one expression.

Source: the SQL++ language reference, "Operators", "Operator Precedence".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from txcouchbase.testing.query.errors import syntax_error
from txcouchbase.testing.query.syntax import (
    And,
    Between,
    Binary,
    Call,
    Concat,
    Constant,
    Exists,
    Expression,
    In,
    Is,
    Like,
    Negate,
    Not,
    Or,
    constant,
)
from txcouchbase.testing.query.values import negate

__all__ = ["Infix", "Kind", "Prefix", "combined"]

_IS, _BETWEEN = 10, 7

_PREFIX = {"NOT": 3, "EXISTS": 9, "-": 14}
_INFIX = {
    "OR": 1,
    "AND": 2,
    "=": 4,
    "==": 4,
    "!=": 4,
    "<>": 4,
    "<": 5,
    "<=": 5,
    ">": 5,
    ">=": 5,
    "LIKE": 6,
    "NOT LIKE": 6,
    "BETWEEN": _BETWEEN,
    "NOT BETWEEN": _BETWEEN,
    "IN": 8,
    "NOT IN": 8,
    "WITHIN": 8,
    "NOT WITHIN": 8,
    "IS DISTINCT FROM": _IS,
    "IS NOT DISTINCT FROM": _IS,
    "||": 11,
    "+": 12,
    "-": 12,
    "*": 13,
    "/": 13,
    "%": 13,
    "^": 13,
}

_FLAT: dict[str, Callable[[tuple[Expression, ...]], Expression]] = {
    "OR": Or,
    "AND": And,
    "||": Concat,
}

MAX_PREFIXES = 60
"""How many NOT and minus may stand before one operand."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """NOT, EXISTS or a minus before an operand."""

    operator: str


@dataclass(frozen=True, slots=True)
class Infix:
    """An operator between operands."""

    operator: str


@dataclass(frozen=True, slots=True)
class Kind:
    """IS NULL, IS NOT MISSING and so on, after an operand."""

    name: str
    negated: bool


Item = Expression | Prefix | Infix | Kind


def combined(items: list[Item]) -> Expression:
    """The expression that operands and operators stand for.

    :raises QueryError: 3000 for BETWEEN without AND, or ESCAPE without LIKE.
    """
    row = _Row(items)
    found = row.expression(0)
    if row.peek() is not None:
        raise syntax_error("ESCAPE without LIKE")
    return found


class _Row:
    def __init__(self, items: list[Item]) -> None:
        self._items = items
        self._at = 0
        self._prefixes = 0

    def peek(self) -> Item | None:
        return self._items[self._at] if self._at < len(self._items) else None

    def expression(self, strength: int) -> Expression:
        """What follows, as far as its operators bind at least so strongly."""
        left = self._operand()
        while True:
            item = self.peek()
            if isinstance(item, Kind):
                if strength > _IS:
                    return left
                self._at += 1
                left = Is(left, item.name, item.negated)
            elif isinstance(item, Infix):
                binding = _INFIX.get(item.operator, -1)
                if binding < strength:
                    return left
                left = self._infix(left, item.operator, binding)
            else:
                return left

    def _operand(self) -> Expression:
        item = self.peek()
        self._at += 1
        if isinstance(item, Prefix):
            self._prefixes += 1
            if self._prefixes > MAX_PREFIXES:
                raise syntax_error("the expression is nested too deeply")
            operand = self.expression(_PREFIX[item.operator])
            self._prefixes -= 1
            return _prefixed(item.operator, operand)
        assert isinstance(item, Expression)
        return item

    def _infix(self, left: Expression, operator: str, binding: int) -> Expression:
        flat = _FLAT.get(operator)
        if flat is not None:
            operands = [left]
            while self._next(operator):
                operands.append(self.expression(binding + 1))
            return flat(tuple(operands))
        self._at += 1
        right = self.expression(binding + 1)
        if operator.startswith("NOT "):
            return Not(self._word(left, operator[4:], right))
        return self._word(left, operator, right)

    def _word(self, left: Expression, operator: str, right: Expression) -> Expression:
        if operator == "BETWEEN":
            if not self._next("AND"):
                raise syntax_error("BETWEEN without AND")
            return Between(left, right, self.expression(_BETWEEN + 1))
        if operator == "LIKE":
            escape = self.expression(_BETWEEN) if self._next("ESCAPE") else None
            return Like(left, right, escape)
        if operator in ("IN", "WITHIN"):
            return In(left, right, operator == "WITHIN")
        if operator.startswith("IS "):
            return Call(operator.lower().replace(" ", "_"), (left, right))
        if operator == "^":
            return Call("power", (left, right))
        if operator in (">", ">="):
            return Binary("<" + operator[1:], right, left)
        return Binary({"==": "=", "<>": "!="}.get(operator, operator), left, right)

    def _next(self, operator: str) -> bool:
        item = self.peek()
        found = isinstance(item, Infix) and item.operator == operator
        self._at += found
        return found


def _prefixed(operator: str, operand: Expression) -> Expression:
    if operator == "NOT":
        return Not(operand)
    if operator == "EXISTS":
        return Exists(operand)
    if isinstance(operand, Constant) and operand.kind == "number":
        return constant(negate(operand.value))
    return Negate(operand)
