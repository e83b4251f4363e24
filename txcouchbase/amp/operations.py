"""The one table of operations.

It decides three things at once, for whoever needs to know: an operation that is `repeatable`
is sent once more when its worker dies, its failure is never ambiguous, and it may run at the
same time as other repeatable operations on its key. Everything else changes something at the
server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["CODES", "OPERATIONS", "OperationKind", "manager_call", "operation_kind"]


@dataclass(frozen=True)
class OperationKind:
    """What is known of every operation of one name.

    Attributes:
        code: How it is called on the pipe; both sides are of one version.
        name: The name of the SDK's method, on collections, binary collections or clusters;
            ``call`` stands for those of the managers, see `manager_call`.
        repeatable: Whether it only reads.
        blocking: Whether it always goes through the SDK's public, blocking API.
        rows: Whether rows come before its answer.
    """

    code: int
    name: str
    repeatable: bool = False
    blocking: bool = False
    rows: bool = False


_TABLE: Final = (
    ("get", True, False),
    ("exists", True, False),
    ("lookup_in", True, False),
    ("get_any_replica", True, False),
    ("get_all_replicas", True, False),
    ("lookup_in_any_replica", True, False),
    ("lookup_in_all_replicas", True, False),
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
    ("query", False, False),
    ("analytics_query", False, False),
    ("search_query", True, False),
    ("view_query", True, False),
    ("scan", True, False),
    ("ping", True, True),
    ("diagnostics", True, True),
    ("wait_until_ready", True, True),
    ("cluster_info", False, True),
    ("call", False, True),
    ("run", False, True),
    ("run_in_worker", False, True),
    ("map_multi", False, True),
    ("transaction", False, True),
)

_ROWS: Final = ("query", "analytics_query", "search_query", "view_query", "scan")

OPERATIONS: Final = {
    name: OperationKind(code, name, repeatable, blocking, name in _ROWS)
    for code, (name, repeatable, blocking) in enumerate(_TABLE)
}
"""The kinds by name."""

CODES: Final = tuple(OPERATIONS.values())
"""The kinds by code."""


def manager_call(method: str) -> OperationKind:
    """The kind of a call of a manager's method, under a name of its own.

    Args:
        method: The method's name after that of the manager's accessor: ``buckets.get_bucket``.
    """
    return replace(OPERATIONS["call"], name=method)


def operation_kind(name: str) -> OperationKind:
    """The kind of the operation of that name."""
    return OPERATIONS[name]
