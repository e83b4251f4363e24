"""The analytics service of the embedded node: requests in, answers out."""

from __future__ import annotations

import copy
import json
import time
from itertools import count
from typing import Any, ClassVar

from tests.node_services import ServiceCase, whole
from txcouchbase.testing.analytics import service as analytics
from txcouchbase.testing.analytics.links import Link
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.storage import Storage


class AnalyticsTests(ServiceCase):
    """The analytics service."""

    service = "analytics"
    LINK: ClassVar = {"dataverse": "Default", "name": "l", "type": "couchbase", "hostname": "h"}

    def run_statement(self, statement: Any, **more: Any) -> tuple[int, Any]:
        return self.ask("POST", "/query/service", {"statement": statement} | more)

    def rows(self, statement: str, **more: Any) -> Any:
        status, answer = self.run_statement(statement, **more)
        self.assertEqual((status, answer["status"]), (200, "success"), answer)
        return answer["results"]

    def error(self, statement: Any, **more: Any) -> int:
        status, answer = self.run_statement(statement, **more)
        self.assertNotEqual(status, 200)
        self.assertEqual(answer["status"], "fatal")
        code: int = answer["errors"][0]["code"]
        return code

    def put(self, **documents: Any) -> None:
        storage = Storage(self.state)
        for key, value in documents.items():
            storage.put(key, value)

    def test_statements(self) -> None:
        """Both words for each thing are understood, in any case, and comments."""
        for statement in (
            "create dataverse a.b",
            "CREATE ANALYTICS SCOPE a.b IF NOT EXISTS;",
            "/* here */ CREATE DATASET a.b.c ON stock -- there",
            "CREATE ANALYTICS COLLECTION IF NOT EXISTS a.b.c ON `stock`.`_default`.`_default`",
            "CREATE INDEX i ON a.b.c (x.y: string, z: bigint)",
            "CONNECT LINK a.b.Local, Default.Local",
            "DISCONNECT LINK a.b.`Local`",
            "DROP INDEX a.b.c.i",
            "DROP ANALYTICS COLLECTION a.b.c",
            "DROP DATASET a.b.c IF EXISTS",
            "DROP ANALYTICS SCOPE a.b",
            "DROP DATAVERSE a.b IF EXISTS",
        ):
            self.assertEqual(self.rows(statement), [], statement)

    def test_errors(self) -> None:
        """Errors have the numbers by which clients tell them apart."""
        self.rows("CREATE DATASET c ON stock")
        for statement, code in (
            ("CREATE DATAVERSE Default", 24039),
            ("DROP DATAVERSE x", 24034),
            ("DROP DATAVERSE Default", 24000),
            ("CREATE DATASET c ON stock", 24040),
            ("CREATE DATASET d ON nobody", 24000),
            ("CREATE DATASET d ON stock.a.b", 24000),
            ("CREATE DATASET d ON stock AT LINK nobody", 24006),
            ("CREATE DATASET x.d ON stock", 24034),
            ("DROP DATASET d", 24025),
            ("CREATE INDEX c ON c (a: string)", 24048),
            ("CREATE INDEX i ON c (a: geometry)", 24000),
            ("CREATE INDEX i ON d (a: string)", 24025),
            ("DROP INDEX c.i", 24047),
            ("DROP INDEX i", 24000),
            ("CONNECT LINK nobody", 24006),
            ('CONNECT LINK Local WITH {"speed": 1}', 24000),
            ("SELECT * FROM d", 24045),
            ("SELECT * FROM Metadata.`Nothing` n", 24045),
            ("SELECT * FROM default:c", 24000),
            ("SELECT * FROM c USE KEYS 'k'", 24000),
            ("SELECT nobody", 24000),
            ("SELECT RANK() OVER () FROM c", 25000),
            ("SELECT c.a FROM c GROUP BY c.a GROUP AS g", 25000),
            ("SELECT nonsense(1)", 24000),
            ("SELECT $1", 25000),
            ("SELECT * FROM c WHERE", 24000),
            ("CREATE DATASET d ON stock WHERE a =", 24000),
            ("CREATE DATASET d ON stock WHERE a = 1 GROUP BY a", 24000),
            ("CREATE DATASET d ON stock WHERE a = 1 LIMIT 1", 24000),
            ("USE nobody; SELECT 1", 24034),
            ("USE Default", 25000),
            ("ALTER COLLECTION stock.a.b ENABLE ANALYTICS", 24000),
            ("ALTER COLLECTION stock DISABLE ANALYTICS", 24034),
            ("ALTER COLLECTION stock", 24000),
            ("WITH x AS (SELECT 1) SELECT * FROM (SELECT * FROM nobody) y", 24045),
            ("CREATE FUNCTION f() { 1 }", 25000),
            ("UPSERT INTO c ([1])", 25000),
            ("CREATE DATASET", 24000),
            ("SELECT d.* FROM", 24000),
            ("a" * 100_000, 24000),
            ("", 21003),
            (None, 21003),
            (7, 21003),
        ):
            self.assertEqual(self.error(statement), code, statement)
        for name, value in (
            ("query_context", "nonsense"),
            ("scan_consistency", "at_plus"),
            ("scan_wait", "soon"),
            ("timeout", 7),
            ("args", {}),
            ("readonly", "perhaps"),
        ):
            self.assertEqual(self.error("SELECT * FROM c", **{name: value}), 21003, name)
        self.assertEqual(self.error("SELECT * FROM c", query_context="default:`x`.`y`"), 24045)
        self.assertEqual(self.error("DROP DATASET c", readonly=True), 24000)

    def test_strings_without_an_end(self) -> None:
        """No statement takes longer than its length allows."""
        for statement in ('select "' + '\\"' * 30_000 + "\\", "set '" + "\\'" * 30_000 + "\\"):
            started = time.process_time()
            self.error(statement)
            self.assertLess(time.process_time() - started, 5.0)

    def test_request(self) -> None:
        """Statements come as JSON, as forms and in the query string."""
        statement = "SELECT VALUE d FROM Metadata.Dataverse d"
        path = "/analytics/service"
        for status, answer in (
            self.ask("POST", path, {"statement": statement}),
            self.ask("POST", path, form={"statement": statement}),
            self.ask("GET", path, statement=statement),
        ):
            self.assertEqual((status, len(answer["results"])), (200, 1))
        for body in (b"{", b"\xff\xff", b"[]", b'"x"'):
            self.refused(400, "statement", "POST", path, body)

    def test_metadata(self) -> None:
        """Metadata says what there is."""
        self.rows("CREATE DATASET c ON stock WHERE a = 1")
        (row,) = self.rows('SELECT d.* FROM Metadata.`Dataset` d WHERE d.DatasetName = "c"')
        self.assertEqual((row["BucketName"], row["Filter"]), ("stock", "a = 1"))
        self.assertEqual(
            self.rows('SELECT d.* FROM Metadata.`Dataset` d WHERE d.DatasetName != "c"'), []
        )
        self.rows("CREATE INDEX i ON c (a.b: string)")
        rows = self.rows("SELECT VALUE i FROM Metadata.`Index` AS i")
        self.assertEqual([row["IsPrimary"] for row in rows], [True, False])
        self.assertEqual(rows[1]["SearchKey"], [["a", "b"]])
        self.rows("CONNECT LINK Local")
        (row,) = self.rows("SELECT VALUE l FROM Metadata.`Link` l")
        self.assertTrue(row["IsActive"])
        self.assertEqual(
            self.ask("GET", "/analytics/node/agg/stats/remaining"), (200, {"Default": {"c": 0}})
        )

    def test_queries(self) -> None:
        """Collections are read by the evaluator of SQL++, as far as their condition says."""
        self.put(a={"n": 1, "kind": "x"}, b={"n": 2, "kind": "y"}, c={"n": 3, "kind": "x"}, d=4)
        not_json = self.state.buckets["stock"].documents[b"\0d"]
        not_json.tail = not_json.tail[:12] + b"raw"
        self.rows("CREATE DATAVERSE v.w")
        self.rows("CREATE DATASET whole ON stock")
        self.rows('CREATE DATASET v.w.`part` ON stock WHERE kind = "x" AND META().id != "z"')
        self.assertEqual(self.rows("SELECT * FROM whole"), [])
        self.rows('CREATE DATASET ids ON stock WHERE META().id > "a"')
        self.rows("CONNECT LINK Local, v.w.Local")
        for statement, rows in (
            ("SELECT VALUE e.n FROM whole e", [1, 2, 3]),
            ("SELECT n FROM Default.whole WHERE n > 2", [{"n": 3}]),
            ("SELECT * FROM v.w.part LIMIT 1", [{"part": {"n": 1, "kind": "x"}}]),
            ("FROM v.w.part s SELECT VALUE META(s).id", ["a", "c"]),
            ("SELECT VALUE META().id FROM ids", ["b", "c"]),
            (
                "SELECT kind, COUNT(*) AS c FROM whole GROUP BY kind ORDER BY kind DESC",
                [{"kind": "y", "c": 1}, {"kind": "x", "c": 2}],
            ),
            ("SELECT VALUE e.n FROM whole e JOIN v.w.part s ON e.n = s.n", [1, 3]),
            ("SELECT VALUE (SELECT VALUE COUNT(*) FROM v.w.part)[0] + 1", [3]),
            ("WITH few AS (SELECT VALUE n FROM whole) SELECT VALUE f FROM few f", [1, 2, 3]),
            ("(SELECT VALUE 1) UNION ALL (SELECT VALUE 2)", [1, 2]),
            ("-- here\n/* there */ SELECT VALUE 1;", [1]),
            ("USE v.`w`; SELECT VALUE n FROM part", [1, 3]),
        ):
            self.assertEqual(self.rows(statement), rows, statement)
        rows = self.rows("SELECT VALUE n FROM part", query_context="default:`v`.`w`")
        self.assertEqual(rows, [1, 3])
        statement = "SELECT VALUE n FROM whole WHERE n IN [$1, ?, $c]"
        self.assertEqual(self.rows(statement, args=[1], **{"$c": 2}), [1, 2])
        _, answer = self.run_statement(statement, args=[1, 2], **{"$c": None})
        self.assertEqual(answer["metrics"]["processedObjects"], 3)
        path = "/query/service"
        form = {"statement": statement, "args": "[1]", "$c": "2"}
        self.assertEqual(self.ask("POST", path, form=form)[1]["results"], [1, 2])

    def test_what_is_not_connected(self) -> None:
        """Collections are empty until they are connected, and refused once that is over."""
        self.put(a={"n": 1})
        self.rows("CREATE DATASET c ON stock")
        self.assertEqual(self.rows("SELECT * FROM c"), [])
        self.rows("DISCONNECT LINK Local")
        self.assertEqual(self.rows("SELECT * FROM c"), [])
        self.rows("CONNECT LINK Local")
        self.assertEqual(len(self.rows("SELECT * FROM c")), 1)
        self.rows("DISCONNECT LINK Local")
        self.assertEqual(self.error("SELECT * FROM c"), 25000)
        self.rows("CONNECT LINK Local")
        self.assertEqual(len(self.rows("SELECT * FROM c")), 1)
        form = self.LINK | {"username": "u", "password": "p"}
        self.assertEqual(self.ask("POST", "/analytics/link", form=form), (200, b""))
        self.rows("CREATE DATASET far ON somewhere AT LINK l")
        self.assertEqual(self.rows("SELECT * FROM far"), [])
        self.rows("CONNECT LINK l")
        self.assertEqual(self.error("SELECT * FROM far"), 25000)
        self.state.drop_bucket("stock")
        self.assertEqual(self.rows("SELECT * FROM c"), [])

    def test_enabled_collections(self) -> None:
        """A collection that is enabled is in the scope of its bucket and scope, and connected."""
        storage = Storage(self.state)
        storage.create_scope("stock", "s")
        storage.create_collection("stock", "s", "c")
        storage.put("k", 1, scope="s", collection="c")
        for _ in range(2):
            self.rows("ALTER COLLECTION stock.s.c ENABLE ANALYTICS")
        self.assertEqual(self.rows("SELECT VALUE c FROM stock.s.c"), [1])
        self.assertEqual(
            self.rows("SELECT VALUE c FROM c", query_context="default:`stock`.`s`"), [1]
        )
        self.rows("ALTER COLLECTION stock.s.c DISABLE ANALYTICS")
        self.assertEqual(self.error("SELECT VALUE c FROM stock.s.c"), 24045)
        self.rows("ALTER COLLECTION stock ENABLE ANALYTICS")
        self.assertEqual(self.rows("SELECT * FROM stock._default._default"), [])

    def test_stream(self) -> None:
        """An answer is made in steps, the first row at once, between which others are served."""
        self.put(**{f"k{number:04}": number for number in range(3000)})
        self.rows("CREATE DATASET c ON stock")
        self.rows("CONNECT LINK Local")
        body = json.dumps({"statement": "SELECT VALUE a + b FROM c a JOIN [0] b ON true"})
        call = Call("analytics", "POST", "/query/service", body=body.encode(), account=self.account)
        route, _ = self.routers["analytics"].find("POST", "/query/service")
        chunks = list(route.handler(self.state, call).body)
        self.assertIn(b"", chunks)
        self.assertGreater(len(chunks) - chunks.count(b""), 5)
        answer = json.loads(b"".join(chunks))
        self.assertEqual(answer["results"], list(range(3000)))
        self.assertEqual(answer["metrics"]["resultCount"], 3000)

    def test_ends(self) -> None:
        """An error before the first row is the status; one after it is in the answer."""
        rows = "SELECT VALUE REPEAT('x', n * 30000000) FROM ARRAY_RANGE({}, 2) n"
        status, answer = self.run_statement(rows.format(1))
        self.assertEqual((status, answer["status"], answer["results"]), (500, "fatal", []))
        endless = "SELECT VALUE 1 FROM ARRAY_RANGE(0, 9999) a, ARRAY_RANGE(0, 9999) b WHERE a > b"
        clock = count(1_700_000_000)
        self.state.seconds = lambda: float(next(clock))
        status, answer = self.run_statement(endless, timeout="1s")
        self.assertEqual(answer["errors"][0]["code"], 21002)
        self.assertEqual(answer["status"], "timeout")

    def test_links(self) -> None:
        """Links are checked by type, and shown without their secrets."""
        path, link = "/analytics/link", dict(self.LINK)
        for change, reason in (
            ({"type": "ftp"}, "type"),
            ({}, "username, password"),
            ({"username": "u", "password": "p", "speed": "1"}, "unknown: speed"),
            ({"encryption": "most"}, "encryption"),
            ({"encryption": "full", "username": "u", "password": "p"}, "certificate"),
            ({"type": "s3", "region": "r"}, "accessKeyId"),
            ({"type": "azureblob"}, "unknown: hostname"),
            ({"name": ""}, "dataverse, name"),
        ):
            self.refused(400, reason, "POST", path, form=link | change)
        full = {"encryption": "full", "certificate": "c", "clientCertificate": "d"}
        link |= full | {"clientKey": "k"}
        self.assertEqual(self.ask("POST", path, form=link), (200, b""))
        self.refused(400, "24055", "POST", path, form=link)
        _, (shown,) = self.ask("GET", path, dataverse="Default", name="l")
        self.assertEqual(shown["activeHostname"], "h")
        self.assertEqual(shown["certificate"], "c")
        self.assertNotEqual(shown["clientKey"], "k")
        self.rows("CREATE DATASET c ON other AT LINK l")
        self.refused(400, "use it", "DELETE", path, form={"dataverse": "Default", "name": "l"})
        self.rows("DROP DATASET c")
        self.assertEqual(self.ask("PUT", path, form=link)[0], 200)
        s3 = {"accessKeyId": "i", "secretAccessKey": "s", "region": "r", "type": "s3"}
        named = {"dataverse": "Default", "name": "l"}
        self.refused(400, "cannot be changed", "PUT", path, form=named | s3)
        self.assertEqual(self.ask("DELETE", "/analytics/link/Default/l"), (200, b""))
        self.refused(400, "24006", "GET", "/analytics/link/Default/l")
        self.refused(400, "24034", "GET", path, dataverse="nobody")
        self.assertEqual(self.ask("POST", path, form=named | s3), (200, b""))
        self.assertEqual(self.error("CONNECT LINK l"), 24000)

    def test_no_passwords(self) -> None:
        self.assertNotIn("geheim", repr(Link("couchbase", {"password": "geheim"})))

    def test_permissions(self) -> None:
        """Who may query may not change."""
        self.account = Account("b", "", "local", (Grant("analytics_reader"),))
        self.assertEqual(len(self.rows("SELECT VALUE d FROM Metadata.Dataverse d")), 1)
        self.assertEqual(self.error("CREATE DATAVERSE x"), 20001)
        self.refused(403, "analytics_manage", "DELETE", "/analytics/link/Default/l")

    def test_snapshot(self) -> None:
        """A copy does not change with what is stored."""
        kept = copy.deepcopy(self.state.analytics)
        self.rows("CREATE DATASET c ON stock")
        self.state.analytics = kept
        self.assertEqual(self.error("SELECT * FROM c"), 24045)

    def test_render(self) -> None:
        """The members that clients insist on are there, whatever is scripted."""
        call = Call("analytics", "POST", "/query/service", body=b'{"client_context_id": "x"}')
        for rows in ([], [1, {"a": None}]):
            for errors in ([], [{"code": 24000, "msg": "m"}]):
                for metadata in ({}, {"status": "stopped", "metrics": {"processedObjects": 9}}):
                    answer = analytics.render(iter(rows), metadata, errors, call)
                    read = json.loads(whole(answer))
                    self.assertEqual(read["results"], rows)
                    self.assertEqual(read["clientContextID"], "x")
                    self.assertEqual(read["metrics"]["resultCount"], len(rows))
                    self.assertIn("processedObjects", read["metrics"])
                    self.assertEqual(read["status"] == "success", not errors and not metadata)
                    self.assertEqual("errors" in read, read["status"] != "success")
