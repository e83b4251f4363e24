"""`TxBucket`: a bucket of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from couchbase.result import PingResult
from twisted.internet.defer import Deferred

from txcouchbase.client import TxRawClientMixin, ping
from txcouchbase.collection import TxCollection
from txcouchbase.scope import TxScope

if TYPE_CHECKING:
    from couchbase.options import PingOptions

    from txcouchbase.cluster import TxCluster

__all__ = ["Bucket", "TxBucket"]


class TxBucket(TxRawClientMixin):
    """A bucket. Operations may be called before it is open; they wait for it.

    Args:
        cluster: The cluster, as `TxCluster.bucket` does.
        name: The name of the bucket.
    """

    def __init__(self, cluster: TxCluster, name: str) -> None:
        if isinstance(cluster, str):
            raise InvalidArgumentException(
                "a bucket is made by its cluster, or as (cluster, name), "
                "not from a connection string"
            )
        self._cluster = cluster
        self._name = name
        self._session = self._target = cluster._session.bucket(name)

    @property
    def name(self) -> str:
        """The name of the bucket."""
        return self._name

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

    def ping(self, *opts: PingOptions, **kwargs: Any) -> Deferred[PingResult]:
        """Ping the services of the cluster, and this bucket on the key-value service.

        Options: `service_types`, `report_id`, `timeout` (a `timedelta`; default
        `management_timeout`, 75 seconds).
        """
        keyspace = self._session.keyspace("", "")
        return ping(self._cluster.pool, keyspace, *self._cluster._ping_options(opts, kwargs))

    def close(self) -> Deferred[None]:
        """Close the bucket in all workers. Idempotent."""
        return self._cluster.pool.close_bucket(self._session)


Bucket = TxBucket
