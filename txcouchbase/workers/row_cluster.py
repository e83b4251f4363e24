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

__all__ = ["RowCluster"]


class RowCluster:
    """The connection for rows. Its methods block: they are for threads.

    Args:
        connect: Makes it.
        authenticator: The credentials.

    Attributes:
        cluster: The SDK's cluster, None before the first query.
    """

    def __init__(self, connect: Callable[[Any], Cluster], authenticator: Authenticator) -> None:
        self.cluster: Cluster | None = None
        self._connect = connect
        self._authenticator: Any = authenticator
        self._lock = Lock()

    def get(self) -> Cluster:
        """The cluster, connected now if it was not.

        Raises:
            CouchbaseException: As the SDK's constructor.
        """
        with self._lock:
            if self.cluster is None:
                self.cluster = self._connect(self._authenticator)
            return self.cluster

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
        """Disconnect."""
        with self._lock:
            if self.cluster is not None:
                self.cluster.close()
