"""Durable writes: every form of the option arrives, is met or fails as in the SDK."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD
from couchbase.durability import (
    ClientDurability,
    DurabilityLevel,
    PersistTo,
    PersistToExtended,
    ReplicateTo,
    ServerDurability,
)
from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DurabilityImpossibleException,
    DurabilityInvalidLevelException,
    DurabilitySyncWriteAmbiguousException,
)
from couchbase.options import UpsertMultiOptions, UpsertOptions
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, gatherResults, inlineCallbacks
from twisted.trial.unittest import SkipTest

from tests.support import ServerTestCase
from txcouchbase.testing import EmbeddedNode, Fault
from txcouchbase.workers import PoolConfig

MAJORITY = ServerDurability(DurabilityLevel.MAJORITY)

WRITES: dict[str, tuple[Any, ...]] = {
    "insert": ("text",),
    "upsert": ("text",),
    "replace": ("text",),
    "remove": (),
    "mutate_in": ([SD.upsert("a", 2)],),
    "append": ("-end",),
    "prepend": ("start-",),
    "increment": (),
    "decrement": (),
}
"""The methods, with the arguments after the key."""

ON_BINARY = ("append", "prepend", "increment", "decrement")

MET: list[tuple[Any, set[str]]] = [
    # Who is asked, besides being written to: the active copy, if it is to be on its disk.
    (ClientDurability(ReplicateTo.ONE, PersistTo.NONE), {"replica"}),
    (ClientDurability(ReplicateTo.TWO, PersistTo.NONE), {"replica"}),
    (ClientDurability(ReplicateTo.NONE, PersistToExtended.ACTIVE), {"active"}),
    (ClientDurability(ReplicateTo.NONE, PersistTo.TWO), {"active", "replica"}),
    (ClientDurability(ReplicateTo.ONE, PersistTo.ONE), {"active", "replica"}),
]
"""What three nodes with two replicas can do, as the client asks for it with OBSERVE_SEQNO."""

IMPOSSIBLE = (
    ClientDurability(ReplicateTo.THREE, PersistTo.NONE),
    ClientDurability(ReplicateTo.NONE, PersistToExtended.FOUR),
)


class DurabilityTests(ServerTestCase):
    @inlineCallbacks
    def nodes(self, nodes: int) -> Any:
        """Some nodes, with two replicas of each document, if there is a node for them."""
        if self.node is None:
            raise SkipTest("only the embedded node tells what arrived")
        started = EmbeddedNode(reactor=reactor, nodes=nodes, replicas=2)
        yield started.start()
        self.addCleanup(started.stop)
        return started

    def of_nodes(self, nodes: EmbeddedNode, pool: Any = None) -> Any:
        """The default collection of the nodes, with a cluster of its own."""
        return self.cluster(pool, nodes.connstr).bucket("default").default_collection()

    def key_for(self, nodes: EmbeddedNode, method: str, name: str) -> str:
        """A key with what the method needs there."""
        key = self.key(f"{method}-{name}")
        if method != "insert":
            nodes.put(key, 5 if method in ("increment", "decrement") else {"a": 1})
        return key

    @inlineCallbacks
    def test_what_the_client_makes_sure_of(self) -> Any:
        nodes = yield self.nodes(3)
        for client in ("raw", "sync"):
            collection = self.of_nodes(
                nodes, PoolConfig(min_workers=1, max_workers=1, client=client)
            )
            for method, arguments in WRITES.items():
                target = collection.binary() if method in ON_BINARY else collection
                for number, (durability, asked) in enumerate(MET):
                    key = self.key_for(nodes, method, f"{client}-{number}")
                    with nodes.recording() as record:
                        yield getattr(target, method)(key, *arguments, durability=durability)
                    (write,) = record.find("kv", key=key)
                    self.assertNotIn("durability", write.options)
                    roles = {
                        "active" if request.node == write.node else "replica"
                        for request in record.find("kv", "OBSERVE_SEQNO")
                    }
                    self.assertEqual(roles, asked, (client, method, durability.__dict__))
                failing = [
                    getattr(target, method)(
                        self.key_for(nodes, method, f"{client}-not-{number}"),
                        *arguments,
                        durability=durability,
                    )
                    for number, durability in enumerate(IMPOSSIBLE)
                ]
                for deferred in failing:
                    yield self.assertFailure(deferred, DurabilityImpossibleException)

            # Many keys, one of them otherwise.
            first, second = (self.key(f"{client}-{name}") for name in ("first", "second"))
            block = UpsertMultiOptions(
                durability=MET[0][0], per_key_options={second: {"durability": MAJORITY}}
            )
            with nodes.recording() as record:
                done = yield collection.upsert_multi({first: 1, second: 2}, block)
            self.assertTrue(done.all_ok)
            self.assertTrue(record.find("kv", "OBSERVE_SEQNO"))
            (write,) = record.find("kv", key=first)
            self.assertNotIn("durability", write.options)
            (write,) = record.find("kv", key=second)
            self.assertEqual(write.options["durability"], "majority")
            # Ten seconds, unless the caller says otherwise; a server gets nine tenths of it.
            self.assertTrue(8000 <= write.options["durability_timeout"] <= 10000)

    @inlineCallbacks
    def test_errors(self) -> Any:
        nodes, alone = yield gatherResults([self.nodes(3), self.nodes(1)])
        collection = self.of_nodes(nodes)
        block = UpsertOptions(durability=MAJORITY)
        yield collection.upsert(self.key("first"), 1, block)

        for status, expected in (
            ("DURABILITY_INVALID_LEVEL", DurabilityInvalidLevelException),
            ("DURABILITY_IMPOSSIBLE", DurabilityImpossibleException),
            ("SYNC_WRITE_AMBIGUOUS", DurabilitySyncWriteAmbiguousException),
        ):
            key = self.key(status)
            nodes.faults.add(Fault("kv", key=key, effect="refuse", status=status))
            yield self.assertFailure(collection.upsert(key, 1, block), expected)
            failed = yield collection.upsert_multi({key: 1}, durability=MAJORITY)
            self.assertIsInstance(failed[key], expected)

        # Too few copies: one node has no majority of three.
        lonely = self.of_nodes(alone, collection._pool)
        key = self.key("k")
        yield self.assertFailure(lonely.upsert(key, 1, block), DurabilityImpossibleException)
        yield lonely.upsert(key, 1)

        # The replicas are there and do not answer: it is not known what becomes of the write.
        # Another client's write on the document makes the SDK try again until the time is over.
        with nodes.recording() as record:
            yield collection.upsert(key, 1)
        (write,) = record.find("kv", key=key)
        yield gatherResults([nodes.kill(node) for node in nodes.nodes if node != write.node])
        busy = self.key("busy")
        refused = Fault("kv", key=busy, effect="refuse", status="SYNC_WRITE_IN_PROGRESS")
        alone.faults.add(refused)
        outcomes = yield DeferredList(
            [
                collection.upsert(key, 2, block, timeout=timedelta(seconds=2)),
                lonely.remove(busy, timeout=timedelta(seconds=1)),
            ],
            consumeErrors=True,
        )
        errors = [failure.value for _, failure in outcomes]
        self.assertIsInstance(
            errors[0], (DurabilitySyncWriteAmbiguousException, AmbiguousTimeoutException)
        )
        self.assertIsInstance(errors[1], AmbiguousTimeoutException)
        self.assertEqual(nodes.get(key).value, 1)
