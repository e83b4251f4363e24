"""What the grammar's rules of expressions make of their parts.

Each method is named after a rule.
"""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer

from txcouchbase.testing.query.errors import not_done, syntax_error
from txcouchbase.testing.query.grammar.operators import Infix, Kind, Prefix, combined
from txcouchbase.testing.query.grammar.parts import (
    Clause,
    Parts,
    all_of,
    names,
    part,
    value_of,
    words,
)
from txcouchbase.testing.query.syntax import (
    Binding,
    Call,
    Case,
    Comprehension,
    Constant,
    DynamicField,
    Element,
    Expression,
    Field,
    FlattenKeys,
    IndexKey,
    MakeArray,
    MakeObject,
    Name,
    Parameter,
    Quantified,
    Query,
    Slice,
    Subquery,
    constant,
)
from txcouchbase.testing.query.values import MISSING, number

__all__ = ["ExpressionBuilder"]

_LITERALS: dict[str, Any] = {"NULL": None, "MISSING": MISSING, "TRUE": True, "FALSE": False}


def _number(digits: str) -> int | float:
    if digits.isdecimal() and len(digits) < 20:
        return number(int(digits))
    return number(float(digits))


class ExpressionBuilder(Transformer[Any, Any]):
    """Rules of expressions."""

    def expression(self, parts: Parts) -> Expression:
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        items = [Infix(str(item)) if isinstance(item, Token) else item for item in parts]
        return combined(items)

    def prefix(self, parts: Parts) -> Prefix:
        return Prefix(str(parts[0]))

    def kind(self, parts: Parts) -> Kind:
        return Kind(parts[-1].type.lower(), "NOT" in words(parts))

    def literal(self, parts: Parts) -> Constant:
        token = parts[0]
        if token.type == "NUMBER":
            return constant(_number(token))
        return constant(str(token) if token.type == "TEXT" else _LITERALS[token.type])

    def name(self, parts: Parts) -> Name:
        return Name(str(parts[0]))

    def parameter(self, parts: Parts) -> Parameter:
        key = str(parts[0])
        return Parameter(int(key) if key.isdecimal() else key)

    def grouped(self, parts: Parts) -> Expression:
        return parts[0]  # type: ignore[no-any-return]

    def nested_array_key(self, parts: Parts) -> Expression:
        raise not_done("ALL and DISTINCT within the array of an index key")

    def subquery(self, parts: Parts) -> Query:
        return parts[0]  # type: ignore[no-any-return]

    def subquery_expression(self, parts: Parts) -> Subquery:
        return Subquery(parts[0])

    def folded_name(self, parts: Parts) -> Expression:
        raise not_done(f"the case-insensitive identifier `{parts[0]}`i that is no field of a path")

    def field(self, parts: Parts) -> Field:
        base, name = parts
        return Field(base, str(name), name.type == "NAME_FOLDED")

    def dynamic_field(self, parts: Parts) -> DynamicField:
        base, name, bracket = parts
        return DynamicField(base, name, bracket.type == "RSQB_FOLDED")

    def element(self, parts: Parts) -> Element:
        return Element(parts[0], parts[1])

    def start_bound(self, parts: Parts) -> Clause:
        return Clause("start", parts[0])

    def stop_bound(self, parts: Parts) -> Clause:
        return Clause("stop", parts[0])

    def slice(self, parts: Parts) -> Slice:
        return Slice(parts[0], value_of(parts, "start"), value_of(parts, "stop"))

    def every_element(self, parts: Parts) -> Expression:
        raise not_done("[*] (use ARRAY_STAR or ARRAY ... FOR)")

    def array(self, parts: Parts) -> MakeArray:
        return MakeArray(tuple(parts))

    def object(self, parts: Parts) -> MakeObject:
        return MakeObject(tuple(parts))

    def member(self, parts: Parts) -> tuple[Expression, Expression]:
        value, *rest = parts
        alias = value_of(rest, "alias")
        if alias is not None:
            return constant(alias), value
        if rest:
            return value, rest[0]
        if not isinstance(value, (Name, Field)):
            raise syntax_error("a member of an object without a name")
        return constant(value.name), value

    def case(self, parts: Parts) -> Case:
        subject = parts[0] if isinstance(parts[0], Expression) else None
        return Case(subject, all_of(parts, tuple), value_of(parts, "otherwise"))

    def arm(self, parts: Parts) -> tuple[Expression, Expression]:
        return parts[0], parts[1]

    def otherwise(self, parts: Parts) -> Clause:
        return Clause("otherwise", parts[0])

    def call(self, parts: Parts) -> Call:
        arguments = value_of(parts, "arguments")
        star = arguments == ["STAR"]
        return Call(
            str(parts[0]).lower(),
            () if star else tuple(arguments),
            distinct="DISTINCT" in words(parts[1:]),
            star=star,
            condition=value_of(parts, "filter"),
        )

    def flatten_keys(self, parts: Parts) -> FlattenKeys:
        return FlattenKeys(tuple(parts))

    def flatten_key(self, parts: Parts) -> IndexKey:
        return self.index_key(parts)

    def index_key(self, parts: Parts) -> IndexKey:
        expression = part(parts, Expression)
        assert expression is not None
        array = {"ALL", "EACH", "DISTINCT"}.intersection(words(parts))
        kind = "distinct" if "DISTINCT" in array else "all" if array else None
        orders = [item.value for item in parts if isinstance(item, Clause)]
        return IndexKey(expression, kind, "DESC" in orders, "MISSING" in orders)

    def index_order(self, parts: Parts) -> Clause:
        return Clause("index order", parts[0].type)

    def arguments(self, parts: Parts) -> Clause:
        return Clause("arguments", words(parts) or parts)

    def filter(self, parts: Parts) -> Clause:
        return Clause("filter", parts[0])

    def quantified(self, parts: Parts) -> Quantified:
        *quantifiers, bindings, condition = parts
        kind = " ".join(token.type.lower() for token in quantifiers).replace("some", "any")
        return Quantified(kind, bindings, condition)

    def comprehension(self, parts: Parts) -> Comprehension:
        kind, value, loop = parts
        return Comprehension(kind.type.lower(), None, value, *loop.value)

    def object_comprehension(self, parts: Parts) -> Comprehension:
        key, value, loop = parts
        return Comprehension("object", key, value, *loop.value)

    def bindings(self, parts: Parts) -> tuple[Binding, ...]:
        return tuple(parts)

    def binding(self, parts: Parts) -> Binding:
        first, *second = names(parts)
        index = first if second else None
        return Binding(index, second[0] if second else first, parts[-1], "WITHIN" in words(parts))

    def for_clause(self, parts: Parts) -> Clause:
        bindings, *condition = parts
        return Clause("for", (bindings, condition[0] if condition else None))
