"""What a server does wrong while it is there. The SDK's own blocking cluster, asked at the same
time, tells what has to come of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from couchbase.exceptions import AmbiguousTimeoutException
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.support import LONG, TWO, until
from tests.twin import NodeTwinTestCase, outcome
from txcouchbase.testing import Fault, Script
from txcouchbase.workers import PoolConfig

reactor: Any = installed

SHORT = timedelta(seconds=0.5)


class FaultTestCase(NodeTwinTestCase):
    def strike(self, **fault: Any) -> Any:
        """A fault in force, until the test is over or `end` is called."""
        return self.node.faults.add(Fault(fault.pop("service", "kv"), **fault))

    def end(self, *struck: Any) -> None:
        for fault in struck:
            self.node.faults.remove(fault.number)


class StatusTests(FaultTestCase):
    """Answers other than success."""

    @inlineCallbacks
    def test_statuses(self) -> Any:
        yield self.connect()
        late = ("AmbiguousTimeoutException", "UnAmbiguousTimeoutException")
        key = self.key("k")
        for status, expected in {
            # What the SDK tries again until the time is up.
            "TMPFAIL": ("TemporaryFailException", *late),
            "LOCKED": ("DocumentLockedException", *late),
            "SYNC_WRITE_IN_PROGRESS": late,
            "NOT_MY_VBUCKET": late,
            "UNKNOWN_COLLECTION": late,
            # What it tells at once.
            "EBUSY": ("TemporaryFailException",),
            "ENOMEM": ("TemporaryFailException",),
            "EINTERNAL": ("InternalServerFailureException",),
            "EACCESS": ("AuthenticationException",),
            "NO_BUCKET": ("BucketNotFoundException",),
            "SYNC_WRITE_AMBIGUOUS": ("DurabilitySyncWriteAmbiguousException",),
        }.items():
            struck = self.strike(
                operation="^(GET|SET)$", effect="refuse", status=status, key=f"^{key}"
            )
            multi = [{key: one, f"{key}2": two} for one in expected for two in expected]
            yield gatherResults(
                [
                    self.same(lambda on: on.get(key, timeout=SHORT), *expected),
                    self.same(lambda on: on.upsert(f"{key}3", 1, timeout=SHORT), *expected),
                    self.same(lambda on: on.get_multi([key, f"{key}2"], timeout=SHORT), *multi),
                ]
            )
            self.end(struck)
        yield self.same(lambda on: on.upsert(key, 1), "ok")
        self.assert_same_workers()

    @inlineCallbacks
    def test_those_that_pass(self) -> Any:
        yield self.connect()
        key = self.key("k")
        for status in ("TMPFAIL", "LOCKED", "SYNC_WRITE_IN_PROGRESS", "NOT_MY_VBUCKET"):
            struck = self.strike(
                operation="^SET$", effect="refuse", status=status, times=4, key=f"^{key}"
            )
            yield self.same(lambda on: on.upsert(key, 1, timeout=LONG), "ok")
            self.assertEqual(struck.struck, 4)
            self.end(struck)
        self.assert_same_workers()

    @inlineCallbacks
    def test_queries(self) -> Any:
        yield self.connect()
        yield self.same(lambda on: on.query("SELECT 1"), "ok", query=True)
        for fault, expected in (
            ({"effect": "refuse", "status": 503}, ("ServiceUnavailableException",)),
            ({"effect": "silence"}, ("AmbiguousTimeoutException",)),
            ({"delay": 1.0}, ("AmbiguousTimeoutException",)),
        ):
            struck = self.strike(service="query", **fault)
            yield self.same(lambda on: on.query("SELECT 1", timeout=SHORT), *expected, query=True)
            self.end(struck)
        yield self.same(lambda on: on.query("SELECT 1", timeout=LONG), "ok", query=True)
        self.assert_same_workers()


class PlaceTests(FaultTestCase):
    """Buckets and collections that come and go."""

    @inlineCallbacks
    def test_a_collection_that_appears_later(self) -> Any:
        yield self.connect()
        scope = yield deferToThread(lambda: self.theirs.bucket(self.bucket_name).default_scope())
        self.their_collection = scope.collection("late")
        self.collection = self.ours.bucket(self.bucket_name).collection("late")
        yield self.same(
            lambda on: on.upsert("k", 1, timeout=SHORT),
            "AmbiguousTimeoutException",
            "UnAmbiguousTimeoutException",
        )
        waiting = self.same(lambda on: on.upsert("k", 1, timeout=LONG), "ok")
        yield deferLater(reactor, 0.1)
        self.assertNoResult(waiting)
        self.node.create_collection(self.bucket_name, "_default", "late")
        yield waiting
        self.assert_same_workers()

    @inlineCallbacks
    def test_a_bucket_that_is_dropped_and_made_again(self) -> Any:
        self.node.create_bucket("other")
        self.bucket_name = "other"
        yield self.connect()
        self.node.drop_bucket("other")
        yield self.same(
            lambda on: on.upsert("k", 1, timeout=SHORT),
            "BucketNotFoundException",
            "AmbiguousTimeoutException",
            "UnAmbiguousTimeoutException",
        )
        self.node.create_bucket("other")

        def again(collection: Any) -> Any:
            return collection.upsert("k", 2, timeout=LONG)

        outcomes: Any = None
        while outcomes != ["ok", "ok"]:  # the test's own time ends it
            outcomes = [kind for kind, _ in (yield self.both(again))]
        yield self.same(lambda on: on.get("k", timeout=LONG), "ok")
        self.assert_same_workers()


class LateTests(FaultTestCase):
    """Answers that come too late, or not at all."""

    @inlineCallbacks
    def test_delayed_answers(self) -> Any:
        yield self.connect()
        pool = self.ours.pool
        key = self.key("k")
        struck = self.strike(operation="^(GET|SET)$", delay=1.5, key=f"^{key}")
        yield gatherResults(
            [
                self.same(
                    lambda on: on.upsert(key, "first", timeout=SHORT),
                    "AmbiguousTimeoutException",
                ),
                self.same(
                    lambda on: on.get(f"{key}2", timeout=SHORT), "UnAmbiguousTimeoutException"
                ),
            ]
        )
        yield until(lambda: not any(worker.load for worker in pool.workers))
        self.end(struck)
        second = self.collection.upsert(key, "second", timeout=LONG)
        last = self.collection.get(key, timeout=LONG)
        yield second
        self.assertEqual((yield last).value, "second")
        self.assert_same_workers()

    @inlineCallbacks
    def test_a_server_that_hangs(self) -> Any:
        yield self.connect()
        yield self.same(lambda on: on.query("SELECT 1"), "ok", query=True)
        key = self.key("k")
        self.node.hold()
        yield gatherResults(
            [
                self.same(
                    lambda on: on.upsert(f"{key}3", 1, timeout=SHORT), "AmbiguousTimeoutException"
                ),
                self.assertFailure(
                    self.collection.upsert(key, "late", timeout=SHORT), AmbiguousTimeoutException
                ),
                self.same(
                    lambda on: on.get(f"{key}2", timeout=SHORT), "UnAmbiguousTimeoutException"
                ),
                self.same(
                    lambda on: on.query("SELECT 1", timeout=SHORT),
                    "AmbiguousTimeoutException",
                    query=True,
                ),
            ]
        )
        # The bytes of "late" are still on their way, before those of the next.
        after = self.collection.upsert(key, "after", timeout=LONG)
        yield deferLater(reactor, 0.1)
        self.assertNoResult(after)
        self.node.release()
        yield after
        self.assertEqual((yield self.collection.get(key)).value, "after")
        self.assertEqual(self.node.get(key).value, "after")  # type: ignore[union-attr]
        yield self.same(lambda on: on.query("SELECT 1", timeout=LONG), "ok", query=True)
        self.assert_same_workers()

    @inlineCallbacks
    def test_what_the_sdk_never_answers(self) -> Any:
        unknown = {"code": 4040, "msg": "No such prepared statement"}
        self.node.scripts.add(Script("query", match="FROM hang", errors=[unknown]))
        # More of them than a worker has threads or streams.
        for client in ("raw", "sync"):
            config = PoolConfig(
                min_workers=1,
                max_workers=1,
                worker_threads=2,
                max_streams=2,
                client=client,
                rows="sdk",
            )
            cluster = self.cluster(config)
            yield cluster.query("SELECT 1")
            pids = [worker.pid for worker in cluster.pool.workers]
            hanging = [cluster.query("SELECT 1 FROM hang", timeout=SHORT) for _ in range(3)]
            kinds = {kind for kind, _ in (yield gatherResults(map(outcome, hanging)))}
            self.assertTrue(
                kinds <= {"AmbiguousTimeoutException", "UnAmbiguousTimeoutException"}, kinds
            )
            pool = cluster.pool
            yield until(lambda pool=pool: not any(worker.load for worker in pool.workers))
            yield cluster.query("SELECT 1", timeout=LONG)
            self.assertEqual([worker.pid for worker in cluster.pool.workers], pids)
            yield cluster.close()


class DroppedTests(FaultTestCase):
    """Connections that end."""

    @inlineCallbacks
    def test_one_operation(self) -> Any:
        yield self.connect()
        key = self.key("k")
        yield self.same(lambda on: on.upsert(key, 0), "ok")
        for carried_out in (True, False):
            for opcode, call, expected in (
                # What only reads is tried again.
                ("GET", lambda on: on.get(key, timeout=LONG), "ok"),
                ("SET", lambda on: on.upsert(key, 1, timeout=LONG), "RequestCanceledException"),
            ):
                struck = self.strike(
                    operation=f"^{opcode}$", effect="drop", times=2, carried_out=carried_out
                )
                yield self.same(call, expected)
                self.end(struck)
                yield self.same(lambda on: on.get(key, timeout=LONG), "ok")
        self.assert_same_workers()

    @inlineCallbacks
    def load(self, breaks: Any) -> Any:
        """Reads and writes while something breaks connections again and again."""
        counted: Counter[tuple[str, str]] = Counter()

        @inlineCallbacks
        def count(name: str, calling: Deferred[Any]) -> Any:
            kind, _ = yield outcome(calling)
            counted[name, kind] += 1

        broken = breaks()
        running = []
        number = 0
        while not broken.called:
            # Fewer than the pool would refuse, however long the server is away.
            for _ in range(20 * (len(running) - counted.total() < 4000)):
                number += 1
                key = self.key(str(number % 100))
                running.append(count("set", self.collection.upsert(key, number, timeout=LONG)))
                running.append(count("get", self.collection.get(self.key("warm"), timeout=LONG)))
            yield deferLater(reactor, 0.005)
        yield broken
        yield gatherResults(running)
        self.assertEqual(counted["get", "ok"], number)
        self.assertEqual(counted["set", "ok"] + counted["set", "RequestCanceledException"], number)
        yield gatherResults(
            [self.collection.upsert(self.key(str(each)), 1, timeout=LONG) for each in range(100)]
        )
        self.assert_same_workers()

    @inlineCallbacks
    def test_closed_under_load(self) -> Any:
        yield self.connect(TWO)
        struck = self.strike(operation="^(GET|SET)$", effect="drop", probability=0.02, times=20)
        yield self.load(lambda: until(lambda: struck.struck == 20))

    @inlineCallbacks
    def test_reset_under_load(self) -> Any:
        yield self.connect(TWO)

        @inlineCallbacks
        def reset() -> Any:
            for _ in range(4):
                yield self.node.restart()
                sets = len(self.node.record.find("kv", "SET"))
                yield until(lambda sets=sets: len(self.node.record.find("kv", "SET")) > sets)

        with self.node.recording():
            yield self.load(reset)
