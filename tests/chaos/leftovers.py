"""What stays behind: processes, descriptors, delayed calls, and what a pool still counts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tests.chaos.calls import Finding, Violation
from tests.leftovers import delayed_calls, descriptors

__all__ = ["Inventory", "children", "leftovers_of_pool"]


def children() -> set[int]:
    """The process ids of this process's children, the dead ones that nobody has reaped too."""
    own = os.getpid()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stat:
                    # The name of the program, in brackets, may have spaces.
                    parent = stat.read().rpartition(")")[2].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == own:
                found.add(int(name))
    return found


@dataclass(frozen=True)
class Inventory:
    """What this process has.

    Attributes:
        children: Its child processes.
        descriptors: Its open files, by number.
        calls: The calls that its reactor has still to make.
    """

    children: set[int]
    descriptors: dict[int, str]
    calls: set[Any]

    @classmethod
    def take(cls, reactor: Any) -> Inventory:
        """What there is now."""
        return cls(children(), descriptors(), delayed_calls(reactor))

    def compare(self, later: Inventory) -> list[Finding]:
        """What there is later and was not before."""
        found: list[tuple[str, object]] = []
        found += [("a process", pid) for pid in later.children - self.children]
        found += [("a delayed call", call) for call in later.calls - self.calls]
        found += [
            ("a descriptor", f"{number} ({name})")
            for number, name in later.descriptors.items()
            if number not in self.descriptors
        ]
        return [Finding(Violation.LEFT_BEHIND, key, str(what)) for key, what in found]


def leftovers_of_pool(pool: Any) -> list[Finding]:
    """What a closed pool still counts."""
    found = []
    for group in (pool, pool._jobs):
        for name in ("_pending", "_pending_bytes", "_keys", "_waiting", "_feeders", "_lanes"):
            value = getattr(group, name)
            if value:
                found.append((f"{type(group).__name__}.{name}", str(value)[:500]))
    return [Finding(Violation.LEFT_BEHIND, key, what) for key, what in found]
