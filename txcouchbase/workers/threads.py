"""`ClusterThreads`: a worker's threads for what blocks, some for each cluster alone.

What waits for a server that does not answer holds its thread for as long as its time is. With
threads in common a few such calls would hold up those of all other clusters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

__all__ = ["ClusterThreads"]


class ClusterThreads:
    """The threads of a worker, by cluster. None is started before it is needed.

    Args:
        reactor: The worker's reactor.
        size: How many a cluster may have, and its scans.
    """

    def __init__(self, reactor: Any, size: int) -> None:
        self._reactor = reactor
        self._size = size
        self._pools: dict[tuple[int, str], ThreadPool] = {}

    def of(self, cluster: int) -> ThreadPool:
        """The threads of a cluster."""
        return self._pool(cluster, "calls")

    def of_scans(self, cluster: int) -> ThreadPool:
        """Those of its scans, which wait for a silent server as long as they may, also when nobody
        wants them any more, and are to hold up nothing else of their cluster."""
        return self._pool(cluster, "scans")

    def _pool(self, cluster: int, purpose: str) -> ThreadPool:
        pool = self._pools.get((cluster, purpose))
        if pool is None:
            pool = ThreadPool(0, self._size, f"{purpose} of cluster {cluster}")
            self._pools[cluster, purpose] = pool
            pool.start()
        return pool

    def run(self, cluster: int, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call a function in a thread of a cluster."""
        return deferToThreadPool(self._reactor, self.of(cluster), function, *args)

    def release(self, cluster: int) -> None:
        """The cluster is closed: let its threads end when they are done. Waits for none."""
        for name in [name for name in self._pools if name[0] == cluster]:
            self._pools.pop(name).adjustPoolsize(0, 0)
