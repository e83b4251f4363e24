"""Work on one index that several requests wait for, one after the other and in small steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from time import perf_counter

__all__ = ["Pace", "Steps", "Turns"]

Steps = Generator[None, None, None]
"""Work that stops after each bounded piece of it."""

STEP = 0.002
"""Seconds of a step."""


class Pace:
    """Says when a step has lasted long enough."""

    def __init__(self) -> None:
        self._ends = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._ends = perf_counter() + STEP

    def due(self) -> bool:
        """Whether others should have their turn."""
        return perf_counter() > self._ends


class Turns:
    """Tasks of which one runs at a time, so that none sees the index change under it.

    Whoever waits for a later task does steps of the first one: so a request that nobody reads any
    more, or whose port is held, stops no other.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self._tasks: deque[Steps] = deque()

    def run(self, task: Steps) -> Iterator[None]:
        """Do a task, after those that came before.

        What it raises is raised here, whoever did the step; of other tasks nothing is.
        """
        failed: list[Exception] = []
        noting = _noting(task, failed)
        self._tasks.append(noting)
        try:
            while noting in self._tasks:
                self.pace.begin()
                try:
                    next(self._tasks[0])
                except StopIteration:
                    self._tasks.popleft()
                else:
                    yield
        finally:
            if noting in self._tasks:
                self._tasks.remove(noting)
            noting.close()
        if failed:
            raise failed[0]


def _noting(task: Steps, failed: list[Exception]) -> Steps:
    try:
        yield from task
    except Exception as error:
        failed.append(error)
