"""What a rule of the grammar has found: tokens, nodes, and clauses that may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from lark import Token

__all__ = ["Clause", "Parts", "all_of", "names", "part", "value_of", "words"]

Parts = list[Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a rule that may be absent."""

    kind: str
    value: Any


def value_of(parts: Parts, kind: str, default: Any = None) -> Any:
    """The value of the clause of this kind among the parts."""
    for item in parts:
        if isinstance(item, Clause) and item.kind == kind:
            return item.value
    return default


def all_of(parts: Parts, wanted: type[T]) -> tuple[T, ...]:
    """The parts of one class."""
    return tuple([item for item in parts if isinstance(item, wanted)])


def part(parts: Parts, wanted: type[T]) -> T | None:
    """The first part of one class."""
    return next((item for item in parts if isinstance(item, wanted)), None)


def words(parts: Parts) -> list[str]:
    """The kinds of the tokens among the parts."""
    return [item.type for item in parts if isinstance(item, Token)]


def names(parts: Parts) -> list[str]:
    """The names and texts among the parts."""
    return [str(item) for item in parts if isinstance(item, Token) and item.type in _NAMES]


_NAMES = ("NAME", "TEXT")
