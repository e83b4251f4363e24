"""How literals, variables, paths, constructors and arithmetic are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.documents import META_FIELDS, metadata
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.functions.signature import whole
from txcouchbase.testing.query.syntax import (
    Binary,
    Concat,
    Constant,
    DynamicField,
    Element,
    Expression,
    Field,
    FlattenKeys,
    MakeArray,
    MakeObject,
    Meta,
    Negate,
    Parameter,
    Slice,
    Variable,
)
from txcouchbase.testing.query.values import (
    MISSING,
    add,
    concatenate,
    divide,
    equals,
    is_array,
    is_number,
    less,
    less_or_equal,
    modulo,
    multiply,
    negate,
    subtract,
)

if TYPE_CHECKING:
    from txcouchbase.testing.query.compiler import Compiler

__all__ = ["COMPILERS", "element_of", "field_of"]


def _flatten_keys(compiler: Compiler, node: FlattenKeys) -> Evaluator:
    raise QueryError(3283, f"{formatted(node)} is not allowed in this context.")


def _constant(compiler: Compiler, node: Constant) -> Evaluator:
    value = node.value
    return lambda row: value


def _parameter(compiler: Compiler, node: Parameter) -> Evaluator:
    value = compiler.execution.parameter(node.key)
    return lambda row: value


def _variable(compiler: Compiler, node: Variable) -> Evaluator:
    return itemgetter(node.slot)


def _meta(compiler: Compiler, node: Meta) -> Evaluator:
    slot = node.slot
    if slot is None:
        return lambda row: MISSING
    return lambda row: metadata(row[slot])


# Paths.


def field_of(base: Any, name: Any) -> Any:
    """The field of a value: NULL of NULL, MISSING where there is none."""
    if type(base) is dict:
        return base.get(name, MISSING)
    return None if base is None else MISSING


def folded_field_of(base: Any, name: Any) -> Any:
    """As `field_of`; the first field but for its case, where there is none of the very name."""
    if type(base) is not dict or type(name) is not str or name in base:
        return field_of(base, name)
    lower = name.lower()
    return next((value for key, value in base.items() if key.lower() == lower), MISSING)


def element_of(base: Any, index: Any) -> Any:
    """The element of a value; negative numbers count from the end."""
    if base is MISSING or index is MISSING:
        return MISSING
    if base is None or not is_number(index):
        return None
    place = whole(index)
    if not is_array(base) or place is None:
        return MISSING
    return base[place] if -len(base) <= place < len(base) else MISSING


def _field(compiler: Compiler, node: Field) -> Evaluator:
    name = node.name
    if node.folded:
        folded = compiler.resolved(node.base)
        return lambda row: folded_field_of(folded(row), name)
    if isinstance(node.base, Meta) and node.base.slot is not None and name in META_FIELDS:
        read, slot = META_FIELDS[name], node.base.slot
        return lambda row: MISSING if row[slot] is MISSING else read(row[slot])
    if isinstance(node.base, Variable):
        place = node.base.slot

        def of_variable(row: Row) -> Any:
            value = row[place]
            if type(value) is dict:
                return value.get(name, MISSING)
            return None if value is None else MISSING

        return of_variable
    base = compiler.resolved(node.base)
    return lambda row: field_of(base(row), name)


def _dynamic_field(compiler: Compiler, node: DynamicField) -> Evaluator:
    base, name = compiler.resolved(node.base), compiler.resolved(node.name)
    find = folded_field_of if node.folded else field_of

    def evaluate(row: Row) -> Any:
        value, field = base(row), name(row)
        if value is MISSING or field is MISSING:
            return MISSING
        return find(value, field) if type(field) is str else None

    return evaluate


def _element(compiler: Compiler, node: Element) -> Evaluator:
    base, index = compiler.resolved(node.base), compiler.resolved(node.index)
    return lambda row: element_of(base(row), index(row))


def _slice(compiler: Compiler, node: Slice) -> Evaluator:
    base = compiler.resolved(node.base)
    start = _optional(compiler, node.start)
    end = _optional(compiler, node.end)

    def evaluate(row: Row) -> Any:
        value, first, last = base(row), start(row), end(row)
        if value is MISSING or first is MISSING or last is MISSING:
            return MISSING
        if not is_array(value):
            return None
        bounds = []
        for bound, default in ((first, 0), (last, len(value))):
            place = default if bound is _ABSENT else whole(bound) if is_number(bound) else None
            if place is None:
                return None
            bounds.append(place + len(value) if place < 0 else place)
        low, high = bounds
        return value[low:high] if 0 <= low <= high <= len(value) else MISSING

    return evaluate


_ABSENT = object()


def _optional(compiler: Compiler, node: Expression | None) -> Evaluator:
    return (lambda row: _ABSENT) if node is None else compiler.resolved(node)


# Constructors.


def _array(compiler: Compiler, node: MakeArray) -> Evaluator:
    items = [compiler.resolved(item) for item in node.items]

    def evaluate(row: Row) -> list[Any]:
        values = [item(row) for item in items]
        return [None if value is MISSING else value for value in values]

    return evaluate


def _object(compiler: Compiler, node: MakeObject) -> Evaluator:
    members = [(compiler.resolved(name), compiler.resolved(value)) for name, value in node.members]

    def evaluate(row: Row) -> Any:
        found: dict[str, Any] = {}
        for name, value in members:
            key, content = name(row), value(row)
            if type(key) is not str:
                return MISSING if key is MISSING else None
            if content is not MISSING:
                found[key] = content
        return found

    return evaluate


# Arithmetic, comparison and concatenation.


def _not_equals(left: Any, right: Any) -> Any:
    same = equals(left, right)
    return not same if type(same) is bool else same


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
    "=": equals,
    "!=": _not_equals,
    "<": less,
    "<=": less_or_equal,
}


def _binary(compiler: Compiler, node: Binary) -> Evaluator:
    apply = _OPERATORS[node.operator]
    left, right = compiler.resolved(node.left), compiler.resolved(node.right)
    known, constant = compiler.known(node.right)
    if known:
        return lambda row: apply(left(row), constant)
    return lambda row: apply(left(row), right(row))


def _negate(compiler: Compiler, node: Negate) -> Evaluator:
    operand = compiler.resolved(node.operand)
    return lambda row: negate(operand(row))


def _concat(compiler: Compiler, node: Concat) -> Evaluator:
    first, *others = [compiler.resolved(operand) for operand in node.operands]

    def evaluate(row: Row) -> Any:
        result = first(row)
        for other in others:
            result = concatenate(result, other(row))
        return result

    return evaluate


COMPILERS: dict[type, Callable[[Any, Any], Evaluator]] = {
    Constant: _constant,
    Parameter: _parameter,
    Variable: _variable,
    Meta: _meta,
    Field: _field,
    DynamicField: _dynamic_field,
    Element: _element,
    Slice: _slice,
    FlattenKeys: _flatten_keys,
    MakeArray: _array,
    MakeObject: _object,
    Binary: _binary,
    Negate: _negate,
    Concat: _concat,
}
