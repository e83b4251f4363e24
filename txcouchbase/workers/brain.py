"""What a pool decides about the lives of its workers, without doing any of it.

Events come in as method calls and instructions go out as return values; the driver in
`txcouchbase.workers.supervisor` spawns, drains, stops, kills and keeps time. A worker is known by
its generation, a number that is never used again, so a late event about a dead one does no harm.

    Starting ──ready──▶ Ready ──relieved, idle, resize, close──▶ Draining
        │                 │                                         │
        └───────kill──────┴──────────────────kill───────────────────┴──▶ Killing

An exit leads out of every state: who is dead is forgotten. A starting worker that `resize` no
longer wants drains at once, and is stopped. A worker that is to be recycled stays Ready, one more
than are wanted, until its replacement can do its work: only then it drains.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.events import EndCause

__all__ = [
    "CrashLoop",
    "CrashLoopOver",
    "Drain",
    "Instruction",
    "Kill",
    "PoolBrain",
    "Spawn",
    "Stop",
    "WorkerState",
]

_GROWS_ABOVE = 0.5
"""Above this share of time in which operations wait for workers to read them, one more starts."""

_SAMPLE_WEIGHT = 0.1
"""How much one sample counts against those before: with ten each second, steady load makes a
worker more after 0.7 s."""


class WorkerState(enum.Enum):
    """Where a worker is in its life. One that is dead is forgotten."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    KILLING = "killing"


@dataclass(frozen=True)
class Spawn:
    """Start the worker of this generation after so many seconds."""

    generation: int
    delay: float


@dataclass(frozen=True)
class Drain:
    """Give no more operations to the worker of this generation, and tell when it has none."""

    generation: int
    cause: EndCause


@dataclass(frozen=True)
class Stop:
    """End the worker of this generation: ask, TERM, KILL. It may not be spawned yet."""

    generation: int


@dataclass(frozen=True)
class Kill:
    """Send SIGKILL to the worker of this generation."""

    generation: int
    reason: str


@dataclass(frozen=True)
class CrashLoop:
    """Workers die before they are ready. With none ready: fail what waits, refuse what comes,
    until one becomes ready."""

    deaths: int
    ready: int


@dataclass(frozen=True)
class CrashLoopOver:
    """A worker became ready after all: admit operations again."""


Instruction = Spawn | Drain | Stop | Kill | CrashLoop | CrashLoopOver


class PoolBrain:
    """The lives of a pool's workers.

    Attributes:
        min_workers: Workers at least.
        max_workers: Workers at most.
        wanted: Workers that there should be now.
        states: The state of every worker that is not dead, by generation.
        causes: Why workers that are about to end do, by generation.
        retiring: The worker that ends once its replacement can do its work.
        breaker_open: Whether the pool is in a crash loop and no worker is ready.
        closing: Whether the pool is closing; then no worker is replaced.
    """

    def __init__(self, config: PoolConfig, random: Random) -> None:
        self._config = config
        self._random = random
        self._next_generation = 0
        self._deaths_in_a_row = 0
        self._in_crash_loop = False
        self._ready_once: set[int] = set()
        self._stopping: set[int] = set()
        self._pressure = 0.0
        self._started = False
        self.min_workers = config.min_workers
        self.max_workers = config.max_workers
        self.wanted = config.min_workers
        self.states: dict[int, WorkerState] = {}
        self.causes: dict[int, EndCause] = {}
        self.retiring: int | None = None
        self.breaker_open = False
        self.closing = False

    def in_state(self, state: WorkerState) -> list[int]:
        """The workers in this state, by generation."""
        return [generation for generation, other in self.states.items() if other is state]

    # -- start, and what becomes of it ----------------------------------------------------

    def start(self) -> list[Instruction]:
        """The pool starts: all of `min_workers` at once."""
        self._started = True
        return self._fill()

    def ready(self, generation: int) -> list[Instruction]:
        """A worker answered its first command."""
        if self.states.get(generation) is not WorkerState.STARTING:
            return []
        self.states[generation] = WorkerState.READY
        self._ready_once.add(generation)
        self._deaths_in_a_row = 0
        if not self._in_crash_loop:
            return []
        self._in_crash_loop = self.breaker_open = False
        return [CrashLoopOver()]

    def start_overdue(self, generation: int) -> list[Instruction]:
        """A worker was not ready within `start_timeout`."""
        if self.states.get(generation) is not WorkerState.STARTING:
            return []
        return self._kill(
            generation, EndCause.START_OVERDUE, "it was not ready within start_timeout"
        )

    # -- what goes wrong ------------------------------------------------------------------

    def silent(self, generation: int, reason: str) -> list[Instruction]:
        """A worker gave no sign of life for too long."""
        if self.states.get(generation) not in (WorkerState.READY, WorkerState.DRAINING):
            return []
        return self._kill(generation, EndCause.SILENT, reason)

    def broken(self, generation: int, cause: EndCause, reason: str) -> list[Instruction]:
        """A worker cannot be used, e.g. because it speaks nonsense on its pipe."""
        if self.states.get(generation) in (None, WorkerState.KILLING):
            return []
        return self._kill(generation, cause, reason)

    def exited(self, generation: int) -> list[Instruction]:
        """A worker's process ended, or was never spawned."""
        state = self.states.pop(generation, None)
        cause = self.causes.pop(generation, None)
        was_ready = generation in self._ready_once
        self._ready_once.discard(generation)
        self._stopping.discard(generation)
        if generation == self.retiring:
            self.retiring = None
        if state is None or self.closing:
            return []
        wanted_gone = cause is not None and cause.planned
        if was_ready or wanted_gone:
            return self._fill() + self._check_breaker()
        self._deaths_in_a_row += 1
        return self._fill(self._backoff()) + self._check_breaker()

    def cause_of_end(self, generation: int) -> EndCause:
        """Why a worker has ended, to be asked before `exited` is told."""
        state = self.states.get(generation)
        if state is WorkerState.KILLING or self.closing or generation in self._stopping:
            return self.causes.get(generation, EndCause.CLOSED)
        return EndCause.START_FAILED if state is WorkerState.STARTING else EndCause.CRASHED

    # -- how many, and which ones ---------------------------------------------------------

    def resize(
        self, min_workers: int, max_workers: int, loads: Mapping[int, int]
    ) -> list[Instruction]:
        """There are to be other numbers of workers.

        Args:
            min_workers: Workers at least.
            max_workers: Workers at most.
            loads: Operations on each worker, by generation: the idle ones go first.
        """
        self.min_workers, self.max_workers = min_workers, max_workers
        self.wanted = min(max(self.wanted, min_workers), max_workers)
        if self.closing or not self._started:
            return []
        starting = self.in_state(WorkerState.STARTING)
        ready = self.in_state(WorkerState.READY)
        surplus = len(starting) + len(ready) - self.wanted - (self.retiring is not None)
        if surplus <= 0:
            return self._fill()
        # Starting ones first, the last one first, then those with the least to do.
        candidates = [*reversed(starting), *sorted(ready, key=lambda each: loads.get(each, 0))]
        if self.retiring in candidates:
            candidates.remove(self.retiring)
        instructions: list[Instruction] = []
        for generation in candidates[:surplus]:
            instructions += self._drain(generation, EndCause.RESIZED)
        return instructions

    def sampled(self, waiting: float) -> list[Instruction]:
        """One of ten looks a second at the share of workers for which operations wait.

        Args:
            waiting: From 0.0, workers read all that comes, to 1.0, none keeps up.
        """
        self._pressure += _SAMPLE_WEIGHT * (waiting - self._pressure)
        if (
            self.closing
            or self._pressure < _GROWS_ABOVE
            or self.wanted >= self.max_workers
            or self.in_state(WorkerState.STARTING)
        ):
            return []
        self._pressure = 0.0
        self.wanted += 1
        return self._fill()

    def idle(self, generation: int) -> list[Instruction]:
        """A worker has had nothing to do for `idle_timeout`."""
        if (
            self.closing
            or self.wanted <= self.min_workers
            or generation == self.retiring
            or self.states.get(generation) is not WorkerState.READY
        ):
            return []
        self.wanted -= 1
        return self._drain(generation, EndCause.IDLE)

    # -- recycling ------------------------------------------------------------------------

    def worn_out(self, generation: int, cause: EndCause) -> list[Instruction]:
        """A worker is to be recycled; said again and again until it is its turn."""
        if (
            self.closing
            or self._in_crash_loop
            or self.retiring is not None
            or self.states.get(generation) is not WorkerState.READY
            or any(each.recycled for each in self.causes.values())
        ):
            return []
        self.retiring = generation
        self.causes[generation] = cause
        return self._fill()

    def relieved(self, generation: int) -> list[Instruction]:
        """The others can do the work of the retiring worker."""
        if (
            self.closing
            or generation != self.retiring
            or self.states.get(generation) is not WorkerState.READY
        ):
            return []
        self.retiring = None
        return self._drain(generation, self.causes[generation])

    def drained(self, generation: int) -> list[Instruction]:
        """A draining worker has no operation left."""
        if self.states.get(generation) is not WorkerState.DRAINING:
            return []
        return self._stop(generation)

    # -- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """The pool closes: whatever exits from now on is not replaced."""
        self.closing = True
        self.retiring = None
        for generation, state in self.states.items():
            if state is WorkerState.READY:
                self.states[generation] = WorkerState.DRAINING
            if state is not WorkerState.KILLING:
                self.causes[generation] = EndCause.CLOSED

    # -- how ------------------------------------------------------------------------------

    def _lacking(self) -> int:
        """How many workers are too few."""
        # One that is being killed keeps its place until it is gone; one that drains has none.
        there = sum(state is not WorkerState.DRAINING for state in self.states.values())
        return self.wanted + (self.retiring is not None) - there

    def _fill(self, delay: float = 0.0) -> list[Instruction]:
        if not self._started or self.closing:
            return []
        return [self._spawn(delay) for _ in range(self._lacking())]

    def _spawn(self, delay: float) -> Spawn:
        generation = self._next_generation
        self._next_generation += 1
        self.states[generation] = WorkerState.STARTING
        return Spawn(generation, delay)

    def _drain(self, generation: int, cause: EndCause) -> list[Instruction]:
        was = self.states[generation]
        self.states[generation] = WorkerState.DRAINING
        self.causes[generation] = cause
        if was is WorkerState.STARTING:
            return self._stop(generation)
        return [Drain(generation, cause)]

    def _stop(self, generation: int) -> list[Instruction]:
        self._stopping.add(generation)
        return [Stop(generation)]

    def _kill(self, generation: int, cause: EndCause, reason: str) -> list[Instruction]:
        self.states[generation] = WorkerState.KILLING
        self.causes[generation] = cause
        return [Kill(generation, reason)]

    def _check_breaker(self) -> list[Instruction]:
        if self._deaths_in_a_row < self._config.crash_loop_after or self.breaker_open:
            return []
        ready = len(self.in_state(WorkerState.READY))
        if self._in_crash_loop and ready:
            return []
        self._in_crash_loop = True
        self.breaker_open = not ready
        return [CrashLoop(self._deaths_in_a_row, ready)]

    def _backoff(self) -> float:
        first, longest, jitter = self._config.restart_backoff
        delay = min(first * 2.0 ** min(self._deaths_in_a_row - 1, 32), longest)
        return delay * (1.0 + jitter * self._random.uniform(-1.0, 1.0))
