"""SQL++ of the embedded node: indexes, scopes and collections, and which statement needs which."""

from __future__ import annotations

import copy

from twisted.trial.unittest import SynchronousTestCase

from tests.sqlpp import QueryService

SERVED: list[tuple[str, str, bool]] = [
    # An index, a condition, and whether the index serves it.
    ("(a)", "a = 1", True),
    ("(a)", "1 < a", True),
    ("(a)", "t.a >= 1", True),
    ("(a)", "b = 1", False),
    ("(a)", "a = 1 AND b = 2", True),
    ("(a)", "b = 2 AND (c = 3 AND a > 1)", True),
    ("(a)", "a = 1 OR b = 2", False),
    ("(a)", "a = 1 OR a = 2", True),
    ("(a)", "a IN [1, 2]", True),
    ("(a)", "a BETWEEN 1 AND 2", True),
    ("(a)", "a LIKE 'x%'", True),
    ("(a)", "a IS NOT MISSING", True),
    ("(a)", "a IS MISSING", False),
    ("(a)", "a IS NULL", True),
    ("(a)", "a IS VALUED", True),
    ("(a)", "NOT a = 1", True),
    ("(a)", "TRUE", False),
    ("(a, b)", "b = 1", False),
    ("(a, b)", "a = 1", True),
    ("(a INCLUDE MISSING, b)", "b = 1", True),
    ("(a DESC)", "a > 1", True),
    ("(a.b)", "a.b = 1", True),
    ("(a.b)", "a.c = 1", False),
    ("(LOWER(a))", "LOWER(a) = 'x'", True),
    ("(LOWER(a))", "a = 'x'", False),
    ("(META().id)", "META(t).id = 'x'", True),
    ("(a) WHERE kind = 'x'", "a = 1", False),
    ("(a) WHERE kind = 'x'", "a = 1 AND kind = 'x'", True),
    ("(a) WHERE kind = 'x' AND n > 1", "a = 1 AND kind = 'x'", False),
    ("(DISTINCT ARRAY v FOR v IN a END)", "ANY v IN a SATISFIES v = 1 END", True),
    ("(DISTINCT ARRAY v FOR v IN a END)", "ANY v IN b SATISFIES v = 1 END", False),
    ("(DISTINCT a)", "1 IN a", True),
    ("(ALL ARRAY v.x FOR v IN a END)", "ANY w IN t.a SATISFIES w.x > 1 END", True),
    ("(DISTINCT ARRAY v FOR v IN a END)", "a = [1]", False),
    ("(EACH ARRAY v FOR v IN a END)", "ANY v IN a SATISFIES v = 1 END", True),
    (
        "(DISTINCT ARRAY FLATTEN_KEYS(v.x, v.y) FOR v IN a END)",
        "ANY v IN a SATISFIES v.x = 1 END",
        True,
    ),
    ("(a)", "a IS DISTINCT FROM 1", False),
]

SHOWN: list[tuple[str, list[str]]] = [
    ("a", ["`a`"]),
    ("a DESC, `b c`", ["`a` DESC", "`b c`"]),
    ("a.b.c", ["((`a`.`b`).`c`)"]),
    ("LOWER(a)", ["lower(`a`)"]),
    ("a INCLUDE MISSING DESC, b ASC", ["`a` INCLUDE MISSING DESC", "`b`"]),
    ("DISTINCT ARRAY v FOR v IN a END", ["(distinct (array `v` for `v` in `a` end))"]),
    (
        "ALL ARRAY [v.x, v.y] FOR v IN a WHEN v.z = 1 END",
        ["(all (array [(`v`.`x`), (`v`.`y`)] for `v` in `a` when ((`v`.`z`) = 1) end))"],
    ),
    ("EACH DISTINCT a", ["(distinct `a`)"]),
    (
        "b, DISTINCT ARRAY FLATTEN_KEYS(v.x, LOWER(v.y) DESC) FOR v IN a WHEN v.z END",
        [
            "`b`",
            "(distinct (array flatten_keys((`v`.`x`), lower((`v`.`y`)) DESC) for `v` in `a` "
            "when (`v`.`z`) end))",
        ],
    ),
    ("a.`b`i", ["(`a`.`b`i)"]),
    ("META().id", ["(meta().`id`)"]),
    ("CASE WHEN a = 1 THEN b ELSE NULL END", ["case when (`a` = 1) then `b` else null end"]),
    ("a[0], -b, a || 'x'", ["(`a`[0])", "(-`b`)", '(`a` || "x")']),
    (
        "a IS NOT NULL AND NOT b OR c IN [1]",
        ["(((`a` is not null) and (not `b`)) or (`c` in [1]))"],
    ),
]

ERRORS: list[tuple[str, int]] = [
    ("CREATE INDEX i ON b(1)", 3280),
    ("CREATE INDEX i ON b((SELECT 1 FROM b))", 3280),
    ("CREATE INDEX i ON b(a = $1)", 3280),
    ("CREATE INDEX i ON b(a + NOW_MILLIS())", 3280),
    ("CREATE INDEX i ON b(a || UUID())", 3280),
    ("CREATE INDEX i ON b(SUM(a))", 3280),
    ("CREATE INDEX i ON b(a) WHERE EXISTS (SELECT 1 FROM b AS x)", 3280),
    ("CREATE INDEX i ON b(a) WHERE a = $x", 3280),
    ("CREATE INDEX i ON b(a) WHERE TRUE", 3280),
    ("CREATE INDEX i ON b(a) PARTITION BY HASH((SELECT 1))", 3280),
    ("CREATE INDEX i ON b(ALL ARRAY (ALL ARRAY w FOR w IN v END) FOR v IN a END)", 1020),
    ("CREATE INDEX i ON b(DISTINCT a, ALL ARRAY v FOR v IN c END)", 5000),
    ("CREATE INDEX i ON b(FLATTEN_KEYS(a, b))", 3283),
    ("CREATE INDEX i ON b(DISTINCT FLATTEN_KEYS(a, b))", 3283),
    ("CREATE INDEX i ON b(a) WHERE FLATTEN_KEYS(a)", 3283),
    ("CREATE INDEX i ON b(DISTINCT ARRAY FLATTEN_KEYS(v, FLATTEN_KEYS(v)) FOR v IN a END)", 3283),
    ("CREATE INDEX i ON b(DISTINCT ARRAY FLATTEN_KEYS(v, $1) FOR v IN a END)", 3280),
    ("CREATE INDEX i ON b(DISTINCT ARRAY FLATTEN_KEYS(v) FOR v IN a END DESC)", 3282),
    ("CREATE INDEX i ON b(a) WITH {'num_replica': 1}", 5000),
    ("CREATE PRIMARY INDEX ON b WITH {'num_replica': 2}", 5000),
    ("CREATE INDEX i IF EXISTS ON b(a)", 3000),
    ("CREATE INDEX IF NOT EXISTS i IF NOT EXISTS ON b(a)", 3000),
    ("CREATE SCOPE b.x IF EXISTS", 3000),
    ("DROP INDEX i IF NOT EXISTS ON b", 3000),
    ("DROP INDEX i ON b USING FTS", 1020),
    ("DROP PRIMARY INDEX ON b USING VIEW", 1020),
    ("CREATE INDEX i ON b()", 3000),
    ("CREATE INDEX ON b(a)", 3000),
    ("CREATE INDEX i ON nope(a)", 12003),
    ("CREATE INDEX i ON b.nope.col(a)", 12021),
    ("CREATE INDEX i ON b.s.nope(a)", 12003),
    ("CREATE INDEX i ON system:indexes(a)", 11003),
    ("CREATE INDEX i ON b(a) WITH {'no_such_option': 1}", 5000),
    ("CREATE INDEX i ON b(a) WITH {'defer_build': 'yes'}", 5000),
    ("CREATE INDEX i ON b(a) WITH 5", 3000),
    ("CREATE INDEX i ON b(a) USING FTS", 1020),
    ("CREATE PRIMARY INDEX ON b USING VIEW", 1020),
    ("CREATE PRIMARY INDEX ON nope", 12003),
    ("DROP INDEX i ON b", 12016),
    ("DROP INDEX b.i", 12016),
    ("DROP INDEX b.s.col.i", 12016),
    ("DROP INDEX i", 3000),
    ("DROP INDEX b.i ON b", 3000),
    ("DROP PRIMARY INDEX ON b", 12004),
    ("BUILD INDEX ON b(i)", 12016),
    ("BUILD INDEX ON b(5)", 3000),
    ("CREATE SCOPE b.s", 12025),
    ("CREATE SCOPE b.`no good name!`", 12025),
    ("CREATE SCOPE nope.s", 12003),
    ("CREATE SCOPE a.b.c", 3000),
    ("CREATE SCOPE x", 3000),
    ("DROP SCOPE b.nope", 12021),
    ("DROP SCOPE b._default", 12026),
    ("CREATE COLLECTION b.s.col", 12027),
    ("CREATE COLLECTION b.nope.x", 12021),
    ("CREATE COLLECTION b.s.x WITH {'maxTTL': 'long'}", 5000),
    ("DROP COLLECTION b.s.nope", 12003),
    ("DROP COLLECTION b.nope.x", 12003),
]


class IndexTests(SynchronousTestCase):
    """Indexes from their making to their end."""

    def setUp(self) -> None:
        self.service = QueryService()

    def catalog(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = self.service.rows("SELECT RAW i FROM system:indexes AS i")
        return rows

    def test_primary(self) -> None:
        self.assertEqual(self.service.rows("CREATE PRIMARY INDEX ON b USING GSI"), [])
        self.assertEqual(self.service.error("CREATE PRIMARY INDEX ON b")[0], 4300)
        self.assertEqual(self.service.ask("CREATE PRIMARY INDEX ON b")[0], 409)
        self.service.rows("CREATE PRIMARY INDEX IF NOT EXISTS ON b")
        self.service.rows("CREATE PRIMARY INDEX `mine` IF NOT EXISTS ON default:`b`")
        self.assertEqual([index["name"] for index in self.catalog()], ["#primary", "mine"])
        self.service.rows("DROP PRIMARY INDEX ON b USING GSI")
        self.service.rows("DROP PRIMARY INDEX IF EXISTS ON b")
        self.service.rows("DROP INDEX b.mine")
        self.assertEqual(self.catalog(), [])

    def test_where_if_exists_may_stand(self) -> None:
        for kept, statements in (
            (
                ["i"],
                (
                    "CREATE INDEX IF NOT EXISTS i ON b(a)",
                    "CREATE INDEX i IF NOT EXISTS ON b(b)",
                ),
            ),
            (
                [],
                (
                    "DROP INDEX IF EXISTS i ON b",
                    "DROP INDEX i IF EXISTS ON b",
                    "DROP INDEX IF EXISTS b.i",
                    "DROP INDEX b.i IF EXISTS",
                ),
            ),
            (
                ["p", "#primary"],
                (
                    "CREATE PRIMARY INDEX IF NOT EXISTS p ON b",
                    "CREATE PRIMARY INDEX p IF NOT EXISTS ON b",
                    "CREATE PRIMARY INDEX IF NOT EXISTS ON b PARTITION BY HASH(META().id)",
                ),
            ),
            (
                [],
                (
                    "DROP PRIMARY INDEX IF EXISTS p ON b",
                    "DROP PRIMARY INDEX p IF EXISTS ON b",
                    "DROP PRIMARY INDEX IF EXISTS ON b",
                ),
            ),
        ):
            for statement in statements:
                self.service.rows(statement)
            self.assertEqual([index["name"] for index in self.catalog()], kept)

    def test_catalog(self) -> None:
        self.service.rows(
            "CREATE INDEX i ON b(a, b DESC) PARTITION BY HASH(META().id) WHERE c > 1 "
            'WITH {"defer_build": true, "num_replica": 0}'
        )
        self.service.rows("CREATE PRIMARY INDEX ON b.s.col")
        first, second = self.catalog()
        for index in (first, second):
            self.assertTrue(index.pop("id"))
            self.assertTrue(str(index.pop("datastore_id")).startswith("http://"))
        self.assertEqual(
            first,
            {
                "condition": "(1 < `c`)",
                "index_key": ["`a`", "`b` DESC"],
                "keyspace_id": "b",
                "metadata": {"num_replica": 0},
                "name": "i",
                "namespace_id": "default",
                "partition": "HASH((meta().`id`))",
                "state": "deferred",
                "using": "gsi",
            },
        )
        self.assertEqual(
            second,
            {
                "bucket_id": "b",
                "index_key": [],
                "is_primary": True,
                "keyspace_id": "col",
                "metadata": {"num_replica": 0},
                "name": "#primary",
                "namespace_id": "default",
                "scope_id": "s",
                "state": "online",
                "using": "gsi",
            },
        )

    def test_keys_as_the_catalog_shows_them(self) -> None:
        for keys, shown in SHOWN:
            self.service.rows(f"CREATE INDEX i ON b({keys})")
            (index,) = self.catalog()
            self.assertEqual(index["index_key"], shown)
            self.service.rows("DROP INDEX i ON b")

    def test_which_conditions_an_index_serves(self) -> None:
        wrong = []
        for definition, condition, served in SERVED:
            self.service.rows(f"CREATE INDEX i ON b{definition}")
            code, answer = self.service.ask(f"SELECT 1 FROM b AS t WHERE {condition}")
            if (code, answer["status"]) != ((200, "success") if served else (404, "fatal")):
                wrong.append((definition, condition, served, answer))
            self.service.rows("DROP INDEX i ON b")
        self.assertEqual(wrong, [])

    def test_unnest_is_served_by_the_index_on_its_array(self) -> None:
        statement = "SELECT RAW v FROM b AS t UNNEST t.tags AS v WHERE v = 'a'"
        self.assertEqual(self.service.error(statement)[0], 4000)
        self.service.rows("CREATE INDEX i ON b(ALL ARRAY v FOR v IN tags END)")
        self.assertEqual(self.service.rows(statement), ["a"])

    def test_deferred_indexes_serve_nothing_until_they_are_built(self) -> None:
        self.service.rows("CREATE INDEX i ON b(age) WITH {'defer_build': true}")
        self.service.rows("CREATE PRIMARY INDEX ON b WITH {'defer_build': true}")
        self.assertEqual(self.service.error("SELECT * FROM b WHERE age = 1")[0], 4000)
        self.service.rows("BUILD INDEX ON b(i) USING GSI")
        self.assertEqual(self.service.rows("SELECT RAW name FROM b WHERE age > 26"), ["Ann"])
        self.assertEqual(self.service.error("SELECT * FROM b")[0], 4000)
        self.service.rows(
            "BUILD INDEX ON b((SELECT RAW name FROM system:indexes WHERE state = 'deferred'))"
        )
        self.assertEqual(len(self.service.rows("SELECT * FROM b")), 4)
        self.service.rows("BUILD INDEX ON b('#primary', [`i`])".replace("[`i`]", "'i'"))

    def test_mutations_need_indexes_too(self) -> None:
        self.assertEqual(self.service.error("UPDATE b SET n = 1 WHERE age = 25")[0], 4000)
        self.service.rows("CREATE INDEX i ON b(age)")
        _, answer = self.service.ask("UPDATE b SET n = 1 WHERE age = 25")
        self.assertEqual(answer["metrics"]["mutationCount"], 2)
        self.assertEqual(self.service.error("DELETE FROM b WHERE name = 'Ann'")[0], 4000)

    def test_errors(self) -> None:
        wrong = []
        for statement, expected in ERRORS:
            code, _ = self.service.error(statement)
            if code != expected:
                wrong.append((statement, expected, code))
        self.assertEqual(wrong, [])
        self.assertEqual(self.catalog(), [])

    def test_scopes_and_collections(self) -> None:
        self.service.rows("CREATE SCOPE b.new")
        self.service.rows("CREATE SCOPE IF NOT EXISTS b.new")
        self.service.rows("CREATE SCOPE b.new IF NOT EXISTS")
        self.service.rows("CREATE COLLECTION default:b.new.col WITH {'maxTTL': 60}")
        self.service.rows("CREATE COLLECTION b.new.col IF NOT EXISTS")
        manifest = self.service.state.buckets["b"].manifest
        self.assertEqual(set(manifest.scopes()["new"]), {"col"})
        self.assertEqual(manifest.max_expiry(manifest.collection_id("new", "col")), 60)
        self.service.rows("CREATE PRIMARY INDEX ON b.new.col")
        self.service.rows("DROP COLLECTION b.new.col")
        self.assertEqual(self.catalog(), [])
        self.service.rows("DROP COLLECTION b.new.col IF EXISTS")
        self.service.rows("CREATE COLLECTION b.new.col")
        self.assertEqual(self.service.error("SELECT * FROM b.new.col")[0], 4000)
        self.service.rows("CREATE PRIMARY INDEX ON b.new.col")
        self.service.rows("DROP SCOPE b.new")
        self.service.rows("DROP SCOPE b.new IF EXISTS")
        self.assertEqual(self.catalog(), [])

    def test_indexes_go_with_their_bucket_and_come_back_with_a_snapshot(self) -> None:
        self.service.rows("CREATE INDEX i ON b(age) WHERE age > 1")
        self.service.rows("CREATE PRIMARY INDEX ON c")
        snapshot = self.service.storage.snapshot()
        self.service.storage.drop_bucket("b")
        self.assertEqual([index["keyspace_id"] for index in self.catalog()], ["c"])
        self.service.storage.create_bucket("b")
        self.assertEqual(self.service.error("SELECT * FROM b WHERE age > 1")[0], 4000)
        self.service.storage.restore(snapshot)
        self.assertEqual(
            self.service.rows("SELECT RAW name FROM b WHERE age > 26 AND age > 1"), ["Ann"]
        )

    def test_copies_are_independent(self) -> None:
        self.service.rows("CREATE INDEX i ON b(age) WITH {'defer_build': true}")
        indexes = self.service.state.query_indexes
        copied = copy.deepcopy(indexes)
        self.service.rows("BUILD INDEX ON b(i)")
        self.assertEqual([index.state for index in copied.all()], ["deferred"])
        self.assertEqual([index.state for index in indexes.all()], ["online"])

    def test_explain_names_the_index(self) -> None:
        self.service.rows("CREATE INDEX i ON b(age)")
        self.service.rows("CREATE PRIMARY INDEX ON b")
        for statement, operator, index in (
            ("SELECT * FROM b WHERE age = 1", "IndexScan3", "i"),
            ("SELECT * FROM b", "PrimaryScan3", "#primary"),
            ("SELECT * FROM b USE KEYS 'a'", "KeyScan", None),
            ("UPDATE b SET a = 1", "PrimaryScan3", "#primary"),
            ("DELETE FROM b WHERE age = 1", "IndexScan3", "i"),
        ):
            (row,) = self.service.rows(f"EXPLAIN {statement}")
            scan = row["plan"]["~children"][0]
            self.assertEqual((scan["#operator"], scan.get("index")), (operator, index))
            self.assertEqual(row["text"], f"EXPLAIN {statement}")
        self.assertEqual(self.service.error("EXPLAIN SELECT * FROM c")[0], 4000)
        self.assertEqual(self.service.rows("SELECT RAW COUNT(*) FROM b"), [4])
