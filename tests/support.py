"""What the tests that talk to a server share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from txcouchbase.cluster import TxBucket, TxCluster
from txcouchbase.collection import TxCollection
from txcouchbase.testing import EmbeddedNode, RecordedRequest
from txcouchbase.workers import PoolConfig, WorkerPool

SLOW = bool(os.environ.get("SLOW_TESTS"))
"""Whether tests run that are part of ``make test-slow`` alone."""

ONE = PoolConfig(min_workers=1, max_workers=1)
TWO = PoolConfig(min_workers=2, max_workers=2)

LONG = timedelta(seconds=50)
"""A deadline for what must not fail for its time: also a worker that has to start first meets it,
on a machine that is busy. Less than a test may take."""

Test = TypeVar("Test", bound=Callable[..., Any])


def slow(test: Test) -> Test | None:
    """Make a test part of ``make test-slow`` alone: one case more of what others test, too."""
    return test if SLOW else None


def until(condition: Any) -> Deferred[None]:
    """Fires when the condition holds; the test's own timeout ends a wait in vain."""
    met: Deferred[None] = Deferred()

    def look() -> None:
        if condition():
            loop.stop()
            met.callback(None)

    loop = LoopingCall(look)
    loop.start(0.005).addErrback(met.errback)
    return met


def gone(pid: int) -> bool:
    """Whether the process is no more, and was reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def posted(record: Iterable[RecordedRequest], service: str) -> list[RecordedRequest]:
    """The requests to a service that ask for something; workers look for endpoints with others."""
    return [
        request
        for request in record
        if request.service == service and request.operation.startswith("POST ")
    ]


class ServerTestCase(TestCase):
    """A test with a server: the embedded node, or the one of ``COUCHBASE_CONNSTR``.

    Attributes:
        node: The embedded node, None where a real server is used.
        connstr: Where the server is.
        bucket_name: A bucket of it.
    """

    timeout = 60
    node: EmbeddedNode | None = None

    @inlineCallbacks
    def setUp(self) -> Any:
        """Start the node, unless a real server is to be used."""
        self.connstr = os.environ.get("COUCHBASE_CONNSTR", "")
        self.username = os.environ.get("COUCHBASE_USERNAME", "Administrator")
        self.password = os.environ.get("COUCHBASE_PASSWORD", "password")
        self.bucket_name = os.environ.get("COUCHBASE_BUCKET", "default")
        self._prefix = uuid.uuid4().hex[:8]
        if not self.connstr:
            self.node = EmbeddedNode(reactor=reactor)
            yield self.node.start()
            self.addCleanup(self.node.stop)
            self.connstr = self.node.connstr

    def key(self, name: str) -> str:
        """A key that no other test uses."""
        return f"{self._prefix}-{name}"

    def options(self, **options: Any) -> ClusterOptions:
        """The SDK's options with the credentials of the server."""
        return ClusterOptions(PasswordAuthenticator(self.username, self.password), **options)

    def cluster(
        self,
        pool: PoolConfig | WorkerPool | None = None,
        connstr: str | None = None,
        **options: Any,
    ) -> TxCluster:
        """A cluster that is closed after the test; by default it has one worker."""
        cluster = TxCluster(
            connstr or self.connstr,
            self.options(**options),
            pool=pool if pool is not None else ONE,
        )
        self.addCleanup(cluster.close)
        return cluster

    def bucket(self, pool: PoolConfig | WorkerPool | None = None) -> TxBucket:
        """The bucket, with a cluster of its own."""
        return self.cluster(pool).bucket(self.bucket_name)

    def collection(self, pool: PoolConfig | WorkerPool | None = None) -> TxCollection:
        """The default collection, with a cluster of its own."""
        return self.bucket(pool).default_collection()
