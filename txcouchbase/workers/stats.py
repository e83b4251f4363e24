"""What a pool tells of itself, and what it counts for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from txcouchbase.workers.brain import WorkerState
from txcouchbase.workers.events import EndCause
from txcouchbase.workers.histogram import Histogram, Sizes, Times

__all__ = ["PoolStats", "Tally", "WorkerStats"]


class Tally:
    """What is counted as operations pass, since the pool was made.

    Attributes:
        refused: Calls that were refused: overloaded, closed, or in a crash loop.
        failed: Operations that had an exception, whatever it was.
        cancelled: Operations that their callers cancelled.
        resent: Operations that were sent once more after their worker's death.
        lost: Operations that failed with `WorkerLost`.
        waited: From the admission of an operation to its being sent.
        executed: From its being sent to its answer.
        batches: Operations that were sent together.
    """

    __slots__ = (
        "batches",
        "cancelled",
        "executed",
        "failed",
        "lost",
        "refused",
        "resent",
        "waited",
    )

    def __init__(self) -> None:
        self.refused = 0
        self.failed = 0
        self.cancelled = 0
        self.resent = 0
        self.lost = 0
        self.waited = Times()
        self.executed = Times()
        self.batches = Sizes()


@dataclass(frozen=True)
class WorkerStats:
    """One worker, as of one moment.

    Attributes:
        pid: Its process id, None if it could not be spawned.
        generation: Its number, which no other worker of these ever has.
        state: Where it is in its life.
        load: Operations queued for it and in flight on it.
        operations: Operations that it was sent.
        age: Since its process was spawned (seconds).
        rss: Its resident memory at its last heartbeat (bytes), None before the first.
    """

    pid: int | None
    generation: int
    state: WorkerState
    load: int
    operations: int
    age: float
    rss: int | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**vars(self), "state": self.state.value}


@dataclass(frozen=True)
class PoolStats:
    """A pool, as of one moment; what is counted is counted since the pool was made.

    An operation is pending from its admission to its answer: first `waiting`, then `queued`, then
    `in_flight`. If it times out or is cancelled in flight, it is `abandoned`, until its worker
    answers or ends. So ``pending == waiting + queued + in_flight + abandoned``, and
    ``admitted == succeeded + failed + cancelled + pending - abandoned``.

    Attributes:
        states: Workers by state; those that are about to be spawned are starting.
        ended: Workers that ended, by cause.
        workers: Each worker process that is there.
        min_workers: Workers at least.
        max_workers: Workers at most.
        pending: Operations, against `max_pending`.
        pending_bytes: What they and the unsent keys of multi operations count for against
            `max_pending_bytes`.
        max_pending: The limit on operations; over it they are refused.
        max_pending_bytes: The limit on bytes.
        waiting: Operations that wait for a connection, or for one on their key.
        queued: Operations in the queues of workers.
        in_flight: Operations that were sent to workers, whose callers wait.
        abandoned: Operations that were sent to workers, whose callers do not wait any more.
        oldest: How long the oldest operation for which a caller waits has been pending
            (seconds), 0.0 if there is none.
        admitted: Operations that were taken.
        refused: Calls that were refused with `PoolOverloaded`, `PoolClosed` or
            `WorkerStartFailed`; one for a multi operation.
        succeeded: Operations that had their Result.
        failed: Operations that had an exception: the server's, a timeout, or what else.
        cancelled: Operations that their callers cancelled.
        resent: Operations that were sent once more after their worker's death.
        lost: Operations that failed with `WorkerLost`, which are among the failed ones.
        waited: From the admission of an operation to its being sent (seconds); one that is
            resent counts twice.
        executed: From its being sent to its answer (seconds), also if nobody waited for that. A
            query's answer comes after its last row, so a slow reader makes it longer. Answers
            that arrive together are counted when their callbacks have run.
        batches: Operations that were sent together.
        jobs: The workers for the application's own functions, None if none were ever started.
    """

    states: Mapping[WorkerState, int]
    ended: Mapping[EndCause, int]
    workers: tuple[WorkerStats, ...]
    min_workers: int
    max_workers: int
    pending: int
    pending_bytes: int
    max_pending: int
    max_pending_bytes: int
    waiting: int
    queued: int
    in_flight: int
    abandoned: int
    oldest: float
    admitted: int
    refused: int
    succeeded: int
    failed: int
    cancelled: int
    resent: int
    lost: int
    waited: Histogram
    executed: Histogram
    batches: Histogram
    jobs: PoolStats | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON or a metrics endpoint."""
        return {
            **vars(self),
            "states": {state.value: count for state, count in self.states.items()},
            "ended": {cause.value: count for cause, count in self.ended.items()},
            "workers": [worker.as_dict() for worker in self.workers],
            "waited": self.waited.as_dict(),
            "executed": self.executed.as_dict(),
            "batches": self.batches.as_dict(),
            "jobs": self.jobs.as_dict() if self.jobs is not None else None,
        }
