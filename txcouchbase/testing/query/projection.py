"""What SELECT and RETURNING make of a row."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from txcouchbase.testing.query.compiler import Compiler
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.scope import duplicate_alias
from txcouchbase.testing.query.syntax import (
    And,
    Between,
    Binary,
    Comprehension,
    Concat,
    Constant,
    Exists,
    Expression,
    Field,
    In,
    Is,
    Like,
    MakeArray,
    MakeObject,
    Name,
    Negate,
    Not,
    Or,
    Projection,
    Quantified,
    ResultTerm,
    Subquery,
)
from txcouchbase.testing.query.values import MISSING

__all__ = ["aliases", "implicit_alias", "projected", "signature"]


def implicit_alias(expression: Expression | None) -> str | None:
    """The name that a path gives to what it stands for; None for other expressions."""
    return expression.name if isinstance(expression, (Name, Field)) else None


def aliases(projection: Projection) -> list[str | None]:
    """The names of the terms, None for those with a star.

    Terms without any are ``$1``, ``$2`` and so on.

    :raises QueryError: 4020 for a name that comes twice.
    """
    found: list[str | None] = []
    count = 0
    for term in projection.terms:
        alias = term.alias or implicit_alias(term.expression)
        if term.star:
            alias = None
        elif alias is None:
            count += 1
            alias = f"${count}"
        if alias is not None and alias in found:
            raise duplicate_alias("result", alias)
        found.append(alias)
    return found


def projected(
    projection: Projection,
    expressions: list[Expression | None],
    compiler: Compiler,
    sources: dict[str, int],
) -> Evaluator:
    """The evaluator of a projection.

    :param expressions: those of the terms, resolved.
    :param sources: what ``*`` stands for: places by names.
    """
    names = aliases(projection)
    if projection.raw:
        (expression,) = expressions
        assert expression is not None
        return compiler.resolved(expression)
    if len(names) == 1 and projection.terms[0].star:
        return _part(projection.terms[0], names[0], expressions[0], compiler, sources)
    if all(name is not None for name in names):
        members = [
            (name, compiler.resolved(expression))
            for name, expression in zip(names, expressions, strict=True)
            if name is not None and expression is not None
        ]
        return _object(members)
    parts = [
        _part(term, name, expression, compiler, sources)
        for term, name, expression in zip(projection.terms, names, expressions, strict=True)
    ]

    def evaluate(row: Row) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in parts:
            found.update(part(row))
        return found

    return evaluate


def _object(members: list[tuple[str, Evaluator]]) -> Evaluator:
    def evaluate(row: Row) -> dict[str, Any]:
        found = {}
        for name, value in members:
            content = value(row)
            if content is not MISSING:
                found[name] = content
        return found

    return evaluate


def _part(
    term: ResultTerm,
    name: str | None,
    expression: Expression | None,
    compiler: Compiler,
    sources: dict[str, int],
) -> Callable[[Row], dict[str, Any]]:
    if expression is None:
        return _object([(alias, itemgetter(slot)) for alias, slot in sources.items()])
    value = compiler.resolved(expression)
    if not term.star:
        assert name is not None
        return _object([(name, value)])

    def evaluate(row: Row) -> dict[str, Any]:
        content = value(row)
        return content if type(content) is dict else {}

    return evaluate


_TYPES: dict[type, str] = {
    And: "boolean",
    Between: "boolean",
    Comprehension: "array",
    Concat: "string",
    Exists: "boolean",
    In: "boolean",
    Is: "boolean",
    Like: "boolean",
    MakeArray: "array",
    MakeObject: "object",
    Negate: "number",
    Not: "boolean",
    Or: "boolean",
    Quantified: "boolean",
    Subquery: "array",
}


def signature(projection: Projection) -> Any:
    """The types of a projection's terms, as far as they are known: ``json`` where not."""
    if projection.raw:
        return _type(projection.terms[0].expression)
    found: dict[str, str] = {}
    for term, alias in zip(projection.terms, aliases(projection), strict=True):
        if alias is None:
            found["*"] = "*"
        else:
            found[alias] = _type(term.expression)
    return found


def _type(expression: Expression | None) -> str:
    if isinstance(expression, Constant):
        return expression.kind
    if isinstance(expression, Binary):
        return "boolean" if expression.operator in ("=", "!=", "<", "<=") else "number"
    return _TYPES.get(type(expression), "json")
