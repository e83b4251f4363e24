"""The embedded node's key-value service, frame by frame, without a network."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.testing import EmbeddedNode
from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.kv.bucket import LOCKED_CAS, vbucket_of
from txcouchbase.testing.kv.frames import HEADER, Feature, Opcode
from txcouchbase.testing.kv.paths import LOOKUPS, MUTATIONS, parse
from txcouchbase.testing.kv.server import KeyValueFactory
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.kv.xattrs import crc32c

START = 1_700_000_000.0


class Client:
    """A client of one connection, with frames as they are on the wire."""

    def __init__(self, factory: KeyValueFactory) -> None:
        self.transport = StringTransport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> list[tuple[int, bytes, bytes, int, int]]:
        """Status, extras, value, CAS and opaque of each response."""
        self.protocol.dataReceived(data)
        received = self.transport.value()
        self.transport.clear()
        responses = []
        at = 0
        while at < len(received):
            _, _, keys, extras, _, status, body, opaque, cas = HEADER.unpack_from(received, at)
            at += 24
            value = received[at + extras + keys : at + body]
            responses.append((status, received[at : at + extras], value, cas, opaque))
            at += body
        return responses

    def ask(
        self,
        opcode: int,
        key: bytes = b"",
        value: bytes = b"",
        extras: bytes = b"",
        cas: int = 0,
        collection: bytes = b"\0",
        frames: bytes = b"",
    ) -> tuple[int, bytes, bytes, int]:
        """Status, extras, value and CAS of the response to one request."""
        ((status, *rest, _),) = self.send(
            frame(opcode, key, value, extras, cas, collection=collection, frames=frames)
        )
        return (status, *rest)  # type: ignore[return-value]


def frame(
    opcode: int,
    key: bytes = b"",
    value: bytes = b"",
    extras: bytes = b"",
    cas: int = 0,
    opaque: int = 7,
    collection: bytes = b"\0",
    frames: bytes = b"",
) -> bytes:
    wire = collection + key if key else b""
    length = (len(frames) << 8 | len(wire)) if frames else len(wire)
    body = len(frames) + len(extras) + len(wire) + len(value)
    vbucket = vbucket_of(key)
    magic = 0x08 if frames else 0x80
    header = HEADER.pack(magic, opcode, length, len(extras), 0, vbucket, body, opaque, cas)
    return header + frames + extras + wire + value


def store_extras(flags: int = 0, expiry: int = 0) -> bytes:
    return struct.pack(">II", flags, expiry)


class NodeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.state = ClusterState("user", "secret", ["default"], self.clock.seconds)
        self.state.serve({"kv": 1, "mgmt": 2})
        self.factory = KeyValueFactory(self.state)
        self.client = self.connected()

    def connected(self) -> Client:
        client = Client(self.factory)
        features = [Feature.COLLECTIONS, Feature.JSON, Feature.XATTR, Feature.MUTATION_SEQNO]
        features += [Feature.ALT_REQUEST, Feature.PRESERVE_TTL, Feature.XERROR]
        client.ask(Opcode.HELLO, value=struct.pack(f">{len(features)}H", *features))
        status, *_ = client.send(
            frame(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0secret", collection=b"")
        )[0]
        self.assertEqual(status, Status.SUCCESS)
        client.send(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))
        return client

    def set(self, key: bytes, value: bytes = b"1", expiry: int = 0, **more: Any) -> int:
        status, _, _, cas = self.client.ask(Opcode.SET, key, value, store_extras(0, expiry), **more)
        self.assertEqual(status, Status.SUCCESS)
        return cas

    def status(self, opcode: int, *args: Any, **kwargs: Any) -> int:
        return self.client.ask(opcode, *args, **kwargs)[0]


class DocumentTests(NodeTestCase):
    def test_store_and_fetch(self) -> None:
        cas = self.set(b"k", b'{"a":1}')
        status, extras, value, found = self.client.ask(Opcode.GET, b"k")
        self.assertEqual((status, extras, value, found), (0, b"\0\0\0\0", b'{"a":1}', cas))

    def test_statuses(self) -> None:
        self.set(b"k")
        add, replace, delete = Opcode.ADD, Opcode.REPLACE, Opcode.DELETE
        extras = store_extras()
        for expected, actual in (
            (Status.KEY_ENOENT, self.status(Opcode.GET, b"none")),
            (Status.KEY_EEXISTS, self.status(add, b"k", b"1", extras)),
            (Status.KEY_ENOENT, self.status(replace, b"none", b"1", extras)),
            (Status.KEY_ENOENT, self.status(delete, b"none")),
            (Status.KEY_EEXISTS, self.status(Opcode.SET, b"k", b"1", extras, cas=1)),
            (Status.KEY_ENOENT, self.status(Opcode.SET, b"none", b"1", extras, cas=1)),
            (Status.KEY_EEXISTS, self.status(delete, b"k", cas=1)),
            (Status.NOT_STORED, self.status(Opcode.APPEND, b"none", b"1")),
            (Status.EINVAL, self.status(Opcode.SET, b"k", b"1", b"short")),
            (Status.EINVAL, self.status(Opcode.GET, b"k" * 251)),
            (Status.SUCCESS, self.status(add, b"k" * 250, b"1", extras)),
            (Status.UNKNOWN_COMMAND, self.status(0x6F)),
            (Status.UNKNOWN_COLLECTION, self.status(Opcode.GET, b"k", collection=b"\x09")),
            (Status.E2BIG, self.status(add, b"b", bytes(20 * 2**20 + 1), extras)),
            (Status.SUCCESS, self.status(add, b"b", bytes(20 * 2**20), extras)),
            (Status.NOT_LOCKED, self.status(Opcode.UNLOCK, b"k", cas=1)),
        ):
            self.assertEqual(actual, expected)

    def test_expiry(self) -> None:
        self.set(b"soon", expiry=10)
        self.set(b"at", expiry=int(START) + 10)
        self.set(b"never")
        self.clock.advance(9)
        self.assertEqual([self.status(Opcode.GET, k) for k in (b"soon", b"at", b"never")], [0] * 3)
        self.clock.advance(2)
        self.assertEqual(
            [self.status(Opcode.GET, k) for k in (b"soon", b"at", b"never")], [1, 1, 0]
        )

    def test_expiry_that_is_preserved(self) -> None:
        self.set(b"k", expiry=10)
        self.set(b"k", b"2", frames=b"\x50")
        self.clock.advance(11)
        self.assertEqual(self.status(Opcode.GET, b"k"), Status.KEY_ENOENT)
        self.set(b"k", expiry=10)
        self.set(b"k", b"2")
        self.clock.advance(11)
        self.assertEqual(self.status(Opcode.GET, b"k"), Status.SUCCESS)

    def test_touch(self) -> None:
        self.set(b"k")
        self.assertEqual(self.status(Opcode.TOUCH, b"k", extras=struct.pack(">I", 10)), 0)
        self.assertEqual(
            self.client.ask(Opcode.GET_AND_TOUCH, b"k", extras=struct.pack(">I", 20))[2], b"1"
        )
        self.clock.advance(15)
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)
        self.clock.advance(6)
        self.assertEqual(self.status(Opcode.GET, b"k"), Status.KEY_ENOENT)

    def test_locks(self) -> None:
        self.set(b"k")
        status, _, _, cas = self.client.ask(Opcode.GET_LOCKED, b"k", extras=struct.pack(">I", 20))
        self.assertEqual(status, 0)
        self.assertEqual(self.client.ask(Opcode.GET, b"k")[3], LOCKED_CAS)
        for opcode, extras in ((Opcode.SET, store_extras()), (Opcode.DELETE, b"")):
            value = b"2" if extras else b""
            self.assertEqual(self.status(opcode, b"k", value, extras), Status.LOCKED)
        self.assertEqual(self.status(Opcode.GET_LOCKED, b"k"), Status.LOCKED)
        self.assertEqual(self.status(Opcode.UNLOCK, b"k", cas=cas + 1), Status.LOCKED)
        self.assertEqual(self.status(Opcode.UNLOCK, b"k", cas=cas), 0)
        self.client.ask(Opcode.GET_LOCKED, b"k", extras=struct.pack(">I", 20))
        self.clock.advance(21)
        self.set(b"k", b"2")

    def test_a_lock_opens_with_its_cas(self) -> None:
        self.set(b"k")
        *_, cas = self.client.ask(Opcode.GET_LOCKED, b"k")
        self.set(b"k", b"2", cas=cas)
        self.set(b"k", b"3")

    def count(self, opcode: int, delta: int, initial: int = 0, expiry: int = 0) -> tuple[int, int]:
        extras = struct.pack(">QQI", delta, initial, expiry)
        status, _, value, _ = self.client.ask(opcode, b"c", extras=extras)
        return status, int.from_bytes(value, "big") if status == 0 else -1

    def test_counters(self) -> None:
        no_create = 0xFFFFFFFF
        self.assertEqual(self.count(Opcode.INCREMENT, 1, 5, no_create), (Status.KEY_ENOENT, -1))
        self.assertEqual(self.count(Opcode.INCREMENT, 1, 5), (0, 5))
        self.assertEqual(self.count(Opcode.INCREMENT, 2), (0, 7))
        self.assertEqual(self.count(Opcode.DECREMENT, 3), (0, 4))
        self.assertEqual(self.count(Opcode.DECREMENT, 9), (0, 0))
        self.set(b"c", b"18446744073709551615")
        self.assertEqual(self.count(Opcode.INCREMENT, 2), (0, 1))
        self.set(b"c", b"text")
        self.assertEqual(self.count(Opcode.INCREMENT, 1), (Status.DELTA_BADVAL, -1))

    def test_mutation_tokens(self) -> None:
        tokens = [
            struct.unpack(">QQ", self.client.ask(Opcode.SET, b"k", b"1", store_extras())[1])
            for _ in range(2)
        ]
        self.assertEqual(tokens[0][0], tokens[1][0])
        self.assertEqual(tokens[0][1] + 1, tokens[1][1])

    def test_cas_grows(self) -> None:
        seen = [self.set(b"k") for _ in range(100)]
        self.assertEqual(seen, sorted(set(seen)))

    def test_the_longest_life_in_a_collection(self) -> None:
        node = EmbeddedNode(username="user", password="secret", reactor=self.clock)
        node.create_collection("default", "_default", "short", max_expiry=5)
        self.factory = KeyValueFactory(node._state)
        self.client = self.connected()
        self.set(b"k", collection=b"\x08")
        self.clock.advance(6)
        self.assertEqual(self.status(Opcode.GET, b"k", collection=b"\x08"), Status.KEY_ENOENT)


class AccessTests(NodeTestCase):
    def test_nothing_before_login_and_bucket(self) -> None:
        client = Client(self.factory)
        self.assertEqual(client.ask(Opcode.GET, b"k")[0], Status.EACCESS)
        self.assertEqual(
            client.send(frame(Opcode.SELECT_BUCKET, b"default", collection=b""))[0][0],
            Status.EACCESS,
        )
        self.assertEqual(
            client.send(frame(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0wrong", collection=b""))[0][0],
            Status.AUTH_ERROR,
        )
        client.send(frame(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0secret", collection=b""))
        self.assertEqual(client.ask(Opcode.GET, b"k")[0], Status.NO_BUCKET)
        self.assertEqual(
            client.send(frame(Opcode.SELECT_BUCKET, b"other", collection=b""))[0][0],
            Status.EACCESS,
        )


class FrameTests(NodeTestCase):
    def test_pipelined_requests_in_any_pieces(self) -> None:
        self.set(b"k", b"v" * 300)
        requests = b"".join(frame(Opcode.GET, b"k", opaque=n) for n in range(20))
        for step in (1, 7, 24, 25, 1000):
            responses = []
            for start in range(0, len(requests), step):
                responses += self.client.send(requests[start : start + step])
            self.assertEqual([opaque for *_, opaque in responses], list(range(20)))

    def test_malformed_frames_close_that_connection_only(self) -> None:
        other = self.connected()
        self.set(b"k")
        for broken in (
            b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n",
            HEADER.pack(0x80, 0, 10, 0, 0, 0, 3, 0, 0) + b"abc",
            HEADER.pack(0x80, 1, 1, 0, 0, 0, 0x7FFFFFFF, 0, 0),
            HEADER.pack(0x81, 0, 0, 0, 0, 0, 0, 0, 0),
        ):
            client = self.connected()
            client.protocol.dataReceived(broken)
            self.assertTrue(client.transport.disconnecting, broken)
        self.assertEqual(other.ask(Opcode.GET, b"k")[0], 0)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=200), st.integers(0, 255), st.integers(0, 300), st.integers(0, 255))
    def test_random_frames_do_no_harm(
        self, body: bytes, opcode: int, key: int, extras: int
    ) -> None:
        client = self.connected()
        header = HEADER.pack(0x80, opcode, key, extras, 0, 0, len(body), 1, 0)
        client.protocol.dataReceived(header + body)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.set(b"k")
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)


DOC = {"a": {"b": [1, {"c": None}]}, "n": 5, "x.y": "dot", "l": [1, "1", True], "s": "t"}


class PathTests(SynchronousTestCase):
    def test_paths(self) -> None:
        for text, expected in (
            (b"", []),
            (b"a", ["a"]),
            (b"a.b[1].c", ["a", "b", 1, "c"]),
            (b"[0][-1]", [0, -1]),
            (b"`x.y`", ["x.y"]),
            (b"a.`b``c`", ["a", "b`c"]),
        ):
            self.assertEqual(parse(text), expected)
        for text in (
            b".",
            b"a.",
            b"a..b",
            b"a[",
            b"a[x]",
            b"a[01]",
            b"a[-2]",
            b"`a",
            b"\xff",
            b"a b]",
        ):
            self.assertEqual(self.refusal(parse, text), Status.PATH_EINVAL, text)
        self.assertEqual(self.refusal(parse, b".".join([b"a"] * 32)), Status.PATH_E2BIG)
        self.assertEqual(len(parse(b".".join([b"a"] * 31))), 31)

    def refusal(self, function: Any, *args: Any) -> Status:
        with self.assertRaises(Refused) as raised:
            function(*args)
        return raised.exception.status

    def test_lookups(self) -> None:
        get, exists, count = Opcode.SUBDOC_GET, Opcode.SUBDOC_EXISTS, Opcode.SUBDOC_GET_COUNT
        for opcode, path, expected in (
            (get, b"a.b[1]", b'{"c":null}'),
            (get, b"l[-1]", b"true"),
            (get, b"`x.y`", b'"dot"'),
            (exists, b"a.b", b""),
            (count, b"l", b"3"),
            (count, b"a", b"1"),
            (get, b"nothing", Status.PATH_ENOENT),
            (get, b"l[3]", Status.PATH_ENOENT),
            (get, b"n.x", Status.PATH_MISMATCH),
            (get, b"a[0]", Status.PATH_MISMATCH),
            (count, b"s", Status.PATH_MISMATCH),
        ):
            if isinstance(expected, Status):
                self.assertEqual(self.refusal(LOOKUPS[opcode], DOC, parse(path)), expected, path)
            else:
                self.assertEqual(LOOKUPS[opcode](DOC, parse(path)), expected, path)

    def test_mutations(self) -> None:
        add, upsert = Opcode.SUBDOC_DICT_ADD, Opcode.SUBDOC_DICT_UPSERT
        remove, replace = Opcode.SUBDOC_DELETE, Opcode.SUBDOC_REPLACE
        last, first = Opcode.SUBDOC_ARRAY_PUSH_LAST, Opcode.SUBDOC_ARRAY_PUSH_FIRST
        insert, unique = Opcode.SUBDOC_ARRAY_INSERT, Opcode.SUBDOC_ARRAY_ADD_UNIQUE
        counter = Opcode.SUBDOC_COUNTER
        cases: list[tuple[int, bytes, bytes, bool, Any]] = [
            (add, b"new", b"1", False, ("new", 1)),
            (add, b"n", b"1", False, Status.PATH_EEXISTS),
            (upsert, b"n", b'"x"', False, ("n", "x")),
            (upsert, b"p.q", b"1", False, Status.PATH_ENOENT),
            (upsert, b"p.q", b"1", True, ("p", {"q": 1})),
            (upsert, b"l[0]", b"1", False, Status.PATH_EINVAL),
            (upsert, b"n", b"nonsense", False, Status.VALUE_CANTINSERT),
            (remove, b"n", b"", False, ("n", None)),
            (remove, b"l[0]", b"", False, ("l", ["1", True])),
            (remove, b"none", b"", False, Status.PATH_ENOENT),
            (replace, b"l[1]", b"{}", False, ("l", [1, {}, True])),
            (replace, b"none", b"1", True, Status.PATH_ENOENT),
            (last, b"l", b"7,8", False, ("l", [1, "1", True, 7, 8])),
            (first, b"l", b"7,8", False, ("l", [7, 8, 1, "1", True])),
            (last, b"fresh", b"1", False, Status.PATH_ENOENT),
            (last, b"fresh", b"1", True, ("fresh", [1])),
            (last, b"n", b"1", True, Status.PATH_MISMATCH),
            (insert, b"l[1]", b"9", False, ("l", [1, 9, "1", True])),
            (insert, b"l[4]", b"9", False, Status.PATH_ENOENT),
            (insert, b"l[-1]", b"9", False, Status.PATH_EINVAL),
            (unique, b"l", b"1", False, Status.PATH_EEXISTS),
            (unique, b"l", b"2", False, ("l", [1, "1", True, 2])),
            (unique, b"l", b"[]", False, Status.VALUE_CANTINSERT),
            (unique, b"a.b", b"2", False, Status.PATH_MISMATCH),
            (counter, b"n", b"3", False, ("n", 8)),
            (counter, b"fresh", b"-3", False, ("fresh", -3)),
            (counter, b"n", b"0", False, Status.DELTA_EINVAL),
            (counter, b"n", b"%d" % (2**63 - 1), False, Status.VALUE_CANTINSERT),
            (counter, b"s", b"1", False, Status.PATH_MISMATCH),
        ]
        for opcode, path, value, create, expected in cases:
            root = json.loads(json.dumps(DOC))
            change = MUTATIONS[opcode]
            if isinstance(expected, Status):
                status = self.refusal(change, root, parse(path), value, create)
                self.assertEqual(status, expected, (opcode, path, value))
            else:
                change(root, parse(path), value, create)
                self.assertEqual(root.get(expected[0]), expected[1], (opcode, path, value))

    def test_crc32c(self) -> None:
        # The check value of the CRC catalogue.
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)


class SubdocumentTests(NodeTestCase):
    def lookup(self, *specs: tuple[int, int, bytes], flags: bytes = b"") -> tuple[int, list[Any]]:
        value = b"".join(struct.pack(">BBH", o, f, len(p)) + p for o, f, p in specs)
        status, _, body, _ = self.client.ask(Opcode.SUBDOC_MULTI_LOOKUP, b"d", value, flags)
        found, at = [], 0
        while at < len(body):
            code, length = struct.unpack_from(">HI", body, at)
            found.append((code, body[at + 6 : at + 6 + length]))
            at += 6 + length
        return status, found

    def mutate(
        self, *specs: tuple[int, int, bytes, bytes], flags: bytes = b""
    ) -> tuple[int, bytes]:
        value = b"".join(struct.pack(">BBHI", o, f, len(p), len(v)) + p + v for o, f, p, v in specs)
        status, _, body, _ = self.client.ask(Opcode.SUBDOC_MULTI_MUTATION, b"d", value, flags)
        return status, body

    def test_lookup(self) -> None:
        get = Opcode.SUBDOC_GET
        self.assertEqual(self.lookup((get, 0, b"a"))[0], Status.KEY_ENOENT)
        self.set(b"d", b'{"a":[1,2]}')
        self.assertEqual(
            self.lookup((get, 0, b"a[1]"), (get, 0, b"b"), (Opcode.GET, 0, b"")),
            (
                Status.MULTI_PATH_FAILURE,
                [(0, b"2"), (Status.PATH_ENOENT, b""), (0, b'{"a":[1,2]}')],
            ),
        )
        self.assertEqual(self.lookup(*[(get, 0, b"a")] * 17)[0], Status.INVALID_COMBO)
        self.assertEqual(self.lookup((get, 0, b"a"), (get, 4, b"x"))[0], Status.INVALID_XATTR_ORDER)
        self.set(b"d", b"not json")
        self.assertEqual(self.lookup((get, 0, b"a"))[1], [(Status.DOC_NOTJSON, b"")])

    def test_mutations_are_all_or_nothing(self) -> None:
        upsert, replace = Opcode.SUBDOC_DICT_UPSERT, Opcode.SUBDOC_REPLACE
        self.set(b"d", b'{"a":1}')
        failed = self.mutate((upsert, 0, b"a", b"2"), (replace, 0, b"none", b"1"))
        self.assertEqual(failed, (Status.MULTI_PATH_FAILURE, b"\x01\x00\xc0"))
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[2], b'{"a":1}')
        status, body = self.mutate((upsert, 0, b"a", b"2"), (Opcode.SUBDOC_COUNTER, 0, b"n", b"4"))
        self.assertEqual((status, body), (0, b"\x01\x00\x00\x00\x00\x00\x014"))
        self.assertEqual(json.loads(self.client.ask(Opcode.GET, b"d")[2]), {"a": 2, "n": 4})

    def test_attributes_beside_a_body_that_is_no_json(self) -> None:
        # As transactions of the SDK write the record of their clients.
        add, whole = Opcode.SUBDOC_DICT_ADD, Opcode.SET
        made = self.mutate((add, 5, b"records.x", b"{}"), (whole, 0, b"", b"\0"), flags=b"\x02")
        self.assertEqual(made, (0, b""))
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[2], b"\0")

    def test_making_documents(self) -> None:
        upsert = (Opcode.SUBDOC_DICT_UPSERT, 0, b"a", b"1")
        self.assertEqual(self.mutate(upsert)[0], Status.KEY_ENOENT)
        self.assertEqual(self.mutate(upsert, flags=b"\x02")[0], 0)
        self.assertEqual(self.mutate(upsert, flags=b"\x02")[0], Status.KEY_EEXISTS)
        self.assertEqual(self.mutate(upsert, flags=b"\x01")[0], 0)

    def test_attributes(self) -> None:
        self.set(b"d", b"{}", expiry=100)
        upsert, get = Opcode.SUBDOC_DICT_UPSERT, Opcode.SUBDOC_GET
        status, _ = self.mutate(
            (upsert, 0x05, b"_sync.rev", b"7"), (upsert, 0x15, b"m.cas", b'"${Mutation.CAS}"')
        )
        self.assertEqual(status, 0)
        _, found = self.lookup(
            (get, 4, b"_sync.rev"), (get, 4, b"$document.exptime"), (get, 4, b"m.cas")
        )
        self.assertEqual(found[0], (0, b"7"))
        self.assertEqual(found[1], (0, b"%d" % (int(START) + 100)))
        cas = int.from_bytes(bytes.fromhex(json.loads(found[2][1])[2:]), "little")
        self.assertEqual(cas, self.client.ask(Opcode.GET, b"d")[3])
        self.assertEqual(self.lookup((get, 4, b"$nothing"))[1][0][0], Status.XATTR_UNKNOWN_VATTR)
        self.assertEqual(self.mutate((upsert, 4, b"$document.x", b"1"))[1][1:], b"\x00\xd2")
        # System attributes outlive the document, others do not.
        self.client.ask(Opcode.DELETE, b"d")
        status, found = self.lookup((get, 4, b"_sync.rev"), (get, 4, b"m.cas"), flags=b"\x04")
        self.assertEqual(status, Status.MULTI_PATH_FAILURE_DELETED)
        self.assertEqual([code for code, _ in found], [0, Status.PATH_ENOENT])

    def test_one_path(self) -> None:
        self.set(b"d", b'{"a":1}')
        extras = struct.pack(">HB", 1, 0)
        self.assertEqual(self.client.ask(Opcode.SUBDOC_GET, b"d", b"a", extras)[2], b"1")
        self.assertEqual(self.status(Opcode.SUBDOC_DICT_UPSERT, b"d", b"a2", extras), 0)
        self.assertEqual(self.client.ask(Opcode.SUBDOC_GET, b"d", b"a", extras)[2], b"2")

    def test_random_specs_do_no_harm(self) -> None:
        random = Random(7)
        self.set(b"d", b'{"a":[1,{"b":2}]}')
        for _ in range(2000):
            opcode = random.choice((Opcode.SUBDOC_MULTI_LOOKUP, Opcode.SUBDOC_MULTI_MUTATION))
            value = bytes(
                random.choice((0, 1, 4, 0xC5, 0xC8, 0xCF, 0x61, 0x31, 0x5B))
                for _ in range(random.randrange(30))
            )
            self.client.ask(opcode, b"d", value, bytes(random.randrange(2)))
        self.assertEqual(self.flushLoggedErrors(), [])


class LoadTests(SynchronousTestCase):
    def test_json_lines(self) -> None:
        node = EmbeddedNode(reactor=Clock())
        lines = [
            json.dumps({"id": "a", "value": {"n": 1}}),
            "",
            json.dumps({"id": "b", "value": 2, "scope": "s", "collection": "c", "expiry": 60}),
        ]
        self.assertEqual(node.load(lines), 2)
        self.assertEqual(len(node._bucket("default").documents), 2)
        for broken in ("{", '{"id": "a"}', "[]", '{"id": "", "value": 1}'):
            with self.assertRaises(ValueError) as raised:
                node.load(["", broken])
            self.assertIn("line 2", str(raised.exception))
