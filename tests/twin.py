"""Our cluster and the SDK's own, side by side on one server."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from couchbase.cluster import Cluster
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.support import ONE, ServerTestCase, gone
from txcouchbase.collection import TxCollection
from txcouchbase.testing import EmbeddedNode
from txcouchbase.workers import PoolConfig

__all__ = ["NodeTwinTestCase", "TwinTestCase", "outcome"]


reactor: Any = installed

AS_LONG = 4.0
"""By how much one of them may take longer than the other (seconds): for workers that have to do
something for the first time, and for a machine that is busy."""


@inlineCallbacks
def outcome(calling: Deferred[Any]) -> Generator[Deferred[Any], Any, tuple[Any, float]]:
    """What becomes of a call, and how long that takes (seconds): ``"ok"``, the name of the
    exception's class, or of a multi operation both by key."""
    begun = reactor.seconds()
    try:
        result = yield calling
    except Exception as error:
        kind: Any = type(error).__name__
    else:
        kind = "ok"
        if hasattr(result, "exceptions"):
            failed = {key: type(error).__name__ for key, error in result.exceptions.items()}
            kind = {**dict.fromkeys(result.results, "ok"), **failed}
    return kind, reactor.seconds() - begun


class TwinTestCase(ServerTestCase):
    """A test that compares.

    Attributes:
        ours: Our cluster.
        collection: A collection of it.
        theirs: The SDK's cluster.
        their_collection: The same collection.
    """

    collection: TxCollection
    theirs: Any
    their_collection: Any

    @inlineCallbacks
    def connect(self, config: PoolConfig = ONE, **options: Any) -> Any:
        """Connect both."""
        self.ours = self.cluster(config, **options)
        self.collection = self.ours.bucket(self.bucket_name).default_collection()
        self.theirs = yield deferToThread(Cluster, self.connstr, self.options(**options))
        self.addCleanup(deferToThread, self.theirs.close)
        bucket = yield deferToThread(self.theirs.bucket, self.bucket_name)
        self.their_collection = bucket.default_collection()
        key = self.key("warm")
        yield self.both(lambda collection: collection.upsert(key, 1))
        yield self.ours.pool.when_connected(self.ours._session, config.min_workers)
        self._pids = [worker.pid for worker in self.ours.pool.workers]

    def both(self, call: Callable[[Any], Any], query: bool = False) -> Deferred[list[Any]]:
        """What becomes of a call on both collections, or with `query` clusters: theirs, ours."""
        ours: Any = self.ours if query else self.collection
        theirs: Any = self.theirs if query else self.their_collection
        blocking = partial(call, theirs)
        if query:
            blocking = partial(_all_rows, blocking)
        return gatherResults([outcome(deferToThread(blocking)), outcome(call(ours))])

    @inlineCallbacks
    def same(self, call: Callable[[Any], Any], *expected: Any, query: bool = False) -> Any:
        """A call ends in the same way and after about the same time with both.

        Args:
            call: Given a collection, or a cluster.
            expected: Outcomes that may be; if there are several, each may have another of them.
            query: Whether the call is one of a cluster, with rows.
        """
        (their_kind, their_time), (our_kind, our_time) = yield self.both(call, query)
        self.assertIn(their_kind, expected)
        self.assertIn(our_kind, expected)
        self.assertLess(abs(our_time - their_time), AS_LONG)

    def assert_same_workers(self) -> None:
        """No worker has been replaced since they were connected."""
        workers = self.ours.pool.workers
        self.assertEqual([worker.pid for worker in workers], self._pids)
        self.assertEqual([worker.state.value for worker in workers], ["ready"] * len(workers))
        self.assertFalse([pid for pid in self._pids if pid is None or gone(pid)])


class NodeTwinTestCase(TwinTestCase):
    """One for which the node has to do what a real server cannot be told to do."""

    node: EmbeddedNode

    def setUp(self) -> Any:
        """Start the node; without it the test is skipped."""
        ready = super().setUp()
        if self.node is None:
            self.skipTest("needs the embedded node")
        return ready


def _all_rows(query: Callable[[], Any]) -> list[Any]:
    return list(query())
