"""The one table of operations.

It decides three things at once, for whoever needs to know: an operation that is `repeatable`
is sent once more when its worker dies, its failure is never ambiguous, and it may run at the
same time as other repeatable operations on its key. Everything else changes something at the
server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CODES", "OPERATIONS", "OperationKind", "operation_kind"]


@dataclass(frozen=True)
class OperationKind:
    """What is known of every operation of one name.

    Attributes:
        code: How it is called on the pipe; both sides are of one version.
        name: The name of the SDK's method, on collections, binary collections or clusters.
        repeatable: Whether it only reads.
        blocking: Whether it always goes through the SDK's public, blocking API.
    """

    code: int
    name: str
    repeatable: bool = False
    blocking: bool = False


_TABLE: Final = (
    ("get", True, False),
    ("exists", True, False),
    ("lookup_in", True, False),
    ("get_and_lock", False, False),
    ("get_and_touch", False, False),
    ("insert", False, False),
    ("upsert", False, False),
    ("replace", False, False),
    ("remove", False, False),
    ("touch", False, False),
    ("unlock", False, False),
    ("mutate_in", False, False),
    ("append", False, False),
    ("prepend", False, False),
    ("increment", False, False),
    ("decrement", False, False),
    ("ping", True, True),
    ("wait_until_ready", True, True),
)

OPERATIONS: Final = {
    name: OperationKind(code, name, repeatable, blocking)
    for code, (name, repeatable, blocking) in enumerate(_TABLE)
}
"""The kinds by name."""

CODES: Final = tuple(OPERATIONS.values())
"""The kinds by code."""


def operation_kind(name: str) -> OperationKind:
    """The kind of the operation of that name."""
    return OPERATIONS[name]
