"""What a pool decides about the lives of its workers, without doing any of it.

Events come in as method calls and instructions go out as return values; the driver in
`txcouchbase.workers.supervisor` spawns, kills and keeps time. A worker is known by its generation,
a number that is never used again, so a late event about a dead one does no harm.

    Starting ──ready──▶ Ready ──drain──▶ Draining
        │                 │                 │
        └───────kill──────┴──────kill───────┴──▶ Killing ──exited──▶ Dead (forgotten)

An exit leads to Dead from every state.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random

from txcouchbase.workers.config import PoolConfig

__all__ = [
    "CloseBreaker",
    "Instruction",
    "Kill",
    "OpenBreaker",
    "PoolBrain",
    "Spawn",
    "WorkerState",
]


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    KILLING = "killing"
    DEAD = "dead"


@dataclass(frozen=True)
class Spawn:
    """Start the worker of this generation after so many seconds."""

    generation: int
    delay: float


@dataclass(frozen=True)
class Kill:
    """Send SIGKILL to the worker of this generation."""

    generation: int
    reason: str


@dataclass(frozen=True)
class OpenBreaker:
    """A crash loop: fail what waits, refuse what comes, until a worker becomes ready."""

    deaths: int


@dataclass(frozen=True)
class CloseBreaker:
    """A worker became ready after all: admit operations again."""


Instruction = Spawn | Kill | OpenBreaker | CloseBreaker


class PoolBrain:
    """The lives of a pool's workers.

    Attributes:
        states: The state of every worker that is not dead, by generation.
        breaker_open: Whether the pool is in a crash loop.
        closing: Whether the pool is closing; then no worker is replaced.
    """

    def __init__(self, config: PoolConfig, random: Random) -> None:
        self._config = config
        self._random = random
        self._next_generation = 0
        self._deaths_in_a_row = 0
        self._ready_once: set[int] = set()
        self.states: dict[int, WorkerState] = {}
        self.breaker_open = False
        self.closing = False

    def start(self) -> list[Instruction]:
        """The pool starts: all of `min_workers` at once."""
        return [self._spawn(0.0) for _ in range(self._config.min_workers)]

    def ready(self, generation: int) -> list[Instruction]:
        """A worker answered its first command."""
        if self.states.get(generation) is not WorkerState.STARTING:
            return []
        self.states[generation] = WorkerState.READY
        self._ready_once.add(generation)
        self._deaths_in_a_row = 0
        if not self.breaker_open:
            return []
        self.breaker_open = False
        return [CloseBreaker()]

    def start_overdue(self, generation: int) -> list[Instruction]:
        """A worker was not ready within `start_timeout`."""
        if self.states.get(generation) is not WorkerState.STARTING:
            return []
        return self._kill(generation, "not ready within start_timeout")

    def silent(self, generation: int) -> list[Instruction]:
        """A worker gave no sign of life within `heartbeat_timeout`."""
        if self.states.get(generation) not in (WorkerState.READY, WorkerState.DRAINING):
            return []
        return self._kill(generation, "no sign of life within heartbeat_timeout")

    def broken(self, generation: int, reason: str) -> list[Instruction]:
        """A worker cannot be used, e.g. because it speaks nonsense on its pipe."""
        if self.states.get(generation) in (None, WorkerState.KILLING):
            return []
        return self._kill(generation, reason)

    def exited(self, generation: int) -> list[Instruction]:
        """A worker's process ended."""
        state = self.states.pop(generation, None)
        if state is None or self.closing:
            return []
        was_ready = generation in self._ready_once
        self._ready_once.discard(generation)
        if was_ready:
            return [self._spawn(0.0)]
        self._deaths_in_a_row += 1
        instructions: list[Instruction] = [self._spawn(self._backoff())]
        if self._deaths_in_a_row >= self._config.crash_loop_after and not self.breaker_open:
            self.breaker_open = True
            instructions.append(OpenBreaker(self._deaths_in_a_row))
        return instructions

    def close(self) -> None:
        """The pool closes: whatever exits from now on is not replaced."""
        self.closing = True
        for generation, state in self.states.items():
            if state is WorkerState.READY:
                self.states[generation] = WorkerState.DRAINING

    def _spawn(self, delay: float) -> Spawn:
        generation = self._next_generation
        self._next_generation += 1
        self.states[generation] = WorkerState.STARTING
        return Spawn(generation, delay)

    def _kill(self, generation: int, reason: str) -> list[Instruction]:
        self.states[generation] = WorkerState.KILLING
        return [Kill(generation, reason)]

    def _backoff(self) -> float:
        first, longest, jitter = self._config.restart_backoff
        delay = min(first * 2.0 ** min(self._deaths_in_a_row - 1, 32), longest)
        return delay * (1.0 + jitter * self._random.uniform(-1.0, 1.0))
