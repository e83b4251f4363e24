"""A pool closes in every state: it ends, every Deferred has fired, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from couchbase.exceptions import CouchbaseException
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.trial.unittest import SkipTest

from tests import jobfunctions
from tests.applications import ROOT, Application
from tests.closecases import CloseTestCase
from tests.support import LONG, slow, until
from txcouchbase.cluster import TxRawCluster
from txcouchbase.exceptions import PoolClosed, WorkerLost, WorkerStartFailed
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import process
from txcouchbase.workers.events import CrashLoopBegan, PoolEvent


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

    @inlineCallbacks
    def test_a_cluster_whose_operations_wait_in_queues(self) -> Any:
        if self.node is None:
            raise SkipTest("needs faults of the node")
        pool = self.pool(max_in_flight=4, drain_timeout=0.3, kill_timeout=20)
        first, second = self.cluster(pool), self.cluster(pool)
        collection = first.bucket(self.bucket_name).default_collection()
        other = second.bucket(self.bucket_name).default_collection()
        yield gatherResults([collection.upsert(self.key("k"), 1), other.upsert(self.key("o"), 1)])
        self.node.faults.add(Fault("kv", operation="^SET$", delay=1.0))
        self.upserts(collection, 20, timeout=LONG)
        yield first.close()
        self.assertEqual(len(self.fired), 20)
        self.assertEqual(self.errors().count(PoolClosed), 16)
        result = yield other.get(self.key("o"), timeout=LONG)
        self.assertEqual((result.value, len(self.pids)), (1, 1), "the worker is still there")
        yield self.assert_ends(pool.close())

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
