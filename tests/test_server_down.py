"""A server that is not there, at first or in the middle, and one that lets nobody in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    CouchbaseException,
    RequestCanceledException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import ClusterTimeoutOptions
from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.support import LONG, ONE, TWO, until
from tests.twin import NodeTwinTestCase, outcome
from txcouchbase.testing import EmbeddedNode, Fault
from txcouchbase.workers import PoolConfig, WorkerPool

reactor: Any = installed

SHORT = timedelta(seconds=0.5)


def bootstrap(seconds: float) -> ClusterTimeoutOptions:
    return ClusterTimeoutOptions(bootstrap_timeout=timedelta(seconds=seconds))


class StartTests(NodeTwinTestCase):
    @inlineCallbacks
    def test_it_comes_up_later(self) -> Any:
        yield self.node.kill()
        cluster = self.cluster(TWO, timeout_options=bootstrap(30))
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        waiting = [
            cluster.on_connect(),
            bucket.on_connect(),
            collection.upsert(self.key("a"), 1),
            collection.upsert(self.key("b"), 1, timeout=LONG),
            collection.get_multi([self.key("a"), self.key("b")]),
            cluster.query("SELECT 1"),
        ]
        impatient = collection.get(self.key("a"), timeout=SHORT)
        theirs = outcome(deferToThread(Cluster, self.connstr, self.options()))
        yield self.assertFailure(impatient, UnAmbiguousTimeoutException)
        self.assertFalse(any(each.called for each in waiting))
        pids = [worker.pid for worker in cluster.pool.workers]
        yield self.node.restart()
        results = yield gatherResults(waiting)
        self.assertTrue(results[4].all_ok)
        self.assertEqual((yield theirs)[0], "ok")
        yield cluster.wait_until_ready(LONG)
        self.assertEqual([worker.pid for worker in cluster.pool.workers], pids)

    @inlineCallbacks
    def test_it_comes_up_after_everybody_was_told(self) -> Any:
        yield self.node.kill()
        options = {"timeout_options": bootstrap(0.5)}
        cluster = self.cluster(TWO, **options)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        theirs, _ = yield outcome(deferToThread(Cluster, self.connstr, self.options(**options)))
        for _ in range(2):
            failed = [
                cluster.on_connect(),
                bucket.on_connect(),
                collection.upsert(self.key("a"), 1),
                cluster.query("SELECT 1"),
            ]
            kinds = [kind for kind, _ in (yield gatherResults(map(outcome, failed)))]
            self.assertEqual(kinds, [theirs] * len(failed))
        pids = [worker.pid for worker in cluster.pool.workers]
        yield self.node.restart()
        yield self.until_done(lambda: collection.upsert(self.key("a"), 1))
        yield cluster.on_connect()
        # Nobody has to ask for the other worker.
        yield until(lambda: len(cluster._session.lanes) == len(collection._target.lanes) == 2)
        self.assertEqual([worker.pid for worker in cluster.pool.workers], pids)

    @inlineCallbacks
    def until_done(self, call: Any) -> Any:
        """Call again and again until it succeeds; the test's own time ends it."""
        kind = ""
        while kind != "ok":
            kind, _ = yield outcome(call())

    @inlineCallbacks
    def test_it_accepts_and_never_answers(self) -> Any:
        self.node.hold()
        options = {"timeout_options": bootstrap(0.5)}
        cluster = self.cluster(ONE, **options)
        collection = cluster.bucket(self.bucket_name).default_collection()
        calls = [cluster.on_connect(), collection.get("k"), collection.get("k", timeout=LONG)]
        outcomes = yield gatherResults(
            map(outcome, [deferToThread(Cluster, self.connstr, self.options(**options)), *calls])
        )
        self.assertEqual({kind for kind, _ in outcomes}, {"UnAmbiguousTimeoutException"})
        self.node.release()
        yield self.until_done(lambda: collection.upsert(self.key("a"), 1))
        # And when a bucket is to be opened.
        self.node.create_bucket("other")
        self.node.hold()
        other = cluster.bucket("other").default_collection()
        yield self.assertFailure(other.get("k"), UnAmbiguousTimeoutException)
        self.node.release()
        yield self.until_done(lambda: other.upsert("k", 1))
        yield collection.get(self.key("a"))

    @inlineCallbacks
    def test_closing_waits_for_no_attempt(self) -> Any:
        yield self.node.kill()
        pool = WorkerPool(ONE)
        self.addCleanup(pool.close)
        cluster = self.cluster(pool, timeout_options=bootstrap(60))
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield until(lambda: cluster._session._attempts)
        waiting = collection.get("k")
        begun = reactor.seconds()
        closing = cluster.close()
        yield self.assertFailure(waiting, CouchbaseException)
        yield closing
        self.assertLess(reactor.seconds() - begun, 20)
        (worker,) = pool.workers
        self.assertEqual(worker.state.value, "ready")


class MiddleTests(NodeTwinTestCase):
    @inlineCallbacks
    def test_it_is_killed_and_comes_back(self) -> Any:
        yield self.connect(TWO)
        yield gatherResults([self.ours.query("SELECT 1") for _ in range(4)])
        yield self.same(lambda on: on.query("SELECT 1"), "ok", query=True)
        # What is in flight, what is queued, and what is called when it is gone.
        held = self.node.faults.add(Fault("kv", operation="^(GET|SET)$", delay=60))
        calls = [
            call
            for number in range(300)
            for call in (
                outcome(self.collection.upsert(self.key(f"k{number}"), number, timeout=LONG)),
                outcome(self.collection.get(self.key("warm"), timeout=LONG)),
            )
        ]
        yield until(lambda: held.struck >= 400)
        yield self.node.kill()
        self.node.faults.remove(held.number)
        late = ("AmbiguousTimeoutException", "UnAmbiguousTimeoutException")
        key = self.key("k")
        yield gatherResults(
            [
                self.same(lambda on: on.get(key, timeout=SHORT), *late),
                self.same(lambda on: on.upsert(f"{key}2", 1, timeout=SHORT), *late),
                self.same(
                    lambda on: on.get_multi([key], timeout=SHORT), *({key: one} for one in late)
                ),
                self.same(
                    lambda on: on.query("SELECT 1", timeout=SHORT),
                    "RequestCanceledException",
                    *late,
                    query=True,
                ),
            ]
        )
        both = self.same(lambda on: on.upsert(key, "again", timeout=LONG), "ok")
        yield self.node.restart()
        yield both
        kinds = {kind for kind, _ in (yield gatherResults(calls))}
        self.assertTrue(kinds <= {"ok", RequestCanceledException.__name__}, kinds)
        yield self.same(lambda on: on.get(key, timeout=LONG), "ok")
        yield self.same(lambda on: on.query("SELECT 1", timeout=LONG), "ok", query=True)
        yield self.ours.wait_until_ready(LONG)
        self.assert_same_workers()

    @inlineCallbacks
    def test_another_cluster_is_not_disturbed(self) -> Any:
        """By more calls than a worker has threads for, of every kind."""
        other_node = EmbeddedNode(reactor=reactor)
        yield other_node.start()
        self.addCleanup(other_node.stop)
        self.node.create_bucket("second")
        for client in ("raw", "sync"):
            config = PoolConfig(min_workers=1, max_workers=1, worker_threads=2, client=client)
            pool = WorkerPool(config)
            self.addCleanup(pool.close)
            mine = self.cluster(pool)
            lost = self.cluster(pool, other_node.connstr)
            collection = mine.bucket(self.bucket_name).default_collection()
            other = lost.bucket(self.bucket_name).default_collection()
            yield gatherResults([collection.upsert("k", 1), other.upsert("k", 1)])
            (pid,) = [worker.pid for worker in pool.workers]
            yield other_node.kill()
            waiting = [
                outcome(call)
                for number in range(4)
                for call in (
                    other.get(f"k{number}", timeout=LONG),
                    lost.query("SELECT 1", timeout=LONG),
                    lost.buckets().get_all_buckets(timeout=LONG),
                    lost.bucket(f"another{number}").on_connect(),
                )
            ]
            yield until(lambda pool=pool: pool.workers[0].load >= 12)
            yield gatherResults(
                [
                    collection.get("k", timeout=timedelta(seconds=10)),
                    mine.query("SELECT 1", timeout=timedelta(seconds=10)),
                    mine.buckets().get_all_buckets(timeout=timedelta(seconds=10)),
                    mine.bucket("second").on_connect(),
                ]
            )
            self.assertFalse(any(call.called for call in waiting))
            yield other_node.restart()
            yield gatherResults(waiting)
            yield other.get("k", timeout=LONG)
            self.assertEqual([worker.pid for worker in pool.workers], [pid])
            yield pool.close()


class RefusalTests(NodeTwinTestCase):
    def strike(self, times: int | None = None) -> Any:
        """Logins are refused, so often or until the fault is removed."""
        return self.node.faults.add(
            Fault(
                "kv",
                operation="^SASL_AUTH$",
                effect="refuse",
                status="AUTH_ERROR",
                times=times,
            )
        )

    @inlineCallbacks
    def test_refused_and_then_granted(self) -> Any:
        struck = self.strike()
        cluster = self.cluster(TWO)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        theirs, _ = yield outcome(deferToThread(Cluster, self.connstr, self.options()))
        failing = [cluster.on_connect(), bucket.on_connect(), collection.get("k")]
        kinds = [kind for kind, _ in (yield gatherResults(map(outcome, failing)))]
        self.assertEqual(kinds, [theirs] * 3)
        yield until(lambda: len(cluster.pool.workers) == 2)
        pids = [worker.pid for worker in cluster.pool.workers]
        self.node.faults.remove(struck.number)
        yield collection.upsert(self.key("a"), 1, timeout=LONG)
        yield until(lambda: len(collection._target.lanes) == 2)
        self.assertEqual([worker.pid for worker in cluster.pool.workers], pids)

    @inlineCallbacks
    def test_workers_that_are_not_treated_alike(self) -> Any:
        """What one is granted, the one that was refused asks for again by itself."""
        struck = self.strike(times=1)
        cluster = self.cluster(TWO)
        yield until(lambda: struck.struck)
        yield until(lambda: len(cluster._session.lanes) == 2)
        yield cluster.wait_until_ready(LONG)

    @inlineCallbacks
    def test_credentials_that_are_refused_do_not_stay(self) -> Any:
        struck = self.strike()
        cluster = self.cluster(ONE)
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield self.assertFailure(cluster.on_connect(), AuthenticationException)
        wrong = PasswordAuthenticator(self.username, "wrong")
        yield self.assertFailure(cluster.set_authenticator(wrong), AuthenticationException)
        self.node.faults.remove(struck.number)
        # Those that it was made with.
        yield collection.upsert(self.key("a"), 1, timeout=LONG)

    @inlineCallbacks
    def test_credentials_for_a_server_that_is_not_there(self) -> Any:
        yield self.node.kill()
        right = PasswordAuthenticator(self.username, self.password)
        self.password = "wrong"
        cluster = self.cluster(ONE, timeout_options=bootstrap(0.5))
        collection = cluster.bucket(self.bucket_name).default_collection()
        changing = cluster.set_authenticator(right)
        yield self.assertFailure(changing, UnAmbiguousTimeoutException)
        yield self.node.restart()
        kind = ""
        while kind != "ok":  # the test's own time ends it
            kind, _ = yield outcome(collection.upsert(self.key("a"), 1, timeout=LONG))
            self.assertNotEqual(kind, "AuthenticationException")

    @inlineCallbacks
    def test_what_is_told_when_the_time_is_over(self) -> Any:
        cluster = self.cluster(ONE)
        missing = cluster.bucket("no such bucket")
        collection = missing.default_collection()
        yield self.assertFailure(missing.on_connect(), BucketNotFoundException)
        # The next attempt would have to wait for its turn.
        collection._target._failures = 20
        errors = yield gatherResults(
            [
                self.assertFailure(call, UnAmbiguousTimeoutException)
                for call in (
                    collection.get("a", timeout=SHORT),
                    collection.upsert("b", 1, timeout=SHORT),
                )
            ]
        )
        for error in errors:
            self.assertIsInstance(error.__cause__, BucketNotFoundException)
            self.assertIn("BucketNotFoundException", str(error))
        self.assertIsNot(errors[0].__cause__, errors[1].__cause__)

    @inlineCallbacks
    def test_an_exception_of_one_s_own(self) -> Any:
        self.strike()
        cluster = self.cluster(ONE)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        errors = yield gatherResults(
            [
                self.assertFailure(call, AuthenticationException)
                for call in (
                    cluster.on_connect(),
                    cluster.on_connect(),
                    bucket.on_connect(),
                    collection.get("a"),
                    collection.upsert("b", 1),
                )
            ]
        )
        self.assertEqual(len({id(error) for error in errors}), len(errors))
        self.assertEqual(len({str(error) for error in errors}), 1)
        self.assertEqual(len({error.error_code for error in errors}), 1)
        errors[0].about = "this one"
        self.assertFalse(any(hasattr(error, "about") for error in errors[1:]))
