"""`SideCluster`: a connection of the SDK beside that for key-value operations."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from couchbase.auth import Authenticator
from couchbase.cluster import Cluster
from couchbase.exceptions import RequestCanceledException

__all__ = ["SideCluster"]


class SideCluster:
    """A connection that is made when it is first needed. Its methods block: they are for threads.

    Args:
        connect: Makes it.
        authenticator: The credentials.
        threads: The pool of threads for what blocks.

    Attributes:
        cluster: The SDK's cluster, None before it is needed.
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

    def get(self) -> Cluster:
        """The cluster, connected now if it was not.

        Raises:
            CouchbaseException: As the SDK's constructor.
            RequestCanceledException: It was closed meanwhile.
        """
        with self._lock:
            return self._connected_cluster()

    def _connected_cluster(self) -> Cluster:
        """As `get`; for who holds the lock."""
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
