"""`ScanCluster`: a connection of the SDK for scans alone.

While a scan starts, the binding asks the server for the number of the collection, and waits for
the answer without letting go of the interpreter. An I/O thread that needs the interpreter before
it comes to that answer, for the callback of another operation, would wait for ever. So nothing
else happens on the connection of a scan that starts. And since the whole process waits, a scan
starts only when all nodes have just given a sign of life.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.auth import Authenticator
from couchbase.bucket import Bucket
from couchbase.cluster import Cluster
from couchbase.diagnostics import PingState, ServiceType
from couchbase.exceptions import RequestCanceledException
from couchbase.kv_range_scan import RangeScanRequest
from couchbase.options import PingOptions
from couchbase.transcoder import RawBinaryTranscoder

from txcouchbase.amp import wire
from txcouchbase.amp.errors import timeout_error
from txcouchbase.workers.side_cluster import SideCluster

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task

__all__ = ["ScanCluster"]

_LONGEST_PING = 2.5
"""How long a sign of life may take before the server is asked again (seconds)."""

_NEXT_PING = 0.05
"""How long after a node was not there the server is asked again (seconds)."""

_CLOSE_AFTER = 5.0
"""How long a close waits for scans that start (seconds)."""

_UNUSED = RawBinaryTranscoder()
"""The application decodes; the SDK wants to have a transcoder all the same."""


def _described(endpoint: Any) -> str:
    # Of a node that the SDK has no connection to it says the address only in the error.
    known = endpoint.remote and not endpoint.remote.startswith("0.0.0.0")
    return f"{endpoint.remote if known else 'a node'} ({endpoint.error or endpoint.state.value})"


class ScanCluster(SideCluster):
    """The connection for scans."""

    def __init__(
        self, connect: Callable[[Any], Cluster], authenticator: Authenticator, threads: Any
    ) -> None:
        super().__init__(connect, authenticator, threads)
        self._buckets: dict[str, Bucket] = {}
        self._silent: dict[str, str] = {}

    def start(self, task: Task, is_wanted: Callable[[], bool]) -> RangeScanRequest:
        """Start a scan, connecting and opening its bucket before that if need be.

        Args:
            task: The operation.
            is_wanted: Whether anybody still waits for it.

        Returns:
            The SDK's request, which was sent.

        Raises:
            CouchbaseException: As the SDK's `Collection.scan` and its iteration.
            UnAmbiguousTimeoutException: There was no connection in time.
            RequestCanceledException: It is not wanted any more, or the cluster was closed.
        """
        while True:
            self._take_turn(task, is_wanted)
            try:
                bucket = self._opened(task.place.bucket)
                if self._all_alive(bucket, task):
                    self._check(task, is_wanted)
                    return self._send(task)
            finally:
                self._lock.release()
            time.sleep(_NEXT_PING)

    def _take_turn(self, task: Task, is_wanted: Callable[[], bool]) -> None:
        """Acquire the lock."""
        self._check(task, is_wanted)
        while not self._lock.acquire(timeout=_LONGEST_PING):
            self._check(task, is_wanted)

    def _opened(self, name: str) -> Bucket:
        cluster = self._connected_cluster()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = cluster.bucket(name)
        return bucket

    def _all_alive(self, bucket: Bucket, task: Task) -> bool:
        """Whether all nodes with documents give a sign of life."""
        longest = timedelta(seconds=_LONGEST_PING)
        remaining = task.remaining()
        if remaining:
            longest = min(longest, timedelta(milliseconds=remaining))
        service = ServiceType.KeyValue
        pings = bucket.ping(PingOptions(service_types=[service], timeout=longest))
        endpoints: dict[Any, Any] = pings.endpoints
        found = endpoints.get(service, [])
        silent = [_described(endpoint) for endpoint in found if endpoint.state != PingState.OK]
        if found and not silent:
            self._silent.pop(task.place.bucket, None)
            return True
        self._silent[task.place.bucket] = ", ".join(silent) or "all of them"
        return False

    def _send(self, task: Task) -> RangeScanRequest:
        cluster, place = self._connected_cluster(), task.place
        assert task.value is not None
        arguments: dict[str, Any] = wire.decode(task.value)
        remaining = task.remaining()
        if remaining:
            arguments["orchestrator_options"]["timeout"] = remaining
        request = RangeScanRequest(
            cluster._impl.connection,
            transcoder=_UNUSED,
            bucket=place.bucket,
            scope=place.scope,
            collection_name=place.collection,
            **arguments,
        )
        iter(request)  # sends it
        return request

    def _check(self, task: Task, is_wanted: Callable[[], bool]) -> None:
        if self._closed or not is_wanted():
            raise RequestCanceledException("the scan is not wanted any more")
        if task.is_over():
            raise timeout_error(f"scan timed out before it was sent: {self._lacking(task)}")

    def _lacking(self, task: Task) -> str:
        silent = self._silent.get(task.place.bucket)
        if silent is None:
            return "no connection for it so far"
        return (
            "it needs an answer of every node that has vBuckets of the bucket "
            f"{task.place.bucket}; at the last try these did not answer: {silent}"
        )

    def close_bucket(self, name: str) -> None:
        """Close a bucket, if it is open here. It stays open until the end where that would keep
        the caller waiting."""
        if self._lock.acquire(timeout=_CLOSE_AFTER):
            try:
                bucket = self._buckets.pop(name, None)
                if bucket is not None:
                    bucket.close()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Disconnect; does not wait for a connection that is still being made."""
        with self._closed_lock:
            self._closed = True
        if self.cluster is not None:
            # Not while a scan starts, which then ends soon.
            turn = self._lock.acquire(timeout=_CLOSE_AFTER)
            self.cluster.close()
            if turn:
                self._lock.release()
