"""Buckets: made, changed, flushed, dropped and shown.

Source: Couchbase documentation, *Buckets API*. What a server says to a field that makes no sense
is said here too. What the node does not do is refused by the field's name: buckets of memcached,
custom conflict resolution, a change of the storage, and fields that are about disks, which it has
none of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.kv.bucket import Bucket
from txcouchbase.testing.kv.settings import DURABILITY_LEVELS, MAX_DURABLE_REPLICAS, BucketSettings
from txcouchbase.testing.management.forms import Form, invalid, missing, require
from txcouchbase.testing.management.nodes import MEMORY_QUOTA, nodes

__all__ = ["ROUTES", "as_dict", "named"]

MAX_BUCKETS = 30
MAX_NAME = 100
MAX_TTL = 2**31 - 1
MIN_QUOTA = 100
MIN_MAGMA_QUOTA = 1024
MIN_HISTORY = 2 * 1024**3
MEBIBYTE = 1024**2

_NAME = re.compile(r"[A-Za-z0-9_.%\-]+\Z")
_NUMBER = re.compile(r"[0-9]{1,19}\Z")
_TYPES = {"membase": "membase", "couchbase": "membase", "ephemeral": "ephemeral"}


@dataclass(frozen=True)
class _Field:
    """One field of the form.

    :param attribute: what it sets.
    :param read: the value; KeyError or ValueError where there is none.
    :param refusal: what is said then.
    :param fixed: what is said where an existing bucket would change by it; None if it may.
    """

    attribute: str
    read: Callable[[str], Any]
    refusal: str
    fixed: str | None = None


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _NUMBER.match(text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return read


def _one_of(*values: str) -> Callable[[str], str]:
    return {value: value for value in values}.__getitem__


def _history_bytes(text: str) -> int:
    size = _number(0, 2**63 - 1)(text)
    if 0 < size < MIN_HISTORY:
        raise ValueError(text)
    return size


_FIELDS: dict[str, _Field] = {
    "bucketType": _Field(
        "bucket_type",
        _TYPES.__getitem__,
        "invalid bucket type, or one that the embedded node has not",
        "the type of a bucket cannot be changed",
    ),
    "ramQuotaMB": _Field(
        "ram_quota",
        _number(0, 2**40),
        "The RAM Quota must be specified and must be a positive integer.",
    ),
    "replicaNumber": _Field(
        "replicas",
        _number(0, 3),
        "The replica number must be specified and must be a non-negative integer up to 3.",
    ),
    "replicaIndex": _Field(
        "replica_index",
        {"0": False, "1": True}.__getitem__,
        "replicaIndex can only be 1 or 0",
        "replicaIndex cannot be changed after the bucket was created",
    ),
    "flushEnabled": _Field(
        "flush", {"0": False, "1": True}.__getitem__, "flushEnabled can only be 1 or 0"
    ),
    "evictionPolicy": _Field(
        "eviction",
        _one_of("valueOnly", "fullEviction", "noEviction", "nruEviction"),
        "Eviction policy must be one of 'valueOnly', 'fullEviction', 'noEviction', 'nruEviction'",
    ),
    "conflictResolutionType": _Field(
        "conflict_resolution",
        _one_of("seqno", "lww", "custom"),
        "Conflict resolution type must be 'seqno' or 'lww' or 'custom'",
        "Conflict resolution type not allowed in update bucket",
    ),
    "compressionMode": _Field(
        "compression",
        _one_of("off", "passive", "active"),
        "compressionMode can be set to 'off', 'passive' or 'active'",
    ),
    "storageBackend": _Field(
        "storage",
        _one_of("couchstore", "magma"),
        "storage backend must be couchstore or magma",
        "a change of the storage backend is not done by the embedded node",
    ),
    "maxTTL": _Field(
        "max_ttl", _number(0, MAX_TTL), f"Max TTL must be an integer between 0 and {MAX_TTL}"
    ),
    "durabilityMinLevel": _Field(
        "durability",
        _one_of(*DURABILITY_LEVELS),
        "Durability minimum level must be one of 'none', 'majority', 'majorityAndPersistActive',"
        " or 'persistToMajority'",
    ),
    "numVBuckets": _Field(
        "vbuckets",
        _number(1, 1024),
        "Number of vbuckets must be an integer between 1 and 1024",
        "Number of vbuckets cannot be modified",
    ),
    "historyRetentionCollectionDefault": _Field(
        "history_default",
        {"true": True, "false": False}.__getitem__,
        "The value must be true or false",
    ),
    "historyRetentionSeconds": _Field(
        "history_seconds", _number(0, 2**63 - 1), "The value must be a non-negative integer"
    ),
    "historyRetentionBytes": _Field(
        "history_bytes", _history_bytes, f"The value must be 0, or an integer from {MIN_HISTORY} on"
    ),
}

_HISTORY = ("historyRetentionCollectionDefault", "historyRetentionSeconds", "historyRetentionBytes")
_EVICTIONS = {"membase": ("valueOnly", "fullEviction"), "ephemeral": ("noEviction", "nruEviction")}


def named(state: ClusterState, call: Call) -> Bucket:
    """The bucket that a request's path names.

    :raises HttpRefused: 404 if it does not exist.
    """
    bucket = state.buckets.get(call.names["bucket"])
    if bucket is None:
        raise missing()
    return bucket


def as_dict(state: ClusterState, bucket: Bucket, node: int = 0) -> dict[str, Any]:
    """A bucket as management shows it. Clients abort where one of several fields lacks.

    :param node: the number of the node that answers.
    """
    settings = bucket.settings
    shown = state.config(bucket, node)
    for name in ("nodesExt", "clusterCapabilities", "clusterCapabilitiesVer", "rev", "revEpoch"):
        del shown[name]
    uri = f"/pools/default/buckets/{bucket.name}"
    controllers = {"compactAll": f"{uri}/controller/compactBucket"}
    if settings.flush:
        controllers["flush"] = f"{uri}/controller/doFlush"
    used = sum(len(document.tail) for document in bucket.documents.values())
    quota = settings.ram_quota * MEBIBYTE
    shown |= {
        "bucketType": settings.bucket_type,
        "replicaNumber": settings.replicas,
        "quota": {"ram": quota, "rawRAM": quota},
        "basicStats": {
            "quotaPercentUsed": 100 * used / quota,
            "opsPerSec": 0,
            "diskFetches": 0,
            "itemCount": len(bucket.documents),
            "diskUsed": 0,
            "dataUsed": 0,
            "memUsed": used,
        },
        "evictionPolicy": settings.eviction,
        "conflictResolutionType": settings.conflict_resolution,
        "compressionMode": settings.compression,
        "maxTTL": settings.max_ttl,
        "durabilityMinLevel": settings.durability,
        "numVBuckets": bucket.vbuckets,
        "threadsNumber": 3,
        "autoCompactionSettings": False,
        "controllers": controllers,
        "ddocs": {"uri": f"{uri}/ddocs"},
        "nodes": nodes(state, node),
    }
    if not settings.ephemeral:
        shown["replicaIndex"] = settings.replica_index
    if settings.magma:
        shown |= {
            "historyRetentionCollectionDefault": settings.history_default,
            "historyRetentionSeconds": settings.history_seconds,
            "historyRetentionBytes": settings.history_bytes,
        }
    return shown


def _read(form: Form, present: BucketSettings | None) -> tuple[dict[str, Any], set[str]]:
    """The values of a form by attributes, and the names of the fields that were given."""
    values: dict[str, Any] = {}
    given = set()
    for name in form.names():
        field = _FIELDS.get(name)
        if field is None:
            continue
        given.add(name)
        try:
            value = field.read(form.text(name) or "")
        except (KeyError, ValueError):
            form.errors[name] = field.refusal
            continue
        # Clients send back what they were shown.
        if present is not None and field.fixed and value != getattr(present, field.attribute):
            form.errors[name] = field.fixed
            continue
        values[field.attribute] = value
    return values, given


def _check(settings: BucketSettings, given: set[str], errors: dict[str, str]) -> None:
    """What fields say to each other."""
    kind = "ephemeral" if settings.ephemeral else "couchbase"
    evictions = _EVICTIONS[settings.bucket_type]
    if settings.eviction not in evictions:
        either = "' or '".join(evictions)
        errors["evictionPolicy"] = f"Eviction policy must be either '{either}' for {kind} buckets"
    if settings.ephemeral and "replicaIndex" in given:
        errors["replicaIndex"] = "replicaIndex not supported for ephemeral buckets"
    if settings.ephemeral and settings.durability not in ("none", "majority"):
        errors["durabilityMinLevel"] = (
            "Durability minimum level must be either 'none' or 'majority' for ephemeral buckets"
        )
    if settings.durability != "none" and settings.replicas > MAX_DURABLE_REPLICAS:
        errors["durabilityMinLevel"] = (
            f"Durability minimum level cannot be specified with {settings.replicas} replicas"
        )
    if settings.conflict_resolution == "custom":
        errors["conflictResolutionType"] = (
            "Conflict resolution type 'custom' is supported only with developer preview enabled"
        )
    least = MIN_MAGMA_QUOTA if settings.magma else MIN_QUOTA
    if "ramQuotaMB" not in errors and settings.ram_quota < least:
        errors["ramQuota"] = f"RAM quota cannot be less than {least} MiB"
    if not settings.magma:
        for name in given.intersection(_HISTORY):
            errors[name] = "History Retention can only be used with Magma"


def _check_name(state: ClusterState, name: str | None) -> str | None:
    """What is wrong with the name of a new bucket."""
    if name is None:
        return "Bucket name needs to be specified"
    if not name:
        return "Bucket name cannot be empty"
    if len(name) > MAX_NAME:
        return f"Bucket name cannot exceed {MAX_NAME} characters"
    if name.startswith("."):
        return "Bucket name cannot start with dot."
    if name.startswith("_"):
        return "This name is reserved for the internal use."
    if not _NAME.match(name):
        return (
            "Bucket name can only contain characters in range A-Z, a-z, 0-9 as well as"
            " underscore, period, dash & percent. Consult the documentation."
        )
    if name.lower() in (other.lower() for other in state.buckets):
        return "Bucket with given name already exists"
    return None


def _check_quota(state: ClusterState, quota: int, name: str, errors: dict[str, str]) -> None:
    others = sum(
        bucket.settings.ram_quota for bucket in state.buckets.values() if bucket.name != name
    )
    if others + quota > MEMORY_QUOTA:
        errors["ramQuota"] = "RAM quota specified is too large to be provisioned into this cluster."


def _list(state: ClusterState, call: Call) -> Answer:
    account = call.account
    return json_answer(
        [
            as_dict(state, bucket, call.node)
            for bucket in state.buckets.values()
            if account is not None and account.may("settings", bucket.name)
        ]
    )


def _get(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "settings", bucket.name)
    return json_answer(as_dict(state, bucket, call.node))


def _describe(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "settings", bucket.name)
    return Answer(state.config_bytes(bucket, call.node))


def _create(state: ClusterState, call: Call) -> Answer:
    require(call, "buckets")
    _no_arguments(call)
    form = Form(call)
    name = form.text("name")
    wrong = _check_name(state, name)
    values, given = _read(form, None)
    # A server's defaults, where they are not those of the node's own buckets.
    settings = BucketSettings(**{"flush": False, "replicas": 1, **values})
    if settings.ephemeral:
        settings.storage = "undefined"
    if "eviction" not in values:
        settings.eviction = _EVICTIONS[settings.bucket_type][settings.magma]
    if wrong is not None:
        form.errors["name"] = wrong
    if "ramQuotaMB" not in given:
        form.errors["ramQuotaMB"] = _FIELDS["ramQuotaMB"].refusal
    _check(settings, given, form.errors)
    _check_quota(state, settings.ram_quota, "", form.errors)
    form.close()
    if len(state.buckets) >= MAX_BUCKETS:
        raise invalid(_=f"Cannot create more than {MAX_BUCKETS} buckets")
    assert name is not None
    state.create_bucket(name, settings)
    return Answer(b"", 202, headers={"Location": f"/pools/default/buckets/{name}"})


def _update(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "manage", bucket.name)
    _no_arguments(call)
    form = Form(call)
    values, given = _read(form, bucket.settings)
    settings = replace(bucket.settings, **values)
    _check(settings, given, form.errors)
    _check_quota(state, settings.ram_quota, bucket.name, form.errors)
    form.close()
    state.configure_bucket(bucket.name, settings)
    return Answer(b"")


def _drop(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "manage", bucket.name)
    state.drop_bucket(bucket.name)
    return Answer(b"")


def _flush(state: ClusterState, call: Call) -> Answer:
    bucket = named(state, call)
    require(call, "flush", bucket.name)
    if not bucket.settings.flush:
        raise HttpRefused(400, {"_": "Flush is disabled for the bucket"})
    bucket.flush()
    return Answer(b"")


def _no_arguments(call: Call) -> None:
    for name in call.arguments:
        raise invalid(_=f"{name}: the embedded node does not do this")


ROUTES: Sequence[Route] = (
    Route("GET", "/pools/default/buckets", _list),
    Route("POST", "/pools/default/buckets", _create),
    Route("GET", "/pools/default/buckets/{bucket}", _get),
    Route("POST", "/pools/default/buckets/{bucket}", _update),
    Route("DELETE", "/pools/default/buckets/{bucket}", _drop),
    Route("POST", "/pools/default/buckets/{bucket}/controller/doFlush", _flush),
    Route("GET", "/pools/default/b/{bucket}", _describe),
)
