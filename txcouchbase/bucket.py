"""`TxBucket` and `TxRawBucket`: a bucket of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.logic.bucket_req_builder import BucketRequestBuilder
from couchbase.result import PingResult
from twisted.internet.defer import Deferred

from txcouchbase.calls import Caller
from txcouchbase.client import (
    REQUIRED,
    TxDeferredClientMixin,
    TxRawClientMixin,
    require_parent,
)
from txcouchbase.collection import TxCollection, TxRawCollection
from txcouchbase.diagnostics import ping
from txcouchbase.management.collections import CollectionManager
from txcouchbase.management.views import ViewIndexManager
from txcouchbase.row_methods import RowPlace, ViewMethods
from txcouchbase.scope import TxRawScope, TxScope

if TYPE_CHECKING:
    from couchbase.options import PingOptions

    from txcouchbase.cluster import TxRawCluster

__all__ = ["Bucket", "TxBucket", "TxRawBucket"]


class TxRawBucket(ViewMethods, TxRawClientMixin):
    """A bucket. Operations may be called before it is open; they wait for it.

    Args:
        cluster: The cluster.
        name: The name of the bucket.
        quiet: See `TxRawClientMixin`; the cluster's if None.

    Raises:
        InvalidArgumentException: It is not a cluster and a name: a connection string, for example.
    """

    def __init__(
        self,
        cluster: TxRawCluster = REQUIRED,
        name: str = REQUIRED,
        *,
        quiet: bool | None = None,
        **kwargs: Any,
    ) -> None:
        require_parent("bucket", cluster, name, kwargs)
        self._cluster = cluster
        self._name = name
        self._pool = cluster._pool
        self._settings = cluster._settings
        self.quiet = cluster.quiet if quiet is None else quiet
        self._session = self._target = cluster._session.bucket(name)

    @property
    def name(self) -> str:
        """The name of the bucket."""
        return self._name

    def default_scope(self) -> TxRawScope:
        """The default scope."""
        return self.scope(TxRawScope.default_name())

    def scope(self, name: str) -> TxRawScope:
        """A scope of this bucket."""
        return TxRawScope(self, name)

    def collection(self, collection_name: str) -> TxRawCollection:
        """A collection of the default scope."""
        return self.default_scope().collection(collection_name)

    def default_collection(self) -> TxRawCollection:
        """The default collection."""
        return self.collection(TxRawCollection.default_name())

    def ping(self, *opts: PingOptions, **kwargs: Any) -> Deferred[PingResult]:
        """Ping the services of the cluster, and this bucket on the key-value service.

        Options: `service_types`, `report_id`, `timeout` (a `timedelta`; default
        `management_timeout`, 75 seconds).
        """
        return ping(self._caller, opts, kwargs)

    def collections(self) -> CollectionManager:
        """Manages the scopes and collections of the bucket."""
        return CollectionManager(self._caller, self._name)

    def view_indexes(self) -> ViewIndexManager:
        """Manages the design documents of the bucket."""
        return ViewIndexManager(self._caller, self._name)

    @property
    def _row_place(self) -> RowPlace:
        keyspace = self._session.keyspace("", "")
        return RowPlace(self._pool, keyspace, self._settings, BucketRequestBuilder(self._name))

    @property
    def _caller(self) -> Caller:
        keyspace = self._session.keyspace("", "")
        return Caller(self._pool, keyspace, self._settings.management_timeout)

    def close(self) -> Deferred[None]:
        """Close the bucket in all workers. Idempotent."""
        return self._pool.close_bucket(self._session)


class TxBucket(TxDeferredClientMixin, TxRawBucket):
    """A `TxRawBucket` whose collections' methods return Deferreds."""

    def default_scope(self) -> TxScope:
        """The default scope."""
        return self.scope(TxScope.default_name())

    def scope(self, name: str) -> TxScope:
        """A scope of this bucket."""
        return TxScope(self, name)

    def collection(self, collection_name: str) -> TxCollection:
        """A collection of the default scope."""
        return self.default_scope().collection(collection_name)

    def default_collection(self) -> TxCollection:
        """The default collection."""
        return self.collection(TxCollection.default_name())


Bucket = TxBucket
