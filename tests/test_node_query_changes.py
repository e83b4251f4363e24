"""SQL++ of the embedded node: INSERT, UPSERT, UPDATE and DELETE."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sqlpp import START, QueryService
from txcouchbase.testing.kv.bucket import LOCKED_CAS

UPDATES: list[tuple[Any, str, Any]] = [
    ({"a": 1}, "SET a = 2", {"a": 2}),
    ({"a": 1}, "SET b = a + 1", {"a": 1, "b": 2}),
    ({"a": 1, "b": 2}, "SET a = b, b = a", {"a": 2, "b": 1}),
    ({"a": {"b": 1}}, "SET a.b = 2, a.c = 3", {"a": {"b": 2, "c": 3}}),
    ({"a": 1}, "SET x.y = 1", {"a": 1}),
    ({"a": 1}, "SET a.y = 1", {"a": 1}),
    ({"a": [1, 2]}, "SET a[1] = 5", {"a": [1, 5]}),
    ({"a": [1, 2]}, "SET a[9] = 5", {"a": [1, 2]}),
    ({"a": [{"n": 1}]}, "SET a[0].n = 5", {"a": [{"n": 5}]}),
    ({"a": 1}, "SET `x y` = 1", {"a": 1, "x y": 1}),
    ({"a": 1}, "SET t.['b' || 'c'] = 1", {"a": 1, "bc": 1}),
    ({"a": 1}, "SET a = NULL", {"a": None}),
    ({"a": 1}, "SET a = MISSING", {}),
    ({"a": 1, "b": 2}, "UNSET a", {"b": 2}),
    ({"a": 1}, "UNSET x, x.y", {"a": 1}),
    ({"a": {"b": 1, "c": 2}}, "UNSET a.b", {"a": {"c": 2}}),
    ({"a": 1}, "SET b = 1 UNSET a", {"b": 1}),
    ({"a": [1, 2]}, "UNSET a[0]", {"a": [None, 2]}),
    ({"a": 1}, "SET t = {'n': 1}", {"n": 1}),
    ({"l": [{"n": 1}, {"n": 2}]}, "SET v.n = 9 FOR v IN l END", {"l": [{"n": 9}, {"n": 9}]}),
    (
        {"l": [{"n": 1}, {"n": 2}]},
        "SET v.n = v.n * 10 FOR v IN l WHEN v.n > 1 END",
        {"l": [{"n": 1}, {"n": 20}]},
    ),
    ({"l": [{"n": 1}, {"n": 2}]}, "UNSET v.n FOR v IN l WHEN v.n = 1 END", {"l": [{}, {"n": 2}]}),
    ({"l": [{"n": 0}, {"n": 0}]}, "SET v.n = i FOR i: v IN l END", {"l": [{"n": 0}, {"n": 1}]}),
    ({"l": [1, 2]}, "SET l[i] = v + 1 FOR i: v IN l END", {"l": [2, 3]}),
    ({"o": {"p": [{"n": 1}]}}, "SET v.n = 2 FOR v WITHIN o END", {"o": {"p": [{"n": 2}]}}),
    ({"a": 1}, "SET v.n = 1 FOR v IN l END", {"a": 1}),
    (
        {"l": [{"i": 1, "s": [{}, {}]}, {"i": 2, "s": [{}]}, {"i": 1}]},
        "SET j.p = i.i FOR j IN i.s FOR i IN l WHEN i.i = 1 END",
        {"l": [{"i": 1, "s": [{"p": 1}, {"p": 1}]}, {"i": 2, "s": [{}]}, {"i": 1}]},
    ),
    (
        {"l": [[[{"n": 1}], [{"n": 2}]], [[{"n": 3}]]]},
        "UNSET k.n FOR k IN j FOR p: j IN i FOR i IN l WHEN p = 0 END",
        {"l": [[[{}], [{"n": 2}]], [[{}]]]},
    ),
    ({"a": 1}, "SET l = (SELECT RAW x FROM [2, 1] AS x ORDER BY x)", {"a": 1, "l": [1, 2]}),
    ({"a": {"b": 1}}, "SET c = a, c.b = 2", {"a": {"b": 1}, "c": {"b": 2}}),
]

REFUSED: list[tuple[str, int]] = [
    ("INSERT INTO b (KEY, VALUE) VALUES (1, {})", 5070),
    ("INSERT INTO b (KEY, VALUE) VALUES (MISSING, {})", 5050),
    ("INSERT INTO b (KEY, VALUE) VALUES ('k', MISSING)", 5060),
    ("UPSERT INTO b (KEY, VALUE) VALUES (1, {})", 5078),
    ("UPSERT INTO b (KEY, VALUE) VALUES (MISSING, {})", 5072),
    ("UPSERT INTO b (KEY, VALUE) VALUES ('k', MISSING)", 5075),
    ("INSERT INTO b (KEY, VALUE, OPTIONS) VALUES ('k', 1, 5)", 5071),
    ("UPSERT INTO b (KEY, VALUE, OPTIONS) VALUES ('k', 1, 5)", 5079),
    ("INSERT INTO b (KEY, VALUE, OPTIONS) VALUES ('k', 1, {'x': 1})", 1020),
    ("INSERT INTO b (KEY, VALUE) VALUES ('', {})", 12009),
    ("INSERT INTO b (KEY, VALUE) VALUES (REPEAT('x', 251), {})", 12009),
    ("INSERT INTO b (KEY, VALUE) VALUES ('k')", 3000),
    ("INSERT INTO b VALUES ('k', 1", 3000),
    ("INSERT INTO nope (KEY, VALUE) VALUES ('k', 1)", 12003),
    ("INSERT INTO system:indexes (KEY, VALUE) VALUES ('k', 1)", 1020),
    ("UPDATE b USE KEYS 'd1'", 3000),
    ("UPDATE b USE KEYS 'd1' SET 1 = 2", 3000),
    ("UPDATE b USE KEYS 'd1' SET UPPER('a') = 2", 3000),
    ("UPDATE b USE KEYS 'd1' SET META().cas = 2", 1020),
    ("UPDATE b USE KEYS 'd1' SET META().xattrs = {}", 1020),
    ("UPDATE b USE KEYS 'd1' SET META().xattrs.a.b = 1", 1020),
    ("UPDATE b USE KEYS 'd1' SET META().['expiration'] = 1", 1020),
    ("UPDATE b USE KEYS 'd1' UNSET META().xattrs.a[0]", 1020),
    ("UPDATE b USE KEYS 'd1' SET META().`Expiration`i = 1", 1020),
    ("UPDATE b USE KEYS 'd1' SET address.`City`i = 1", 1020),
    ("UPDATE b USE KEYS 'd1' SET v = 2 FOR v IN tags END", 1020),
    ("UPDATE c SET a = 1", 4000),
    ("DELETE FROM c", 4000),
    ("DELETE FROM c WHERE a = 1", 4000),
    ("DELETE FROM b USE KEYS 'd1' LIMIT 'a'", 5030),
]


class ChangeTests(SynchronousTestCase):
    """What statements do to documents."""

    def setUp(self) -> None:
        self.service = QueryService()
        self.service.rows("CREATE PRIMARY INDEX ON b")

    def stored(self, key: str) -> Any:
        document = self.service.storage.get(key, bucket="b")
        return None if document is None else document.value

    def test_insert(self) -> None:
        rows = self.service.rows(
            "INSERT INTO b (KEY, VALUE) VALUES ('k1', {'n': 1}), VALUES ('k2', [1, NULL]) "
            "RETURNING META().id, n, b"
        )
        self.assertEqual(rows, [{"id": "k1", "n": 1, "b": {"n": 1}}, {"id": "k2", "b": [1, None]}])
        self.assertEqual((self.stored("k1"), self.stored("k2")), ({"n": 1}, [1, None]))
        document = self.service.storage.get("k1", bucket="b")
        assert document is not None
        self.assertEqual((document.flags, document.expiry), (0x02000006, 0))

    def test_insert_of_what_exists_leaves_it_and_goes_on(self) -> None:
        code, answer = self.service.ask(
            "INSERT INTO b (KEY, VALUE) VALUES ('d1', 1), ('new', 2) RETURNING RAW META().id"
        )
        self.assertEqual((code, answer["results"]), (200, ["new"]))
        self.assertEqual(answer["status"], "errors")
        (error,) = answer["errors"]
        self.assertEqual((error["code"], error["reason"]["code"]), (12009, 17012))
        self.assertIn("d1", error["msg"])
        self.assertEqual(answer["metrics"]["mutationCount"], 1)
        self.assertEqual(answer["metrics"]["errorCount"], 1)
        self.assertEqual((self.stored("d1")["name"], self.stored("new")), ("Ann", 2))

    def test_insert_of_a_query(self) -> None:
        rows = self.service.rows(
            "INSERT INTO b (KEY 'copy-' || id, VALUE doc) "
            "SELECT META(t).id AS id, t AS doc FROM b AS t WHERE t.age = 25 RETURNING RAW META().id"
        )
        self.assertEqual(rows, ["copy-d2", "copy-d3"])
        self.assertEqual(self.stored("copy-d2"), self.stored("d2"))
        self.service.rows(
            "UPSERT INTO b (KEY k, VALUE {'v': v}, OPTIONS {'expiration': e}) "
            "SELECT 'q' AS k, 1 AS v, 50 AS e"
        )
        self.assertEqual(self.stored("q"), {"v": 1})
        document = self.service.storage.get("q", bucket="b")
        assert document is not None
        self.assertEqual(document.expiry, START + 50)
        self.service.rows("INSERT INTO b (KEY UUID()) SELECT 7 AS seven")
        (key,) = self.service.rows("SELECT RAW META().id FROM b WHERE seven = 7")
        self.assertEqual(self.stored(key), {"seven": 7})

    def test_a_query_does_not_see_what_its_statement_inserts(self) -> None:
        self.service.rows("INSERT INTO b (KEY k) SELECT 'z' || META(t).id AS k FROM b AS t")
        self.assertEqual(self.service.rows("SELECT RAW COUNT(*) FROM b"), [8])

    def test_upsert(self) -> None:
        rows = self.service.rows(
            "UPSERT INTO b AS t (KEY, VALUE) VALUES ('d1', {'n': 1}), ('k', $1) RETURNING t.*",
            args=[{"n": 2}],
        )
        self.assertEqual(rows, [{"n": 1}, {"n": 2}])
        self.assertEqual((self.stored("d1"), self.stored("k")), ({"n": 1}, {"n": 2}))

    def test_updates(self) -> None:
        wrong = []
        for before, terms, after in UPDATES:
            self.service.storage.put("u", before, bucket="b")
            _, answer = self.service.ask(f"UPDATE b AS t USE KEYS 'u' {terms} RETURNING RAW t")
            found = self.stored("u")
            if found != after or answer["results"] != [after]:
                wrong.append((before, terms, after, found, answer))
        self.assertEqual(wrong, [])

    def test_update_of_many(self) -> None:
        rows = self.service.rows("UPDATE b SET seen = age WHERE age = 25 RETURNING META().id, seen")
        self.assertEqual(rows, [{"id": "d2", "seen": 25}, {"id": "d3", "seen": 25}])
        _, answer = self.service.ask("UPDATE b SET n = 1 LIMIT 3")
        self.assertEqual((answer["results"], answer["metrics"]["mutationCount"]), ([], 3))
        self.assertEqual(self.service.rows("SELECT RAW COUNT(n) FROM b"), [3])
        _, answer = self.service.ask("UPDATE b USE KEYS ['d1', 'nope'] SET n = 2")
        self.assertEqual(answer["metrics"]["mutationCount"], 1)

    def test_delete(self) -> None:
        rows = self.service.rows("DELETE FROM b WHERE age = 25 RETURNING META().id, name")
        self.assertEqual(rows, [{"id": "d2", "name": "Bob"}, {"id": "d3", "name": "Cid"}])
        self.assertEqual(self.service.rows("SELECT RAW META().id FROM b"), ["d1", "d4"])
        self.service.rows("DELETE FROM b AS t USE KEYS ['d1', 'nope']")
        self.assertEqual(self.service.rows("SELECT RAW META().id FROM b"), ["d4"])
        self.service.rows("DELETE FROM b LIMIT 0")
        self.assertEqual(self.service.rows("DELETE FROM b LIMIT 1 RETURNING RAW META().id"), ["d4"])

    def test_delete_with_offset(self) -> None:
        rows = self.service.rows("DELETE FROM b LIMIT 2 OFFSET 1 RETURNING RAW META().id")
        self.assertEqual(rows, ["d2", "d3"])

    def test_mutations_draw_cas_and_sequence_numbers(self) -> None:
        before = self.service.storage.get("d1", bucket="b")
        bucket = self.service.state.buckets["b"]
        drawn = sum(bucket.seqnos)
        self.service.rows("UPDATE b USE KEYS 'd1' SET n = 1")
        after = self.service.storage.get("d1", bucket="b")
        assert before is not None and after is not None
        self.assertGreater(after.cas, before.cas)
        self.assertEqual(sum(bucket.seqnos), drawn + 1)
        self.assertEqual(
            self.service.rows("SELECT RAW META().cas FROM b USE KEYS 'd1'"), [after.cas]
        )

    def test_locked_documents_are_left_alone(self) -> None:
        self.service.storage.lock("d1", bucket="b")
        for statement in (
            "UPDATE b USE KEYS 'd1' SET n = 1",
            "UPSERT INTO b (KEY, VALUE) VALUES ('d1', 1)",
            "DELETE FROM b USE KEYS 'd1'",
        ):
            _, answer = self.service.ask(statement)
            (error,) = answer["errors"]
            self.assertEqual(error["code"], 12009, statement)
            self.assertIn("LOCKED", error["reason"]["message"])
        self.assertEqual(self.stored("d1")["name"], "Ann")
        cas = self.service.rows("SELECT RAW META().cas FROM b USE KEYS 'd1'")
        self.assertEqual(cas, [LOCKED_CAS])
        self.service.now += 60
        self.service.rows("DELETE FROM b USE KEYS 'd1'")

    def test_a_document_that_changed_since_it_was_read_is_not_overwritten(self) -> None:
        for number in range(50):
            self.service.storage.put(f"n{number:02}", {"n": number}, bucket="b")
        chunks = self.service.batches(
            "UPDATE b SET m = n WHERE n IS NOT MISSING RETURNING RAW META().id"
        )
        # Batches grow: the answer has begun, and most documents wait.
        first = next(chunks)
        self.service.storage.put("n49", {"n": 490}, bucket="b")
        body = (first + b"".join(chunks)).decode()
        self.assertIn('"status":"success"', body)
        self.assertEqual(self.stored("n49"), {"n": 490, "m": 490})

    def test_expiry(self) -> None:
        def expiry(key: str) -> int:
            document = self.service.storage.get(key, bucket="b")
            assert document is not None
            return document.expiry

        self.service.rows(
            "INSERT INTO b (KEY, VALUE, OPTIONS) VALUES ('e', {}, {'expiration': 100})"
        )
        self.assertEqual(expiry("e"), START + 100)
        self.service.rows("UPDATE b USE KEYS 'e' SET n = 1", preserve_expiry=True)
        self.assertEqual(expiry("e"), START + 100)
        self.service.rows("UPSERT INTO b (KEY, VALUE) VALUES ('e', {})", preserve_expiry=True)
        self.assertEqual(expiry("e"), START + 100)
        self.service.rows("UPDATE b USE KEYS 'e' SET n = META().expiration", preserve_expiry=True)
        self.assertEqual(self.stored("e"), {"n": START + 100})
        self.service.rows("UPDATE b USE KEYS 'e' SET META().expiration = 500")
        self.assertEqual(expiry("e"), START + 500)
        self.service.rows("UPDATE b USE KEYS 'e' SET META(b).expiration = 0, n = 1")
        self.assertEqual(expiry("e"), 0)
        self.service.rows("UPDATE b USE KEYS 'e' SET META().expiration = 500")
        self.service.rows("UPDATE b USE KEYS 'e' SET n = 2")
        self.assertEqual(expiry("e"), 0)

    def test_collections(self) -> None:
        self.service.rows("INSERT INTO b.s.col (KEY, VALUE) VALUES ('d1', 'in the collection')")
        self.service.rows(
            "INSERT INTO col (KEY, VALUE) VALUES ('d2', 2)", query_context="default:b.s"
        )
        read = "SELECT RAW x FROM col AS x USE KEYS ['d1', 'd2']"
        self.assertEqual(self.service.rows(read, query_context="b.s"), ["in the collection", 2])
        self.assertEqual(self.stored("d1")["name"], "Ann")

    def test_documents_that_are_no_json(self) -> None:
        bucket = self.service.state.buckets["b"]
        bucket.store(b"\0raw", 0, None, b"\xff\x00", 0x03000000, START)
        rows = self.service.rows("SELECT META(t).id, META(t).type, t FROM b AS t USE KEYS 'raw'")
        self.assertEqual((rows[0]["id"], rows[0]["type"]), ("raw", "base64"))
        self.assertEqual(
            self.service.rows("SELECT RAW TYPE(t) FROM b t USE KEYS 'raw'"), ["binary"]
        )

    def test_refused(self) -> None:
        wrong = []
        for statement, expected in REFUSED:
            code, _ = self.service.error(statement)
            if code != expected:
                wrong.append((statement, expected, code))
        self.assertEqual(wrong, [])
        self.assertEqual(self.service.rows("SELECT RAW COUNT(*) FROM b"), [4])
