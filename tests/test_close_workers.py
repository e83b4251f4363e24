"""A pool closes while workers die, hang, come and go."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests import shutdownapp
from tests.closecases import CloseTestCase
from tests.support import LONG, gone, slow, until
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import WorkerPool, process
from txcouchbase.workers.events import (
    PoolEvent,
    WorkerDraining,
    WorkerEnded,
    WorkerReady,
    WorkerStarted,
)

STUBBORN = """\
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


class WorkerTests(CloseTestCase):
    @inlineCallbacks
    def test_while_workers_die(self) -> Any:
        pool = self.pool(2)
        cluster = self.cluster(pool)
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield cluster.wait_until_ready(timedelta(seconds=50))
        self.upserts(collection, 50, timeout=LONG)
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        yield self.assert_ends(pool.close())

    @inlineCallbacks
    def test_from_inside_the_event_of_a_death(self) -> Any:
        pool = self.pool()
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        closings: list[Deferred[None]] = []

        def observe(event: PoolEvent) -> None:
            if isinstance(event, WorkerEnded):
                closings.append(pool.close())

        pool.add_observer(observe)
        self.upserts(collection, 10, timeout=LONG)
        os.kill(self.worker(pool), signal.SIGKILL)
        yield until(lambda: closings)
        yield self.assert_ends(closings[0])

    @inlineCallbacks
    def test_a_worker_that_ignores_what_it_is_told(self) -> Any:
        self.patch(process, "_BOOTSTRAP", STUBBORN + process._BOOTSTRAP)
        pool = self.pool()
        mark = os.path.abspath(self.mktemp())
        self.watch(pool.run(shutdownapp.hold_job, mark))
        yield until(lambda: os.path.exists(mark))
        yield self.assert_ends(pool.close(), pool.close())
        self.assertEqual(self.errors(), [WorkerLost])

    @inlineCallbacks
    def test_a_worker_that_gives_no_sign_of_life(self) -> Any:
        # Longer than the test may take: it is not what ends the wait for the operations.
        pool = self.pool(drain_timeout=600)
        collection = yield self.stopped(pool)
        self.upserts(collection, 3, timeout=timedelta(seconds=600))
        yield self.assert_ends(pool.close())
        self.assertEqual(self.errors(), [WorkerLost] * 3)

    @inlineCallbacks
    def test_a_worker_that_is_killed_already(self) -> Any:
        pool = self.pool(heartbeat_interval=0.02, heartbeat_timeout=0.1)
        collection = yield self.stopped(pool)
        self.upserts(collection, 3, timeout=LONG)
        pid = self.worker(pool)
        (lane,) = pool.lanes()
        yield until(lambda: lane.silent_beats > 4)
        yield self.assert_ends(pool.close())
        self.assertTrue(gone(pid))

    @inlineCallbacks
    def test_while_it_grows(self) -> Any:
        pool = self.pool(1, 3)
        cluster = self.cluster(pool)
        yield cluster.on_connect()
        pool.resize(3, 3)
        yield until(lambda: len(self.pids) == 3)
        self.upserts(cluster.bucket(self.bucket_name).default_collection(), 10)
        yield self.assert_ends(pool.close())

    @slow
    @inlineCallbacks
    def test_before_what_it_grows_by_is_spawned(self) -> Any:
        pool = self.pool(1, 3)
        yield self.cluster(pool).on_connect()
        pool.resize(3, 3)
        yield self.assert_ends(pool.close())
        self.assertEqual(len(self.pids), 1)

    @inlineCallbacks
    def test_while_it_drains(self) -> Any:
        pool = self.pool(2)
        cluster = self.cluster(pool)
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield cluster.wait_until_ready(timedelta(seconds=50))
        draining = self.when(pool, WorkerDraining)
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        self.upserts(collection, 10, timeout=LONG)
        yield until(lambda: all(lane._in_flight for lane in pool.lanes()))
        pool.resize(1, 1)
        self.assertTrue(draining)
        yield self.assert_ends(pool.close())
        self.assertEqual(self.errors(), [WorkerLost] * 10)

    @inlineCallbacks
    def test_while_a_worker_that_drained_is_asked_to_end(self) -> Any:
        pool = self.pool(2, kill_timeout=0.5)
        cluster = self.cluster(pool)
        yield cluster.wait_until_ready(timedelta(seconds=50))
        pids = set(self.pids)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pool.resize(1, 1)
        yield until(lambda: any(life.ends for life in pool._supervisor._lives.values()))
        self.assertEqual(pids, self.pids)
        yield self.assert_ends(pool.close())

    @inlineCallbacks
    def close_in_recycling(self, kind: type[PoolEvent]) -> Any:
        """Close from inside an event of a recycling, with operations under way."""
        pool = self.pool(heartbeat_interval=0.02, heartbeat_timeout=20, recycle_after_ops=5)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("k"), 1)
        closings: list[Deferred[None]] = []
        self.when(pool, kind, lambda: closings.append(pool.close()))
        self.upserts(collection, 10, timeout=LONG)
        yield until(lambda: closings)
        yield self.assert_ends(closings[0])

    def test_when_a_replacement_starts(self) -> Any:
        return self.close_in_recycling(WorkerStarted)

    @slow
    def test_when_a_replacement_is_ready(self) -> Any:
        return self.close_in_recycling(WorkerReady)

    def test_when_the_one_that_is_replaced_drains(self) -> Any:
        return self.close_in_recycling(WorkerDraining)

    @slow
    def test_when_the_one_that_was_replaced_ends(self) -> Any:
        return self.close_in_recycling(WorkerEnded)

    def when(
        self, pool: WorkerPool, kind: type[PoolEvent], then: Callable[[], Any] = lambda: None
    ) -> list[PoolEvent]:
        """The events of this kind from now on; with the first one something is done."""
        events: list[PoolEvent] = []

        def observe(event: PoolEvent) -> None:
            if isinstance(event, kind):
                events.append(event)
                if len(events) == 1:
                    then()

        pool.add_observer(observe)
        return events
