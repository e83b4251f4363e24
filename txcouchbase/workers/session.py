"""`ClusterSession` and `BucketSession`: the clusters and buckets that a pool's workers connect to.

Each (worker, cluster) and each (worker, bucket) has a state of its own, so that one server's
fault stops neither other clusters nor a worker. A new worker gets all of it replayed.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import (
    Deferred,
    DeferredList,
    DeferredLock,
    inlineCallbacks,
    succeed,
)

from txcouchbase.amp.commands import (
    CloseBucket,
    CloseCluster,
    OpenBucket,
    OpenCluster,
    SetAuthenticator,
)
from txcouchbase.amp.errors import decode_error
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers.keyspace import Keyspace
from txcouchbase.workers.operation import check_name
from txcouchbase.workers.target import DEFINITE, Target, TargetOwner

if TYPE_CHECKING:
    from couchbase.auth import Authenticator
    from twisted.python.failure import Failure

    from txcouchbase.amp.wire import ClusterSettings
    from txcouchbase.workers.lane import Lane

__all__ = ["BucketSession", "ClusterSession", "Session"]

_numbers = itertools.count(1)


def _it_has_ended(_: Failure) -> None:
    """There is nothing to disconnect in a worker that is no more."""


class Session(Target):
    """What all workers are to be connected to; as it is, nothing: every ready worker will do.

    Attributes:
        id: Its number on the pipe.
        keyspace: The whole of it.
        buckets: Its open buckets, by name.
        closing_buckets: Those that were closed, until their operations have ended.
    """

    id = 0

    def __init__(self, owner: TargetOwner) -> None:
        super().__init__(owner)
        self.buckets: dict[str, BucketSession] = {}
        self.closing_buckets: list[BucketSession] = []
        self.keyspace = Keyspace(self, self)

    def order_number(self, bucket: str, scope: str, collection: str) -> int:
        """The number under which the keys of a keyspace are ordered."""
        return 0

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        return succeed({"error": b""})

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        return succeed(None)


class ClusterSession(Session):
    """One cluster, as one facade uses it.

    Args:
        owner: The group of workers.
        settings: How to connect to it.
        number: Its number on the pipe, the next one that is free if None.

    Attributes:
        settings: How to connect to it.
    """

    def __init__(
        self, owner: TargetOwner, settings: ClusterSettings, number: int | None = None
    ) -> None:
        self.id = next(_numbers) if number is None else number
        self.settings = settings
        self._credentials_lock = DeferredLock()
        super().__init__(owner)

    def order_number(self, bucket: str, scope: str, collection: str) -> int:
        """The number under which the keys of a keyspace are ordered."""
        return self._owner.order_number((self.settings.connstr, bucket, scope, collection))

    def bucket(self, name: str) -> BucketSession:
        """The session of a bucket; it starts to connect when it is new."""
        check_name(name)
        session = self.buckets.get(name)
        if session is None:
            session = self.buckets[name] = BucketSession(self._owner, self, name)
            session.closed, session.ended = self.closed, self.ended
            for lane in self.lanes:
                session.start_on(lane)
        return session

    def set_authenticator(self, authenticator: Authenticator) -> Deferred[None]:
        """Use other credentials, in all workers that are connected and in all that will be.

        Fires when all that are connected have them. If no worker is connected, it tries again at
        once and fires when one is. If they are refused, the old ones stay; a server that cannot
        be reached has refused nothing, so that the new ones stay for when it can be.
        """
        return self._credentials_lock.run(self._set_authenticator, authenticator)

    @inlineCallbacks
    def _set_authenticator(
        self, authenticator: Authenticator
    ) -> Generator[Deferred[Any], Any, None]:
        if self.closed:
            raise PoolClosed("the cluster is closed: make a new one")
        before = self.settings
        self.settings = replace(before, authenticator=authenticator)
        told: list[tuple[bool, Any]] = yield DeferredList(
            [self._tell_authenticator(lane) for lane in self.lanes], consumeErrors=True
        )
        for answered, response in told:
            # A worker that has ended has a successor, which connects with them.
            if answered and response["error"]:
                self.settings = before
                raise decode_error(response["error"])
        for target in (self, *self.buckets.values()):
            target.try_again()
        if not self.lanes:
            try:
                yield self.when_connected()
            except DEFINITE:
                self.settings = before
                raise

    def _tell_authenticator(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        authenticator = pickle.dumps(self.settings.authenticator)
        return lane.pipe.call(SetAuthenticator, cluster=self.id, authenticator=authenticator)

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        settings = self.settings
        opened = lane.pipe.call(OpenCluster, cluster=self.id, settings=pickle.dumps(settings))
        return opened.addCallback(self._opened, lane, settings)

    def _opened(
        self, response: dict[str, bytes], lane: Lane, settings: ClusterSettings
    ) -> dict[str, bytes] | Deferred[dict[str, bytes]]:
        if settings is self.settings or self.closed:
            return response
        # Other credentials were set on the way: what was refused may now be granted, what was
        # granted goes on with them.
        if response["error"]:
            return self._open(lane)
        current = self.settings
        return self._tell_authenticator(lane).addCallback(self._opened, lane, current)

    def _connected(self, lane: Lane) -> None:
        for bucket in self.buckets.values():
            bucket.start_on(lane)

    def _parts(self) -> list[Target]:
        return [self, *self.buckets.values()]

    def lane_lost(self, lane: Lane) -> None:
        """The worker of a lane has ended."""
        super().lane_lost(lane)
        for bucket in self.buckets.values():
            bucket.lane_lost(lane)

    def when_all_idle(self) -> Deferred[Any]:
        """Fires when neither it nor a bucket of it has an operation left."""
        targets = (self, *self.buckets.values(), *self.closing_buckets)
        return DeferredList([target.when_idle() for target in targets])

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        return lane.pipe.call(CloseCluster, cluster=self.id).addErrback(_it_has_ended)

    def close(self, error: Exception) -> None:
        """Take no more operations; fail those that wait for a connection."""
        super().close(error)
        for bucket in self.buckets.values():
            bucket.close(error)

    def end(self) -> None:
        """Its closing has ended, and with it that of its buckets."""
        for bucket in self.buckets.values():
            bucket.end()
        super().end()


class BucketSession(Target):
    """One bucket of a cluster."""

    def __init__(self, owner: TargetOwner, cluster: ClusterSession, name: str) -> None:
        super().__init__(owner)
        self.cluster = cluster
        self.name = name
        self._keyspaces: dict[tuple[str, str], Keyspace] = {}

    def keyspace(self, scope: str, collection: str) -> Keyspace:
        """The keyspace of a collection."""
        keyspace = self._keyspaces.get((scope, collection))
        if keyspace is None:
            keyspace = Keyspace(self, self.cluster, self.name, scope, collection)
            self._keyspaces[scope, collection] = keyspace
        return keyspace

    @property
    def last_refusal(self) -> Exception | None:
        """Why the last attempt has failed, at the cluster or at the bucket."""
        return self.cluster.last_refusal or super().last_refusal

    def ask(self) -> None:
        """Somebody needs the bucket: try again, at the cluster first if that is what lacks."""
        if self.cluster.lanes:
            super().ask()
        else:
            self.cluster.ask()

    def start_on(self, lane: Lane) -> None:
        """Open the bucket on a lane once its cluster is connected there."""
        if lane in self.cluster.lanes:
            super().start_on(lane)

    def _open(self, lane: Lane) -> Deferred[dict[str, bytes]]:
        return lane.pipe.call(OpenBucket, cluster=self.cluster.id, bucket=self.name)

    def _close_on(self, lane: Lane) -> Deferred[Any]:
        if self.name in self.cluster.buckets:
            return succeed(None)  # it was opened again, and is the same one for the worker
        closed = lane.pipe.call(CloseBucket, cluster=self.cluster.id, bucket=self.name)
        return closed.addErrback(_it_has_ended)
