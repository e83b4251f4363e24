"""Multi operations through real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any

from couchbase import result as sdk
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    CasMismatchException,
    DocumentExistsException,
    DocumentNotFoundException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
    ValueFormatException,
)
from couchbase.options import (
    AppendMultiOptions,
    DeltaValue,
    GetMultiOptions,
    GetOptions,
    IncrementMultiOptions,
    ReplaceOptions,
    SignedInt64,
    UpsertMultiOptions,
    UpsertOptions,
)
from couchbase.transcoder import RawBinaryTranscoder, RawStringTranscoder
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater

from tests.support import LONG, TWO, ServerTestCase
from txcouchbase.cluster import TxRawCluster
from txcouchbase.exceptions import PoolClosed, PoolOverloaded, WorkerLost
from txcouchbase.workers import PoolConfig

MINUTE = timedelta(minutes=1)


class MultiTests(ServerTestCase):
    def keys(self, *names: str) -> list[str]:
        return [self.key(name) for name in names]

    def docs(self, **documents: Any) -> dict[str, Any]:
        return {self.key(name): value for name, value in documents.items()}

    @inlineCallbacks
    def test_documents(self) -> Any:
        collection = self.collection(TWO)
        a, b, c = keys = self.keys("a", "b", "c")
        documents = {a: 1, b: {"n": [2]}}
        storing = collection.upsert_multi(documents)
        documents[a] = documents[b] = "changed after the call"
        stored = yield storing
        self.assertIsInstance(stored, sdk.MultiMutationResult)
        self.assertTrue(stored.all_ok)
        self.assertEqual(list(stored), [a, b])
        self.assertEqual([type(result) for result in stored.values()], [sdk.MutationResult] * 2)

        found = yield collection.get_multi(reversed(keys))
        self.assertIsInstance(found, sdk.MultiGetResult)
        self.assertIsInstance(found, Mapping)
        self.assertFalse(found.all_ok)
        self.assertEqual(list(found.keys()), [c, b, a])
        self.assertEqual(len(found), 3)
        self.assertIn(c, found)
        self.assertNotIn("d", found)
        self.assertEqual(found[b].content_as[dict], {"n": [2]})
        self.assertEqual(found[a].key, a)
        self.assertEqual(found[a].cas, stored[a].cas)
        self.assertIsInstance(found[c], DocumentNotFoundException)
        self.assertEqual(found.exceptions, {c: found[c]})
        self.assertEqual(found.results, {b: found[b], a: found[a]})
        self.assertEqual(found.items(), {**found.results, **found.exceptions}.items())
        self.assertTrue(repr(found).startswith("MultiGetResult( "))

        there = yield collection.exists_multi(keys)
        self.assertIsInstance(there, sdk.MultiExistsResult)
        self.assertEqual([result.exists for result in there.values()], [True, True, False])
        self.assertTrue(there.all_ok)

        inserted = yield collection.insert_multi({b: 0, c: 3})
        self.assertIsInstance(inserted[b], DocumentExistsException)
        self.assertTrue(inserted[c].success)
        replaced = yield collection.replace_multi(
            {a: 10, b: 20}, per_key_options={a: ReplaceOptions(cas=1), b: {"cas": found[b].cas}}
        )
        self.assertIsInstance(replaced[a], CasMismatchException)
        self.assertTrue(replaced[b].success)

        yield collection.touch_multi([a, b], MINUTE)
        found = yield collection.get_multi([a, b], GetMultiOptions(with_expiry=True))
        self.assertTrue(all(result.expiry_time for result in found.values()))
        removed = yield collection.remove_multi([a, b, "missing"])
        self.assertIsInstance(removed, sdk.MultiMutationResult)
        self.assertEqual(list(removed.exceptions), ["missing"])

    @inlineCallbacks
    def test_locks(self) -> Any:
        collection = self.collection()
        a, b = keys = self.keys("a", "b")
        yield collection.upsert_multi({a: 1, b: 2})
        locked = yield collection.get_and_lock_multi(keys, timedelta(seconds=20))
        self.assertIsInstance(locked, sdk.MultiGetResult)
        refused = yield collection.remove_multi(keys, timeout=timedelta(seconds=0.2))
        self.assertEqual(len(refused.exceptions), 2)
        unlocked = yield collection.unlock_multi(locked)
        self.assertEqual(unlocked, {a: None, b: None})
        self.assertTrue(unlocked.all_ok)
        locked = yield collection.lock_multi([a], timedelta(seconds=20))
        unlocked = yield collection.unlock_multi({a: locked[a].cas, "missing": 5})
        self.assertIsNone(unlocked[a])
        self.assertIsInstance(unlocked, dict)
        self.assertIsInstance(unlocked["missing"], DocumentNotFoundException)
        self.assertEqual((list(unlocked.results), list(unlocked.exceptions)), ([a], ["missing"]))
        self.assertFalse(unlocked.all_ok)

    @inlineCallbacks
    def test_binary(self) -> Any:
        collection = self.collection()
        binary = collection.binary()
        a, b, c = self.keys("a", "b", "c")
        counted = yield binary.increment_multi([a, b])
        self.assertIsInstance(counted, sdk.MultiCounterResult)
        counted = yield binary.increment_multi(
            [a, b, c],
            IncrementMultiOptions(
                delta=DeltaValue(5), per_key_options={c: {"initial": SignedInt64(100)}}
            ),
        )
        self.assertEqual([result.content for result in counted.values()], [5, 5, 100])
        counted = yield binary.decrement_multi([a, a, b], delta=DeltaValue(2))
        self.assertEqual([result.content for result in counted.values()], [1, 3])
        raw = RawBinaryTranscoder()
        yield collection.upsert_multi({a: b"m", b: b"n"}, transcoder=raw)
        joined = yield binary.append_multi({a: "-end", b: bytearray(b"!")}, AppendMultiOptions())
        self.assertIsInstance(joined, sdk.MultiMutationResult)
        yield binary.prepend_multi({a: b"start-"})
        found = yield collection.get_multi([a, b], transcoder=raw)
        self.assertEqual([result.value for result in found.values()], [b"start-m-end", b"n!"])

    @inlineCallbacks
    def test_options_for_all_and_for_a_key(self) -> Any:
        collection = self.collection()
        a, b = self.keys("a", "b")
        with self.node.recording() as record:
            yield collection.upsert_multi(
                {a: "text", b: 1},
                UpsertMultiOptions(
                    expiry=MINUTE,
                    per_key_options={
                        a: UpsertOptions(
                            transcoder=RawStringTranscoder(), expiry=timedelta(seconds=5)
                        )
                    },
                ),
            )
        sent = {request.key: request.options for request in record.find("kv", "SET")}
        self.assertEqual(sent[a]["expiry"], 5)
        self.assertEqual(sent[b]["expiry"], 60)
        found = yield collection.get_multi(
            [a, b], per_key_options={a: GetOptions(transcoder=RawStringTranscoder())}
        )
        self.assertEqual([result.value for result in found.values()], ["text", 1])
        durable = ServerDurability(DurabilityLevel.MAJORITY)
        with self.node.recording() as record:
            yield collection.remove_multi([a, b], durability=durable)
        self.assertTrue(all(r.options["durability"] for r in record.find("kv", "DELETE")))

    @inlineCallbacks
    def test_the_first_error_is_raised_if_wanted(self) -> Any:
        collection = self.collection()
        a, b, _ = keys = self.keys("a", "b", "c")
        yield collection.upsert(b, 1)
        failing = collection.get_multi(keys, return_exceptions=False)
        error = yield self.assertFailure(failing, DocumentNotFoundException)
        self.assertEqual(list(error.all_results), keys)
        self.assertIs(error.all_results[a], error)
        self.assertEqual(error.all_results[b].value, 1)
        self.assertIsInstance(error.result, sdk.GetResult)
        self.assertEqual((error.result.key, error.result.success), (a, False))
        fine = yield collection.get_multi([b], return_exceptions=False)
        self.assertTrue(fine.all_ok)
        quiet = yield collection.get_multi(keys, quiet=True, return_exceptions=False)
        self.assertEqual([result.success for result in quiet.values()], [False, True, False])
        self.assertEqual([result.value for result in quiet.values()], [None, 1, None])
        self.assertEqual(quiet.exceptions, {})
        self.assertFalse(quiet.all_ok)

    @inlineCallbacks
    def test_names_that_mean_something_to_the_sdk(self) -> Any:
        collection = self.collection()
        names = ["all_okay", "all_ok", "results", "kwargs"]
        stored = yield collection.upsert_multi({name: name for name in names})
        self.assertTrue(stored.all_ok)
        found = yield collection.get_multi(names)
        self.assertEqual(
            {name: result.value for name, result in found.items()}, {name: name for name in names}
        )
        yield collection.remove_multi(names)

    @inlineCallbacks
    def test_arguments_that_are_refused_at_the_call(self) -> Any:
        collection = self.collection()
        for method, args, kwargs in (
            ("get_multi", ("one key",), {}),
            ("get_multi", (5,), {}),
            ("get_multi", (["a", 5],), {}),
            ("get_multi", (["a", "\ud800"],), {}),
            ("get_multi", (["a"],), {"expiry": MINUTE}),
            ("get_multi", (["a"],), {"per_key_options": {"a": 5}}),
            ("get_multi", (["a"],), {"per_key_options": {"a": {"expiry": MINUTE}}}),
            ("get_multi", (["a"],), {"per_key_options": 5}),
            ("get_multi", (["a"],), {"return_exceptions": "no"}),
            ("get_multi", (["a"],), {"timeout": 5}),
            ("upsert_multi", (["a"],), {}),
            ("upsert_multi", ({"a": 1, 5: 1},), {}),
            ("unlock_multi", (["a"],), {}),
            ("unlock_multi", ({"a": "cas"},), {}),
        ):
            with self.assertRaises(InvalidArgumentException, msg=(method, args, kwargs)):
                getattr(collection, method)(*args, **kwargs)
        self.assertRaises(ValueFormatException, collection.upsert_multi, {"a": 1, "b": b"bytes"})
        self.assertRaises(ValueError, collection.binary().append_multi, {"a": 1})
        for timeout in ({}, {"timeout": None}):
            found = yield collection.get_multi([self.key("a")], **timeout)
            self.assertIsInstance(found[self.key("a")], DocumentNotFoundException)
        nothing = yield collection.get_multi([])
        self.assertEqual((len(nothing), nothing.all_ok), (0, True))

    @inlineCallbacks
    def test_raw(self) -> Any:
        cluster = TxRawCluster(
            self.connstr, self.options(), pool=PoolConfig(min_workers=1, max_workers=1)
        )
        self.addCleanup(cluster.close)
        collection = cluster.bucket(self.bucket_name).default_collection()
        keys = self.keys("a", "b")
        stored = yield collection.defer(collection.upsert_multi(dict.fromkeys(keys, 1)))
        self.assertIsInstance(stored, sdk.MultiMutationResult)
        counted = yield collection.defer(collection.binary().increment_multi(keys))
        self.assertEqual([result.content for result in counted.values()], [2, 2])
        failing = collection.defer(collection.get_multi(["missing"], return_exceptions=False))
        error = yield self.assertFailure(failing, DocumentNotFoundException)
        self.assertEqual(list(error.all_results), ["missing"])
        given_up = collection.get_multi(keys)
        deferred = collection.defer(given_up)
        given_up.cancel()
        yield self.assertFailure(deferred, CancelledError)


class AdmissionTests(ServerTestCase):
    """Many keys, little room."""

    @inlineCallbacks
    def test_order_among_multi_and_other_operations(self) -> Any:
        # A window of eight keys, so that most wait for their turn while others overtake them.
        collection = self.collection(PoolConfig(min_workers=2, max_workers=2, batch_max_ops=2))
        random = Random(5)
        names = [self.key(str(number)) for number in range(30)]
        written: dict[str, int] = dict.fromkeys(names, 0)
        yield collection.upsert_multi(written)
        wrong: list[Any] = []

        def check(result: Any, expected: dict[str, int]) -> None:
            values = {key: found.value for key, found in result.items()}
            if values != expected:
                wrong.append((values, expected))

        calls: list[Any] = []
        for number in range(1, 400):
            chosen = random.sample(names, random.choice((1, 5, 25)))
            if random.random() < 0.5:
                documents = dict.fromkeys(chosen, number)
                written.update(documents)
                calls.append(collection.upsert_multi(documents, timeout=LONG))
            elif len(chosen) > 1:
                expected = {key: written[key] for key in chosen}
                calls.append(
                    collection.get_multi(chosen, timeout=LONG).addCallback(check, expected)
                )
            else:
                (key,) = chosen
                reading = collection.get(key, timeout=LONG).addCallback(
                    lambda found, key=key: {key: found}
                )
                calls.append(reading.addCallback(check, {key: written[key]}))
                written[key] = number
                calls.append(collection.upsert(key, number, timeout=LONG))
        yield gatherResults(calls, consumeErrors=True)
        self.assertEqual(wrong, [])

    @inlineCallbacks
    def test_a_worker_s_death_costs_only_what_was_on_it(self) -> Any:
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1, batch_max_ops=4))
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield collection.upsert(self.key("a"), 1)
        documents = {self.key(str(number)): number for number in range(100)}
        self.node.hold()
        storing = collection.upsert_multi(documents, timeout=timedelta(seconds=30))
        yield deferLater(reactor, 0)  # the first batch leaves at the end of the turn
        (worker,) = cluster.pool.workers
        os.kill(worker.pid, signal.SIGKILL)
        self.node.release()
        stored = yield storing
        self.assertEqual(len(stored), 100)
        self.assertEqual({type(error) for error in stored.exceptions.values()}, {WorkerLost})
        self.assertGreaterEqual(len(stored.results), 92)

    @inlineCallbacks
    def test_any_number_of_keys_and_others_beside_them(self) -> Any:
        cluster = self.cluster(
            PoolConfig(min_workers=2, max_workers=2, max_pending=40, batch_max_ops=4)
        )
        collection = cluster.bucket(self.bucket_name).default_collection()
        yield cluster.wait_until_ready(timedelta(seconds=20))
        documents = {self.key(str(number)): number for number in range(1000)}
        # In the middle of the multi operation: each of these keys still waits, and goes first.
        last = list(documents)[-5:]
        storing = collection.upsert_multi(documents)
        self.assertTrue(all(worker.load for worker in cluster.pool.workers))
        reads = gatherResults([collection.get(key) for key in last])
        overwritten = collection.upsert(last[0], "later")
        fetching = collection.get_multi(last)
        seen = yield reads
        self.assertFalse(storing.called)
        self.assertEqual([result.value for result in seen], list(documents.values())[-5:])
        yield overwritten
        found = yield fetching
        self.assertEqual(found[last[0]].value, "later")
        stored = yield storing
        self.assertTrue(stored.all_ok)
        self.assertEqual(list(stored), list(documents))
        found = yield collection.get_multi(documents)
        numbers = [result.value for result in found.values()]
        self.assertEqual(numbers, [*range(995), "later", *range(996, 1000)])
        # Three at once, for which there is not room for three windows.
        names = list(documents)
        again = [collection.get_multi(names[start : start + 300]) for start in (0, 300, 600)]
        for result in (yield gatherResults(again)):
            self.assertTrue(result.all_ok)

    @inlineCallbacks
    def test_it_is_refused_as_one(self) -> Any:
        pool = PoolConfig(min_workers=1, max_workers=1, max_pending=2, max_pending_bytes=1000)
        collection = self.collection(pool)
        singles = [collection.get(self.key("a")) for _ in range(2)]
        refused = collection.get_multi(self.keys("a", "b"))
        yield self.assertFailure(refused, PoolOverloaded)
        for single in singles:
            yield self.assertFailure(single, DocumentNotFoundException)
        self.assertEqual(collection._pool._pending_bytes, 0)
        large = {self.key(str(number)): "x" * 100 for number in range(50)}
        storing = collection.upsert_multi(large)
        yield self.assertFailure(collection.upsert_multi(large), PoolOverloaded)
        yield storing
        self.assertEqual((collection._pool._pending, collection._pool._pending_bytes), (0, 0))

    def keys(self, *names: str) -> list[str]:
        return [self.key(name) for name in names]

    @inlineCallbacks
    def test_cancel_deadline_and_close(self) -> Any:
        cluster = self.cluster(
            PoolConfig(min_workers=1, max_workers=1, max_pending=20, batch_max_ops=4)
        )
        collection = cluster.bucket(self.bucket_name).default_collection()
        pool = cluster.pool
        yield collection.upsert(self.key("a"), 1)
        keys = [self.key(str(number)) for number in range(200)]
        with self.node.recording() as record:
            cancelled = collection.upsert_multi(dict.fromkeys(keys, 1))
            cancelled.cancel()
            yield self.assertFailure(cancelled, CancelledError)
            yield collection.get(self.key("a"))
        self.assertEqual(record.find("kv", "SET"), [])
        self.assertEqual((pool._pending, pool._pending_bytes), (0, 0))

        late = yield collection.upsert_multi(
            dict.fromkeys(keys, 1), timeout=timedelta(microseconds=1)
        )
        self.assertEqual(len(late.exceptions), 200)
        for error in late.values():
            self.assertIsInstance(error, UnAmbiguousTimeoutException)
        yield collection.get(self.key("a"))

        closing = collection.get_multi(keys)
        closed = cluster.close()
        result = yield closing
        self.assertEqual(len(result), 200)
        kinds = {type(error) for error in result.values()}
        self.assertIn(PoolClosed, kinds)
        self.assertLessEqual(kinds, {PoolClosed, DocumentNotFoundException})
        yield closed
        yield self.assertFailure(collection.get_multi(keys), PoolClosed)

    @inlineCallbacks
    def test_a_refused_login_ends_all_keys_at_once(self) -> Any:
        self.password = "wrong"
        collection = self.collection(
            PoolConfig(min_workers=1, max_workers=1, max_pending=20, batch_max_ops=4)
        )
        keys = [self.key(str(number)) for number in range(200)]
        result = yield collection.get_multi(keys)
        kinds = {type(error).__name__ for error in result.values()}
        self.assertEqual(kinds, {"AuthenticationException"})
