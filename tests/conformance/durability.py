"""Durable writes on several nodes: done, impossible, or waiting for a replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from couchbase.durability import (
    ClientDurability,
    DurabilityLevel,
    PersistTo,
    PersistToExtended,
    ReplicateTo,
    ServerDurability,
)
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DocumentExistsException,
    DocumentNotFoundException,
    DurabilityImpossibleException,
    DurabilitySyncWriteAmbiguousException,
    InvalidArgumentException,
)
from couchbase.management.buckets import CreateBucketSettings
from couchbase.options import (
    IncrementOptions,
    InsertOptions,
    MutateInOptions,
    RemoveOptions,
    ReplaceOptions,
    UpsertOptions,
)
from couchbase.subdocument import upsert

from tests.conformance.checks import Context, check, expect, raises

MAJORITY = ServerDurability(DurabilityLevel.MAJORITY)
LEVELS = {
    DurabilityLevel.MAJORITY: "majority",
    DurabilityLevel.MAJORITY_AND_PERSIST_TO_ACTIVE: "majority_and_persist_to_active",
    DurabilityLevel.PERSIST_TO_MAJORITY: "persist_to_majority",
}


def _replica_of(context: Context, key: str) -> int:
    number: int = context.control("GET", f"/documents/{key}/copies")[1]
    return number


@check("every level is met where all copies are there, by every kind of write")
def levels(context: Context) -> None:
    collection = context.collection
    context.control("PUT", "/record", {"on": True})
    for level, name in LEVELS.items():
        key, durability = context.unique("durable"), ServerDurability(level)
        collection.insert(key, {}, InsertOptions(durability=durability))
        collection.upsert(key, {}, UpsertOptions(durability=durability))
        collection.replace(key, {}, ReplaceOptions(durability=durability))
        collection.mutate_in(key, [upsert("a", 1)], MutateInOptions(durability=durability))
        collection.remove(key, RemoveOptions(durability=durability))
        collection.binary().increment(key, IncrementOptions(durability=durability))
        asked = [
            request["options"].get("durability")
            for request in context.control("GET", f"/record?key={key}")
            if request["operation"] != "GET_COLLECTION_ID"
        ]
        expect.assertEqual(asked, [name] * 6)
    context.control("PUT", "/record", {"on": False})


@check("persist_to and replicate_to look at the copies, and cannot ask for more than there are")
def observed(context: Context) -> None:
    collection, key = context.collection, context.unique("observed")
    cases: tuple[tuple[Any, Any, set[str]], ...] = (
        (ReplicateTo.ONE, PersistTo.NONE, {"replica"}),
        (ReplicateTo.NONE, PersistTo.ONE, {"active", "replica"}),
        (ReplicateTo.ONE, PersistToExtended.ACTIVE, {"active", "replica"}),
    )
    copies = context.control("GET", f"/documents/{key}/copies")
    for replicate_to, persist_to, asked in cases:
        context.control("DELETE", "/record")
        context.control("PUT", "/record", {"on": True})
        durability = ClientDurability(replicate_to, persist_to)
        collection.upsert(key, 1, UpsertOptions(durability=durability))
        seen = {r["node"] for r in context.control("GET", "/record?operation=OBSERVE_SEQNO")}
        expect.assertEqual(seen, {copies[("active", "replica").index(which)] for which in asked})
    context.control("PUT", "/record", {"on": False})
    for replicate_to, persist_to in (
        (ReplicateTo.TWO, PersistTo.NONE),
        (ReplicateTo.NONE, PersistTo.TWO),
    ):
        with raises(DurabilityImpossibleException):
            durability = ClientDurability(replicate_to, persist_to)
            collection.upsert(key, 1, UpsertOptions(durability=durability))


@check("three replicas have no durable writes, and no least durability")
def three_replicas(context: Context) -> None:
    manager, name = context.cluster.buckets(), context.unique("bucket")
    settings: dict[str, Any] = {"name": name, "ram_quota_mb": 100, "num_replicas": 3}
    with raises(InvalidArgumentException):
        level = DurabilityLevel.MAJORITY
        manager.create_bucket(CreateBucketSettings(**settings, minimum_durability_level=level))
    manager.create_bucket(CreateBucketSettings(**settings))
    with raises(DurabilityImpossibleException):
        context.cluster.bucket(name).default_collection().upsert(
            "k", 1, UpsertOptions(durability=MAJORITY)
        )
    manager.drop_bucket(name)


@check("a write that waits for a replica is not done, and keeps other writes of the document off")
def a_replica_that_is_down(context: Context) -> None:
    collection, key = context.collection, context.unique("waiting")
    collection.upsert(key, 1)
    replica = _replica_of(context, key)
    context.control("POST", f"/nodes/{replica}/kill")
    # Whatever else is wrong with it is said at once.
    with raises(DocumentExistsException):
        collection.insert(key, 2, InsertOptions(durability=MAJORITY))
    with raises(DocumentNotFoundException):
        collection.remove(context.unique("none"), RemoveOptions(durability=MAJORITY))
    with ThreadPoolExecutor(1) as threads:
        begun = time.monotonic()
        options = UpsertOptions(durability=MAJORITY, timeout=timedelta(seconds=1.5))
        waiting = threads.submit(collection.upsert, key, 2, options)
        _until_refused(lambda: collection.upsert(key, 1, _within(0.2)))
        expect.assertEqual(collection.get(key).content_as[int], 1)
        with raises(DurabilitySyncWriteAmbiguousException):
            waiting.result()
        # Nine tenths of the timeout, as the client tells the server.
        expect.assertGreater(time.monotonic() - begun, 1.2)
    expect.assertEqual(collection.get(key).content_as[int], 1)
    collection.upsert(key, 4)
    context.control("POST", f"/nodes/{replica}/restart")


@check("a write that waits is done as soon as the replica is there again")
def a_replica_that_comes_back(context: Context) -> None:
    collection, key = context.collection, context.unique("waiting")
    collection.upsert(key, 1)
    replica = _replica_of(context, key)
    context.control("POST", f"/nodes/{replica}/kill")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(collection.upsert, key, 2, UpsertOptions(durability=MAJORITY))
        _until_refused(lambda: collection.upsert(key, 3, _within(0.2)))
        context.control("POST", f"/nodes/{replica}/restart")
        waiting.result()
    expect.assertEqual(collection.get(key).content_as[int], 2)


@check("after a fail over there are too few copies, until there is another node")
def too_few_copies(context: Context) -> None:
    collection, key = context.collection, context.unique("failed-over")
    collection.upsert(key, 1)
    context.control("POST", f"/nodes/{_replica_of(context, key)}/fail_over")
    with raises(DurabilityImpossibleException):
        collection.upsert(key, 2, UpsertOptions(durability=MAJORITY))
    collection.upsert(key, 3)
    context.control("POST", "/nodes")
    collection.upsert(key, 4, UpsertOptions(durability=MAJORITY))
    expect.assertEqual(collection.get(key).content_as[int], 4)


def _within(seconds: float) -> UpsertOptions:
    return UpsertOptions(timeout=timedelta(seconds=seconds))


def _until_refused(write: Callable[[], Any]) -> None:
    """Until another write of the document is refused, which the client retries in vain."""
    for _ in range(50):
        try:
            write()
        except AmbiguousTimeoutException:
            return
    raise AssertionError("no write waits")
