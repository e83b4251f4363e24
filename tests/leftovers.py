"""What this process has, and what may be left of it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

__all__ = ["delayed_calls", "descriptors", "pipes"]


def descriptors(pid: int | None = None) -> dict[int, str]:
    """The open file descriptors of this process, or of another, and what each is."""
    folder = f"/proc/{'self' if pid is None else pid}/fd"
    found = {}
    for name in os.listdir(folder):
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # closed meanwhile, as that of the listing itself is
    return found


def pipes() -> int:
    """How many pipes this process has one end of; the reactor has both ends of its own."""
    ends = Counter(descriptors().values())
    return sum(count == 1 for name, count in ends.items() if name.startswith("pipe:"))


def delayed_calls(reactor: Any) -> set[Any]:
    """The calls that the reactor has still to make."""
    return set(reactor.getDelayedCalls())
