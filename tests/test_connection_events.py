"""Connection events, the ways to make clusters, buckets and collections, and `quiet`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD
from couchbase import result as sdk
from couchbase.auth import PasswordAuthenticator
from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    DocumentNotFoundException,
    InvalidArgumentException,
)
from couchbase.options import ClusterOptions, GetOptions, SignedInt64
from couchbase.transcoder import JSONTranscoder
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support import ONE, ServerTestCase
from txcouchbase.arguments import read_options
from txcouchbase.cluster import (
    TxBucket,
    TxCluster,
    TxCollection,
    TxRawBucket,
    TxRawCluster,
    TxRawCollection,
    TxRawScope,
    TxScope,
)
from txcouchbase.exceptions import PoolClosed
from txcouchbase.settings import FacadeSettings
from txcouchbase.workers import WorkerPool
from txcouchbase.workers.delayed import DelayedCalls


def registered(facade: Any, event: str) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    facade.registerDeferred(event, deferred)
    return deferred


class EventTests(ServerTestCase):
    @inlineCallbacks
    def test_connect_and_the_end(self) -> Any:
        cluster = self.cluster()
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        facades = (cluster, bucket, bucket.default_scope(), collection)
        self.assertEqual([facade.connected for facade in facades], [False] * 4)
        self.assertIsNot(cluster.on_connect(), cluster.on_connect())
        waiting = [registered(facade, "connect") for facade in facades]
        ends = [registered(facade, "_dtor") for facade in facades]
        for deferred in waiting:
            self.assertIsNone((yield deferred))
        self.assertEqual([facade.connected for facade in facades], [True] * 4)
        for facade in facades:
            for event in ("connected", "", None):
                self.assertRaises(ValueError, facade.registerDeferred, event, Deferred())
            for late in (facade.on_connect(), registered(facade, "connect")):
                self.assertNoResult(late)
                yield late
        with self.assertRaises(AttributeError):
            cluster.connected = False
        self.assertFalse(any(deferred.called for deferred in ends))
        yield bucket.close()
        self.assertEqual([deferred.called for deferred in ends], [False, True, True, True])
        yield self.assertFailure(bucket.on_connect(), PoolClosed)
        # Closing the cluster ends the buckets that are open.
        again = cluster.bucket(self.bucket_name)
        ends.append(registered(again, "_dtor"))
        closing = cluster.close()
        self.assertFalse(ends[0].called)
        yield closing
        for deferred in ends:
            self.assertIsNone((yield deferred))
        for facade in (*facades, again, cluster.bucket("new")):
            late = registered(facade, "_dtor")
            self.assertNoResult(late)
            yield late
            yield self.assertFailure(facade.on_connect(), PoolClosed)
        self.assertEqual([facade.connected for facade in facades], [True] * 4)
        never_open = cluster.bucket("new").default_collection().get("k")
        yield self.assertFailure(never_open, PoolClosed)

    @inlineCallbacks
    def test_a_cluster_that_shares_its_pool(self) -> Any:
        pool = WorkerPool(ONE)
        self.addCleanup(pool.close)
        first, second = self.cluster(pool), self.cluster(pool)
        bucket = first.bucket(self.bucket_name)
        ends = [registered(facade, "_dtor") for facade in (first, bucket, second)]
        yield bucket.on_connect()
        yield first.close()
        self.assertEqual([deferred.called for deferred in ends], [True, True, False])
        # A bucket of a closed cluster on an open pool is closed too.
        fresh = first.bucket("another")
        yield registered(fresh, "_dtor")
        yield self.assertFailure(fresh.default_collection().get("k"), PoolClosed)
        yield pool.close()
        yield ends[2]

    @inlineCallbacks
    def test_failures_to_connect(self) -> Any:
        missing = self.cluster().bucket("no such bucket")
        for waiting in (registered(missing, "connect"), missing.on_connect()):
            yield self.assertFailure(waiting, BucketNotFoundException)
        self.assertFalse(missing.connected)
        self.password = "wrong"
        refused = self.cluster()
        yield self.assertFailure(registered(refused, "connect"), AuthenticationException)
        self.assertFalse(refused.connected)


class FormTests(ServerTestCase):
    @inlineCallbacks
    def test_ways_to_give_the_options(self) -> Any:
        login = PasswordAuthenticator(self.username, self.password)
        for number, cluster in enumerate(
            (
                TxRawCluster(self.connstr, ClusterOptions(login), pool=ONE),
                TxCluster(connection_string=self.connstr, authenticator=login, pool=ONE),
                TxCluster(self.connstr, username=self.username, password=self.password, pool=ONE),
            )
        ):
            self.addCleanup(cluster.close)
            parent, name = cluster, self.bucket_name
            bucket = TxBucket(parent, name)
            collection = (
                TxCollection(bucket, "_default")
                if number
                else TxCollection(TxScope(bucket, "_default"), "_default")
            )
            stored = yield collection.upsert(self.key("k"), number)
            self.assertTrue(stored.success)
            found = yield collection.get(self.key("k"))
            self.assertEqual(found.value, number)

    @inlineCallbacks
    def test_quiet(self) -> Any:
        cluster = TxCluster(self.connstr, self.options(), pool=ONE, quiet=True)
        self.addCleanup(cluster.close)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.default_collection()
        self.assertEqual([bucket.quiet, bucket.scope("s").quiet, collection.quiet], [True] * 3)
        key = self.key("missing")
        binary = collection.binary()
        for calling, kind in (
            (collection.get(key), sdk.GetResult),
            (collection.get(key, GetOptions(with_expiry=True)), sdk.GetResult),
            (collection.get(key, quiet=True), sdk.GetResult),
            (collection.replace(key, 1), sdk.MutationResult),
            (collection.remove(key), sdk.MutationResult),
            (collection.lookup_in(key, [SD.get("a")]), sdk.LookupInResult),
            (collection.mutate_in(key, [SD.upsert("a", 1)]), sdk.MutateInResult),
            (binary.increment(key, initial=SignedInt64(-1)), sdk.CounterResult),
        ):
            result = yield calling
            self.assertIsInstance(result, kind)
            self.assertEqual((result.success, result.value, result.key), (False, None, key))
        self.assertRaises(InvalidArgumentException, collection.get, key, quiet="yes")
        # It says nothing of other errors, nor of what has no result.
        loud = (collection.get(key, quiet=False), collection.unlock(key, 1))
        for calling in loud:
            yield self.assertFailure(calling, DocumentNotFoundException)
        collection.quiet = False
        yield self.assertFailure(collection.get(key), DocumentNotFoundException)
        self.assertTrue(bucket.default_collection().quiet)
        self.assertFalse(TxCollection(bucket, "_default", quiet=False).quiet)
        raw = TxRawCollection(bucket, "_default")
        result = yield raw.defer(raw.get(key))
        self.assertFalse(result.success)


class DelayedCallsTests(SynchronousTestCase):
    def test_a_bounded_wait_ends_with_the_owner(self) -> None:
        clock = Clock()
        calls = DelayedCalls(clock)
        first, second = (calls.bounded(waiting, 5) for waiting in (Deferred(), succeed(None)))
        self.assertEqual([first.called, second.called], [False, True])
        clock.advance(5)
        self.assertTrue(first.called)
        last = calls.bounded(Deferred(), 5)
        calls.cancel_all()
        self.assertTrue(last.called)
        self.assertEqual(clock.getDelayedCalls(), [])


class SnapshotTests(SynchronousTestCase):
    def test_options_are_taken_as_they_are_at_the_call(self) -> None:
        login = PasswordAuthenticator("user", "pass-word")
        settings = FacadeSettings("couchbase://host", (ClusterOptions(login),), {})
        login["password"] = "other"
        kept = settings.for_workers.authenticator
        self.assertEqual((type(kept), kept["password"]), (PasswordAuthenticator, "pass-word"))
        project = ["a"]
        transcoder = settings.transcoder
        options = read_options("get", (), {"project": project}, transcoder, 1.0, False)
        project.append("b")
        self.assertEqual(options.wire["projections"], ["a"])

    def test_no_timeout_is_the_default_one(self) -> None:
        block = GetOptions()
        block["timeout"] = None
        for opts, kwargs, timeout in (
            ((), {}, None),
            ((), {"timeout": None}, None),
            ((block,), {}, None),
            ((block,), {"timeout": timedelta(seconds=2)}, 2.0),
            ((GetOptions(timeout=timedelta(seconds=2)),), {"timeout": None}, None),
            ((), {"timeout": timedelta(0)}, 0.0),
        ):
            options = read_options("get", opts, kwargs, JSONTranscoder(), 1.0, False)
            self.assertEqual(options.timeout, timeout, (opts, kwargs))


class RefusalTests(SynchronousTestCase):
    def test_what_is_not_made_from_a_connection_string(self) -> None:
        login = ClusterOptions(PasswordAuthenticator("user", "pass-word"))
        for made in (TxBucket, TxRawBucket, TxScope, TxRawScope, TxCollection, TxRawCollection):
            for args, kwargs in (
                ((), {}),
                (("couchbase://host",), {}),
                (("couchbase://host", login), {}),
                ((login, "name"), {}),
                ((None, "name"), {}),
                (("couchbase://host", "name"), {"username": "user"}),
                ((), {"connection_string": "couchbase://host", "password": "pass-word"}),
            ):
                with self.assertRaises(InvalidArgumentException) as caught:
                    made(*args, **kwargs)
                self.assertIn("connection string", str(caught.exception))
                self.assertNotIn("pass-word", str(caught.exception))
        self.assertRaises(
            InvalidArgumentException, TxCluster, "couchbase://host", login, quiet="yes"
        )
