"""What all connections to all nodes share. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from txcouchbase.testing.analytics.metadata import Analytics
from txcouchbase.testing.clustermap import bucket_map, cluster_map
from txcouchbase.testing.eventing.functions import EventingFunctions
from txcouchbase.testing.faults import Faults
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.kv.manifest import Manifest
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.management.accounts import Security
from txcouchbase.testing.query.indexes import QueryIndexes
from txcouchbase.testing.query.prepared import Statements
from txcouchbase.testing.query.transactions import Transactions
from txcouchbase.testing.record import Record
from txcouchbase.testing.scripts import Scripts
from txcouchbase.testing.search.indexes import SearchIndexes
from txcouchbase.testing.topology import Copies, Topology, check_replicas

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Session
    from txcouchbase.testing.views.evaluation import MapFunction

__all__ = ["ClusterState"]

_STORED = ("buckets", "security", "query_indexes", "search_indexes", "analytics", "eventing")
"""The attributes that hold what is stored; snapshots are made of them."""


class ClusterState:
    """Accounts, buckets, indexes and services; and what tests want to see and to happen.

    :param username: the administrator.
    :param password: the administrator's password; it appears in no log line.
    :param buckets: names of the buckets.
    :param seconds: a clock: seconds since the epoch.
    :param nodes: how many nodes there are.
    :param replicas: how many copies these buckets have beside the active one.
    :param server_groups: how many groups the nodes take turns in.
    :raises ValueError: for numbers that a cluster cannot have.
    """

    def __init__(
        self,
        username: str,
        password: str,
        buckets: Iterable[str],
        seconds: Callable[[], float],
        *,
        nodes: int = 1,
        replicas: int = 0,
        server_groups: int = 1,
    ) -> None:
        self.seconds = seconds
        self.topology = Topology(nodes, server_groups)
        check_replicas(replicas)
        self.security = Security(username, password)
        settings = BucketSettings(replicas=replicas)
        self.buckets = {name: Bucket(name, replace(settings)) for name in buckets}
        self.query_indexes = QueryIndexes()
        self.statements = Statements()
        self.transactions = Transactions()
        self.search_indexes = SearchIndexes()
        self.analytics = Analytics()
        self.eventing = EventingFunctions()
        self.record = Record(self._rewatch)
        self.faults = Faults(self._rewatch)
        self.scripts = Scripts()
        self.map_functions: dict[tuple[str, str, str], MapFunction] = {}
        """What stands for the map functions of views: by bucket, design document and view."""
        self.watched = False
        """Whether every key-value request must be looked at, for the record or for faults."""
        self.sessions: set[Session] = set()
        """The key-value connections."""
        self.uuid = uuid4().hex
        self.host = "127.0.0.1"
        self._epoch = 1
        self._revision = 1
        self._rendered: dict[tuple[str | None, int], bytes] = {}
        # The highest numbers of all buckets that were dropped, some of which may come back.
        self._dropped = Manifest()
        for bucket in self.buckets.values():
            self._spread(bucket)

    @property
    def services(self) -> dict[str, int]:
        """The ports of the first node, by the names of the cluster map."""
        return self.topology.members[0].services

    def serve(self, services: dict[str, int], node: int = 0) -> None:
        """Say that a node runs, and which services it has from now on.

        :param services: ports by the names of the cluster map: ``kv``, ``mgmt``, ``n1ql``, ...
        :param node: its number.
        """
        # Clients ignore a map that is not newer than theirs, across restarts on one port too.
        self._epoch = max(self._epoch + 1, int(self.seconds()))
        member = self.topology.member(node)
        member.services = dict(services)
        self.changed()
        self.resumed(node)

    def stopped(self, node: int) -> None:
        """Say that a node does not answer any more; the cluster map stays as it is.

        :raises LookupError: for one that is not in the cluster.
        """
        self.topology.member(node).running = False

    def resumed(self, node: int) -> None:
        """Say that a node answers again; what waited for that goes on.

        :raises LookupError: for one that is not in the cluster.
        """
        self.topology.member(node).running = True
        self._wake()

    def join(self, services: dict[str, int]) -> int:
        """Take a new node in, and spread all vBuckets anew.

        :param services: as `serve` takes them.
        :returns: its number.
        """
        member = self.topology.add(dict(services))
        for bucket in self.buckets.values():
            self._spread(bucket)
        self._moved()
        return member.number

    def fail_over(self, node: int) -> None:
        """Take a node out of the cluster; replicas take the place of its active vBuckets.

        Documents of vBuckets without another copy are lost.

        :raises LookupError: for one that is not in the cluster.
        :raises ValueError: for the last one.
        """
        member = self.topology.member(node)
        if len(self.topology.members) == 1:
            raise ValueError("the last node cannot be failed over")
        member.failed_over = True
        for bucket in self.buckets.values():
            before = bucket.copies.active_on(node)
            bucket.copies = Copies(
                [self.topology.after(chain, node) for chain in bucket.copies.chains]
            )
            bucket.take_over(before)
        self._moved()

    def _moved(self) -> None:
        self.changed()
        self._look_again()
        self._wake()

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
        self._spread(bucket)
        self.changed()
        return bucket

    def configure_bucket(self, name: str, settings: BucketSettings) -> None:
        """Set a bucket up anew.

        :raises LookupError: if it does not exist.
        """
        bucket = self.bucket(name)
        bucket.configure(settings)
        self._fit(bucket)
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
                self._spread(bucket)
            else:
                self._fit(bucket)
        for name in _STORED:
            setattr(self, name, stored[name])
        self.buckets = buckets
        self.changed()

    def config(self, bucket: Bucket | None, node: int = 0) -> dict[str, Any]:
        """The cluster map: of one bucket, or of the cluster alone.

        :param node: the number of the node that tells it.
        """
        members = self.topology.members
        shown = cluster_map(members, self.host, node, self._epoch, self._revision)
        return shown if bucket is None else shown | bucket_map(bucket, members, self.host)

    def config_bytes(self, bucket: Bucket | None, node: int = 0) -> bytes:
        """`config` as JSON; kept until something changes, since clients ask again and again."""
        name = None if bucket is None else bucket.name
        rendered = self._rendered.get((name, node))
        if rendered is None:
            rendered = json.dumps(self.config(bucket, node), separators=(",", ":")).encode()
            self._rendered[name, node] = rendered
        return rendered

    def _spread(self, bucket: Bucket) -> None:
        bucket.copies = Copies(self.topology.spread(bucket.vbuckets, bucket.settings.replicas))

    def _fit(self, bucket: Bucket) -> None:
        """Give a bucket the chains that its number of replicas asks for, if they are others."""
        if len(bucket.copies.chains[0]) != bucket.settings.replicas + 1:
            self._spread(bucket)
            self._look_again()

    def _drop(self, bucket: Bucket) -> None:
        bucket.drop()
        self._dropped.outgrow(bucket.manifest)

    def _rewatch(self) -> None:
        watched = self.record.on or self.faults.concern("kv")
        if watched != self.watched:
            self.watched = watched
            self._look_again()

    def _look_again(self) -> None:
        for session in self.sessions:
            session.choose_find()

    def _wake(self) -> None:
        for session in list(self.sessions):
            session.wake()
