"""What the tests share that close a pool."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.python.failure import Failure

from tests.applications import Application
from tests.leftovers import delayed_calls, descriptors
from tests.support import ServerTestCase, gone, until
from txcouchbase.collection import TxCollection
from txcouchbase.workers import PoolConfig, WorkerPool
from txcouchbase.workers.events import PoolEvent, WorkerStarted

__all__ = ["CloseTestCase"]


class CloseTestCase(ServerTestCase):
    """Counts what is there before a pool is made, and looks whether it is all that is left."""

    @inlineCallbacks
    def setUp(self) -> Any:
        """Start the node; make the process have what it keeps once it has spawned another."""
        yield super().setUp()
        self.fired: list[Any] = []
        self.expected = 0
        self.pids: set[int] = set()
        spawned: Deferred[Any] = Deferred()
        ender = Application({})
        ender.ended = spawned
        reactor.spawnProcess(ender, "/bin/true", ["true"], env={})  # type: ignore[attr-defined]
        ender.workers.addErrback(lambda _: None)
        yield spawned
        self.descriptors, self.delayed_calls = len(descriptors()), len(delayed_calls(reactor))

    def pool(self, workers: int = 1, most: int | None = None, **fields: Any) -> WorkerPool:
        """A pool that ends quickly, whose workers are known."""
        fields = {"drain_timeout": 0.2, "kill_timeout": 0.2, "job_workers": 1, **fields}
        pool = WorkerPool(PoolConfig(min_workers=workers, max_workers=most or workers, **fields))
        self.addCleanup(pool.close)
        pool.add_observer(self.note)
        return pool

    def note(self, event: PoolEvent) -> None:
        """Remember which processes there were."""
        if isinstance(event, WorkerStarted) and event.pid is not None:
            self.pids.add(event.pid)

    def watch(self, deferred: Deferred[Any]) -> None:
        """Expect that it fires; a second time would be an error by itself."""
        self.expected += 1
        deferred.addBoth(self.fired.append)

    def errors(self) -> list[type[BaseException]]:
        """With what those that are watched have failed."""
        return [each.type for each in self.fired if isinstance(each, Failure)]

    @inlineCallbacks
    def assert_ends(self, *closings: Deferred[Any]) -> Any:
        """What closes ends, all that is watched has fired by then, and nothing is left."""
        yield gatherResults(closings)
        self.assertEqual(len(self.fired), self.expected)
        self.assertTrue(self.pids)
        self.assertFalse([pid for pid in self.pids if not gone(pid)])
        yield until(lambda: len(descriptors()) <= self.descriptors)
        # That of the wait itself is one more.
        yield until(lambda: len(delayed_calls(reactor)) <= self.delayed_calls + 1)

    def worker(self, pool: WorkerPool) -> int:
        """The process id of the pool's only worker."""
        (view,) = pool.workers
        assert view.pid is not None
        return view.pid

    @inlineCallbacks
    def stopped(self, pool: WorkerPool, **options: Any) -> Any:
        """A collection whose only worker is connected, and was stopped."""
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        os.kill(self.worker(pool), signal.SIGSTOP)
        return collection

    def upserts(self, collection: TxCollection, count: int, **options: Any) -> None:
        """Operations that are watched, each on a key of its own."""
        for number in range(count):
            self.watch(collection.upsert(self.key(str(number)), number, **options))
