"""`WorkerPool`: worker processes, and the way of operations to them.

facade ── submit ──▶ admission ──▶ [waits for a connection] ──▶ lane of its key, or the
                                                                 least loaded one
worker ends ──▶ brain says what follows; what was queued or only reads goes to other lanes

Admission and dispatch are in `txcouchbase.workers.dispatcher`, the lives of workers in
`txcouchbase.workers.supervisor`, start and close of the whole in `txcouchbase.workers.group`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from couchbase.exceptions import UnAmbiguousTimeoutException
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks

from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.events import Observer, Observers
from txcouchbase.workers.group import WorkerGroup
from txcouchbase.workers.jobs import JobPool
from txcouchbase.workers.lane import Lane
from txcouchbase.workers.session import BucketSession, ClusterSession
from txcouchbase.workers.stats import PoolStats
from txcouchbase.workers.view import WorkerView

if TYPE_CHECKING:
    from couchbase.auth import Authenticator

__all__ = ["WorkerPool"]

T = TypeVar("T")


class WorkerPool(WorkerGroup):
    """A pool of worker processes that clusters may share.

    It is started by its first cluster or by `start`; making one starts nothing.

    Args:
        config: How it behaves; `PoolConfig()` if None.
        reactor: The reactor to use; the installed one, at the time of the call, if None.

    Attributes:
        config: How it behaves.
    """

    def __init__(self, config: PoolConfig | None = None, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor
        if config is not None and not isinstance(config, PoolConfig):
            raise TypeError(f"config must be a PoolConfig, not {type(config).__name__}")
        self._observers = Observers()
        super().__init__(config if config is not None else PoolConfig(), reactor, self._observers)
        self._jobs = JobPool(self.config, reactor, self._observers)

    # -- what an application uses ---------------------------------------------------------

    @property
    def workers(self) -> list[WorkerView]:
        """The workers that are there now."""
        return self.views

    @property
    def job_workers(self) -> list[WorkerView]:
        """The workers for the application's own functions that are there now."""
        return self._jobs.views

    def stats(self) -> PoolStats:
        """How the pool is now, with the job workers' own under `jobs`.

        Also before it is started and after it is closed. It looks at every pending operation,
        so it takes up to a millisecond: once a second is fine, at each operation is not.
        """
        jobs = self._jobs.stats() if self._jobs.started else None
        return dataclasses.replace(super().stats(), jobs=jobs)

    def run(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> Deferred[T]:
        """Call a function in a job worker, a process in which nothing else runs meanwhile.

        What it returns, or raises, is what the Deferred fires with; an exception has a
        `RemoteError` with the worker's traceback as its cause, or is one if it cannot be
        rebuilt here. What it prints goes to the log. It runs once or not at all. A cancelled
        job that has begun, or one that overruns its time, is ended by force after `job_grace`.
        Arguments and results are pickled in the reactor's thread: keep those of many megabytes
        where they are, in documents or files.

        Args:
            function: What to call; a worker has to be able to import it by its name, so it can
                be no lambda, no function inside another, and none of the program itself.
            args: Its arguments, which are pickled. A collection becomes the SDK's own one of the
                connected cluster in the jobs of that cluster, and is refused in others.
            timeout: From the call to the answer (seconds or timedelta), None for no limit.
            kwargs: Its keyword arguments, which are pickled.

        Raises:
            InvalidArgumentException: The function, an argument or the timeout cannot be used.

        Errors: AmbiguousTimeoutException when the time is over while it runs,
        UnAmbiguousTimeoutException before; WorkerLost when its process ended;
        PoolOverloaded, PoolClosed, WorkerStartFailed.
        """
        return self.run_job("run", None, function, args, kwargs, timeout)

    def resize(self, min_workers: int, max_workers: int) -> None:
        """Change the limits on the number of workers for operations.

        Workers that are lacking start at once. Those that are too many get no more operations,
        end those that they have, and are gone then; no operation fails for it. Also before the
        pool is started.

        Args:
            min_workers: Worker processes that are always there (processes, at least 1).
            max_workers: Worker processes at most (processes, not below `min_workers`).

        Raises:
            ValueError: A number cannot be used; the text names it.
            PoolClosed: The pool is closed.
        """
        if self._closing:
            self._refuse()
        self.config = dataclasses.replace(
            self.config, min_workers=min_workers, max_workers=max_workers
        )
        self._supervisor.resize(min_workers, max_workers)

    def add_observer(self, observer: Observer) -> None:
        """Call a function with each `txcouchbase.workers.events.PoolEvent` from now on.

        It is called in the reactor's thread and must not block; what it raises is logged. It may
        use the pool.

        Raises:
            TypeError: It cannot be called.
        """
        self._observers.add(observer)

    def remove_observer(self, observer: Observer) -> None:
        """Call it no more.

        Raises:
            ValueError: It was not added.
        """
        self._observers.remove(observer)

    def when_room(self, *, jobs: bool = False) -> Deferred[None]:
        """Fires when an operation would be admitted again, on a later turn.

        Args:
            jobs: Fire when a job would be, instead: they are counted by themselves.
        """
        return self._jobs.when_room() if jobs else super().when_room()

    # -- from facades ---------------------------------------------------------------------

    def run_job(
        self,
        name: str,
        session: ClusterSession | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | timedelta | None,
    ) -> Deferred[Any]:
        """As `JobPool.run`."""
        return self._jobs.run(name, session, function, args, kwargs, timeout)

    @inlineCallbacks
    def set_authenticator(
        self, session: ClusterSession, authenticator: Authenticator
    ) -> Generator[Deferred[Any], Any, None]:
        """Use other credentials for a cluster, in all workers; see `ClusterSession`."""
        yield session.set_authenticator(authenticator)
        for_jobs = self._jobs.session_of(session)
        if for_jobs is not None:
            yield for_jobs.set_authenticator(authenticator)

    @inlineCallbacks
    def _disconnect(self, session: ClusterSession) -> Generator[Deferred[Any], Any, None]:
        yield gatherResults([super()._disconnect(session), self._jobs.disconnect(session)])

    def close_bucket(self, session: BucketSession) -> Deferred[None]:
        """Close a bucket in all workers, after its operations or `drain_timeout`.

        Idempotent; to cancel the Deferred stops nothing.
        """
        if not session.closed:
            session.cluster.buckets.pop(session.name, None)
            session.cluster.closing_buckets.append(session)
            session.close(PoolClosed(f"the bucket {session.name} is closed: open it again"))
            self._end_bucket(session)
        return session.when_ended()

    @inlineCallbacks
    def _end_bucket(self, session: BucketSession) -> Generator[Deferred[Any], Any, None]:
        yield self._calls.bounded(session.when_idle(), self.config.drain_timeout)
        self._release(session)
        yield self._calls.bounded(session.disconnect(), self.config.drain_timeout)
        session.cluster.closing_buckets.remove(session)
        session.end()

    @inlineCallbacks
    def when_connected(
        self, session: ClusterSession, workers: int
    ) -> Generator[Deferred[Any], Any, list[Lane]]:
        """Fires with the connected lanes when there are so many of them.

        Its buckets are waited for too, but not those that the server refuses.
        """
        while True:
            buckets = [bucket for bucket in session.buckets.values() if not bucket.refused]
            lacking = [each for each in (session, *buckets) if len(each.lanes) < workers]
            if not lacking:
                return list(session.lanes)
            try:
                yield lacking[0].when_next_connected()
            except Exception:  # whatever the server says of a bucket is for who opened it
                if lacking[0] not in buckets or session.closed:
                    raise

    def within(self, deferred: Deferred[Any], timeout: float, name: str) -> Deferred[Any]:
        """The same Deferred, cancelled with the SDK's exception when the time is over."""

        def late(result: Any, timeout: float) -> Any:
            raise UnAmbiguousTimeoutException(f"{name} was not done within {timeout} seconds")

        deferred.addTimeout(timeout, self._reactor, late)
        return deferred

    # -- closing --------------------------------------------------------------------------

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        yield gatherResults([super()._close(), self._jobs.close()])
