"""`JobPool`: the workers that run the application's own functions.

The same code as the pool of those for key-value operations, with other rules: a worker has one
job at a time, the rest waits in one queue, and nothing is ever sent twice. They are processes
of their own since a thread that hogs the interpreter would hold up every answer in its process.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from txcouchbase.amp.jobs import pickled_job, value_of
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.exceptions import PoolClosed, PoolOverloaded
from txcouchbase.workers.events import EndCause
from txcouchbase.workers.group import POOL_CLOSED, WorkerGroup
from txcouchbase.workers.keyspace import Keyspace
from txcouchbase.workers.lane import Lane, timed_out
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.session import ClusterSession, Session
from txcouchbase.workers.target import Target

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.events import Observers

__all__ = ["Job", "JobPool", "job_timeout"]


_LONGEST = 100 * 365 * 24 * 3600.0
"""Seconds that stand for every longer time: nobody will tell, and all clocks can count them."""


def job_timeout(timeout: float | timedelta | None) -> float | None:
    """The time of a job in seconds, None for no limit; a hundred years for any longer one.

    Raises:
        InvalidArgumentException: It is no duration.
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not 0 <= timeout < math.inf
    ):
        raise InvalidArgumentException(
            f"timeout must be seconds or a timedelta, not below zero, or None; not {timeout!r}"
        )
    return float(min(timeout, _LONGEST))


class Job(Operation):
    """One call of a function of the application.

    Attributes:
        kill_at: When its worker is killed, once nobody waits for its answer any more.
    """

    __slots__ = ("_pool", "deferred", "kill_at")

    def __init__(
        self, pool: JobPool, name: str, keyspace: Keyspace, payload: bytes, timeout: float | None
    ) -> None:
        super().__init__(
            OPERATIONS[name], keyspace, None, payload, timeout=timeout, default_timeout=None
        )
        self._pool = pool
        self.kill_at: float | None = None
        self.deferred: Deferred[Any] = Deferred(self._cancelled)

    def _cancelled(self, _: Deferred[Any]) -> None:
        self.value = None  # nobody needs it now: it was sent, or never will be
        self._pool.cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Fire the Deferred with what the function returned or raised."""
        try:
            value = value_of(result)
        except BaseException as error:  # the function's own, whose class may do anything
            self.deferred.errback(error)
        else:
            self.deferred.callback(value)

    def fail(self, error: Exception) -> None:
        """Fire the Deferred with an exception that is not the function's."""
        self.deferred.errback(error)


class JobPool(WorkerGroup):
    """The job workers of a pool, started by the first job.

    Args:
        config: That of the whole pool.
        reactor: The reactor to use.
        observers: Who hears of what happens to the workers.
    """

    def __init__(self, config: PoolConfig, reactor: Any, observers: Observers) -> None:
        count = config.job_workers
        super().__init__(
            dataclasses.replace(config, min_workers=count, max_workers=count, client="sync"),
            reactor,
            observers,
            jobs=True,
        )
        self._no_cluster = Session(self)
        self._sessions.append(self._no_cluster)
        self._cluster_sessions: dict[int, ClusterSession] = {}
        self._running: dict[Lane, Job] = {}

    def run(
        self,
        name: str,
        session: ClusterSession | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | timedelta | None,
    ) -> Deferred[Any]:
        """Call a function in a job worker.

        Args:
            name: The kind of the job.
            session: The cluster that the function gets, as the pool knows it; None for none.
            function: What to call.
            args: Its arguments.
            kwargs: Its keyword arguments.
            timeout: From the call to the answer (seconds or timedelta), None for no limit.

        Raises:
            InvalidArgumentException: The function, an argument or the timeout cannot be used.
        """
        seconds = job_timeout(timeout)
        payload = pickled_job(name, function, args, kwargs)
        try:
            self.start()
            own = self._no_cluster if session is None else self._session_for(session)
            job = Job(self, name, own.keyspace, payload, seconds)
            self.submit(job)
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            refused: Deferred[Any] = Deferred()
            refused.errback(error)
            return refused
        return job.deferred

    def session_of(self, session: ClusterSession) -> ClusterSession | None:
        """The job workers' connection to a cluster of the pool, if jobs have needed one."""
        return self._cluster_sessions.get(session.id)

    def _session_for(self, session: ClusterSession) -> ClusterSession:
        if session.closed:
            raise PoolClosed("the cluster is closed: make a new one")
        own = self._cluster_sessions.get(session.id)
        if own is None:
            # Under the same number, by which an argument names the cluster that it belongs to.
            own = self.open_session(session.settings, session.id)
            self._cluster_sessions[session.id] = own
        return own

    def disconnect(self, session: ClusterSession) -> Deferred[None]:
        """A cluster of the pool is closed: so is the job workers' connection to it."""
        own = self._cluster_sessions.pop(session.id, None)
        return self.close_session(own) if own is not None else succeed(None)

    # -- one job for each worker ----------------------------------------------------------

    def _dispatch(self, operation: Operation, lane: Lane | None = None) -> bool:
        target = operation.keyspace.target
        if target.waiting:
            return False  # they were called before, and a worker that was just freed is theirs
        connected = target.lanes
        for idle in self.ready_lanes():
            if idle not in self._running and idle in connected:
                self._give(operation, idle)
                return True
        return False

    def _give(self, operation: Operation, lane: Lane) -> None:
        assert isinstance(operation, Job)
        self._running[lane] = operation
        lane.submit(operation)

    def dispatch_waiting(self, target: Target) -> None:
        """Give every idle worker the job that has waited longest, for whichever cluster."""
        for lane in self.ready_lanes():
            if lane not in self._running:
                self._give_oldest(lane)

    def _give_oldest(self, lane: Lane) -> None:
        oldest: Target | None = None
        for target in self.targets():
            while target.waiting and target.waiting[0].settled:
                target.waiting.popleft()
            if (
                target.waiting
                and lane in target.lanes
                and (oldest is None or target.waiting[0].id < oldest.waiting[0].id)
            ):
                oldest = target
        if oldest is not None:
            self._give(oldest.waiting.popleft(), lane)

    def _overloaded(self) -> PoolOverloaded:
        return PoolOverloaded(
            f"{self._pending} jobs with {self._pending_bytes} bytes are pending "
            f"(limits: max_pending={self.config.max_pending}, "
            f"max_pending_bytes={self.config.max_pending_bytes}); wait for when_room(jobs=True)"
        )

    def operation_left(self, operation: Operation) -> None:
        """The job no longer counts, and its worker is free if it had one."""
        super().operation_left(operation)
        for lane, job in self._running.items():
            if job is operation:
                del self._running[lane]
                self.later(0, self.dispatch_waiting, operation.keyspace.target)
                return

    # -- the rules for workers ------------------------------------------------------------

    def may_be_silent(self, lane: Lane) -> bool:
        """A running job may hold up everything else in its process."""
        return lane in self._running

    def _tick_passed(self) -> None:
        super()._tick_passed()
        now = self.now()
        for lane, job in list(self._running.items()):
            if not job.settled and job.deadline is not None and job.deadline <= now:
                job.settled = True
                self.tally.failed += 1
                job.fail(timed_out(job, sent=True))
            if job.settled and job.kill_at is None:
                job.kill_at = now + self.config.job_grace
            elif job.kill_at is not None and job.kill_at <= now:
                self._supervisor.kill(
                    lane,
                    EndCause.JOB_OVERRUN,
                    "its job was cancelled or out of time, and went on for job_grace",
                )

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        self.refusal = PoolClosed(POOL_CLOSED)
        for target in list(self.targets()):
            target.fail(self.refusal)  # what has not begun does not begin
        yield super()._close()
