"""Scans of the embedded node, frame by frame, without a network."""

from __future__ import annotations

import copy
import json
import struct
from base64 import b64encode
from random import Random
from typing import Any

from tests.test_node_kv import START, Client, NodeTestCase, frame, store_extras
from txcouchbase.testing.kv import sorted_keys
from txcouchbase.testing.kv.bucket import vbucket_of
from txcouchbase.testing.kv.frames import DATATYPE_JSON, HEADER, Opcode
from txcouchbase.testing.kv.manifest import leb128, split_leb128
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.kv.status import Status
from txcouchbase.testing.management.accounts import User
from txcouchbase.testing.management.roles import Grant

CREATE, CONTINUE, CANCEL = (
    Opcode.RANGE_SCAN_CREATE,
    Opcode.RANGE_SCAN_CONTINUE,
    Opcode.RANGE_SCAN_CANCEL,
)
VBUCKET = 7


def encoded(key: bytes) -> str:
    return b64encode(key).decode()


EVERYTHING = {"range": {"start": "", "end": encoded(b"\xff")}}


def request(
    opcode: int, value: bytes = b"", extras: bytes = b"", vbucket: int = VBUCKET, **odd: Any
) -> bytes:
    body = len(extras) + len(value)
    datatype = odd.get("datatype", DATATYPE_JSON if value else 0)
    header = HEADER.pack(0x80, opcode, 0, len(extras), datatype, vbucket, body, 1, 0)
    return header + extras + value


def limits(uuid: bytes, items: int = 0, milliseconds: int = 0, size: int = 0) -> bytes:
    return struct.pack(">16sIII", uuid, items, milliseconds, size)


def keys_in(value: bytes) -> list[bytes]:
    """The keys of a response with keys only."""
    keys = []
    while value:
        length, taken = split_leb128(value)
        keys.append(value[taken : taken + length])
        value = value[taken + length :]
    return keys


def documents_in(value: bytes) -> list[tuple[Any, ...]]:
    """Flags, expiry, sequence number, CAS, datatype, key and value of each document."""
    documents = []
    while value:
        metadata = struct.unpack_from(">IIQQB", value)
        parts = []
        value = value[25:]
        for _ in range(2):
            length, taken = split_leb128(value)
            parts.append(value[taken : taken + length])
            value = value[taken + length :]
        documents.append((*metadata, *parts))
    return documents


class ScanTestCase(NodeTestCase):
    def setUp(self) -> None:
        super().setUp()
        names = (b"k%05d" % number for number in range(100_000))
        self.keys = [name for name, _ in zip(_in_vbucket(names), range(10), strict=False)]
        for number, key in enumerate(self.keys):
            self.store(key, b'{"n":%d}' % number)

    def store(self, key: bytes, value: bytes = b"{}", **more: Any) -> tuple[int, bytes, bytes, int]:
        return self.client.ask(Opcode.SET, key, value, store_extras(33, more.pop("expiry", 0)))

    def create(self, body: Any, client: Client | None = None, **odd: Any) -> tuple[int, bytes]:
        """Status and value of the response to a request to create a scan."""
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        ((status, extras, value, _, _),) = (client or self.client).send(
            request(CREATE, value, **odd)
        )
        self.assertEqual(extras, b"")
        return status, value

    def scan(self, body: Any, client: Client | None = None) -> bytes:
        status, uuid = self.create(body, client)
        self.assertEqual((status, len(uuid)), (Status.SUCCESS, 16))
        return uuid

    def go_on(self, uuid: bytes, *amounts: int, vbucket: int = VBUCKET) -> tuple[int, bytes, int]:
        """The last status, all bytes and the number of the responses to one request."""
        responses = self.client.send(
            request(CONTINUE, extras=limits(uuid, *amounts), vbucket=vbucket)
        )
        self.assertTrue(all(status == Status.SUCCESS for status, *_ in responses[:-1]))
        return responses[-1][0], b"".join(value for _, _, value, *_ in responses), len(responses)

    def found(self, body: dict[str, Any]) -> list[bytes]:
        """The keys that a scan finds."""
        status, value, _ = self.go_on(self.scan({**body, "key_only": True}))
        self.assertEqual(status, Status.RANGE_SCAN_COMPLETE)
        return keys_in(value)


def _in_vbucket(names: Any, vbucket: int = VBUCKET) -> Any:
    return (name for name in names if vbucket_of(name) == vbucket)


class ScanTests(ScanTestCase):
    def test_ranges(self) -> None:
        keys = self.keys
        for bounds, expected in (
            ({"start": b"", "end": b"\xff"}, keys),
            ({"start": keys[2], "end": keys[5]}, keys[2:6]),
            ({"excl_start": keys[2], "end": keys[5]}, keys[3:6]),
            ({"start": keys[2], "excl_end": keys[5]}, keys[2:5]),
            ({"excl_start": keys[2], "excl_end": keys[5]}, keys[3:5]),
            ({"start": keys[2] + b"\0", "end": keys[4] + b"\xff"}, keys[3:5]),
        ):
            body = {"range": {name: encoded(key) for name, key in bounds.items()}}
            self.assertEqual(self.found(body), expected, bounds)

    def test_documents(self) -> None:
        self.clock.advance(10)
        status, _, _, cas = self.store(self.keys[0], b"0", expiry=60)
        self.assertEqual(status, Status.SUCCESS)
        client = self.client
        ((_, extras, *_),) = client.send(request(CONTINUE, extras=limits(self.scan(EVERYTHING), 1)))
        self.assertEqual(extras, struct.pack(">I", 1))
        status, value, _ = self.go_on(self.scan(EVERYTHING))
        first, second = documents_in(value)[:2]
        self.assertEqual(first, (33, int(START) + 70, 11, cas, 0, self.keys[0], b"0"))
        self.assertEqual(second[-2:], (self.keys[1], b'{"n":1}'))
        keys = request(CONTINUE, extras=limits(self.scan(EVERYTHING | {"key_only": True}), 1))
        ((_, extras, value, _, _),) = client.send(keys)
        self.assertEqual((extras, keys_in(value)), (struct.pack(">I", 0), self.keys[:1]))

    def test_a_scan_sees_its_start(self) -> None:
        uuid = self.scan(EVERYTHING)
        self.client.ask(Opcode.DELETE, self.keys[0])
        self.store(self.keys[1], b"later")
        late = next(_in_vbucket(b"z%d" % number for number in range(100_000)))
        self.store(late)
        _, value, _ = self.go_on(uuid)
        documents = documents_in(value)
        self.assertEqual([document[5] for document in documents], self.keys)
        self.assertEqual(documents[1][6], b'{"n":1}')
        self.assertEqual(self.found(EVERYTHING), [*self.keys[1:], late])
        # What has expired is not there any more.
        self.store(self.keys[2], expiry=5)
        self.clock.advance(6)
        self.assertEqual(self.found(EVERYTHING), [self.keys[1], *self.keys[3:], late])

    def test_other_vbuckets_and_collections(self) -> None:
        self.state.create_collection("default", "_default", "c")
        number = self.state.bucket("default").manifest.collection_id("_default", "c")
        prefix = leb128(number)
        self.client.ask(Opcode.SET, self.keys[3], b"1", store_extras(), collection=prefix)
        self.assertEqual(self.found(EVERYTHING | {"collection": f"{number:x}"}), [self.keys[3]])
        self.assertEqual(self.found(EVERYTHING | {"collection": "0"}), self.keys)
        self.assertEqual(self.create(EVERYTHING, vbucket=8)[0], Status.KEY_ENOENT)
        self.assertEqual(self.create(EVERYTHING, vbucket=64)[0], Status.NOT_MY_VBUCKET)
        uuid = self.scan(EVERYTHING)
        self.assertEqual(self.go_on(uuid, vbucket=8)[0], Status.KEY_ENOENT)
        self.assertEqual(self.go_on(uuid)[0], Status.RANGE_SCAN_COMPLETE)

    def test_snapshots_of_the_node(self) -> None:
        bucket = self.state.bucket("default")
        stored = copy.deepcopy(bucket)
        self.client.ask(Opcode.DELETE, self.keys[0])
        self.assertEqual(self.found(EVERYTHING), self.keys[1:])
        bucket.restore(stored)
        self.assertEqual(self.found(EVERYTHING), self.keys)

    def test_keys_that_come_between_scans(self) -> None:
        """They are found, without a look at all documents for each scan."""
        random = Random(5)
        bucket = self.state.bucket("default")
        names = [b"n%d" % number for number in range(3000)]
        stored = copy.deepcopy(bucket)
        looked = 0

        def counting(key: bytes, count: int) -> int:
            nonlocal looked
            looked += 1
            return vbucket_of(key, count)

        self.patch(sorted_keys, "vbucket_of", counting)
        for step in range(1, 400):
            for _ in range(random.choice((0, 1, 1, 5, 100))):
                key = random.choice(names)
                if random.random() < 0.3:
                    self.client.ask(Opcode.DELETE, key)
                else:
                    self.store(key)
            if step % 90 == 0:
                bucket.flush()
            if step % 70 == 0:
                bucket.restore(copy.deepcopy(stored))
            if not bucket.documents:
                continue
            expected = sorted(wire[1:] for wire in bucket.documents)
            expected = list(_in_vbucket(expected))
            if expected:
                self.assertEqual(self.found(EVERYTHING), expected)
        # Each time that others took the place of all documents, and no more.
        self.assertLess(looked, 12 * 3000)
        looked = 0
        self.store(b"another")
        self.found(EVERYTHING)
        self.assertEqual(looked, 0)

    def test_sampling(self) -> None:
        self.assertEqual(self.found({"sampling": {"samples": 10, "seed": 5}}), self.keys)
        self.assertEqual(self.found({"sampling": {"samples": 11}}), self.keys)
        samples = [self.found({"sampling": {"samples": 4, "seed": seed}}) for seed in range(40)]
        self.assertEqual(samples[7], self.found({"sampling": {"samples": 4, "seed": 7}}))
        self.assertGreater(len({tuple(sample) for sample in samples}), 20)
        self.assertTrue(100 < sum(map(len, samples)) < 220)
        self.assertEqual(self.create({"sampling": {"samples": 1}}, vbucket=8)[0], Status.KEY_ENOENT)

    def test_limits(self) -> None:
        uuid = self.scan(EVERYTHING | {"key_only": True})
        for items, size, expected in ((3, 0, 3), (0, 1, 1), (0, 15, 3), (2, 10_000, 2)):
            status, value, _ = self.go_on(uuid, items, 0, size)
            self.assertEqual((status, len(keys_in(value))), (Status.RANGE_SCAN_MORE, expected))
        status, value, _ = self.go_on(uuid, 1)
        self.assertEqual((status, keys_in(value)), (Status.RANGE_SCAN_MORE, self.keys[9:]))
        self.assertEqual(self.go_on(uuid, 1), (Status.RANGE_SCAN_COMPLETE, b"", 1))
        self.assertEqual(self.go_on(uuid, 1)[0], Status.KEY_ENOENT)
        # One request may have several responses; without a limit the node sets one.
        for key in self.keys:
            self.store(key, b"x" * 300_000)
        uuid = self.scan(EVERYTHING)
        status, value, responses = self.go_on(uuid, 2)
        self.assertEqual((status, len(documents_in(value)), responses), (166, 2, 2))
        status, value, _ = self.go_on(uuid)
        self.assertEqual((status, len(documents_in(value))), (Status.RANGE_SCAN_MORE, 4))

    def test_a_client_that_does_not_read(self) -> None:
        for key in self.keys:
            self.store(key, b"x" * 300_000)
        asked = [self.scan(EVERYTHING) for _ in range(12)]
        client, answered = self.client, 0
        transport, protocol = client.transport, client.protocol
        write = transport.write

        def full(data: bytes) -> None:
            write(data)
            protocol.pauseProducing()

        self.patch(transport, "write", full)
        # The last one comes in two parts.
        *whole, last = [request(CONTINUE, extras=limits(uuid)) for uuid in asked]
        protocol.dataReceived(b"".join(whole) + last[:9])
        protocol.dataReceived(last[9:])
        while answered < len(asked):
            self.assertLess(len(transport.value()), 2 * 2**20)
            responses = client.send(b"")
            ends = [status for status, *_ in responses if status]
            self.assertEqual(ends, [Status.RANGE_SCAN_MORE])
            answered += 1
            protocol.resumeProducing()
        self.assertEqual(client.send(b""), [])
        # One that reads is answered at once, however long the answers are.
        self.patch(transport, "write", write)
        protocol.dataReceived(b"".join([*whole, last]))
        ends = [status for status, *_ in client.send(b"") if status]
        self.assertEqual(ends, [Status.RANGE_SCAN_MORE] * 12)

    def test_a_vbucket_that_has_moved(self) -> None:
        session = self.client.protocol.session
        for opcode in (CONTINUE, CANCEL):
            uuid = self.scan(EVERYTHING)
            other = self.scan(EVERYTHING)
            session.active = frozenset(range(64)) - {VBUCKET}
            extras = limits(uuid) if opcode == CONTINUE else uuid
            ((status, *_),) = self.client.send(request(opcode, extras=extras))
            self.assertEqual(status, Status.NOT_MY_VBUCKET)
            session.choose_find()
            self.assertEqual(self.go_on(uuid)[0], Status.KEY_ENOENT)
            self.assertEqual(self.go_on(other)[0], Status.RANGE_SCAN_COMPLETE)

    def test_requirements(self) -> None:
        uuid, seqno = self.state.bucket("default").token(VBUCKET)

        def status(**requirements: Any) -> int:
            needed = {"vb_uuid": str(uuid), "seqno": seqno} | requirements
            return self.create(EVERYTHING | {"snapshot_requirements": needed})[0]

        self.assertEqual(status(), Status.SUCCESS)
        self.assertEqual(status(timeout_ms=100, seqno_exists=True), Status.SUCCESS)
        self.assertEqual(status(vb_uuid="1"), Status.RANGE_SCAN_VB_UUID_NOT_EQUAL)
        self.assertEqual(status(seqno=seqno + 1), Status.TMPFAIL)
        self.store(self.keys[-1])
        self.assertEqual(status(), Status.SUCCESS)
        self.assertEqual(status(seqno_exists=True), Status.NOT_STORED)
        for odd in ({"vb_uuid": 1}, {"vb_uuid": "x"}, {"seqno": "1"}, {"timeout_ms": None}):
            self.assertEqual(status(**odd), Status.EINVAL, odd)

    def test_ends(self) -> None:
        uuid = self.scan(EVERYTHING)
        cancel = request(CANCEL, extras=uuid)
        self.assertEqual(self.client.send(cancel)[0][0], Status.SUCCESS)
        self.assertEqual(self.client.send(cancel)[0][0], Status.KEY_ENOENT)
        self.assertEqual(self.go_on(uuid)[0], Status.KEY_ENOENT)
        # A scan belongs to its connection.
        uuid = self.scan(EVERYTHING, self.connected())
        self.assertEqual(self.go_on(uuid)[0], Status.KEY_ENOENT)
        self.state.create_collection("default", "_default", "c")
        number = self.state.bucket("default").manifest.collection_id("_default", "c")
        prefix = leb128(number)
        self.client.ask(Opcode.SET, self.keys[3], b"1", store_extras(), collection=prefix)
        dropped = self.scan(EVERYTHING | {"collection": f"{number:x}"})
        flushed = self.scan(EVERYTHING)
        self.state.drop_collection("default", "_default", "c")
        self.assertEqual(self.go_on(dropped)[0], Status.UNKNOWN_COLLECTION)
        self.assertEqual(self.go_on(dropped)[0], Status.KEY_ENOENT)
        body = EVERYTHING | {"collection": f"{number:x}"}
        status, value = self.create(body)
        self.assertEqual(status, Status.UNKNOWN_COLLECTION)
        self.assertIn("manifest_uid", json.loads(value))
        self.state.bucket("default").flush()
        self.assertEqual(self.go_on(flushed)[0], Status.RANGE_SCAN_CANCELLED)
        self.assertEqual(self.create(EVERYTHING)[0], Status.KEY_ENOENT)

    def test_bad_requests(self) -> None:
        start, end = {"start": ""}, {"end": ""}
        for body in (
            b"",
            b"{",
            b'{"range":' + b"[" * 100_000,
            [],
            {},
            {"range": [], "key_only": True},
            {"range": start},
            {"range": end},
            {"range": {**start, **end, "excl_end": ""}},
            {"range": {"start": 1, **end}},
            {"range": {"start": "!", **end}},
            {"range": {"start": encoded(b"x" * 251), **end}},
            {**EVERYTHING, "sampling": {"samples": 1}},
            {**EVERYTHING, "collection": 8},
            {**EVERYTHING, "collection": "x"},
            {**EVERYTHING, "key_only": 1},
            {**EVERYTHING, "snapshot_requirements": 1},
            {"sampling": {}},
            {"sampling": {"samples": 0}},
            {"sampling": {"samples": 1.5}},
            {"sampling": {"samples": 1, "seed": -1}},
        ):
            self.assertEqual(self.create(body)[0], Status.EINVAL, body)
        self.assertEqual(self.create(EVERYTHING, extras=b"1")[0], Status.EINVAL)
        self.assertEqual(self.create(EVERYTHING, datatype=0)[0], Status.EINVAL)
        for opcode in (CONTINUE, CANCEL):
            ((status, *_),) = self.client.send(request(opcode, extras=b"1"))
            self.assertEqual(status, Status.EINVAL)
        self.assertEqual(self.client.ask(CANCEL, b"k", extras=b"0" * 16)[0], Status.EINVAL)
        bucket = self.state.bucket("default")
        bucket.configure(BucketSettings(bucket_type="ephemeral"))
        self.assertEqual(self.create(EVERYTHING)[0], Status.NOT_SUPPORTED)

    def test_record(self) -> None:
        self.state.create_collection("default", "_default", "c")
        number = self.state.bucket("default").manifest.collection_id("_default", "c")
        prefix = leb128(number)
        self.client.ask(Opcode.SET, self.keys[3], b"1", store_extras(), collection=prefix)
        token = self.state.bucket("default").token(VBUCKET)
        self.state.record.on = True
        needed = {"vb_uuid": str(token[0]), "seqno": token[1], "timeout_ms": 5}
        uuid = self.scan(
            {
                "range": {"excl_start": encoded(b"a"), "end": encoded(b"z")},
                "collection": f"{number:x}",
                "key_only": True,
                "snapshot_requirements": needed,
            }
        )
        self.go_on(uuid, 1, 2, 3)
        self.client.send(request(CANCEL, extras=uuid))
        self.create({"sampling": {"samples": 2, "seed": 3}})
        self.create(b"{")
        self.client.send(request(CONTINUE, extras=b"1"))
        create, go_on, cancel, sampling, *bad = self.state.record
        where = ("default", "_default", "c", None)
        for recorded in (create, go_on, cancel):
            found = (recorded.bucket, recorded.scope, recorded.collection, recorded.key)
            self.assertEqual(found, where)
        bounds = {"vbucket": VBUCKET, "key_only": True, "excl_start": "a", "end": "z"}
        self.assertEqual(create.options, bounds | needed)
        scan = {"vbucket": VBUCKET, "scan": uuid.hex()}
        sizes = {"item_limit": 1, "time_limit": 2, "byte_limit": 3}
        self.assertEqual(go_on.options, scan | sizes)
        self.assertEqual((cancel.operation, cancel.options), ("RANGE_SCAN_CANCEL", scan))
        self.assertEqual(
            sampling.options, {"vbucket": VBUCKET, "key_only": False, "samples": 2, "seed": 3}
        )
        self.assertEqual([recorded.options for recorded in bad], [{"extras": ""}, {"extras": "31"}])

    def test_rights(self) -> None:
        grants = (Grant("data_writer", ("default", "*", "*")),)
        self.state.security.put_user(User("writer", "local", password="Writer-1", grants=grants))
        client = self.connected()
        login = frame(Opcode.SASL_AUTH, b"PLAIN", b"\0writer\0Writer-1", collection=b"")
        self.assertEqual(client.send(login)[0][0], Status.SUCCESS)
        client.send(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))
        self.assertEqual(self.create(EVERYTHING, client)[0], Status.EACCESS)
