"""The managers of query indexes: of the cluster, and of a collection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from couchbase.exceptions import (
    BucketNotFoundException,
    CouchbaseException,
    InvalidArgumentException,
    QueryIndexAlreadyExistsException,
    QueryIndexNotFoundException,
    WatchQueryIndexTimeoutException,
)
from couchbase.management.logic.query_index_mgmt_req_types import QueryIndex
from couchbase.management.options import (
    BuildDeferredQueryIndexOptions,
    CreatePrimaryQueryIndexOptions,
    CreateQueryIndexOptions,
    DropPrimaryQueryIndexOptions,
    DropQueryIndexOptions,
    GetAllQueryIndexOptions,
    WatchQueryIndexOptions,
)

from tests.conformance.checks import Context, check, expect, raises

TIMEOUT = timedelta(seconds=5)


class Managed:
    """A collection, and one of the two managers of its indexes."""

    def __init__(self, context: Context, cluster: bool) -> None:
        self.bucket = context.bucket_name
        self.name = context.unique("indexed")
        context.cluster.query(
            f"CREATE COLLECTION `{self.bucket}`.`_default`.`{self.name}`"
        ).execute()
        collection = context.bucket.scope("_default").collection(self.name)
        self.cluster = cluster
        self.manager: Any = (
            context.cluster.query_indexes() if cluster else collection.query_indexes()
        )

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method on the collection."""
        function = getattr(self.manager, method)
        if self.cluster:
            options |= {"scope_name": "_default", "collection_name": self.name}
            return function(self.bucket, *arguments, **options)
        return function(*arguments, **options)

    def names(self) -> list[str]:
        """The names of its indexes, as they are listed."""
        return [index.name for index in self.call("get_all_indexes")]


def both(context: Context) -> list[Managed]:
    """A collection for each of the managers."""
    return [Managed(context, True), Managed(context, False)]


@check("create_primary_index: without a name it is #primary; a second one is error 4300")
def primary(context: Context) -> None:
    for managed in both(context):
        managed.call("create_primary_index")
        (found,) = managed.call("get_all_indexes")
        expect.assertIsInstance(found, QueryIndex)
        expect.assertEqual(
            (found.name, found.is_primary, found.state), ("#primary", True, "online")
        )
        expect.assertEqual((found.type, found.index_key), ("gsi", []))
        expect.assertEqual(found.bucket_name, managed.bucket)
        expect.assertEqual((found.scope_name, found.collection_name), ("_default", managed.name))
        with raises(QueryIndexAlreadyExistsException):
            managed.call("create_primary_index")
        managed.call("create_primary_index", ignore_if_exists=True)
        managed.call("drop_primary_index", timeout=TIMEOUT)
        expect.assertEqual(managed.names(), [])
        with raises(QueryIndexNotFoundException):
            managed.call("drop_primary_index")
        managed.call("drop_primary_index", ignore_if_not_exists=True)


@check("create_primary_index with a name, deferred, with replicas; dropped by its name")
def named_primary(context: Context) -> None:
    for managed in both(context):
        managed.call(
            "create_primary_index",
            index_name="mine",
            deferred=True,
            num_replicas=0,
            timeout=TIMEOUT,
        )
        (found,) = managed.call("get_all_indexes")
        expect.assertEqual((found.name, found.is_primary, found.state), ("mine", True, "deferred"))
        managed.call("drop_primary_index", index_name="mine")
        expect.assertEqual(managed.names(), [])


@check("create_index: keys, a condition; a second one of the name is error 4300")
def secondary(context: Context) -> None:
    for managed in both(context):
        managed.call(
            "create_index",
            "by-name",
            ["name", "age"],
            condition="age > 18",
            num_replicas=0,
            timeout=TIMEOUT,
        )
        (found,) = managed.call("get_all_indexes", timeout=TIMEOUT)
        expect.assertEqual(found.index_key, ["`name`", "`age`"])
        expect.assertEqual(found.condition, "(18 < `age`)")
        expect.assertFalse(found.is_primary)
        expect.assertIsNone(found.partition)
        with raises(QueryIndexAlreadyExistsException):
            managed.call("create_index", "by-name", ["other"])
        managed.call("create_index", "by-name", ["other"], ignore_if_exists=True)
        managed.call("drop_index", "by-name", timeout=TIMEOUT)
        with raises(QueryIndexNotFoundException):
            managed.call("drop_index", "by-name")
        managed.call("drop_index", "by-name", ignore_if_not_exists=True)


@check("build_deferred_indexes brings them online, watch_indexes waits for that")
def deferred(context: Context) -> None:
    for managed in both(context):
        managed.call("create_primary_index", deferred=True)
        managed.call("create_index", "later", ["name"], deferred=True)
        expect.assertEqual({index.state for index in managed.call("get_all_indexes")}, {"deferred"})
        watch = WatchQueryIndexOptions(timeout=timedelta(milliseconds=200))
        if managed.cluster:
            watch |= {"scope_name": "_default", "collection_name": managed.name}
        with raises(WatchQueryIndexTimeoutException):
            where = (managed.bucket,) if managed.cluster else ()
            managed.manager.watch_indexes(*where, ["later"], watch)
        managed.call("build_deferred_indexes", timeout=TIMEOUT)
        expect.assertEqual({index.state for index in managed.call("get_all_indexes")}, {"online"})
        managed.call("watch_indexes", ["later"], timeout=TIMEOUT, watch_primary=True)
        with raises(QueryIndexNotFoundException):
            managed.call("watch_indexes", ["no-such-index"], timeout=TIMEOUT)


@check("Options as objects")
def options_as_objects(context: Context) -> None:
    managed = Managed(context, False)
    manager = managed.manager
    manager.create_primary_index(CreatePrimaryQueryIndexOptions(deferred=True, timeout=TIMEOUT))
    manager.create_index("i", ["a"], CreateQueryIndexOptions(deferred=True, timeout=TIMEOUT))
    manager.build_deferred_indexes(BuildDeferredQueryIndexOptions(timeout=TIMEOUT))
    found = manager.get_all_indexes(GetAllQueryIndexOptions(timeout=TIMEOUT))
    expect.assertEqual([index.name for index in found], ["#primary", "i"])
    manager.drop_index("i", DropQueryIndexOptions(ignore_if_not_exists=True, timeout=TIMEOUT))
    manager.drop_primary_index(DropPrimaryQueryIndexOptions(timeout=TIMEOUT))
    expect.assertEqual(managed.names(), [])


@check("On a bucket alone: its default collection; an unknown one is error 12003")
def bucket_level(context: Context) -> None:
    manager = context.cluster.query_indexes()
    manager.create_index(context.bucket_name, "on-bucket", ["a"])
    names = [index.name for index in manager.get_all_indexes(context.bucket_name)]
    expect.assertIn("on-bucket", names)
    default = context.collection.query_indexes().get_all_indexes()
    expect.assertIn("on-bucket", [index.name for index in default])
    manager.drop_index(context.bucket_name, "on-bucket")
    with raises(QueryIndexNotFoundException):
        manager.drop_index(context.bucket_name, "on-bucket")
    with raises(BucketNotFoundException):
        manager.create_primary_index("no-such-bucket")
    expect.assertEqual(manager.get_all_indexes("no-such-bucket"), [])


@check("A scope without a collection is an invalid argument")
def half_a_path(context: Context) -> None:
    with raises((InvalidArgumentException, CouchbaseException)):
        context.cluster.query_indexes().create_index(
            context.bucket_name, "i", ["a"], scope_name="_default"
        )


@check("An index serves statements only while it is online, and goes with its collection")
def use(context: Context) -> None:
    managed = Managed(context, False)
    path = f"`{managed.bucket}`.`_default`.`{managed.name}`"
    managed.call("create_index", "by-n", ["n"], deferred=True)
    with raises(CouchbaseException):
        context.cluster.query(f"SELECT * FROM {path} WHERE n = 1").execute()
    managed.call("build_deferred_indexes")
    found = context.cluster.query(f"SELECT * FROM {path} WHERE n = 1").execute()
    expect.assertEqual(found, [])
    with raises(CouchbaseException):
        context.cluster.query(f"SELECT * FROM {path} WHERE other = 1").execute()
    context.bucket.collections().drop_collection("_default", managed.name)
    left = "SELECT RAW name FROM system:indexes WHERE keyspace_id = $1"
    expect.assertEqual(context.cluster.query(left, managed.name).execute(), [])
