"""A pool that grows, shrinks, is resized and recycles its workers, with real processes."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from couchbase.management.buckets import CreateBucketSettings
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from tests import jobfunctions
from tests.support import LONG, ServerTestCase, gone, until
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import PoolClosed
from txcouchbase.testing import Fault
from txcouchbase.workers import PoolConfig, WorkerPool, WorkerState
from txcouchbase.workers.events import (
    EndCause,
    PoolEvent,
    PoolResized,
    WorkerDraining,
    WorkerEnded,
    WorkerReady,
    WorkerStarted,
)


class Load:
    """So many clients, each with one operation after another on a key of its own."""

    def __init__(self, collection: TxCollection, clients: int, key: str) -> None:
        self.done = 0
        self.failures: list[Failure] = []
        self._stopped = False
        self._clients = gatherResults(
            [self._client(collection, f"{key}-{number}") for number in range(clients)]
        )

    @inlineCallbacks
    def _client(self, collection: TxCollection, key: str) -> Any:
        written = 0
        while not self._stopped:
            try:
                written += 1
                yield collection.upsert(key, written, timeout=LONG)
                result = yield collection.get(key, timeout=LONG)
                assert result.value == written, (key, result.value, written)
            except Exception:
                self.failures.append(Failure())
            self.done += 1

    def stop(self) -> Deferred[Any]:
        """Fires when all clients have ended."""
        self._stopped = True
        return self._clients


class SizeTestCase(ServerTestCase):
    def pool(self, **settings: Any) -> WorkerPool:
        """A pool that looks at its workers often; its events are in `events`."""
        settings = {"heartbeat_interval": 0.05, "heartbeat_timeout": 20, **settings}
        pool = WorkerPool(PoolConfig(**settings))
        self.addCleanup(pool.close)
        self.events: list[PoolEvent] = []
        pool.add_observer(self.events.append)
        return pool

    def of(self, kind: type[PoolEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def ready(self, pool: WorkerPool) -> list[int]:
        return [w.pid for w in pool.workers if w.state is WorkerState.READY and w.pid is not None]

    def assert_unharmed(self, pool: WorkerPool, load: Load) -> None:
        self.assertEqual([failure.getErrorMessage() for failure in load.failures], [])
        self.assertGreater(load.done, 0)
        self.assertEqual((pool._pending, pool._pending_bytes, pool._keys), (0, 0, {}))


class ResizeTests(SizeTestCase):
    @inlineCallbacks
    def test_more_and_fewer_under_load(self) -> Any:
        pool = self.pool(min_workers=1, max_workers=1)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        load = Load(collection, 30, self.key("load"))
        pool.resize(3, 3)
        yield until(lambda: len(collection._keyspace.target.lanes) == 3)
        before = self.ready(pool)
        pool.resize(1, 2)
        yield until(lambda: len(pool.workers) == 2)
        pool.resize(1, 1)
        yield until(lambda: len(pool.workers) == 1)
        self.assertEqual(sum(gone(pid) for pid in before), 2)
        yield load.stop()
        self.assert_unharmed(pool, load)
        sizes = [
            (event.min_workers, event.max_workers, event.wanted) for event in self.of(PoolResized)
        ]
        self.assertEqual(sizes, [(3, 3, 3), (1, 2, 2), (1, 1, 1)])
        self.assertEqual([event.cause for event in self.of(WorkerDraining)], [EndCause.RESIZED] * 2)
        self.assertEqual(
            [(event.cause, event.exit_code) for event in self.of(WorkerEnded)],
            [(EndCause.RESIZED, 0)] * 2,
        )
        self.assertEqual((pool.config.min_workers, pool.config.max_workers), (1, 1))

    @inlineCallbacks
    def test_before_the_start_and_while_starting(self) -> Any:
        pool = self.pool()
        pool.resize(1, 1)
        cluster = self.cluster(pool)
        yield until(lambda: self.of(WorkerStarted))
        pool.resize(2, 2)
        pool.resize(1, 1)
        yield cluster.wait_until_ready(timedelta(seconds=30))
        self.assertEqual(len(self.ready(pool)), 1)
        yield until(lambda: len(pool.workers) == 1)

    @inlineCallbacks
    def test_numbers_that_cannot_be_used(self) -> Any:
        pool = self.pool()
        for numbers in ((0, 1), (3, 2), (1.5, 2), (True, 2), ("1", 2)):
            self.assertRaises(ValueError, pool.resize, *numbers)
        self.assertEqual((pool.config.min_workers, pool.config.max_workers), (2, 2))
        yield pool.close()
        self.assertRaises(PoolClosed, pool.resize, 1, 1)


class GrowthTests(SizeTestCase):
    @inlineCallbacks
    def test_it_grows_under_load_and_shrinks_when_idle(self) -> Any:
        pool = self.pool(min_workers=1, max_workers=2, idle_timeout=1.5, batch_max_ops=8)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        load = Load(collection, 300, self.key("load"))
        yield until(lambda: len(collection._keyspace.target.lanes) == 2)
        yield load.stop()
        self.assert_unharmed(pool, load)
        yield until(lambda: len(pool.workers) == 1)
        self.assertEqual([event.cause for event in self.of(WorkerEnded)], [EndCause.IDLE])
        self.assertEqual([event.wanted for event in self.of(PoolResized)], [2, 1])
        yield collection.get(self.key("k"))

    @inlineCallbacks
    def test_a_slow_server_is_no_reason_to_grow(self) -> Any:
        if self.node is None:
            raise SkipTest("needs faults of the node")
        pool = self.pool(min_workers=1, max_workers=2)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        self.node.faults.add(Fault("kv", operation="^(GET|SET)$", delay=0.5))
        load = Load(collection, 50, self.key("load"))
        yield until(lambda: load.done >= 50)
        yield load.stop()
        self.assertEqual(self.of(PoolResized), [])


class RecyclingTests(SizeTestCase):
    @inlineCallbacks
    def recycled(self, cause: EndCause, **settings: Any) -> Any:
        pool = self.pool(min_workers=2, max_workers=2, **settings)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        target = collection._keyspace.target
        yield until(lambda: len(target.lanes) == 2)
        first = set(self.ready(pool))
        connected: list[int] = []
        counts: list[int] = []
        pool.add_observer(lambda _: connected.append(len(target.lanes)))
        pool.add_observer(lambda _: counts.append(len(pool.workers)))
        load = Load(collection, 20, self.key("load"))
        yield until(lambda: not first & set(self.ready(pool)))
        yield load.stop()
        self.assert_unharmed(pool, load)
        self.assertGreaterEqual(min(connected), 2, "the replacement was there before")
        self.assertLessEqual(max(counts), 3, "one at a time")
        self.assertLessEqual({event.cause for event in self.of(WorkerEnded)}, {cause})
        self.assertLessEqual({event.exit_code for event in self.of(WorkerEnded)}, {0})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_after_operations(self) -> Any:
        return self.recycled(EndCause.RECYCLED_OPS, recycle_after_ops=300)

    def test_after_age(self) -> Any:
        return self.recycled(EndCause.RECYCLED_AGE, recycle_after_age=1.0)

    @inlineCallbacks
    def test_after_memory(self) -> Any:
        # More than a job worker needs when it is new, less than with what this job keeps.
        pool = self.pool(job_workers=1, recycle_after_rss=200 * 2**20)
        first = yield pool.run(jobfunctions.keep, 150 * 2**20)
        yield until(lambda: self.of(WorkerEnded))
        (ended,) = self.of(WorkerEnded)
        self.assertEqual((ended.pid, ended.cause), (first, EndCause.RECYCLED_RSS))
        self.assertTrue(ended.jobs)
        second = yield pool.run(jobfunctions.pid)
        self.assertEqual([event.pid for event in self.of(WorkerReady)], [first, second])

    @inlineCallbacks
    def test_what_is_in_flight_ends_and_its_key_waits_for_it(self) -> Any:
        if self.node is None:
            raise SkipTest("needs locks that a test can take away")
        pool = self.pool(min_workers=1, max_workers=1, drain_timeout=0.1, recycle_after_age=0.5)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        slow, other = self.key("slow"), self.key("other")
        yield collection.upsert(other, 0)
        (old,) = self.ready(pool)
        # The SDK tries again while it is locked.
        self.node.put(slow, 0)
        self.node.lock(slow, 30)
        ended: list[str] = []
        writing = collection.upsert(slow, 1, timeout=LONG)
        writing.addCallback(lambda _: ended.append("slow"))
        yield until(lambda: self.of(WorkerDraining))
        yield collection.get(other)
        ended.append("other")
        waiting = [collection.get(slow, timeout=LONG), collection.upsert(slow, 2, timeout=LONG)]
        waiting[0].addCallback(lambda result: ended.append(f"read {result.value}"))
        waiting[1].addCallback(lambda _: ended.append("written again"))
        self.assertFalse(gone(old))
        self.node.remove(slow)
        yield gatherResults([writing, *waiting])
        self.assertEqual(ended, ["other", "slow", "read 1", "written again"])
        yield until(lambda: gone(old))
        self.assertEqual(pool._keys, {})
        self.assertEqual(pool._waiting, {})

    @inlineCallbacks
    def test_a_bucket_that_is_no_more_keeps_no_worker(self) -> Any:
        if self.node is None:
            raise SkipTest("needs a bucket of its own")
        pool = self.pool(min_workers=1, max_workers=1)
        cluster = self.cluster(pool)
        yield cluster.buckets().create_bucket(CreateBucketSettings(name="short", ram_quota_mb=100))
        yield cluster.bucket("short").on_connect()
        yield cluster.buckets().drop_bucket("short")
        yield cluster.bucket(self.bucket_name).on_connect()
        (lane,) = pool.ready_lanes()
        pool._supervisor._carry_out(
            pool._supervisor._brain.worn_out(lane.generation, EndCause.RECYCLED_AGE)
        )
        yield until(lambda: self.of(WorkerEnded))
        yield cluster.bucket(self.bucket_name).ping()

    @inlineCallbacks
    def test_what_nobody_waits_for_holds_nobody_up(self) -> Any:
        if self.node is None:
            raise SkipTest("needs faults of the node")
        pool = self.pool(min_workers=1, max_workers=1, drain_timeout=0.3, recycle_after_age=0.5)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 0)
        self.node.faults.add(Fault("kv", operation="^GET$", effect="silence"))
        forgotten = collection.get(self.key("k"), timeout=LONG)
        yield until(lambda: collection._keyspace.target.lanes[0]._in_flight)
        forgotten.cancel()
        self.failureResultOf(forgotten, CancelledError)
        yield until(lambda: self.of(WorkerEnded))
        self.assertIs(self.of(WorkerEnded)[0].cause, EndCause.RECYCLED_AGE)

    @inlineCallbacks
    def test_a_stream_that_is_read_slowly_is_read_to_its_end(self) -> Any:
        pool = self.pool(min_workers=1, max_workers=1, recycle_after_age=0.5)
        cluster = self.cluster(pool)
        yield cluster.on_connect()
        rows = cluster.query_stream("SELECT RAW n FROM ARRAY_RANGE(0, 100000) AS n")
        first = yield Deferred.fromCoroutine(rows.__anext__())
        yield until(lambda: self.of(WorkerDraining))
        rest = yield Deferred.fromCoroutine(_read(rows))
        self.assertEqual((first, len(rest)), (0, 99_999))
        yield until(lambda: self.of(WorkerEnded))
        self.assertEqual(self.of(WorkerEnded)[0].exit_code, 0)


async def _read(rows: Any) -> list[Any]:
    return [row async for row in rows]


class ObserverTests(SizeTestCase):
    @inlineCallbacks
    def test_one_that_resizes(self) -> Any:
        pool = self.pool(min_workers=1, max_workers=1)
        cluster = self.cluster(pool)
        yield cluster.on_connect()

        def resize(event: PoolEvent) -> None:
            if isinstance(event, PoolResized) and event.wanted == 3:
                pool.resize(2, 2)

        pool.add_observer(resize)
        pool.resize(3, 3)
        yield until(lambda: len(self.ready(pool)) == 2 == len(pool.workers))
        self.assertEqual(pool.config.max_workers, 2)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_cannot_be_called(self) -> None:
        pool = self.pool()
        self.assertRaises(TypeError, pool.add_observer, None)
        self.assertRaises(ValueError, pool.remove_observer, print)

    @inlineCallbacks
    def test_what_an_observer_sees(self) -> Any:
        pool = self.pool(min_workers=1, max_workers=1)
        unused: list[PoolEvent] = []
        pool.add_observer(unused.append)
        pool.remove_observer(unused.append)

        def faulty(event: PoolEvent) -> None:
            raise RuntimeError(f"cannot use {event}")

        pool.add_observer(faulty)
        cluster = self.cluster(pool)
        yield cluster.on_connect()
        (pid,) = self.ready(pool)
        os.kill(pid, 11)
        yield until(lambda: len(self.of(WorkerReady)) == 2)
        yield pool.close()
        self.assertEqual(
            [type(event) for event in self.events],
            [WorkerStarted, WorkerReady, WorkerEnded, WorkerStarted, WorkerReady, WorkerEnded],
        )
        crash, close = self.of(WorkerEnded)
        self.assertEqual((crash.pid, crash.cause, crash.signal), (pid, EndCause.CRASHED, 11))
        self.assertEqual((close.cause, close.exit_code), (EndCause.CLOSED, 0))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 6)
        self.assertEqual(unused, [])
