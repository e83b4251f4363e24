"""What type checkers know of the API: checked by ``mypy --strict``, and never run.

`follow_untyped_imports` has to be on, since the SDK has annotations and does not say so.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD
from couchbase.analytics import AnalyticsMetaData
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster as SDKCluster
from couchbase.management.buckets import BucketSettings
from couchbase.management.collections import ScopeSpec
from couchbase.management.queries import QueryIndex
from couchbase.management.users import UserAndMetadata
from couchbase.n1ql import QueryMetaData
from couchbase.options import ClusterOptions, GetOptions, UpsertOptions
from couchbase.result import (
    ClusterInfoResult,
    CounterResult,
    DiagnosticsResult,
    ExistsResult,
    GetResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
    PingResult,
)
from couchbase.search import SearchQuery
from twisted.internet.defer import Deferred
from typing_extensions import assert_type

from txcouchbase.bucket import TxBucket, TxRawBucket
from txcouchbase.cluster import (
    AsyncQueryRequest,
    AsyncResult,
    BatchedAnalyticsResult,
    BatchedQueryResult,
    BatchedSearchResult,
    BatchedViewResult,
    Cluster,
    TxCluster,
    TxRawCluster,
)
from txcouchbase.collection import Collection, TxCollection, TxRawCollection
from txcouchbase.management.buckets import BucketManager
from txcouchbase.management.collections import CollectionManager
from txcouchbase.multi_result import MultiCounterResult, MultiGetResult, MultiMutationResult
from txcouchbase.row_streams import RowStream
from txcouchbase.scope import TxScope
from txcouchbase.transactions import TransactionResult
from txcouchbase.workers import PoolConfig, WorkerPool

MINUTE = timedelta(minutes=1)


class Towns(AsyncQueryRequest):
    """A handler whose rows are counted."""

    count = 0

    def on_rows(self, rows: list[object]) -> None:
        """Count them."""
        self.count += len(rows)


def word_count(key: str, result: GetResult) -> int:
    """A function for job workers."""
    return len(str(result.value).split())


def bucket_count(cluster: SDKCluster) -> int:
    """One that needs a cluster."""
    return len(cluster.buckets().get_all_buckets())


def total(first: int, second: int) -> int:
    """Another one."""
    return first + second


async def deferred_form(cluster: TxCluster) -> None:
    """What the Deferreds fire with."""
    assert_type(Cluster.connect("couchbase://host"), Deferred[TxCluster])
    assert_type(cluster.on_connect(), Deferred[None])
    bucket = cluster.bucket("default")
    assert_type(bucket, TxBucket)
    assert_type(bucket.scope("s"), TxScope)
    collection = bucket.default_collection()
    assert_type(collection, TxCollection)
    assert_type(collection, Collection)

    assert_type(collection.get("k"), Deferred[GetResult])
    assert_type(await collection.get("k", GetOptions(with_expiry=True)), GetResult)
    assert_type(collection.get_and_lock("k", MINUTE), Deferred[GetResult])
    assert_type(collection.exists("k"), Deferred[ExistsResult])
    assert_type(collection.upsert("k", 1, UpsertOptions(expiry=MINUTE)), Deferred[MutationResult])
    assert_type(collection.lookup_in("k", [SD.get("a")]), Deferred[LookupInResult])
    assert_type(collection.mutate_in("k", [SD.upsert("a", 1)]), Deferred[MutateInResult])
    assert_type(collection.unlock("k", 1), Deferred[None])
    assert_type(collection.binary().increment("k"), Deferred[CounterResult])
    assert_type(collection.get_multi(["k"]), Deferred[MultiGetResult])
    assert_type(collection.upsert_multi({"k": 1}), Deferred[MultiMutationResult])
    assert_type(collection.binary().increment_multi(["k"]), Deferred[MultiCounterResult])
    found = await collection.get_multi(["k"])
    assert_type(found["k"], GetResult | Exception)


async def raw_form(cluster: TxRawCluster) -> None:
    """What the raw form's results give to their callbacks."""
    bucket = cluster.bucket("default")
    assert_type(bucket, TxRawBucket)
    collection = bucket.default_collection()
    assert_type(collection, TxRawCollection)
    got = collection.get("k")
    assert_type(got, AsyncResult[GetResult])
    assert_type(collection.upsert("k", 1), AsyncResult[MutationResult])
    assert_type(collection.get_multi(["k"]), AsyncResult[MultiGetResult])
    assert_type(collection.binary().decrement("k"), AsyncResult[CounterResult])
    assert_type(cluster.defer(got), Deferred[GetResult])
    assert_type(cluster.query("SELECT 1"), Deferred[BatchedQueryResult])


async def rows(cluster: TxCluster, query: SearchQuery) -> None:
    """Queries, with all rows at once or as they come."""
    bucket = cluster.bucket("default")
    assert_type(cluster.query("SELECT 1"), Deferred[BatchedQueryResult])
    assert_type(cluster.query_ex(Towns, "SELECT 1"), Towns)
    assert_type(cluster.query_ex(Towns, "SELECT 1").metadata(), QueryMetaData | None)
    stream = cluster.query_stream("SELECT 1")
    assert_type(stream, RowStream[Any, QueryMetaData])
    async for _ in stream:
        break
    assert_type(stream.metadata(), QueryMetaData | None)
    assert_type(cluster.analytics_query("SELECT 1"), Deferred[BatchedAnalyticsResult])
    assert_type(cluster.analytics_stream("SELECT 1").metadata(), AnalyticsMetaData | None)
    scope = bucket.default_scope()
    assert_type(scope.query("SELECT 1"), Deferred[BatchedQueryResult])
    assert_type(cluster.search_query("i", query), Deferred[BatchedSearchResult])
    assert_type(bucket.view_query("d", "v"), Deferred[BatchedViewResult])


def everything_else(cluster: TxCluster) -> None:
    """Management, what the cluster tells, and jobs."""
    assert_type(cluster.buckets(), BucketManager)
    assert_type(cluster.buckets().get_bucket("b"), Deferred[BucketSettings])
    assert_type(cluster.buckets().drop_bucket("b"), Deferred[None])
    assert_type(cluster.users().get_user("u"), Deferred[UserAndMetadata])
    assert_type(cluster.query_indexes().get_all_indexes("b"), Deferred[list[QueryIndex]])
    collections = cluster.bucket("b").collections()
    assert_type(collections, CollectionManager)
    assert_type(collections.get_all_scopes(), Deferred[list[ScopeSpec]])
    assert_type(cluster.ping(), Deferred[PingResult])
    assert_type(cluster.diagnostics(), Deferred[DiagnosticsResult])
    assert_type(cluster.cluster_info(), Deferred[ClusterInfoResult])
    assert_type(cluster.wait_until_ready(MINUTE), Deferred[None])
    assert_type(cluster.pool, WorkerPool)
    assert_type(cluster.pool.run(total, 1, 2), Deferred[int])
    assert_type(cluster.run_in_worker(bucket_count), Deferred[int])
    mapped = cluster.bucket("b").default_collection().map_multi(["k"], word_count)
    assert_type(mapped, Deferred[dict[str, Any]])
    assert_type(cluster.transactions.run(total, 1), Deferred[TransactionResult])


def made() -> TxCluster:
    """A cluster, with everything that its constructor takes."""
    return TxCluster(
        "couchbase://host",
        ClusterOptions(PasswordAuthenticator("user", "password")),
        pool=PoolConfig(min_workers=2),
        quiet=True,
    )
