"""What transactions need of the embedded node: staged documents, and transactions of queries."""

from __future__ import annotations

import json
import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sqlpp import QueryService
from tests.test_node_kv import NodeTestCase
from txcouchbase.testing.kv.bucket import vbucket_of
from txcouchbase.testing.kv.frames import Opcode
from txcouchbase.testing.kv.status import Status

UPSERT, REMOVE, GET = Opcode.SUBDOC_DICT_UPSERT, Opcode.SUBDOC_DELETE, Opcode.SUBDOC_GET
WHOLE, BODY = Opcode.SET, Opcode.SUBDOC_REPLACE_BODY_WITH_XATTR
CREATE, XATTR, MACRO, BINARY = 0x01, 0x04, 0x10, 0x20
ADD, ACCESS_DELETED, AS_DELETED, REVIVE = 0x02, 0x04, 0x08, 0x10
STAGE = ADD | ACCESS_DELETED | AS_DELETED

Spec = tuple[int, int, bytes, bytes]


class StagingTests(NodeTestCase):
    """A document as the C++ client stages, commits and rolls it back."""

    def mutate(
        self, *specs: Spec, flags: int = 0, cas: int = 0, user_flags: int | None = None
    ) -> tuple[int, bytes, int]:
        body = b"".join(
            struct.pack(">BBHI", opcode, flag, len(path), len(value)) + path + value
            for opcode, flag, path, value in specs
        )
        extras = bytes([flags]) if flags else b""
        if user_flags is not None:
            extras = struct.pack(">II", 0, user_flags) + extras
        status, _, value, cas = self.client.ask(
            Opcode.SUBDOC_MULTI_MUTATION, b"d", body, extras, cas
        )
        return status, value, cas

    def lookup(self, path: bytes, flags: int = XATTR, deleted: bool = True) -> tuple[int, bytes]:
        spec = struct.pack(">BBH", GET, flags, len(path)) + path
        status, _, value, _ = self.client.ask(
            Opcode.SUBDOC_MULTI_LOOKUP, b"d", spec, b"\x04" if deleted else b""
        )
        if not value:
            return status, b""
        return struct.unpack_from(">H", value)[0], value[6:]

    def stage(self, content: bytes = b'{"n":1}', flags: int = STAGE, **others: Any) -> Any:
        return self.mutate(
            (UPSERT, XATTR | CREATE, b"txn", b'{"id":{"atmpt":"A"},"op":{"type":"insert"}}'),
            (UPSERT, XATTR, b"txn.op.stgd", content),
            (UPSERT, XATTR | CREATE | MACRO, b"txn.op.crc32", b'"${Mutation.value_crc32c}"'),
            flags=flags,
            **others,
        )

    def commit(self, cas: int = 0, flags: int = ACCESS_DELETED | REVIVE, **others: Any) -> Any:
        return self.mutate(
            (BODY, XATTR, b"txn.op.stgd", b""),
            (REMOVE, XATTR, b"txn", b""),
            flags=flags,
            cas=cas,
            **others,
        )

    def test_a_staged_insert_is_seen_by_nobody_until_it_is_committed(self) -> None:
        status, _, cas = self.stage(user_flags=0x02000000)
        self.assertEqual(status, Status.SUCCESS_DELETED)
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[0], Status.KEY_ENOENT)
        self.assertEqual(self.lookup(b"txn.id.atmpt"), (0, b'"A"'))
        self.assertEqual(self.lookup(b"txn", deleted=False)[0], Status.KEY_ENOENT)
        crc = json.loads(self.lookup(b"$document")[1])["value_crc32c"]
        self.assertEqual(json.loads(self.lookup(b"txn.op.crc32")[1]), crc)
        self.assertEqual(self.stage()[0], Status.KEY_EEXISTS, "another one must look at it first")
        self.assertEqual(self.commit(cas=cas + 1)[0], Status.KEY_EEXISTS)
        self.assertEqual(self.commit(cas=cas, user_flags=0x02000006)[0], 0)
        status, flags, value, _ = self.client.ask(Opcode.GET, b"d")
        self.assertEqual((status, value, flags), (0, b'{"n":1}', struct.pack(">I", 0x02000006)))
        self.assertEqual(self.lookup(b"txn")[0], Status.PATH_ENOENT)
        self.assertNotIn(b"\0d", self.state.buckets["default"].tombstones)
        self.stage(flags=ACCESS_DELETED)
        self.assertEqual(self.commit()[0], Status.CAN_ONLY_REVIVE_DELETED)

    def test_a_staged_insert_rolled_back(self) -> None:
        _, _, cas = self.stage()
        remove = (REMOVE, XATTR, b"txn", b"")
        self.assertEqual(self.mutate(remove)[0], Status.KEY_ENOENT)
        status, *_ = self.mutate(remove, flags=ACCESS_DELETED, cas=cas)
        self.assertEqual(status, Status.SUCCESS_DELETED)
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[0], Status.KEY_ENOENT)
        self.assertEqual(self.lookup(b"txn")[0], Status.PATH_ENOENT)
        self.assertEqual(self.client.ask(Opcode.ADD, b"d", b"1", bytes(8))[0], 0)

    def test_a_staged_replace_keeps_the_document_as_it_was(self) -> None:
        self.client.ask(Opcode.SET, b"d", b'{ "n": 0 }', struct.pack(">II", 7, 1000))
        cas = self.client.ask(Opcode.GET, b"d")[3]
        self.assertEqual(self.stage(flags=ACCESS_DELETED, cas=cas, user_flags=7)[0], 0)
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[2], b'{ "n": 0 }')
        self.assertNotEqual(json.loads(self.lookup(b"$document")[1])["exptime"], 0)
        self.assertEqual(
            self.stage(flags=ACCESS_DELETED, cas=cas)[0], Status.KEY_EEXISTS, "a conflict"
        )
        self.assertEqual(self.commit(flags=0)[0], 0)
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[2], b'{"n":1}')

    def test_staged_bytes(self) -> None:
        txn = (UPSERT, XATTR | CREATE, b"txn", b'{"op":{}}')
        path = b"txn.op.bin"
        self.mutate(txn, (UPSERT, XATTR | BINARY, path, b"\x00\xff"), flags=STAGE)
        self.assertEqual(self.lookup(path, XATTR | BINARY), (0, b"\x00\xff"))
        self.assertEqual(self.lookup(b"txn.op", XATTR | BINARY)[0], Status.PATH_MISMATCH)
        flags = ACCESS_DELETED | REVIVE
        self.assertEqual(self.mutate((BODY, XATTR | BINARY, path, b""), flags=flags)[0], 0)
        self.assertEqual(self.client.ask(Opcode.GET, b"d")[2], b"\x00\xff")

    def test_refused(self) -> None:
        self.assertEqual(self.mutate((BODY, 0, b"txn", b""), flags=ADD)[1][1:], b"\x00\xce")
        self.assertEqual(self.mutate((BODY, XATTR, b"", b""), flags=ADD)[1][1:], b"\x00\xce")
        self.assertEqual(self.mutate((BODY, XATTR, b"a", b""), flags=ADD)[1][1:], b"\x00\xc0")
        status, *_ = self.mutate((UPSERT, 0, b"a", b"1"), flags=STAGE)
        self.assertEqual(status, Status.DELETED_DOCUMENT_CANT_HAVE_VALUE)
        wrong = BINARY | MACRO | XATTR | CREATE
        self.assertEqual(self.mutate((UPSERT, wrong, b"a", b"1"), flags=ADD)[1][1:], b"\x00\xce")


class QueryTransactionTests(SynchronousTestCase):
    """Transactions of the query service, request by request."""

    def setUp(self) -> None:
        self.service = QueryService()
        self.ask, self.rows = self.service.ask, self.service.rows
        self.rows("CREATE PRIMARY INDEX ON b")

    def begin(self, **parameters: Any) -> str:
        (row,) = self.rows("BEGIN WORK", **parameters)
        identity: str = row["txid"]
        return identity

    def names(self, **parameters: Any) -> list[Any]:
        return self.rows("SELECT RAW name FROM b ORDER BY name", **parameters)

    def error(self, statement: str, **parameters: Any) -> int:
        return self.service.error(statement, **parameters)[0]

    def test_committed(self) -> None:
        txid = self.begin()
        self.rows("INSERT INTO b VALUES ('d9', {'name': 'Eve'})", txid=txid)
        self.rows("UPDATE b SET name = 'Zoe' WHERE name = 'Ann'", txid=txid)
        self.rows("DELETE FROM b USE KEYS 'd2'", txid=txid)
        self.assertEqual(self.names(txid=txid), ["Cid", "Dan", "Eve", "Zoe"])
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"], "nobody else sees it")
        self.assertEqual(self.error("INSERT INTO b VALUES ('d9', 1)", txid=txid), 17012)
        self.assertEqual(self.names(txid=txid), ["Cid", "Dan", "Eve", "Zoe"])
        self.rows("INSERT INTO b VALUES ('d2', {'name': 'Bea'})", txid=txid)
        self.rows("DELETE FROM b USE KEYS 'd9'", txid=txid)
        _, answer = self.ask("COMMIT TRANSACTION", txid=txid)
        self.assertEqual(answer["metrics"]["mutationCount"], 2)
        self.assertEqual(self.names(), ["Bea", "Cid", "Dan", "Zoe"])
        self.assertEqual(self.error("COMMIT", txid=txid), 17004)

    def test_rolled_back(self) -> None:
        txid = self.begin()
        self.rows("UPDATE b SET name = 'Zoe'", txid=txid)
        self.rows("ROLLBACK WORK", txid=txid)
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"])
        self.assertEqual(self.error("SELECT 1", txid=txid), 17004)

    def test_a_statement_that_fails_is_undone_alone(self) -> None:
        txid = self.begin()
        self.rows("UPSERT INTO b VALUES ('d8', {'name': 'Eve'})", txid=txid)
        failing = "INSERT INTO b VALUES ('d9', {'name': 'Fay'}), ('d1', 1)"
        self.assertEqual(self.error(failing, txid=txid), 17012)
        self.rows("COMMIT", txid=txid)
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan", "Eve"])

    def test_conflicts(self) -> None:
        for change in ("UPDATE b SET x = 1 WHERE name = 'Ann'", "DELETE FROM b USE KEYS 'd1'"):
            txid = self.begin()
            self.rows(
                "UPDATE b SET name = UPPER(name) WHERE name LIKE '%n' OR name = 'Bob'", txid=txid
            )
            before = self.names()
            self.rows(change)
            _, answer = self.ask("COMMIT", txid=txid)
            (error,) = answer["errors"]
            self.assertEqual(error["code"], 17007)
            self.assertEqual((error["cause"]["retry"], error["cause"]["rollback"]), (True, True))
            self.assertLessEqual(set(self.names()), set(before), "all or nothing")
        txid = self.begin()
        self.rows("INSERT INTO b VALUES ('new', 1)", txid=txid)
        self.rows("INSERT INTO b VALUES ('new', 2)")
        self.assertEqual(self.error("COMMIT", txid=txid), 17007)

    def test_a_bucket_that_is_gone(self) -> None:
        txid = self.begin()
        self.rows("INSERT INTO c VALUES ('new', 1)", txid=txid)
        self.rows("UPDATE b SET name = 'x'", txid=txid)
        gone = self.service.state.buckets["c"]
        self.service.state.drop_bucket("c")
        self.assertEqual(self.error("COMMIT", txid=txid), 17007)
        self.assertEqual(gone.documents, {})
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"])

    def test_expired(self) -> None:
        txid = self.begin(txtimeout="5s")
        self.rows("SELECT 1", txid=txid)
        self.service.now += 5
        self.assertEqual(self.error("SELECT 1", txid=txid), 17010)
        self.assertEqual(self.error("SELECT 1", txid=txid), 17004)

    def test_out_of_order(self) -> None:
        txid = self.begin()
        self.assertEqual(self.error("BEGIN WORK", txid=txid), 17005)
        self.assertEqual(self.error("ROLLBACK"), 17005)
        self.assertEqual(self.error("CREATE INDEX i ON b(name)", txid=txid), 17002)
        for refused in ("SAVEPOINT s", "ROLLBACK TO SAVEPOINT s"):
            self.assertEqual(self.error(refused, txid=txid), 1020)

    def test_one_statement_as_a_transaction(self) -> None:
        failing = "INSERT INTO b VALUES ('d9', {'name': 'Fay'}), ('d1', 1)"
        self.assertEqual(self.error(failing, tximplicit=True), 17012)
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"])
        self.rows("UPDATE b SET name = 'x'", tximplicit=True)
        self.assertEqual(self.names(), ["x"] * 4)

    def kv(self, request: str, *args: Any, txid: str, **txdata: Any) -> Any:
        place = "default:`b`.`_default`.`_default`"
        data = {"kv": True} | txdata
        return self.ask(f"EXECUTE {request}", args=[place, *args], txid=txid, txdata=data)[1]

    def test_requests_of_a_client(self) -> None:
        txid = self.begin(txdata={"id": {"txn": "T", "atmpt": "A"}})
        self.assertEqual(txid, "A")
        (found,) = self.kv("__get", "d2", txid=txid)["results"]
        self.assertEqual(found["doc"]["name"], "Bob")
        self.kv("__update", "d2", {"name": "Bo"}, {}, txid=txid, scas=found["scas"])
        again = self.kv("__update", "d2", {"name": "Bo"}, {}, txid=txid, scas=found["scas"])
        self.assertEqual(again["errors"][0]["code"], 17015)
        (added,) = self.kv("__insert", "d9", {"name": "Eve"}, {}, txid=txid)["results"]
        twice = self.kv("__insert", "d9", {"name": "Eve"}, {}, txid=txid)
        self.assertEqual(twice["errors"][0]["code"], 17012)
        self.kv("__delete", "d1", txid=txid)
        for request in ("__get", "__delete"):
            gone = self.kv(request, "d1", txid=txid)
            self.assertEqual(gone["errors"][0]["code"], 17014)
        self.kv("__delete", "d9", txid=txid, scas=added["scas"])
        self.rows("COMMIT", txid=txid, txdata={"kv": True})
        self.assertEqual(self.names(), ["Bo", "Cid", "Dan"])

    def staged_in_document(self, key: str, kind: str, value: Any) -> str:
        """Stage something as a client does; returns the CAS."""
        bucket = self.service.state.buckets["b"]
        wire = b"\0" + key.encode()
        document = bucket.documents.get(wire)
        txn = {"id": {"atmpt": "A"}, "op": {"type": kind, "stgd": value}}
        stored = bucket.store(
            wire,
            vbucket_of(key.encode()),
            document,
            b"" if document is None else document.value,
            0,
            self.service.now,
            datatype=1,
            xattrs=json.dumps({"txn": txn, "mine": 1}),
            deleted=document is None,
        )
        return str(stored.cas)

    def adopting(self) -> dict[str, Any]:
        self.service.storage.put("_txn:atr", {}, bucket="b")
        bucket = self.service.state.buckets["b"]
        bucket.documents[b"\0_txn:atr"].xattrs = json.dumps({"attempts": {"A": {}, "B": {}}})
        place = {"bkt": "b", "scp": "_default", "coll": "_default"}
        staged = (
            ("d1", "replace", {"name": "Al"}),
            ("d2", "remove", 0),
            ("d9", "insert", {"name": "Zed"}),
        )
        return {
            "id": {"txn": "T", "atmpt": "A"},
            "atr": place | {"id": "_txn:atr"},
            "mutations": [
                place | {"id": key, "cas": self.staged_in_document(key, kind, value)}
                for key, kind, value in staged
            ],
        }

    def attributes(self, key: str) -> Any:
        bucket = self.service.state.buckets["b"]
        wire = b"\0" + key.encode()
        document = bucket.documents.get(wire) or bucket.tombstones[wire]
        return json.loads(document.xattrs)

    def test_what_a_client_has_staged_before(self) -> None:
        txdata = self.adopting()
        txid = self.begin(txdata=txdata)
        self.assertEqual(self.names(txid=txid), ["Al", "Cid", "Dan", "Zed"])
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"])
        blocked = self.begin()
        self.assertEqual(self.error("DELETE FROM b USE KEYS 'd1'", txid=blocked), 17020)
        self.rows("UPDATE b USE KEYS 'd9' SET name = 'New'", txid=txid)
        self.rows("COMMIT", txid=txid)
        self.assertEqual(self.names(), ["Al", "Cid", "Dan", "New"])
        self.assertEqual(self.attributes("d1"), {"mine": 1})
        self.assertEqual(self.attributes("d9"), {"mine": 1})
        self.assertEqual(self.attributes("_txn:atr"), {"attempts": {"B": {}}})

    def test_what_a_client_has_staged_before_is_rolled_back(self) -> None:
        txdata = self.adopting()
        txid = self.begin(txdata=txdata)
        self.rows("DELETE FROM b USE KEYS 'd9'", txid=txid)
        self.rows("ROLLBACK", txid=txid)
        self.assertEqual(self.names(), ["Ann", "Bob", "Cid", "Dan"])
        for key in ("d1", "d2", "d9"):
            self.assertEqual(self.attributes(key), {"mine": 1})
        self.assertEqual(self.attributes("_txn:atr"), {"attempts": {"B": {}}})
        self.assertEqual(self.error("BEGIN WORK", txdata=txdata), 17020, "changed since")

    def test_wrong_requests(self) -> None:
        for wrong in (5, "x", {"id": 5}, {"mutations": [{}]}, {"atr": {"bkt": "b"}}):
            self.assertIn(self.error("BEGIN WORK", txdata=wrong), (1040, 1070))
        place = {"bkt": "b", "scp": "_default", "coll": "_default", "id": "d1"}
        numbers = (("x", 1040), ("9" * 5000, 1040), ("1\n", 1040), ("9" * 20, 17020), ("1", 17020))
        for cas, code in numbers:
            told: dict[str, Any] = {"id": {"atmpt": "A"}, "mutations": [place | {"cas": cas}]}
            # It was not begun: its name is free.
            self.assertEqual(self.error("BEGIN WORK", txdata=told), code)
        self.assertEqual(self.error("BEGIN WORK", txdata={"atr": place | {"bkt": "no"}}), 12003)
        self.assertEqual(self.error("EXECUTE __get", txdata={"kv": True}), 17004)
        txid = self.begin()
        for args in ([], ["b", "k"], ["default:`b`.`_default`.`_default`", 5]):
            parameters = {"args": args, "txid": txid, "txdata": {"kv": True}}
            self.assertEqual(self.error("EXECUTE __get", **parameters), 1070)
        self.assertEqual(self.error("EXECUTE __get", txid=txid), 4040, "no client's request")

    def test_records_of_transactions_are_in_no_index(self) -> None:
        self.service.storage.put("_txn:atr", {"name": "no"}, bucket="b")
        self.assertNotIn("no", self.names())
