"""`WorkerGroup`: workers that are alike, from their start to their end."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txcouchbase.exceptions import PoolClosed, WorkerStartFailed
from txcouchbase.workers.dispatcher import Dispatcher
from txcouchbase.workers.events import EndCause, Observers
from txcouchbase.workers.forks import tell_of_forks
from txcouchbase.workers.lane import Lane
from txcouchbase.workers.session import ClusterSession, Session
from txcouchbase.workers.stats import PoolStats
from txcouchbase.workers.supervisor import Supervisor, SupervisorOwner
from txcouchbase.workers.target import Target
from txcouchbase.workers.view import WorkerView
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from txcouchbase.amp.wire import ClusterSettings
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.operation import Operation
    from txcouchbase.workers.process import Exit

__all__ = ["POOL_CLOSED", "WorkerGroup"]

_log = Logger()

POOL_CLOSED = "the pool is closed: make a new one"

_admitted = attrgetter("admitted")
_settled = attrgetter("settled")


class WorkerGroup(Dispatcher, SupervisorOwner):
    """Workers that are alike, what they are connected to, and the operations on them.

    Args:
        config: How they behave.
        reactor: The reactor to use.
        observers: Who hears of what happens to them.
        jobs: Whether they run the application's own functions, and nothing else.
    """

    def __init__(
        self, config: PoolConfig, reactor: Any, observers: Observers, jobs: bool = False
    ) -> None:
        super().__init__(config, reactor)
        self._for_jobs = jobs
        self._supervisor = Supervisor(
            config, reactor, self._calls, self, observers, jobs, self.tally
        )
        self._lanes = self._supervisor.lanes
        self._sessions: list[Session] = []
        self._started = False
        self._closing = False
        self._ended = False
        self._closed_waiters = Waiters()
        self._shutdown_trigger: Any = None
        tell_of_forks(self)

    @property
    def views(self) -> list[WorkerView]:
        """What an application sees of the workers."""
        return self._supervisor.views

    def stats(self) -> PoolStats:
        """How they are now; also before they are started and after they are closed."""
        now = self.now()
        tally = self.tally
        lanes = self.lanes()
        queues = [target.waiting for target in self.targets()]
        waiting = sum(len(each) - sum(map(_settled, each)) for each in queues)
        sent = sum(len(lane.sent) for lane in lanes)
        abandoned = sum(sum(map(_settled, lane.sent)) for lane in lanes)
        places = (*queues, *(place for lane in lanes for place in lane.places))
        oldest = min((_oldest(place, now) for place in places if place), default=now)
        pending = self._pending
        return PoolStats(
            states=self._supervisor.states(),
            ended=self._supervisor.ended(),
            workers=self._supervisor.workers(),
            min_workers=self.config.min_workers,
            max_workers=self.config.max_workers,
            pending=pending,
            pending_bytes=self._pending_bytes,
            max_pending=self.config.max_pending,
            max_pending_bytes=self.config.max_pending_bytes,
            waiting=waiting,
            # Those that were cancelled stay in queues for a while, and are not pending.
            queued=pending - waiting - sent,
            in_flight=sent - abandoned,
            abandoned=abandoned,
            oldest=now - oldest,
            admitted=self._last_id,
            refused=tally.refused,
            # Not counted one by one, since that would cost each of them.
            succeeded=self._last_id - pending + abandoned - tally.failed - tally.cancelled,
            failed=tally.failed,
            cancelled=tally.cancelled,
            resent=tally.resent,
            lost=tally.lost,
            waited=tally.waited.snapshot(),
            executed=tally.executed.snapshot(),
            batches=tally.batches.snapshot(),
        )

    @property
    def started(self) -> bool:
        """Whether they were ever started."""
        return self._started

    def start(self) -> None:
        """Start the workers once the reactor runs. A second call does nothing.

        Raises:
            PoolClosed: The pool is closed.
        """
        if self._closing:
            self._refuse()
        if self._started:
            return
        self._started = True
        self._shutdown_trigger = self._reactor.addSystemEventTrigger(
            "before", "shutdown", self._reactor_stops
        )
        self._reactor.callWhenRunning(self.later, 0, self._supervisor.start)

    def close(self) -> Deferred[None]:
        """End all workers, in the end by force.

        Operations that wait for a connection fail with `PoolClosed`; those on a worker get
        `drain_timeout` to end. Fires when the last process is gone. Idempotent.
        """
        if not self._closing:
            self._closing = True
            self._close().addBoth(self._closed)
        return succeed(None) if self._ended else self._closed_waiters.wait()

    # -- from facades ---------------------------------------------------------------------

    def open_session(self, settings: ClusterSettings, number: int | None = None) -> ClusterSession:
        """Connect all workers, present and future, to a cluster; starts the pool.

        Args:
            settings: How to connect to it.
            number: Its number on the pipe, the next one that is free if None.

        Raises:
            PoolClosed: The pool is closed.
        """
        self.start()
        session = ClusterSession(self, settings, number)
        self._sessions.append(session)
        for lane in self.ready_lanes():
            session.start_on(lane)
        return session

    def close_session(self, session: ClusterSession) -> Deferred[None]:
        """Disconnect all workers from a cluster.

        Its operations on workers get `drain_timeout` to end. Idempotent; to cancel the Deferred
        stops nothing.
        """
        if not session.closed:
            session.close(PoolClosed("the cluster is closed: make a new one"))
            self._end_session(session)
        return session.when_ended()

    @inlineCallbacks
    def _end_session(self, session: ClusterSession) -> Generator[Deferred[Any], Any, None]:
        yield self._disconnect(session)
        self._sessions.remove(session)
        session.end()

    @inlineCallbacks
    def _disconnect(self, session: ClusterSession) -> Generator[Deferred[Any], Any, None]:
        """Disconnect all workers from a closed cluster, once its operations have ended."""
        yield self._calls.bounded(session.when_all_idle(), self.config.drain_timeout)
        for target in (session, *session.buckets.values(), *session.closing_buckets):
            self._release(target)
        yield self._calls.bounded(session.disconnect(), self.config.drain_timeout)

    def _release(self, target: Target) -> None:
        """Nothing of it is sent any more: the workers are about to forget it."""
        for lane in self.lanes():
            self._take_back(lane.release_queue(target), closing=True)

    # -- from the dispatcher and from sessions --------------------------------------------

    def lanes(self) -> list[Lane]:
        """The lanes of all workers."""
        return list(self._lanes.values())

    def ready_lanes(self) -> list[Lane]:
        """The lanes whose worker is ready."""
        return self._supervisor.ready_lanes()

    def targets(self) -> Iterator[Target]:
        """What the workers are connected to."""
        for session in self._sessions:
            yield session
            yield from session.buckets.values()

    # -- from the supervisor and from lanes -----------------------------------------------

    def worker_settings(self) -> dict[str, Any]:
        """What a worker has to know when it starts."""
        config = self.config
        return {
            "client": config.client,
            "threads": config.worker_threads,
            "rows": config.rows,
            "jobs": self._for_jobs,
        }

    def may_be_silent(self, lane: Lane) -> bool:
        """Whether a worker need not give signs of life now."""
        return False

    def lane_spoke_nonsense(self, lane: Lane, reason: str) -> None:
        """A worker sent something that cannot be understood."""
        self._supervisor.kill(lane, EndCause.BROKEN, reason)

    def is_relieved(self, lane: Lane, workers: int) -> bool:
        """Whether so many other workers are connected to all that this one is connected to."""
        others = [other for other in self.ready_lanes() if other is not lane]
        if len(others) < workers:
            return False
        return all(
            sum(target.could_serve(other) for other in others) >= workers
            for target in self.targets()
            if lane in target.lanes
        )

    def worker_ready(self, lane: Lane) -> None:
        """A worker has started: connect it."""
        for session in self._sessions:
            session.start_on(lane)

    def worker_draining(self, lane: Lane) -> None:
        """A worker is to end: what it was not sent goes to others."""
        for session in self._sessions:
            session.lane_lost(lane)
        self._take_back(lane.release_queue(), closing=self._closing)

    def worker_lost(self, lane: Lane, exit: Exit) -> None:
        """A worker has ended: what was queued or only reads goes to others, the rest fails."""
        for session in self._sessions:
            session.lane_lost(lane)
        again, failed = lane.lost(exit)
        self._take_back(again, closing=self._closing)
        self.tally.failed += len(failed)
        self.tally.lost += len(failed)
        for operation, error in failed:
            if operation.settled:  # what another one calls may cancel it
                self.tally.failed -= 1
                self.tally.lost -= 1
            else:
                operation.settled = True
                operation.fail(error)

    def refuse(self, error: WorkerStartFailed) -> None:
        """No worker gets ready: refuse what comes, fail what waits."""
        if not self._closing:
            self.refusal = error
        for session in list(self._sessions):
            session.fail(error)

    def admit_again(self) -> None:
        """A worker got ready after all."""
        if not self._closing:
            self.refusal = None

    def _tick_passed(self) -> None:
        super()._tick_passed()
        self._supervisor.sampled()

    # -- closing --------------------------------------------------------------------------

    def forked(self) -> None:
        """This is a fork of the process whose children the workers are: leave them alone."""
        # A daemon is forked before its reactor runs, when there are none yet.
        if getattr(self._reactor, "running", False) and not self._ended:
            self._closing = self._ended = True
            self.refusal = PoolClosed(
                f"the pool belongs to the process {os.getppid()}, of which this one is a fork: "
                "nothing was sent; make a pool of its own in a process that runs a reactor"
            )
            for lane in self._lanes.values():
                lane.process = None  # so that nothing is written to it, or signalled
            self._lanes.clear()
            for target in self.targets():
                target.lanes, target.closed = [], True

    def _reactor_stops(self) -> Deferred[None]:
        self._shutdown_trigger = None  # it has fired
        return self.close()

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        self.refusal = PoolClosed(POOL_CLOSED)
        self._supervisor.replace_none()
        self._supervisor.kill_silent()
        if self._shutdown_trigger is not None:
            self._reactor.removeSystemEventTrigger(self._shutdown_trigger)
        for target in list(self.targets()):
            if not target.lanes:
                target.fail(self.refusal)
        yield self._calls.bounded(self._when_idle(), self.config.drain_timeout)
        for session in self._sessions:
            session.close(self.refusal)
        yield self._supervisor.end()

    def _closed(self, result: Any) -> None:
        self._ended = True
        self._calls.cancel_all()
        self._room_waiters.fail(PoolClosed(POOL_CLOSED))
        if isinstance(result, Failure):
            _log.failure("closing the pool went wrong", result)
        for session in self._sessions:
            session.end()
        self._closed_waiters.release_present()


def _oldest(operations: Collection[Operation], now: float) -> float:
    """When the oldest of these was admitted for which somebody waits."""
    oldest = min(operations, key=_admitted)
    if not oldest.settled:
        return oldest.admitted
    return min((each.admitted for each in operations if not each.settled), default=now)
