"""`SyncClient`: the SDK's public, blocking API. Every method runs in a thread."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.auth import Authenticator
from couchbase.bucket import Bucket
from couchbase.cluster import Cluster
from couchbase.collection import Collection
from couchbase.durability import (
    ClientDurability,
    DurabilityLevel,
    PersistToExtended,
    ReplicateTo,
    ServerDurability,
)
from couchbase.options import (
    ClusterOptions,
    DeltaValue,
    SignedInt64,
    TransactionConfig,
)
from couchbase.replica_reads import ReadPreference
from couchbase.subdocument import StoreSemantics, SubDocOp
from couchbase.transcoder import Transcoder

from txcouchbase.amp.transactions import from_data
from txcouchbase.amp.wire import OF_REPLICAS
from txcouchbase.workers.calls import call
from txcouchbase.workers.row_cluster import RowCluster
from txcouchbase.workers.services import Services

if TYPE_CHECKING:
    from txcouchbase.amp.wire import ClusterSettings
    from txcouchbase.workers.executor import Place, Task

__all__ = ["SyncClient"]

_THIRTY_DAYS = 30 * 24 * 60 * 60
_NO_INITIAL = SignedInt64(-1)
_WITHOUT_BRACKETS = (SubDocOp.ARRAY_PUSH_FIRST, SubDocOp.ARRAY_PUSH_LAST, SubDocOp.ARRAY_INSERT)


class _Encoded(Transcoder):
    """Hands on values that the application has encoded, with their flags."""

    def __init__(self, flags: int = 0) -> None:
        self._flags = flags

    def encode_value(self, value: bytes) -> tuple[bytes, int]:
        """Any value here is encoded."""
        return value, self._flags

    def decode_value(self, value: bytes, flags: int) -> bytes:
        """The application decodes."""
        return value


class SyncClient:
    """A connected cluster of the SDK, with its open buckets.

    Attributes:
        cluster: The SDK's cluster.
        rows: The connection for rows, with the pool of threads for what blocks.
        services: The services of the cluster.
    """

    def __init__(self, cluster: Cluster, rows: RowCluster, services: Services) -> None:
        self.cluster = cluster
        self.rows = rows
        self.services = services
        self._buckets: dict[str, Bucket] = {}
        self._collections: dict[tuple[str, str, str], Collection] = {}

    @classmethod
    def connect(cls, pickled_settings: bytes, threads: Any, scan_threads: Any) -> SyncClient:
        """Connect, blocking for the SDK's `bootstrap_timeout` at most.

        Args:
            pickled_settings: A pickled `ClusterSettings`, from the application.
            threads: The pool of threads for what blocks.
            scan_threads: The same for scans.

        Raises:
            CouchbaseException: As the SDK's constructor.
        """
        settings: ClusterSettings = pickle.loads(pickled_settings)
        given = dict(settings.options)
        if "transaction_config" in given:
            given["transaction_config"] = from_data(TransactionConfig, given["transaction_config"])

        def sdk_cluster(authenticator: Authenticator) -> Cluster:
            return Cluster(settings.connstr, ClusterOptions(authenticator, **given))

        cluster = sdk_cluster(settings.authenticator)
        rows = RowCluster(sdk_cluster, settings.authenticator, threads, scan_threads)
        services = Services(cluster, settings.connstr, given, settings.authenticator, threads)
        return cls(cluster, rows, services)

    def set_authenticator(self, pickled_authenticator: bytes) -> None:
        """Use other credentials, from the application.

        Raises:
            CouchbaseException: As the SDK's `Cluster.set_authenticator`.
        """
        authenticator: Any = pickle.loads(pickled_authenticator)
        self.cluster.set_authenticator(authenticator)
        self.rows.set_authenticator(authenticator)
        self.services.set_authenticator(authenticator)

    def close(self) -> None:
        """Disconnect."""
        self.cluster.close()
        self.rows.close()

    def open_bucket(self, name: str) -> None:
        """Open a bucket.

        Raises:
            CouchbaseException: As the SDK's `Cluster.bucket`.
        """
        self._buckets[name] = self.cluster.bucket(name)

    def close_bucket(self, name: str) -> None:
        """Close a bucket."""
        bucket = self._buckets.pop(name, None)
        for place in [place for place in self._collections if place[0] == name]:
            del self._collections[place]
        if bucket is not None:
            bucket.close()

    def run(self, task: Task) -> dict[str, Any]:
        """Run an operation.

        Returns:
            The map that the SDK's binding made of the answer, or what `call` gives.

        Raises:
            CouchbaseException: As the SDK's method.
        """
        place = task.place
        if task.kind.blocking:
            return call(self._sdk_object(place), task)
        path = (place.bucket, place.scope, place.collection)
        collection = self._collections.get(path)
        if collection is None:
            scope = self._buckets[place.bucket].scope(place.scope)
            collection = self._collections[path] = scope.collection(place.collection)
        return _run_key_value(collection, task)

    def _sdk_object(self, place: Place) -> Any:
        """The cluster, bucket, scope or collection of a place."""
        if not place.bucket:
            return self.cluster
        target: Any = self._buckets[place.bucket]
        if place.scope:
            target = target.scope(place.scope)
        if place.collection:
            target = target.collection(place.collection)
        return target


def _duration(task: Task) -> dict[str, Any]:
    timeout = task.remaining()
    return {"timeout": timedelta(milliseconds=timeout)} if timeout else {}


def _expiry(value: int) -> timedelta:
    # From thirty days on the value on the wire is a point in time.
    return timedelta(seconds=value if value < _THIRTY_DAYS else value - int(time.time()))


_CONVERSIONS: dict[str, Callable[[Any], tuple[str, Any]]] = {
    "expiry": lambda value: ("expiry", _expiry(value)),
    "lock_time": lambda value: ("lock_time", timedelta(seconds=value)),
    "durability_level": lambda value: (
        "durability",
        ServerDurability(DurabilityLevel(value)),
    ),
    "projections": lambda value: ("project", value),
    "delta": lambda value: ("delta", DeltaValue(value)),
    "initial_value": lambda value: ("initial", SignedInt64(value)),
    "read_preference": lambda value: ("read_preference", ReadPreference(value)),
    "store_semantics": lambda value: (
        {
            StoreSemantics.INSERT: "insert_doc",
            StoreSemantics.UPSERT: "upsert_doc",
            StoreSemantics.REPLACE: "replace_doc",
        }[StoreSemantics(value)],
        True,
    ),
}


def _run_key_value(collection: Collection, task: Task) -> dict[str, Any]:
    name = task.kind.name
    wire = dict(task.options or {})
    options: dict[str, Any] = _duration(task)
    specs = wire.pop("specs", None)
    if "persist_to" in wire:
        options["durability"] = ClientDurability(
            ReplicateTo(wire.pop("replicate_to")), PersistToExtended(wire.pop("persist_to"))
        )
    for option, value in wire.items():
        convert = _CONVERSIONS.get(option)
        option, value = convert(value) if convert is not None else (option, value)
        options[option] = value
    arguments: list[Any] = [task.key]
    target: Any = collection
    if name in ("append", "prepend", "increment", "decrement"):
        target = collection.binary()
        if name in ("append", "prepend"):
            arguments.append(task.value)
        elif "initial" not in options:
            options["initial"] = _NO_INITIAL
    elif task.value is not None:
        arguments.append(task.value)
        options["transcoder"] = _Encoded(task.flags)
    elif name in ("get_and_lock", "get_and_touch", "touch", "unlock"):
        first = {"get_and_lock": "lock_time", "unlock": "cas"}.get(name, "expiry")
        arguments.append(options.pop(first))
    elif name.startswith("lookup_in"):
        arguments.append([(SubDocOp(code), path, xattr) for code, path, xattr in specs])
    elif name == "mutate_in":
        arguments.append([_mutation_spec(*spec) for spec in specs])
        options["transcoder"] = _Encoded()
    result = getattr(target, name)(*arguments, **options)
    if name in ("get_all_replicas", "lookup_in_all_replicas"):
        return {OF_REPLICAS: [dict(found._orig.raw_result) for found in result]}
    return dict(result._orig.raw_result) if result is not None else {}


def _mutation_spec(code: int, *rest: Any) -> tuple[Any, ...]:
    operation = SubDocOp(code)
    if operation in _WITHOUT_BRACKETS and len(rest) == 5:
        # The SDK encodes these lists by itself, without their brackets.
        *head, value = rest
        return (operation, *head, json.loads(b"[" + value + b"]"))
    return (operation, *rest)
