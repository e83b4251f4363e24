"""A pool closes in every state: it ends, every Deferred has fired, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from couchbase.exceptions import CouchbaseException
from twisted.internet import reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

from tests import jobfunctions, shutdownapp
from tests.support import LONG, ServerTestCase, gone, slow, until
from tests.test_application import ROOT, Application
from txcouchbase.cluster import TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import PoolClosed, WorkerLost, WorkerStartFailed
from txcouchbase.testing import Script
from txcouchbase.workers import PoolConfig, WorkerPool, process
from txcouchbase.workers.events import (
    CrashLoopBegan,
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


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def delayed_calls() -> int:
    return len(reactor.getDelayedCalls())  # type: ignore[attr-defined]


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
        self.descriptors, self.delayed_calls = descriptors(), delayed_calls()

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
        yield until(lambda: descriptors() <= self.descriptors)
        # That of the wait itself is one more.
        yield until(lambda: delayed_calls() <= self.delayed_calls + 1)

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


class StartTests(CloseTestCase):
    @inlineCallbacks
    def test_while_workers_start(self) -> Any:
        pool = self.pool(2)
        cluster = self.cluster(pool)
        self.watch(cluster.on_connect())
        self.watch(cluster.bucket(self.bucket_name).default_collection().get("k"))
        yield until(lambda: len(self.pids) == 2)
        yield self.assert_ends(pool.close(), pool.close(), cluster.close())
        self.assertEqual(self.errors(), [PoolClosed] * 2)

    @inlineCallbacks
    def test_from_inside_the_event_that_a_worker_was_spawned(self) -> Any:
        pool = self.pool(2)
        closings: list[Deferred[None]] = []
        pool.add_observer(lambda event: closings.append(pool.close()))
        self.watch(self.cluster(pool).on_connect())
        yield until(lambda: closings)
        yield self.assert_ends(closings[0])

    @inlineCallbacks
    def test_while_a_worker_connects(self) -> Any:
        pool = self.pool(kill_timeout=30)
        with _mute_server() as port:
            self.descriptors += 1  # the server's own
            cluster = self.cluster(pool, connstr=f"couchbase://127.0.0.1:{port}")
            self.watch(cluster.on_connect())
            self.watch(cluster.bucket(self.bucket_name).default_collection().get("k"))
            yield until(lambda: cluster._session._attempts)
            yield self.assert_ends(pool.close(), cluster.close())
        self.assertEqual(self.errors(), [PoolClosed] * 2)

    @inlineCallbacks
    def test_while_it_tries_to_connect_again(self) -> Any:
        pool = self.pool()
        self.password = "wrong"
        cluster = self.cluster(pool)
        yield self.assertFailure(cluster.on_connect(), CouchbaseException)
        self.watch(cluster.on_connect())  # asks for another attempt
        yield self.assert_ends(cluster.close(), pool.close())

    @inlineCallbacks
    def test_in_a_crash_loop(self) -> Any:
        self.patch(process, "_BOOTSTRAP", "raise SystemExit('no way to start')")
        pool = self.pool(2, crash_loop_after=2, restart_backoff=(0.01, 30, 0))
        events: list[PoolEvent] = []
        pool.add_observer(events.append)
        cluster = self.cluster(pool)
        self.watch(cluster.bucket(self.bucket_name).default_collection().get("k"))
        yield until(lambda: any(isinstance(event, CrashLoopBegan) for event in events))
        self.watch(cluster.on_connect())
        yield self.assert_ends(pool.close())
        self.assertEqual(self.errors(), [WorkerStartFailed, PoolClosed])

    @inlineCallbacks
    def test_from_inside_the_event_of_a_crash_loop(self) -> Any:
        self.patch(process, "_BOOTSTRAP", "raise SystemExit('no way to start')")
        pool = self.pool(2, crash_loop_after=1, restart_backoff=(0.01, 30, 0))
        closings: list[Deferred[None]] = []

        def observe(event: PoolEvent) -> None:
            if isinstance(event, CrashLoopBegan):
                closings.append(pool.close())

        pool.add_observer(observe)
        self.watch(self.cluster(pool).on_connect())
        yield until(lambda: closings)
        yield self.assert_ends(*closings)


class WorkTests(CloseTestCase):
    @inlineCallbacks
    def test_with_operations_in_flight_in_queues_and_waiting(self) -> Any:
        pool = self.pool(max_in_flight=4)
        collection = yield self.stopped(pool)
        self.upserts(collection, 20, timeout=LONG)
        unknown = self.cluster(pool).bucket(self.bucket_name).default_collection()
        self.watch(unknown.get("k", timeout=LONG))
        self.watch(pool.run(jobfunctions.pid))
        self.watch(pool.when_room(jobs=True))
        (lane,) = pool.lanes()
        yield until(lambda: lane._in_flight)
        yield self.assert_ends(pool.close())
        self.assertEqual(self.errors().count(WorkerLost), 4)
        self.assertEqual(self.errors().count(PoolClosed), 16 + 2)

    @inlineCallbacks
    def test_what_nobody_waits_for_holds_up_nothing(self) -> Any:
        pool = self.pool(drain_timeout=50)
        collection = yield self.stopped(pool)
        late = collection.upsert(self.key("late"), 1, timeout=timedelta(milliseconds=10))
        self.watch(late)
        cancelled = collection.upsert(self.key("cancelled"), 1)
        self.watch(cancelled)
        (lane,) = pool.lanes()
        yield until(lambda: lane._in_flight)
        closing = pool.close()
        cancelled.cancel()
        yield self.assert_ends(closing)
        self.assertEqual(self.errors()[0], CancelledError)

    @inlineCallbacks
    def test_answers_that_are_on_their_way_are_not_lost(self) -> Any:
        pool = self.pool(drain_timeout=50, kill_timeout=20)
        collection = self.cluster(pool).bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("big"), "x" * 200_000)
        for _ in range(50):
            self.watch(collection.get(self.key("big")))
        yield self.assert_ends(pool.close())
        self.assertEqual(self.errors(), [])

    @inlineCallbacks
    def test_with_streams_open(self) -> Any:
        if self.node is None:
            raise SkipTest("its answers are scripted")
        self.node.scripts.add(Script("query", match="many", rows=list(range(100_000))))
        pool = self.pool()
        cluster = self.cluster(pool)
        read = cluster.query_stream("SELECT many")
        yield Deferred.fromCoroutine(read.__anext__())
        unread = cluster.query_stream("SELECT many")
        first = Deferred.fromCoroutine(unread.__anext__())
        self.watch(cluster.query("SELECT many"))
        yield self.assert_ends(pool.close())
        yield first.addErrback(lambda failure: failure.trap(CouchbaseException))
        yield self.assertFailure(_read_to_the_end(read), CouchbaseException)

    @inlineCallbacks
    def test_with_a_multi_operation_under_way(self) -> Any:
        pool = self.pool(max_in_flight=4, max_pending=8)
        collection = yield self.stopped(pool)
        self.watch(collection.get_multi([self.key(str(number)) for number in range(100)]))
        (lane,) = pool.lanes()
        yield until(lambda: lane._in_flight)
        yield self.assert_ends(pool.close())

    @inlineCallbacks
    def test_with_jobs(self) -> Any:
        pool = self.pool()
        marks = [os.path.abspath(self.mktemp()) for _ in range(2)]
        self.watch(pool.run(jobfunctions.hog, marks[0], 600))
        self.watch(pool.run(jobfunctions.hog, marks[1], 600))
        yield until(lambda: os.path.exists(marks[0]))
        yield self.assert_ends(pool.close())
        self.assertEqual(sorted(self.errors(), key=str), [PoolClosed, WorkerLost])
        self.assertFalse(os.path.exists(marks[1]))

    @inlineCallbacks
    def test_from_inside_a_callback_and_an_errback(self) -> Any:
        pool = self.pool()
        collection = yield self.stopped(pool)
        closings: list[Deferred[None]] = []

        def close(result: Any) -> Any:
            closings.append(pool.close())
            return result

        first = collection.upsert(self.key("first"), 1, timeout=LONG).addBoth(close)
        self.watch(first)
        self.watch(collection.upsert(self.key("second"), 1, timeout=LONG).addBoth(close))
        (lane,) = pool.lanes()
        yield until(lambda: lane._in_flight)
        os.kill(self.worker(pool), signal.SIGKILL)
        yield until(lambda: len(closings) == 2)
        yield self.assert_ends(*closings)
        self.assertEqual(self.errors(), [WorkerLost] * 2)

    @inlineCallbacks
    def test_from_inside_a_callback_of_an_answer(self) -> Any:
        pool = self.pool()
        raw = TxRawCluster(self.connstr, self.options(), pool=pool)
        collection = raw.bucket(self.bucket_name).default_collection()
        closings: list[Deferred[None]] = []
        collection.upsert(self.key("k"), 1).set_callbacks(
            lambda _: closings.append(raw.close()), lambda *error: closings.append(pool.close())
        )
        for number in range(50):
            self.watch(raw.defer(collection.upsert(self.key(str(number)), 1)))
        yield until(lambda: closings)
        yield self.assert_ends(*closings, pool.close())


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


class OrderTests(CloseTestCase):
    @inlineCallbacks
    def close_shared(self, *order: str) -> Any:
        """Close two clusters and the pool that they share, with operations under way."""
        pool = self.pool(2, drain_timeout=50, kill_timeout=20)
        things = {"pool": pool, "first": self.cluster(pool), "second": self.cluster(pool)}
        yield gatherResults([things[name].on_connect() for name in ("first", "second")])
        bucket = things["first"].bucket(self.bucket_name)
        yield bucket.on_connect()
        things["bucket"] = bucket
        for name in ("first", "second"):
            collection = things[name].bucket(self.bucket_name).default_collection()
            self.upserts(collection, 20, timeout=LONG)
        ended: Deferred[None] = Deferred()
        things["first"].registerDeferred("_dtor", ended)
        self.watch(ended)
        yield self.assert_ends(*[things[name].close() for name in order])
        self.assertFalse(set(self.errors()) - {PoolClosed})

    @slow
    def test_the_pool_first(self) -> Any:
        return self.close_shared("pool", "first", "bucket", "second")

    def test_the_clusters_first(self) -> Any:
        return self.close_shared("bucket", "first", "second", "pool", "first")

    @inlineCallbacks
    def test_the_pool_while_a_cluster_closes(self) -> Any:
        pool = self.pool()
        collection = yield self.stopped(pool)
        cluster = collection._scope._bucket._cluster
        self.upserts(collection, 5, timeout=LONG)
        (lane,) = pool.lanes()
        yield until(lambda: lane._in_flight)
        closing = cluster.close()
        self.watch(closing)
        yield until(lambda: cluster._session.closed)
        yield self.assert_ends(pool.close(), cluster.close())

    @inlineCallbacks
    def test_before_the_reactor_runs(self) -> Any:
        for order in ("cluster pool", "pool cluster"):
            application = Application(
                {
                    "connstr": self.connstr,
                    "username": self.username,
                    "password": self.password,
                    "bucket": self.bucket_name,
                }
            )
            reactor.spawnProcess(  # type: ignore[attr-defined]
                application,
                sys.executable,
                [sys.executable, "-c", EARLY, *order.split()],
                env={**os.environ, "PYTHONPATH": ROOT},
            )
            found: Any = yield application.workers
            self.assertEqual(found, [0, ["PoolClosed", "PoolClosed", "", ""]])
            reason = yield application.ended
            self.assertEqual(reason.exitCode, 0, application.stderr.decode())


EARLY = """
import json, sys
where = json.loads(sys.stdin.readline())
from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import WorkerPool

options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
pool = WorkerPool()
cluster = TxCluster(where["connstr"], options, pool=pool)
things = {"pool": pool, "cluster": cluster}
waiting = [
    cluster.on_connect(), cluster.bucket(where["bucket"]).default_collection().get("k")
] + [things[name].close() for name in sys.argv[1:]]
for deferred in waiting:
    deferred.addCallbacks(lambda _: "", lambda failure: failure.type.__name__)

def done(outcomes):
    print(json.dumps([len(pool.workers), outcomes]), flush=True)
    reactor.stop()

gatherResults(waiting).addCallback(done)
reactor.run()
"""


@contextmanager
def _mute_server() -> Iterator[int]:
    """The port of a server that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def _read_to_the_end_of(stream: Any) -> None:
    async for _ in stream:
        pass


def _read_to_the_end(stream: Any) -> Deferred[None]:
    return Deferred.fromCoroutine(_read_to_the_end_of(stream))
