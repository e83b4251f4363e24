"""`pool.stats()`: its histograms, and whether its figures agree with what happened."""

from __future__ import annotations

import json
import math
import os
import signal
from datetime import timedelta
from typing import Any

from couchbase.exceptions import DocumentNotFoundException, UnAmbiguousTimeoutException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, DeferredList, gatherResults, inlineCallbacks
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests import jobfunctions
from tests.support import LONG, ONE, ServerTestCase, until
from txcouchbase.exceptions import PoolOverloaded, WorkerLost
from txcouchbase.workers import PoolConfig, PoolStats, WorkerPool, WorkerState
from txcouchbase.workers.events import EndCause
from txcouchbase.workers.histogram import Histogram, Sizes, Times

# A machine that is busy is slow to make examples.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
seconds = st.floats(min_value=0.0, max_value=1e9)
sizes = st.integers(min_value=1, max_value=10**6)


class HistogramTests(SynchronousTestCase):
    def check(self, histogram: Histogram, values: list[float], least: float) -> None:
        """What holds for every histogram; `least` is the bound of the first bucket."""
        self.assertEqual(histogram.count, len(values))
        self.assertEqual(sum(histogram.counts), len(values))
        self.assertEqual(len(histogram.counts), len(histogram.bounds))
        for lower, upper in zip(histogram.bounds, histogram.bounds[1:], strict=False):
            self.assertEqual(upper, 2 * lower)
        if not values:
            self.assertEqual((histogram.counts, histogram.mean), ((), 0.0))
            return
        self.assertEqual(histogram.bounds[0], least)
        self.assertNotEqual(histogram.counts[-1], 0)
        self.assertTrue(math.isclose(histogram.mean, sum(values) / len(values), rel_tol=1e-9))
        ordered = sorted(values)
        for q in (0.0, 0.25, 0.5, 0.99, 1.0):
            true = ordered[max(0, math.ceil(q * len(values)) - 1)]
            found = histogram.quantile(q)
            self.assertLessEqual(true, found * (1 + 1e-9))
            self.assertTrue(found == least or found <= 2 * true * (1 + 1e-9), (q, true, found))

    @unhurried
    @given(st.lists(seconds))
    def test_times(self, values: list[float]) -> None:
        times = Times()
        for value in values:
            times.add(value)
        self.check(times.snapshot(), values, 1e-6)

    @unhurried
    @given(st.lists(sizes))
    def test_sizes(self, values: list[int]) -> None:
        gathered = Sizes()
        for value in values:
            gathered.add(value)
        self.check(gathered.snapshot(), [float(value) for value in values], 1.0)

    def test_bounds(self) -> None:
        gathered = Sizes()
        for size in (1, 2, 3, 4, 5):
            gathered.add(size)
        histogram = gathered.snapshot()
        self.assertEqual(histogram.bounds, (1.0, 2.0, 4.0, 8.0))
        self.assertEqual(histogram.counts, (1, 1, 2, 1))
        self.assertEqual([histogram.quantile(q) for q in (0.2, 0.4, 0.8, 0.81)], [1, 2, 4, 8])

    def test_a_snapshot_does_not_change(self) -> None:
        times = Times()
        times.add(0.001)
        before = times.snapshot()
        times.add(1.0)
        self.assertEqual(before.count, 1)
        self.assertEqual(times.snapshot().count, 2)

    def test_a_clock_that_is_set_harms_nobody(self) -> None:
        times = Times()
        for value in (-3600.0, 1e12):
            times.add(value)
        self.assertEqual(times.snapshot().count, 2)

    def test_no_share(self) -> None:
        for q in (-0.1, 1.1, math.nan):
            self.assertRaises(ValueError, Times().snapshot().quantile, q)


class StatsTests(ServerTestCase):
    def check(self, pool: WorkerPool) -> PoolStats:
        """The figures of a pool, which agree with each other."""
        found = pool.stats()
        for stats in (found, found.jobs):
            if stats is not None:
                parts = stats.waiting + stats.queued + stats.in_flight + stats.abandoned
                self.assertEqual(stats.pending, parts)
                self.assertEqual(
                    stats.admitted,
                    stats.succeeded
                    + stats.failed
                    + stats.cancelled
                    + stats.pending
                    - stats.abandoned,
                )
                self.assertLessEqual(stats.lost, stats.failed)
        self.assertEqual(json.loads(json.dumps(found.as_dict())), found.as_dict())
        return found

    @inlineCallbacks
    def test_a_life(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, heartbeat_interval=0.05)
        cluster = self.cluster(config)
        pool = cluster.pool
        collection = cluster.bucket(self.bucket_name).default_collection()
        first = collection.upsert(self.key("k"), 1)
        waiting = pool.stats()
        self.assertEqual((waiting.waiting, waiting.pending), (1, 1))
        self.assertEqual(waiting.states[WorkerState.READY], 0)
        yield first
        yield gatherResults([collection.get(self.key("k")) for _ in range(20)])
        yield self.assertFailure(collection.get(self.key("none")), DocumentNotFoundException)
        # This goes on in the answer's callback, after which its time is counted.
        yield until(lambda: pool.stats().executed.count == 22)
        stats = self.check(pool)
        self.assertEqual((stats.admitted, stats.succeeded, stats.failed), (22, 21, 1))
        self.assertEqual((stats.pending, stats.pending_bytes, stats.oldest), (0, 0, 0.0))
        self.assertEqual(stats.waited.count, 22)
        self.assertGreater(stats.executed.mean, 0.0)
        # The twenty left at the end of one turn, and no other operation was with them.
        self.assertEqual(stats.batches.count, 3)
        self.assertEqual(stats.batches.quantile(1.0), 32.0)
        self.assertEqual(stats.states[WorkerState.READY], 1)
        (worker,) = stats.workers
        self.assertEqual(worker.pid, pool.workers[0].pid)
        self.assertEqual((worker.state, worker.load), (WorkerState.READY, 0))
        self.assertEqual(worker.operations, 22)
        self.assertGreater(worker.age, 0.0)
        self.assertIsNone(stats.jobs)
        yield until(lambda: pool.stats().workers[0].rss is not None)
        self.assertGreater(pool.stats().workers[0].rss, 1024 * 1024)
        yield cluster.close()
        stats = pool.stats()
        self.assertEqual((stats.workers, stats.ended[EndCause.CLOSED]), ((), 1))
        self.assertEqual(sum(stats.states.values()), 0)
        self.assertEqual(stats.succeeded, 21)

    @inlineCallbacks
    def test_a_worker_that_reads_nothing(self) -> Any:
        config = PoolConfig(min_workers=1, max_workers=1, max_in_flight=4)
        collection = self.collection(config)
        pool = collection._scope._bucket._cluster.pool
        yield collection.upsert(self.key("k"), 1)
        (pid,) = (worker.pid for worker in pool.workers)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        calls: dict[str, Any] = {
            "read": collection.get(self.key("k"), timeout=LONG),
            "again": collection.upsert(self.key("a"), 1, timeout=LONG, retry_ambiguous=True),
            "lost": collection.upsert(self.key("b"), 1, timeout=LONG),
            "cancelled": collection.upsert(self.key("c"), 1, timeout=LONG),
            "queued": collection.upsert(self.key("d"), 1, timeout=LONG),
            "dropped": collection.upsert(self.key("e"), 1, timeout=LONG),
            "late": collection.upsert(self.key("f"), 1, timeout=timedelta(seconds=0.01)),
        }
        outcomes = DeferredList(calls.values(), consumeErrors=True)
        late = calls["late"]
        yield until(lambda: pool.stats().in_flight == 4)
        calls["cancelled"].cancel()
        calls["dropped"].cancel()
        yield until(lambda: late.called)
        stats = self.check(pool)
        self.assertEqual((stats.in_flight, stats.abandoned, stats.queued), (3, 1, 1))
        self.assertEqual((stats.cancelled, stats.failed), (2, 1))
        oldest = stats.oldest
        self.assertGreater(oldest, 0.0)
        yield until(lambda: pool.stats().oldest > oldest)
        os.kill(pid, signal.SIGKILL)
        found = yield outcomes
        failed = {
            name: failure.type
            for name, (good, failure) in zip(calls, found, strict=True)
            if not good
        }
        self.assertEqual(failed.pop("lost"), WorkerLost)
        self.assertEqual(failed.pop("late"), UnAmbiguousTimeoutException)
        self.assertEqual(failed, {"cancelled": CancelledError, "dropped": CancelledError})
        stats = self.check(pool)
        self.assertEqual((stats.resent, stats.lost, stats.failed), (2, 1, 2))
        self.assertEqual(stats.ended[EndCause.CRASHED], 1)
        self.assertEqual((stats.succeeded, stats.pending), (4, 0))

    @inlineCallbacks
    def test_what_is_refused(self) -> Any:
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, max_pending=2))
        collection = cluster.bucket(self.bucket_name).default_collection()
        calls = [collection.upsert(self.key(str(number)), 1) for number in range(4)]
        calls.append(collection.upsert_multi({self.key("m"): 1, self.key("n"): 1}))
        found = yield DeferredList(calls, consumeErrors=True)
        self.assertEqual([good for good, _ in found], [True, True, False, False, False])
        self.assertIs(found[-1][1].type, PoolOverloaded)
        stats = self.check(cluster.pool)
        self.assertEqual((stats.refused, stats.admitted, stats.max_pending), (3, 2, 2))

    @inlineCallbacks
    def test_jobs_have_their_own(self) -> Any:
        pool = WorkerPool(PoolConfig(min_workers=1, max_workers=1, job_workers=1))
        self.addCleanup(pool.close)
        self.assertIsNone(pool.stats().jobs)
        yield pool.run(jobfunctions.echo, 1)
        stats = pool.stats()
        assert stats.jobs is not None
        self.assertEqual((stats.admitted, stats.jobs.admitted, stats.jobs.succeeded), (0, 1, 1))
        self.assertEqual((stats.jobs.min_workers, stats.jobs.jobs), (1, None))
        self.assertEqual(json.loads(json.dumps(stats.as_dict()))["jobs"]["succeeded"], 1)


class IdlePoolTests(SynchronousTestCase):
    def test_a_pool_that_was_never_started(self) -> None:
        pool = WorkerPool(ONE, MemoryReactorClock())
        stats = pool.stats()
        self.assertEqual((stats.workers, stats.pending, stats.admitted), ((), 0, 0))
        self.assertEqual((stats.max_pending, stats.max_workers), (ONE.max_pending, 1))
        self.assertEqual((stats.oldest, stats.waited.quantile(0.99)), (0.0, 0.0))
        self.assertEqual(set(stats.ended), set(EndCause))
        self.assertEqual(set(stats.states), set(WorkerState))
        self.assertIsNone(stats.jobs)
        self.assertEqual(json.loads(json.dumps(stats.as_dict())), stats.as_dict())
