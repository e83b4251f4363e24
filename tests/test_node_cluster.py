"""Several nodes: where copies are, what each node serves, durable writes, and changes of nodes."""

from __future__ import annotations

import json
import struct
from collections import Counter
from random import Random
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from tests.support import until
from tests.test_node_kv import Client, Clock, frame, store_extras
from tests.test_node_network import NetworkTestCase, request
from txcouchbase.testing import BucketSettings, EmbeddedNode
from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.kv.bucket import vbucket_of
from txcouchbase.testing.kv.frames import HEADER, Feature, Opcode
from txcouchbase.testing.kv.server import KeyValueFactory
from txcouchbase.testing.kv.status import Status
from txcouchbase.testing.management import info
from txcouchbase.testing.topology import NOWHERE, Topology, majority_of

reactor: Any = installed

FEATURES = (
    Feature.COLLECTIONS,
    Feature.JSON,
    Feature.XATTR,
    Feature.MUTATION_SEQNO,
    Feature.ALT_REQUEST,
    Feature.SUBDOC_REPLICA_READ,
)
MAJORITY = b"\x13\x01\x07\xd0"
"""The framing extras of a write that has two seconds for a majority."""


class TopologyTests(SynchronousTestCase):
    def test_spread_evenly(self) -> None:
        for nodes in (1, 2, 3, 5):
            topology = Topology(nodes, 1)
            for replicas in range(4):
                chains = topology.spread(1024, replicas)
                self.assertEqual({len(chain) for chain in chains}, {replicas + 1})
                for position in range(replicas + 1):
                    found = Counter(chain[position] for chain in chains)
                    if position < nodes:
                        self.assertEqual(set(found), set(range(nodes)))
                        self.assertLessEqual(max(found.values()) - min(found.values()), nodes)
                    else:
                        self.assertEqual(set(found), {NOWHERE})
                for chain in chains:
                    here = [number for number in chain if number != NOWHERE]
                    self.assertEqual(len(set(here)), len(here))

    def test_replicas_are_in_other_groups(self) -> None:
        topology = Topology(4, 2)
        groups = [member.group for member in topology.all]
        self.assertEqual(groups, ["Group 1", "Group 2"] * 2)
        for active, replica in topology.spread(64, 1):
            self.assertNotEqual(groups[active], groups[replica])

    def test_after_a_node_has_left(self) -> None:
        topology = Topology(4, 1)
        self.assertEqual(topology.after((0, 1, 2), 3), (0, 1, 2))
        self.assertEqual(topology.after((0, 1, 2), 1), (0, 2, NOWHERE))
        self.assertEqual(topology.after((0, 1, 2), 0), (1, 2, NOWHERE))
        topology.member(1).running = False
        self.assertEqual(topology.after((0, 1, 2), 0), (2, 1, NOWHERE))
        self.assertEqual(topology.after((0, NOWHERE), 0), (NOWHERE, NOWHERE))

    def test_majorities_count_the_copies_that_should_be(self) -> None:
        majorities = [majority_of((0, *[NOWHERE] * replicas)) for replicas in range(4)]
        self.assertEqual(majorities, [1, 2, 2, 3])

    def test_what_no_cluster_has(self) -> None:
        for arguments, name in (
            ({"nodes": 0}, "nodes"),
            ({"nodes": 17}, "nodes"),
            ({"nodes": "2"}, "nodes"),
            ({"nodes": True}, "nodes"),
            ({"replicas": 4}, "replicas"),
            ({"replicas": -1}, "replicas"),
            ({"nodes": 2, "server_groups": 3}, "server_groups"),
        ):
            error = self.assertRaises(ValueError, EmbeddedNode, **arguments)
            self.assertTrue(str(error).startswith(name + ": "), str(error))


class ClusterTestCase(SynchronousTestCase):
    nodes = 3
    replicas = 1

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.0)
        self.state = ClusterState(
            "user",
            "secret",
            ["default"],
            self.clock.seconds,
            nodes=self.nodes,
            replicas=self.replicas,
        )
        self.factories = []
        for number in range(self.nodes):
            self.state.serve({"kv": 100 + number, "mgmt": 200 + number}, number)
            self.factories.append(KeyValueFactory(self.state, self.clock, number))
        self.bucket = self.state.buckets["default"]
        self.clients = [self.connected(factory) for factory in self.factories]

    def connected(self, factory: KeyValueFactory) -> Client:
        client = Client(factory)
        client.ask(Opcode.HELLO, value=struct.pack(f">{len(FEATURES)}H", *FEATURES))
        client.send(frame(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0secret", collection=b""))
        ((status, *_),) = client.send(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))
        self.assertEqual(status, Status.SUCCESS)
        return client

    def copies(self, key: bytes) -> tuple[int, ...]:
        return self.bucket.copies.chains[vbucket_of(key)]

    def active(self, key: bytes) -> Client:
        return self.clients[self.copies(key)[0]]

    def replica(self, key: bytes) -> Client:
        return self.clients[self.copies(key)[1]]

    def set(self, key: bytes, value: bytes = b"1", frames: bytes = b"") -> int | None:
        """The status; None for a write that is not answered yet."""
        answers = self.active(key).send(
            frame(Opcode.SET, key, value, store_extras(), frames=frames)
        )
        return answers[0][0] if answers else None

    def get(self, key: bytes) -> bytes | int:
        status, _, value, _ = self.active(key).ask(Opcode.GET, key)
        return status or value

    def late(self, client: Client) -> list[int]:
        """The statuses of what has been sent without having been asked for."""
        return [status for status, *_ in client.send(b"")]


class MapTests(ClusterTestCase):
    def test_each_node_tells_which_one_it_is(self) -> None:
        for number, client in enumerate(self.clients):
            shown = json.loads(client.ask(Opcode.GET_CLUSTER_CONFIG)[2])
            self.assertEqual(
                [node.get("thisNode", False) for node in shown["nodesExt"]],
                [number == other for other in range(3)],
            )
            self.assertEqual(
                [node["services"]["kv"] for node in shown["nodesExt"]], [100, 101, 102]
            )
            servers = shown["vBucketServerMap"]
            self.assertEqual(servers["serverList"], [f"127.0.0.1:{100 + n}" for n in range(3)])
            self.assertEqual(
                servers["vBucketMap"], [list(chain) for chain in self.bucket.copies.chains]
            )
            self.assertEqual(servers["numReplicas"], 1)
            self.assertIn("subdoc.ReplicaRead", shown["bucketCapabilities"])

    def test_places_in_the_map_are_those_of_its_lists(self) -> None:
        self.state.fail_over(0)
        shown = self.state.config(self.bucket, 1)["vBucketServerMap"]
        assert isinstance(shown, dict)
        self.assertEqual(shown["serverList"], ["127.0.0.1:101", "127.0.0.1:102"])
        expected = [
            [-1 if n == NOWHERE else n - 1 for n in chain] for chain in self.bucket.copies.chains
        ]
        self.assertEqual(shown["vBucketMap"], expected)
        self.assertEqual({place for row in expected for place in row}, {-1, 0, 1})

    def test_every_change_of_nodes_makes_a_newer_map(self) -> None:
        def revision() -> tuple[Any, Any]:
            shown = self.state.config(self.bucket)
            return shown["revEpoch"], shown["rev"]

        seen = [revision()]
        for change in (
            lambda: self.state.fail_over(0),
            lambda: self.state.join({"kv": 103, "mgmt": 203}),
            lambda: self.state.serve({"kv": 101, "mgmt": 201}, 1),
            lambda: self.state.configure_bucket("default", BucketSettings(replicas=2)),
        ):
            change()
            seen.append(revision())
        self.assertEqual(seen, sorted(set(seen)))
        self.assertEqual({len(chain) for chain in self.bucket.copies.chains}, {3})

    def test_management_tells_of_all_nodes(self) -> None:
        self.state.stopped(1)
        call = Call("mgmt", "GET", "", node=2)
        shown = {("GET", "/pools/nodes"), ("GET", "/pools/default")}
        call.account = self.state.security.account("user")
        for route in info.ROUTES:
            if (route.method, route.pattern) in shown:
                body = route.handler(self.state, call).body
                assert isinstance(body, bytes)
                nodes = json.loads(body)["nodes"]
                self.assertEqual([n["hostname"][-3:] for n in nodes], ["200", "201", "202"])
                self.assertEqual([n["status"] for n in nodes], ["healthy", "unhealthy", "healthy"])
                self.assertEqual(["thisNode" in n for n in nodes], [False, False, True])
                self.assertEqual(len({n["nodeUUID"] for n in nodes}), 3)


class CopyTests(ClusterTestCase):
    def test_only_the_active_node_reads_and_writes(self) -> None:
        self.assertEqual(self.set(b"k"), Status.SUCCESS)
        for client in self.clients:
            expected = 0 if client is self.active(b"k") else Status.NOT_MY_VBUCKET
            for opcode, value, extras in (
                (Opcode.GET, b"", b""),
                (Opcode.SET, b"1", store_extras()),
                (Opcode.GET_META, b"", b""),
                (Opcode.SUBDOC_MULTI_LOOKUP, b"\0\0\0\0", b""),
            ):
                client.protocol.dataReceived(frame(opcode, b"k", value, extras))
                answer = client.transport.value()
                client.transport.clear()
                datatype, status = HEADER.unpack_from(answer)[4:6]
                self.assertEqual(status, expected, opcode.name)
                if expected:
                    # Clients read the map only where it is marked as JSON.
                    self.assertEqual(datatype, 1)
                    shown = json.loads(answer[24:])
                    self.assertEqual(len(shown["nodesExt"]), 3)

    def test_only_replicas_are_read_as_replicas(self) -> None:
        self.set(b"k", b'{"a":1}')
        lookup = b"\xc5\0\0\1a"
        for client in self.clients:
            is_replica = client is self.replica(b"k")
            status, extras, value, _ = client.ask(Opcode.GET_REPLICA, b"k")
            expected = (0, b"\0\0\0\0", b'{"a":1}') if is_replica else (Status.NOT_MY_VBUCKET,)
            self.assertEqual((status, extras, value)[: len(expected)], expected)
            status, _, value, _ = client.ask(Opcode.SUBDOC_MULTI_LOOKUP, b"k", lookup, b"\x20")
            expected = (0, b"\0\0\0\0\0\x011") if is_replica else (Status.NOT_MY_VBUCKET,)
            self.assertEqual((status, value)[: len(expected)], expected)
        self.assertEqual(self.replica(b"none").ask(Opcode.GET_REPLICA, b"none")[0], 1)

    def test_a_lock_is_not_seen_on_a_replica(self) -> None:
        self.set(b"k")
        cas = self.active(b"k").ask(Opcode.GET_LOCKED, b"k")[3]
        self.assertEqual(self.replica(b"k").ask(Opcode.GET_REPLICA, b"k")[3], cas)

    def test_the_record_tells_the_node(self) -> None:
        self.state.record.on = True
        self.set(b"k")
        self.active(b"k").ask(Opcode.GET, b"k")
        self.replica(b"k").ask(Opcode.GET_REPLICA, b"k")
        self.replica(b"k").ask(Opcode.SUBDOC_MULTI_LOOKUP, b"k", b"\xc5\0\0\1a", b"\x20")
        active, replica = self.copies(b"k")
        self.assertEqual(
            [(r.operation, r.node, r.options.get("replica_read")) for r in self.state.record],
            [
                ("SET", active, None),
                ("GET", active, None),
                ("GET_REPLICA", replica, None),
                ("SUBDOC_MULTI_LOOKUP", replica, True),
            ],
        )

    def test_a_map_that_has_changed_counts_at_once(self) -> None:
        self.set(b"k")
        active, replica = self.copies(b"k")
        self.state.fail_over(active)
        self.assertEqual(self.clients[active].ask(Opcode.GET, b"k")[0], Status.NOT_MY_VBUCKET)
        self.assertEqual(self.copies(b"k"), (replica, NOWHERE))
        select = frame(Opcode.SELECT_BUCKET, b"default", collection=b"")
        self.assertEqual(self.clients[active].send(select)[0][0], Status.KEY_ENOENT)
        self.assertEqual(self.get(b"k"), b"1")

    def test_what_has_no_copy_is_lost(self) -> None:
        self.state.configure_bucket("default", BucketSettings(replicas=0))
        keys = [b"key-%d" % n for n in range(30)]
        for key in keys:
            self.set(key)
        before = {key: self.copies(key)[0] for key in keys}
        self.state.fail_over(1)
        for key in keys:
            lost = before[key] == 1
            self.assertEqual(self.copies(key)[0], NOWHERE if lost else before[key])
            self.assertEqual(b"\0" + key in self.bucket.documents, not lost)
            for client in self.clients:
                if lost:
                    self.assertEqual(client.ask(Opcode.GET, key)[0], Status.NOT_MY_VBUCKET)
        self.state.join({"kv": 103, "mgmt": 203})
        self.clients.append(self.connected(KeyValueFactory(self.state, self.clock, 3)))
        for key in keys:
            expected: Any = Status.KEY_ENOENT if before[key] == 1 else b"1"
            self.assertEqual(self.get(key), expected)
            self.assertEqual(self.set(key), Status.SUCCESS)

    def test_a_restore_keeps_the_nodes_as_they_are(self) -> None:
        stored = self.state.stored()["buckets"]["default"]
        self.assertIs(stored, self.bucket)
        node = EmbeddedNode(nodes=3, replicas=1, reactor=self.clock)
        snapshot = node.snapshot()
        node.fail_over(2)
        node.restore(snapshot)
        self.assertNotIn(2, {copy for n in range(30) for copy in node.copies(f"k{n}")})
        self.assertRaises(LookupError, node.fail_over, 2)
        node.fail_over(0)
        self.assertRaises(ValueError, node.fail_over, 1)
        self.assertEqual((node.nodes, node.copies("k")), ((1,), [1, None]))


class ObserveTests(ClusterTestCase):
    def observe(self, client: Client, uuid: int) -> tuple[int, bytes]:
        request = frame(Opcode.OBSERVE_SEQNO, b"", struct.pack(">Q", uuid))
        # The vBucket of the key, which is not in the request.
        request = request[:6] + struct.pack(">H", vbucket_of(b"k")) + request[8:]
        ((status, _, value, _, _),) = client.send(request)
        return status, value

    def test_every_copy_has_every_mutation(self) -> None:
        self.set(b"k")
        vbucket = vbucket_of(b"k")
        uuid, seqno = self.bucket.token(vbucket)
        expected = struct.pack(">BHQQQ", 0, vbucket, uuid, seqno, seqno)
        for client in self.clients:
            has = client in (self.active(b"k"), self.replica(b"k"))
            status, value = self.observe(client, uuid)
            self.assertEqual(status, 0 if has else Status.NOT_MY_VBUCKET)
            if has:
                self.assertEqual(value, expected)
        self.assertEqual(self.observe(self.active(b"k"), uuid + 1)[0], Status.KEY_ENOENT)
        self.assertEqual(self.active(b"k").ask(Opcode.OBSERVE_SEQNO)[0], Status.EINVAL)

    def test_a_history_that_ended_with_a_fail_over(self) -> None:
        self.set(b"k")
        vbucket = vbucket_of(b"k")
        before, seqno = self.bucket.token(vbucket)
        self.state.fail_over(self.copies(b"k")[0])
        self.set(b"k")
        uuid, _ = self.bucket.token(vbucket)
        self.assertNotEqual(uuid, before)
        expected = (1, vbucket, uuid, seqno + 1, seqno + 1, before, seqno)
        status, value = self.observe(self.active(b"k"), before)
        self.assertEqual((status, struct.unpack(">BHQQQQQ", value)), (0, expected))


class DurabilityTests(ClusterTestCase):
    def test_where_all_copies_are(self) -> None:
        for level in (1, 2, 3):
            self.assertEqual(self.set(b"k", frames=bytes([0x11, level])), Status.SUCCESS)

    def test_where_copies_are_missing(self) -> None:
        self.state.fail_over(self.copies(b"k")[1])
        self.assertEqual(self.set(b"k", frames=MAJORITY), Status.DURABILITY_IMPOSSIBLE)
        self.assertEqual(self.set(b"k"), Status.SUCCESS)
        # Two of three copies are a majority.
        self.state.join({"kv": 103, "mgmt": 203})
        self.state.configure_bucket("default", BucketSettings(replicas=2))
        self.clients.append(self.connected(KeyValueFactory(self.state, self.clock, 3)))
        self.state.fail_over(self.copies(b"k")[2])
        self.assertEqual(self.set(b"k", frames=MAJORITY), Status.SUCCESS)

    def test_three_replicas_have_none(self) -> None:
        self.state.join({"kv": 103, "mgmt": 203})
        self.clients.append(self.connected(KeyValueFactory(self.state, self.clock, 3)))
        self.state.configure_bucket("default", BucketSettings(replicas=3))
        self.assertEqual(self.set(b"k", frames=MAJORITY), Status.DURABILITY_IMPOSSIBLE)

    def test_a_write_that_waits_in_vain(self) -> None:
        self.set(b"k")
        self.state.stopped(self.copies(b"k")[1])
        self.assertIsNone(self.set(b"k", b"2", MAJORITY))
        self.assertEqual(self.get(b"k"), b"1")
        self.assertEqual(self.set(b"k", b"3"), Status.SYNC_WRITE_IN_PROGRESS)
        self.clock.advance(1.9)
        self.assertEqual(self.late(self.active(b"k")), [])
        self.clock.advance(0.2)
        self.assertEqual(self.late(self.active(b"k")), [Status.SYNC_WRITE_AMBIGUOUS])
        self.assertEqual(self.get(b"k"), b"1")
        self.assertEqual(self.set(b"k", b"4"), Status.SUCCESS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_least_durability_of_the_bucket_waits_too(self) -> None:
        settings = BucketSettings(replicas=1, durability="majority")
        self.state.configure_bucket("default", settings)
        self.state.stopped(self.copies(b"k")[1])
        self.assertIsNone(self.set(b"k"))
        self.clock.advance(29.9)
        self.assertEqual(self.late(self.active(b"k")), [])
        self.clock.advance(0.2)
        self.assertEqual(self.late(self.active(b"k")), [Status.SYNC_WRITE_AMBIGUOUS])

    def test_every_kind_of_write_waits(self) -> None:
        counter = struct.pack(">QQI", 1, 5, 0)
        self.state.stopped(self.copies(b"k")[1])
        for opcode, value, extras, result in (
            (Opcode.ADD, b'{"a":1}', store_extras(), b'{"a":1}'),
            (Opcode.REPLACE, b"{}", store_extras(), b"{}"),
            (Opcode.SUBDOC_MULTI_MUTATION, b"\xc8\0\0\1\0\0\0\1a1", b"", b'{"a":1}'),
            (Opcode.DELETE, b"", b"", Status.KEY_ENOENT),
            (Opcode.INCREMENT, b"", counter, b"5"),
            (Opcode.APPEND, b"0", b"", b"50"),
        ):
            client, before = self.active(b"k"), self.get(b"k")
            sent = client.send(frame(opcode, b"k", value, extras, frames=MAJORITY))
            self.assertEqual(sent, [], opcode.name)
            self.assertEqual(self.get(b"k"), before, opcode.name)
            self.clock.advance(2.1)
            self.assertEqual(self.late(client), [Status.SYNC_WRITE_AMBIGUOUS], opcode.name)
            replica = self.copies(b"k")[1]
            client.send(frame(opcode, b"k", value, extras, frames=MAJORITY))
            self.state.serve({"kv": 100 + replica, "mgmt": 200 + replica}, replica)
            self.assertEqual(self.late(client), [Status.SUCCESS], opcode.name)
            self.assertEqual(self.get(b"k"), result, opcode.name)
            self.state.stopped(replica)

    def test_what_is_wrong_anyway_is_said_at_once(self) -> None:
        self.set(b"k")
        self.state.stopped(self.copies(b"k")[1])
        client = self.active(b"k")
        for expected, sent in (
            (Status.KEY_EEXISTS, frame(Opcode.ADD, b"k", b"1", store_extras(), frames=MAJORITY)),
            (Status.KEY_EEXISTS, frame(Opcode.DELETE, b"k", cas=1, frames=MAJORITY)),
            (
                Status.DELTA_BADVAL,
                frame(Opcode.INCREMENT, b"k", b"", struct.pack(">QQI", 1, 0, 0), frames=MAJORITY),
            ),
        ):
            if expected == Status.DELTA_BADVAL:
                self.set(b"k", b"text")
            self.assertEqual([status for status, *_ in client.send(sent)], [expected])
        # Nothing of that holds up what need not be durable.
        self.assertEqual(self.set(b"k", b"2"), Status.SUCCESS)
        self.assertEqual(self.get(b"k"), b"2")

    def test_done_when_the_replica_is_back(self) -> None:
        replica = self.copies(b"k")[1]
        self.state.stopped(replica)
        self.assertIsNone(self.set(b"k", b"2", MAJORITY))
        self.state.serve({"kv": 100 + replica, "mgmt": 200 + replica}, replica)
        self.assertEqual(self.late(self.active(b"k")), [Status.SUCCESS])
        self.assertEqual(self.get(b"k"), b"2")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_a_client_without_collections(self) -> None:
        client = Client(self.factories[self.copies(b"k")[0]])
        client.ask(Opcode.HELLO, value=struct.pack(">H", Feature.ALT_REQUEST))
        client.send(frame(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0secret", collection=b""))
        client.send(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))
        replica = self.copies(b"k")[1]
        self.state.stopped(replica)
        plain = frame(Opcode.SET, b"k", b"2", store_extras(), collection=b"", frames=MAJORITY)
        self.assertEqual(client.send(plain), [])
        # A change that does not help it.
        self.state.create_scope("default", "s")
        self.state.serve({"kv": 100, "mgmt": 200}, self.copies(b"k")[0])
        self.assertEqual(self.late(client), [])
        self.state.serve({"kv": 100 + replica, "mgmt": 200 + replica}, replica)
        self.assertEqual(self.late(client), [Status.SUCCESS])
        self.assertEqual(list(self.bucket.documents), [b"\0k"])

    def test_ambiguous_when_nodes_leave_meanwhile(self) -> None:
        for which in (0, 1):
            key = b"k" if which else b"other"
            active, replica = self.copies(key)[:2]
            self.state.stopped(replica)
            client = self.clients[active]
            self.assertIsNone(self.set(key, b"2", MAJORITY))
            self.state.fail_over((active, replica)[which])
            self.assertEqual(self.late(client), [Status.SYNC_WRITE_AMBIGUOUS])
            self.assertNotIn(b"\0" + key, self.bucket.documents)
            number = self.state.join({"kv": 103, "mgmt": 203})
            self.clients.append(self.connected(KeyValueFactory(self.state, self.clock, number)))
            for member in self.state.topology.members:
                member.running = True

    def test_a_bucket_that_is_dropped_meanwhile(self) -> None:
        replica = self.copies(b"k")[1]
        self.state.stopped(replica)
        client = self.active(b"k")
        self.assertIsNone(self.set(b"k", b"2", MAJORITY))
        factory = self.factories[self.copies(b"k")[0]]
        self.state.drop_bucket("default")
        factory.hold()
        self.state.serve({"kv": 100 + replica, "mgmt": 200 + replica}, replica)
        self.assertFalse(client.transport.disconnecting)
        factory.release()
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(self.late(client), [], "what became of it cannot be known")

    def test_a_client_that_hangs_up_leaves_nothing(self) -> None:
        self.state.stopped(self.copies(b"k")[1])
        client = self.active(b"k")
        self.assertIsNone(self.set(b"k", b"2", MAJORITY))
        client.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clients[self.copies(b"k")[0]] = self.connected(self.factories[self.copies(b"k")[0]])
        self.assertEqual(self.set(b"k"), Status.SUCCESS)

    def test_while_somebody_watches(self) -> None:
        self.state.record.on = True
        self.state.stopped(self.copies(b"k")[1])
        self.assertIsNone(self.set(b"k", b"2", MAJORITY))
        self.clock.advance(2.1)
        self.assertEqual(self.late(self.active(b"k")), [Status.SYNC_WRITE_AMBIGUOUS])
        self.assertEqual([request.operation for request in self.state.record], ["SET"])


class RandomTests(SynchronousTestCase):
    """Whatever happens to nodes, the map makes sense, and only what had one copy is lost."""

    def test_changes_of_nodes(self) -> None:
        for seed in range(20):
            random = Random(seed)
            node = EmbeddedNode(
                nodes=random.randint(1, 5), replicas=random.randint(0, 3), reactor=Clock()
            )
            state = node._state
            bucket = state.buckets["default"]
            keys = {f"k{n}" for n in range(50)}
            for key in keys:
                node.put(key, 1)
            for step in range(12):
                before = state.config(bucket)
                copies = {key: node.copies(key) for key in keys}
                if random.random() < 0.5 and len(node.nodes) > 1:
                    left = random.choice(node.nodes)
                    for other in node.nodes:
                        state.topology.member(other).running = random.random() < 0.7
                    node.fail_over(left)
                    keys = {key for key in keys if set(copies[key]) - {left, None}}
                    for key in keys:
                        self.assertNotIn(left, node.copies(key))
                        self.assertIn(node.copies(key)[0], copies[key])
                elif len(state.topology.all) < 16:
                    state.join({"kv": 1, "mgmt": 2})
                else:
                    continue
                self.check(node, before["rev"], f"seed {seed}, step {step}")
                self.assertEqual(set(node.keys()), keys)

    def check(self, node: EmbeddedNode, revision: int, where: str) -> None:
        state = node._state
        bucket = state.buckets["default"]
        shown = state.config(bucket, node.nodes[0])
        self.assertGreater(shown["rev"], revision, where)
        rows = shown["vBucketServerMap"]["vBucketMap"]
        servers = shown["vBucketServerMap"]["serverList"]
        self.assertEqual(len(servers), len(node.nodes), where)
        for row in rows:
            self.assertEqual(len(row), bucket.settings.replicas + 1, where)
            there = [place for place in row if place >= 0]
            self.assertEqual(len(set(there)), len(there), where)
            self.assertTrue(all(place < len(servers) for place in there), where)
            # Nothing follows a place that is empty.
            self.assertEqual(row, there + [-1] * (len(row) - len(there)), where)


class NodesTests(NetworkTestCase):
    """Nodes on real sockets."""

    def options(self) -> dict[str, Any]:
        return {"nodes": 3, "replicas": 1, "services": ["query"]}

    @inlineCallbacks
    def reached(self, node: int) -> Any:
        """The number of the node that a key-value port belongs to."""
        wire = yield self.logged_in(self.node.port("kv", node))
        with self.node.recording() as record:
            yield wire.ask(frame(Opcode.NOOP, collection=b""))
        return record.find("kv", "NOOP")[0].node

    @inlineCallbacks
    def test_each_has_ports_of_its_own(self) -> Any:
        ports = [self.node.port(name, node) for node in range(3) for name in self.node.services]
        self.assertEqual(len(set(ports)), 9)
        self.assertEqual(self.node.connstr, f"couchbase://127.0.0.1:{self.node.port('kv', 0)}")
        for node in range(3):
            self.assertEqual((yield self.reached(node)), node)
            wire = yield self.wire(self.node.port("query", node))
            with self.node.recording() as record:
                yield wire.ask(request("GET", "/admin/ping"))
            self.assertEqual([asked.node for asked in record.find("query")], [node])
        self.assertRaises(LookupError, self.node.port, "kv", 3)

    @inlineCallbacks
    def test_one_is_killed_and_restarted(self) -> Any:
        wires = yield gatherResults([self.logged_in(self.node.port("kv", n)) for n in range(3)])
        ports = self.node.describe_nodes()[0]["ports"]
        yield self.node.kill(0)
        yield wires[0].closed
        self.assertEqual([wire.closed.called for wire in wires], [True, False, False])
        self.assertEqual(self.node.kv_port, self.node.port("kv", 1))
        self.assertRaises(RuntimeError, self.node.port, "kv", 0)
        self.assertEqual(
            [node["running"] for node in self.node.describe_nodes()], [False, True, True]
        )
        self.assertEqual(self.node.nodes, (0, 1, 2))
        yield self.assertFailure(self.node.start(), RuntimeError)
        yield self.assertFailure(self.node.restart(keep_data=False, node=0), ValueError)
        yield self.node.restart(node=0)
        self.assertEqual(self.node.describe_nodes()[0]["ports"], ports)
        self.assertEqual((yield self.reached(0)), 0)
        self.assertFalse(wires[1].closed.called)

    @inlineCallbacks
    def test_one_hangs(self) -> Any:
        wires = yield gatherResults([self.logged_in(self.node.port("kv", n)) for n in range(2)])
        self.node.hold(0)
        wires[0].received = b""
        wires[0].transport.write(frame(Opcode.NOOP, collection=b""))
        yield wires[1].ask(frame(Opcode.NOOP, collection=b""))
        self.assertEqual(wires[0].received, b"")
        self.node.release(0)
        yield until(lambda: len(wires[0].received) == 24)
        self.assertRaises(LookupError, self.node.hold, 3)

    @inlineCallbacks
    def test_a_replica_that_hangs_keeps_durable_writes_waiting(self) -> Any:
        active, replica = self.node.copies("k")
        wire = yield self.logged_in(self.node.port("kv", active))
        hello = struct.pack(f">{len(FEATURES)}H", *FEATURES)
        yield wire.ask(frame(Opcode.HELLO, value=hello))
        self.node.hold(replica)
        wire.received = b""
        wire.transport.write(frame(Opcode.SET, b"k", b"1", store_extras(), frames=MAJORITY))
        answer = yield wire.ask(frame(Opcode.NOOP, collection=b"", opaque=8))
        self.assertEqual(answer[1], Opcode.NOOP)
        wire.received = b""
        self.node.release(replica)
        answer = yield wire.until(lambda data: len(data) >= 24)
        self.assertEqual((answer[1], HEADER.unpack_from(answer)[5]), (Opcode.SET, 0))

    @inlineCallbacks
    def test_one_leaves_and_another_comes(self) -> Any:
        yield self.node.kill(2)
        self.node.fail_over(2)
        self.assertEqual(self.node.nodes, (0, 1))
        for refused in (self.node.kill(2), self.node.restart(node=2)):
            yield self.assertFailure(refused, LookupError)
        number = yield self.node.add_node()
        self.assertEqual((number, self.node.nodes), (3, (0, 1, 3)))
        self.assertEqual((yield self.reached(3)), 3)
        found = {copy for n in range(100) for copy in self.node.copies(f"k{n}")}
        self.assertEqual(found, {0, 1, 3})
        yield self.node.kill()
        yield self.assertFailure(self.node.add_node(), RuntimeError)
        yield self.node.restart()
        self.assertEqual(
            [n["running"] for n in self.node.describe_nodes()], [True, True, False, True]
        )
        self.assertEqual((yield self.reached(3)), 3)

    @inlineCallbacks
    def test_over_the_control_port(self) -> Any:
        shown = yield self.control("GET", "/nodes")
        self.assertEqual(shown, (200, self.node.describe_nodes()))
        for number, path, code in (
            (1, "/nodes/1/kill", 200),
            (1, "/nodes/1/restart", 200),
            (1, "/nodes/1/hold", 200),
            (1, "/nodes/1/release", 200),
            (1, "/nodes/1/fail_over", 200),
            (1, "/nodes/1/fail_over", 404),
            (1, "/nodes/1/kill", 404),
            (1, "/nodes/1/restart", 404),
            (7, "/nodes/7/hold", 404),
        ):
            answer = yield self.control("POST", path)
            self.assertEqual(answer[0], code, path)
            if code == 404:
                self.assertIn(str(number), answer[1]["error"])
        self.assertEqual((yield self.control("POST", "/nodes")), (200, {"number": 3}))
        copies = yield self.control("GET", "/documents/a%2Fb/copies")
        self.assertEqual(copies, (200, self.node.copies("a/b")))
        yield self.control("POST", "/nodes/0/fail_over")
        yield self.control("POST", "/nodes/2/fail_over")
        code, answer = yield self.control("POST", "/nodes/3/fail_over")
        self.assertEqual((code, "last node" in answer["error"]), (400, True))
