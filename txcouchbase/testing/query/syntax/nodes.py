"""What every part of a statement is: a frozen dataclass with others below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = [
    "Expression",
    "Node",
    "Statement",
    "children",
    "parts_of",
    "transformed",
]

N = TypeVar("N", bound="Node")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a statement."""

    def __deepcopy__(self: N, memo: dict[int, Any]) -> N:
        return self


@dataclass(frozen=True, slots=True)
class Expression(Node):
    """What has a value."""


@dataclass(frozen=True, slots=True)
class Statement(Node):
    """What can be executed."""


def parts_of(node: Node) -> tuple[str, ...]:
    """The names of a node's attributes."""
    names: tuple[str, ...] = getattr(node, "__slots__", ())
    return names


def children(node: Node) -> Iterator[Node]:
    """The nodes right below a node."""
    for name in parts_of(node):
        yield from _nodes(getattr(node, name))


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif type(value) is tuple:
        for item in value:
            yield from _nodes(item)


def transformed(node: N, change: Callable[[Any], Any]) -> N:
    """A node whose children, those that are right below it, are replaced."""
    before = [getattr(node, name) for name in parts_of(node)]
    after = [_changed(value, change) for value in before]
    if all(new is old for new, old in zip(after, before, strict=True)):
        return node
    return type(node)(*after)


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if type(value) is tuple:
        items = tuple([_changed(item, change) for item in value])
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    return value
