"""What the demo prints: a progress bar and a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

__all__ = ["Progress", "percentile", "table"]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many per cent of the values lie; 0.0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Progress:
    """A bar on a terminal, a line every quarter elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._started = self._shown = time.monotonic()
        self._quarter = 0

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        last = self._done == self._total
        if sys.stdout.isatty():
            if last or now - self._shown > 0.1:
                self._shown = now
                filled = 40 * self._done // self._total
                bar = "#" * filled + "." * (40 - filled)
                print(f"\r  {self._what} [{bar}] {self._done}/{self._total}", end="", flush=True)
                if last:
                    print()
        elif self._done * 4 // self._total > self._quarter:
            self._quarter = self._done * 4 // self._total
            print(f"  {self._what}: {self._done}/{self._total}", flush=True)

    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Rows of a name and a value, aligned; a row with an empty value is a heading."""
    width = max(len(name) for name, value in rows if value)
    return "\n".join(
        f"  {name:<{width}}   {value}" if value else f"\n{name}" for name, value in rows
    )
