"""Settings of transactions as plain data, since the SDK keeps them in objects of its binding."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any, TypeVar

from couchbase.durability import DurabilityLevel, ServerDurability
from couchbase.n1ql import QueryScanConsistency
from couchbase.options import TransactionConfig, TransactionOptions
from couchbase.transactions import TransactionKeyspace

__all__ = ["from_data", "to_data"]

S = TypeVar("S", TransactionConfig, TransactionOptions)


def to_data(settings: TransactionConfig | TransactionOptions) -> dict[str, Any]:
    """The settings as a map."""
    return dict(settings._base.to_dict())


def from_data(kind: type[S], data: dict[str, Any]) -> S:
    """The settings of which `to_data` made a map.

    Args:
        kind: `TransactionConfig` or `TransactionOptions`.
        data: The map, with durations as the binding tells them: `cleanup_window` in
            milliseconds, `timeout` in nanoseconds.
    """
    known = dict(data)
    if "durability_level" in known:
        level = DurabilityLevel(known.pop("durability_level"))
        known["durability"] = ServerDurability(level)
    if "timeout" in known:
        known["timeout"] = timedelta(microseconds=known["timeout"] / 1000)
    if "cleanup_window" in known:
        known["cleanup_window"] = timedelta(milliseconds=known["cleanup_window"])
    if "scan_consistency" in known:
        known["scan_consistency"] = QueryScanConsistency(known["scan_consistency"])
    if known.get("metadata_collection"):
        # The name of a bucket may hold dots, those of scopes and collections cannot.
        bucket, scope, collection = known["metadata_collection"].rsplit(".", 2)
        known["metadata_collection"] = TransactionKeyspace(
            bucket=bucket, scope=scope, collection=collection
        )
    with warnings.catch_warnings():
        # The SDK's constructors call their own `timeout` deprecated.
        warnings.simplefilter("ignore")
        return kind(**known)
