"""`TxCluster`: the way in. All public names can be imported from here."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.diagnostics import ClusterState, ServiceType
from couchbase.exceptions import InvalidArgumentException
from couchbase.options import forward_args
from couchbase.result import PingResult
from twisted.internet.defer import Deferred, FirstError, gatherResults, inlineCallbacks

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.binary_collection import BinaryCollection, TxBinaryCollection
from txcouchbase.bucket import Bucket, TxBucket
from txcouchbase.client import ClusterOperation, TxRawClientMixin, ping
from txcouchbase.collection import Collection, TxCollection
from txcouchbase.exceptions import WorkerLost
from txcouchbase.scope import Scope, TxScope
from txcouchbase.settings import FacadeSettings
from txcouchbase.workers import PoolConfig, WorkerPool

if TYPE_CHECKING:
    from couchbase.options import ClusterOptions, PingOptions, WaitUntilReadyOptions

__all__ = [
    "BinaryCollection",
    "Bucket",
    "Cluster",
    "Collection",
    "Scope",
    "TxBinaryCollection",
    "TxBucket",
    "TxCluster",
    "TxCollection",
    "TxRawClientMixin",
    "TxScope",
]


class TxCluster(TxRawClientMixin):
    """A Couchbase cluster, reached through a pool of worker processes.

    It may be made before the reactor runs; the workers start when it does.

    Args:
        connstr: The connection string, e.g. ``couchbase://host``.
        options: The SDK's `ClusterOptions`.
        pool: A `WorkerPool` to share, or the `PoolConfig` of a pool of its own;
            None for a pool of its own with `PoolConfig()`.
        reactor: The reactor to use; the installed one if None. A shared pool brings its own.
        kwargs: Options of the cluster by name, over those of `options`.

    Attributes:
        pool: The pool of workers.

    Raises:
        InvalidArgumentException: The authenticator or the connection string is missing.
        PoolClosed: The pool to share is closed.
    """

    def __init__(
        self,
        connstr: str | None = None,
        *options: ClusterOptions,
        pool: PoolConfig | WorkerPool | None = None,
        reactor: Any = None,
        **kwargs: Any,
    ) -> None:
        connstr = kwargs.pop("connection_string", connstr)
        self._settings = FacadeSettings(connstr, options, kwargs)
        self._owns_pool = not isinstance(pool, WorkerPool)
        if isinstance(pool, WorkerPool):
            if reactor is not None and reactor is not pool.reactor:
                raise InvalidArgumentException("a shared pool brings its own reactor")
            self.pool = pool
        else:
            self.pool = WorkerPool(pool, reactor)
        self._session = self._target = self.pool.open_session(self._settings.for_workers)

    def bucket(self, bucket_name: str) -> TxBucket:
        """A bucket of this cluster; it is opened in the background."""
        return TxBucket(self, bucket_name)

    def ping(self, *opts: PingOptions, **kwargs: Any) -> Deferred[PingResult]:
        """Ping the services of the cluster, from one worker.

        Options: `service_types`, `report_id`, `timeout` (a `timedelta`; default
        `management_timeout`, 75 seconds).
        """
        keyspace = self._session.keyspace
        return ping(self.pool, keyspace, *self._ping_options(opts, kwargs))

    def wait_until_ready(
        self, timeout: timedelta, *opts: WaitUntilReadyOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Fires when `min_workers` workers are ready and connected, and in each of them the
        cluster has the wanted state as the SDK sees it.

        Args:
            timeout: How long to wait at most.
            opts: `desired_state`, `service_types`, as in the SDK.

        Errors: UnAmbiguousTimeoutException when the time is over.
        """
        given = forward_args(kwargs, *opts)
        options = _service_types(given)
        state = given.get("desired_state")
        if isinstance(state, ClusterState):
            options["desired_state"] = state.value
        seconds = timeout.total_seconds()
        ready = self._until_ready_in_each(options, seconds)
        return self.pool.within(ready, seconds, "wait_until_ready")

    @inlineCallbacks
    def _until_ready_in_each(
        self, options: dict[str, Any], seconds: float
    ) -> Generator[Deferred[Any], Any, None]:
        while True:
            lanes = yield self.pool.when_connected(self._session, self.pool.config.min_workers)
            waits = []
            for lane in lanes:
                operation = ClusterOperation(
                    OPERATIONS["wait_until_ready"], self._session.keyspace, options, seconds
                )
                self.pool.submit(operation, lane)
                waits.append(operation.deferred)
            try:
                yield gatherResults(waits, consumeErrors=True)
                return
            except FirstError as error:
                if not error.subFailure.check(WorkerLost):
                    error.subFailure.raiseException()
                # Its successor has to be ready too.

    def close(self) -> Deferred[None]:
        """Disconnect all workers, and end them if the pool is this cluster's own. Idempotent.

        Operations on workers get the pool's `drain_timeout` to end; what is called later
        errbacks with `PoolClosed`.
        """
        if self._owns_pool:
            return self.pool.close()
        return self.pool.close_session(self._session)

    def _ping_options(
        self, opts: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], float]:
        given = forward_args(kwargs, *opts)
        options = _service_types(given)
        if "report_id" in given:
            options["report_id"] = given["report_id"]
        milliseconds = given.get("timeout")
        seconds = milliseconds / 1000.0 if milliseconds else self._settings.management_timeout
        return options, seconds


def _service_types(given: dict[str, Any]) -> dict[str, Any]:
    """The services by name, where some are chosen."""
    chosen = given.get("service_types")
    if not chosen:
        return {}
    if not isinstance(chosen, (list, set, tuple)):
        raise InvalidArgumentException("Service types must be a list/set.")
    names = [service.value if isinstance(service, ServiceType) else service for service in chosen]
    return {"service_types": names}


Cluster = TxCluster
