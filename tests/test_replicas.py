"""Reading from replicas: what the SDK gives, of the copies that were asked."""

from __future__ import annotations

import itertools
import zlib
from datetime import timedelta
from functools import partial
from typing import Any

import couchbase.subdocument as SD
from couchbase.cluster import Cluster
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DocumentNotFoundException,
    DocumentUnretrievableException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.options import GetAllReplicasOptions, GetAnyReplicaMultiOptions
from couchbase.replica_reads import ReadPreference
from couchbase.result import GetReplicaResult, LookupInReplicaResult, MultiGetReplicaResult
from couchbase.transcoder import RawStringTranscoder
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, inlineCallbacks, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import ServerTestCase, until
from tests.test_options import OF_REPLICAS, STAYS_HERE, declared, options_class
from txcouchbase.cluster import AsyncResult, TxRawCluster
from txcouchbase.results import ReplicaResults
from txcouchbase.testing import EmbeddedNode, Fault
from txcouchbase.workers import PoolConfig

SPECS = [SD.get("n"), SD.exists("gone"), SD.count("list")]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    name: (SPECS,) if name.startswith("lookup_in") else () for name in OF_REPLICAS
}
NEAR = ReadPreference.SELECTED_SERVER_GROUP
SOON = timedelta(seconds=0.4)


def seen(outcome: Any) -> Any:
    """What has to be the same on both ways."""
    if isinstance(outcome, BaseException):
        return (
            type(outcome),
            getattr(outcome, "message", None),
            getattr(outcome, "error_code", None),
        )
    if isinstance(outcome, (GetReplicaResult, LookupInReplicaResult)):
        return type(outcome), outcome.is_replica, outcome.value
    if isinstance(outcome, MultiGetReplicaResult):
        failed = [seen(error) for error in outcome.exceptions.values()]
        return [seen(result) for result in outcome.results.values()], failed, outcome.all_ok
    return sorted(map(seen, outcome), key=str)


class ReplicaTests(ServerTestCase):
    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        if self.node is None:
            raise SkipTest("only the embedded node tells what arrived")
        self.nodes = EmbeddedNode(reactor=reactor, nodes=3, replicas=2, server_groups=3)
        yield self.nodes.start()
        self.addCleanup(self.nodes.stop)

    def collection_of(self, pool: Any = None, **options: Any) -> Any:
        """The default collection of the nodes, with a cluster of its own."""
        options.setdefault("preferred_server_group", "Group 2")
        cluster = self.cluster(pool, self.nodes.connstr, **options)
        return cluster.bucket("default").default_collection()

    @inlineCallbacks
    def test_all_methods_in_all_forms(self) -> Any:
        collection = self.collection_of()
        sync = self.collection_of(PoolConfig(min_workers=1, max_workers=1, client="sync"))
        options = self.options(preferred_server_group="Group 2")
        raw_cluster = TxRawCluster(self.nodes.connstr, options, pool=collection._pool)
        self.addCleanup(raw_cluster.close)
        raw = raw_cluster.bucket("default").default_collection()
        sdk = yield deferToThread(Cluster, self.nodes.connstr, options)
        self.addCleanup(deferToThread, sdk.close)
        theirs = (yield deferToThread(sdk.bucket, "default")).default_collection()

        def all_of_it(name: str, *args: Any, **kwargs: Any) -> Any:
            """Of the SDK's, in its thread: its results wait when they are read."""
            outcome = getattr(theirs, name)(*args, **kwargs)
            return list(outcome) if hasattr(outcome, "__next__") else outcome

        def of_raw(name: str, *args: Any, **kwargs: Any) -> Any:
            started = getattr(raw, name)(*args, **kwargs)
            self.assertIsInstance(started, AsyncResult)
            return raw.defer(started)

        forms = [
            partial(deferToThread, all_of_it),
            lambda name, *args, **kwargs: getattr(collection, name)(*args, **kwargs),
            lambda name, *args, **kwargs: getattr(sync, name)(*args, **kwargs),
            of_raw,
        ]
        calls: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
            (name, (kind,), given)
            for name in OF_REPLICAS
            for kind in ("there", "missing")
            for given in ({}, {"read_preference": NEAR})
        ]
        for name in ("get_any_replica_multi", "get_all_replicas_multi"):
            calls += [
                (name, ("there", "missing"), {}),
                (name, ("there",), {"read_preference": NEAR}),
                (name, ("there", "missing"), {"return_exceptions": False}),
            ]
        for number, (name, kinds, given) in enumerate(calls):
            judge: Any = None
            for form, call in enumerate(forms):
                # Others are still asked when one of any has answered: each call has its own keys.
                keys = [self.key_on_first(f"{number}-{form}-{kind}") for kind in kinds]
                if "there" in kinds:
                    self.nodes.put(keys[0], {"n": 1, "list": [1, 2]})
                subject = keys if name.endswith("_multi") else keys[0]
                with self.nodes.recording() as record:
                    try:
                        outcome = yield maybeDeferred(
                            call, name, subject, *ARGUMENTS.get(name, ()), **given
                        )
                    except Exception as error:
                        outcome = error
                asked = [request for key in keys for request in record.find("kv", key=key)]
                told = seen(self.of_any(outcome) if "any" in name else outcome)
                how = sorted((r.node, r.operation, str(r.options)) for r in asked)
                judge = judge or (told, [part[1:] for part in how])
                self.assertEqual(told, judge[0], (name, kinds, given))
                nodes = {1} if given.get("read_preference") is NEAR else {0, 1, 2}
                if "any" in name:
                    self.assertTrue(asked, (name, kinds, given))
                    self.assertLessEqual({request.node for request in asked}, nodes)
                else:
                    self.assertEqual({request.node for request in asked}, nodes)
                    self.assertEqual(sorted(part[1:] for part in how), sorted(judge[1]))

    def key_on_first(self, name: str) -> str:
        """A key in the first vBucket, so that it has its copies where others have theirs."""
        keys = (self.key(f"{name}-{number}") for number in itertools.count())
        return next(key for key in keys if (zlib.crc32(key.encode()) >> 16 & 0x7FFF) % 64 == 0)

    def of_any(self, outcome: Any) -> Any:
        """The result of one copy, whichever it was."""
        if isinstance(outcome, (GetReplicaResult, LookupInReplicaResult)):
            result = outcome._orig.raw_result
            self.assertIn(result.pop("replica", result.pop("is_replica", None)), (True, False))
        elif isinstance(outcome, MultiGetReplicaResult):
            for result in outcome.results.values():
                self.of_any(result)
        return outcome

    @inlineCallbacks
    def test_what_comes(self) -> Any:
        collection = self.collection_of()
        key, missing = self.key("k"), self.key("missing")
        yield collection.upsert(key, "text", transcoder=RawStringTranscoder())
        options = GetAllReplicasOptions(transcoder=RawStringTranscoder())
        results = yield collection.get_all_replicas(key, options)
        self.assertEqual([result.content_as[str] for result in results], ["text"] * 3)
        self.assertEqual(sorted(result.is_replica for result in results), [False, True, True])
        self.assertEqual([next(results), next(results), next(results)], results)
        self.assertRaises(StopIteration, next, results)
        result = yield collection.get_any_replica(key, transcoder=RawStringTranscoder())
        self.assertEqual(result.value, "text")

        # `quiet` is for what is known to be missing.
        for method, arguments in ARGUMENTS.items():
            unknown = getattr(collection, method)(missing, *arguments, quiet=True)
            if "any" in method:
                yield self.assertFailure(unknown, DocumentUnretrievableException)
            else:
                self.assertEqual((yield unknown), [])
        found = yield collection.get_all_replicas_multi([key, missing], quiet=True)
        self.assertEqual((found[missing], found.all_ok, found.exceptions), ([], False, {}))

        # The mapping, with options for one key.
        self.nodes.put(self.key("json"), 1)
        names = [self.key("json"), missing, key]
        with self.nodes.recording() as record:
            block = GetAnyReplicaMultiOptions(
                per_key_options={
                    key: {"transcoder": RawStringTranscoder(), "read_preference": NEAR},
                }
            )
            found = yield collection.get_any_replica_multi(names, block)
        self.assertEqual(list(found), names)
        self.assertEqual([found[names[0]].value, found[key].value], [1, "text"])
        self.assertEqual({request.node for request in record.find("kv", key=key)}, {1})
        self.assertEqual(list(found.exceptions), [missing])
        self.assertIsInstance(found[missing], DocumentUnretrievableException)
        error = yield self.assertFailure(
            collection.get_all_replicas_multi(names, return_exceptions=False),
            DocumentNotFoundException,
        )
        self.assertEqual(error.result, [])
        self.assertEqual(len(error.all_results[key]), 3)

        for call in (
            partial(collection.get_any_replica, 5),
            partial(collection.get_all_replicas, key, retry_ambiguous=True),
            partial(collection.get_any_replica_multi, [key], expiry=SOON),
        ):
            self.assertRaises(InvalidArgumentException, call)

        # Nobody to ask: there is no such group.
        elsewhere = self.collection_of(collection._pool, preferred_server_group="Group 9")
        yield self.assertFailure(
            elsewhere.get_all_replicas(key, read_preference=NEAR), DocumentUnretrievableException
        )

        # A slow one of all is waited for, a slow one of any is not; and the time is over.
        self.nodes.faults.add(Fault("kv", operation="^GET_REPLICA$", delay=0.2))
        self.assertEqual(len((yield collection.get_all_replicas(key))), 3)
        self.nodes.faults.clear()
        self.nodes.faults.add(Fault("kv", key=key, effect="silence"))
        cancelled = collection.get_all_replicas(key)
        with self.nodes.recording() as record:
            late = {
                name: getattr(collection, name)(key, *a, timeout=SOON)
                for name, a in ARGUMENTS.items()
            }
            yield until(lambda: len(record.find("kv", key=key)) >= 12)
        cancelled.cancel()
        yield self.assertFailure(cancelled, CancelledError)
        for name, error in (
            ("get_any_replica", DocumentUnretrievableException),
            ("lookup_in_any_replica", DocumentUnretrievableException),
            ("get_all_replicas", UnAmbiguousTimeoutException),
            # As the SDK calls it, which only reads.
            ("lookup_in_all_replicas", AmbiguousTimeoutException),
        ):
            # Or the pool's own, where the SDK's is late.
            yield self.assertFailure(late[name], error, UnAmbiguousTimeoutException)

        # What replicas are for: the active copy is gone.
        self.nodes.faults.clear()
        with self.nodes.recording() as record:
            yield collection.get(key, transcoder=RawStringTranscoder())
        (request,) = record.find("kv", "GET", key)
        yield self.nodes.kill(request.node)
        result = yield collection.get_any_replica(key, transcoder=RawStringTranscoder())
        self.assertEqual((result.value, result.is_replica), ("text", True))


class TableTests(SynchronousTestCase):
    def test_every_option_of_the_sdk_is_known(self) -> None:
        for method in OF_REPLICAS:
            # The serializer makes the SDK's own methods fail.
            options = declared(options_class(method)) - {"serializer", *STAYS_HERE}
            known = {"timeout", "read_preference"}
            known |= {"transcoder"} if method.startswith("get") else set()
            self.assertEqual(options, known, method)

    def test_a_list_that_is_an_iterator(self) -> None:
        results = ReplicaResults([1, 2])
        self.assertEqual([list(results), list(results), next(results)], [[1, 2], [1, 2], 1])
