"""Key-value operations through real workers do what the SDK's own blocking API does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import couchbase.subdocument as SD
from couchbase.cluster import Cluster
from couchbase.exceptions import CouchbaseException
from couchbase.options import (
    DeltaValue,
    GetOptions,
    IncrementOptions,
    InsertOptions,
    MutateInOptions,
    ReplaceOptions,
    SignedInt64,
    UpsertOptions,
)
from couchbase.result import (
    CounterResult,
    ExistsResult,
    GetResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
)
from couchbase.transcoder import RawBinaryTranscoder, RawStringTranscoder
from twisted.internet.defer import ensureDeferred, gatherResults, inlineCallbacks, maybeDeferred
from twisted.internet.threads import deferToThread

from tests.support import ServerTestCase
from txcouchbase.workers import PoolConfig

MINUTE = timedelta(minutes=1)

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


CONTEXT_FIELDS = ("status_code", "retry_reasons", "first_error_path", "first_error_index")


def call(method: str, *args: Any, **kwargs: Any) -> Call:
    return method, args, kwargs


def outcome_of(result: Any) -> tuple[Any, ...]:
    """What of a result or an exception has to be the same on both ways."""
    if isinstance(result, CouchbaseException):
        context = result.error_context
        return (
            type(result),
            result.message,
            result.error_code,
            type(context),
            *(context._get_base().get(field) for field in CONTEXT_FIELDS),
        )
    if isinstance(result, BaseException):
        return (type(result), str(result))
    if result is None:
        return (None,)
    seen: list[Any] = [type(result), result.key, result.success]
    if isinstance(result, CounterResult):
        seen.append(result.content)
    elif isinstance(result, ExistsResult):
        seen.append(result.exists)
    elif isinstance(result, MutateInResult):
        seen.append(result.value)
    elif isinstance(result, MutationResult):
        seen.append(result.mutation_token() is not None)
    elif isinstance(result, GetResult):
        try:
            seen.append(result.value)
        except Exception as error:
            seen.append((type(error), str(error)))
        seen.append(result.expiry_time is not None)
    elif isinstance(result, LookupInResult):
        seen.append(result.value)
    return tuple(seen)


DOCUMENT = {"name": "Zoë", "tags": ["a", "b"], "n": 1, "deep": {"er": [1, {"x": None}]}}
BIG = "x" * (20 * 1024 * 1024 - 1000)

# Keys get a prefix of twelve bytes: 238 more make 250, the most that a server takes.
CONTRACT: dict[str, list[Call]] = {
    "documents": [
        call("get", "d"),
        call("upsert", "d", DOCUMENT),
        call("get", "d"),
        call("insert", "d", 1),
        call("insert", "d2", [1, 2]),
        call("replace", "d2", "text"),
        call("replace", "missing", 1),
        call("exists", "d"),
        call("exists", "missing"),
        call("get", "d2"),
        call("remove", "d2"),
        call("remove", "d2"),
        call("get", "d2"),
    ],
    "json values": [
        step
        for value in (None, True, 0, -1.5, "", "ä", [], {}, [None], {"": ""}, 2**53, "\ud7ff")
        for step in (call("upsert", "j", value), call("get", "j"))
    ],
    "values that JSON cannot hold": [
        call("upsert", "bad", b"bytes"),
        call("upsert", "bad", object()),
        call("upsert", "bad", {"set": {1}}),
        call("upsert", "bad", {1: "number as a key"}),
        call("upsert", "bad", float("nan")),
        call("get", "bad"),
    ],
    "keys": [
        call("upsert", "schlüssel-ключ-鍵", 1),
        call("get", "schlüssel-ключ-鍵"),
        call("upsert", "k" * 238, 1),
        call("get", "k" * 238),
        call("upsert", "k" * 239, 1),
        call("get", "k" * 239),
        call("get", "\ud800"),
        call("upsert", "\ud800", 1),
        call("get", ""),
        call("upsert", "", 1),
    ],
    "sizes around the limits of AMP": [
        step
        for size in (0, 65_533, 65_534, 65_535, 65_536, 131_070, 131_071)
        for step in (
            call("upsert", "s", b"v" * size, UpsertOptions(transcoder=RawBinaryTranscoder())),
            call("get", "s", GetOptions(transcoder=RawBinaryTranscoder())),
            call("upsert", "t", "v" * size),
            call("get", "t"),
        )
    ],
    "transcoders": [
        call("upsert", "t", "plain", UpsertOptions(transcoder=RawStringTranscoder())),
        call("get", "t", transcoder=RawStringTranscoder()),
        call("get", "t"),
        call("get", "t", transcoder=RawBinaryTranscoder()),
    ],
    "options": [
        call("upsert", "o", 1, UpsertOptions(expiry=MINUTE)),
        call("get", "o", GetOptions(with_expiry=True)),
        call("upsert", "o", 2, preserve_expiry=True),
        call("get", "o", with_expiry=True),
        call("replace", "o", 3),
        call("get", "o", with_expiry=True),
        call("replace", "o", 3, ReplaceOptions(expiry=MINUTE, preserve_expiry=True)),
        call("replace", "o", 3, cas=1),
        call("remove", "o", cas=1),
        call("insert", "o2", 1, InsertOptions(expiry=MINUTE), timeout=timedelta(seconds=5)),
        call("get", "o2", GetOptions(with_expiry=True)),
        call("upsert", "o", 1, expiry=60),
        call("upsert", "o", 1, timeout=5),
        call("remove", "o", expiry=MINUTE),
    ],
    "expiry": [
        call("upsert", "e", 1),
        call("touch", "e", MINUTE),
        call("get", "e", with_expiry=True),
        call("touch", "e", timedelta(0)),
        call("get", "e", with_expiry=True),
        call("get_and_touch", "e", timedelta(days=40)),
        call("get", "e", with_expiry=True),
        call("touch", "missing", MINUTE),
        call("get_and_touch", "missing", MINUTE),
    ],
    "locks": [
        call("upsert", "l", 1),
        call("get_and_lock", "l", timedelta(seconds=20)),
        call("unlock", "l", 1),
        call("get", "l"),
        call("unlock", "missing", 1),
        call("get_and_lock", "missing", timedelta(seconds=20)),
    ],
    "projections": [
        call("upsert", "p", DOCUMENT),
        call("get", "p", GetOptions(project=["name", "deep.er"])),
        call("get", "p", project=["nothing"]),
        call("get", "p", project=["tags[1]"], with_expiry=True),
        call("get", "p", project="name"),
    ],
    "lookup_in": [
        call("upsert", "q", DOCUMENT),
        call("lookup_in", "q", (SD.get("name"), SD.exists("nothing"), SD.count("tags"))),
        call("lookup_in", "q", [SD.get("deep.er[1].x"), SD.get("tags[-1]"), SD.get("nothing")]),
        call("lookup_in", "q", [SD.get("$document.exptime", xattr=True), SD.get("")]),
        call("lookup_in", "missing", [SD.get("name")]),
        call("lookup_in", "q", []),
        call("lookup_in", "q", [SD.get("n")] * 17),
    ],
    "mutate_in": [
        call("upsert", "m", DOCUMENT),
        call("mutate_in", "m", [SD.upsert("name", "new"), SD.remove("n"), SD.insert("i", [1])]),
        call("mutate_in", "m", [SD.array_append("tags", "c", "d"), SD.array_prepend("tags", 0)]),
        call("mutate_in", "m", [SD.array_insert("tags[1]", "at"), SD.array_addunique("tags", "z")]),
        call("mutate_in", "m", [SD.increment("count", 5), SD.decrement("count", 2)]),
        call("mutate_in", "m", [SD.insert("name", 1)]),
        call("mutate_in", "m", [SD.replace("nothing", 1)]),
        call("mutate_in", "m", [SD.upsert("name", 1), SD.replace("nothing", 1)]),
        call("mutate_in", "m", [SD.upsert("a.b.c", 1)]),
        call("mutate_in", "m", [SD.upsert("a.b.c", 1, create_parents=True)]),
        call("mutate_in", "m", [SD.upsert("x.y", "attribute", xattr=True, create_parents=True)]),
        call("lookup_in", "m", [SD.get("x.y", xattr=True), SD.get("count")]),
        call("get", "m"),
        call("mutate_in", "fresh", [SD.upsert("a", 1)]),
        call("mutate_in", "fresh", [SD.upsert("a", 1)], MutateInOptions(insert_doc=True)),
        call("mutate_in", "fresh", [SD.upsert("a", 1)], insert_doc=True),
        call("mutate_in", "fresh2", [SD.upsert("a", 1)], upsert_doc=True, expiry=MINUTE),
        call("get", "fresh2", with_expiry=True),
        call("mutate_in", "fresh", [SD.upsert("a", 2)], insert_doc=True, upsert_doc=True),
        call("mutate_in", "fresh", [SD.insert("b", 2)], preserve_expiry=True),
        call("mutate_in", "fresh", [SD.upsert("a", 2)], cas=1),
    ],
    "counters": [
        call("binary.increment", "c"),
        call("binary.increment", "c", IncrementOptions(delta=DeltaValue(5))),
        call("binary.decrement", "c", delta=DeltaValue(2)),
        call("binary.decrement", "c", delta=DeltaValue(1000)),
        call("binary.increment", "c2", initial=SignedInt64(100)),
        call("binary.increment", "c3", initial=SignedInt64(-1)),
        call("binary.increment", "c", delta=3),
        call("get", "c2"),
        call("upsert", "text", "text"),
        call("binary.increment", "text"),
    ],
    "binary": [
        call("upsert", "b", b"mid", UpsertOptions(transcoder=RawBinaryTranscoder())),
        call("binary.append", "b", b"-end"),
        call("binary.prepend", "b", "start-"),
        call("binary.append", "b", bytearray(b"!")),
        call("get", "b", GetOptions(transcoder=RawBinaryTranscoder())),
        call("binary.append", "missing", b"x"),
        call("binary.prepend", "missing", b"x"),
        call("binary.append", "b", 5),
    ],
}


class ContractTests(ServerTestCase):
    """The same calls on the SDK's blocking API and on ours, compared one by one."""

    timeout = 120
    client = "raw"

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        self.sdk = yield deferToThread(Cluster, self.connstr, self.options())
        self.addCleanup(deferToThread, self.sdk.close)
        bucket = yield deferToThread(self.sdk.bucket, self.bucket_name)
        self.theirs = bucket.default_collection()
        self.ours = self.collection(PoolConfig(min_workers=1, max_workers=1, client=self.client))

    @inlineCallbacks
    def check(self, part: str) -> Any:
        """One part; a failure names its step."""
        for index, (method, (key, *args), kwargs) in enumerate(CONTRACT[part]):
            expected = yield self._called(
                partial(deferToThread, self._method(self.theirs, method)),
                self._named("sdk", key),
                args,
                kwargs,
            )
            actual = yield self._called(
                self._method(self.ours, method), self._named("our", key), args, kwargs
            )
            where = f"{part}, step {index}: {method} {key[:20]!r}"
            self.assertEqual(self._neutral(actual), self._neutral(expected), where)

    def _named(self, side: str, key: str) -> str:
        return key and f"{side}{self.key('')}{key}"

    def _neutral(self, outcome: tuple[Any, ...]) -> Any:
        return [
            part.replace("our" + self._prefix, "sdk" + self._prefix)
            if isinstance(part, str)
            else part
            for part in outcome
        ]

    @staticmethod
    def _method(collection: Any, method: str) -> Callable[..., Any]:
        if method.startswith("binary."):
            return getattr(collection.binary(), method.removeprefix("binary."))  # type: ignore[no-any-return]
        return getattr(collection, method)  # type: ignore[no-any-return]

    @inlineCallbacks
    def _called(self, function: Any, key: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            result = yield maybeDeferred(function, key, *args, **dict(kwargs))
        except Exception as error:
            return outcome_of(error)
        return outcome_of(result)

    @inlineCallbacks
    def test_contract(self) -> Any:
        for part in CONTRACT:
            yield self.check(part)


class SyncContractTests(ContractTests):
    """The same through the workers' blocking client."""

    client = "sync"


class KeyValueTests(ServerTestCase):
    @inlineCallbacks
    def test_a_document_of_20_mib(self) -> Any:
        collection = self.collection()
        key = self.key("big")
        yield collection.upsert(key, BIG, timeout=timedelta(seconds=30))
        result = yield collection.get(key, timeout=timedelta(seconds=30))
        self.assertTrue(result.content_as[str] == BIG)

    @inlineCallbacks
    def test_inline_callbacks(self) -> Any:
        collection = self.collection()
        yield collection.upsert(self.key("k"), {"a": 1})
        result = yield collection.get(self.key("k"))
        self.assertEqual(result.content_as[dict], {"a": 1})
        self.assertEqual(result.key, self.key("k"))

    def test_await(self) -> Any:
        async def use() -> None:
            collection = self.collection()
            stored = await collection.upsert(self.key("k"), [1])
            result = await collection.get(self.key("k"))
            self.assertEqual(result.content_as[list], [1])
            self.assertEqual(result.cas, stored.cas)

        return ensureDeferred(use())

    @inlineCallbacks
    def test_a_value_is_taken_at_the_call(self) -> Any:
        collection = self.collection()
        value = {"a": 1}
        stored = collection.upsert(self.key("k"), value)
        value["a"] = 2
        yield stored
        result = yield collection.get(self.key("k"))
        self.assertEqual(result.content_as[dict], {"a": 1})

    @inlineCallbacks
    def test_cas(self) -> Any:
        collection = self.collection()
        key = self.key("k")
        first = yield collection.upsert(key, 1)
        second = yield collection.replace(key, 2, cas=first.cas)
        self.assertNotEqual(first.cas, second.cas)
        result = yield collection.get_and_lock(key, timedelta(seconds=15))
        yield collection.unlock(key, result.cas)
        yield collection.remove(key, cas=(yield collection.get(key)).cas)

    @inlineCallbacks
    def test_order_on_a_key_without_waiting(self) -> Any:
        collection = self.collection(PoolConfig(min_workers=2, max_workers=2))
        key = self.key("k")
        calls = []
        for number in range(50):
            calls.append(collection.upsert(key, number))
            calls.append(collection.get(key))
        results = yield gatherResults(calls)
        self.assertEqual([result.value for result in results[1::2]], list(range(50)))

    @inlineCallbacks
    def test_several_clusters_share_a_pool(self) -> Any:
        first = self.cluster(PoolConfig(min_workers=1, max_workers=1))
        second = self.cluster(first.pool)
        collections = [
            cluster.bucket(self.bucket_name).default_collection() for cluster in (first, second)
        ]
        yield collections[0].upsert(self.key("k"), 1)
        result = yield collections[1].get(self.key("k"))
        self.assertEqual(result.value, 1)
        yield second.close()
        result = yield collections[0].get(self.key("k"))
        self.assertEqual(result.value, 1)
        yield self.assertFailure(collections[1].get(self.key("k")), RuntimeError)

    @inlineCallbacks
    def test_clusters_that_share_a_pool_share_the_order_on_a_key(self) -> Any:
        first = self.cluster(PoolConfig(min_workers=2, max_workers=2))
        writing = first.bucket(self.bucket_name).default_collection()
        yield first.wait_until_ready(timedelta(seconds=30))
        lane = writing._keyspace.target.lanes[0]
        assert lane.pid is not None
        os.kill(lane.pid, signal.SIGSTOP)
        long = timedelta(seconds=30)
        written = writing.upsert(self.key("k"), "first", timeout=long)
        # The second cluster can connect on the other worker only.
        bucket = self.cluster(first.pool).bucket(self.bucket_name)
        yield bucket.on_connect()
        reading = bucket.default_collection().get(self.key("k"), timeout=long)
        other = yield bucket.default_collection().exists(self.key("other"), timeout=long)
        self.assertFalse(other.exists)
        self.assertNoResult(reading)
        os.kill(lane.pid, signal.SIGCONT)
        yield written
        result = yield reading
        self.assertEqual(result.value, "first")

    @inlineCallbacks
    def test_named_collections(self) -> Any:
        if self.node is None:
            return
        self.node.create_scope(self.bucket_name, "shop")
        self.node.create_collection(self.bucket_name, "shop", "orders")
        bucket = self.bucket()
        orders = bucket.scope("shop").collection("orders")
        yield orders.upsert("k", "order")
        yield bucket.default_collection().upsert("k", "default")
        result = yield orders.get("k")
        self.assertEqual(result.value, "order")
