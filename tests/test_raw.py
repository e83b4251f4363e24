"""The raw form: `AsyncResult` by itself, and the methods of raw collections through a worker."""

from __future__ import annotations

import gc
import inspect
from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD
from couchbase import result as sdk
from couchbase.exceptions import DocumentNotFoundException, InvalidArgumentException
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.order import OrderCheck
from tests.support import ServerTestCase
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.cluster import (
    AsyncResult,
    BinaryCollection,
    Collection,
    TxRawBinaryCollection,
    TxRawCluster,
    TxRawCollection,
)
from txcouchbase.exceptions import PoolClosed
from txcouchbase.workers import PoolConfig

MINUTE = timedelta(minutes=1)


class _Operation:
    kind = OPERATIONS["get"]

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class AsyncResultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.operation = _Operation()
        self.result: AsyncResult[int] = AsyncResult(self.operation, self.clock)
        self.seen: list[Any] = []

    def err(self, *args: Any) -> None:
        self.seen.append(args)

    def test_a_callback_that_waits(self) -> None:
        self.result.set_callbacks(self.seen.append, self.err)
        self.assertEqual(self.result.callback, self.seen.append)
        self.assertEqual(self.result.errback, self.err)
        self.assertEqual(repr(self.result), "<AsyncResult of get, waiting>")
        self.result.succeeded(5)
        self.assertEqual(self.seen, [5])
        self.assertEqual(repr(self.result), "<AsyncResult 5>")
        self.clock.advance(1)
        self.assertEqual(self.seen, [5])

    def test_callbacks_that_come_late(self) -> None:
        self.result.succeeded(5)
        self.result.callback = lambda _: self.fail("it was replaced before its turn")
        self.result.callback = self.seen.append
        self.result.errback = self.err
        self.assertEqual(self.seen, [])
        self.clock.advance(0)
        self.assertEqual(self.seen, [5])
        self.clock.advance(0)
        self.assertEqual(self.seen, [5])
        self.result.callback = self.seen.append
        self.clock.advance(0)
        self.assertEqual(self.seen, [5, 5])

    def test_an_errback(self) -> None:
        error = ValueError("x")
        self.result.errback = self.err
        self.result.failed(error)
        self.assertEqual(self.seen, [(self.result, ValueError, error, None)])
        self.assertEqual(repr(self.result), "<AsyncResult failed with ValueError('x')>")

    def test_an_errback_that_comes_late(self) -> None:
        try:
            raise ValueError("x")
        except ValueError as caught:
            error = caught
        self.result.callback = self.seen.append
        self.result.failed(error)
        self.result.errback = self.err
        self.assertEqual(self.seen, [])
        self.clock.advance(0)
        self.assertEqual(self.seen, [(self.result, ValueError, error, error.__traceback__)])

    def test_an_error_that_nobody_wants_is_logged(self) -> None:
        self.result.callback = self.seen.append
        self.result.failed(ValueError("x"))
        self.assertEqual(self.flushLoggedErrors(), [])
        del self.result
        gc.collect()
        self.assertEqual([f.getErrorMessage() for f in self.flushLoggedErrors(ValueError)], ["x"])

    def test_what_callbacks_raise_is_logged(self) -> None:
        self.result.callback = lambda _: 1 / 0
        self.result.succeeded(5)
        failed: AsyncResult[int] = AsyncResult(self.operation, self.clock)
        failed.errback = lambda *_: 1 / 0
        failed.failed(ValueError("x"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        del failed
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancel(self) -> None:
        self.result.errback = self.err
        self.result.cancel()
        self.assertEqual(self.operation.cancelled, 1)
        self.assertEqual(self.seen[0][:2], (self.result, CancelledError))
        self.result.cancel()
        self.assertEqual((self.operation.cancelled, len(self.seen)), (1, 1))

    def test_it_ends_with_its_last_user(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        forgotten: list[int] = []

        class Noticed(AsyncResult[int]):
            def __del__(self) -> None:
                forgotten.append(1)

        result = Noticed(self.operation, self.clock)
        result.callback = lambda _, kept=result: kept
        result.succeeded(5)
        del result
        self.assertEqual(forgotten, [1])


class RawCollectionTests(ServerTestCase):
    @inlineCallbacks
    def test_the_methods(self) -> Any:
        cluster = TxRawCluster(
            self.connstr, self.options(), pool=PoolConfig(min_workers=1, max_workers=1)
        )
        self.addCleanup(cluster.close)
        bucket = cluster.bucket(self.bucket_name)
        collection = bucket.scope("_default").collection("_default")
        for made in (collection, bucket.default_collection(), bucket.collection("_default")):
            self.assertIs(type(made), TxRawCollection)
        binary = collection.binary()
        key, defer = self.key("k"), collection.defer
        for started, kind in (
            (collection.upsert(key, {"n": 1}), sdk.MutationResult),
            (collection.get(key), sdk.GetResult),
            (collection.replace(key, {"n": 2}, expiry=MINUTE), sdk.MutationResult),
            (collection.exists(key), sdk.ExistsResult),
            (collection.touch(key, MINUTE), sdk.MutationResult),
            (collection.get_and_touch(key, MINUTE), sdk.GetResult),
            (collection.lookup_in(key, [SD.get("n")]), sdk.LookupInResult),
            (collection.mutate_in(key, [SD.upsert("n", 3)]), sdk.MutateInResult),
            (collection.insert(self.key("new"), "v"), sdk.MutationResult),
            (collection.remove(key), sdk.MutationResult),
            (binary.increment(key), sdk.CounterResult),
            (binary.decrement(key), sdk.CounterResult),
            (binary.append(key, "1"), sdk.MutationResult),
            (binary.prepend(key, "1"), sdk.MutationResult),
        ):
            self.assertIsInstance(started, AsyncResult)
            self.assertIsInstance((yield defer(started)), kind)
        locked = yield defer(collection.get_and_lock(key, MINUTE))
        self.assertEqual(locked.value, 101)
        self.assertIsNone((yield defer(collection.unlock(key, locked.cas))))
        self.assertRaises(InvalidArgumentException, collection.get, 5)
        self.assertRaises(TypeError, collection.touch, key)

        # The errback, and `defer` once the outcome is there.
        done: Deferred[Any] = Deferred()
        missing = collection.get(self.key("missing"))
        missing.errback = lambda *args: done.callback(args)
        result, kind, error, traceback = yield done
        self.assertIs(result, missing)
        self.assertIs(kind, DocumentNotFoundException)
        self.assertIsInstance(error, DocumentNotFoundException)
        self.assertEqual(traceback, error.__traceback__)
        late = defer(missing)
        self.assertNoResult(late)
        yield self.assertFailure(late, DocumentNotFoundException)

        # Cancelled before and after the outcome came.
        before = defer(collection.get(key))
        before.cancel()
        yield self.assertFailure(before, CancelledError)
        after = defer(missing)
        after.cancel()
        yield self.assertFailure(after, CancelledError)

        check = OrderCheck(
            _Deferring(collection), keys=5, operations=1000, in_flight=100, prefix=self.key("")
        )
        yield check.run()
        self.assertEqual((check.violations, check.answered), ([], 1000))

        yield cluster.close()
        refused = collection.get(key)
        seen: list[Any] = []
        refused.set_callbacks(None, lambda *args: seen.append(args))
        self.assertEqual(seen, [])
        yield self.assertFailure(defer(collection.upsert(key, 1)), PoolClosed)
        self.assertEqual([args[1] for args in seen], [PoolClosed])


class _Deferring:
    def __init__(self, collection: TxRawCollection) -> None:
        self.upsert = lambda *args, **options: collection.defer(collection.upsert(*args, **options))
        self.get = lambda *args, **options: collection.defer(collection.get(*args, **options))


class FormTests(SynchronousTestCase):
    def test_both_forms_have_the_same_methods(self) -> None:
        for deferred, raw in (
            (Collection, TxRawCollection),
            (BinaryCollection, TxRawBinaryCollection),
        ):
            names = [name for name in dir(deferred) if not name.startswith("_")]
            for name in names:
                theirs, ours = (
                    inspect.getattr_static(form, name, None) for form in (deferred, raw)
                )
                if name != "binary" and not name.startswith("couchbase_"):
                    self.assertIs(theirs, ours, name)
