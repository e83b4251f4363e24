"""`RowCluster`: a connection of the SDK for rows alone.

The SDK parses a whole answer in the one I/O thread of a connection: with a million rows no other
answer comes through for seconds. More I/O threads would cost key-value operations up to a third
of their speed. So queries have a connection of their own, made at the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from couchbase.auth import Authenticator
from couchbase.cluster import Cluster
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from txcouchbase.workers.scan_cluster import ScanCluster
from txcouchbase.workers.side_cluster import SideCluster

__all__ = ["RowCluster"]


class RowCluster(SideCluster):
    """The connection for rows. Its methods block: they are for threads, but for `when_connected`.

    Args:
        connect: Makes it.
        authenticator: The credentials.
        threads: The pool of threads for what blocks.
        scan_threads: The same for scans.

    Attributes:
        scans: The connection for scans, whose rows are those of documents.
    """

    def __init__(
        self,
        connect: Callable[[Any], Cluster],
        authenticator: Authenticator,
        threads: Any,
        scan_threads: Any,
    ) -> None:
        super().__init__(connect, authenticator, threads)
        self.scans = ScanCluster(connect, authenticator, scan_threads)
        self._waiting: list[Deferred[Cluster]] = []

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
        """Use other credentials, for scans too.

        Raises:
            CouchbaseException: As the SDK's `Cluster.set_authenticator`.
        """
        super().set_authenticator(authenticator)
        self.scans.set_authenticator(authenticator)

    def close(self) -> None:
        """Disconnect, also for scans; does not wait for a connection that is still being made."""
        super().close()
        self.scans.close()
