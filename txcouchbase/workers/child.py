"""`Worker`: the worker's end of the pipe."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

from ampoule.child import AMPChild
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.amp import wire
from txcouchbase.amp.commands import (
    CloseBucket,
    CloseCluster,
    Configure,
    Heartbeat,
    OpenBucket,
    OpenCluster,
    SetAuthenticator,
    Stop,
)
from txcouchbase.amp.errors import encode_error
from txcouchbase.amp.framing import BATCH, CREDIT, KIND, LOG, encode_box, payload_of
from txcouchbase.workers import sdk_rows
from txcouchbase.workers.executor import Executor
from txcouchbase.workers.http_rows import http_rows
from txcouchbase.workers.job_runner import JobRunner
from txcouchbase.workers.memory import resident_bytes
from txcouchbase.workers.outlet import Outlet
from txcouchbase.workers.raw_client import RawClient
from txcouchbase.workers.rows import OpenSource, RowStreams
from txcouchbase.workers.sdk_log import SdkLog
from txcouchbase.workers.sdk_scans import open_source
from txcouchbase.workers.sync_client import SyncClient
from txcouchbase.workers.threads import ClusterThreads

__all__ = ["Worker"]

_log = Logger()

_Responder = TypeVar("_Responder", bound=Callable[..., Any])
_Result = TypeVar("_Result")


_NEXT_LOOK = 0.01
"""How often a worker that is to end looks whether its answers have been read (seconds)."""

_CANNOT_ANSWER = 70
"""The exit status of a worker that cannot send answers any more."""


def guarded(responder: _Responder) -> _Responder:
    """Answer with what went wrong: AMP closes the pipe on an exception that it does not know."""

    @wraps(responder)
    def call(self: Worker, **arguments: Any) -> Deferred[dict[str, bytes]]:
        answer = maybeDeferred(responder, self, **arguments)
        answer.addCallbacks(
            lambda result: {"error": b"", **(result or {})},
            lambda failure: {"error": _described(failure.value)},
        )
        return answer

    return call  # type: ignore[return-value]


def _described(error: BaseException) -> bytes:
    try:
        return encode_error(error)
    except Exception:  # its own __str__ may raise
        return encode_error(RuntimeError(f"a {type(error).__name__} that cannot be shown"))


def _log_failed_close(failure: Failure) -> None:
    _log.failure("closing went wrong", failure)


class Worker(AMPChild):
    """Opens clusters and runs operations for the application's pool.

    Args:
        reactor: The worker's reactor.
    """

    transport: Any
    shutdown: Any

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._outlet: Outlet | None = None
        self._executor: Executor | None = None
        self._streams: RowStreams | None = None
        self._clusters: dict[int, SyncClient] = {}
        self._bucket_locks: dict[int, dict[str, DeferredLock]] = {}
        self._threads: ClusterThreads
        self._raw = False
        self._jobs = False
        self._http_rows = False

    def ampBoxReceived(self, box: Mapping[bytes, bytes]) -> None:
        """One box from the pool: our own go to the executor, the others to AMP."""
        kind = box.get(KIND)
        if kind is None:
            super().ampBoxReceived(box)
        elif kind == BATCH and self._executor is not None:
            self._executor.batch_received(payload_of(box))
        elif kind == CREDIT and self._streams is not None:
            self._streams.paid(*wire.decode(payload_of(box)))
        else:
            _log.critical("unknown box {kind}", kind=kind)
            self.transport.loseConnection()

    @Configure.responder
    def configure(self, settings: bytes) -> dict[str, bytes]:
        """Take the pool's settings and tell about this process."""
        try:
            return {"about": self._configure(wire.decode(settings)), "error": b""}
        except Exception as error:  # whatever it is, the application has to hear of it
            return {"about": b"", "error": _described(error)}

    def _configure(self, settings: dict[str, Any]) -> bytes:
        self._threads = ClusterThreads(self._reactor, settings["threads"])
        self._raw = settings["client"] == "raw"
        if self._raw:
            mismatch = RawClient.mismatch() or sdk_rows.mismatch()
            if mismatch:
                _log.warn(
                    "the SDK's binding is not as expected ({mismatch}): operations go through "
                    "its public API, which is slower",
                    mismatch=mismatch,
                )
                self._raw = False
        self._outlet = Outlet(self.transport)
        end = partial(os._exit, _CANNOT_ANSWER)
        self._executor = Executor(self._reactor, self._outlet, end)
        self._streams = RowStreams(self._reactor, self._outlet)
        SdkLog(self._reactor, self._send_log).install()
        self._jobs = settings["jobs"]
        self._http_rows = settings["rows"] == "http"
        if self._jobs:
            self._executor.add_cluster(0, JobRunner(), None)
        return wire.encode(
            {
                "client": "raw" if self._raw else "sync",
                "origin": str(Path(txcouchbase.__file__ or "").resolve().parent.parent),
                "version": txcouchbase.__version__,
                "rss": resident_bytes(),
                "sdk": importlib.metadata.version("couchbase"),
            }
        )

    def _send_log(self, lines: list[tuple[int, str]]) -> None:
        # Not to `transport`, which AMP forgets when the pipe is closed.
        assert self._outlet is not None
        self._outlet.write(encode_box(LOG, wire.encode(lines)))

    @OpenCluster.responder
    @guarded
    def open_cluster(self, cluster: int, settings: bytes) -> Deferred[None]:
        """Connect to a cluster, in a thread."""
        assert self._executor is not None and self._streams is not None
        executor, streams = self._executor, self._streams
        threads = self._threads.of(cluster)
        opened: Deferred[SyncClient] = self._threads.run(
            cluster, SyncClient.connect, settings, threads, self._threads.of_scans(cluster)
        )

        def connected(client: SyncClient) -> None:
            previous = self._clusters.get(cluster)
            if previous is not None:
                # It was connected with credentials that were replaced before anybody used it.
                previous.services.close()
                self._threads.run(cluster, previous.close).addErrback(_log_failed_close)
            self._clusters[cluster] = client
            if self._jobs:
                executor.add_cluster(cluster, JobRunner(cluster, client.cluster), None)
            else:
                raw = RawClient(client.cluster) if self._raw else None
                rows = sdk_rows.CallbackRows if self._raw else sdk_rows.ThreadRows
                source: OpenSource = partial(open_source, rows, client.rows, self._reactor)
                if self._http_rows:
                    source = partial(http_rows, client.services, source, self._reactor)
                start_rows = partial(streams.start, source)
                executor.add_cluster(cluster, client, raw, start_rows, threads)

        def refused(failure: Failure) -> Failure:
            if cluster not in self._clusters:
                self._threads.release(cluster)  # another attempt makes its own
            return failure

        return opened.addCallbacks(connected, refused)

    @SetAuthenticator.responder
    @guarded
    def set_authenticator(self, cluster: int, authenticator: bytes) -> Deferred[None]:
        """Use other credentials, in a thread."""
        return self._threads.run(cluster, self._clusters[cluster].set_authenticator, authenticator)

    @CloseCluster.responder
    @guarded
    def close_cluster(self, cluster: int) -> Deferred[None] | None:
        """Disconnect from a cluster, in a thread."""
        client = self._clusters.pop(cluster, None)
        self._bucket_locks.pop(cluster, None)
        if client is None:
            return None
        assert self._executor is not None and self._streams is not None
        self._executor.remove_cluster(cluster)
        self._streams.close_cluster(cluster)
        client.services.close()
        closed = self._threads.run(cluster, client.close)
        return closed.addBoth(self._release_threads, cluster)

    def _release_threads(self, result: _Result, cluster: int) -> _Result:
        self._threads.release(cluster)
        return result

    @OpenBucket.responder
    @guarded
    def open_bucket(self, cluster: int, bucket: str) -> Deferred[None]:
        """Open a bucket, in a thread."""
        return self._one_by_one(cluster, bucket, self._clusters[cluster].open_bucket)

    @CloseBucket.responder
    @guarded
    def close_bucket(self, cluster: int, bucket: str) -> Deferred[None] | None:
        """Close a bucket, in a thread."""
        client = self._clusters.get(cluster)
        if client is None:
            return None

        def close(name: str) -> None:
            client.close_bucket(name)
            client.rows.scans.close_bucket(name)

        return self._one_by_one(cluster, bucket, close)

    def _one_by_one(
        self, cluster: int, bucket: str, function: Callable[[str], None]
    ) -> Deferred[None]:
        """In a thread: open or close a bucket, in the order in which that was asked for."""
        locks = self._bucket_locks.setdefault(cluster, {})
        lock = locks.setdefault(bucket, DeferredLock())
        return lock.run(self._threads.run, cluster, function, bucket)

    @Heartbeat.responder
    def heartbeat(self) -> dict[str, Any]:
        """Give a sign of life."""
        return {"rss": resident_bytes()}

    @Stop.responder
    def stop(self) -> Deferred[dict[str, Any]]:
        """Disconnect from everything and end."""
        self.shutdown = True

        def close_all() -> None:
            for client in self._clusters.values():
                client.close()

        def closed(result: Failure | None) -> dict[str, Any]:
            if isinstance(result, Failure):
                _log_failed_close(result)
            self._reactor.callLater(0, self._leave)
            return {}

        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, close_all).addBoth(closed)

    def _leave(self) -> None:
        """Close the pipe, after all answers."""
        if self._executor is not None and self._executor.has_unsent:
            self._reactor.callLater(_NEXT_LOOK, self._leave)
        else:
            (self._outlet or self.transport).loseConnection()
