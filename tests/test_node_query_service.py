"""The query service of the embedded node: requests, parameters and the form of answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.sqlpp import QueryService
from txcouchbase.testing import EmbeddedNode
from txcouchbase.testing.management.accounts import User
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.query import execution
from txcouchbase.testing.query.envelope import duration, stream
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.parameters import duration_of
from txcouchbase.testing.scripts import Script

ACCEPTED: list[dict[str, Any]] = [
    {"auto_execute": False},
    {"auto_prepare": True},
    {"compression": "NONE"},
    {"controls": True},
    {"creds": [{"user": "a", "pass": "b"}]},
    {"durability_level": "majority"},
    {"encoding": "UTF-8"},
    {"error_limit": 3},
    {"format": "JSON"},
    {"kvtimeout": "2.5s"},
    {"max_parallelism": "4"},
    {"max_parallelism": 4},
    {"memory_quota": 100},
    {"Metrics": "false"},
    {"namespace": "default"},
    {"numatrs": "4"},
    {"pipeline_batch": "16"},
    {"pipeline_cap": 512},
    {"preserve_expiry": True},
    {"pretty": True},
    {"profile": "phases"},
    {"query_context": ""},
    {"query_context": "default:"},
    {"query_context": "default:`b`.`s`"},
    {"query_context": "b.s"},
    {"readonly": "TRUE"},
    {"scan_cap": 5},
    {"scan_consistency": "request_plus"},
    {"scan_consistency": "NOT_BOUNDED"},
    {"scan_consistency": "at_plus", "scan_vectors": {"b": {"5": [1, "77"]}}},
    {"scan_consistency": "at_plus", "scan_vector": [[1, "77"], [2, "78"]]},
    {"scan_wait": "100ms"},
    {"signature": False},
    {"sort_projection": True},
    {"timeout": "1m"},
    {"timeout": "0s"},
    {"tximplicit": True},
    {"txtimeout": "5s"},
    {"use_cbo": True},
    {"use_fts": True},
    {"use_replica": "on"},
    {"use_replica": False},
    {"client_context_id": "a-b"},
    {"encoded_plan": "abc"},
    {"args": []},
    {"args": None},
]

REFUSED: list[tuple[dict[str, Any], int, int]] = [
    ({"no_such": 1}, 1065, 400),
    ({"readonly": "maybe"}, 1070, 400),
    ({"readonly": 1}, 1070, 400),
    ({"metrics": "x"}, 1070, 400),
    ({"max_parallelism": "many"}, 1070, 400),
    ({"max_parallelism": 1.5}, 1070, 400),
    ({"scan_cap": True}, 1070, 400),
    ({"args": 5}, 1070, 400),
    ({"args": "{}"}, 1070, 400),
    ({"timeout": 5}, 1070, 400),
    ({"timeout": "5"}, 1040, 400),
    ({"timeout": "soon"}, 1040, 400),
    ({"scan_wait": ""}, 1040, 400),
    ({"profile": "all"}, 1030, 400),
    ({"scan_consistency": "always"}, 1030, 400),
    ({"scan_consistency": 1}, 1070, 400),
    ({"scan_consistency": "at_plus"}, 1050, 400),
    ({"scan_vector": [[1]]}, 1140, 400),
    ({"scan_vector": [["1", "2"]]}, 1150, 400),
    ({"scan_vector": [[-1, "2"]]}, 1150, 400),
    ({"scan_vector": {"1": [1, 2]}}, 1155, 400),
    ({"scan_vector": 5}, 1070, 400),
    ({"scan_vectors": []}, 1070, 400),
    ({"compression": "zip"}, 1030, 400),
    ({"encoding": "latin-1"}, 1030, 400),
    ({"format": "XML"}, 1030, 400),
    ({"use_replica": 5}, 1070, 400),
    ({"client_context_id": 'a"b'}, 1110, 400),
    ({"client_context_id": 5}, 1070, 400),
    ({"query_context": "a.b.c"}, 10201, 500),
    ({"query_context": "only"}, 10201, 500),
    ({"query_context": "other:b.s"}, 12002, 500),
    ({"txid": "x"}, 17004, 500),
    ({"prepared": "p"}, 1060, 400),
]

DURATIONS: list[tuple[str, float | None]] = [
    ("1s", 1.0),
    ("1.5s", 1.5),
    (".5s", 0.5),
    ("100ms", 0.1),
    ("1m30s", 90.0),
    ("2h", 7200.0),
    ("5us", 5e-6),
    ("5µs", 5e-6),
    ("7ns", 7e-9),
    ("0", 0.0),
    ("-1s", -1.0),
    ("", None),
    ("5", None),
    ("s", None),
    ("1 s", None),
    ("1d", None),
    ("1s5", None),
    ("1.1.1s", None),
]


class RequestTests(SynchronousTestCase):
    """From requests to statements."""

    def setUp(self) -> None:
        self.service = QueryService()

    def test_forms_and_query_strings(self) -> None:
        fields = {"statement": "SELECT RAW [$1, $x]", "args": "[1]", "$x": '"y"'}
        form = urlencode(fields).encode()
        for kind in ("application/x-www-form-urlencoded", ""):
            code, body = self.service.request(form, kind=kind)
            self.assertEqual((code, json.loads(body)["results"]), (200, [[1, "y"]]))
        code, body = self.service.request(b"", method="GET", kind="", arguments=fields)
        self.assertEqual((code, json.loads(body)["results"]), (200, [[1, "y"]]))
        code, body = self.service.request(
            b'{"args": [2]}', arguments={"statement": "SELECT RAW $1"}
        )
        self.assertEqual((code, json.loads(body)["results"]), (200, [2]))

    def test_get_is_read_only(self) -> None:
        code, body = self.service.request(
            b"", method="GET", arguments={"statement": "DELETE FROM b USE KEYS 'd1'"}
        )
        self.assertEqual((code, json.loads(body)["errors"][0]["code"]), (403, 1000))

    def test_accepted(self) -> None:
        for parameters in ACCEPTED:
            code, answer = self.service.ask("SELECT RAW 1", **parameters)
            self.assertEqual((code, answer["results"]), (200, [1]), parameters)

    def test_refused(self) -> None:
        for parameters, expected, status in REFUSED:
            code, answer = self.service.ask("SELECT RAW 1", **parameters)
            error = answer["errors"][0]
            self.assertEqual((error["code"], code), (expected, status), (parameters, error))
            self.assertEqual((answer["results"], answer["status"]), ([], "fatal"))
        self.assertEqual(self.service.error()[0], 1050)

    def test_broken_requests(self) -> None:
        for body, kind, expected in (
            (b"{", "application/json", 1040),
            (b"", "application/json", 1040),
            (b"\xff", "application/json", 1040),
            (b"[]", "application/json", 1070),
            (b'"SELECT 1"', "application/json", 1070),
            (b"[" * 100000, "application/json", 1040),
            (b"statement=%ff", "application/x-www-form-urlencoded", 1040),
            (b"statement=SELECT+1&$x=nonsense", "application/x-www-form-urlencoded", 1040),
            (b"<a/>", "text/xml", 1120),
            (b'{"statement": 5}', "application/json", 1070),
            (b'{"statement": "SELECT \\ud800"}', "application/json", 1040),
        ):
            code, answer = self.service.request(body, kind=kind)
            found = json.loads(answer)["errors"][0]["code"]
            self.assertEqual((code, found), (400, expected), body[:40])

    def test_durations(self) -> None:
        for text, expected in DURATIONS:
            if expected is None:
                self.assertRaises(ValueError, duration_of, text)
            else:
                self.assertAlmostEqual(duration_of(text), expected)

    def test_ping_needs_no_login_and_queries_do(self) -> None:
        code, _ = self.service.request(
            b"", method="GET", path="/admin/ping", account=("nobody", "")
        )
        self.assertEqual(code, 200)
        code, _ = self.service.request(b"{}", account=("nobody", ""))
        self.assertEqual(code, 401)
        code, _ = self.service.request(b"", method="GET", path="/admin/vitals")
        self.assertEqual(code, 404)

    def test_readonly(self) -> None:
        for statement in (
            "INSERT INTO b (KEY, VALUE) VALUES ('x', 1)",
            "UPDATE b USE KEYS 'd1' SET a = 1",
            "DELETE FROM b USE KEYS 'd1'",
            "CREATE PRIMARY INDEX ON b",
            "DROP SCOPE b.s",
        ):
            code, answer = self.service.ask(statement, readonly=True)
            self.assertEqual((code, answer["errors"][0]["code"]), (403, 1000), statement)
        self.service.rows("PREPARE w FROM DELETE FROM b USE KEYS 'd1'", readonly=True)
        _, answer = self.service.ask(prepared="w", readonly=True)
        self.assertEqual(answer["errors"][0]["code"], 1000)
        self.assertEqual(
            self.service.rows("EXPLAIN DELETE FROM b USE KEYS 'd1'", readonly=True)[0]["text"][:7],
            "EXPLAIN",
        )
        self.assertIsNotNone(self.service.storage.get("d1", bucket="b"))

    def test_query_context(self) -> None:
        insert = "INSERT INTO col (KEY, VALUE) VALUES ('k', 1)"
        for context in ("b.s", "`b`.`s`", "default:b.s", "`default`:`b`.s"):
            self.service.ask(insert, query_context=context)
            rows = self.service.rows(
                "SELECT RAW x FROM col AS x USE KEYS 'k'", query_context=context
            )
            self.assertEqual(rows, [1])
        # A namespace leads out of it.
        rows = self.service.rows(
            "SELECT RAW name FROM default:b USE KEYS 'd1'", query_context="b.s"
        )
        self.assertEqual(rows, ["Ann"])
        self.assertEqual(self.service.error("SELECT * FROM b", query_context="b.s")[0], 12003)
        self.assertEqual(self.service.error("SELECT * FROM col", query_context="nope.s")[0], 12003)
        self.service.rows("CREATE SCOPE made", query_context="b.s")
        self.assertIn("made", self.service.state.buckets["b"].manifest.scopes())

    def test_timeout(self) -> None:
        chunks = self.service.batches(
            "SELECT COUNT(*) FROM ARRAY_RANGE(0, 100000) AS x, ARRAY_RANGE(0, 100000) AS y"
        )
        # Work without rows lets others run.
        self.assertEqual([next(chunks) for _ in range(20)][1:], [b""] * 19)
        self.service.now = 0.0

        def late() -> float:
            self.service.now += 1
            return self.service.now

        self.service.state.seconds = late
        _, answer = self.service.ask(
            "SELECT COUNT(*) FROM ARRAY_RANGE(0, 100000) AS x, ARRAY_RANGE(0, 100000) AS y",
            timeout="20s",
        )
        self.assertEqual((answer["status"], answer["errors"][0]["code"]), ("timeout", 1080))
        self.assertIn("Timeout 20s exceeded", answer["errors"][0]["msg"])

    def test_one_row_has_an_end_without_a_timeout_too(self) -> None:
        self.patch(execution, "LONGEST_STEP", 0.05)
        for expression in (
            "ARRAY x FOR x IN ARRAY_RANGE(0, 2000000) WHEN x < 0 END",
            "(SELECT RAW COUNT(*) FROM ARRAY_RANGE(0, 100000) AS x, ARRAY_RANGE(0, 100000) AS y "
            "WHERE x = t)",
            "ANY x IN ARRAY_RANGE(0, 2000000) SATISFIES x < 0 END",
        ):
            _, answer = self.service.ask(f"SELECT {expression} FROM [1] AS t")
            error = answer["errors"][0]
            self.assertEqual((answer["status"], error["code"]), ("errors", 5010), expression)
            self.assertIn("0.05 seconds", error["msg"])

    def test_what_is_kept_has_a_limit(self) -> None:
        self.patch(execution, "MOST_KEPT", 5000)
        source = "FROM ARRAY_RANGE(0, 10000) AS x"
        for statement in (
            f"SELECT RAW x {source} ORDER BY x",
            f"SELECT DISTINCT RAW x {source}",
            f"SELECT x {source} GROUP BY x",
            f"SELECT ARRAY_AGG(x) {source}",
            f"SELECT COUNT(DISTINCT x) {source}",
            f"SELECT RAW x {source} UNION SELECT RAW 1",
            f"SELECT RAW 1 EXCEPT SELECT RAW x {source}",
            f"SELECT ARRAY_LENGTH((SELECT RAW x {source}))",
            f"SELECT ARRAY_LENGTH((SELECT RAW x + t {source})) FROM [1] AS t",
        ):
            _, answer = self.service.ask(statement)
            self.assertEqual(answer["errors"][0]["code"], 5500, statement)
        # What streams, and what is cut short, keeps nothing.
        for statement in (
            f"SELECT RAW COUNT(*) {source}",
            f"SELECT RAW x {source} ORDER BY x DESC LIMIT 1",
            f"SELECT RAW x {source} OFFSET 9999",
        ):
            self.assertEqual(len(self.service.rows(statement)), 1)

    def test_timeout_within_one_row(self) -> None:
        times = iter(range(10**6))
        self.service.state.seconds = lambda: next(times)
        _, answer = self.service.ask(
            "SELECT ARRAY x FOR x IN ARRAY_RANGE(0, 2000000) WHEN x < 0 END", timeout="9s"
        )
        self.assertEqual((answer["status"], answer["errors"][0]["code"]), ("timeout", 1080))


class AnswerTests(SynchronousTestCase):
    """From rows to answers."""

    def setUp(self) -> None:
        self.service = QueryService()

    def test_members(self) -> None:
        _, body = self.service.request(
            b'{"statement": "SELECT 1 AS a, 2.5 b, \'x\' || \'y\' AS c", "client_context_id": "me"}'
        )
        answer = json.loads(body)
        self.assertEqual(
            list(answer),
            ["requestID", "clientContextID", "signature", "results", "status", "metrics"],
        )
        self.assertEqual(answer["clientContextID"], "me")
        self.assertEqual(answer["signature"], {"a": "number", "b": "number", "c": "string"})
        self.assertEqual(answer["results"], [{"a": 1, "b": 2.5, "c": "xy"}])
        metrics = answer["metrics"]
        self.assertEqual(metrics["resultCount"], 1)
        self.assertEqual(metrics["resultSize"], len('{"a":1,"b":2.5,"c":"xy"}'))
        self.assertNotIn("sortCount", metrics)
        self.assertNotIn("mutationCount", metrics)

    def test_what_can_be_left_out(self) -> None:
        _, answer = self.service.ask("SELECT 1", metrics=False, signature=False)
        self.assertEqual(sorted(answer), ["requestID", "results", "status"])

    def test_signatures(self) -> None:
        for statement, expected in (
            ("SELECT RAW 1", "number"),
            ("SELECT *", {"*": "*"}),
            ("SELECT x.*, x.a FROM [1] AS x", {"*": "*", "a": "json"}),
            (
                "SELECT TRUE AS t, NULL AS n, [] AS a, {} AS o",
                {"t": "boolean", "n": "null", "a": "array", "o": "object"},
            ),
            ("SELECT 1 = 1, 1 + 1, NOT TRUE", {"$1": "boolean", "$2": "number", "$3": "boolean"}),
            ("DELETE FROM b USE KEYS 'nope'", None),
            ("DELETE FROM b USE KEYS 'nope' RETURNING RAW name", "json"),
            ("CREATE PRIMARY INDEX ON b", None),
        ):
            _, answer = self.service.ask(statement)
            self.assertEqual(answer["signature"], expected, statement)

    def test_sort_count(self) -> None:
        self.service.rows("CREATE PRIMARY INDEX ON b")
        _, answer = self.service.ask("SELECT name FROM b ORDER BY name")
        self.assertEqual(answer["metrics"]["sortCount"], 4)
        _, answer = self.service.ask("SELECT name FROM b")
        self.assertNotIn("sortCount", answer["metrics"])

    def test_profile(self) -> None:
        _, answer = self.service.ask("SELECT 1", profile="phases")
        self.assertEqual(set(answer["profile"]["phaseTimes"]), {"parse", "plan", "run"})
        self.assertNotIn("executionTimings", answer["profile"])
        _, answer = self.service.ask("SELECT 1", profile="timings")
        self.assertEqual(answer["profile"]["executionTimings"]["#stats"]["#itemsOut"], 1)
        self.assertNotIn("profile", self.service.ask("SELECT 1")[1])

    def test_pretty(self) -> None:
        _, body = self.service.request(b'{"statement": "SELECT 1 AS a", "pretty": true}')
        self.assertIn(b'\n  "a": 1\n', body)
        self.assertEqual(json.loads(body)["results"], [{"a": 1}])

    def test_an_error_after_rows(self) -> None:
        code, answer = self.service.ask(
            "SELECT RAW CASE WHEN n < 1000 THEN n ELSE REPEAT('x', 1000000000) END "
            "FROM ARRAY_RANGE(0, 2000) AS n"
        )
        self.assertEqual((code, answer["status"]), (200, "errors"))
        # The rows of the batch that failed are lost with it, those before it are out.
        self.assertEqual(answer["results"], list(range(len(answer["results"]))))
        self.assertTrue(0 < len(answer["results"]) <= 1000)
        self.assertEqual(answer["metrics"]["errorCount"], 1)

    def test_an_error_before_rows_is_the_status(self) -> None:
        code, answer = self.service.ask("SELECT REPEAT('x', 1000000000)")
        self.assertEqual((code, answer["status"], answer["results"]), (500, "errors", []))

    def test_the_first_row_leaves_at_once_and_others_in_batches(self) -> None:
        chunks = self.service.batches("SELECT RAW n FROM ARRAY_RANGE(0, 100000) AS n")
        head, first = next(chunks), next(chunks)
        self.assertTrue(head.endswith(b'"results":['))
        self.assertLess(len(first), 200)
        rest = list(chunks)
        self.assertLess(max(map(len, rest)), 10_000)
        rows = json.loads(b"[" + first + b"".join(rest).split(b"]")[0] + b"]")
        self.assertEqual(rows, list(range(100000)))

    def test_permissions(self) -> None:
        security = self.service.state.security
        grants = (Grant("query_select", ("b", "*", "*")),)
        security.put_user(User("reader", "local", password="secret", grants=grants))

        def ask(statement: str) -> tuple[int, dict[str, Any]]:
            body = json.dumps({"statement": statement}).encode()
            code, answer = self.service.request(body, account=("reader", "secret"))
            return code, json.loads(answer)

        self.assertEqual(ask("SELECT RAW name FROM b USE KEYS 'd1'")[1]["results"], ["Ann"])
        self.assertEqual(ask("SELECT RAW name FROM system:buckets")[1]["results"], ["b"])
        for statement in (
            "SELECT * FROM c USE KEYS 'a'",
            "INSERT INTO b (KEY, VALUE) VALUES ('x', 1)",
            "UPSERT INTO b (KEY, VALUE) VALUES ('x', 1)",
            "UPDATE b USE KEYS 'd1' SET a = 1",
            "DELETE FROM b USE KEYS 'd1'",
            "CREATE PRIMARY INDEX ON b",
            "CREATE SCOPE b.x",
            "SELECT * FROM system:prepareds",
        ):
            code, answer = ask(statement)
            self.assertEqual((code, answer["errors"][0]["code"]), (401, 13014), statement)

    def test_a_scripted_answer_has_all_metrics(self) -> None:
        for given in ({}, {"metrics": None}, {"metrics": {}}, {"metrics": {"mutationCount": 7}}):
            self.service.state.scripts.add(Script("query", rows=[1, 2], metadata=given, times=1))
            _, answer = self.service.ask("SELECT 1")
            metrics = answer["metrics"]
            self.assertEqual((metrics["resultCount"], metrics["resultSize"]), (2, 2), given)
            for name in ("elapsedTime", "executionTime"):
                self.assertIsInstance(metrics[name], str)
            self.assertEqual(
                metrics.get("mutationCount"), (given.get("metrics") or {}).get("mutationCount")
            )

    def test_durations(self) -> None:
        for seconds, expected in (
            (1.5, "1.5s"),
            (0.0015, "1.5ms"),
            (0.0000015, "1.5µs"),
            (90, "90s"),
        ):
            self.assertEqual(duration(seconds), expected)

    def test_stream(self) -> None:
        batches = [[b"1"], [], [b"2", b"3"]]
        chunks = list(stream(batches, {"a": 1}, lambda: {"z": 2}))
        self.assertEqual(chunks, [b'{"a":1,"results":[', b"1", b"", b",2,3", b'],"z":2}'])
        self.assertEqual(b"".join(stream([], {}, lambda: {"z": 2})), b'{"results":[],"z":2}')


class PreparedTests(TestCase):
    """PREPARE and EXECUTE."""

    def setUp(self) -> None:
        self.service = QueryService()

    def test_by_name(self) -> None:
        (row,) = self.service.rows("PREPARE p FROM SELECT RAW $1 + $x")
        self.assertEqual((row["name"], row["text"]), ("p", "PREPARE p FROM SELECT RAW $1 + $x"))
        self.assertTrue(row["encoded_plan"])
        _, answer = self.service.ask(prepared="p", args=[1], **{"$x": 2})
        self.assertEqual(answer["results"], [3])
        _, answer = self.service.ask(prepared="p", encoded_plan=row["encoded_plan"], args=[1])
        self.assertEqual(answer["errors"][0]["code"], 5010)
        self.assertEqual(self.service.rows("PREPARE q AS SELECT RAW $1")[0]["name"], "q")
        self.assertEqual(self.service.rows("EXECUTE q USING [7]"), [7])
        self.assertEqual(self.service.rows("EXECUTE 'q'", args=[8]), [8])
        self.service.rows("PREPARE n FROM SELECT RAW $x")
        self.assertEqual(self.service.rows("EXECUTE n USING {'x': 9}"), [9])
        self.assertEqual(self.service.error("EXECUTE n USING 5")[0], 1070)

    def test_without_a_name(self) -> None:
        (first,) = self.service.rows("PREPARE SELECT 1")
        (second,) = self.service.rows("PREPARE SELECT 1")
        (other,) = self.service.rows("PREPARE SELECT 2")
        self.assertEqual(first["name"], second["name"])
        self.assertNotEqual(first["name"], other["name"])

    def test_auto_execute(self) -> None:
        _, answer = self.service.ask("PREPARE SELECT RAW $1", auto_execute=True, args=[5])
        self.assertEqual((answer["results"], answer["status"]), ([5], "success"))
        _, again = self.service.ask(prepared=answer["prepared"], args=[6])
        self.assertEqual((again["results"], again.get("prepared")), ([6], None))

    def test_unknown(self) -> None:
        for code, answer in (
            self.service.ask(prepared="nope"),
            self.service.ask("EXECUTE nope"),
        ):
            self.assertEqual((code, answer["errors"][0]["code"]), (404, 4040))

    def test_taken_names(self) -> None:
        self.service.rows("PREPARE p FROM SELECT 1")
        self.service.rows("PREPARE p FROM SELECT 1")
        self.assertEqual(self.service.error("PREPARE p FROM SELECT 2")[0], 4060)
        self.service.rows("PREPARE FORCE p FROM SELECT RAW 2")
        self.assertEqual(self.service.rows("EXECUTE p"), [2])

    def test_what_cannot_be_planned_is_not_prepared(self) -> None:
        self.assertEqual(self.service.error("PREPARE p FROM SELECT * FROM b")[0], 4000)
        self.assertEqual(self.service.error("PREPARE p FROM SELECT * FROM nope")[0], 12003)
        self.assertEqual(self.service.error("PREPARE p FROM PREPARE q FROM SELECT 1")[0], 3000)
        self.assertEqual(self.service.error("EXECUTE p")[0], 4040)

    def test_names_belong_to_a_query_context(self) -> None:
        self.service.rows("PREPARE p FROM SELECT RAW 1", query_context="b.s")
        self.assertEqual(self.service.error("EXECUTE p")[0], 4040)
        self.assertEqual(self.service.rows("EXECUTE p", query_context="b.s"), [1])

    def test_parameters_come_later(self) -> None:
        for statement in (
            "SELECT RAW x FROM $list AS x LIMIT $1 OFFSET $2",
            "DELETE FROM b USE KEYS $1 LIMIT $2",
            "UPDATE b USE KEYS $1 SET a = $x LIMIT $2",
        ):
            self.assertEqual(len(self.service.rows(f"PREPARE {statement}")), 1)
            self.assertEqual(len(self.service.rows(f"EXPLAIN {statement}")), 1)

    def test_execute_counts_as_the_statement_does(self) -> None:
        self.service.rows("PREPARE w FROM UPSERT INTO b (KEY, VALUE) VALUES ($1, 1)")
        _, answer = self.service.ask("EXECUTE w USING ['k']")
        self.assertEqual(answer["metrics"]["mutationCount"], 1)

    def test_mutations(self) -> None:
        self.service.rows("PREPARE w FROM UPSERT INTO b (KEY, VALUE) VALUES ($1, $2)")
        _, answer = self.service.ask(prepared="w", args=["k", {"n": 1}])
        self.assertEqual(answer["metrics"]["mutationCount"], 1)
        document = self.service.storage.get("k", bucket="b")
        assert document is not None
        self.assertEqual(document.value, {"n": 1})

    def test_catalog(self) -> None:
        self.service.rows("PREPARE p FROM SELECT 1")
        self.assertEqual(
            self.service.rows("SELECT p.name, p.statement FROM system:prepareds AS p"),
            [{"name": "p", "statement": "PREPARE p FROM SELECT 1"}],
        )

    def test_delete_from_the_catalog(self) -> None:
        for name in ("p", "q", "r"):
            self.service.rows(f"PREPARE {name} FROM SELECT 1")
        _, answer = self.service.ask(
            "DELETE FROM system:prepareds AS t WHERE t.name = 'p' RETURNING t.name"
        )
        self.assertEqual(answer["results"], [{"name": "p"}])
        self.assertEqual(answer["metrics"]["mutationCount"], 1)
        self.assertEqual(self.service.error("EXECUTE p")[0], 4040)
        self.service.rows("EXECUTE q")
        self.service.rows("DELETE FROM system:prepareds AS t WHERE t.name > 'a' LIMIT 1")
        # What was used last is the last one.
        self.assertEqual(self.service.rows("SELECT RAW name FROM system:prepareds"), ["q"])
        self.service.rows("EXPLAIN DELETE FROM system:prepareds")
        self.service.rows("EXECUTE q")
        self.service.rows("DELETE FROM system:prepareds")
        self.assertEqual(self.service.rows("SELECT * FROM system:prepareds"), [])
        for statement, code in (
            ("DELETE FROM system:prepareds USE KEYS 'p'", 1020),
            ("DELETE FROM system:indexes", 1020),
            ("UPDATE system:prepareds SET a = 1", 1020),
        ):
            self.assertEqual(self.service.error(statement)[0], code, statement)

    @inlineCallbacks
    def test_a_restart_of_the_node_forgets_them(self) -> Any:
        node = EmbeddedNode(services=("query",))
        self.addCleanup(node.stop)
        yield node.start()
        statements = node._state.statements
        for keep_data in (True, False):
            parsed = statements.parse("SELECT 1")
            statements.prepare("p", "PREPARE p FROM SELECT 1", parsed, None, False)
            statements.find("p", None)
            yield node.restart(keep_data=keep_data)
            error = self.assertRaises(QueryError, statements.find, "p", None)
            self.assertEqual(error.code, 4040)

    def test_scripts_see_the_text_that_was_prepared(self) -> None:
        self.service.rows("PREPARE p FROM SELECT 'needle'")
        self.service.state.scripts.add(Script("query", match="needle", rows=[{"scripted": True}]))
        _, answer = self.service.ask(prepared="p", client_context_id="me")
        self.assertEqual(answer["results"], [{"scripted": True}])
        self.assertEqual((answer["status"], answer["clientContextID"]), ("success", "me"))
        self.assertEqual(self.service.rows("SELECT RAW 'thread'"), ["thread"])
