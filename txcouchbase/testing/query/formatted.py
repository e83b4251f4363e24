"""Expressions as text, in the form that a server gives them in ``system:indexes``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from txcouchbase.testing.query.syntax import (
    And,
    Between,
    Binary,
    Binding,
    Call,
    Case,
    Comprehension,
    Concat,
    Constant,
    DynamicField,
    Element,
    Exists,
    Expression,
    Field,
    FlattenKeys,
    In,
    IndexKey,
    Is,
    KeyspacePath,
    Like,
    MakeArray,
    MakeObject,
    Meta,
    Name,
    Negate,
    Not,
    Or,
    Parameter,
    Quantified,
    Slice,
    Subquery,
    Variable,
)
from txcouchbase.testing.query.values import MISSING

__all__ = ["formatted", "formatted_key", "quoted"]


def quoted(name: str) -> str:
    """A name between backticks."""
    return "`" + name.replace("`", "``") + "`"


def formatted(node: Expression) -> str:
    """An expression as text."""
    return _FORMATS[type(node)](node)


def formatted_key(key: IndexKey) -> str:
    """One key of an index as text."""
    text = formatted(key.expression)
    if key.array is not None:
        text = f"({key.array} {text})"
    if key.include_missing:
        text += " INCLUDE MISSING"
    return text + " DESC" if key.descending else text


def _constant(node: Constant) -> str:
    return "missing" if node.value is MISSING else msgspec.json.encode(node.value).decode()


def _joined(parts: tuple[Expression, ...], separator: str) -> str:
    return separator.join([formatted(part) for part in parts])


def _field(node: Field) -> str:
    return f"({formatted(node.base)}.{quoted(node.name)}{'i' * node.folded})"


def _slice(node: Slice) -> str:
    start, end = [formatted(bound) if bound else "" for bound in (node.start, node.end)]
    return f"{formatted(node.base)}[{start} : {end}]"


def _like(node: Like) -> str:
    escape = f" escape {formatted(node.escape)}" if node.escape is not None else ""
    return f"({formatted(node.value)} like {formatted(node.pattern)}{escape})"


def _between(node: Between) -> str:
    return f"({formatted(node.value)} between {formatted(node.low)} and {formatted(node.high)})"


def _is(node: Is) -> str:
    return f"({formatted(node.operand)} is{' not' * node.negated} {node.kind})"


def _case(node: Case) -> str:
    parts = ["case"]
    if node.subject is not None:
        parts.append(formatted(node.subject))
    for when, then in node.arms:
        parts.append(f"when {formatted(when)} then {formatted(then)}")
    if node.otherwise is not None:
        parts.append(f"else {formatted(node.otherwise)}")
    return " ".join([*parts, "end"])


def _object(node: MakeObject) -> str:
    members = [f"{formatted(name)}: {formatted(value)}" for name, value in node.members]
    return "{" + ", ".join(members) + "}"


def _call(node: Call) -> str:
    arguments = "*" if node.star else _joined(node.arguments, ", ")
    text = f"{node.name}({'distinct ' * node.distinct}{arguments})"
    if node.condition is not None:
        text += f" filter (where {formatted(node.condition)})"
    return text


def _binding(node: Binding) -> str:
    index = f"{quoted(node.index)} : " if node.index is not None else ""
    word = "within" if node.within else "in"
    return f"{index}{quoted(node.name)} {word} {formatted(node.collection)}"


def _bindings(bindings: tuple[Binding, ...]) -> str:
    return ", ".join([_binding(binding) for binding in bindings])


def _quantified(node: Quantified) -> str:
    condition = formatted(node.condition)
    return f"{node.kind} {_bindings(node.bindings)} satisfies {condition} end"


def _comprehension(node: Comprehension) -> str:
    key = f"{formatted(node.key)} : " if node.key is not None else ""
    when = f" when {formatted(node.condition)}" if node.condition is not None else ""
    loop = _bindings(node.bindings)
    return f"({node.kind} {key}{formatted(node.value)} for {loop}{when} end)"


_FORMATS: dict[type, Callable[[Any], str]] = {
    Constant: _constant,
    Parameter: lambda node: f"${node.key}",
    Name: lambda node: quoted(node.name),
    Variable: lambda node: quoted(node.name),
    Meta: lambda node: "meta()",
    KeyspacePath: lambda node: ".".join([quoted(part) for part in node.parts]),
    Field: _field,
    DynamicField: lambda node: (
        f"({formatted(node.base)}.[{formatted(node.name)}]{'i' * node.folded})"
    ),
    Element: lambda node: f"({formatted(node.base)}[{formatted(node.index)}])",
    Slice: _slice,
    Negate: lambda node: f"(-{formatted(node.operand)})",
    Binary: lambda node: f"({formatted(node.left)} {node.operator} {formatted(node.right)})",
    Concat: lambda node: f"({_joined(node.operands, ' || ')})",
    And: lambda node: f"({_joined(node.operands, ' and ')})",
    Or: lambda node: f"({_joined(node.operands, ' or ')})",
    Not: lambda node: f"(not {formatted(node.operand)})",
    Like: _like,
    Between: _between,
    In: lambda node: (
        f"({formatted(node.value)} {'within' if node.within else 'in'} "
        f"{formatted(node.collection)})"
    ),
    Exists: lambda node: f"(exists {formatted(node.operand)})",
    Is: _is,
    Case: _case,
    MakeArray: lambda node: f"[{_joined(node.items, ', ')}]",
    MakeObject: _object,
    Call: _call,
    FlattenKeys: lambda node: f"flatten_keys({', '.join(map(formatted_key, node.keys))})",
    Quantified: _quantified,
    Comprehension: _comprehension,
    Subquery: lambda node: "(select ...)",
}
