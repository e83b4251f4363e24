"""SQL++ of the embedded node: expressions and SELECT, statement by statement."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sqlpp import QueryService
from txcouchbase.testing.query.aggregates import AGGREGATES
from txcouchbase.testing.query.functions import ABSENT, FUNCTIONS

MISSING = ...

EXPRESSIONS: list[tuple[str, Any]] = [
    # Literals and constructors.
    ("1", 1),
    ("-1", -1),
    ("1.5e3", 1500),
    ("'it''s'", "it's"),
    ('"say ""hi"""', 'say "hi"'),
    (r'"a\n\u00e9\"q"', 'a\né"q'),
    (r"'\'\t'", "'\t"),
    ("TRUE", True),
    ("false", False),
    ("NULL", None),
    ("MISSING", MISSING),
    ("[1, NULL, MISSING, 'x']", [1, None, None, "x"]),
    ("[]", []),
    ("{}", {}),
    ("{'a': 1, 'b': MISSING, 'c': {'d': []}}", {"a": 1, "c": {"d": []}}),
    ("{1 + 1 AS a, 'x' b}", {"a": 2, "b": "x"}),
    ("{1: 2}", None),
    ("{MISSING: 2}", MISSING),
    ("18446744073709551615", 1.8446744073709552e19),
    # Arithmetic.
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 - 2 - 1", 4),
    ("6 / 2", 3),
    ("2 ^ 3 + 1", 9),
    ("2 * 3 ^ 2", 36),
    ("7 / 2", 3.5),
    ("7 % 4", 3),
    ("-7 % 4", -3),
    ("1 / 0", None),
    ("1 % 0", None),
    ("- - 1", 1),
    ("-(-(2))", 2),
    ("1 + NULL", None),
    ("1 + MISSING", MISSING),
    ("NULL + MISSING", MISSING),
    ("1 + 'a'", None),
    ("-'a'", None),
    ("-MISSING", MISSING),
    ("2 + 0.5", 2.5),
    ("0.5 + 0.5", 1),
    # Concatenation.
    ("'a' || 'b' || 'c'", "abc"),
    ("'a' || 1", None),
    ("'a' || NULL", None),
    ("'a' || MISSING", MISSING),
    # Comparison.
    ("1 = 1.0", True),
    ("1 == 2", False),
    ("1 != 2", True),
    ("1 <> 1", False),
    ("1 = '1'", False),
    ("1 = TRUE", False),
    ("'a' < 'b'", True),
    ("2 > 1", True),
    ("2 >= 2", True),
    ("2 <= 1", False),
    ("NULL = NULL", None),
    ("NULL = 1", None),
    ("MISSING = 1", MISSING),
    ("MISSING = NULL", MISSING),
    ("NULL != 1", None),
    ("MISSING != 1", MISSING),
    ("NULL < 1", None),
    ("MISSING < 1", MISSING),
    ("1 < 'a'", True),
    ("FALSE < TRUE", True),
    ("TRUE < 1", True),
    ("[1, 2] = [1, 2]", True),
    ("[1, 2] < [1, 3]", True),
    ("{'a': 1} = {'a': 1.0}", True),
    ("{'a': 1} = {'b': 1}", False),
    ("1 < 2 = TRUE", True),
    ("5 BETWEEN 1 AND 5", True),
    ("5 BETWEEN 6 AND 7", False),
    ("5 NOT BETWEEN 6 AND 7", True),
    ("5 BETWEEN NULL AND 7", None),
    ("5 BETWEEN NULL AND 3", False),
    ("5 BETWEEN MISSING AND 7", MISSING),
    ("5 BETWEEN 1 AND 4 + 1", True),
    # IS.
    ("NULL IS NULL", True),
    ("1 IS NULL", False),
    ("MISSING IS NULL", MISSING),
    ("1 IS NOT NULL", True),
    ("MISSING IS NOT NULL", MISSING),
    ("MISSING IS MISSING", True),
    ("NULL IS MISSING", False),
    ("NULL IS NOT MISSING", True),
    ("1 IS VALUED", True),
    ("NULL IS VALUED", False),
    ("MISSING IS NOT VALUED", True),
    ("NULL IS KNOWN", False),
    ("MISSING IS UNKNOWN", True),
    ("1 IS UNKNOWN", False),
    ("1 IS DISTINCT FROM 1.0", False),
    ("1 IS DISTINCT FROM 'a'", True),
    ("NULL IS DISTINCT FROM NULL", False),
    ("NULL IS DISTINCT FROM MISSING", True),
    ("MISSING IS DISTINCT FROM 1", True),
    ("MISSING IS NOT DISTINCT FROM MISSING", True),
    ("NULL IS NOT DISTINCT FROM 1", False),
    ("[1, NULL] IS NOT DISTINCT FROM [1, NULL]", None),
    ("1 IS NOT DISTINCT FROM 1 AND 2 IS /* x */ DISTINCT\nFROM 3", True),
    # Logic.
    ("TRUE AND FALSE", False),
    ("TRUE AND TRUE AND TRUE", True),
    ("TRUE AND NULL", None),
    ("FALSE AND NULL", False),
    ("NULL AND MISSING", MISSING),
    ("TRUE AND MISSING", MISSING),
    ("FALSE AND MISSING", False),
    ("TRUE OR NULL", True),
    ("FALSE OR NULL", None),
    ("FALSE OR MISSING", MISSING),
    ("NULL OR MISSING", None),
    ("NOT TRUE", False),
    ("NOT NULL", None),
    ("NOT MISSING", MISSING),
    ("NOT 1 = 2", True),
    ("TRUE OR FALSE AND FALSE", True),
    ("NOT FALSE AND FALSE", False),
    ("1 AND 'a'", True),
    ("0 OR ''", False),
    ("NOT NOT TRUE", True),
    # LIKE.
    ("'hello' LIKE 'h%o'", True),
    ("'hello' LIKE 'h_llo'", True),
    ("'hello' LIKE 'h_l'", False),
    ("'hello' LIKE '%'", True),
    ("'hello' NOT LIKE 'x%'", True),
    ("'a.c' LIKE 'a.c'", True),
    ("'abc' LIKE 'a.c'", False),
    ("'50%' LIKE '50!%' ESCAPE '!'", True),
    ("'50x' LIKE '50!%' ESCAPE '!'", False),
    (r"'50%' LIKE '50\\%'", True),
    ("'a\nb' LIKE 'a%b'", True),
    ("'' LIKE ''", True),
    ("'aab' LIKE 'a%ab'", True),
    ("'ab' LIKE 'ab%ab'", False),
    ("1 LIKE '1'", None),
    ("NULL LIKE 'a'", None),
    ("MISSING LIKE 'a'", MISSING),
    ("'%a%b%c' LIKE '%%%a%b%c'", True),
    # IN and WITHIN.
    ("2 IN [1, 2]", True),
    ("3 IN [1, 2]", False),
    ("3 NOT IN [1, 2]", True),
    ("1 IN [1.0]", True),
    ("3 IN [1, NULL]", None),
    ("1 IN [1, NULL]", True),
    ("NULL IN [1, NULL]", None),
    ("MISSING IN [1]", MISSING),
    ("1 IN NULL", None),
    ("1 IN MISSING", MISSING),
    ("1 IN 5", None),
    ("3 IN []", False),
    ("7 IN ARRAY_RANGE(0, 10)", True),
    ("2 WITHIN [1, [2]]", True),
    ("2 IN [1, [2]]", False),
    ("2 WITHIN {'a': {'b': [2]}}", True),
    ("3 NOT WITHIN {'a': 2}", True),
    # Paths.
    ("{'a': {'b': 1}}.a.b", 1),
    ("{'a': 1}.b", MISSING),
    ("{'a': 1}.a.b", MISSING),
    ("NULL.a", None),
    ("'x'.a", MISSING),
    ("{'a b': 1}.`a b`", 1),
    ("{'a': 1}.['a']", 1),
    ("{'a': 1}.['A' || '']", MISSING),
    ("{'aB': 1}.`Ab`i", 1),
    ("{'aB': 1, 'Ab': 2}.`Ab`i", 2),
    ("{'a': {'B': 1}}.`A`i.`b`i", 1),
    ("{'a': 1}.`b`i", MISSING),
    ("NULL.`b`i", None),
    ("{'A': 1}.['a']i", 1),
    ("{'A': 1}.['a']", MISSING),
    ("[{'A': 1}][0].`a`i + 1", 2),
    ("[1, 2, 3][0]", 1),
    ("[1, 2, 3][-1]", 3),
    ("[1, 2, 3][3]", MISSING),
    ("[1, 2, 3]['a']", None),
    ("[1, 2, 3][1.0]", 2),
    ("[1, 2, 3][0.5]", MISSING),
    ("NULL[0]", None),
    ("'abc'[0]", MISSING),
    ("[1, 2, 3][1:]", [2, 3]),
    ("[1, 2, 3][:1]", [1]),
    ("[1, 2, 3][0:2]", [1, 2]),
    ("[1, 2, 3][-2:]", [2, 3]),
    ("[1, 2, 3][:]", [1, 2, 3]),
    ("[1, 2, 3][1:9]", MISSING),
    ("'abc'[0:1]", None),
    # CASE.
    ("CASE WHEN 1 = 2 THEN 'a' WHEN TRUE THEN 'b' ELSE 'c' END", "b"),
    ("CASE WHEN NULL THEN 1 END", None),
    ("CASE WHEN MISSING THEN 1 ELSE 2 END", 2),
    ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "b"),
    ("CASE NULL WHEN NULL THEN 'a' ELSE 'b' END", "b"),
    # Loops.
    ("ANY v IN [1, 2] SATISFIES v = 2 END", True),
    ("SOME v IN [1, 2] SATISFIES v = 3 END", False),
    ("ANY v IN [] SATISFIES TRUE END", False),
    ("EVERY v IN [1, 2] SATISFIES v > 0 END", True),
    ("EVERY v IN [1, 2] SATISFIES v > 1 END", False),
    ("EVERY v IN [] SATISFIES FALSE END", True),
    ("ANY AND EVERY v IN [] SATISFIES TRUE END", False),
    ("ANY AND EVERY v IN [1] SATISFIES v = 1 END", True),
    ("ANY v IN MISSING SATISFIES TRUE END", MISSING),
    ("ANY v IN 5 SATISFIES TRUE END", None),
    ("ANY v WITHIN {'a': [1, 2]} SATISFIES v = 2 END", True),
    ("ANY k: v IN {'x': 1} SATISFIES k = 'x' AND v = 1 END", True),
    ("ARRAY v * 2 FOR v IN [1, 2, 3] END", [2, 4, 6]),
    ("ARRAY v FOR v IN [1, 2, 3] WHEN v > 1 END", [2, 3]),
    ("ARRAY v.a FOR v IN [{'a': 1}, {}] END", [1]),
    ("ARRAY i FOR i: v IN ['a', 'b'] END", [0, 1]),
    ("ARRAY x + y FOR x IN [1, 2], y IN [10, 20, 30] END", [11, 22]),
    ("ARRAY (ARRAY w FOR w IN [v, v] END) FOR v IN [1, 2] END", [[1, 1], [2, 2]]),
    ("ARRAY v FOR v IN NULL END", None),
    ("ARRAY v FOR v IN MISSING END", MISSING),
    ("FIRST v FOR v IN [1, 2, 3] WHEN v > 1 END", 2),
    ("FIRST v FOR v IN [] END", MISSING),
    ("OBJECT 'k' || TO_STRING(v): v FOR v IN [1, 2] END", {"k1": 1, "k2": 2}),
    ("OBJECT k: v + 1 FOR k: v IN {'a': 1, 'b': 2} END", {"a": 2, "b": 3}),
    # Subqueries.
    ("(SELECT RAW 1)", [1]),
    ("(SELECT RAW 1)[0]", 1),
    ("(SELECT 1 AS a)", [{"a": 1}]),
    ("EXISTS (SELECT 1)", True),
    ("EXISTS (SELECT 1 FROM [] AS x)", False),
    ("EXISTS [1]", True),
    ("EXISTS []", False),
    ("NOT EXISTS []", True),
    ("2 IN (SELECT RAW x FROM [1, 2] AS x)", True),
    ("ARRAY (SELECT RAW v + w FROM [10] AS w) FOR v IN [1, 2] END", [[11], [12]]),
    ("(SELECT RAW (SELECT RAW x + y FROM [1] AS y) FROM [1, 2] AS x)", [[2], [3]]),
    # Functions.
    ("UPPER('a')", "A"),
    ("upper('a')", "A"),
    ("REPLACE('abc', 'b', 'x')", "axc"),
    ("ARRAY_LENGTH([1, 2])", 2),
    ("ARRAY_RANGE(0, 4)", [0, 1, 2, 3]),
    ("ARRAY_RANGE(0, 4)[1]", 1),
    ("NOW_MILLIS()", 1_700_000_000_000),
    ("IFMISSINGORNULL(MISSING, NULL, 3)", 3),
    ("TYPE([1])", "array"),
    ("LEAST(3, 1, 2)", 1),
    (
        "[ADD(1, 2, 3), SUB(5, 2), MULT(2, 3, 4), DIV(7, 2), MOD(7, 4), NEG(2)]",
        [6, 3, 24, 3.5, 3, -2],
    ),
    ("[DIV(1, 0), ADD(1, NULL), IDIV(7, 2), IMOD(7, 4)]", [None, None, 3, 3]),
    ("ADD(1, MISSING)", MISSING),
    ("[EQ(1, 1), LT(1, 1), LE(1, 1)]", [True, False, True]),
    ("[IS_NULL(NULL), ISNULL(1), IS_NOT_NULL(1)]", [True, False, True]),
    ("IS_NULL(MISSING)", MISSING),
    ("[IS_MISSING(MISSING), ISMISSING(NULL), IS_NOT_MISSING(1)]", [True, False, True]),
    ("[IS_VALUED(1), IS_KNOWN(NULL), ISNOTUNKNOWN(1), ISUNKNOWN(NULL)]", [True, False, True, True]),
    ("[ISNOTVALUED(MISSING), IS_NOT_KNOWN(1)]", [True, False]),
    ("[ISDISTINCTFROM(1, NULL), IS_NOT_DISTINCT_FROM(NULL, NULL)]", [True, True]),
    ("[VERSION() LIKE '7.6.%', VERSION() = DS_VERSION(), MIN_VERSION()]", [True, True, "1.0.0"]),
]

QUERIES: list[tuple[str, list[Any]]] = [
    # Projection.
    ("SELECT 1", [{"$1": 1}]),
    ("SELECT 1, 2 AS x, 3", [{"$1": 1, "x": 2, "$2": 3}]),
    ("SELECT 1 one", [{"one": 1}]),
    ("SELECT RAW 1", [1]),
    ("SELECT ELEMENT 1", [1]),
    ("SELECT VALUE 1", [1]),
    ("SELECT RAW MISSING", [None]),
    ("SELECT MISSING AS a, 1 AS b", [{"b": 1}]),
    ("SELECT {'a': 1}.a, [5][0]", [{"a": 1, "$1": 5}]),
    ("SELECT ALL 1", [{"$1": 1}]),
    ("SELECT RAW x FROM 5 AS x", [5]),
    ("SELECT RAW x FROM NULL AS x", [None]),
    ("SELECT RAW x FROM MISSING AS x", []),
    ("SELECT RAW x.a FROM {'a': 1} AS x", [1]),
    ("FROM [1, 2] AS x SELECT RAW x + 1", [2, 3]),
    ("FROM [1, 2] AS x WHERE x > 1 SELECT x", [{"x": 2}]),
    # FROM.
    ("SELECT * FROM [1, 2] AS x", [{"x": 1}, {"x": 2}]),
    ("SELECT x.* FROM [{'a': 1}, 5, {'b': 2}] AS x", [{"a": 1}, {}, {"b": 2}]),
    ("SELECT x.*, 9 AS z FROM [{'a': 1}] AS x", [{"a": 1, "z": 9}]),
    ("SELECT a FROM [{'a': 1}] AS x", [{"a": 1}]),
    ("SELECT a.b FROM [{'a': {'b': 1}}] x", [{"b": 1}]),
    ("SELECT RAW n FROM ARRAY_RANGE(3, 0, -1) AS n", [3, 2, 1]),
    ("SELECT RAW t.a FROM (SELECT 1 AS a UNION ALL SELECT 2 AS a) AS t", [1, 2]),
    ("SELECT * FROM [1] AS x, [2, 3] AS y", [{"x": 1, "y": 2}, {"x": 1, "y": 3}]),
    ("SELECT RAW v FROM [{'l': [1, 2]}, {'l': [3]}] AS x, x.l AS v", [1, 2, 3]),
    # LET and WITH.
    ("SELECT RAW y FROM [1, 2] AS x LET y = x * 10", [10, 20]),
    ("SELECT RAW z FROM [1] AS x LET y = x + 1, z = y + 1", [3]),
    ("SELECT RAW y LET y = 5", [5]),
    ("SELECT * FROM [1] AS x LET y = 2", [{"x": 1, "y": 2}]),
    ("SELECT RAW x FROM [1, 2] AS x LET y = x * 10 WHERE y > 10", [2]),
    ("WITH a AS (SELECT RAW 1) SELECT RAW a", [[1]]),
    ("WITH a AS ([1, 2]) SELECT RAW x FROM a AS x", [1, 2]),
    ("WITH a AS (SELECT RAW 1), b AS (ARRAY_APPEND(a, 2)) SELECT RAW b", [[1, 2]]),
    ("WITH a AS ([{'n': 1}]) SELECT n FROM a", [{"n": 1}]),
    # WHERE: what is not true drops a row.
    ("SELECT RAW x FROM [1, 2, 3] AS x WHERE x != 2", [1, 3]),
    ("SELECT RAW x FROM [1, NULL, 'a'] AS x WHERE x > 0", [1, "a"]),
    ("SELECT RAW x FROM [1, 0] AS x WHERE x", [1]),
    ("SELECT RAW x.a FROM [{'a': 1}, {}] AS x WHERE x.a IS MISSING", [None]),
    ("SELECT RAW 1 WHERE FALSE", []),
    ("SELECT RAW 1 WHERE NULL", []),
    # UNNEST.
    (
        "SELECT x.a, v FROM [{'a': 1, 'l': [5, 6]}] AS x UNNEST x.l AS v",
        [{"a": 1, "v": 5}, {"a": 1, "v": 6}],
    ),
    ("SELECT RAW l FROM [{'l': [1]}] AS x UNNEST x.l", [1]),
    ("SELECT x.a FROM [{'a': 1}, {'a': 2, 'l': []}, {'a': 3, 'l': 5}] AS x UNNEST x.l AS v", []),
    (
        "SELECT x.a, v FROM [{'a': 1}, {'a': 2, 'l': [7]}] AS x LEFT OUTER UNNEST x.l AS v",
        [{"a": 1}, {"a": 2, "v": 7}],
    ),
    ("SELECT RAW w FROM [{'l': [[1], [2, 3]]}] AS x UNNEST x.l AS v UNNEST v AS w", [1, 2, 3]),
    ("SELECT RAW v FROM [[NULL, 1]] AS x UNNEST x AS v", [None, 1]),
    ("SELECT RAW v FROM [{'l': [1]}] AS x FLATTEN x.l AS v", [1]),
    # Joins.
    ("SELECT x, y FROM [1, 2] AS x JOIN [2, 3] AS y ON x = y", [{"x": 2, "y": 2}]),
    ("SELECT x, y FROM [1, 2] AS x LEFT JOIN [2, 3] AS y ON x = y", [{"x": 1}, {"x": 2, "y": 2}]),
    ("SELECT x, y FROM [1, 2] AS x INNER JOIN [2] AS y ON x < y", [{"x": 1, "y": 2}]),
    ("SELECT x, y FROM [1, 2] AS x NEST [2, 2, 3] AS y ON x = y", [{"x": 2, "y": [2, 2]}]),
    (
        "SELECT x, y FROM [1, 2] AS x LEFT NEST [2] AS y ON x = y",
        [{"x": 1, "y": []}, {"x": 2, "y": [2]}],
    ),
    ("SELECT x, y FROM [1] AS x LEFT NEST [] AS y ON TRUE", [{"x": 1, "y": []}]),
    ("SELECT x, y FROM [1] AS x LEFT NEST MISSING AS y ON TRUE", [{"x": 1, "y": []}]),
    (
        "SELECT RAW [x, y, z] FROM [1] AS x JOIN [1, 2] AS y ON y > 1 JOIN [3] AS z ON z > y",
        [[1, 2, 3]],
    ),
    ("SELECT RAW y FROM [1, 2] AS x JOIN (SELECT RAW n FROM [2] AS n) AS y ON x = y", [2]),
    # ORDER BY.
    ("SELECT RAW x FROM [3, 1, 2] AS x ORDER BY x", [1, 2, 3]),
    ("SELECT RAW x FROM [3, 1, 2] AS x ORDER BY x DESC", [3, 2, 1]),
    (
        "SELECT RAW x FROM [{}, [], 'a', 1, TRUE, FALSE, NULL] AS x ORDER BY x",
        [None, False, True, 1, "a", [], {}],
    ),
    ("SELECT RAW x.a FROM [{'a': 1}, {}, {'a': NULL}] AS x ORDER BY x.a", [None, None, 1]),
    ("SELECT x.a FROM [{'a': 1}, {}, {'a': NULL}] AS x ORDER BY x.a", [{}, {"a": None}, {"a": 1}]),
    ("SELECT x.a FROM [{'a': 1}, {}] AS x ORDER BY x.a NULLS LAST", [{"a": 1}, {}]),
    ("SELECT x.a FROM [{'a': 1}, {}] AS x ORDER BY x.a DESC", [{"a": 1}, {}]),
    ("SELECT x.a FROM [{'a': 1}, {}] AS x ORDER BY x.a DESC NULLS FIRST", [{}, {"a": 1}]),
    (
        "SELECT RAW [x.a, x.b] FROM [{'a': 1, 'b': 1}, {'a': 2, 'b': 1}, {'a': 1, 'b': 2}] AS x "
        "ORDER BY x.a DESC, x.b ASC",
        [[2, 1], [1, 1], [1, 2]],
    ),
    (
        "SELECT RAW [x.a, x.b] FROM [{'a': 1, 'b': 1}, {'a': 1, 'b': 2}] AS x "
        "ORDER BY x.a DESC, x.b DESC",
        [[1, 2], [1, 1]],
    ),
    ("SELECT x AS y FROM [1, 2] AS x ORDER BY y DESC", [{"y": 2}, {"y": 1}]),
    ("SELECT -x AS y FROM [1, 2] AS x ORDER BY y", [{"y": -2}, {"y": -1}]),
    ("SELECT RAW x FROM ['b', 'B', 'a'] AS x ORDER BY LOWER(x), x", ["a", "B", "b"]),
    # LIMIT and OFFSET.
    ("SELECT RAW x FROM [1, 2, 3] AS x LIMIT 2", [1, 2]),
    ("SELECT RAW x FROM [1, 2, 3] AS x LIMIT 0", []),
    ("SELECT RAW x FROM [1, 2, 3] AS x LIMIT -1", []),
    ("SELECT RAW x FROM [1, 2, 3] AS x OFFSET 1", [2, 3]),
    ("SELECT RAW x FROM [1, 2, 3] AS x OFFSET 9", []),
    ("SELECT RAW x FROM [1, 2, 3] AS x LIMIT 1 OFFSET 1", [2]),
    ("SELECT RAW x FROM [1, 2, 3] AS x OFFSET 1 LIMIT 1", [2]),
    ("SELECT RAW x FROM [3, 1, 2] AS x ORDER BY x LIMIT 1 + 1", [1, 2]),
    ("SELECT RAW x FROM [3, 1, 2] AS x ORDER BY x OFFSET 2", [3]),
    # DISTINCT.
    ("SELECT DISTINCT RAW x FROM [1, 1.0, 2, 1] AS x", [1, 2]),
    ("SELECT DISTINCT RAW x FROM [1, TRUE, '1'] AS x", [1, True, "1"]),
    (
        "SELECT DISTINCT x.a FROM [{'a': 1, 'b': 1}, {'a': 1}, {}, {'a': NULL}] AS x",
        [{"a": 1}, {}, {"a": None}],
    ),
    ("SELECT DISTINCT RAW x FROM [2, 1, 2, 3] AS x ORDER BY x DESC LIMIT 2", [3, 2]),
    ("SELECT DISTINCT RAW x FROM [2, 1, 2] AS x OFFSET 1", [1]),
    # Set operations.
    ("SELECT RAW 1 UNION SELECT RAW 1", [1]),
    ("SELECT RAW 1 UNION ALL SELECT RAW 1", [1, 1]),
    ("SELECT 1 AS a UNION SELECT 1.0 AS a UNION SELECT 2 AS a", [{"a": 1}, {"a": 2}]),
    ("SELECT RAW x FROM [1, 2, 2] AS x INTERSECT SELECT RAW x FROM [2, 3] AS x", [2]),
    ("SELECT RAW x FROM [1, 2, 2] AS x INTERSECT ALL SELECT RAW x FROM [2, 2] AS x", [2, 2]),
    ("SELECT RAW x FROM [1, 2, 3] AS x EXCEPT SELECT RAW 2", [1, 3]),
    ("SELECT RAW x FROM [1, 1, 2] AS x EXCEPT SELECT RAW 2", [1]),
    ("SELECT RAW x FROM [1, 1, 2] AS x EXCEPT ALL SELECT RAW 1", [1, 2]),
    ("SELECT 1 AS a UNION ALL SELECT 3 AS a ORDER BY a DESC LIMIT 1", [{"a": 3}]),
    ("(SELECT RAW 1) UNION ALL (SELECT RAW x FROM [5, 4] AS x ORDER BY x LIMIT 1)", [1, 4]),
    ("SELECT RAW 1 UNION ALL SELECT RAW 2 OFFSET 1", [2]),
    # Groups.
    ("SELECT COUNT(*) AS n FROM [1, 2] AS x", [{"n": 2}]),
    ("SELECT RAW COUNT(*) FROM [] AS x", [0]),
    (
        "SELECT COUNT(x) c, SUM(x) s, AVG(x) a, MIN(x) i, MAX(x) m, ARRAY_AGG(x) g FROM [] AS x",
        [{"c": 0, "s": None, "a": None, "i": None, "m": None, "g": None}],
    ),
    ("SELECT RAW COUNT(x.a) FROM [{'a': 1}, {}, {'a': NULL}] AS x", [1]),
    ("SELECT RAW COUNT(DISTINCT x) FROM [1, 1.0, 2, NULL] AS x", [2]),
    ("SELECT RAW SUM(x) FROM [1, 'a', 2.5, NULL] AS x", [3.5]),
    ("SELECT RAW SUM(DISTINCT x) FROM [1, 1, 2] AS x", [3]),
    ("SELECT RAW AVG(x) FROM [1, 2] AS x", [1.5]),
    ("SELECT RAW [MIN(x), MAX(x)] FROM [2, 'a', 1, NULL] AS x", [[1, "a"]]),
    ("SELECT RAW ARRAY_AGG(x.a) FROM [{'a': 2}, {}, {'a': NULL}, {'a': 1}] AS x", [[None, 1, 2]]),
    ("SELECT RAW ARRAY_AGG(DISTINCT x) FROM [2, 1, 2] AS x", [[1, 2]]),
    ("SELECT RAW MEDIAN(x) FROM [1, 5, 2] AS x", [2]),
    ("SELECT RAW MEDIAN(x) FROM [1, 2, 3, 4] AS x", [2.5]),
    ("SELECT RAW COUNTN(x) FROM [1, 'a', NULL] AS x", [1]),
    ("SELECT RAW VARIANCE(x) FROM [1, 3] AS x", [2]),
    ("SELECT RAW VAR_POP(x) FROM [1, 3] AS x", [1]),
    ("SELECT RAW STDDEV(x) FROM [1] AS x", [0]),
    ("SELECT RAW STDDEV_SAMP(x) FROM [1] AS x", [None]),
    ("SELECT RAW STDDEV_POP(x) FROM [1, 3] AS x", [1]),
    ("SELECT RAW COUNT(*) FILTER (WHERE x > 1) FROM [1, 2, 3] AS x", [2]),
    ("SELECT RAW 1 + COUNT(*) * 2 FROM [1] AS x", [3]),
    (
        "SELECT x.k, COUNT(*) AS n FROM [{'k': 'a'}, {'k': 'b'}, {'k': 'a'}] AS x GROUP BY x.k",
        [{"k": "a", "n": 2}, {"k": "b", "n": 1}],
    ),
    ("SELECT k FROM [{'k': 1}, {'k': 1.0}] AS x GROUP BY k", [{"k": 1}]),
    (
        "SELECT x.k, COUNT(*) AS n FROM [{}, {'k': NULL}, {}] AS x GROUP BY x.k",
        [{"n": 2}, {"k": None, "n": 1}],
    ),
    ("SELECT RAW COUNT(*) FROM [1, 2, 3, 4] AS x GROUP BY x % 2 ORDER BY x % 2", [2, 2]),
    ("SELECT RAW k FROM [1, 2, 3] AS x GROUP BY x % 2 AS k ORDER BY k", [0, 1]),
    ("SELECT RAW x FROM [1, 1] AS x GROUP BY x HAVING COUNT(*) > 1", [1]),
    ("SELECT RAW x FROM [1, 1] AS x GROUP BY x HAVING COUNT(*) > 2", []),
    ("SELECT RAW n FROM [1, 1] AS x GROUP BY x LETTING n = COUNT(*) HAVING n = 2", [2]),
    ("SELECT RAW SUM(x) FROM [1, 2] AS x HAVING SUM(x) > 5", []),
    ("SELECT RAW x FROM [1, 2, 2] AS x GROUP BY x ORDER BY COUNT(*) DESC", [2, 1]),
    ("SELECT COUNT(*) AS n FROM [1, 2, 2] AS x GROUP BY x ORDER BY n LIMIT 1", [{"n": 1}]),
    ("SELECT DISTINCT RAW COUNT(*) FROM [1, 2] AS x GROUP BY x", [1]),
    ("SELECT RAW x FROM [] AS x GROUP BY x", []),
    (
        "SELECT RAW [k, (SELECT RAW y FROM [1, 2] AS y WHERE y = k)] "
        "FROM [1, 2] AS x GROUP BY x AS k ORDER BY k",
        [[1, [1]], [2, [2]]],
    ),
    ("SELECT RAW ARRAY v + COUNT(*) FOR v IN [1, 2] END FROM [1] AS x", [[2, 3]]),
    # Correlated subqueries.
    (
        "SELECT x.a, (SELECT RAW v FROM x.l AS v WHERE v > x.a) AS more "
        "FROM [{'a': 1, 'l': [1, 2, 3]}, {'a': 5, 'l': [4]}] AS x",
        [{"a": 1, "more": [2, 3]}, {"a": 5, "more": []}],
    ),
    (
        "SELECT RAW x FROM [1, 2, 3] AS x "
        "WHERE EXISTS (SELECT 1 FROM [2, 3] AS y WHERE y = x) ORDER BY x",
        [2, 3],
    ),
    ("SELECT RAW x FROM [1, 2] AS x ORDER BY (SELECT RAW -x)[0]", [2, 1]),
    ("SELECT RAW (SELECT RAW COUNT(*) FROM ARRAY_RANGE(0, x) AS y)[0] FROM [1, 3] AS x", [1, 3]),
    # Documents.
    ("SELECT RAW name FROM b", ["Ann", "Bob", "Cid", "Dan"]),
    ("SELECT RAW `b`.name FROM `b`", ["Ann", "Bob", "Cid", "Dan"]),
    ("SELECT RAW t.name FROM default:b AS t WHERE t.age < 30", ["Bob", "Cid"]),
    ("SELECT name FROM b WHERE age IS NULL", [{"name": "Dan"}]),
    ("SELECT name FROM b WHERE boss IS MISSING", [{"name": "Ann"}, {"name": "Bob"}]),
    ("SELECT RAW META().id FROM b WHERE address.city = 'Rome'", ["d2"]),
    (
        "SELECT META(t).id, t.name FROM b AS t ORDER BY t.name DESC LIMIT 1",
        [{"id": "d4", "name": "Dan"}],
    ),
    ("SELECT RAW META().type FROM b LIMIT 1", ["json"]),
    ("SELECT RAW META().expiration FROM b LIMIT 1", [0]),
    ("SELECT RAW META().flags FROM b LIMIT 1", [0x02000006]),
    ("SELECT RAW META().nothing FROM b LIMIT 1", [None]),
    ("SELECT RAW t.name FROM b AS t USE KEYS 'd2'", ["Bob"]),
    ("SELECT RAW t.name FROM b AS t USE PRIMARY KEYS ['d3', 'nope', 'd1', 5]", ["Cid", "Ann"]),
    ("SELECT RAW name FROM b USE INDEX (ix USING GSI) WHERE age = 30", ["Ann"]),
    ("SELECT RAW g FROM b AS t UNNEST t.tags AS g", ["a", "b", "b"]),
    (
        "SELECT age, COUNT(*) AS n FROM b WHERE age IS VALUED GROUP BY age ORDER BY age",
        [{"age": 25, "n": 2}, {"age": 30, "n": 1}],
    ),
    (
        "SELECT t.name, p.name AS boss FROM b AS t JOIN b AS p ON KEYS t.boss",
        [{"name": "Cid", "boss": "Ann"}, {"name": "Dan", "boss": "Ann"}],
    ),
    (
        "SELECT t.name, p.name AS boss FROM b AS t JOIN b AS p ON t.boss = META(p).id "
        "WHERE t.age = 25",
        [{"name": "Cid", "boss": "Ann"}],
    ),
    (
        "SELECT RAW t.name FROM b AS t LEFT JOIN b AS p ON KEYS t.boss WHERE p IS MISSING",
        ["Ann", "Bob"],
    ),
    (
        "SELECT t.name, ARRAY_LENGTH(p) AS n FROM b AS t NEST b AS p ON META(t).id = p.boss",
        [{"name": "Ann", "n": 2}],
    ),
    (
        "SELECT x.k, ARRAY_LENGTH(p) AS n "
        "FROM [{'k': 'd1'}, {'k': ['nope']}, {}] AS x LEFT NEST b AS p ON KEYS x.k",
        [{"k": "d1", "n": 1}, {"k": ["nope"], "n": 0}, {}],
    ),
    (
        "SELECT t.name, ARRAY_LENGTH(p) AS n FROM b AS t LEFT NEST b AS p ON META(t).id = p.boss",
        [
            {"name": "Ann", "n": 2},
            {"name": "Bob", "n": 0},
            {"name": "Cid", "n": 0},
            {"name": "Dan", "n": 0},
        ],
    ),
    ("SELECT t.`NAME`i FROM b AS t WHERE t.`Age`i = 30", [{"NAME": "Ann"}]),
    ("SELECT `b`.`NAME`i FROM b USE KEYS 'd1'", [{"NAME": "Ann"}]),
    ("SELECT RAW META(t).`ID`i FROM b AS t USE KEYS 'd1'", ["d1"]),
    ("SELECT RAW name FROM b WHERE boss IS DISTINCT FROM 'd1'", ["Ann", "Bob"]),
    ("SELECT RAW COUNT(*) FROM b", [4]),
    ("SELECT RAW COUNT(*) FROM b.s.col", [0]),
    ("SELECT RAW COUNT(*) FROM default:b.s.col AS x", [0]),
    (
        "SELECT RAW (SELECT RAW COUNT(*) FROM b AS i WHERE i.age = o.age)[0] "
        "FROM b AS o USE KEYS 'd2'",
        [2],
    ),
    # The catalog.
    ("SELECT RAW name FROM system:buckets", ["b", "c"]),
    ("SELECT RAW s.name FROM system:scopes AS s WHERE s.`bucket` = 'b'", ["_default", "s"]),
    ("SELECT RAW k.name FROM system:keyspaces AS k WHERE k.`scope` = 's'", ["col"]),
    ("SELECT RAW name FROM system:namespaces", ["default"]),
    ("SELECT RAW 1 FROM system:dual", [1]),
    # Comments and hints.
    ("SELECT /* a */ 1 -- b\n AS /*+ INDEX(c) */ x;", [{"x": 1}]),
]

ERRORS: list[tuple[str, int, str]] = [
    ("", 3000, "end of input"),
    ("SELEKT 1", 3000, "line 1, column 1"),
    ("SELECT", 3000, "end of input"),
    ("SELECT FROM x", 3000, "near 'SELECT ', at: FROM (reserved word)"),
    ("SELECT 1 SELECT 2", 3000, "at: SELECT"),
    ("SELECT * FROM b WHERE", 3000, "end of input"),
    ("SELECT user FROM b", 3000, "at: user (reserved word)"),
    ("SELECT 'abc", 3000, "at"),
    ("SELECT `abc", 3000, "at"),
    ("SELECT /* abc", 3000, "at"),
    ("SELECT ``", 3000, "``"),
    ("SELECT 1abc", 3000, "1abc"),
    ("SELECT a ~ b", 3000, "~"),
    (r"SELECT '\q'", 3006, "escape"),
    ("SELECT 1 BETWEEN 2", 3000, "BETWEEN"),
    ("SELECT 1 ESCAPE 2", 3000, "ESCAPE"),
    ("SELECT 1; SELECT 2", 3000, "SELECT"),
    ("SELECT {a.b.c, 1}", 3000, "member"),
    ("SELECT x", 3000, "Ambiguous reference to field 'x'"),
    ("SELECT x FROM [1] AS a, [2] AS b", 3000, "Ambiguous reference to field 'x'"),
    ("SELECT NO_SUCH_FUNCTION(1)", 3000, "Invalid function NO_SUCH_FUNCTION"),
    ("SELECT ABS()", 3000, "Number of arguments to function ABS must be 1"),
    ("SELECT ABS(1, 2)", 3000, "ABS"),
    ("SELECT ABS(DISTINCT 1)", 3000, "ABS"),
    ("SELECT ABS(*)", 3000, "ABS"),
    ("SELECT SUM(*) FROM [1] AS x", 3000, "SUM"),
    ("SELECT COUNT(x, x) FROM [1] AS x", 3000, "COUNT"),
    ("SELECT SUM(COUNT(*)) FROM [1] AS x", 3000, "SUM"),
    ("SELECT 1 FROM [1] AS x WHERE COUNT(*) > 1", 4000, "Aggregates not allowed in WHERE"),
    ("SELECT 1 FROM [1] AS x LET y = SUM(x)", 4000, "Aggregates not allowed in LET"),
    ("SELECT 1 FROM [1] AS x GROUP BY SUM(x)", 4000, "Aggregates not allowed in GROUP BY"),
    ("SELECT 1 FROM [1] AS x JOIN [2] AS y ON COUNT(*) = y", 3100, "COUNT"),
    ("UPDATE b USE KEYS 'd1' SET a = MAX(b)", 3100, "MAX"),
    ("DELETE FROM b WHERE COUNT(*) > 1", 3100, "COUNT"),
    ("SELECT 1 FROM [1] AS x WHERE x.`a`is NULL", 3000, "at: s"),
    ("SELECT x[0]i FROM [1] AS x", 3000, "at: ]i"),
    ("SELECT 1 AS `a`i", 3000, "at: `a`i"),
    ("SELECT * FROM b.`S`i.col AS x", 3000, "Ambiguous"),
    ("SELECT FLATTEN_KEYS(1, 2)", 3283, "flatten_keys(1, 2)"),
    ("SELECT ABORT('enough')", 5011, "Abort: enough."),
    ("SELECT 1 FROM b WHERE name = $x", 5010, "No value for named parameter $x."),
    ("SELECT 1 FROM b WHERE name = ?", 5010, "No value for positional parameter $1."),
    ("SELECT 1 AS a, 2 AS a", 4020, "Duplicate result alias a"),
    ("SELECT 1 FROM [1] AS x, [2] AS x", 4020, "Duplicate FROM alias x"),
    ("SELECT 1 FROM [1]", 4010, "FROM Expression term must have a name or alias"),
    ("SELECT 1 FROM (SELECT 1)", 4010, "FROM Subquery term must have a name or alias"),
    ("SELECT 1 FROM [1] AS x UNNEST [2]", 4010, "UNNEST term must have a name or alias"),
    ("SELECT 1 FROM [1] AS x USE KEYS 'a'", 4110, "USE KEYS"),
    ("SELECT x FROM [1] AS x GROUP BY x + 1", 4210, "`x`"),
    ("SELECT * FROM [1] AS x GROUP BY x", 4210, "*"),
    ("SELECT x, COUNT(*) FROM [1] AS x", 4210, "`x`"),
    ("SELECT META() FROM b AS x USE KEYS 'a', b AS y USE KEYS 'b'", 4310, "META()"),
    ("SELECT META()", 3000, "META()"),
    ("SELECT META(1) FROM b", 3000, "META()"),
    ("SELECT * FROM c", 4000, "No index available on keyspace `default`:`c`"),
    ("SELECT * FROM c AS x JOIN b AS y ON x.a = y.a", 4000, "`c`"),
    ("SELECT * FROM b AS x JOIN c AS y ON x.a = y.a", 4330, "y"),
    ("SELECT * FROM nope", 12003, "default:nope"),
    ("SELECT * FROM b.nope.col", 12021, "default:b.nope"),
    ("SELECT * FROM b.s.nope", 12003, "default:b.s.nope"),
    ("SELECT * FROM b.s", 3000, "b.s"),
    ("SELECT * FROM other:b", 12002, "other"),
    ("SELECT * FROM system:nope", 12003, "system:nope"),
    ("SELECT $1", 5010, "positional parameter $1"),
    ("SELECT $name", 5010, "named parameter $name"),
    ("SELECT RAW 1 LIMIT 'a'", 5030, "LIMIT"),
    ("SELECT RAW 1 LIMIT 1.5", 5030, "LIMIT"),
    ("SELECT RAW 1 LIMIT 1e999", 5030, "LIMIT"),
    ("SELECT RAW 1 OFFSET NULL", 5030, "Invalid OFFSET value null."),
    ("SELECT RAW 1 LIMIT MISSING", 5030, "Invalid LIMIT value missing."),
    ("SELECT RAW 1 LIMIT TRUE", 5030, "Invalid LIMIT value true."),
    # What the node refuses by name.
    ("SELECT ROW_NUMBER() OVER (ORDER BY x) FROM [1] AS x", 1020, "OVER"),
    ("SELECT RANK() FROM [1] AS x", 1020, "RANK"),
    ("SELECT CURL('http://x')", 1020, "does not have the function CURL"),
    ("SELECT SEARCH(x, 'a') FROM [1] AS x", 1020, "does not have the function SEARCH"),
    ("SELECT `infer_value`(1)", 1020, "does not have the function INFER_VALUE"),
    ("SELECT unnest_pos(x) FROM [1] AS x", 1020, "does not have the function UNNEST_POS"),
    ("SELECT `NAME`i FROM b", 1020, "case-insensitive identifier `NAME`i"),
    ("SELECT 1 FROM b AS c JOIN b AS o ON KEY o.boss FOR c", 1020, "ON KEY ... FOR"),
    ("SELECT 1 FROM [1] AS x JOIN LATERAL [2] AS y ON TRUE", 1020, "LATERAL"),
    ("SELECT SELF FROM [1] AS x", 1020, "SELF"),
    ("SELECT NEXT VALUE FOR s", 1020, "NEXT VALUE FOR"),
    ("ALTER SEQUENCE s WITH {}", 1020, "ALTER SEQUENCE"),
    ("DROP VECTOR INDEX i ON b", 1020, "DROP VECTOR INDEX"),
    ("SELECT 1 FROM b USE KEYS VALIDATE 'd1'", 1020, "KEYS VALIDATE"),
    ("SELECT a[*].b FROM [1] AS a", 1020, "[*]"),
    ("SELECT 1 FROM [1] AS x RIGHT JOIN [2] AS y ON x = y", 1020, "RIGHT"),
    ("SELECT 1 FROM [1] AS x GROUP BY x GROUP AS g", 1020, "GROUP AS"),
    ("WITH RECURSIVE a AS (SELECT 1) SELECT 1", 1020, "RECURSIVE"),
    ("SELECT * EXCLUDE a FROM [1] AS x", 1020, "EXCLUDE"),
    ("MERGE INTO b USING c ON a = b", 1020, "MERGE"),
    ("ADVISE SELECT 1", 1020, "ADVISE"),
    ("INFER b", 1020, "INFER"),
    ("GRANT admin TO x", 1020, "GRANT"),
    ("REVOKE admin FROM x", 1020, "REVOKE"),
    ("COMMIT", 17005, "COMMIT"),
    ("ROLLBACK WORK", 17005, "ROLLBACK"),
    ("ROLLBACK TO SAVEPOINT s", 1020, "SAVEPOINT"),
    ("SAVEPOINT s", 1020, "SAVEPOINT"),
    ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", 1020, "SET TRANSACTION"),
    ("ALTER INDEX i ON b WITH {}", 1020, "ALTER INDEX"),
    ("CREATE FUNCTION f() {1}", 1020, "CREATE FUNCTION"),
    ("EXECUTE FUNCTION f()", 1020, "EXECUTE FUNCTION"),
    ("UPDATE STATISTICS FOR b(x)", 1020, "UPDATE STATISTICS"),
    ("CREATE VECTOR INDEX i ON b(v VECTOR)", 1020, "CREATE VECTOR INDEX"),
    ("EXPLAIN MERGE INTO b", 1020, "MERGE"),
    ("SELECT * FROM system:completed_requests", 1020, "system:completed_requests"),
    ("FLUSH COLLECTION b", 1020, "FLUSH"),
]


class ExpressionTests(SynchronousTestCase):
    """Expressions without documents."""

    def test_values(self) -> None:
        service = QueryService()
        wrong = []
        for expression, expected in EXPRESSIONS:
            code, answer = service.ask(f"SELECT {expression} AS v")
            found = answer["results"][0].get("v", MISSING) if answer["results"] else answer
            if code != 200 or found != expected or type(found) is not type(expected):
                if isinstance(expected, float) and found == expected:
                    continue
                wrong.append((expression, expected, found))
        self.assertEqual(wrong, [])

    def test_no_function_is_there_and_absent(self) -> None:
        self.assertEqual(ABSENT & {*FUNCTIONS, *AGGREGATES}, set())

    def test_order_of_names_in_rows(self) -> None:
        service = QueryService()
        row = service.rows("SELECT 3 AS c, 1 AS a, 2 AS b")[0]
        self.assertEqual(list(row), ["c", "a", "b"])

    def test_numbers_beyond_64_bits(self) -> None:
        service = QueryService()
        self.assertEqual(service.value("9223372036854775807 + 1"), 9.223372036854775807e18)
        self.assertEqual(service.value("123456789012345678901234567890"), 1.2345678901234568e29)
        self.assertIs(service.value("1e999"), None)

    def test_parameters(self) -> None:
        service = QueryService()
        self.assertEqual(service.value("[$1, $2, ?]", args=[1, None]), [1, None, 1])
        self.assertEqual(service.value("[?, ?]", args=["a", {"b": []}]), ["a", {"b": []}])
        self.assertEqual(service.value("$x || $y", **{"$x": "a", "@y": "b"}), "ab")
        self.assertEqual(service.value("@x", **{"$x": 5}), 5)
        self.assertEqual(service.value("$1", **{"$1": 5}), 5)
        self.assertEqual(service.rows("SELECT RAW x FROM $1 AS x", args=[[1, 2]]), [1, 2])


class SelectTests(SynchronousTestCase):
    """SELECT, from FROM to LIMIT."""

    def setUp(self) -> None:
        self.service = QueryService()
        self.service.rows("CREATE PRIMARY INDEX ON b")
        self.service.rows("CREATE PRIMARY INDEX ON b.s.col")

    def test_rows(self) -> None:
        wrong = []
        for statement, expected in QUERIES:
            _, answer = self.service.ask(statement)
            if answer["status"] != "success" or answer["results"] != expected:
                wrong.append((statement, expected, answer.get("errors") or answer["results"]))
        self.assertEqual(wrong, [])

    def test_errors(self) -> None:
        wrong = []
        for statement, expected, text in ERRORS:
            code, answer = self.service.ask(statement)
            error = answer.get("errors", [{"code": 0, "msg": ""}])[0]
            if error["code"] != expected or text not in error["msg"] or code == 200:
                wrong.append((statement, expected, text, code, answer))
        self.assertEqual(wrong, [])

    def test_sorting_and_grouping_of_many_rows(self) -> None:
        rows = self.service.rows(
            "SELECT RAW n FROM ARRAY_RANGE(0, 20000) AS n ORDER BY (n * 7919) % 20011, n DESC"
        )
        self.assertEqual(rows, sorted(range(20000), key=lambda n: ((n * 7919) % 20011, -n)))
        top = self.service.rows(
            "SELECT RAW n FROM ARRAY_RANGE(0, 20000) AS n ORDER BY (n * 7919) % 20011 LIMIT 5 "
            "OFFSET 2"
        )
        self.assertEqual(top, sorted(range(20000), key=lambda n: (n * 7919) % 20011)[2:7])
        groups = self.service.rows(
            "SELECT k, COUNT(*) AS c FROM ARRAY_RANGE(0, 10000) AS n GROUP BY n % 3 AS k ORDER BY k"
        )
        self.assertEqual(groups, [{"k": 0, "c": 3334}, {"k": 1, "c": 3333}, {"k": 2, "c": 3333}])

    def test_a_scan_sees_documents_as_they_are_when_it_comes_to_them(self) -> None:
        for number in range(3000):
            self.service.storage.put(f"many{number:04}", {"n": number}, bucket="b")
        chunks = self.service.batches("SELECT RAW n FROM b WHERE n IS NOT MISSING")
        first = next(chunks)
        for number in range(1500, 3000):
            self.service.storage.remove(f"many{number:04}", bucket="b")
        rest = b"".join(chunks)
        rows = (first + rest).split(b'"results":[')[1].split(b"]")[0].split(b",")
        self.assertEqual([int(row) for row in rows], list(range(1500)))

    def test_expired_documents_are_gone(self) -> None:
        self.service.storage.put("short", {"name": "Eve"}, bucket="b", expiry=10)
        self.assertIn("Eve", self.service.rows("SELECT RAW name FROM b"))
        self.service.now += 11
        self.assertNotIn("Eve", self.service.rows("SELECT RAW name FROM b"))

    def test_system_xattrs_by_their_names(self) -> None:
        self.assertEqual(self.service.rows("SELECT RAW META().xattrs FROM b USE KEYS 'd1'"), [{}])
