"""The functions of the embedded node's SQL++, as the language reference has them."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.testing.query.functions import FUNCTIONS, FunctionFailed
from txcouchbase.testing.query.values import MISSING, type_name

NOW = 1_516_745_378.065
"""When the statements of these tests start (seconds since the epoch): 2018-01-23T22:09:38.065Z."""

Row = tuple[str, tuple[Any, ...], Any]
"""A function, its arguments, its result."""

NAN = math.nan

ARRAYS: list[Row] = [
    ("array_append", ([1, 2], 3), [1, 2, 3]),
    ("array_append", ([1], 2, 3), [1, 2, 3]),
    ("array_append", ([1], None), [1, None]),
    ("array_append", ([1], MISSING), MISSING),
    ("array_append", (None, 1), None),
    ("array_append", ("a", 1), None),
    ("array_append", (None, MISSING), MISSING),
    ("array_append", (range(2), 5), [0, 1, 5]),
    ("array_avg", ([1, 2, 3],), 2),
    ("array_avg", ([1, 2],), 1.5),
    ("array_avg", ([1, "a", None, 3],), 2),
    ("array_avg", (["a"],), None),
    ("array_avg", ([],), None),
    ("array_avg", (range(5),), 2),
    ("array_avg", (1,), None),
    ("array_binary_search", ([1, 3, 5], 3), 1),
    ("array_binary_search", ([1, 3, 3, 5], 3), 1),
    ("array_binary_search", ([1, 3, 5], 4), -1),
    ("array_binary_search", ([], 4), -1),
    ("array_binary_search", (range(1000), 999), 999),
    ("array_concat", ([1], [2], [3, 4]), [1, 2, 3, 4]),
    ("array_concat", ([1], None), None),
    ("array_concat", ([1], MISSING), MISSING),
    ("array_contains", ([1, 2], 2), True),
    ("array_contains", ([1, 2], 2.0), True),
    ("array_contains", ([1, 2], True), False),
    ("array_contains", ([1, 2], 3), False),
    ("array_contains", ([None], None), None),
    ("array_contains", ([[1]], [1]), True),
    ("array_contains_all", ([1, 2, 3], [1, 3]), True),
    ("array_contains_all", ([1, 2, 3], [1, 4]), False),
    ("array_contains_any", ([1, 2, 3], [9, 3]), True),
    ("array_contains_any", ([1, 2, 3], 9), False),
    ("array_count", ([1, None, 2],), 2),
    ("array_count", (range(4),), 4),
    ("array_count", ("abc",), None),
    ("array_distinct", ([1, 1.0, "a", "a", True, None, None],), [1, "a", True, None]),
    ("array_except", ([1, 2, 3, 2], [2]), [1, 3]),
    ("array_except", ([1], []), [1]),
    ("array_except", ([1], 1), None),
    ("array_flatten", ([1, [2, [3, [4]]]], 0), [1, [2, [3, [4]]]]),
    ("array_flatten", ([1, [2, [3, [4]]]], 1), [1, 2, [3, [4]]]),
    ("array_flatten", ([1, [2, [3, [4]]]], 2), [1, 2, 3, [4]]),
    ("array_flatten", ([1, [2, [3, [4]]]], -1), [1, 2, 3, 4]),
    ("array_flatten", ([1], 1.5), None),
    ("array_ifnull", ([None, 2, 3],), 2),
    ("array_ifnull", ([None],), None),
    ("array_insert", ([1, 2], 1, "a"), [1, "a", 2]),
    ("array_insert", ([1, 2], 2, "a", "b"), [1, 2, "a", "b"]),
    ("array_insert", ([1, 2], -1, "a"), [1, "a", 2]),
    ("array_insert", ([1, 2], 3, "a"), None),
    ("array_insert", ([1, 2], 0.5, "a"), None),
    ("array_insert", ([1, 2], 0, None), [None, 1, 2]),
    ("array_insert", ([1, 2], 0, MISSING), MISSING),
    ("array_intersect", ([1, 2, 3], [3, 2, 5], [2, 3]), [2, 3]),
    ("array_intersect", ([None, 1], [None, 1]), [1]),
    ("array_intersect", ([1, 1, 2], [1.0]), [1]),
    ("array_length", ([1, None],), 2),
    ("array_length", (range(1_000_000),), 1_000_000),
    ("array_length", ("a",), None),
    ("array_length", (MISSING,), MISSING),
    ("array_max", ([1, "a", None, [0]],), [0]),
    ("array_max", ([3, 7, 5],), 7),
    ("array_max", ([None],), None),
    ("array_max", (range(10, 0, -1),), 10),
    ("array_min", ([1, "a", None, True],), True),
    ("array_min", ([],), None),
    ("array_min", (range(10, 0, -1),), 1),
    ("array_move", ([1, 2, 3, 4], 0, 2), [2, 3, 1, 4]),
    ("array_move", ([1, 2, 3, 4], -1, 0), [4, 1, 2, 3]),
    ("array_move", ([1, 2], 5, 0), None),
    ("array_position", (["a", "b"], "b"), 1),
    ("array_position", (["a", "b"], "c"), -1),
    ("array_position", (["a"], None), None),
    ("array_prepend", (0, [1, 2]), [0, 1, 2]),
    ("array_prepend", ("x", "y", [1]), ["x", "y", 1]),
    ("array_prepend", (None, [1]), [None, 1]),
    ("array_prepend", (1, None), None),
    ("array_prepend", (MISSING, [1]), MISSING),
    ("array_put", ([1, 2], 3), [1, 2, 3]),
    ("array_put", ([1, 2], 2), [1, 2]),
    ("array_put", ([1, 2], None), None),
    ("array_range", (0, 5), [0, 1, 2, 3, 4]),
    ("array_range", (0, 10, 3), [0, 3, 6, 9]),
    ("array_range", (5, 0, -2), [5, 3, 1]),
    ("array_range", (0, 5, -1), []),
    ("array_range", (5, 0), []),
    ("array_range", (0, 5, 0), []),
    ("array_range", (0.5, 3), [0.5, 1.5, 2.5]),
    ("array_range", (0, 1, 0.25), [0, 0.25, 0.5, 0.75]),
    ("array_range", (0, "5"), None),
    ("array_range", (0, MISSING), MISSING),
    ("array_remove", ([1, 2, 1, 3], 1), [2, 3]),
    ("array_remove", ([1, 2, 3], 1, 3), [2]),
    ("array_remove", ([1, None], 1), [None]),
    ("array_remove", ([1], None), None),
    ("array_repeat", ("a", 3), ["a", "a", "a"]),
    ("array_repeat", (None, 1), [None]),
    ("array_repeat", (1, 0), []),
    ("array_repeat", (1, -1), None),
    ("array_replace", ([1, 2, 1], 1, "x"), ["x", 2, "x"]),
    ("array_replace", ([1, 2, 1], 1, "x", 1), ["x", 2, 1]),
    ("array_replace", ([1, 2], 1, None), [None, 2]),
    ("array_replace", ([1, None], None, 0), None),
    ("array_replace_equivalent", ([1, None], None, 0), [1, 0]),
    ("array_reverse", ([1, 2, 3],), [3, 2, 1]),
    ("array_reverse", (range(3),), [2, 1, 0]),
    ("array_sort", ([3, "a", None, True, 1, [], {}],), [None, True, 1, 3, "a", [], {}]),
    ("array_sort", (range(3, 0, -1),), [1, 2, 3]),
    ("array_star", ([{"a": 1, "b": 2}, {"a": 3}],), {"a": [1, 3], "b": [2, None]}),
    ("array_star", ([],), {}),
    ("array_sum", ([1, 2, "x", None, 3.5],), 6.5),
    ("array_sum", ([],), 0),
    ("array_sum", (range(5),), 10),
    ("array_swap", ([1, 2, 3], 0, -1), [3, 2, 1]),
    ("array_symdiff", ([1, 2], [2, 3]), [1, 3]),
    ("array_symdiff", ([1, 2], [1, 2, 3], [1, 4]), [3, 4]),
    ("array_symdiff1", ([1, 2], [1, 2, 3], [1, 4]), [3, 4]),
    ("array_symdiffn", ([1, 2], [1, 2, 3], [1, 4]), [1, 3, 4]),
    ("array_union", ([1, 2], [2, 3], [1.0]), [1, 2, 3]),
    ("array_union", ([1], "a"), None),
]

CONDITIONS: list[Row] = [
    ("greatest", (1, 3, 2), 3),
    ("greatest", (1, "a", None, MISSING), "a"),
    ("greatest", (None, MISSING), None),
    ("least", (3, 1, 2), 1),
    ("least", (None, "a", 5), 5),
    ("least", (True, 0), True),
    ("ifmissing", (MISSING, None, 1), None),
    ("ifmissing", (MISSING, 2), 2),
    ("ifmissing", (MISSING, MISSING), None),
    ("ifnull", (None, 2), 2),
    ("ifnull", (None, MISSING), MISSING),
    ("ifnull", (None, None), None),
    ("ifmissingornull", (MISSING, None, 3), 3),
    ("coalesce", (None, MISSING, 3), 3),
    ("coalesce", (None, MISSING), None),
    ("missingif", (1, 1), MISSING),
    ("missingif", (1, 2), 1),
    ("missingif", (None, 1), None),
    ("nullif", (1, 1.0), None),
    ("nullif", (1, 2), 1),
    ("nullif", (MISSING, 2), MISSING),
    ("nvl", (None, 2), 2),
    ("nvl", (MISSING, 2), 2),
    ("nvl", (1, 2), 1),
    ("nvl2", (1, "yes", "no"), "yes"),
    ("nvl2", (None, "yes", "no"), "no"),
    ("decode", (1, 1, "one", 2, "two"), "one"),
    ("decode", (3, 1, "one", 2, "two"), None),
    ("decode", (3, 1, "one", 2, "two", "many"), "many"),
    ("decode", (None, None, "nothing"), "nothing"),
    ("ifinf", (math.inf, 1), 1),
    ("ifinf", (MISSING, 1), 1),
    ("ifinf", (math.inf, MISSING), MISSING),
    ("ifinf", (math.inf, math.inf), None),
    ("ifinf", ("a", 1), None),
    ("ifnan", (NAN, 2), 2),
    ("ifnanorinf", (NAN, math.inf, 3), 3),
    ("nanif", (1, 2), 1),
    ("nanif", (1, 1), NAN),
    ("neginfif", (1, 1), -math.inf),
    ("posinfif", (1, 1), math.inf),
    ("posinfif", (MISSING, 1), MISSING),
    ("isarray", ([],), True),
    ("isarray", (range(3),), True),
    ("isarray", ({},), False),
    ("isarray", (None,), None),
    ("isarray", (MISSING,), MISSING),
    ("isatom", ("a",), True),
    ("isatom", (True,), True),
    ("isatom", ([],), False),
    ("isboolean", (False,), True),
    ("isboolean", (0,), False),
    ("isnumber", (1.5,), True),
    ("isnumber", (True,), False),
    ("isobject", ({},), True),
    ("isstring", ("",), True),
    ("isbinary", (b"x",), True),
    ("type", (MISSING,), "missing"),
    ("type", (None,), "null"),
    ("type", (1,), "number"),
    ("type", (range(3),), "array"),
    ("toarray", (1,), [1]),
    ("toarray", ([1],), [1]),
    ("toarray", (None,), None),
    ("toatom", ([["a"]],), "a"),
    ("toatom", ({"a": {"b": 1}},), 1),
    ("toatom", ([1, 2],), None),
    ("toboolean", ("",), False),
    ("toboolean", ("false",), True),
    ("toboolean", (0,), False),
    ("toboolean", ([0],), True),
    ("toboolean", ({},), False),
    ("toboolean", (None,), None),
    ("tonumber", ("12",), 12),
    ("tonumber", ("-1.5e2",), -150),
    ("tonumber", ("12a",), None),
    ("tonumber", ("",), None),
    ("tonumber", (" 1",), None),
    ("tonumber", (True,), 1),
    ("tonumber", ([1],), None),
    ("tonumber", ("1,234", ","), 1234),
    ("tonumber", ("$1 234,5", "$"), 1234.5),
    ("tonumber", ("9" * 30,), 1e30),
    ("tonumber", ("9" * 5000,), math.inf),
    ("toobject", (1,), {}),
    ("toobject", ({"a": 1},), {"a": 1}),
    ("tostring", (12,), "12"),
    ("tostring", (1.5,), "1.5"),
    ("tostring", (1e21,), "1000000000000000000000"),
    ("tostring", (2.0,), "2"),
    ("tostring", (False,), "false"),
    ("tostring", ([],), None),
    ("tostring", (MISSING,), MISSING),
]

OPERATORS: list[Row] = [
    ("add", (1, 2, 3), 6),
    ("add", (1, None), None),
    ("add", (1, None, MISSING), MISSING),
    ("sub", (5, 2), 3),
    ("mult", (2, 3, 4), 24),
    ("div", (7, 2), 3.5),
    ("div", (7, 0), None),
    ("div", (7, MISSING), MISSING),
    ("mod", (-7, 4), -3),
    ("neg", (2,), -2),
    ("neg", ("a",), None),
    ("eq", (1, 1.0), True),
    ("eq", (None, 1), None),
    ("lt", (1, 1), False),
    ("le", (1, 1), True),
    ("is_null", (None,), True),
    ("is_null", (MISSING,), MISSING),
    ("is_not_null", (None,), False),
    ("is_not_null", (MISSING,), MISSING),
    ("is_missing", (MISSING,), True),
    ("is_missing", (None,), False),
    ("is_not_missing", (None,), True),
    ("is_valued", (0,), True),
    ("isknown", (None,), False),
    ("is_not_valued", (MISSING,), True),
    ("isunknown", (0,), False),
    ("is_distinct_from", (1, 1.0), False),
    ("is_distinct_from", (None, None), False),
    ("is_distinct_from", (None, MISSING), True),
    ("is_distinct_from", ([None], [None]), True),
    ("is_not_distinct_from", (MISSING, MISSING), True),
    ("is_not_distinct_from", (1, None), False),
    ("is_not_distinct_from", ([None], [None]), None),
    ("version", (), "7.6.2-1-enterprise"),
    ("min_version", (), "1.0.0"),
]

NUMBERS: list[Row] = [
    ("abs", (-5,), 5),
    ("abs", (-1.5,), 1.5),
    ("abs", ("a",), None),
    ("abs", (MISSING,), MISSING),
    ("acos", (1,), 0),
    ("acos", (2,), NAN),
    ("asin", (0,), 0),
    ("atan", (0,), 0),
    ("atan2", (0, 1), 0),
    ("ceil", (1.1,), 2),
    ("ceil", (-1.1,), -1),
    ("ceil", (math.inf,), math.inf),
    ("cos", (0,), 1),
    ("degrees", (math.pi,), 180),
    ("exp", (0,), 1),
    ("exp", (1000,), math.inf),
    ("floor", (1.9,), 1),
    ("floor", (-1.1,), -2),
    ("idiv", (7, 2), 3),
    ("idiv", (-7, 2), -3),
    ("idiv", (7, 0), None),
    ("imod", (-7, 2), -1),
    ("ln", (1,), 0),
    ("ln", (0,), -math.inf),
    ("ln", (-1,), NAN),
    ("log", (1000,), 3),
    ("power", (2, 10), 1024),
    ("power", (2, 0.5), math.sqrt(2)),
    ("power", (10, 400), math.inf),
    ("power", (0, -1), math.inf),
    ("radians", (180,), math.pi),
    ("round", (1.5,), 2),
    ("round", (2.5,), 2),
    ("round", (-1.5,), -2),
    ("round", (3.14159, 2), 3.14),
    ("round", (1250, -2), 1200),
    ("round", (5, 400), 5),
    ("round", (1.5, 0.5), None),
    ("round_nearest", (2.5,), 3),
    ("sign", (-3,), -1),
    ("sign", (0,), 0),
    ("sign", (0.5,), 1),
    ("sin", (0,), 0),
    ("sqrt", (16,), 4),
    ("sqrt", (-1,), NAN),
    ("tan", (0,), 0),
    ("trunc", (-1.9,), -1),
    ("trunc", (1.239, 2), 1.23),
    ("trunc", (1299, -2), 1200),
    ("bitand", (3, 6), 2),
    ("bitand", (4.5, 3), None),
    ("bitand", (4.0, 3), 0),
    ("bitand", (3, 6, 15), 2),
    ("bitclear", (6, 1), 6),
    ("bitclear", (6, [1, 2]), 4),
    ("bitclear", (31, [1, 2, 4, 5]), 4),
    ("bitnot", (3,), -4),
    ("bitor", (3, 6), 7),
    ("bitor", (3, -4), -1),
    ("bitor", (3, 6, 15), 15),
    ("bitset", (6, 1), 7),
    ("bitset", (6, [1, 2]), 7),
    ("bitset", (6, [1, 4]), 15),
    ("bitset", (6, 65), None),
    ("bitset", (6, ["a"]), None),
    ("bitshift", (6, 1, False), 12),
    ("bitshift", (6, -2), 1),
    ("bitshift", (6, -2, True), -9223372036854775807),
    ("bitshift", (524288, 45, True), 1),
    ("bitshift", (1, 100), 0),
    ("isbitset", (6, 1), False),
    ("bittest", (1, [1, 2], False), True),
    ("isbitset", (6, [2, 3], True), True),
    ("bittest", (6, [1, 3], True), False),
    ("bitxor", (3, 6), 5),
    ("bitxor", (3, 6, 15), 10),
    ("pi", (), math.pi),
    ("e", (), math.e),
]

STRINGS: list[Row] = [
    ("concat", ("abc", "def", "ghi"), "abcdefghi"),
    ("concat", ("a", 1), None),
    ("concat", ("a", MISSING), MISSING),
    ("concat2", ("-", "a", "b", ["c", "d"], ["xyz"]), "a-b-c-d-xyz"),
    ("concat2", ("-", "a"), "a"),
    ("concat2", ("-", ["b"]), "b"),
    ("concat2", ("-", ["b", 1]), None),
    ("contains", ("SQL++ is awesome", "N1QL"), False),
    ("contains", ("SQL++ is awesome", "SQL"), True),
    ("contains", ("a", None), None),
    ("initcap", ("SQL++ is awesome",), "Sql++ Is Awesome"),
    ("title", ("hello world 3rd o'clock",), "Hello World 3rd O'Clock"),
    ("length", ("SQL++ is awesome",), 16),
    ("length", ("Café",), 5),
    ("length", ("🙂",), 4),
    ("length", ("",), 0),
    ("length", ([],), None),
    ("lower", ("SQL++",), "sql++"),
    ("lpad", ("SQL++ is awesome", 20), "    SQL++ is awesome"),
    ("lpad", ("SQL++ is awesome", 20, "🙂!"), "🙂SQL++ is awesome"),
    ("lpad", ("SQL++ is awesome", 20, "987654321"), "9876SQL++ is awesome"),
    ("lpad", ("SQL++ is awesome", 5, "987654321"), "SQL++"),
    ("lpad", ("a", 3, ""), None),
    ("lpad", ("a", -1), None),
    ("ltrim", ("...SQL++", "."), "SQL++"),
    ("ltrim", ("\t   SQL++",), "SQL++"),
    ("mask", ("SomeTextToMask",), "********"),
    ("mask", ("SomeTextToMask", {"mask": "++++"}), "++++"),
    ("mask", ("SomeTextToMask", {"mask": "++++    ++++"}), "++++Text++++"),
    (
        "mask",
        ("1234abcd5678efgh", {"mask": "****-****-****-####", "hole": "#", "inject": "-"}),
        "****-****-****-efgh",
    ),
    (
        "mask",
        ("1234abcd5678efgh", {"mask": "****", "anchor": "end", "length": "source"}),
        "1234abcd5678****",
    ),
    ("mask", ("1234abcd5678efgh", {"mask": "****", "anchor": "d5"}), "1234abc****"),
    (
        "mask",
        ("1234abcd5678efgh", {"mask": "****", "anchor": -2, "length": "source"}),
        "1234abcd56****gh",
    ),
    (
        "mask",
        ("1234abcd5678efgh", {"mask": "****", "anchor": 14, "length": "source"}),
        "1234abcd5678ef**",
    ),
    ("mask", ("abc", {"anchor": "z"}), "abc"),
    ("mb_length", ("Café",), 4),
    ("mb_length", ("🙂",), 1),
    ("mb_lpad", ("SQL++ is awesome", 20, "🙂!"), "🙂!🙂!SQL++ is awesome"),
    ("mb_rpad", ("SQL++ is awesome", 20, "🙂!"), "SQL++ is awesome🙂!🙂!"),
    ("mb_position", ("🙂 SQL++ is awesome", "awesome"), 11),
    ("mb_position", ("🙂 SQL++ is awesome", "N1QL"), -1),
    ("mb_position1", ("🙂 SQL++ is awesome", "awesome"), 12),
    ("mb_substr", ("🙂 SQL++ is awesome", 11), "awesome"),
    ("mb_substr", ("🙂 SQL++ is awesome", 11, 1), "a"),
    ("mb_substr", ("🙂 SQL++ is awesome", 0, 10), "🙂 SQL++ is"[:10]),
    ("mb_substr1", ("🙂 SQL++ is awesome", 12), "awesome"),
    ("position", ("🙂 SQL++ is awesome", "awesome"), 14),
    ("position", ("🙂 SQL++ is awesome", "N1QL"), -1),
    ("position", ("🙂 SQL++ is awesome", "SQL"), 5),
    ("position1", ("🙂 SQL++ is awesome", "awesome"), 15),
    ("position1", ("🙂 SQL++ is awesome", "N1QL"), 0),
    ("repeat", ("SQL++", 0), ""),
    ("repeat", ("SQL++", 3), "SQL++SQL++SQL++"),
    ("repeat", ("a", -1), None),
    ("repeat", ("a", 1.5), None),
    ("replace", ("SQL SQL SQL", "L", "L++", -2), "SQL++ SQL++ SQL++"),
    ("replace", ("SQL SQL SQL", "L", "L++", 2), "SQL++ SQL++ SQL"),
    ("replace", ("SQL SQL SQL", "L", "L++"), "SQL++ SQL++ SQL++"),
    ("replace", ("a", "b", "c", 0), "a"),
    ("reverse", ("SQL++ is awesome",), "emosewa si ++LQS"),
    ("rpad", ("SQL++ is awesome", 20), "SQL++ is awesome    "),
    ("rpad", ("SQL++ is awesome", 20, "🙂!"), "SQL++ is awesome🙂"),
    ("rpad", ("SQL++ is awesome", 5, "123"), "SQL++"),
    ("rtrim", ("SQL++ is awesome...", "."), "SQL++ is awesome"),
    ("rtrim", ("SQL++   \t",), "SQL++"),
    ("split", ("SQL++ is awesome", " "), ["SQL++", "is", "awesome"]),
    ("split", ("SQL++  is\tawesome",), ["SQL++", "is", "awesome"]),
    ("split", ("SQL++ is awesome", "is"), ["SQL++ ", " awesome"]),
    ("split", ("abc", ""), ["a", "b", "c"]),
    ("substr", ("🙂 SQL++ is awesome", 11), "is awesome"),
    ("substr", ("🙂 SQL++ is awesome", 11, 1), "i"),
    ("substr", ("🙂 SQL++ is awesome", 0, 10), "🙂 SQL++"),
    ("substr", ("abc", -2), "bc"),
    ("substr", ("abc", 3), None),
    ("substr", ("abc", -4), None),
    ("substr", ("abc", 1, 100), "bc"),
    ("substr", ("abc", 1, -1), None),
    ("substr", ("abc", 1.5), None),
    ("substr", ("abc", MISSING), MISSING),
    ("substr1", ("🙂 SQL++ is awesome", 12), "is awesome"),
    ("substr1", ("🙂 SQL++ is awesome", 0, 10), "🙂 SQL++"),
    ("substr1", ("abc", 1), "abc"),
    ("suffixes", ("abc",), ["abc", "bc", "c"]),
    ("trim", ("...SQL++...", "."), "SQL++"),
    ("trim", ("\t   SQL++     ",), "SQL++"),
    ("upper", ("sql ß é",), "SQL ß É"),
    ("urldecode", ("SELECT%20name%20FROM%20%60a%60%3B",), "SELECT name FROM `a`;"),
    ("urldecode", ("%zz",), None),
    ("urlencode", ("SELECT name FROM `a`;",), "SELECT%20name%20FROM%20%60a%60%3B"),
    ("tokens", ("Hello, hello world",), ["Hello", "hello", "world"]),
    ("tokens", ("Hello, hello", {"case": "lower"}), ["hello"]),
    ("tokens", ({"a": ["x y", 1]},), ["a", "x", "y", 1]),
    ("tokens", ({"a": "b"}, {"names": False}), ["b"]),
    ("tokens", ("me@x.org", {"specials": True}), ["me", "x", "org", "me@x.org"]),
    ("contains_token", ("Hello world", "world"), True),
    ("contains_token", ("Hello world", "wor"), False),
    ("contains_token", ("Hello world", "hello", {"case": "lower"}), True),
    ("has_token", (["a b", 5], 5), True),
    ("contains_token_like", ("Hello world", "w%"), True),
    ("contains_token_like", ("Hello world", "o%"), False),
    ("contains_token_regexp", ("Hello world", "w.*d"), True),
    ("contains_token_regexp", ("Hello world", "w"), False),
]

PATTERNS: list[Row] = [
    ("regexp_contains", ("Beijing Inn", "In+.*"), True),
    ("regexp_contains", ("Beijing", "^I"), False),
    ("regexp_contains", ("a", 1), None),
    ("regexp_contains", ("a\n", "a$"), False),
    ("regexp_contains", ("A", "(?i)a"), True),
    ("regexp_contains", ("x[y", r"\Q[y\E"), True),
    ("regexp_contains", ("1b", "^[[:digit:]][[:alpha:]]$"), True),
    ("regexp_contains", ("a\nb", "(?m)a$"), True),
    ("regexp_contains", ("a[", r"[[]"), True),
    ("regexp_like", ("Inverness", "In+.*"), True),
    ("regexp_like", ("Beijing Inn", "In+.*"), False),
    ("regexp_like", ("abc", "abc"), True),
    ("regexp_like", ("abcd", "abc"), False),
    (
        "regexp_matches",
        ("So, 'twas better Betty Botter bought a bit of better butter", r"\b[Bb]\w+ \b[Bb]\w+"),
        ["better Betty", "Botter bought", "better butter"],
    ),
    ("regexp_matches", ("abc", "x"), []),
    ("regexp_position", ("Hostel", "[aeiou]"), 1),
    ("regexp_position", ("étel", "t"), 2),
    ("regexp_position", ("xyz", "[aeiou]"), -1),
    ("regexp_position1", ("Hostel", "[aeiou]"), 2),
    (
        "regexp_replace",
        ("Sql++ is sql for NoSql", "[sS][qQ][lL]", "SQL"),
        "SQL++ is SQL for NoSQL",
    ),
    (
        "regexp_replace",
        ("Winning innings Inn", "[Ii]n+", "Hotel", 6),
        "WHotelHotelg HotelHotelgs Hotel",
    ),
    ("regexp_replace", ("Winning innings Inn", "[IiNn]+g", "INNING", 2), "WINNING INNINGs Inn"),
    ("regexp_replace", ("a.b", ".", r"\1"), r"\1\1\1"),
    ("regexp_replace", ("aa", "a", "b", 0), "aa"),
    ("regexp_split", (r"C:\Program Files\bin", r"[\\]"), ["C:", "Program Files", "bin"]),
    ("regexp_split", ("/opt/bin", "/"), ["", "opt", "bin"]),
]

OBJECTS: list[Row] = [
    ("object_add", ({"a": 1}, "b", 2), {"a": 1, "b": 2}),
    ("object_add", ({"a": 1}, "a", 2), {"a": 1}),
    ("object_add", ({"a": 1}, "b", MISSING), {"a": 1}),
    ("object_add", ({"a": 1}, "b", None), {"a": 1, "b": None}),
    ("object_add", (1, "b", 2), None),
    ("object_add", (MISSING, "b", 2), MISSING),
    ("object_concat", ({"a": 1}, {"a": 2}, {"b": 3}), {"a": 2, "b": 3}),
    ("object_concat", ({"a": 1}, None), None),
    ("object_concat2", ({"a": 1}, [{"b": 2}, {"c": 3}]), {"a": 1, "b": 2, "c": 3}),
    ("object_field", ({"a": {"b": [1, 2]}}, "a.b[1]"), 2),
    ("object_field", ({"a b": 1}, "`a b`"), 1),
    ("object_field", ({"a": 1}, "c"), MISSING),
    ("object_field", ({"a": 1}, "["), None),
    (
        "object_inner_pairs",
        ({"a": [1], "b": 2},),
        [{"name": "a", "val": 1}, {"name": "b", "val": 2}],
    ),
    ("object_inner_values", ({"b": [1, MISSING], "a": 3},), [3, 1]),
    ("object_length", ({"a": 1},), 1),
    ("object_length", ([],), None),
    ("object_names", ({"b": 1, "a": 2},), ["a", "b"]),
    ("object_pairs", ({"b": 1, "a": 2},), [{"name": "a", "val": 2}, {"name": "b", "val": 1}]),
    ("object_pairs", ({"a": 2}, {"types": True}), [{"name": "a", "type": "number"}]),
    (
        "object_pairs_nested",
        ({"attribute": {"first-part": 1, "second-part": 2}},),
        [{"name": "attribute.first-part", "val": 1}, {"name": "attribute.second-part", "val": 2}],
    ),
    (
        "object_pairs_nested",
        ({"attribute": {"first-part": 1, "second-part": 2}}, {"pattern": "first"}),
        [{"name": "attribute.first-part", "val": 1}],
    ),
    (
        "object_pairs_nested",
        ({"a": [{"b": 1}]}, {"composites": True}),
        [
            {"name": "a", "val": [{"b": 1}]},
            {"name": "a[0]", "val": {"b": 1}},
            {"name": "a[0].b", "val": 1},
        ],
    ),
    (
        "object_paths",
        ({"attribute": {"first-part": 1, "second-part": 2}},),
        ["attribute", "attribute.first-part", "attribute.second-part"],
    ),
    (
        "object_paths",
        ({"attribute": {"first-part": 1, "second-part": 2}}, {"composites": False}),
        ["attribute.first-part", "attribute.second-part"],
    ),
    (
        "object_paths",
        ({"attribute": [{"name": 1}, {"name": 2}]},),
        ["attribute", "attribute[0].name", "attribute[1].name"],
    ),
    (
        "object_paths",
        ({"attribute": [{"name": 1}, {"name": 2}]}, {"arraysubscript": False, "unique": False}),
        ["attribute", "attribute[*].name", "attribute[*].name"],
    ),
    (
        "object_paths",
        ({"attribute": [{"name": 1}, {"name": 2}]}, {"arraysubscript": False}),
        ["attribute", "attribute[*].name"],
    ),
    (
        "object_paths",
        ({"attribute": {"name": 1}}, {"pattern": "^n", "patternspace": "field"}),
        ["attribute.name"],
    ),
    ("object_paths", ({"attribute": {"name": 1}}, {"pattern": "^n"}), []),
    (
        "object_paths",
        ({"r": [{"a b": 1, "l": [1, 2]}]}, {"composites": False, "arraysubscript": False}),
        ["r[*].`a b`", "r[*].l"],
    ),
    ("object_put", ({"a": 1}, "a", 2), {"a": 2}),
    ("object_put", ({"a": 1}, "a", MISSING), {}),
    ("object_put", ({"a": 1}, 1, 2), None),
    ("object_remove", ({"a": 1, "b": 2, "c": 3}, "a", "c"), {"b": 2}),
    ("object_remove", ({"a": 1}, "x"), {"a": 1}),
    ("object_rename", ({"a": 1, "b": 2}, "a", "c"), {"b": 2, "c": 1}),
    ("object_rename", ({"a": 1}, "x", "c"), {"a": 1}),
    ("object_replace", ({"a": 1, "b": 2, "c": 1}, 1, "x"), {"a": "x", "b": 2, "c": "x"}),
    ("object_replace", ({"a": 1, "b": 2}, 1, MISSING), {"b": 2}),
    ("object_replace", ({"a": None}, None, 1), None),
    ("object_types", ({"a": 1, "b": "x"},), {"a": "number", "b": "string"}),
    ("object_unwrap", ({"a": 5},), 5),
    ("object_unwrap", ({"a": 5, "b": 6},), None),
    ("object_values", ({"b": 1, "a": 2},), [2, 1]),
]

ENCODING: list[Row] = [
    ("base64", ("abc",), "ImFiYyI="),
    ("base64_encode", ({"a": 1},), "eyJhIjoxfQ=="),
    ("base64_decode", ("YWJj",), "abc"),
    ("base64_decode", ("!",), None),
    ("encode_json", ({"b": [1, None], "a": "é"},), '{"a":"é","b":[1,null]}'),
    ("encode_json", (range(2),), "[0,1]"),
    ("encode_json", ([math.inf, -math.inf, {"a": NAN}],), '["+Infinity","-Infinity",{"a":"NaN"}]'),
    ("decode_json", ('{"a":[1,2.5]}',), {"a": [1, 2.5]}),
    ("decode_json", ("{",), None),
    ("decode_json", ("[" * 100_000,), None),
    ("decode_json", ("",), None),
    ("encoded_size", ("abc",), 5),
    ("encoded_size", (MISSING,), 0),
    ("encoded_size", ({"a": 1},), 7),
    (
        "hashbytes",
        ("abc",),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    ("hashbytes", ("abc", "md5"), "900150983cd24fb0d6963f7d28e17f72"),
    ("hashbytes", ("abc", {"algorithm": "crc32"}), "352441c2"),
    ("hashbytes", ("abc", "none"), None),
    ("len", (123,), 3),
    ("len", ("é",), 2),
    ("len", ([1, 2],), 2),
    (
        "pairs",
        ({"a": 1, "b": [2, {"c": 3}]},),
        [
            ["a", 1],
            ["b", [2, {"c": 3}]],
            ["b", 2],
            ["b", {"c": 3}],
            ["c", 3],
        ],
    ),
    ("poly_length", ("abc",), 3),
    ("poly_length", ([1],), 1),
    ("poly_length", ({"a": 1},), 1),
    ("poly_length", (1,), None),
    ("poly_length", (MISSING,), MISSING),
]

DATES: list[Row] = [
    ("now_millis", (), 1516745378065),
    ("clock_millis", (), 1516745378065),
    ("now_str", (), "2018-01-23T22:09:38.065Z"),
    ("now_str", ("invalid date",), "2018-01-23T22:09:38.065Z"),
    ("now_str", ("1111-11-11",), "2018-01-23"),
    ("now_utc", (), "2018-01-23T22:09:38.065Z"),
    ("clock_utc", ("1111-11-11",), "2018-01-23"),
    ("now_tz", ("Asia/Kolkata",), "2018-01-24T03:39:38.065+05:30"),
    ("now_tz", ("UTC", "1111-11-11"), "2018-01-23"),
    ("now_tz", ("invalid tz",), None),
    ("clock_tz", (MISSING,), MISSING),
    ("clock_tz", (1,), None),
    ("date_add_millis", (1463284740000, 3, "day"), 1463543940000),
    ("date_add_millis", (1463284740000, 3, "year"), 1557892740000),
    ("date_add_millis", (1463284740000, -3, "day"), 1463025540000),
    ("date_add_millis", (1463284740000, -3, "year"), 1368590340000),
    ("date_add_millis", (0, 0.5, "day"), None),
    ("date_add_millis", ("0", 1, "day"), None),
    ("date_add_str", ("2016-05-15T03:59:00Z", 3, "day"), "2016-05-18T03:59:00Z"),
    ("date_add_str", ("2016-05-15 03:59:00Z", -3, "year"), "2013-05-15 03:59:00Z"),
    ("date_add_str", ("2016-05-15", 36, "hour"), "2016-05-16"),
    ("date_add_str", ("2021-01-31", 1, "month"), "2021-03-03"),
    ("date_add_str", ("2021-01-31", 1, "calendar_month"), "2021-02-28"),
    ("date_add_str", ("2021-02-28", 1, "calendar_month"), "2021-03-31"),
    ("date_add_str", ("2021-01-30", 1, "calendar_month"), "2021-02-28"),
    ("date_add_str", ("2021-01-15", 1, "quarter"), "2021-04-15"),
    ("date_add_str", ("2021-01-15", 1, "century"), "2121-01-15"),
    ("date_add_str", ("2021-01-15", 2, "week"), "2021-01-29"),
    ("date_add_str", ("no date", 1, "day"), None),
    ("date_diff_millis", (1463543940000, 1463284740000, "day"), 3),
    ("date_diff_millis", (1368590340000, 1463284740000, "year"), -3),
    ("date_diff_str", ("2016-05-18T03:59:00Z", "2016-05-15 03:59:00Z", "day"), 3),
    ("date_diff_str", ("2013-05-15T03:59:00Z", "2016-05-15 03:59:00Z", "year"), -3),
    ("date_diff_str", ("2016-01-01", "2015-12-31", "year"), 1),
    ("date_diff_str", ("2016-05-15T11:01:00", "2016-05-15T10:59:00", "hour"), 1),
    ("date_diff_str", ("2016-05-15T11:01:00", "2016-05-15T10:59:00", "second"), 120),
    ("date_diff_str", ("2016-05-15", "2016-03-01", "month"), 2),
    ("date_diff_str", ("2016-05-15", "2016-03-01", "quarter"), 1),
    ("date_diff_abs_str", ("2016-03-01", "2016-05-15", "day"), 75),
    ("date_diff_abs_millis", (0, 86400000, "day"), 1),
    ("date_format_str", ("2016-05-15T00:00:23+00:00", "1111-11-11"), "2016-05-15"),
    (
        "date_format_str",
        ("2016-05-15", "1111-11-11T00:00:00+00:00"),
        "2016-05-15T00:00:00Z",
    ),
    ("date_format_str", ("2016-05-15", "Monday, January 2 2006"), "Sunday, May 15 2016"),
    ("date_format_str", ("15/05/2016", "02/01/2006", "YYYY-MM-DD"), "2016-05-15"),
    ("date_format_str", ("2016-05-15T13:04:05.678Z", "%d/%m/%y %-I %p %N"), "15/05/16 1 PM 678"),
    (
        "date_format_str",
        ("2016-05-15T03:04:05Z", "%A %B %d%f %Y %T"),
        "Sunday May 15th 2016 03:04:05",
    ),
    ("date_format_str", ("2016-05-15T03:04:05.1Z", "hh:mm:ss.s TZD"), "03:04:05.100 Z"),
    (
        "date_format_str",
        ("2016-05-15T03:04:05.1+02:00", "2006 15:04:05.000 -0700"),
        "2016 03:04:05.100 +0200",
    ),
    ("date_format_str", ("nothing", "1111-11-11"), None),
    ("date_part_millis", (1463284740000, "day"), 15),
    ("date_part_millis", (1463284740000, "day", "America/Tijuana"), 14),
    ("date_part_millis", (1463284740000, "week"), 20),
    ("date_part_millis", (1463284740000, "day", "no/where"), None),
    ("date_part_str", ("2016-05-15T03:59:00Z", "millisecond"), 0),
    ("date_part_str", ("2016-05-15T03:59:00Z", "Month"), 5),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "millennium"), 3),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "century"), 21),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "decade"), 200),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "quarter"), 1),
    ("date_part_str", ("2006-01-08T15:04:05.999Z", "iso_week"), 1),
    ("date_part_str", ("2006-01-08T15:04:05.999Z", "week"), 2),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "dow"), 1),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "doy"), 2),
    ("date_part_str", ("2006-01-02T15:04:05.999Z", "millisecond"), 999),
    ("date_part_str", ("2006-01-02T15:04:05-03:30", "timezone"), -12600),
    ("date_part_str", ("2006-01-02T15:04:05-03:30", "timezone_hour"), -3),
    ("date_part_str", ("2006-01-02T15:04:05-03:30", "timezone_minute"), -30),
    (
        "date_range_str",
        ("2015-11-30T15:04:05.999", "2016-07-14T15:04:06.998", "quarter"),
        ["2015-11-30T15:04:05.999", "2016-03-01T15:04:05.999", "2016-06-01T15:04:05.999"],
    ),
    (
        "date_range_str",
        ("2018-01-01", "2019-01-01", "month", 4),
        ["2018-01-01", "2018-05-01", "2018-09-01"],
    ),
    (
        "date_range_str",
        ("2016-01-05T15:04:05.999", "2016-01-01T15:04:06.998", "day", -2),
        ["2016-01-05T15:04:05.999", "2016-01-03T15:04:05.999"],
    ),
    ("date_range_str", ("2016-01-05", "2016-01-01", "day"), []),
    ("date_range_str", ("2016-01-01", "2016-01-05", "day", 0), []),
    (
        "date_range_str",
        ("2021-01-31", "2021-04-30", "calendar_month"),
        ["2021-01-31", "2021-02-28", "2021-03-31"],
    ),
    (
        "date_range_millis",
        (1480752000000, 1475481600000, "month", -1),
        [1480752000000, 1478160000000],
    ),
    ("date_trunc_millis", (1463284740000, "day"), 1463270400000),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "day"), "2016-05-18T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "month"), "2016-05-01T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "year"), "2016-01-01T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "hour"), "2016-05-18T03:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "quarter"), "2016-04-01T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "week"), "2016-05-15T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18T03:59:00Z", "iso_week"), "2016-05-16T00:00:00Z"),
    ("date_trunc_str", ("2016-05-18", "decade"), "2010-01-01"),
    ("duration_to_str", (2000,), "2µs"),
    ("duration_to_str", (2000000,), "2ms"),
    ("duration_to_str", (2000000000,), "2s"),
    ("duration_to_str", (3723500000000,), "1h2m3.5s"),
    ("duration_to_str", (0,), "0s"),
    ("duration_to_str", (-1500,), "-1.5µs"),
    ("duration_to_str", (1500000000, "seconds"), "1.5"),
    ("str_to_duration", ("1h",), 3600000000000),
    ("str_to_duration", ("1us",), 1000),
    ("str_to_duration", ("1m30.5s",), 90500000000),
    ("str_to_duration", ("-1ms",), -1000000),
    ("str_to_duration", ("1:02:03",), 3723000000000),
    ("str_to_duration", ("2.5",), 2500000000),
    ("str_to_duration", ("1 hour",), None),
    ("millis", ("2016-05-15T03:59:00Z",), 1463284740000),
    ("str_to_millis", ("19/08/2011 6:33:23+0000", "02/01/2006 3:04:05Z0700"), 1313735603000),
    ("str_to_millis", ("2016-05-15",), 1463270400000),
    ("str_to_millis", ("1970-01-01T00:00:00.123456Z",), 123),
    ("str_to_millis", ("1969-12-31 23:59:59Z",), -1000),
    ("str_to_millis", ("2016-13-15",), None),
    ("str_to_millis", ("2021/06/28", "%Y %m %d"), 1624838400000),
    ("str_to_millis", ("28.06.2021 PM 7", "DD.MM.YYYY PM HH12"), None),
    ("str_to_millis", ("28.06.2021 07 PM", "DD.MM.YYYY HH12 PM"), 1624906800000),
    ("str_to_millis", ("69", "YY"), -31536000000),
    ("str_to_millis", ("1970-01-01 00:00:01.5", "YYYY-MM-DD hh:mm:ss.s"), 1500),
    ("str_to_millis", ("1970-01-01 00:00:01.5", "%Y-%m-%d %H:%M:%S.%N"), 1500),
    ("str_to_millis", ("Thu Jan 1 1970 1:00AM", "Mon Jan 2 2006 3:04PM"), 3600000),
    ("str_to_millis", ("1970 032", "2006 002"), 2678400000),
    ("date_format_str", ("9999-12-31", "%j %y %C %s"), "365 99 99 253402214400"),
    ("date_add_str", ("9999-11-30", 1, "calendar_month"), "9999-12-31"),
    ("str_to_millis", ("2021-06-28 12:00 Europe/Paris", "%Y-%m-%d %H:%M %Z"), 1624874400000),
    ("millis_to_str", (1463284740000,), "2016-05-15T03:59:00Z"),
    ("millis_to_str", (1463284740123.4,), "2016-05-15T03:59:00.123Z"),
    ("millis_to_str", (1463284740000, "invalid format"), "2016-05-15T03:59:00Z"),
    ("millis_to_str", (1463284740000, "1111-11-11"), "2016-05-15"),
    ("millis_to_str", ("a",), None),
    ("millis_to_utc", (-1,), "1969-12-31T23:59:59.999Z"),
    ("millis_to_tz", (1463284740000, "America/New_York"), "2016-05-14T23:59:00-04:00"),
    ("millis_to_tz", (1463284740000, "Asia/Kolkata"), "2016-05-15T09:29:00+05:30"),
    ("millis_to_tz", (1463284740000, "UTC"), "2016-05-15T03:59:00Z"),
    ("millis_to_tz", (1463284740000, "../etc/passwd"), None),
    ("str_to_utc", ("1111-11-11T00:00:00+08:00",), "1111-11-10T16:00:00Z"),
    ("str_to_utc", ("1111-11-11",), "1111-11-11"),
    ("str_to_tz", ("1111-11-11T00:00:00+08:00", "UTC"), "1111-11-10T16:00:00Z"),
    ("str_to_tz", ("2011-11-11T00:00:00+08:00", "America/New_York"), "2011-11-10T11:00:00-05:00"),
    ("weekday_millis", (1486237655742, "America/Tijuana"), "Saturday"),
    ("weekday_str", ("2017-02-05",), "Sunday"),
]

FAILURES: list[tuple[str, tuple[Any, ...], int]] = [
    ("abort", ("enough",), 5011),
    ("abort", (MISSING,), 5011),
    ("repeat", ("a" * 1000, 1_000_000), 5037),
    ("repeat", ("a", 1 << 40), 5035),
    ("repeat", ("a", 1e300), 5035),
    ("lpad", ("a", 100_000_000), 5037),
    ("array_repeat", (1, 10_000_000), 5037),
    ("array_range", (0, 10_000_000), 5037),
    ("array_range", (0, 1e18), 5035),
    ("array_range", (0, 1, 1e-300), 5035),
    ("replace", ("a" * 100_000, "", "b" * 1000), 5037),
    ("suffixes", ("a" * 100_000,), 5037),
    ("regexp_contains", ("a", "("), 5010),
    ("regexp_contains", ("a", r"(a)\1"), 5010),
    ("regexp_contains", ("a", "(?=a)"), 5010),
    ("regexp_contains", ("a", "a**"), 5010),
    ("regexp_contains", ("a", r"\pL"), 5010),
    ("regexp_contains", ("a", "a{2000}"), 5010),
    ("regexp_contains", ("a", "(" * 5000), 5010),
    ("date_add_str", ("2016-05-15", 1, "fortnight"), 5010),
    ("date_part_str", ("2016-05-15", "fortnight"), 5010),
    ("date_trunc_str", ("2016-05-15", "fortnight"), 5010),
    ("date_diff_str", ("2016-05-15", "2016-05-15", "fortnight"), 5010),
    ("date_add_str", ("2016-05-15", 10_000, "year"), 5035),
    ("millis_to_str", (1e18,), 5035),
    ("millis_to_str", (0, "%Q"), 5010),
    ("date_range_str", ("0001-01-01", "9999-01-01", "second"), 5035),
    ("object_paths", ({}, {"index": True}), 5010),
    ("hashbytes", ("a", {"polynomial": "koopman"}), 5010),
    ("duration_to_str", (1, "interval"), 5010),
    ("array_repeat", ("x" * 1000, 1_000_000), 5037),
    ("array_repeat", (range(1_000_000), 100), 5037),
    ("array_repeat", ([{"a": "x" * 1000}], 100_000), 5037),
    ("array_star", ([{str(n): n for n in range(3000)}] * 1000,), 5037),
    ("concat", ("x" * (11 << 20), "x" * (11 << 20)), 5037),
    ("encode_json", ('"' * (11 << 20),), 5037),
    ("mask", ("x", {"mask": "x" * 10_000, "hole": "y" * 10_000}), 5037),
    ("regexp_matches", ("a" * 3_000_000, "a"), 5037),
    ("regexp_replace", ("a" * 100_000, "", "b" * 1000), 5037),
    ("regexp_split", ("," * 3_000_000, ","), 5037),
    ("split", ("," * 3_000_000, ","), 5037),
    ("regexp_contains", ("a", "a" * 3000), 5010),
    ("regexp_contains", ("a", "[" * 1900), 5010),
    ("millis_to_str", (0, "%Y" * 60), 5010),
]

LONG: list[Row] = [
    ("array_contains_any", (range(300_000), range(300_000, 600_000)), False),
    ("array_contains_all", (range(300_000), range(300_000)), True),
    ("array_flatten", ([[1] * 1000] * 1000, 1), [1] * 1_000_000),
    ("tonumber", ("1" * 1_000_000 + "x",), None),
    ("str_to_millis", ("2016-01-01" + " " * 100_000 + "x",), None),
    ("str_to_millis", ("1" * 30, "%-d" * 30), None),
    ("str_to_millis", ("a/" * 45, "%Z%Z%Z%Z"), None),
    ("str_to_duration", ("1h" * 100_000,), None),
    ("regexp_contains", ("a" * 1_000_000, "b"), False),
    ("has_token", ("!" * 300_000 + "a", "a"), True),
    ("tokens", ("!" * 300_000, {"specials": True}), []),
    ("decode_json", ("9" * 100_000,), None),
    ("urldecode", ("%" * 100_000,), None),
]
"""What takes no longer than it has to, where a careless way would take for ever."""


TABLES = (ARRAYS, CONDITIONS, OPERATORS, NUMBERS, STRINGS, PATTERNS, OBJECTS, ENCODING, DATES)


def call(name: str, *arguments: Any) -> Any:
    """What a function answers, as a statement that starts `NOW` gets it."""
    found = FUNCTIONS[name]
    return found.call(NOW, *arguments) if found.clock else found.call(*arguments)


def plain(value: Any) -> Any:
    """A value as it can be compared: arrays are lists, NaN is itself."""
    if isinstance(value, float) and value != value:
        return "NaN"
    return list(value) if isinstance(value, range) else value


class FunctionTests(SynchronousTestCase):
    """What functions answer."""

    def _check(self, rows: list[Row]) -> None:
        for name, arguments, expected in rows:
            found, wanted = plain(call(name, *arguments)), plain(expected)
            what = f"{name}{arguments!r}"
            self.assertEqual(found, wanted, what)
            self.assertEqual(type_name(found), type_name(wanted), what)
            if type_name(found) == "number" and isinstance(wanted, int):
                self.assertIs(type(found), int, what)

    def test_arrays(self) -> None:
        self._check(ARRAYS)

    def test_conditions_and_types(self) -> None:
        self._check(CONDITIONS)

    def test_operators(self) -> None:
        self._check(OPERATORS)

    def test_numbers(self) -> None:
        self._check(NUMBERS)

    def test_strings_and_tokens(self) -> None:
        self._check(STRINGS)

    def test_patterns(self) -> None:
        self._check(PATTERNS)

    def test_objects(self) -> None:
        self._check(OBJECTS)

    def test_encoding(self) -> None:
        self._check(ENCODING)

    def test_dates(self) -> None:
        self._check(DATES)

    def test_failures_have_the_codes_of_a_server(self) -> None:
        for name, arguments, code in FAILURES:
            failed = self.assertRaises(FunctionFailed, call, name, *arguments)
            self.assertEqual(failed.code, code, name)
            self.assertTrue(failed.text)

    def test_long_arguments(self) -> None:
        self._check(LONG)

    def test_arguments_are_not_changed(self) -> None:
        for name, arguments, _ in ARRAYS + OBJECTS:
            before = json.dumps(arguments, default=repr)
            call(name, *arguments)
            self.assertEqual(json.dumps(arguments, default=repr), before, name)


class LazyArrayTests(SynchronousTestCase):
    """Arrays that are made while they are read."""

    def test_whole_numbers_make_a_range(self) -> None:
        self.assertEqual(call("array_range", 0, 1_000_000), range(1_000_000))
        self.assertEqual(call("array_range", 0, 10.0, 2.0), range(0, 10, 2))

    def test_what_needs_no_list_makes_none(self) -> None:
        million = range(1_000_000)
        for name in ("array_reverse", "array_sort", "array_distinct"):
            self.assertIsInstance(call(name, million), range, name)
        for name in ("array_sum", "array_avg", "array_min", "array_max", "array_length"):
            self.assertEqual(call(name, million), call(name, list(million)), name)


class VolatileTests(SynchronousTestCase):
    """Functions that answer differently each time."""

    def test_random(self) -> None:
        self.assertTrue(0 <= call("random") < 1)
        self.assertEqual(call("random", 5), call("random", 5))
        self.assertIsNone(call("random", 0.5))
        self.assertTrue(FUNCTIONS["random"].volatile)

    def test_uuid(self) -> None:
        one, other = call("uuid"), call("uuid")
        self.assertNotEqual(one, other)
        self.assertEqual(uuid.UUID(one).version, 4)
        self.assertTrue(FUNCTIONS["uuid"].volatile)


class TableTests(SynchronousTestCase):
    """The table of functions."""

    def test_every_function_is_tested(self) -> None:
        tested = {id(FUNCTIONS[name]) for table in TABLES for name, _, _ in table}
        others = {"abort", "random", "uuid", "nan", "inf", "neginf"}
        tested |= {id(FUNCTIONS[name]) for name in others}
        lacking = sorted(name for name, found in FUNCTIONS.items() if id(found) not in tested)
        self.assertEqual(lacking, [])

    def test_names_are_lower_case_and_counts_make_sense(self) -> None:
        for name, found in FUNCTIONS.items():
            self.assertEqual(name, name.lower())
            self.assertTrue(found.maximum is None or found.minimum <= found.maximum, name)

    def test_rows_have_as_many_arguments_as_the_functions_take(self) -> None:
        for table in TABLES:
            for name, arguments, _ in table:
                found = FUNCTIONS[name]
                self.assertGreaterEqual(len(arguments), found.minimum, name)
                self.assertLessEqual(len(arguments), found.maximum or len(arguments), name)

    def test_unknown_functions_are_not_there(self) -> None:
        for name in ("curl", "meta", "count", "sum", "search", "advisor"):
            self.assertNotIn(name, FUNCTIONS)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats()
    | st.sampled_from(["day", "UTC", "2016-05-15T03:59:00Z", "%Y", "a.b[0]", "a", "(", "1h"])
    | st.text(max_size=5)
    | st.just(MISSING)
    | st.binary(max_size=2)
    | st.builds(range, st.integers(-3, 3), st.integers(-3, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


class PropertyTests(SynchronousTestCase):
    """What holds for any arguments."""

    @settings(max_examples=600, deadline=None)
    @given(st.sampled_from(sorted(FUNCTIONS)), st.data())
    def test_any_arguments_have_an_answer(self, name: str, data: st.DataObject) -> None:
        found = FUNCTIONS[name]
        most = found.maximum if found.maximum is not None else found.minimum + 2
        count = data.draw(st.integers(found.minimum, most))
        arguments = [data.draw(ANYTHING) for _ in range(count)]
        try:
            result = call(name, *arguments)
        except FunctionFailed as failed:
            self.assertIn(failed.code, (5010, 5011, 5035, 5037))
            return
        self.assertTrue(type_name(result))
