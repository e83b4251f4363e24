"""Which names a statement's expressions may use, and what they stand for.

A row is a tuple of values; each alias and variable has a place in it. The rows of a subquery begin
with the row around it, so that names of the outer statement keep their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.syntax import (
    Binding,
    Call,
    Comprehension,
    Constant,
    Expression,
    Field,
    Meta,
    Name,
    Node,
    Parameter,
    Quantified,
    Subquery,
    Variable,
    children,
    transformed,
)

__all__ = ["Scope", "duplicate_alias"]

_FINAL = (Constant, Parameter, Variable, Meta)


def duplicate_alias(kind: str, alias: str) -> QueryError:
    """Two things that have one name."""
    return QueryError(4020, f"Duplicate {kind} alias {alias}.")


class Scope:
    """The names that expressions at one place of a statement may use.

    Attributes:
        size: How many places a row has here.
        correlated: Whether something of an outer scope was used.
    """

    def __init__(self, outer: Scope | None = None) -> None:
        self._outer = outer
        self.base: int = outer.size if outer is not None else 0
        self.size: int = self.base
        self._slots: dict[str, int] = {}
        self._metas: dict[str, int | None] = {}
        self._aliases: dict[str, Expression] = {}
        self._results: dict[str, Expression] = {}
        self._sole: str | None = None
        self.correlated = False

    def add_variable(self, name: str) -> int:
        """Give a variable the next place.

        :raises QueryError: 4020 if the name is taken.
        """
        if name in self._slots:
            raise duplicate_alias("variable", name)
        slot = self._slots[name] = self.size
        self.size += 1
        return slot

    def add_source(self, alias: str, documents: bool) -> int:
        """Give a term of FROM the next place, and the one after it to its documents' metadata.

        :raises QueryError: 4020 if the alias is taken.
        """
        if alias in self._slots:
            raise duplicate_alias("FROM", alias)
        slot = self._slots[alias] = self.size
        self.size += 1
        self._metas[alias] = self.size if documents else None
        self.size += documents
        self._sole = alias if len(self._metas) == 1 else None
        return slot

    def add_alias(self, alias: str, expression: Expression) -> None:
        """Let a name stand for an expression that is resolved already, unless it is taken."""
        if alias not in self._slots:
            self._aliases.setdefault(alias, expression)

    def add_result(self, alias: str, expression: Expression) -> None:
        """As `add_alias`, for a name of the projection: subqueries do not see it."""
        if alias not in self._slots and alias not in self._aliases:
            self._results[alias] = expression

    def slot(self, name: str) -> int:
        """The place of a variable or term of this scope."""
        return self._slots[name]

    @staticmethod
    def of_term(alias: str, slot: int) -> Scope:
        """A scope in which names mean fields of one term of FROM, which has its place already."""
        scope = Scope()
        scope.size = slot
        scope.add_source(alias, True)
        return scope

    def sources(self) -> dict[str, int]:
        """The places of the terms of FROM."""
        return {alias: self._slots[alias] for alias in self._metas}

    def knows(self, name: str) -> bool:
        """Whether a name stands for a variable or for a term of FROM, here or further out."""
        return name in self._slots or (self._outer is not None and self._outer.knows(name))

    def note_outer(self, slot: int) -> None:
        """Take down that a place is used, for those scopes to which it is an outer one."""
        scope: Scope | None = self
        while scope is not None and slot < scope.base:
            scope.correlated = True
            scope = scope._outer

    def _note_all(self, expression: Expression) -> None:
        waiting: list[Node] = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, (Variable, Meta)) and node.slot is not None:
                self.note_outer(node.slot)
            waiting.extend(children(node))

    def find(self, name: str) -> Expression:
        """What a name stands for.

        :raises QueryError: 3000 if for nothing.
        """
        slot = self._find_slot(name)
        if slot is not None:
            self.note_outer(slot)
            return Variable(name, slot)
        for scope in self._outwards():
            if name in scope._aliases:
                self._note_all(scope._aliases[name])
                return scope._aliases[name]
        if name in self._results:
            return self._results[name]
        for scope in self._outwards():
            if scope._sole is not None:
                slot = scope._slots[scope._sole]
                self.note_outer(slot)
                return Field(Variable(scope._sole, slot), name)
        raise QueryError(3000, f"Ambiguous reference to field '{name}'.")

    def _find_slot(self, name: str) -> int | None:
        for scope in self._outwards():
            if name in scope._slots:
                return scope._slots[name]
        return None

    def _outwards(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope._outer

    def extended(self, variables: tuple[tuple[str, int], ...]) -> Scope:
        """A scope with further variables, whose places in the row are known."""
        inner = Scope(self)
        for name, slot in variables:
            inner._slots[name] = slot
            inner.size = max(inner.size, slot + 1)
        return inner

    def _meta(self, call: Call) -> Meta:
        if not call.arguments:
            return Meta(self._meta_slot(None))
        (argument,) = call.arguments if len(call.arguments) == 1 else (None,)
        if not isinstance(argument, Name) or not self.knows(argument.name):
            raise QueryError(3000, "The argument of META() must be the alias of a term in FROM.")
        return Meta(self._meta_slot(argument.name))

    def _meta_slot(self, alias: str | None) -> int | None:
        for scope in self._outwards():
            if alias is None and scope._metas:
                if scope._sole is None:
                    raise QueryError(
                        4310, "META() in query with multiple FROM terms requires an argument."
                    )
                alias = scope._sole
            if alias is not None and alias in scope._metas:
                slot = scope._metas[alias]
                if slot is not None:
                    self.note_outer(slot)
                return slot
        if alias is None:
            raise QueryError(3000, "META() needs a term in FROM.")
        return None

    def resolve(self, expression: Expression) -> Expression:
        """An expression whose names are replaced by the places that they stand for.

        :raises QueryError: for names that stand for nothing.
        """
        found: Expression = self._resolve(expression, {}, self.size)
        return found

    def _resolve(self, node: Any, bound: dict[str, int], size: int) -> Any:
        if isinstance(node, Name):
            slot = bound.get(node.name)
            return Variable(node.name, slot) if slot is not None else self.find(node.name)
        if isinstance(node, _FINAL):
            return node
        if isinstance(node, Subquery):
            return replace(node, bound=tuple(bound.items()))
        if isinstance(node, (Quantified, Comprehension)):
            return self._resolve_loop(node, bound, size)
        if isinstance(node, Call) and node.name == "meta":
            return self._meta(node)
        return transformed(node, lambda child: self._resolve(child, bound, size))

    def _resolve_loop(
        self, node: Quantified | Comprehension, bound: dict[str, int], size: int
    ) -> Expression:
        bindings = []
        inner, inner_size = dict(bound), size
        for binding in node.bindings:
            collection = self._resolve(binding.collection, bound, size)
            bindings.append(replace(binding, collection=collection))
            for name in _names(binding):
                inner[name] = inner_size
                inner_size += 1

        def within(child: Any) -> Any:
            return None if child is None else self._resolve(child, inner, inner_size)

        if isinstance(node, Quantified):
            return replace(node, bindings=tuple(bindings), condition=within(node.condition))
        return replace(
            node,
            bindings=tuple(bindings),
            key=within(node.key),
            value=within(node.value),
            condition=within(node.condition),
        )


def _names(binding: Binding) -> list[str]:
    return [binding.name] if binding.index is None else [binding.index, binding.name]
