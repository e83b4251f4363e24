"""Every option of the key-value methods arrives: the node tells, and the SDK's own blocking API
is the judge of what has to arrive."""

from __future__ import annotations

import ast
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import couchbase.subdocument as SD
from couchbase import options as sdk_options
from couchbase.cluster import Cluster
from couchbase.durability import (
    ClientDurability,
    DurabilityLevel,
    PersistTo,
    PersistToExtended,
    ReplicateTo,
    ServerDurability,
)
from couchbase.exceptions import AmbiguousTimeoutException, UnAmbiguousTimeoutException
from couchbase.logic import options as sdk_bases
from couchbase.options import DeltaValue, SignedInt64
from couchbase.subdocument import StoreSemantics
from couchbase.transcoder import RawBinaryTranscoder, RawStringTranscoder
from twisted.internet.defer import DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import ServerTestCase
from tests.test_keyvalue import outcome_of
from txcouchbase.keyvalue import RESULTS
from txcouchbase.testing import Fault
from txcouchbase.testing.record import RecordedRequest
from txcouchbase.workers import PoolConfig

MINUTE = timedelta(minutes=1)
FORTY_DAYS = [time.time() + days * 24 * 3600 for days in (39.9, 40.1)]
MAJORITY = ServerDurability(DurabilityLevel.MAJORITY)
PERSISTED = ServerDurability(DurabilityLevel.PERSIST_TO_MAJORITY)
ON_ACTIVE = ServerDurability(DurabilityLevel.MAJORITY_AND_PERSIST_TO_ACTIVE)
ITS_CAS = object()
"""Stands for the CAS of the document in question."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "get": (),
    "exists": (),
    "get_and_touch": (MINUTE,),
    "get_and_lock": (timedelta(seconds=15),),
    "lookup_in": ([SD.get("a"), SD.exists("x.b", xattr=True), SD.count("list")],),
    "insert": ({"a": 2},),
    "upsert": ({"a": 2},),
    "replace": ({"a": 2},),
    "remove": (),
    "touch": (MINUTE,),
    "unlock": (ITS_CAS,),
    "mutate_in": ([SD.upsert("b", 1), SD.array_append("list", 2, 3)],),
    "append": ("-end",),
    "prepend": ("start-",),
    "increment": (),
    "decrement": (),
}
"""The arguments of each method after the key."""

STAYS_HERE = ("parent_span", "span")
"""Objects of the application."""

NOT_TAKEN = {("lookup_in", "durability"), ("remove", "transcoder")}
"""Options that the SDK declares and has no use for; the first one makes its own method fail."""

OF_REPLICAS = (
    "get_any_replica",
    "get_all_replicas",
    "lookup_in_any_replica",
    "lookup_in_all_replicas",
)
"""`tests/test_replicas.py` has them."""

MULTI_ONLY = ("per_key_options", "return_exceptions")
"""`tests/test_multi.py` has them."""


@dataclass(frozen=True)
class Case:
    """One option of one method, or its arguments alone.

    Attributes:
        method: The method's name.
        option: The option's, empty for none.
        value: What it is set to.
        sent: What the node has to tell of the request; a function of its options, or some of them.
        arguments: Those of the method, if not those of `ARGUMENTS`.
    """

    method: str
    option: str
    value: Any
    sent: dict[str, Any] | Callable[[dict[str, Any]], bool]
    arguments: tuple[Any, ...] | None = None

    def arrived(self, options: dict[str, Any], cas: int) -> bool:
        """Whether the request had the option."""
        if not isinstance(self.sent, dict):
            return self.sent(options)
        wanted = {name: cas if value is ITS_CAS else value for name, value in self.sent.items()}
        return {name: options.get(name) for name in wanted} == wanted


def told_by(request: RecordedRequest) -> dict[str, Any]:
    """The options of a request, those that depend on the time made equal."""
    told = dict(request.options)
    if FORTY_DAYS[0] <= told.get("expiry", 0) <= FORTY_DAYS[1]:
        told["expiry"] = "a date"
    return told


def paths(*wanted: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a request names these paths."""
    return lambda options: set(wanted) <= {spec["path"] for spec in options.get("specs", ())}


def anything(options: dict[str, Any]) -> bool:
    """For what does not show in a request, but in its outcome."""
    return True


TEXT, BINARY = RawStringTranscoder(), RawBinaryTranscoder()
ON_BINARY = ("append", "prepend", "increment", "decrement")
WRITES = ("insert", "upsert", "replace", "remove", "mutate_in", "append", "prepend")
TAKE_VALUES = ("insert", "upsert", "replace", "append", "prepend")
COUNTERS = ("increment", "decrement")

CASES = [
    Case("touch", "", None, {"expiry": 60}),
    Case("touch", "", None, {"expiry": "a date"}, (timedelta(days=40),)),
    Case("get_and_touch", "", None, {"expiry": 60}),
    Case("get_and_lock", "", None, {"lock_time": 15}),
    Case("unlock", "", None, {"cas": ITS_CAS}),
    Case("exists", "", None, anything),
    Case("upsert", "expiry", timedelta(days=40), {"expiry": "a date"}),
    Case("get", "with_expiry", True, paths("$document.exptime")),
    Case("get", "project", ["a", "list"], paths("a", "list")),
    *(
        Case(name, "transcoder", TEXT, anything)
        for name in ("get", "get_and_lock", "get_and_touch")
    ),
    *(
        Case(name, "transcoder", TEXT, {"flags": TEXT.encode_value("t")[1]}, ("t",))
        for name in ("insert", "upsert", "replace")
    ),
    *(Case(name, "expiry", MINUTE, {"expiry": 60}) for name in ("insert", "upsert", "replace")),
    *(Case(name, "expiry", MINUTE, {"expiry": 60}) for name in ("mutate_in", *COUNTERS)),
    *(
        Case(name, "preserve_expiry", True, {"preserve_expiry": True})
        for name in ("upsert", "replace", "mutate_in")
    ),
    *(
        Case(name, "cas", ITS_CAS, {"cas": ITS_CAS})
        for name in ("replace", "remove", "mutate_in", "append", "prepend")
    ),
    *(
        Case(name, "durability", level, {"durability": told})
        for name in (*WRITES, *COUNTERS)
        for level, told in (
            (MAJORITY, "majority"),
            (ON_ACTIVE, "majority_and_persist_to_active"),
            (PERSISTED, "persist_to_majority"),
        )
    ),
    *(Case(name, "delta", DeltaValue(5), {"delta": 5}) for name in COUNTERS),
    *(Case(name, "initial", SignedInt64(7), {"initial": 7, "expiry": 0}) for name in COUNTERS),
    *(Case(name, "initial", SignedInt64(-1), {"expiry": 0xFFFF_FFFF}) for name in COUNTERS),
    Case("mutate_in", "store_semantics", StoreSemantics.UPSERT, {"document_flags": 1}),
    Case("mutate_in", "store_semantics", StoreSemantics.INSERT, {"document_flags": 2}),
    Case("mutate_in", "upsert_doc", True, {"document_flags": 1}),
    Case("mutate_in", "insert_doc", True, {"document_flags": 2}),
    Case("mutate_in", "replace_doc", True, {"document_flags": 0}),
    Case("mutate_in", "access_deleted", True, {"document_flags": 4}),
    Case("lookup_in", "access_deleted", True, {"document_flags": 4}),
    *(Case(name, "expiry", MINUTE, anything) for name in ("remove", "append", "prepend")),
    Case("lookup_in", "expiry", MINUTE, anything),
    # The node has no replicas: that these are impossible shows that they arrived.
    *(
        Case(name, "durability", wanted, anything)
        for name in (*WRITES, *COUNTERS)
        for wanted in (
            ClientDurability(ReplicateTo.TWO, PersistTo.NONE),
            ClientDurability(ReplicateTo.NONE, PersistTo.THREE),
            ClientDurability(ReplicateTo.NONE, PersistToExtended.FOUR),
        )
    ),
]


def declared(cls: type) -> set[str]:
    """The names of the options that a class of the SDK declares, in its overloads or its text."""
    names: set[str] = set()
    for module in (sdk_options, sdk_bases):
        for node in ast.parse(Path(module.__file__).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in {c.__name__ for c in cls.__mro__}:
                for function in node.body:
                    if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                        names.update(argument.arg for argument in function.args.args[1:])
                names.update(re.findall(r"^    (\w+) ?\(", ast.get_docstring(node) or "", re.M))
    return names


def options_class(method: str, suffix: str = "Options") -> Any:
    """The SDK's class of options of a method."""
    return getattr(sdk_options, method.title().replace("_", "") + suffix)


NO_MULTI = ("lookup_in", "mutate_in", "get_and_touch")
"""Methods of which the SDK has none for many keys."""


class TableTests(SynchronousTestCase):
    def test_every_option_of_the_sdk_has_a_case(self) -> None:
        self.assertEqual(set(ARGUMENTS) | set(OF_REPLICAS), set(RESULTS))
        for method in ARGUMENTS:
            cases = {case.option for case in CASES if case.method == method}
            cases |= {option for name, option in NOT_TAKEN if name == method}
            self.assertEqual(
                declared(options_class(method)) - cases, {"timeout", *STAYS_HERE}, method
            )

    def test_every_option_for_many_keys_is_one_for_a_key(self) -> None:
        for method in ARGUMENTS:
            if method not in NO_MULTI:
                many = set(options_class(method, "MultiOptions").get_valid_keys())
                one = declared(options_class(method)) | {"transcoder", "expiry"}
                self.assertEqual(many - one, set(MULTI_ONLY), method)


class OptionTests(ServerTestCase):
    timeout = 120

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            raise SkipTest("only the embedded node tells what arrived")
        self.names = (self.key(str(number)) for number in itertools.count())

    def key_with_document(self, method: str) -> tuple[str, int]:
        """A key, and the CAS of its document, which fits the method."""
        key = next(self.names)
        if method == "insert":
            return key, 0
        value: Any = {"a": 1, "list": [1]}
        if method in ("increment", "decrement"):
            value = 100
        self.node.put(key, value)
        if method == "unlock":
            return key, self.node.lock(key)
        return key, self.node.get(key).cas

    @inlineCallbacks
    def outcome(self, case: Case, function: Any, as_block: bool) -> Any:
        """What the node told and the caller got, of one call."""
        key, cas = self.key_with_document(case.method)
        given = ARGUMENTS[case.method] if case.arguments is None else case.arguments
        arguments = [cas if value is ITS_CAS else value for value in given]
        value = cas if case.value is ITS_CAS else case.value
        options = {case.option: value} if case.option else {}
        with self.node.recording() as record:
            try:
                if as_block:
                    block = options_class(case.method)(**options)
                    result = yield maybeDeferred(function, key, *arguments, block)
                else:
                    result = yield maybeDeferred(function, key, *arguments, **options)
            except Exception as error:
                result = error
        seen = []
        for request in record.find("kv", key=key):
            told = told_by(request)
            arrived = case.arrived(told, cas)
            told.pop("durability_timeout", None)
            if "cas" in told:
                told["cas"] = told["cas"] == cas
            seen.append((request.operation, told, request.body, arrived))
        return seen, [part for part in outcome_of(result) if part != key]

    @inlineCallbacks
    def test_every_option(self) -> Any:
        raw = self.collection()
        sync = self.collection(PoolConfig(min_workers=1, max_workers=1, client="sync"))
        sdk = yield deferToThread(Cluster, self.connstr, self.options())
        self.addCleanup(deferToThread, sdk.close)
        bucket = yield deferToThread(sdk.bucket, self.bucket_name)
        theirs = bucket.default_collection()
        wrong = []
        for case in CASES:
            binary = case.method in ON_BINARY
            methods = [
                getattr(collection.binary() if binary else collection, case.method)
                for collection in (theirs, raw, sync)
            ]
            judge = yield self.outcome(case, partial(deferToThread, methods[0]), True)
            block = yield self.outcome(case, methods[1], True)
            keywords = yield self.outcome(case, methods[1], False)
            blocking = yield self.outcome(case, methods[2], True)
            if not any(arrived for *_, arrived in judge[0]):
                wrong.append(("expectation", case, judge))
            for how, outcome in (("block", block), ("keyword", keywords), ("sync", blocking)):
                if outcome != judge:
                    wrong.append((how, case, outcome, judge))
        self.assertEqual(wrong, [], "\n\n".join("\n  ".join(map(str, entry)) for entry in wrong))

    @inlineCallbacks
    def test_timeouts(self) -> Any:
        raw = self.cluster()
        slow = self.cluster(raw.pool, kv_timeout=timedelta(seconds=0.4))
        config = PoolConfig(
            min_workers=1, max_workers=1, client="sync", worker_threads=len(ARGUMENTS)
        )
        sync = self.cluster(config)
        forms = [
            (cluster.bucket(self.bucket_name).default_collection(), options)
            for cluster, options in (
                (raw, {"timeout": timedelta(seconds=0.4)}),
                (sync, {"timeout": timedelta(seconds=0.4)}),
                (slow, {}),
            )
        ]
        for collection, _ in forms:
            yield collection.upsert(self.key("first"), 1)
        self.node.faults.add(
            Fault("kv", key=self.key("silent"), effect="silence", carried_out=False)
        )
        calls, wanted = [], []
        started = time.monotonic()
        for number, (collection, options) in enumerate(forms):
            for method in ARGUMENTS:
                key = self.key(f"silent-{number}-{method}")
                target = collection.binary() if method in ON_BINARY else collection
                arguments = [1 if value is ITS_CAS else value for value in ARGUMENTS[method]]
                calls.append(getattr(target, method)(key, *arguments, **options))
                # The SDK calls those of `exists` and `lookup_in` ambiguous, which only read.
                error = (
                    UnAmbiguousTimeoutException if method == "get" else AmbiguousTimeoutException
                )
                wanted.append((key, False, error))
        outcomes = yield DeferredList(calls, consumeErrors=True)
        elapsed = time.monotonic() - started
        seen = [
            # The key is there if the SDK in the worker had the timeout, and told of it.
            (failure.value.error_context._get_base().get("key"), answered, failure.type)
            for answered, failure in outcomes
        ]
        self.assertEqual(seen, wanted)
        self.assertGreater(elapsed, 0.4)
        self.assertLess(elapsed, 2.4)

    @inlineCallbacks
    def test_timeouts_with_durability(self) -> Any:
        for client in ("raw", "sync"):
            collection = self.collection(PoolConfig(min_workers=1, max_workers=1, client=client))
            yield collection.exists(self.key("first"))  # what follows has all of its time
            for method in (*WRITES, *COUNTERS):
                target = collection.binary() if method in ON_BINARY else collection
                for options, least, most in (
                    ({"timeout": timedelta(seconds=5)}, 4000, 5000),
                    ({}, 8000, 10000),
                ):
                    key, _ = self.key_with_document(method)
                    with self.node.recording() as record:
                        yield getattr(target, method)(
                            key, *ARGUMENTS[method], durability=MAJORITY, **options
                        )
                    (sent,) = record.find("kv", key=key)
                    told = sent.options["durability_timeout"]
                    self.assertTrue(least <= told <= most, (client, method, told))

    @inlineCallbacks
    def test_options_for_many_keys(self) -> Any:
        """Each option for all keys, and again for one of them."""
        collection = self.collection()
        covered: dict[str, set[str]] = {}
        for case in CASES:
            if case.method in NO_MULTI:
                continue
            block = options_class(case.method, "MultiOptions")
            if case.option not in block.get_valid_keys():
                continue
            covered.setdefault(case.method, set()).add(case.option)
            cas = {}
            for _ in range(2):
                key, cas_of_key = self.key_with_document(case.method)
                cas[key] = cas_of_key
            first, second = (cas[key] if case.value is ITS_CAS else case.value for key in cas)
            options = {case.option: first, "per_key_options": {key: {case.option: second}}}
            arguments = ARGUMENTS[case.method] if case.arguments is None else case.arguments
            keys: Any = list(cas)
            if case.method in TAKE_VALUES:
                keys, arguments = dict.fromkeys(cas, arguments[0]), ()
            target = collection.binary() if case.method in ON_BINARY else collection
            with self.node.recording() as record:
                yield getattr(target, f"{case.method}_multi")(keys, *arguments, block(**options))
            for key in cas:
                told = [told_by(request) for request in record.find("kv", key=key)]
                self.assertTrue(
                    any(case.arrived(options, cas[key]) for options in told), (case, told)
                )
        for method, options in covered.items():
            known = set(options_class(method, "MultiOptions").get_valid_keys())
            known -= {"timeout", "parent_span", *MULTI_ONLY}
            known -= {option for name, option in NOT_TAKEN if name == method}
            self.assertEqual(known - options, set(), method)
