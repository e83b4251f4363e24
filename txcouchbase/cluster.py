"""`TxCluster` and `TxRawCluster`: the way in. All public names can be imported from here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from couchbase.auth import Authenticator
from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.cluster_req_builder import ClusterRequestBuilder
from couchbase.logic.validation import validate_bool
from couchbase.result import ClusterInfoResult, DiagnosticsResult, PingResult
from twisted.internet.defer import Deferred, inlineCallbacks

from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.batched import (
    BatchedAnalyticsResult,
    BatchedQueryResult,
    BatchedSearchResult,
    BatchedViewResult,
)
from txcouchbase.binary_collection import (
    BinaryCollection,
    TxBinaryCollection,
    TxRawBinaryCollection,
)
from txcouchbase.bucket import Bucket, TxBucket, TxRawBucket
from txcouchbase.calls import Caller
from txcouchbase.client import TxDeferredClientMixin, TxRawClientMixin
from txcouchbase.collection import Collection, TxCollection, TxRawCollection
from txcouchbase.diagnostics import diagnostics, ping, wait_until_ready
from txcouchbase.management.analytics import AnalyticsIndexManager
from txcouchbase.management.buckets import BucketManager
from txcouchbase.management.eventing import EventingFunctionManager
from txcouchbase.management.queries import QueryIndexManager
from txcouchbase.management.search import SearchIndexManager
from txcouchbase.management.users import UserManager
from txcouchbase.results import AsyncResult, raw_result
from txcouchbase.row_methods import RowMethods, RowPlace
from txcouchbase.rows import (
    AsyncAnalyticsRequest,
    AsyncN1QLRequest,
    AsyncQueryRequest,
    AsyncSearchRequest,
    AsyncViewBase,
)
from txcouchbase.scope import Scope, TxRawScope, TxScope
from txcouchbase.settings import FacadeSettings
from txcouchbase.transactions import Transactions
from txcouchbase.workers import PoolConfig, WorkerPool

if TYPE_CHECKING:
    from couchbase.options import (
        ClusterOptions,
        DiagnosticsOptions,
        PingOptions,
        WaitUntilReadyOptions,
    )

__all__ = [
    "AsyncAnalyticsRequest",
    "AsyncN1QLRequest",
    "AsyncQueryRequest",
    "AsyncResult",
    "AsyncSearchRequest",
    "AsyncViewBase",
    "BatchedAnalyticsResult",
    "BatchedQueryResult",
    "BatchedSearchResult",
    "BatchedViewResult",
    "BinaryCollection",
    "Bucket",
    "Cluster",
    "Collection",
    "Scope",
    "TxBinaryCollection",
    "TxBucket",
    "TxCluster",
    "TxCollection",
    "TxDeferredClientMixin",
    "TxRawBinaryCollection",
    "TxRawBucket",
    "TxRawClientMixin",
    "TxRawCluster",
    "TxRawCollection",
    "TxRawScope",
    "TxScope",
]


C = TypeVar("C", bound="TxRawCluster")
T = TypeVar("T")


class TxRawCluster(RowMethods, TxRawClientMixin):
    """A Couchbase cluster, reached through a pool of worker processes.

    It may be made before the reactor runs; the workers start when it does.

    The key-value methods of its collections return an `AsyncResult`, all else Deferreds.

    Args:
        connstr: The connection string, e.g. ``couchbase://host``.
        options: The SDK's `ClusterOptions`.
        pool: A `WorkerPool` to share, or the `PoolConfig` of a pool of its own;
            None for a pool of its own with `PoolConfig()`.
        reactor: The reactor to use; the installed one if None. A shared pool brings its own.
        quiet: See `TxRawClientMixin`.
        kwargs: Options of the cluster by name, over those of `options`; also
            `connection_string` for `connstr`, and `username` and `password` for an
            authenticator.

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
        quiet: bool = False,
        **kwargs: Any,
    ) -> None:
        connstr = kwargs.pop("connection_string", connstr)
        self.quiet = validate_bool(quiet)
        self._settings = FacadeSettings(connstr, options, kwargs)
        self._owns_pool = not isinstance(pool, WorkerPool)
        if isinstance(pool, WorkerPool):
            if reactor is not None and reactor is not pool.reactor:
                raise InvalidArgumentException("a shared pool brings its own reactor")
            self.pool = pool
        else:
            self.pool = WorkerPool(pool, reactor)
        self._pool = self.pool
        self._session = self._target = self.pool.open_session(self._settings.for_workers)

    @classmethod
    def connect(
        cls: type[C], connstr: str | None = None, *options: ClusterOptions, **kwargs: Any
    ) -> Deferred[C]:
        """A cluster that is connected: the Deferred fires with it.

        It takes what the constructor takes. If it cannot be connected, it is closed and the
        Deferred errbacks as that of `on_connect`.
        """
        return _when_connected(cls(connstr, *options, **kwargs))

    def bucket(self, bucket_name: str) -> TxRawBucket:
        """A bucket of this cluster; it is opened in the background."""
        return TxRawBucket(self, bucket_name)

    def ping(self, *opts: PingOptions, **kwargs: Any) -> Deferred[PingResult]:
        """Ping the services of the cluster, from one worker.

        Options: `service_types`, `report_id`, `timeout` (a `timedelta`; default
        `management_timeout`, 75 seconds).
        """
        return ping(self._caller, opts, kwargs)

    def diagnostics(self, *opts: DiagnosticsOptions, **kwargs: Any) -> Deferred[DiagnosticsResult]:
        """The connections of all workers that are connected, in one report.

        The `id` of an endpoint starts with the process id of its worker and a slash. Before the
        first connection it waits for that. Option: `report_id`.
        """
        return diagnostics(self._pool, self._session, self._caller, opts, kwargs)

    def cluster_info(self) -> Deferred[ClusterInfoResult]:
        """What the cluster tells of its nodes and its version."""
        answer = self._caller.call(OPERATIONS["cluster_info"])
        return answer.addCallback(lambda raw: ClusterInfoResult(raw_result(raw)))

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
        return wait_until_ready(self._pool, self._session, self._caller, timeout, opts, kwargs)

    def close(self) -> Deferred[None]:
        """Disconnect all workers, and end them if the pool is this cluster's own. Idempotent.

        Operations on workers get the pool's `drain_timeout` to end; what is called later
        errbacks with `PoolClosed`. A stream whose rows nobody asks for ends with it at once.
        """
        if self._owns_pool:
            return self.pool.close()
        return self.pool.close_session(self._session)

    def set_authenticator(self, authenticator: Authenticator) -> Deferred[None]:
        """Use other credentials, in all workers that are there and in all that will be.

        It fires when all connected workers have them. What the SDK says of connections that
        exist holds here too: those of the key-value service keep the credentials they have,
        unless it is a token. After a refused login it tries again at once, and fires when a
        worker is connected.

        Args:
            authenticator: Of the same class as the one that it takes the place of, if workers
                are connected.

        Errors: The SDK's exceptions, if it or the server refuses them; then the old ones stay. If
        no worker is connected and the server cannot be reached, those of `on_connect`; then the
        new ones are tried from now on, since nobody has refused them.
        """
        if not isinstance(authenticator, Authenticator):
            # No repr: that of an authenticator shows the password.
            raise InvalidArgumentException(
                "the authenticator must be one of couchbase.auth, "
                f"not an object of the class {type(authenticator).__name__}"
            )
        return self._pool.set_authenticator(self._session, copy.deepcopy(authenticator))

    # -- work in processes ----------------------------------------------------------------

    def run_in_worker(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> Deferred[T]:
        """Call a function with the SDK's connected `Cluster` in a job worker.

        That cluster is another one than this facade: it blocks, its operations are outside the
        order of operations on a key, and it has the SDK's default transcoder. All else is as
        `WorkerPool.run` says, which does the same without a cluster.

        Args:
            function: Called with the SDK's `couchbase.cluster.Cluster`, the arguments and the
                keyword arguments; a worker has to be able to import it by its name.
            args: Its further arguments, which are pickled.
            timeout: From the call to the answer (seconds or timedelta), None for no limit.
            kwargs: Its keyword arguments, which are pickled.

        Raises:
            InvalidArgumentException: The function, an argument or the timeout cannot be used.

        Errors: Those of `WorkerPool.run`, and the SDK's exception if no job worker can be
        connected.
        """
        return self._pool.run_job("run_in_worker", self._session, function, args, kwargs, timeout)

    @property
    def transactions(self) -> Transactions:
        """Functions of the application that change several documents, or none."""
        return Transactions(self._pool, self._session)

    @property
    def _row_place(self) -> RowPlace:
        return RowPlace(self._pool, self._session.keyspace, self._settings, ClusterRequestBuilder())

    # -- management -----------------------------------------------------------------------

    def buckets(self) -> BucketManager:
        """Manages the buckets of the cluster."""
        return BucketManager(self._caller)

    def users(self) -> UserManager:
        """Manages the users and groups of the cluster."""
        return UserManager(self._caller)

    def query_indexes(self) -> QueryIndexManager:
        """Manages the indexes of the query service."""
        return QueryIndexManager(self._caller)

    def analytics_indexes(self) -> AnalyticsIndexManager:
        """Manages dataverses, datasets, indexes and links of the analytics service."""
        return AnalyticsIndexManager(self._caller)

    def search_indexes(self) -> SearchIndexManager:
        """Manages the search indexes of the cluster."""
        return SearchIndexManager(self._caller)

    def eventing_functions(self) -> EventingFunctionManager:
        """Manages the eventing functions of the cluster."""
        return EventingFunctionManager(self._caller)

    @property
    def _caller(self) -> Caller:
        return Caller(self._pool, self._session.keyspace, self._settings.management_timeout)


class TxCluster(TxDeferredClientMixin, TxRawCluster):
    """A `TxRawCluster` whose collections' methods return Deferreds."""

    def bucket(self, bucket_name: str) -> TxBucket:
        """A bucket of this cluster; it is opened in the background."""
        return TxBucket(self, bucket_name)


@inlineCallbacks
def _when_connected(cluster: C) -> Generator[Deferred[Any], Any, C]:
    try:
        yield cluster.on_connect()
    except Exception:
        # Whatever it was, nobody holds the cluster to close it.
        yield cluster.close()
        raise
    return cluster


Cluster = TxCluster
