"""Bucket management through the SDK."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    BucketAlreadyExistsException,
    BucketDoesNotExistException,
    BucketNotFlushableException,
    BucketNotFoundException,
    CouchbaseException,
    DocumentNotFoundException,
    DurabilityImpossibleException,
    DurabilityInvalidLevelException,
    FeatureUnavailableException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.buckets import (
    BucketSettings,
    BucketType,
    CompressionMode,
    ConflictResolutionType,
    CreateBucketSettings,
    EvictionPolicyType,
    StorageBackend,
)
from couchbase.options import GetOptions, UpsertOptions

from tests.conformance.checks import Context, check, expect, raises


def _create(context: Context, **settings: Any) -> str:
    name: str = settings.pop("name", None) or context.unique("bucket")
    settings = {"ram_quota_mb": 100, "num_replicas": 0} | settings
    context.cluster.buckets().create_bucket(CreateBucketSettings(name=name, **settings))
    return name


def _read_back(context: Context, **settings: Any) -> BucketSettings:
    manager = context.cluster.buckets()
    name = _create(context, **settings)
    try:
        return manager.get_bucket(name)
    finally:
        manager.drop_bucket(name)


def _until(done: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        expect.assertLess(time.monotonic(), deadline, "it did not come to pass")
        time.sleep(0.02)


@check("a bucket that was just created opens, and takes documents")
def create_and_use(context: Context) -> None:
    name = _create(context)
    collection = context.cluster.bucket(name).default_collection()
    collection.upsert("k", {"a": 1})
    expect.assertEqual(collection.get("k").content_as[dict], {"a": 1})
    context.cluster.buckets().drop_bucket(name)


@check("what is not given at creation has a server's defaults: one replica, flush disabled")
def defaults(context: Context) -> None:
    manager = context.cluster.buckets()
    name = context.unique("bucket")
    manager.create_bucket(CreateBucketSettings(name=name))
    found = manager.get_bucket(name)
    manager.drop_bucket(name)
    expect.assertEqual(
        dict(found),
        {
            "name": name,
            "bucket_type": BucketType.COUCHBASE,
            "ram_quota_mb": 100,
            "num_replicas": 1,
            "num_vbuckets": 64,
            "replica_index": False,
            "flush_enabled": False,
            "max_expiry": timedelta(0),
            "compression_mode": CompressionMode.PASSIVE,
            "conflict_resolution_type": ConflictResolutionType.SEQUENCE_NUMBER,
            "eviction_policy": EvictionPolicyType.VALUE_ONLY,
            "minimum_durability_level": DurabilityLevel.NONE,
            "storage_backend": StorageBackend.COUCHSTORE,
        },
    )


@check("every setting of a couchbase bucket is stored and read back")
def couchbase_settings(context: Context) -> None:
    given = {
        "bucket_type": BucketType.COUCHBASE,
        "ram_quota_mb": 200,
        "num_replicas": 2,
        "replica_index": True,
        "flush_enabled": True,
        "max_expiry": timedelta(seconds=77),
        "compression_mode": CompressionMode.ACTIVE,
        "conflict_resolution_type": ConflictResolutionType.TIMESTAMP,
        "eviction_policy": EvictionPolicyType.FULL,
        "minimum_durability_level": DurabilityLevel.PERSIST_TO_MAJORITY,
        "storage_backend": StorageBackend.COUCHSTORE,
        "num_vbuckets": 128,
    }
    found = _read_back(context, **given)
    expect.assertEqual({name: found[name] for name in given}, given)


@check("a Magma bucket evicts fully by default, and stores what is to be kept of history")
def magma_settings(context: Context) -> None:
    given = {
        "ram_quota_mb": 1024,
        "storage_backend": StorageBackend.MAGMA,
        "history_retention_collection_default": False,
        "history_retention_bytes": 2**31,
        "history_retention_duration": timedelta(days=1),
    }
    found = _read_back(context, **given)
    expect.assertEqual({name: found[name] for name in given}, given)
    expect.assertEqual(found.eviction_policy, EvictionPolicyType.FULL)


@check("an ephemeral bucket has its own policies of eviction, and no storage")
def ephemeral_settings(context: Context) -> None:
    found = _read_back(context, bucket_type=BucketType.EPHEMERAL)
    expect.assertEqual(found.bucket_type, BucketType.EPHEMERAL)
    expect.assertEqual(found.eviction_policy, EvictionPolicyType.NO_EVICTION)
    expect.assertEqual(found.storage_backend, StorageBackend.UNDEFINED)
    found = _read_back(
        context,
        bucket_type=BucketType.EPHEMERAL,
        eviction_policy=EvictionPolicyType.NOT_RECENTLY_USED,
        minimum_durability_level=DurabilityLevel.MAJORITY,
    )
    expect.assertEqual(found.eviction_policy, EvictionPolicyType.NOT_RECENTLY_USED)
    expect.assertEqual(found.minimum_durability_level, DurabilityLevel.MAJORITY)


@check("settings that a server would refuse are invalid arguments, with its reason")
def refused_settings(context: Context) -> None:
    history = {"history_retention_bytes": 2**31}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ram_quota_mb": 99}, "RAM quota cannot be less than 100 MiB"),
        ({"ram_quota_mb": 10**6}, "RAM quota specified is too large"),
        ({"num_replicas": 4}, "replica number"),
        ({"name": "with space"}, "Bucket name can only contain"),
        ({"name": "_users"}, "reserved"),
        ({"bucket_type": BucketType.MEMCACHED}, "bucket type"),
        ({"eviction_policy": EvictionPolicyType.NO_EVICTION}, "Eviction policy"),
        (
            {"bucket_type": BucketType.EPHEMERAL, "eviction_policy": EvictionPolicyType.FULL},
            "Eviction policy",
        ),
        (
            {
                "bucket_type": BucketType.EPHEMERAL,
                "minimum_durability_level": DurabilityLevel.PERSIST_TO_MAJORITY,
            },
            "ephemeral",
        ),
        ({"storage_backend": StorageBackend.MAGMA, "ram_quota_mb": 200}, "1024 MiB"),
        (history, "Magma"),
        ({"num_vbuckets": 2000}, "vbuckets"),
    ]
    for settings, reason in cases:
        with raises(InvalidArgumentException) as caught:
            _create(context, **settings)
        expect.assertIn(reason.lower(), str(caught.exception).lower())


@check("custom conflict resolution needs the developer preview, which is off")
def custom_conflicts(context: Context) -> None:
    with raises(FeatureUnavailableException) as caught:
        _create(context, conflict_resolution_type=ConflictResolutionType.CUSTOM)
    expect.assertIn("developer preview", str(caught.exception))


@check("a bucket cannot be created twice, in whatever case")
def exists(context: Context) -> None:
    name = _create(context)
    for again in (name, name.upper()):
        with raises(BucketAlreadyExistsException):
            _create(context, name=again)
    context.cluster.buckets().drop_bucket(name)


@check("a bucket's settings can be changed, others stay as they are")
def update(context: Context) -> None:
    manager = context.cluster.buckets()
    name = _create(context)
    manager.update_bucket(BucketSettings(name=name, flush_enabled=True, ram_quota_mb=150))
    found = manager.get_bucket(name)
    expect.assertEqual((found.flush_enabled, found.ram_quota_mb), (True, 150))
    given = {
        "num_replicas": 1,
        "max_expiry": timedelta(seconds=9),
        "compression_mode": CompressionMode.OFF,
        "eviction_policy": EvictionPolicyType.FULL,
        "minimum_durability_level": DurabilityLevel.MAJORITY,
    }
    manager.update_bucket(BucketSettings(name=name, **given))
    found = manager.get_bucket(name)
    expect.assertEqual({key: found[key] for key in given}, given)
    expect.assertEqual((found.flush_enabled, found.ram_quota_mb), (True, 150))
    # What was read may be written back.
    manager.update_bucket(found)
    expect.assertEqual(manager.get_bucket(name), found)
    manager.drop_bucket(name)


@check("a change that a server would refuse is an invalid argument; an unknown bucket is not found")
def refused_update(context: Context) -> None:
    manager = context.cluster.buckets()
    with raises(BucketDoesNotExistException):
        manager.update_bucket(BucketSettings(name="nowhere", ram_quota_mb=100))
    name = _create(context)
    for settings in ({"ram_quota_mb": 1}, {"num_vbuckets": 128}, {"history_retention_bytes": 0}):
        with raises(InvalidArgumentException):
            manager.update_bucket(BucketSettings(name=name, **settings))
    manager.drop_bucket(name)


@check("all buckets are listed")
def list_all(context: Context) -> None:
    manager = context.cluster.buckets()
    name = _create(context)
    names = [bucket.name for bucket in manager.get_all_buckets()]
    expect.assertIn(context.bucket_name, names)
    expect.assertIn(name, names)
    manager.drop_bucket(name)
    names = [bucket.name for bucket in manager.get_all_buckets()]
    expect.assertNotIn(name, names)


@check("what does not exist is not found, by every method")
def not_found(context: Context) -> None:
    manager = context.cluster.buckets()
    for method in (manager.get_bucket, manager.drop_bucket, manager.flush_bucket):
        with raises(BucketDoesNotExistException):
            method("nowhere")


@check("a bucket is described: its UUID, nodes, server groups, capabilities and storage")
def describe(context: Context) -> None:
    manager = context.cluster.buckets()
    found = manager.bucket_describe(context.bucket_name)
    expect.assertEqual(found.name, context.bucket_name)
    expect.assertEqual(found.number_of_nodes, 1)
    expect.assertEqual(found.number_of_replicas, 0)
    expect.assertEqual(found.storage_backend, StorageBackend.COUCHSTORE.value)
    expect.assertIn("collections", found.bucket_capabilities)
    expect.assertEqual(list(found.server_groups), ["Group 1"])
    with raises(CouchbaseException):
        manager.bucket_describe("nowhere")


@check("flush empties the documents of all collections, which stay")
def flush(context: Context) -> None:
    manager = context.cluster.buckets()
    name = _create(context, flush_enabled=True)
    bucket = context.cluster.bucket(name)
    bucket.collections().create_collection("_default", "other")
    for collection in (bucket.default_collection(), bucket.collection("other")):
        collection.upsert("k", 1)
        manager.flush_bucket(name)
        with raises(DocumentNotFoundException):
            collection.get("k")
        collection.upsert("k", 2)
    manager.drop_bucket(name)


@check("a bucket that has flush disabled is not flushable")
def not_flushable(context: Context) -> None:
    manager = context.cluster.buckets()
    name = _create(context, flush_enabled=False)
    with raises(BucketNotFlushableException):
        manager.flush_bucket(name)
    manager.drop_bucket(name)


@check("operations on a dropped bucket time out, and a bucket of the same name starts empty")
def drop_while_open(context: Context) -> None:
    manager = context.cluster.buckets()
    name = _create(context)
    cluster = context.connect()
    collection = cluster.bucket(name).default_collection()
    collection.upsert("k", 1)
    manager.drop_bucket(name)
    with raises((UnAmbiguousTimeoutException, AmbiguousTimeoutException, BucketNotFoundException)):
        collection.get("k", GetOptions(timeout=timedelta(seconds=0.5)))
    cluster.close()
    _create(context, name=name)
    again = context.connect()
    with raises(DocumentNotFoundException):
        again.bucket(name).default_collection().get("k")
    again.close()
    manager.drop_bucket(name)


@check("opening an unknown bucket fails")
def open_unknown(context: Context) -> None:
    cluster = context.connect()
    with raises((BucketNotFoundException, UnAmbiguousTimeoutException)):
        cluster.bucket("nowhere").default_collection().get(
            "k", GetOptions(timeout=timedelta(seconds=1))
        )
    cluster.close()


@check("the longest life of a bucket's documents holds where they say nothing, or more")
def max_expiry(context: Context) -> None:
    name = _create(context, max_expiry=timedelta(seconds=2))
    collection = context.cluster.bucket(name).default_collection()
    collection.upsert("short", 1)
    collection.upsert("long", 1, UpsertOptions(expiry=timedelta(days=1)))
    for key in ("short", "long"):
        expect.assertIsNotNone(collection.get(key, GetOptions(with_expiry=True)).expiryTime)
    for key in ("short", "long"):
        _until(lambda key=key: not collection.exists(key).exists)
    context.cluster.buckets().drop_bucket(name)


@check("durable writes to a bucket with replicas are impossible on one node, by its minimum too")
def durability(context: Context) -> None:
    manager = context.cluster.buckets()
    majority = UpsertOptions(durability=ServerDurability(DurabilityLevel.MAJORITY))
    name = _create(context, num_replicas=1)
    collection = context.cluster.bucket(name).default_collection()
    collection.upsert("k", 1)
    with raises(DurabilityImpossibleException):
        collection.upsert("k", 1, majority)
    manager.update_bucket(
        BucketSettings(name=name, minimum_durability_level=DurabilityLevel.MAJORITY)
    )
    with raises(DurabilityImpossibleException):
        collection.upsert("k", 1)
    manager.update_bucket(BucketSettings(name=name, num_replicas=0))
    collection.upsert("k", 1)
    collection.upsert("k", 1, majority)
    manager.drop_bucket(name)


@check("an ephemeral bucket cannot be asked to persist")
def ephemeral_durability(context: Context) -> None:
    name = _create(context, bucket_type=BucketType.EPHEMERAL)
    collection = context.cluster.bucket(name).default_collection()
    level = ServerDurability(DurabilityLevel.PERSIST_TO_MAJORITY)
    with raises(DurabilityInvalidLevelException):
        collection.upsert("k", 1, UpsertOptions(durability=level))
    context.cluster.buckets().drop_bucket(name)


@check("a bucket with another number of vBuckets serves every key")
def vbuckets(context: Context) -> None:
    name = _create(context, num_vbuckets=1024, storage_backend=StorageBackend.COUCHSTORE)
    collection = context.cluster.bucket(name).default_collection()
    documents = {f"k{number}": number for number in range(200)}
    expect.assertTrue(collection.upsert_multi(documents).all_ok)
    found = collection.get_multi(list(documents))
    expect.assertEqual({k: r.content_as[int] for k, r in found.results.items()}, documents)
    context.cluster.buckets().drop_bucket(name)
