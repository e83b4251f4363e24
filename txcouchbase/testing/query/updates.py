"""SET and UNSET: how the paths of UPDATE change a document.

A path whose parent is not there, or is no object, changes nothing.

Source: the SQL++ language reference, "UPDATE".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.errors import QueryError, not_done
from txcouchbase.testing.query.execution import Evaluator, Row
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.loops import Loop
from txcouchbase.testing.query.syntax import (
    Comprehension,
    DynamicField,
    Element,
    Expression,
    Field,
    MakeArray,
    Meta,
    UpdateTerm,
    Variable,
    constant,
)
from txcouchbase.testing.query.values import MISSING, is_number

if TYPE_CHECKING:
    from txcouchbase.testing.query.compiler import Compiler

__all__ = ["Changed", "Updates"]


@dataclass
class Changed:
    """A document while it is changed.

    :param expiry: what was set; None if nothing was.
    """

    value: Any
    expiry: Any = None


Setter = Callable[[Changed, Row, Any], None]
"""Sets the value of a path in a row; MISSING takes it out."""


class Updates:
    """The terms of SET and UNSET."""

    def __init__(self, compiler: Compiler, terms: tuple[UpdateTerm, ...]) -> None:
        self._terms = [_Term(compiler, term) for term in terms]

    def apply(self, before: Row, after: Row) -> Changed:
        """Change a document.

        :param before: a row with the document as it is, which the values of SET see.
        :param after: a row with a copy, which is changed.
        """
        changed = Changed(after[0])
        for term in self._terms:
            term.apply(changed, before, (changed.value, *after[1:]))
        return changed


class _Term:
    def __init__(self, compiler: Compiler, term: UpdateTerm) -> None:
        value = term.value if term.value is not None else constant(MISSING)
        condition = term.condition if term.condition is not None else constant(True)
        # The variables of FOR are resolved as those of ARRAY are.
        node: Expression = MakeArray((term.path, value, condition))
        for bindings in reversed(term.loops):
            node = Comprehension("array", None, node, bindings, None)
        node = compiler.scope.resolve(node)
        self._loops = []
        while isinstance(node, Comprehension):
            self._loops.append(Loop(compiler, node.bindings))
            node = node.value
        assert isinstance(node, MakeArray)
        path, value, condition = node.items
        self._value = compiler.resolved(value)
        self._set = _setter(compiler, path, compiler.scope.size)
        self._holds = compiler.predicate(condition)

    def apply(self, changed: Changed, before: Row, after: Row) -> None:
        if not self._loops:
            self._set(changed, after, deepcopy(self._value(before)))
            return
        for row in list(_looped(after, self._loops)):
            if self._holds(row):
                self._set(changed, row, deepcopy(self._value(row)))


def _looped(row: Row, loops: list[Loop]) -> Iterator[Row]:
    """The rows of loops within each other; none where there is nothing to go through."""
    if not loops:
        yield row
        return
    try:
        rows = loops[0].rows(row)
    except LookupError:
        return
    for inner in rows or ():
        yield from _looped(inner, loops[1:])


def _setter(compiler: Compiler, path: Expression, size: int) -> Setter:
    """How a resolved path is set."""
    root = path
    while isinstance(root, (Field, DynamicField, Element)):
        if isinstance(root, (Field, DynamicField)) and root.folded:
            raise not_done("SET and UNSET of a case-insensitive path")
        root = root.base
    if isinstance(root, Meta):
        if path != Field(root, "expiration"):
            raise not_done(f"SET and UNSET of {formatted(path)}")
        return _set_expiry
    if isinstance(path, Variable):
        if path.slot >= size:
            raise not_done("SET of a variable of FOR itself")
        return _set_document
    if isinstance(path, Field):
        name = path.name
        return _member(compiler.resolved(path.base), lambda row: name)
    if isinstance(path, DynamicField):
        return _member(compiler.resolved(path.base), compiler.resolved(path.name))
    if isinstance(path, Element):
        return _element(compiler.resolved(path.base), compiler.resolved(path.index))
    raise QueryError(3000, "syntax error - SET and UNSET need the path of a field")


def _set_expiry(changed: Changed, row: Row, value: Any) -> None:
    changed.expiry = value


def _set_document(changed: Changed, row: Row, value: Any) -> None:
    if value is not MISSING:
        changed.value = value


def _member(base: Evaluator, name: Evaluator) -> Setter:
    def apply(changed: Changed, row: Row, value: Any) -> None:
        parent, key = base(row), name(row)
        if type(parent) is not dict or type(key) is not str:
            return
        if value is MISSING:
            parent.pop(key, None)
        else:
            parent[key] = value

    return apply


def _element(base: Evaluator, index: Evaluator) -> Setter:
    def apply(changed: Changed, row: Row, value: Any) -> None:
        parent, place = base(row), index(row)
        if type(parent) is not list or not is_number(place) or place not in range(len(parent)):
            return
        # An element cannot be missing, so what is taken out leaves NULL.
        parent[int(place)] = None if value is MISSING else value

    return apply
