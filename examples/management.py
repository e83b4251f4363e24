"""Scopes, users, buckets, with coroutines: a program for the SDK's own `txcouchbase`.

It runs unchanged on this package. Needs a server: that of ``COUCHBASE_CONNSTR``, with
``COUCHBASE_USERNAME``, ``COUCHBASE_PASSWORD`` and ``COUCHBASE_BUCKET``.
"""
# ruff: noqa: I001

import os
import sys
from datetime import timedelta

# The SDK's own has to be imported before the reactor; this package does not mind.
import txcouchbase  # noqa: F401
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from couchbase.auth import PasswordAuthenticator
from couchbase.diagnostics import PingState, ServiceType
from couchbase.exceptions import (
    BucketAlreadyExistsException,
    ScopeAlreadyExistsException,
    UserNotFoundException,
)
from couchbase.management.buckets import BucketType, CreateBucketSettings
from couchbase.management.users import Role, User
from couchbase.options import ClusterOptions, PingOptions
from txcouchbase.cluster import TxCluster

BUCKET = os.environ.get("COUCHBASE_BUCKET", "default")


async def collections(bucket):
    manager = bucket.collections()
    await manager.create_scope("shop")
    try:
        await manager.create_scope("shop")
    except ScopeAlreadyExistsException as error:
        print("refused:", type(error).__name__)
    await manager.create_collection("shop", "orders")
    for scope in await manager.get_all_scopes():
        if scope.name == "shop":
            print("collections:", [collection.name for collection in scope.collections])
    orders = bucket.scope("shop").collection("orders")
    await orders.upsert("order_1", {"item": "chair"})
    result = await orders.get("order_1")
    print("order:", result.content_as[dict]["item"], bucket.scope("shop").name, orders.name)
    await manager.drop_collection("shop", "orders")
    await manager.drop_scope("shop")
    print("scopes:", "shop" in [scope.name for scope in await manager.get_all_scopes()])


async def users(cluster):
    manager = cluster.users()
    await manager.upsert_user(
        User(
            username="clerk",
            password="s3cr3t!",
            roles=[Role(name="data_reader", bucket=BUCKET)],
        )
    )
    found = await manager.get_user("clerk")
    print("user:", found.user.username, [role.name for role in found.user.roles])
    await manager.drop_user("clerk")
    try:
        await manager.get_user("clerk")
    except UserNotFoundException as error:
        print("refused:", type(error).__name__)


async def buckets(cluster):
    manager = cluster.buckets()
    settings = CreateBucketSettings(
        name="archive", ram_quota_mb=128, bucket_type=BucketType.COUCHBASE, flush_enabled=True
    )
    await manager.create_bucket(settings)
    try:
        await manager.create_bucket(settings)
    except BucketAlreadyExistsException as error:
        print("refused:", type(error).__name__)
    found = await manager.get_bucket("archive")
    print("bucket:", found.name, found.ram_quota_mb, found.bucket_type.name)
    print("buckets:", "archive" in [settings.name for settings in await manager.get_all_buckets()])
    await manager.drop_bucket("archive")


async def about(cluster):
    await cluster.wait_until_ready(timedelta(seconds=30))
    info = await cluster.cluster_info()
    print("nodes:", len(info.nodes) > 0)
    pinged = await cluster.ping(PingOptions(service_types=[ServiceType.Management]))
    states = {report.state for report in pinged.endpoints[ServiceType.Management]}
    print("ping:", states == {PingState.OK})
    diagnosed = await cluster.diagnostics()
    print("diagnostics:", diagnosed.state.name)


async def main():
    cluster = TxCluster(
        os.environ.get("COUCHBASE_CONNSTR", "couchbase://localhost"),
        ClusterOptions(
            PasswordAuthenticator(
                os.environ.get("COUCHBASE_USERNAME", "Administrator"),
                os.environ.get("COUCHBASE_PASSWORD", "password"),
            )
        ),
    )
    await cluster.on_connect()
    bucket = cluster.bucket(BUCKET)
    await bucket.on_connect()
    await about(cluster)
    await collections(bucket)
    await users(cluster)
    await buckets(cluster)
    await bucket.close()
    await cluster.close()


status = 1


def succeeded(_):
    global status
    status = 0


def run():
    d = ensureDeferred(main())
    d.addCallbacks(succeeded, lambda failure: failure.printTraceback(sys.stderr))
    d.addBoth(lambda _: reactor.stop())


if __name__ == "__main__":
    # A cluster of the SDK's own can be made once the reactor runs.
    reactor.callLater(0, run)
    reactor.run()
    sys.exit(status)
