"""What all connections to a node share, and the cluster map that it shows to clients. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from txcouchbase.testing.analytics.metadata import Analytics
from txcouchbase.testing.eventing.functions import EventingFunctions
from txcouchbase.testing.faults import Faults
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.kv.manifest import Manifest
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.management.accounts import Security
from txcouchbase.testing.query.indexes import QueryIndexes
from txcouchbase.testing.query.prepared import Statements
from txcouchbase.testing.record import Record
from txcouchbase.testing.scripts import Scripts
from txcouchbase.testing.search.indexes import SearchIndexes

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Session

__all__ = ["ClusterState"]

BUCKET_CAPABILITIES = [
    "collections",
    "durableWrite",
    "tombstonedUserXAttrs",
    "couchapi",
    "cbhello",
    "touch",
    "cccp",
    "nodesExt",
    "xattr",
    "preserveExpiry",
    "subdoc.DocumentMacroSupport",
    "subdoc.ReviveDocument",
]


CLUSTER_CAPABILITIES = {
    "n1ql": ["enhancedPreparedStatements", "readFromReplica"],
    "search": ["scopedSearchIndex", "vectorSearch"],
}


_STORED = ("buckets", "security", "query_indexes", "search_indexes", "analytics", "eventing")
"""The attributes that hold what is stored; snapshots are made of them."""


class ClusterState:
    """Accounts, buckets, indexes and services; and what tests want to see and to happen.

    :param username: the administrator.
    :param password: the administrator's password; it appears in no log line.
    :param buckets: names of the buckets.
    :param seconds: a clock: seconds since the epoch.
    """

    def __init__(
        self,
        username: str,
        password: str,
        buckets: Iterable[str],
        seconds: Callable[[], float],
    ) -> None:
        self.seconds = seconds
        self.security = Security(username, password)
        self.buckets = {name: Bucket(name) for name in buckets}
        self.query_indexes = QueryIndexes()
        self.statements = Statements()
        self.search_indexes = SearchIndexes()
        self.analytics = Analytics()
        self.eventing = EventingFunctions()
        self.record = Record(self._rewatch)
        self.faults = Faults(self._rewatch)
        self.scripts = Scripts()
        self.watched = False
        """Whether every key-value request must be looked at, for the record or for faults."""
        self.sessions: set[Session] = set()
        """The key-value connections."""
        self.uuid = uuid4().hex
        self.host = "127.0.0.1"
        self.services: dict[str, int] = {}
        """Ports by the names of the cluster map: ``kv``, ``mgmt``, ``n1ql``, ``fts``, ..."""
        self._epoch = 1
        self._revision = 1
        self._rendered: dict[str | None, bytes] = {}
        # The highest numbers of all buckets that were dropped, some of which may come back.
        self._dropped = Manifest()

    def serve(self, services: dict[str, int]) -> None:
        """Say which services there are from now on, by port."""
        # Clients ignore a map that is not newer than theirs, across restarts on one port too.
        self._epoch = max(self._epoch + 1, int(self.seconds()))
        self.services = dict(services)
        self.changed()

    def changed(self) -> None:
        """Give the next cluster map a higher revision."""
        self._revision += 1
        self._rendered.clear()

    # What has effects in more than one place.

    def create_bucket(self, name: str, settings: BucketSettings) -> Bucket:
        """Add a bucket; it opens at once.

        :raises ValueError: for a name that exists.
        """
        if name in self.buckets:
            raise ValueError(f"bucket {name!r} exists")
        bucket = self.buckets[name] = Bucket(name, settings)
        self.changed()
        return bucket

    def configure_bucket(self, name: str, settings: BucketSettings) -> None:
        """Set a bucket up anew.

        :raises LookupError: if it does not exist.
        """
        self.bucket(name).configure(settings)
        self.changed()

    def drop_bucket(self, name: str) -> None:
        """Take a bucket out, with all that depends on it.

        :raises LookupError: if it does not exist.
        """
        bucket = self.bucket(name)
        self._drop(bucket)
        del self.buckets[name]
        self.security.forget_bucket(name)
        self.query_indexes.forget(bucket.uuid)
        self.search_indexes.forget_bucket(name)
        self.changed()

    def drop_scope(self, bucket: str, scope: str) -> int:
        """Take a scope out, with all that depends on it.

        :returns: the new uid of the manifest.
        :raises LookupError: if it does not exist.
        :raises ValueError: for the default scope.
        """
        found = self.bucket(bucket)
        found.drop_collections(set(found.manifest.drop_scope(scope)))
        self.query_indexes.forget(found.uuid, scope)
        self.search_indexes.forget_scope(bucket, scope)
        self.changed()
        return found.manifest.uid

    def drop_collection(self, bucket: str, scope: str, collection: str) -> int:
        """Take a collection out, with all that depends on it.

        :returns: the new uid of the manifest.
        :raises LookupError: if it does not exist.
        """
        found = self.bucket(bucket)
        found.drop_collections({found.manifest.drop_collection(scope, collection)})
        self.query_indexes.forget(found.uuid, scope, collection)
        self.changed()
        return found.manifest.uid

    def create_scope(self, bucket: str, scope: str) -> int:
        """Add a scope.

        :returns: the new uid of the manifest.
        :raises LookupError: for an unknown bucket.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        uid = self.bucket(bucket).manifest.create_scope(scope)
        self.changed()
        return uid

    def create_collection(
        self,
        bucket: str,
        scope: str,
        collection: str,
        max_expiry: int = 0,
        history: bool | None = None,
    ) -> int:
        """Add a collection to a scope that exists.

        :param max_expiry: as `Manifest.create_collection` takes it.
        :param history: None for what the bucket says.
        :returns: the new uid of the manifest.
        :raises LookupError: for an unknown bucket or scope.
        :raises ValueError: for a name that exists, or that a server would not take.
        """
        found = self.bucket(bucket)
        if history is None:
            history = found.settings.magma and found.settings.history_default
        uid = found.manifest.create_collection(scope, collection, max_expiry, history)
        self.changed()
        return uid

    def update_collection(
        self,
        bucket: str,
        scope: str,
        collection: str,
        max_expiry: int | None = None,
        history: bool | None = None,
    ) -> int:
        """Change a collection; None leaves a property as it is.

        :returns: the new uid of the manifest.
        :raises LookupError: if it does not exist.
        """
        uid = self.bucket(bucket).manifest.update_collection(scope, collection, max_expiry, history)
        self.changed()
        return uid

    def bucket(self, name: str) -> Bucket:
        """A bucket by its name.

        :raises LookupError: if it does not exist.
        """
        found = self.buckets.get(name)
        if found is None:
            raise LookupError(f"no bucket {name!r}")
        return found

    # Snapshots.

    def stored(self) -> dict[str, Any]:
        """All that is stored, by the names of attributes; not a copy."""
        return {name: getattr(self, name) for name in _STORED}

    def restore(self, stored: dict[str, Any]) -> None:
        """Put what `stored` gave, or a copy of it, in the place of what is stored now."""
        buckets: dict[str, Bucket] = {}
        for name, bucket in stored["buckets"].items():
            present = self.buckets.get(name)
            if present is not None and present.uuid == bucket.uuid:
                # In place, since connections have it selected.
                present.restore(bucket)
                bucket = present
            buckets[name] = bucket
        for name, bucket in self.buckets.items():
            if buckets.get(name) is not bucket:
                self._drop(bucket)
        for name, bucket in buckets.items():
            if self.buckets.get(name) is not bucket:
                bucket.revive(self._dropped)
        for name in _STORED:
            setattr(self, name, stored[name])
        self.buckets = buckets
        self.changed()

    def config(self, bucket: Bucket | None) -> dict[str, object]:
        """The cluster map: of one bucket, or of the cluster alone."""
        node = {
            "services": self.services,
            "thisNode": True,
            "hostname": self.host,
            "serverGroup": "Group 1",
        }
        config: dict[str, object] = {
            "rev": self._revision,
            "revEpoch": self._epoch,
            "nodesExt": [node],
            "clusterCapabilitiesVer": [1, 0],
            "clusterCapabilities": CLUSTER_CAPABILITIES,
        }
        if bucket is not None:
            config |= {
                "name": bucket.name,
                "uuid": bucket.uuid,
                "uri": f"/pools/default/buckets/{bucket.name}",
                "streamingUri": f"/pools/default/bucketsStreaming/{bucket.name}",
                "bucketCapabilitiesVer": "",
                "bucketCapabilities": BUCKET_CAPABILITIES
                + ["nonDedupedHistory"] * bucket.settings.magma,
                "collectionsManifestUid": f"{bucket.manifest.uid:x}",
                "nodeLocator": "vbucket",
                "storageBackend": bucket.settings.storage,
                "nodes": [
                    {
                        "hostname": f"{self.host}:{self.services.get('mgmt', 0)}",
                        "ports": {"direct": self.services.get("kv", 0)},
                    }
                ],
                "vBucketServerMap": {
                    "hashAlgorithm": "CRC",
                    "numReplicas": bucket.settings.replicas,
                    "serverList": [f"{self.host}:{self.services.get('kv', 0)}"],
                    # There is one node: replicas have none.
                    "vBucketMap": [[0, *[-1] * bucket.settings.replicas]] * bucket.vbuckets,
                },
            }
        return config

    def config_bytes(self, bucket: Bucket | None) -> bytes:
        """`config` as JSON; kept until something changes, since clients ask again and again."""
        name = None if bucket is None else bucket.name
        rendered = self._rendered.get(name)
        if rendered is None:
            rendered = json.dumps(self.config(bucket), separators=(",", ":")).encode()
            self._rendered[name] = rendered
        return rendered

    def _drop(self, bucket: Bucket) -> None:
        bucket.drop()
        self._dropped.outgrow(bucket.manifest)

    def _rewatch(self) -> None:
        watched = self.record.on or self.faults.concern("kv")
        if watched != self.watched:
            self.watched = watched
            for session in self.sessions:
                session.choose_find()
