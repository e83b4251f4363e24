"""Scans through the SDK."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from couchbase.collection import Collection
from couchbase.exceptions import (
    AuthenticationException,
    FeatureUnavailableException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
    UnsuccessfulOperationException,
)
from couchbase.kv_range_scan import PrefixScan, RangeScan, SamplingScan, ScanTerm
from couchbase.management.buckets import BucketType, CreateBucketSettings
from couchbase.mutation_state import MutationState
from couchbase.options import ScanOptions, UpsertOptions
from couchbase.result import MutationToken, ScanResult

from tests.conformance.checks import Context, check, expect, raises
from tests.conformance.faults import fault


def _filled(context: Context, count: int) -> Collection:
    """A new collection with so many documents."""
    name = context.unique("scanned")
    context.bucket.collections().create_collection("_default", name)
    collection = context.bucket.collection(name)
    collection.upsert_multi({f"doc-{number:03}": {"n": number} for number in range(count)})
    return collection


def _keys(collection: Collection, *args: Any, **options: Any) -> list[str]:
    return sorted(result.id for result in collection.scan(*args, **options))


def _names(*numbers: int) -> list[str]:
    return [f"doc-{number:03}" for number in numbers]


def _late_answers(context: Context, operation: str, **effect: Any) -> AbstractContextManager[None]:
    """The SDK loses errors that come while it does not wait for a document; late ones it gets."""
    return fault(context, service="kv", operation=operation, delay=0.05, **effect)


@check("a range has its bounds in it, unless they are exclusive, and may have none")
def ranges(context: Context) -> None:
    collection = _filled(context, 200)
    first, last = "doc-010", "doc-013"
    for start, end, expected in (
        (ScanTerm(first), ScanTerm(last), _names(10, 11, 12, 13)),
        (ScanTerm(first, exclusive=True), ScanTerm(last), _names(11, 12, 13)),
        (ScanTerm(first), ScanTerm(last, exclusive=True), _names(10, 11, 12)),
        (None, ScanTerm("doc-002"), _names(0, 1, 2)),
        (ScanTerm("doc-198"), None, _names(198, 199)),
        (None, None, _names(*range(200))),
        (ScanTerm("e"), None, []),
    ):
        expect.assertEqual(_keys(collection, RangeScan(start, end)), expected)


@check("a prefix finds the keys that start with it")
def prefixes(context: Context) -> None:
    collection = _filled(context, 50)
    collection.upsert("dog", 1)
    collection.upsert("doc-04\u00e9", 1)
    expected = [*_names(*range(40, 50)), "doc-04\u00e9"]
    expect.assertEqual(_keys(collection, PrefixScan("doc-04")), expected)
    expect.assertEqual(_keys(collection, PrefixScan("dox")), [])


@check("a sample has as many documents as were asked for, with one seed always the same")
def samples(context: Context) -> None:
    collection = _filled(context, 100)
    sample = _keys(collection, SamplingScan(15, seed=42))
    expect.assertEqual(len(set(sample)), 15)
    expect.assertEqual(_keys(collection, SamplingScan(15, seed=42)), sample)
    expect.assertEqual(len(_keys(collection, SamplingScan(1_000))), 100)
    expect.assertEqual(_keys(_filled(context, 0), SamplingScan(3)), [])


@check("a document comes with its value, CAS and expiry")
def documents(context: Context) -> None:
    collection = _filled(context, 0)
    stored = collection.upsert("k", {"a": 1}, UpsertOptions(expiry=timedelta(hours=1)))
    collection.upsert("plain", "text")
    results = {result.id: result for result in collection.scan(RangeScan())}
    result = results["k"]
    expect.assertIsInstance(result, ScanResult)
    expect.assertEqual((result.cas, result.content_as[dict]), (stored.cas, {"a": 1}))
    expect.assertEqual(result.expiry_time.timestamp(), _expiry(collection, "k"))
    expect.assertIsNone(results["plain"].expiry_time)
    expect.assertEqual(results["plain"].content_as[str], "text")


def _expiry(collection: Collection, key: str) -> float:
    found: float = collection.get(key, with_expiry=True).expiry_time.timestamp()
    return found


@check("without contents a result has the key alone")
def ids_only(context: Context) -> None:
    collection = _filled(context, 5)
    results = list(collection.scan(RangeScan(), ScanOptions(ids_only=True)))
    expect.assertEqual(sorted(result.id for result in results), _names(*range(5)))
    for attribute in ("cas", "expiry_time", "content_as"):
        with raises(InvalidArgumentException):
            getattr(results[0], attribute)


@check("limits of batches and concurrency change nothing about what is found")
def batches(context: Context) -> None:
    collection = _filled(context, 300)
    expected = _names(*range(300))
    for options in (
        {"batch_item_limit": 1},
        {"batch_byte_limit": 1},
        {"batch_item_limit": 0, "batch_byte_limit": 0},
        {"concurrency": 16},
        {"ids_only": True, "concurrency": 100, "batch_item_limit": 2},
    ):
        expect.assertEqual(_keys(collection, RangeScan(), **options), expected, options)


@check("a scan that must see a mutation does, and waits in vain for one that never was")
def consistency(context: Context) -> None:
    collection = _filled(context, 10)
    stored = collection.upsert("new", 1)
    state = MutationState(stored)
    expect.assertIn("new", _keys(collection, RangeScan(), consistent_with=state))
    token = stored.mutation_token().as_dict()
    state = MutationState()
    state.add_mutation_token(MutationToken({**token, "sequence_number": 1_000_000}))
    with raises(UnAmbiguousTimeoutException):
        _keys(collection, RangeScan(), consistent_with=state, timeout=timedelta(milliseconds=300))


@check("a scan that is cancelled gives nothing more")
def cancelling(context: Context) -> None:
    scanned = _filled(context, 100).scan(RangeScan(), batch_item_limit=1)
    rows = scanned.rows()
    expect.assertIsInstance(next(rows), ScanResult)
    scanned.cancel_scan()
    expect.assertEqual(list(rows), [])


@check("arguments that make no sense are refused")
def arguments(context: Context) -> None:
    collection = context.collection
    state: Any = MutationState()
    for scan_type, options in (
        (SamplingScan(0), {}),
        ("doc", {}),
        (RangeScan(), {"concurrency": 0}),
        (RangeScan(), {"consistent_with": state}),
    ):
        with raises(InvalidArgumentException):
            collection.scan(scan_type, **options)
    with raises(InvalidArgumentException):
        ScanTerm(1)
    with _late_answers(context, "RANGE_SCAN_CREATE"), raises(InvalidArgumentException):
        list(collection.scan(PrefixScan("k" * 251)))


@check("an unknown collection cannot be scanned")
def unknown_collection(context: Context) -> None:
    with raises(UnsuccessfulOperationException):
        list(context.bucket.collection("missing").scan(RangeScan()))


@check("a bucket that is not stored on disk cannot be scanned")
def ephemeral(context: Context) -> None:
    name = context.unique("ephemeral")
    settings = CreateBucketSettings(
        name=name, bucket_type=BucketType.EPHEMERAL, ram_quota_mb=100, num_replicas=0
    )
    context.cluster.buckets().create_bucket(settings)
    with raises(FeatureUnavailableException):
        list(context.cluster.bucket(name).default_collection().scan(RangeScan()))
    context.cluster.buckets().drop_bucket(name)


@check("what goes wrong at the server ends a scan")
def errors(context: Context) -> None:
    collection = _filled(context, 300)
    short = timedelta(milliseconds=400)
    for operation, effect, error in (
        ("RANGE_SCAN_CONTINUE", {"effect": "refuse", "status": "EACCESS"}, AuthenticationException),
        ("RANGE_SCAN_CREATE", {"effect": "silence"}, UnAmbiguousTimeoutException),
        ("RANGE_SCAN_CONTINUE", {"effect": "silence"}, UnAmbiguousTimeoutException),
    ):
        with _late_answers(context, operation, **effect), raises(error):
            _keys(collection, RangeScan(), timeout=short)
    busy = {"effect": "refuse", "status": "EBUSY", "times": 2}
    with fault(context, service="kv", operation="RANGE_SCAN_CREATE", **busy):
        expect.assertEqual(len(_keys(collection, RangeScan())), 300)
