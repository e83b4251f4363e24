"""`RowCluster`: a connection of the SDK for rows alone.

The SDK parses a whole answer in the one I/O thread of a connection: with a million rows no other
answer comes through for seconds. More I/O threads would cost key-value operations up to a third
of their speed. So queries have a connection of their own, made at the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from couchbase.auth import Authenticator
from couchbase.cluster import Cluster
from couchbase.exceptions import RequestCanceledException
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

__all__ = ["RowCluster"]


class RowCluster:
    """The connection for rows. Its methods block: they are for threads, but for `when_connected`.

    Args:
        connect: Makes it.
        authenticator: The credentials.
        threads: The pool of threads for what blocks.

    Attributes:
        cluster: The SDK's cluster, None before the first query.
        threads: The pool of threads for what blocks.
    """

    def __init__(
        self, connect: Callable[[Any], Cluster], authenticator: Authenticator, threads: Any
    ) -> None:
        self.cluster: Cluster | None = None
        self.threads = threads
        self._connect = connect
        self._authenticator: Any = authenticator
        self._lock = Lock()
        self._closed = False
        self._closed_lock = Lock()
        self._waiting: list[Deferred[Cluster]] = []

    def get(self) -> Cluster:
        """The cluster, connected now if it was not.

        Raises:
            CouchbaseException: As the SDK's constructor.
            RequestCanceledException: It was closed meanwhile.
        """
        with self._lock:
            if self.cluster is None:
                self._keep(self._connect(self._authenticator))
            assert self.cluster is not None
            return self.cluster

    def _keep(self, cluster: Cluster) -> None:
        with self._closed_lock:
            if not self._closed:
                self.cluster = cluster
                return
        cluster.close()
        raise RequestCanceledException("the cluster was closed")

    def when_connected(self, reactor: Any) -> Deferred[Cluster]:
        """In the reactor's thread: fires with the cluster, connected now if it was not.

        However many wait, one thread connects.
        """
        waiter: Deferred[Cluster] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            deferToThreadPool(reactor, self.threads, self.get).addBoth(self._connected)
        return waiter

    def _connected(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def set_authenticator(self, authenticator: Any) -> None:
        """Use other credentials.

        Raises:
            CouchbaseException: As the SDK's `Cluster.set_authenticator`.
        """
        with self._lock:
            if self.cluster is not None:
                self.cluster.set_authenticator(authenticator)
            self._authenticator = authenticator

    def close(self) -> None:
        """Disconnect; does not wait for a connection that is still being made."""
        with self._closed_lock:
            self._closed = True
        if self.cluster is not None:
            self.cluster.close()
