"""Transactions: attempts, staged documents, conflicts, queries within them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from datetime import timedelta
from typing import Any

from couchbase import subdocument
from couchbase.collection import Collection
from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.exceptions import (
    CouchbaseException,
    DocumentExistsException,
    DocumentNotFoundException,
    DocumentUnretrievableException,
    ParsingFailedException,
    TransactionExpired,
    TransactionFailed,
    TransactionOperationFailed,
)
from couchbase.options import (
    GetOptions,
    TransactionConfig,
    TransactionGetOptions,
    TransactionInsertOptions,
    TransactionOptions,
    TransactionQueryOptions,
    TransactionReplaceOptions,
    UpsertOptions,
)
from couchbase.transactions import (
    AttemptContext,
    TransactionGetMultiReplicasFromPreferredServerGroupSpec,
    TransactionGetMultiSpec,
    TransactionKeyspace,
)
from couchbase.transcoder import RawBinaryTranscoder

from tests.conformance.checks import Context, check, eventually, expect, raises

# The SDK's constructors call their own `timeout` deprecated.
warnings.simplefilter("ignore", DeprecationWarning)


def body_of(collection: Collection, key: str) -> Any:
    """The value of a document; None where there is none."""
    try:
        return collection.get(key).content_as[dict]
    except DocumentNotFoundException:
        return None


def staged(collection: Collection, key: str) -> bool:
    """Whether a transaction has staged something in a document."""
    found = collection.lookup_in(key, [subdocument.exists("txn", xattr=True)])
    return bool(found.exists(0))


def attempts(context: Context) -> list[str]:
    """The attempts that are written down in the bucket's records."""
    keys = context.control("GET", f"/documents?bucket={context.bucket_name}")
    found: list[str] = []
    for key in keys:
        if key.startswith("_txn:atr-"):
            lookup = context.collection.lookup_in(key, [subdocument.get("attempts", xattr=True)])
            found += lookup.content_as[dict](0)
    return found


def options(seconds: float) -> TransactionOptions:
    """A transaction's options with its time."""
    return TransactionOptions(timeout=timedelta(seconds=seconds))


@check("a transaction reads its own writes, nobody else does; it leaves nothing behind")
def commit(context: Context) -> None:
    collection = context.collection
    changed, removed, added = [context.unique("txn") for _ in range(3)]
    collection.upsert(changed, {"n": 1}, UpsertOptions(expiry=timedelta(days=1)))
    collection.upsert(removed, {"n": 1})

    def logic(attempt: AttemptContext) -> None:
        attempt.replace(attempt.get(collection, changed), {"n": 2})
        attempt.remove(attempt.get(collection, removed))
        attempt.insert(collection, added, {"n": 3})
        expect.assertEqual(attempt.get(collection, changed).content_as[dict], {"n": 2})
        expect.assertEqual(attempt.get(collection, added).content_as[dict], {"n": 3})
        with raises(DocumentNotFoundException):
            attempt.get(collection, removed)
        expect.assertEqual(body_of(collection, changed), {"n": 1})
        expect.assertEqual(body_of(collection, removed), {"n": 1})
        expect.assertFalse(collection.exists(added).exists)
        expect.assertTrue(staged(collection, changed))

    result = context.cluster.transactions.run(logic)
    expect.assertTrue(result.unstaging_complete)
    expect.assertTrue(result.transaction_id)
    expect.assertEqual(body_of(collection, changed), {"n": 2})
    expect.assertIsNone(body_of(collection, removed))
    expect.assertEqual(body_of(collection, added), {"n": 3})
    expect.assertFalse(staged(collection, changed))
    expect.assertFalse(staged(collection, added))
    expect.assertEqual(attempts(context), [])


@check("an exception of the function rolls back: every document is as it was")
def rollback(context: Context) -> None:
    collection = context.collection
    changed, removed, added = [context.unique("txn") for _ in range(3)]
    collection.upsert(changed, {"n": 1}, UpsertOptions(expiry=timedelta(days=1)))
    collection.upsert(removed, {"n": 1})

    def logic(attempt: AttemptContext) -> None:
        attempt.replace(attempt.get(collection, changed), {"n": 2})
        attempt.remove(attempt.get(collection, removed))
        attempt.insert(collection, added, {"n": 3})
        raise ValueError("no")

    with raises(TransactionFailed) as failed:
        context.cluster.transactions.run(logic)
    expect.assertIsInstance(failed.exception.inner_cause, ValueError)
    for key in (changed, removed):
        expect.assertEqual(body_of(collection, key), {"n": 1})
        expect.assertFalse(staged(collection, key))
    found = collection.get(changed, GetOptions(with_expiry=True))
    expect.assertIsNotNone(found.expiryTime)
    expect.assertFalse(collection.exists(added).exists)
    expect.assertEqual(attempts(context), [])
    context.cluster.transactions.run(lambda attempt: attempt.insert(collection, added, {"n": 4}))
    expect.assertEqual(body_of(collection, added), {"n": 4})


@check("what is there cannot be inserted, what is not cannot be read, replaced or removed")
def wrong_documents(context: Context) -> None:
    collection, key, other = context.collection, context.unique("txn"), context.unique("txn")
    collection.upsert(key, {})

    def logic(attempt: AttemptContext) -> None:
        with raises(DocumentExistsException):
            attempt.insert(collection, key, {})
        with raises(DocumentNotFoundException):
            attempt.get(collection, other)
        found = attempt.get(collection, key)
        attempt.remove(found)
        attempt.remove(found)

    with raises(TransactionFailed) as failed:
        context.cluster.transactions.run(logic)
    expect.assertIsInstance(failed.exception.inner_cause, TransactionOperationFailed)
    expect.assertEqual(body_of(collection, key), {})


@check("the one of two transactions that comes second starts again")
def conflict(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 0})
    transactions = context.cluster.transactions
    calls: list[int] = []

    def increase(attempt: AttemptContext) -> None:
        found = attempt.get(collection, key)
        attempt.replace(found, {"n": found.content_as[dict]["n"] + 1})

    def logic(attempt: AttemptContext) -> None:
        found = attempt.get(collection, key)
        calls.append(found.content_as[dict]["n"])
        if len(calls) == 1:
            transactions.run(increase)
        try:
            attempt.replace(found, {"n": calls[-1] + 1})
        except TransactionOperationFailed:
            pass  # the SDK starts again only if the function swallows it

    transactions.run(logic)
    expect.assertEqual(calls, [0, 1])
    expect.assertEqual(body_of(collection, key), {"n": 2})


@check("a document that another transaction has staged is a conflict, until that one has ended")
def blocked(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 0})
    transactions = context.cluster.transactions

    def late(attempt: AttemptContext) -> None:
        expect.assertEqual(attempt.get(collection, key).content_as[dict], {"n": 0})
        attempt.replace(attempt.get(collection, key), {"n": 2})

    def logic(attempt: AttemptContext) -> None:
        attempt.replace(attempt.get(collection, key), {"n": 1})
        with raises(CouchbaseException):
            transactions.run(late, options(0.2))

    transactions.run(logic)
    expect.assertEqual(body_of(collection, key), {"n": 1})


@check("of two transactions that insert one document, one finds it there")
def two_inserts(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    transactions = context.cluster.transactions
    calls: list[int] = []

    def logic(attempt: AttemptContext) -> None:
        calls.append(1)
        if len(calls) == 1:
            transactions.run(lambda other: other.insert(collection, key, {"n": 1}))
        attempt.insert(collection, key, {"n": 2})

    with raises(TransactionFailed) as failed:
        transactions.run(logic)
    expect.assertIsInstance(failed.exception.inner_cause, DocumentExistsException)
    expect.assertEqual(body_of(collection, key), {"n": 1})


@check("a transaction has its time, and no longer")
def expiry(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 0})

    def logic(attempt: AttemptContext) -> None:
        attempt.replace(attempt.get(collection, key), {"n": 1})
        time.sleep(0.15)
        attempt.get(collection, key)

    with raises(TransactionExpired):
        context.cluster.transactions.run(logic, options(0.1))
    expect.assertEqual(body_of(collection, key), {"n": 0})
    expect.assertFalse(staged(collection, key))


@check("a commit whose answer was lost is found out to have happened")
def lost_answer(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 0})
    calls: list[int] = []

    def logic(attempt: AttemptContext) -> None:
        calls.append(1)
        attempt.replace(attempt.get(collection, key), {"n": len(calls)})
        if len(calls) == 1:
            context.control(
                "POST",
                "/faults",
                {
                    "service": "kv",
                    "operation": "SUBDOC_MULTI_MUTATION",
                    "key": "_txn:atr",
                    "effect": "drop",
                    "times": 1,
                },
            )

    try:
        context.cluster.transactions.run(logic)
    finally:
        context.control("DELETE", "/faults")
    expect.assertEqual(calls, [1])
    expect.assertEqual(body_of(collection, key), {"n": 1})


@check("bytes can be staged, too")
def binary(context: Context) -> None:
    collection, key, coder = context.collection, context.unique("txn"), RawBinaryTranscoder()

    def insert(attempt: AttemptContext) -> None:
        attempt.insert(collection, key, b"\x00\xff", TransactionInsertOptions(transcoder=coder))

    def replace(attempt: AttemptContext) -> None:
        found = attempt.get(collection, key, TransactionGetOptions(transcoder=coder))
        expect.assertEqual(found.content_as[bytes], b"\x00\xff")
        attempt.replace(found, b"\x01", TransactionReplaceOptions(transcoder=coder))

    context.cluster.transactions.run(insert)
    context.cluster.transactions.run(replace)
    found = collection.get(key, GetOptions(transcoder=coder))
    expect.assertEqual(found.content_as[bytes], b"\x01")


@check("several documents are read at once, in one state")
def get_multi(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 1})
    specs = [TransactionGetMultiSpec(collection, key), TransactionGetMultiSpec(collection, "none")]

    def logic(attempt: AttemptContext) -> None:
        found = attempt.get_multi(specs)
        expect.assertEqual((found.exists(0), found.exists(1)), (True, False))
        expect.assertEqual(found.content_as[dict](0), {"n": 1})

    context.cluster.transactions.run(logic)


@check("copies in the preferred server group are read, one or several at once")
def replicas(context: Context) -> None:
    keys = [context.unique("txn") for _ in range(3)]
    context.collection.upsert_multi({key: {"n": 1} for key in keys})
    cluster = context.connect(preferred_server_group="Group 2")
    collection = cluster.bucket(context.bucket_name).default_collection()
    spec = TransactionGetMultiReplicasFromPreferredServerGroupSpec
    specs = [spec(collection, key) for key in keys]

    def logic(attempt: AttemptContext) -> None:
        for key in keys:
            found = attempt.get_replica_from_preferred_server_group(collection, key)
            expect.assertEqual(found.content_as[dict], {"n": 1})
        several = attempt.get_multi_replicas_from_preferred_server_group(specs)
        expect.assertEqual([several.content_as[dict](at) for at in range(3)], [{"n": 1}] * 3)
        with raises(DocumentUnretrievableException):
            attempt.get_replica_from_preferred_server_group(collection, "none")

    cluster.transactions.run(logic)
    cluster.close()


@check("the record of attempts is where the configuration says, as durable as it says")
def configured(context: Context) -> None:
    key = context.unique("txn")
    cluster = context.connect(
        transaction_config=TransactionConfig(
            durability=ServerDurability(DurabilityLevel.NONE),
            cleanup_lost_attempts=False,
            metadata_collection=TransactionKeyspace(
                bucket=context.bucket_name, scope="_default", collection="_default"
            ),
        )
    )
    collection = cluster.bucket(context.bucket_name).default_collection()
    context.control("PUT", "/record", {"on": True})
    cluster.transactions.run(lambda attempt: attempt.insert(collection, key, {}))
    record = context.control("GET", "/record?service=kv&operation=SUBDOC_MULTI_MUTATION")
    context.control("DELETE", "/record")
    context.control("PUT", "/record", {"on": False})
    cluster.close()
    expect.assertEqual({request["options"].get("durability") for request in record}, {None})
    expect.assertEqual(len(record), 5, "begin, stage, commit, unstage, end")


LOST = """
import os, sys
from datetime import timedelta
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.options import ClusterOptions, TransactionConfig

connstr, username, password, bucket, changed, added = sys.argv[1:]
settings = TransactionConfig(cleanup_lost_attempts=False, timeout=timedelta(seconds=5))
options = ClusterOptions(PasswordAuthenticator(username, password), transaction_config=settings)
cluster = Cluster.connect(connstr, options)
collection = cluster.bucket(bucket).default_collection()

def logic(attempt):
    attempt.replace(attempt.get(collection, changed), {"n": 1})
    attempt.insert(collection, added, {"n": 1})
    os._exit(0)

cluster.transactions.run(logic)
"""


@check("a client that died leaves what others clean up, once its transaction has expired")
def lost_attempts(context: Context) -> None:
    collection, key, added = context.collection, context.unique("txn"), context.unique("txn")
    collection.upsert(key, {"n": 0})
    where = [context.connstr, context.username, context.password, context.bucket_name]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOST, *where, key, added],
        check=True,
        timeout=30,
        env=dict(os.environ),
    )
    expect.assertTrue(staged(collection, key))
    expect.assertEqual(body_of(collection, key), {"n": 0})
    expect.assertEqual(len(attempts(context)), 1)
    context.control("POST", "/advance", {"seconds": 60})
    cleaner = context.connect(
        transaction_config=TransactionConfig(
            cleanup_window=timedelta(seconds=0.2),
            metadata_collection=TransactionKeyspace(
                bucket=context.bucket_name, scope="_default", collection="_default"
            ),
        )
    )
    cleaner.bucket(context.bucket_name).default_collection().exists(key)
    cleaner.transactions.run(lambda attempt: None)
    eventually(lambda: not attempts(context))
    clients = collection.lookup_in(
        "_txn:client-record", [subdocument.get("records.clients", xattr=True)]
    )
    expect.assertEqual(len(clients.content_as[dict](0)), 1)
    cleaner.close()
    collection.insert(added, {"n": 2})
    context.cluster.transactions.run(
        lambda attempt: attempt.replace(attempt.get(collection, key), {"n": 3})
    )
    expect.assertEqual(body_of(collection, key), {"n": 3})


@check("queries see what the transaction has staged, and are part of it")
def queries(context: Context) -> None:
    collection, prefix = context.collection, context.unique("txn")
    context.cluster.query(
        f"CREATE PRIMARY INDEX IF NOT EXISTS ON `{context.bucket_name}`"
    ).execute()
    keys = [f"{prefix}-{name}" for name in "abcd"]
    collection.upsert_multi({key: {"n": 1} for key in keys[:3]})
    bucket = f"`{context.bucket_name}`"
    select = f"SELECT RAW META().id FROM {bucket} WHERE META().id LIKE $1 AND n = $2"

    def logic(attempt: AttemptContext) -> None:
        attempt.remove(attempt.get(collection, keys[0]))
        attempt.insert(collection, keys[3], {"n": 1})
        found = attempt.query(
            select, TransactionQueryOptions(positional_parameters=[f"{prefix}%", 1])
        )
        expect.assertEqual(sorted(found.rows()), keys[1:])
        attempt.query(f"UPDATE {bucket} USE KEYS $1 SET n = 2", _positional(keys[1]))
        attempt.replace(attempt.get(collection, keys[2]), {"n": 2})
        attempt.remove(attempt.get(collection, keys[3]))
        attempt.insert(collection, keys[0], {"n": 2})
        with raises(DocumentNotFoundException):
            attempt.get(collection, keys[3])
        with raises(DocumentExistsException):
            attempt.query(f"INSERT INTO {bucket} VALUES ($1, 0)", _positional(keys[1]))
        with raises(ParsingFailedException):
            attempt.query("SELEC 1")
        expect.assertEqual(body_of(collection, keys[1]), {"n": 1})
        if failing:
            raise ValueError("no")

    for failing in (True, False):
        if failing:
            with raises(TransactionFailed):
                context.cluster.transactions.run(logic)
        else:
            context.cluster.transactions.run(logic)
        expected = {"n": 1} if failing else {"n": 2}
        expect.assertEqual([body_of(collection, key) for key in keys], [expected] * 3 + [None])
    expect.assertEqual(attempts(context), [])
    expect.assertFalse(any(staged(collection, key) for key in keys[:3]))


def _positional(*values: Any) -> TransactionQueryOptions:
    return TransactionQueryOptions(positional_parameters=list(values))


@check("a commit of queries that meets a conflict starts again")
def query_conflict(context: Context) -> None:
    collection, key = context.collection, context.unique("txn")
    collection.upsert(key, {"n": 0})
    calls: list[int] = []

    def logic(attempt: AttemptContext) -> None:
        calls.append(1)
        attempt.query(f"UPDATE `{context.bucket_name}` USE KEYS $1 SET n = n + 1", _positional(key))
        if len(calls) == 1:
            collection.upsert(key, {"n": 10})

    context.cluster.transactions.run(logic)
    expect.assertEqual(body_of(collection, key), {"n": 11})
    expect.assertEqual(len(calls), 2)


@check("the time of a transaction with queries is over, too")
def query_expiry(context: Context) -> None:
    def logic(attempt: AttemptContext) -> None:
        attempt.query("SELECT 1")
        time.sleep(0.15)
        attempt.query("SELECT 1")

    with raises(TransactionExpired):
        context.cluster.transactions.run(logic, options(0.1))
