"""Documents as lists, maps, sets and queues do what the SDK's own do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from warnings import catch_warnings, simplefilter

from couchbase import datastructures as sdk_structures
from couchbase.cluster import Cluster
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CasMismatchException,
    DocumentNotFoundException,
    InvalidArgumentException,
    QueueEmpty,
    UnAmbiguousTimeoutException,
)
from couchbase.logic.supportability import CouchbaseDeprecationWarning
from couchbase.result import MutateInResult, OperationResult
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import ServerTestCase, until
from txcouchbase import datastructures
from txcouchbase.cluster import AsyncResult, TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.compositions import Attempts
from txcouchbase.datastructures import TxRawCouchbaseQueue
from txcouchbase.testing import Fault
from txcouchbase.workers import PoolConfig

MINUTE = timedelta(minutes=1)
NOWHERE = "nowhere"
LISTS, MAPS, SETS, QUEUES = ("couchbase_list", "couchbase_map", "couchbase_set", "couchbase_queue")

Step = tuple[Any, ...]

METHODS: list[Step] = [
    ("list_append", "l", 1),
    ("list_append", "l", 1, {"create": True}),
    ("list_append", "l", [2, None], {"create": True, "timeout": MINUTE}),
    ("list_prepend", "l", "first", {"expiry": MINUTE}),
    ("list_prepend", "l2", 0, {"create": True}),
    ("list_get", "l", 0),
    ("list_get", "l", -1),
    ("list_get", "l", 9),
    ("list_get", NOWHERE, 0),
    ("list_set", "l", 1, {"a": 1}),
    ("list_set", "l", 9, 1),
    ("list_set", NOWHERE, 9, 1),
    ("list_remove", "l", 1),
    ("list_remove", "l", 9),
    ("list_remove", NOWHERE, 9),
    ("list_size", "l"),
    ("list_size", NOWHERE),
    ("map_add", "m", "a", 1),
    ("map_add", "m", "a", 1, {"create": True}),
    ("map_add", "m", "a", [2]),
    ("map_add", "m", "no.where", 1),
    ("map_add", "l", "a", 1),
    ("map_get", "m", "a"),
    ("map_get", "m", "a[0]"),
    ("map_get", "m", "z"),
    ("map_get", NOWHERE, "z"),
    ("map_get", "l", "z"),
    ("map_size", "m"),
    ("map_size", NOWHERE),
    ("map_remove", "m", "a"),
    ("map_remove", "m", "z"),
    ("map_remove", NOWHERE, "z"),
    ("list_append", "m", 1),
    ("set_add", "s", 1),
    ("set_add", "s", 1, {"create": True}),
    ("set_add", "s", 1),
    ("set_add", "s", "1"),
    ("set_add", "s", [1]),
    ("set_contains", "s", "1"),
    ("set_contains", "s", 2),
    ("set_contains", NOWHERE, 2),
    ("set_size", "s"),
    ("set_size", NOWHERE),
    ("set_remove", "s", 1),
    ("set_remove", "s", 1),
    ("set_remove", NOWHERE, 1),
    ("queue_push", "q", 1),
    ("queue_push", "q", 1, {"create": True}),
    ("queue_push", "q", {"n": 2}),
    ("queue_size", "q"),
    ("queue_size", NOWHERE),
    ("queue_pop", "q"),
    ("queue_pop", "q"),
    ("queue_pop", "q"),
    ("queue_pop", NOWHERE),
]
"""Calls of a collection's methods: the name, the key, the other arguments, and keywords."""

STRUCTURES: list[Step] = [
    (LISTS, "set_at", 0, 1),
    (LISTS, "remove_at", 0),
    (LISTS, "get_at", 0),
    (LISTS, "append", "b"),
    (LISTS, "prepend", ["a"]),
    (LISTS, "get_at", 0),
    (LISTS, "get_at", 9),
    (LISTS, "set_at", 1, 7),
    (LISTS, "set_at", 9, 7),
    (LISTS, "remove_at", 9),
    (LISTS, "size"),
    (LISTS, "index_of", 7),
    (LISTS, "index_of", 99),
    (LISTS, "get_all"),
    (LISTS, "__iter__"),
    (LISTS, "remove_at", 0),
    (LISTS, "clear"),
    (LISTS, "clear"),
    (LISTS, "index_of", 1),
    (MAPS, "remove", "a"),
    (MAPS, "get", "a"),
    (MAPS, "add", "a", [1, 2]),
    (MAPS, "add", "b", None),
    (MAPS, "get", "a"),
    (MAPS, "get", "z"),
    (MAPS, "exists", "a"),
    (MAPS, "exists", "z"),
    (MAPS, "remove", "z"),
    (MAPS, "remove", "b"),
    (MAPS, "size"),
    (MAPS, "keys"),
    (MAPS, "values"),
    (MAPS, "items"),
    (MAPS, "get_all"),
    (MAPS, "clear"),
    (MAPS, "keys"),
    (SETS, "remove", 1),
    (SETS, "add", 1),
    (SETS, "add", 1),
    (SETS, "add", "2"),
    (SETS, "contains", 1),
    (SETS, "contains", 5),
    (SETS, "remove", 1),
    (SETS, "remove", 1, MINUTE),
    (SETS, "size"),
    (SETS, "values"),
    (SETS, "clear"),
    (SETS, "size"),
    (QUEUES, "pop"),
    (QUEUES, "push", 1),
    (QUEUES, "push", {"n": 2}),
    (QUEUES, "size"),
    (QUEUES, "__iter__"),
    (QUEUES, "pop"),
    (QUEUES, "pop", MINUTE),
    (QUEUES, "pop"),
    (QUEUES, "clear"),
]
"""Calls of the methods of one list, map, set and queue."""


def seen(outcome: Any) -> Any:
    """What has to be the same on both ways."""
    if isinstance(outcome, OperationResult):
        return type(outcome), outcome.cas != 0, outcome.mutation_token() is not None
    if isinstance(outcome, MutateInResult):
        return None  # of CouchbaseMap.add, which promises None
    if isinstance(outcome, BaseException):
        message = getattr(outcome, "message", None) or str(outcome)
        if isinstance(outcome, QueueEmpty):
            message = "that of the SDK is empty in one of its two ways"
        return type(outcome), message, getattr(outcome, "error_code", None)
    if hasattr(outcome, "__next__"):
        return list(outcome)
    return outcome


async def items_of(structure: Any) -> list[Any]:
    return [item async for item in structure]


class StructureTests(ServerTestCase):
    def call(self, collection: Any, prefix: str, step: Step) -> Any:
        """Make one call on a collection, the SDK's or ours."""
        name, *arguments = step
        if name.startswith("couchbase_"):
            structure = getattr(collection, name)(self.key(prefix + name))
            method, *arguments = arguments
            if method == "__iter__":
                return list(structure) if hasattr(structure, method) else items_of(structure)
            return getattr(structure, method)(*arguments)
        keywords = arguments.pop() if isinstance(arguments[-1], dict) and self.takes(step) else {}
        key, *arguments = arguments
        return getattr(collection, name)(self.key(prefix + key), *arguments, **keywords)

    @staticmethod
    def takes(step: Step) -> bool:
        """Whether the last part of a step is keywords, and not a document."""
        return bool(set(step[-1]) & {"create", "timeout", "expiry"})

    @inlineCallbacks
    def outcomes(self, call: Callable[[Step], Any]) -> Any:
        found = []
        for step in METHODS + STRUCTURES:
            try:
                outcome = yield call(step)
            except Exception as error:
                outcome = error
            found.append((step, seen(outcome)))
        return found

    @inlineCallbacks
    def test_all_methods_in_all_forms(self) -> Any:
        collection = self.collection()
        raw_cluster = TxRawCluster(self.connstr, self.options(), pool=collection._pool)
        self.addCleanup(raw_cluster.close)
        raw = raw_cluster.bucket(self.bucket_name).default_collection()
        sync = self.collection(PoolConfig(min_workers=1, max_workers=1, client="sync"))
        sdk = yield deferToThread(Cluster, self.connstr, self.options())
        self.addCleanup(deferToThread, sdk.close)
        bucket = yield deferToThread(sdk.bucket, self.bucket_name)
        theirs = bucket.default_collection()

        def plainly(collection: TxCollection, prefix: str) -> Callable[[Step], Any]:
            def call(step: Step) -> Any:
                started = self.call(collection, prefix, step)
                return started if isinstance(started, Deferred) else ensureDeferred(started)

            return call

        def raw_call(step: Step) -> Any:
            started = self.call(raw, "raw", step)
            if not isinstance(started, AsyncResult):
                return ensureDeferred(started)
            return raw.defer(started)

        with catch_warnings():
            # The SDK's own use of an option that it calls deprecated.
            simplefilter("ignore", CouchbaseDeprecationWarning)
            judge = yield self.outcomes(partial(deferToThread, self.call, theirs, "sdk"))
        forms = yield gatherResults(
            [
                self.outcomes(plainly(collection, "ours")),
                self.outcomes(plainly(sync, "sync")),
                self.outcomes(raw_call),
            ],
            consumeErrors=True,
        )
        for form in forms:
            for ours, wanted in zip(form, judge, strict=True):
                self.assertEqual(ours, wanted)

    @inlineCallbacks
    def test_the_rest_with_one_worker(self) -> Any:
        if self.node is None:
            raise SkipTest("only the embedded node tells what arrived")
        collection = self.collection()
        yield collection.on_connect()
        for check in (
            self.check_options,
            self.check_what_is_refused_at_the_call,
            self.check_when_others_are_always_faster,
            self.check_cancelling,
            self.check_several_at_once,
            self.check_turns,
        ):
            yield check(collection)
            self.node.faults.clear()

    @inlineCallbacks
    def check_several_at_once(self, collection: TxCollection) -> Any:
        """Nothing is taken twice, nothing is there twice, nothing is lost."""
        both = (collection, self.collection())
        key = self.key("queue")
        pushes = [c.queue_push(key, n, create=True) for n, c in enumerate(both * 10)]
        yield gatherResults(pushes, consumeErrors=True)
        # All look before anybody takes.
        slow = Fault("kv", operation="^SUBDOC_MULTI_LOOKUP$", delay=0.2, times=10)
        self.node.faults.add(slow)
        with self.node.recording() as record:
            pops = [c.queue_pop(key) for c in both * 5]
            pops += [c.couchbase_queue(key).pop() for c in both * 5]
            items = yield gatherResults(pops, consumeErrors=True)
        self.assertEqual(sorted(items), list(range(20)))
        self.assertGreater(len(record.find("kv", "SUBDOC_MULTI_MUTATION", key)), 20)
        yield self.assertFailure(collection.queue_pop(key), QueueEmpty)

        key = self.key("set")
        added = yield gatherResults([c.set_add(key, "v", create=True) for c in both * 5])
        self.assertEqual(sum(result is not None for result in added), 1)
        added = yield gatherResults([c.couchbase_set(key).add(n) for n, c in enumerate(both * 5)])
        self.assertEqual(added, [True] * 10)
        removed = yield gatherResults([c.set_remove(key, "v") for c in both * 5])
        self.assertEqual(sum(result is not None for result in removed), 1)
        yield gatherResults([c.couchbase_set(key).remove(n) for n, c in enumerate(both * 5)])
        self.assertEqual(self.node.get(key).value, [])

    @inlineCallbacks
    def check_turns(self, collection: TxCollection) -> Any:
        """What shares a pool does not meet at a CAS, and is served in its order."""
        raw_cluster = TxRawCluster(self.connstr, self.options(), pool=collection._pool)
        self.addCleanup(raw_cluster.close)
        raw = raw_cluster.bucket(self.bucket_name).default_collection()
        yield raw.on_connect()
        key = self.key("line")
        count = 600
        self.node.put(key, list(range(count))[::-1])
        pop = [
            partial(collection.queue_pop, key),
            collection.couchbase_queue(key).pop,
            lambda: raw.defer(raw.queue_pop(key)),
            lambda: raw.defer(raw.couchbase_queue(key).pop()),
        ]
        with self.node.recording() as record:
            items = yield gatherResults([pop[number % 4]() for number in range(count)])
        self.assertEqual(items, list(range(count)))
        # Each has read once and removed once.
        self.assertEqual(len(record.find("kv", key=key)), 2 * count)

        key = self.key("crowd")
        self.node.put(key, list(range(60)))
        with self.node.recording() as record:
            for remove in (collection.set_remove, raw.set_remove):
                started = [remove(key, n) for n in range(60) if n % 2 == (remove == raw.set_remove)]
                if remove == raw.set_remove:
                    started = [raw.defer(result) for result in started]  # type: ignore[arg-type]
                yield gatherResults(
                    [*started, *(collection.couchbase_set(key).remove(n) for n in range(0, 60, 7))]
                )
        self.assertEqual(self.node.get(key).value, [])
        changes = record.find("kv", "SUBDOC_MULTI_MUTATION", key)
        self.assertEqual(len(changes), 60)

        # What waits for its turn: a wrong argument, a timeout, cancelling, an error before it.
        key = self.key("slow")
        self.node.put(key, [3, 2, 1])
        held = self.node.faults.add(Fault("kv", key=key, effect="silence", carried_out=False))
        first = collection.queue_pop(key, timeout=timedelta(seconds=1))
        self.assertRaises(InvalidArgumentException, collection.queue_pop, key, timeout="soon")
        self.assertRaises(InvalidArgumentException, collection.queue_pop, key, foo=1)
        late = collection.queue_pop(key, timeout=timedelta(milliseconds=100))
        cancelled = collection.couchbase_queue(key).pop()
        given_up = raw.couchbase_set(key).remove(2)
        second = collection.queue_pop(key, timeout=MINUTE)
        failure = []
        given_up.set_callbacks(None, lambda *error: failure.append(error[1]))
        cancelled.cancel()
        given_up.cancel()
        yield self.assertFailure(cancelled, CancelledError)
        self.assertEqual(failure, [CancelledError])
        error = yield self.assertFailure(late, UnAmbiguousTimeoutException)
        self.assertIn("Unable to pop from the queue", str(error))
        self.assertEqual((held.struck, first.called), (1, False))
        self.node.faults.clear()
        yield self.assertFailure(first, UnAmbiguousTimeoutException, AmbiguousTimeoutException)
        self.assertEqual((yield second), 1)
        self.assertEqual(self.node.get(key).value, [3, 2])
        self.assertEqual(collection._pool.turns._queues, {})

    @inlineCallbacks
    def check_options(self, collection: TxCollection) -> Any:
        key = self.key("k")
        durable = ServerDurability(DurabilityLevel.MAJORITY)
        calls: list[Step] = [
            ("list_append", key, 1, {"create": True}),
            ("list_prepend", key, 2),
            ("list_set", key, 0, 3),
            ("list_remove", key, 0),
            ("set_add", key, 5),
            ("set_remove", key, 5),
            ("queue_push", key, 5),
            ("map_add", self.key("m"), "a", 5, {"create": True}),
            ("map_remove", self.key("m"), "a"),
        ]
        for name, *arguments in calls:
            keywords = arguments.pop() if isinstance(arguments[-1], dict) else {}
            with self.node.recording() as record:
                yield getattr(collection, name)(
                    *arguments, durability=durable, expiry=MINUTE, **keywords
                )
            sent = record.find("kv", "SUBDOC_MULTI_MUTATION", arguments[0])[-1].options
            self.assertEqual((sent["durability"], sent["expiry"]), ("majority", 60), name)
        cas = self.node.get(key).cas
        yield self.assertFailure(collection.list_append(key, 1, cas=cas + 1), CasMismatchException)
        # A timeout is for all of the steps: each gets what is left.
        missing = self.key("new")
        with self.node.recording() as record:
            self.node.faults.add(Fault("kv", key=missing, delay=0.1, times=2))
            yield collection.list_append(
                missing, 1, create=True, timeout=timedelta(seconds=9), durability=durable
            )
        first, last = record.find("kv", "SUBDOC_MULTI_MUTATION", missing)
        self.assertGreaterEqual(
            first.options["durability_timeout"] - last.options["durability_timeout"], 150
        )

    @inlineCallbacks
    def check_what_is_refused_at_the_call(self, collection: TxCollection) -> Any:
        collection.quiet = True
        key = self.key("missing")
        for call in (
            partial(collection.list_append, key, 1, retry_ambiguous=True),
            partial(collection.list_get, key, 1, retry_ambiguous=True),
            partial(collection.list_append, key, 1, quiet=True),
            partial(collection.list_append, 5, 1),
            partial(collection.list_append, key, 1, timeout="soon"),
            partial(collection.queue_pop, key, timeout="soon"),
            partial(collection.couchbase_queue(key).pop, "soon"),
            partial(collection.couchbase_list(5).size),
        ):
            self.assertRaises(InvalidArgumentException, call)
        with self.assertRaises((TypeError, ValueError)):
            collection.list_append(key, object())
        # `quiet` is not for what has no Result.
        yield self.assertFailure(collection.list_size(key), DocumentNotFoundException)
        self.assertEqual((yield collection.couchbase_list(key).size()), 0)
        self.assertEqual(repr(collection.couchbase_list("a")), "<CouchbaseList 'a'>")
        collection.quiet = False

    @inlineCallbacks
    def check_when_others_are_always_faster(self, collection: TxCollection) -> Any:
        key = self.key("contended")
        self.node.put(key, [1, 2])
        self.node.faults.add(
            Fault("kv", "^SUBDOC_MULTI_MUTATION$", key, effect="refuse", status="KEY_EEXISTS")
        )
        soon = timedelta(seconds=0.5)
        for started in (
            collection.queue_pop(key, timeout=soon),
            collection.couchbase_queue(key).pop(soon),
            collection.set_remove(key, 1, timeout=soon),
            collection.couchbase_set(key).remove(1, soon),
        ):
            # Of the last operation, if it began just before the end.
            yield self.assertFailure(
                started, UnAmbiguousTimeoutException, AmbiguousTimeoutException
            )
        self.assertEqual(self.node.get(key).value, [1, 2])

        # Cancelled between two attempts, or in one: then nothing is left of it.
        waiting = [collection.queue_pop(key), collection.set_remove(key, 1)]
        with self.node.recording() as record:
            yield until(lambda: len(record.find("kv", "SUBDOC_MULTI_MUTATION", key)) > 6)
        for deferred in waiting:
            deferred.cancel()
            yield self.assertFailure(deferred, CancelledError)
        yield until(lambda: collection._pool.stats().pending == 0)

    @inlineCallbacks
    def check_cancelling(self, collection: TxCollection) -> Any:
        cluster = TxRawCluster(self.connstr, self.options(), pool=collection._pool)
        self.addCleanup(cluster.close)
        raw = cluster.bucket(self.bucket_name).default_collection()
        yield raw.on_connect()
        key = self.key("silent")
        self.node.put(key, [1])
        self.node.faults.add(Fault("kv", key=key, effect="silence", carried_out=False))
        queue = raw.couchbase_queue(key)
        self.assertIsInstance(queue, TxRawCouchbaseQueue)
        with self.node.recording() as record:
            results = [raw.list_append(key, 2), queue.pop()]
            yield until(lambda: record.find("kv", key=key))
        for result, name in zip(results, ("list_append", "TxRawCouchbaseQueue.pop"), strict=True):
            self.assertEqual(repr(result), f"<AsyncResult of {name}, waiting>")
            deferred = raw.defer(result)
            deferred.cancel()
            yield self.assertFailure(deferred, CancelledError)
        stats = cluster.pool.stats()
        self.assertEqual((stats.in_flight, stats.queued), (0, 0))


class AttemptsTests(SynchronousTestCase):
    def pauses(self, timeout: timedelta | None, first_after: float) -> tuple[float, Exception]:
        """When it gave up (seconds), and with what."""
        clock = Clock()
        attempts = Attempts(clock, timeout, "it did not succeed")
        clock.advance(first_after)
        while True:
            paused = Deferred.fromCoroutine(attempts.pause())
            if paused.called:
                failure = self.failureResultOf(paused)
                return clock.seconds(), failure.value
            (call,) = clock.getDelayedCalls()
            clock.advance(call.getTime() - clock.seconds())
            self.successResultOf(paused)

    def test_their_time(self) -> None:
        # The caller's time runs from the call on, the default from the first pause on.
        for timeout, first_after, end in ((timedelta(seconds=3), 1, 3), (None, 30, 40)):
            ended, error = self.pauses(timeout, first_after)
            self.assertTrue(end - 0.5 <= ended < end, ended)
            self.assertIsInstance(error, UnAmbiguousTimeoutException)
            self.assertEqual(error.message, "it did not succeed")


class FormTests(SynchronousTestCase):
    def test_they_are_those_of_the_sdk(self) -> None:
        for name in ("CouchbaseList", "CouchbaseMap", "CouchbaseQueue", "CouchbaseSet"):
            theirs = getattr(sdk_structures, name)
            deferred = getattr(datastructures, name)
            raw = getattr(datastructures, f"TxRaw{name}")
            self.assertTrue(issubclass(deferred, raw))
            for method in vars(theirs):
                if not method.startswith("_"):
                    self.assertIs(getattr(deferred, method), getattr(raw, method))
