"""What happens to the workers of a pool, for those who watch it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from txcouchbase.exceptions import WorkerStartFailed

__all__ = [
    "CrashLoopBegan",
    "CrashLoopEnded",
    "EndCause",
    "Observer",
    "Observers",
    "PoolEvent",
    "PoolResized",
    "WorkerDraining",
    "WorkerEnded",
    "WorkerEvent",
    "WorkerReady",
    "WorkerStarted",
]

_log = Logger()


class EndCause(enum.Enum):
    """Why a worker ended, or is about to."""

    CRASHED = "crashed"
    """It ended by itself after it had been ready."""

    START_FAILED = "start failed"
    """It ended by itself before it was ready."""

    START_OVERDUE = "start overdue"
    """It was killed, since it was not ready within `start_timeout`."""

    SILENT = "silent"
    """It was killed, since it gave no sign of life within `heartbeat_timeout`, or within
    `kill_timeout` while the pool closed."""

    BROKEN = "broken"
    """It was killed, since it could not be used: it spoke nonsense, or was of another version."""

    JOB_OVERRUN = "job overrun"
    """It was killed, since its job went on for `job_grace` after it was cancelled or late."""

    RECYCLED_OPS = "recycled after operations"
    """It was replaced after `recycle_after_ops`."""

    RECYCLED_AGE = "recycled after age"
    """It was replaced after `recycle_after_age`."""

    RECYCLED_RSS = "recycled after memory"
    """It was replaced above `recycle_after_rss`."""

    IDLE = "idle"
    """It was one more than `min_workers`, and had nothing to do for `idle_timeout`."""

    RESIZED = "resized"
    """It was one too many after `WorkerPool.resize`."""

    CLOSED = "closed"
    """The pool was closed."""

    @property
    def planned(self) -> bool:
        """Whether the pool wanted it. The worker could end its operations first; while the pool
        closed, within `drain_timeout`."""
        return self in _PLANNED

    @property
    def recycled(self) -> bool:
        """Whether the worker was replaced for its age, its operations or its memory."""
        return self in _RECYCLED


_RECYCLED = (EndCause.RECYCLED_OPS, EndCause.RECYCLED_AGE, EndCause.RECYCLED_RSS)
_PLANNED = (*_RECYCLED, EndCause.IDLE, EndCause.RESIZED, EndCause.CLOSED)


@dataclass(frozen=True)
class PoolEvent:
    """Something happened to the workers of a pool.

    Attributes:
        jobs: Whether it is about the workers for the application's own functions.
    """

    jobs: bool


@dataclass(frozen=True)
class WorkerEvent(PoolEvent):
    """Something happened to one worker.

    Attributes:
        generation: Its number, which no other worker of this group ever has.
        pid: Its process id, None if it could not be spawned.
    """

    generation: int
    pid: int | None


@dataclass(frozen=True)
class WorkerStarted(WorkerEvent):
    """The process of a worker was spawned."""


@dataclass(frozen=True)
class WorkerReady(WorkerEvent):
    """A worker can be given work.

    Attributes:
        client: The client that it runs, ``"raw"`` or ``"sync"``.
    """

    client: str


@dataclass(frozen=True)
class WorkerDraining(WorkerEvent):
    """A worker gets no more operations, and ends when it has none left.

    Attributes:
        cause: Why.
    """

    cause: EndCause


@dataclass(frozen=True)
class WorkerEnded(WorkerEvent):
    """The process of a worker is gone.

    Attributes:
        cause: Why.
        exit_code: Its exit status, None if a signal ended it.
        signal: The number of that signal, else None.
        stderr: The last lines that it wrote to its stderr.
    """

    cause: EndCause
    exit_code: int | None
    signal: int | None
    stderr: str


@dataclass(frozen=True)
class CrashLoopBegan(PoolEvent):
    """So many workers as `crash_loop_after` says died in a row before they were ready.

    Attributes:
        error: What operations are refused with, from the moment when no worker is ready.
        ready: The workers that are still ready; with none, operations are refused.
    """

    error: WorkerStartFailed
    ready: int


@dataclass(frozen=True)
class CrashLoopEnded(PoolEvent):
    """A worker got ready after all."""


@dataclass(frozen=True)
class PoolResized(PoolEvent):
    """The number of workers that the pool wants has changed.

    Attributes:
        min_workers: Workers at least.
        max_workers: Workers at most.
        wanted: Workers that it wants now.
    """

    min_workers: int
    max_workers: int
    wanted: int


Observer = Callable[[PoolEvent], object]
"""Called with each event. It must not block."""


class Observers:
    """Those who watch a pool; what one of them raises is logged and harms nobody."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def add(self, observer: Observer) -> None:
        """Call it with each event from now on, once for each time that it was added.

        Raises:
            TypeError: It cannot be called.
        """
        if not callable(observer):
            raise TypeError(f"an observer is called with events, {observer!r} cannot be")
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Call it no more.

        Raises:
            ValueError: It was not added.
        """
        if observer not in self._observers:
            raise ValueError(f"{observer!r} is no observer of this pool")
        self._observers.remove(observer)

    def notify(self, event: PoolEvent) -> None:
        """Call all of them, in the order in which they were added."""
        for observer in list(self._observers):
            try:
                observer(event)
            except Exception:  # the application's own
                _log.failure("an observer of the pool failed at {event}", event=event)
