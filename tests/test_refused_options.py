"""Options that are none, and durability that is none, are refused at the call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from couchbase import subdocument
from couchbase.auth import PasswordAuthenticator
from couchbase.durability import (
    ClientDurability,
    Durability,
    DurabilityLevel,
    PersistTo,
    ReplicateTo,
    ServerDurability,
)
from couchbase.exceptions import InvalidArgumentException
from couchbase.kv_range_scan import PrefixScan
from couchbase.options import (
    ClusterOptions,
    GetOptions,
    IncrementOptions,
    ScanOptions,
    UpsertMultiOptions,
    UpsertOptions,
)
from couchbase.transcoder import JSONTranscoder
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_options import (
    ARGUMENTS,
    ITS_CAS,
    NO_MULTI,
    OF_REPLICAS,
    ON_BINARY,
    TAKE_VALUES,
    WRITES,
    declared,
    options_class,
)
from txcouchbase.arguments import read_options
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig, WorkerPool

DURABLE = (*WRITES, "increment", "decrement")
WITHOUT_EFFECT = {
    "lookup_in": {"durability"},
    "lookup_in_any_replica": {"serializer"},
    "lookup_in_all_replicas": {"serializer"},
}
"""What the SDK's classes declare, and makes its own methods fail."""

SPECS = {"specs": [subdocument.get("a")]}


class TableTests(SynchronousTestCase):
    def read(self, name: str, *opts: Any, **given: Any) -> Any:
        """Read options as the methods do."""
        fixed = SPECS if name in ("lookup_in", "mutate_in") or "lookup" in name else {}
        if name == "mutate_in":
            fixed = {"specs": [subdocument.upsert("a", 1)]}
        return read_options(name, opts, {**fixed, **given}, JSONTranscoder(), 2.5, False)

    def test_what_the_sdk_declares_is_known(self) -> None:
        values: dict[str, Any] = {
            "timeout": timedelta(seconds=1),
            "expiry": timedelta(seconds=1),
            "durability": ServerDurability(DurabilityLevel.MAJORITY),
            "read_preference": DurabilityLevel.NONE,  # what has a value
        }
        for name in (*ARGUMENTS, *OF_REPLICAS):
            block = options_class(name)
            known = declared(block) - WITHOUT_EFFECT.get(name, set())
            if name not in NO_MULTI and not name.startswith("lookup"):
                known |= set(options_class(name, "MultiOptions").get_valid_keys())
                known -= {"per_key_options", "return_exceptions"}
            for option in known | {"quiet"}:
                value = values.get(option)
                self.read(name, **{option: value})
                self.read(name, block(**{option: value}))
        for option in ScanOptions.get_valid_keys():
            self.assertIn(option, declared(ScanOptions))

    def test_what_is_none_is_not(self) -> None:
        for name in (*ARGUMENTS, *OF_REPLICAS):
            for read in (
                partial(self.read, name, expriy=1),
                partial(self.read, name, expriy=None),
                partial(self.read, name, options_class(name)(expriy=1)),
            ):
                error = self.assertRaises(InvalidArgumentException, read)
                self.assertIn(f"{name} has no option expriy", str(error))
            for option in WITHOUT_EFFECT.get(name, ()):
                self.assertRaises(InvalidArgumentException, self.read, name, **{option: 1})
            self.assertRaises(InvalidArgumentException, self.read, name, "text")


class CallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = WorkerPool(PoolConfig(), MemoryReactorClock())
        options = ClusterOptions(PasswordAuthenticator("name", "password"))
        cluster = TxCluster("couchbase://localhost", options, pool=self.pool)
        self.collection = cluster.bucket("default").default_collection()

    def refused(self, call: Callable[[], Any], *parts: str) -> None:
        """Expect that a call is refused, and says why."""
        error = self.assertRaises(InvalidArgumentException, call)
        for part in parts:
            self.assertIn(part, str(error))
        self.assertEqual(self.pool._pending, 0)

    def single(self, name: str) -> Callable[..., Any]:
        """A method with its arguments."""
        target: Any = self.collection.binary() if name in ON_BINARY else self.collection
        arguments = [1 if each is ITS_CAS else each for each in ARGUMENTS.get(name, ())]
        return partial(getattr(target, name), "key", *arguments)

    def many(self, name: str) -> Callable[..., Any]:
        """The method for many keys, with its arguments."""
        target: Any = self.collection.binary() if name in ON_BINARY else self.collection
        keys: Any = {"key": ARGUMENTS[name][0]} if name in TAKE_VALUES else ["key"]
        return partial(getattr(target, f"{name}_multi"), keys)

    def test_durability_that_is_none(self) -> None:
        wrong: list[Any] = [Durability.MAJORITY, 1, 0, "majority", ServerDurability("majority")]  # type: ignore[arg-type]
        wrong.append(ClientDurability(1, PersistTo.ONE))  # type: ignore[arg-type]
        say = "ServerDurability(Durability.MAJORITY)"
        for durability in wrong:
            given = {"durability": durability}
            for name in DURABLE:
                self.refused(partial(self.single(name), **given), name, say, "ClientDurability(")
                block = options_class(name)(**given)
                self.refused(partial(self.single(name), block), say)
                if name in NO_MULTI:
                    continue
                self.refused(partial(self.many(name), **given), say)
                self.refused(partial(self.many(name), per_key_options={"key": given}), say)
            self.refused(partial(self.collection.upsert, "key", 1, UpsertOptions(**given)), say)
            block = UpsertMultiOptions(**given)
            self.refused(partial(self.collection.upsert_multi, {"key": 1}, block), say)
            self.refused(partial(self.collection.list_append, "key", 1, **given), say)
            self.refused(partial(self.collection.queue_pop, "key", **given), say)
            self.refused(partial(self.collection.set_remove, "key", 1, **given), say)
        for right in (
            None,
            ServerDurability(Durability.MAJORITY),  # type: ignore[arg-type]
            ServerDurability(DurabilityLevel.MAJORITY),
            ClientDurability(ReplicateTo.ONE, PersistTo.ONE),
        ):
            self.collection.upsert("key", 1, durability=right)

    def test_options_that_are_none(self) -> None:
        for name in (*ARGUMENTS, *OF_REPLICAS):
            call = self.single(name)
            if name.startswith("lookup_in_"):
                call = partial(call, [subdocument.get("a")])
            self.refused(partial(call, expriy=1), f"{name} has no option expriy")
            self.refused(partial(call, {"expriy": 1}), f"{name} has no option expriy")
            if name not in (*NO_MULTI, *OF_REPLICAS, "touch", "get_and_lock", "unlock"):
                self.refused(partial(self.many(name), expriy=1), f"{name}_multi has no option")
                self.refused(partial(self.many(name), 5), "options block")
        self.refused(
            partial(self.collection.get, "key", GetOptions(), expiry=1), "no option expiry"
        )
        count = partial(self.collection.binary().increment, "key", IncrementOptions(), cas=1)
        self.refused(count, "increment has no option cas")
        # The SDK takes it, and stores whatever the document's is.
        self.refused(partial(self.collection.upsert, "key", 1, cas=5), "upsert has no option cas")
        for composed in (
            partial(self.collection.list_append, "key", 1, foo=1),
            partial(self.collection.list_get, "key", 1, foo=1),
            partial(self.collection.queue_pop, "key", foo=1),
            partial(self.collection.set_remove, "key", 1, foo=1),
        ):
            self.refused(composed, "no option foo")
        self.refused(
            partial(self.collection.scan, PrefixScan("a"), foo=1), "scan has no option foo"
        )
        self.refused(partial(self.collection.scan, PrefixScan("a"), foo=None), "no option foo")
        self.refused(partial(self.collection.scan, PrefixScan("a"), {"foo": 1}), "no option foo")
        self.refused(partial(self.collection.scan, PrefixScan("a"), 5), "options block")
        options = ScanOptions(ids_only=True)
        self.collection.scan(PrefixScan("a"), options, transcoder=None).cancel_scan()
        self.collection.get("key", GetOptions(with_expiry=True), quiet=True, span=None)
