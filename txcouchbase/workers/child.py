"""`Worker`: the worker's end of the pipe."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ampoule.child import AMPChild
from twisted.internet.defer import Deferred, maybeDeferred
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
    Stop,
)
from txcouchbase.amp.errors import encode_error
from txcouchbase.amp.framing import BATCH, KIND, payload_of
from txcouchbase.workers.executor import Executor
from txcouchbase.workers.raw_client import RawClient
from txcouchbase.workers.sync_client import SyncClient

__all__ = ["Worker"]

_log = Logger()

_Responder = TypeVar("_Responder", bound=Callable[..., Any])


def guarded(responder: _Responder) -> _Responder:
    """Answer with what went wrong: AMP closes the pipe on an exception that it does not know."""

    @wraps(responder)
    def call(self: Worker, **arguments: Any) -> Deferred[dict[str, bytes]]:
        answer = maybeDeferred(responder, self, **arguments)
        answer.addCallbacks(
            lambda result: {"error": b"", **(result or {})},
            lambda failure: {"error": encode_error(failure.value)},
        )
        return answer

    return call  # type: ignore[return-value]


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
        self._executor: Executor | None = None
        self._clusters: dict[int, SyncClient] = {}
        self._raw = False

    def ampBoxReceived(self, box: Mapping[bytes, bytes]) -> None:
        """One box from the pool: our own go to the executor, the others to AMP."""
        kind = box.get(KIND)
        if kind is None:
            super().ampBoxReceived(box)
        elif kind == BATCH and self._executor is not None:
            self._executor.batch_received(payload_of(box))
        else:
            _log.critical("unknown box {kind}", kind=kind)
            self.transport.loseConnection()

    @Configure.responder
    def configure(self, settings: bytes) -> dict[str, bytes]:
        """Take the pool's settings and tell about this process."""
        try:
            return {"about": self._configure(wire.decode(settings)), "error": b""}
        except Exception as error:  # whatever it is, the application has to hear of it
            return {"about": b"", "error": encode_error(error)}

    def _configure(self, settings: dict[str, Any]) -> bytes:
        self._reactor.suggestThreadPoolSize(settings["threads"])
        self._raw = settings["client"] == "raw"
        if self._raw:
            mismatch = RawClient.mismatch()
            if mismatch:
                _log.warn(
                    "the SDK's binding is not as expected ({mismatch}): key-value operations "
                    "go through its public API, which is slower",
                    mismatch=mismatch,
                )
                self._raw = False
        self._executor = Executor(self._reactor, self._send)
        return wire.encode(
            {
                "client": "raw" if self._raw else "sync",
                "origin": str(Path(txcouchbase.__file__ or "").resolve().parent.parent),
                "version": txcouchbase.__version__,
                "sdk": importlib.metadata.version("couchbase"),
            }
        )

    def _send(self, box: bytes) -> None:
        self.transport.write(box)

    @OpenCluster.responder
    @guarded
    def open_cluster(self, cluster: int, settings: bytes) -> Deferred[None]:
        """Connect to a cluster, in a thread."""
        assert self._executor is not None
        executor = self._executor
        opened: Deferred[SyncClient] = self._in_thread(SyncClient.connect, settings)

        def connected(client: SyncClient) -> None:
            self._clusters[cluster] = client
            raw = RawClient(client.cluster) if self._raw else None
            executor.add_cluster(cluster, client, raw)

        return opened.addCallback(connected)

    @CloseCluster.responder
    @guarded
    def close_cluster(self, cluster: int) -> Deferred[None] | None:
        """Disconnect from a cluster, in a thread."""
        client = self._clusters.pop(cluster, None)
        if client is None:
            return None
        assert self._executor is not None
        self._executor.remove_cluster(cluster)
        return self._in_thread(client.close)

    @OpenBucket.responder
    @guarded
    def open_bucket(self, cluster: int, bucket: str) -> Deferred[None]:
        """Open a bucket, in a thread."""
        return self._in_thread(self._clusters[cluster].open_bucket, bucket)

    @CloseBucket.responder
    @guarded
    def close_bucket(self, cluster: int, bucket: str) -> Deferred[None] | None:
        """Close a bucket, in a thread."""
        client = self._clusters.get(cluster)
        return self._in_thread(client.close_bucket, bucket) if client is not None else None

    @Heartbeat.responder
    def heartbeat(self) -> dict[str, Any]:
        """Give a sign of life."""
        return {}

    @Stop.responder
    def stop(self) -> Deferred[dict[str, Any]]:
        """Disconnect from everything and end."""
        self.shutdown = True

        def close_all() -> None:
            for client in self._clusters.values():
                client.close()

        def closed(result: Failure | None) -> dict[str, Any]:
            if isinstance(result, Failure):
                _log.failure("closing went wrong", result)
            self._reactor.callLater(0, self.transport.loseConnection)
            return {}

        return self._in_thread(close_all).addBoth(closed)

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, function, *args)
