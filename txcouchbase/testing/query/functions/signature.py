"""What a function takes, and what it answers when it gets something else.

Nearly every function of SQL++ answers MISSING if an argument is MISSING, else NULL if one is of
another type than it works on. So a function here is a body that only sees values that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from txcouchbase.testing.query.values import MISSING, Missing

__all__ = [
    "ANY",
    "ARRAY",
    "BOOLEAN",
    "KNOWN",
    "NUMBER",
    "OBJECT",
    "STRING",
    "VALUE",
    "Function",
    "Kind",
    "by_name",
    "function",
    "whole",
]

Kind = frozenset[type]
"""Types of values that an argument may have."""

NUMBER: Final[Kind] = frozenset({int, float})
STRING: Final[Kind] = frozenset({str})
BOOLEAN: Final[Kind] = frozenset({bool})
ARRAY: Final[Kind] = frozenset({list, range})
OBJECT: Final[Kind] = frozenset({dict})
KNOWN: Final[Kind] = NUMBER | STRING | BOOLEAN | ARRAY | OBJECT | frozenset({bytes})
"""Neither MISSING nor NULL."""
VALUE: Final[Kind] = KNOWN | frozenset({type(None)})
"""NULL too."""
ANY: Final[Kind] = VALUE | frozenset({Missing})
"""MISSING too."""


@dataclass(frozen=True)
class Function:
    """A scalar function.

    Attributes:
        minimum: How many arguments it takes at least.
        maximum: How many at most; None for any number.
        call: Gets the values of the arguments.
        clock: Whether `call` gets, before them, when the statement started (seconds since the
            epoch).
        volatile: Whether it may answer something else for the same arguments.
    """

    minimum: int
    maximum: int | None
    call: Callable[..., Any]
    clock: bool = False
    volatile: bool = False


def function(
    body: Callable[..., Any],
    *kinds: Kind,
    optional: int = 0,
    rest: Kind | None = None,
    clock: bool = False,
    volatile: bool = False,
) -> Function:
    """A function whose arguments are looked at before its body runs.

    :param body: what it does with arguments that fit.
    :param kinds: what each argument has to be.
    :param optional: how many of the last ones may be left out.
    :param rest: what further arguments have to be; None if it takes none.
    :param clock: whether the body gets the time first.
    """
    return Function(
        minimum=len(kinds) - optional,
        maximum=len(kinds) if rest is None else None,
        call=_checked(body, (NUMBER, *kinds) if clock else kinds, optional, rest or ANY),
        clock=clock,
        volatile=volatile,
    )


def _checked(
    body: Callable[..., Any], kinds: tuple[Kind, ...], optional: int, rest: Kind
) -> Callable[..., Any]:
    if all(kind is ANY for kind in (*kinds, rest)):
        return body
    if len(kinds) == 1 and not optional and rest is ANY:
        return _unary(body, kinds[0])
    count = len(kinds)

    def call(*arguments: Any) -> Any:
        fit = True
        for place, argument in enumerate(arguments):
            if type(argument) not in (kinds[place] if place < count else rest):
                if argument is MISSING:
                    return MISSING
                fit = False
        return body(*arguments) if fit else None

    return call


def _unary(body: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
    def call(argument: Any) -> Any:
        if type(argument) in kind:
            return body(argument)
        return MISSING if argument is MISSING else None

    return call


def by_name(table: Mapping[str, Function]) -> dict[str, Function]:
    """A table of functions in which each name is a key of its own.

    :param table: the functions by their names, with spaces between the names of one.
    """
    return {name: found for names, found in table.items() for name in names.split()}


def whole(value: int | float) -> int | None:
    """A number as an integer; None if it is none."""
    if type(value) is int:
        return value
    return int(value) if value.is_integer() else None  # type: ignore[union-attr]
