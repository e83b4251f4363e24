"""Scope and collection management through the SDK."""

from __future__ import annotations

import time
from datetime import timedelta

from couchbase.exceptions import (
    BucketDoesNotExistException,
    BucketNotFoundException,
    CollectionAlreadyExistsException,
    CollectionNotFoundException,
    CouchbaseException,
    DocumentNotFoundException,
    FeatureUnavailableException,
    InvalidArgumentException,
    ScopeAlreadyExistsException,
    ScopeNotFoundException,
    UnAmbiguousTimeoutException,
)
from couchbase.management.buckets import CreateBucketSettings, StorageBackend
from couchbase.management.collections import (
    CollectionManager,
    CollectionSpec,
    CreateCollectionSettings,
    UpdateCollectionSettings,
)
from couchbase.options import GetOptions

from tests.conformance.checks import Context, check, expect, raises


def _spec(manager: CollectionManager, scope: str, collection: str) -> CollectionSpec | None:
    for found in manager.get_all_scopes():
        for spec in found.collections:
            if (found.name, spec.name) == (scope, collection):
                return spec
    return None


@check("a new bucket has the scope _default with the collection _default")
def default_scope(context: Context) -> None:
    spec = _spec(context.bucket.collections(), "_default", "_default")
    expect.assertIsNotNone(spec)
    expect.assertEqual(spec.max_expiry, timedelta(0))


@check("a new scope is listed, takes collections with documents, and can be dropped")
def scopes(context: Context) -> None:
    manager = context.bucket.collections()
    scope = context.unique("scope")
    manager.create_scope(scope)
    expect.assertIn(scope, [found.name for found in manager.get_all_scopes()])
    manager.create_collection(scope, "c1")
    manager.create_collection(scope, "c2")
    expect.assertIsNotNone(_spec(manager, scope, "c2"))
    collections = [context.bucket.scope(scope).collection(name) for name in ("c1", "c2")]
    for number, collection in enumerate(collections):
        collection.upsert("k", number)
    for number, collection in enumerate(collections):
        expect.assertEqual(collection.get("k").content_as[int], number)
    manager.drop_scope(scope)
    expect.assertNotIn(scope, [found.name for found in manager.get_all_scopes()])


@check("a collection that was dropped and made again is empty")
def drop_collection(context: Context) -> None:
    manager = context.bucket.collections()
    name = context.unique("collection")
    manager.create_collection("_default", name)
    context.bucket.collection(name).upsert("k", 1)
    manager.drop_collection("_default", name)
    expect.assertIsNone(_spec(manager, "_default", name))
    with raises(UnAmbiguousTimeoutException):
        context.bucket.collection(name).get("k", GetOptions(timeout=timedelta(seconds=0.5)))
    manager.create_collection("_default", name)
    with raises(DocumentNotFoundException):
        context.bucket.collection(name).get("k")
    manager.drop_collection("_default", name)


@check("what exists cannot be made again")
def exists(context: Context) -> None:
    manager = context.bucket.collections()
    scope = context.unique("scope")
    manager.create_scope(scope)
    manager.create_collection(scope, "c")
    with raises(ScopeAlreadyExistsException):
        manager.create_scope(scope)
    with raises(CollectionAlreadyExistsException):
        manager.create_collection(scope, "c")
    manager.drop_scope(scope)


@check("what does not exist is not found: collection, scope and bucket")
def not_found(context: Context) -> None:
    manager = context.bucket.collections()
    settings = UpdateCollectionSettings(max_expiry=timedelta(seconds=1))
    with raises(ScopeNotFoundException):
        manager.create_collection("nowhere", "c")
    with raises(ScopeNotFoundException):
        manager.drop_scope("nowhere")
    with raises(ScopeNotFoundException):
        manager.drop_collection("nowhere", "c")
    with raises(ScopeNotFoundException):
        manager.update_collection("nowhere", "c", settings)
    with raises(CollectionNotFoundException):
        manager.drop_collection("_default", "nothing")
    with raises(CollectionNotFoundException):
        manager.update_collection("_default", "nothing", settings)
    buckets = context.cluster.buckets()
    name = context.unique("bucket")
    buckets.create_bucket(CreateBucketSettings(name=name, ram_quota_mb=100))
    cluster = context.connect()
    orphan = cluster.bucket(name).collections()
    buckets.drop_bucket(name)
    for call in (
        orphan.get_all_scopes,
        lambda: orphan.create_scope("s"),
        lambda: orphan.create_collection("_default", "c"),
        lambda: orphan.drop_scope("s"),
    ):
        with raises((BucketDoesNotExistException, BucketNotFoundException)):
            call()
    cluster.close()


@check("names that a server would not take are invalid arguments")
def names(context: Context) -> None:
    manager = context.bucket.collections()
    for name in ("_hidden", "%", "a b", "a.b", "ä", "x" * 252):
        with raises(InvalidArgumentException):
            manager.create_scope(name)
        with raises(InvalidArgumentException):
            manager.create_collection("_default", name)
    for name in ("x" * 251, "a-b_c%"):
        manager.create_collection("_default", name)
        expect.assertIsNotNone(_spec(manager, "_default", name))
        manager.drop_collection("_default", name)


@check("the default scope cannot be dropped")
def drop_default(context: Context) -> None:
    with raises(CouchbaseException):
        context.bucket.collections().drop_scope("_default")
    expect.assertIsNotNone(_spec(context.bucket.collections(), "_default", "_default"))


@check("the longest life of a collection's documents is stored, changed and read back")
def max_expiry(context: Context) -> None:
    manager = context.bucket.collections()
    name = context.unique("collection")
    for seconds in (-1, 0, 5):
        settings = CreateCollectionSettings(max_expiry=timedelta(seconds=seconds))
        manager.create_collection("_default", name, settings)
        spec = _spec(manager, "_default", name)
        expect.assertEqual(spec.max_expiry, timedelta(seconds=seconds))
        manager.drop_collection("_default", name)
    manager.create_collection("_default", name)
    settings = UpdateCollectionSettings(max_expiry=timedelta(seconds=2))
    manager.update_collection("_default", name, settings)
    expect.assertEqual(_spec(manager, "_default", name).max_expiry, timedelta(seconds=2))
    context.bucket.collection(name).upsert("k", 1)
    found = context.bucket.collection(name).get("k", GetOptions(with_expiry=True))
    expect.assertLess(found.expiryTime.timestamp(), time.time() + 3)
    manager.drop_collection("_default", name)
    with raises(InvalidArgumentException):
        settings = CreateCollectionSettings(max_expiry=timedelta(seconds=-2))
        manager.create_collection("_default", name, settings)


@check("a collection may be free of its bucket's longest life")
def no_expiry(context: Context) -> None:
    buckets = context.cluster.buckets()
    name = context.unique("bucket")
    buckets.create_bucket(
        CreateBucketSettings(
            name=name, ram_quota_mb=100, num_replicas=0, max_expiry=timedelta(seconds=60)
        )
    )
    bucket = context.cluster.bucket(name)
    settings = CreateCollectionSettings(max_expiry=timedelta(seconds=-1))
    bucket.collections().create_collection("_default", "free", settings)
    bucket.collections().create_collection("_default", "bound")
    for collection, bound in (("free", False), ("bound", True)):
        bucket.collection(collection).upsert("k", 1)
        found = bucket.collection(collection).get("k", GetOptions(with_expiry=True))
        expect.assertEqual(found.expiryTime is not None, bound)
    buckets.drop_bucket(name)


@check("history is kept of collections of Magma buckets only, as the bucket or the collection says")
def history(context: Context) -> None:
    manager = context.bucket.collections()
    with raises(FeatureUnavailableException):
        manager.create_collection("_default", "h", CreateCollectionSettings(history=True))
    buckets = context.cluster.buckets()
    name = context.unique("bucket")
    buckets.create_bucket(
        CreateBucketSettings(
            name=name,
            ram_quota_mb=1024,
            num_replicas=0,
            storage_backend=StorageBackend.MAGMA,
            history_retention_collection_default=True,
        )
    )
    manager = context.cluster.bucket(name).collections()
    manager.create_collection("_default", "by_default")
    manager.create_collection("_default", "none", CreateCollectionSettings(history=False))
    expect.assertTrue(_spec(manager, "_default", "by_default").history)
    expect.assertFalse(_spec(manager, "_default", "none").history)
    manager.update_collection("_default", "none", UpdateCollectionSettings(history=True))
    expect.assertTrue(_spec(manager, "_default", "none").history)
    buckets.drop_bucket(name)
