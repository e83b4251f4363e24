"""SQL++ of the embedded node: from text to tokens, operators and statements."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.sqlpp import QueryService
from tests.test_node_query import ERRORS, EXPRESSIONS, QUERIES
from txcouchbase.testing.query import parse as parsing
from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.formatted import formatted
from txcouchbase.testing.query.grammar.lexer import tokens
from txcouchbase.testing.query.grammar.words import RESERVED
from txcouchbase.testing.query.like import LikePattern
from txcouchbase.testing.query.parse import Parser, parse
from txcouchbase.testing.query.syntax import (
    CreateIndex,
    DropIndex,
    Expression,
    Insert,
    KeyspacePath,
    Prepare,
    Query,
    Subselect,
    children,
)

PRECEDENCE: list[tuple[str, str]] = [
    ("a OR b AND c", "(`a` or (`b` and `c`))"),
    ("a AND b OR c AND d", "((`a` and `b`) or (`c` and `d`))"),
    ("a AND b AND c", "(`a` and `b` and `c`)"),
    ("NOT a AND b", "((not `a`) and `b`)"),
    ("NOT a = b", "(not (`a` = `b`))"),
    ("NOT NOT a", "(not (not `a`))"),
    ("a = NOT b", "(`a` = (not `b`))"),
    ("a = b < c", "(`a` = (`b` < `c`))"),
    ("a = b = c", "((`a` = `b`) = `c`)"),
    ("a > b", "(`b` < `a`)"),
    ("a >= b + 1", "((`b` + 1) <= `a`)"),
    ("a == b", "(`a` = `b`)"),
    ("a <> b", "(`a` != `b`)"),
    ("a < b LIKE c", "(`a` < (`b` like `c`))"),
    ("a + b * c - d", "((`a` + (`b` * `c`)) - `d`)"),
    ("a - b - c", "((`a` - `b`) - `c`)"),
    ("a * b / c % d", "(((`a` * `b`) / `c`) % `d`)"),
    ("-a + b", "((-`a`) + `b`)"),
    ("-a.b", "(-(`a`.`b`))"),
    ("a * -b", "(`a` * (-`b`))"),
    ("a || b + c", "(`a` || (`b` + `c`))"),
    ("a || b || c", "(`a` || `b` || `c`)"),
    ("a IS NULL = b", "((`a` is null) = `b`)"),
    ("a + b IS NOT MISSING", "((`a` + `b`) is not missing)"),
    ("a IS NOT NULL IS NULL", "((`a` is not null) is null)"),
    ("a = b IS DISTINCT FROM c", "(`a` = is_distinct_from(`b`, `c`))"),
    ("a || b IS NOT DISTINCT FROM c + d", "is_not_distinct_from((`a` || `b`), (`c` + `d`))"),
    ("a IS DISTINCT FROM b IS NULL", "(is_distinct_from(`a`, `b`) is null)"),
    ("a IN b = c", "((`a` in `b`) = `c`)"),
    ("a NOT IN b", "(not (`a` in `b`))"),
    ("a NOT WITHIN b OR c", "((not (`a` within `b`)) or `c`)"),
    ("a BETWEEN b AND c AND d", "((`a` between `b` and `c`) and `d`)"),
    ("a NOT BETWEEN b AND c", "(not (`a` between `b` and `c`))"),
    ("a BETWEEN b + 1 AND c", "(`a` between (`b` + 1) and `c`)"),
    ("a LIKE b ESCAPE c AND d", "((`a` like `b` escape `c`) and `d`)"),
    ("EXISTS a AND b", "((exists `a`) and `b`)"),
    ("(a OR b) AND c", "((`a` or `b`) and `c`)"),
    ("a.b[0].c", "(((`a`.`b`)[0]).`c`)"),
    ("a[b:c]", "`a`[`b` : `c`]"),
    ("a[:]", "`a`[ : ]"),
    ("a.[b]", "(`a`.[`b`])"),
    ("a.`b`i.[c]i", "((`a`.`b`i).[`c`]i)"),
    ("NOT `IN`", "(not `IN`)"),
    ("NOT 'IN'", '(not "IN")'),
    ("$OVER", "$OVER"),
    ("{a.`b`i}", '{"b": (`a`.`b`i)}'),
    ("{a, 'b': c.d, c.d}", '{"a": `a`, "b": (`c`.`d`), "d": (`c`.`d`)}'),
    ("f(a, *)", ""),
    ("COUNT(DISTINCT a) FILTER (WHERE b)", "count(distinct `a`) filter (where `b`)"),
    ("COUNT(*)", "count(*)"),
    ("CASE a WHEN 1 THEN b END", "case `a` when 1 then `b` end"),
    ("ANY AND EVERY i: v IN a SATISFIES v END", "any and every `i` : `v` in `a` satisfies `v` end"),
    ("SOME v WITHIN a SATISFIES v END", "any `v` within `a` satisfies `v` end"),
    ("FIRST v FOR v IN a WHEN v END", "(first `v` for `v` in `a` when `v` end)"),
    ("OBJECT k: v FOR k: v IN a END", "(object `k` : `v` for `k` : `v` in `a` end)"),
    ("$1 + $name + ?", "(($1 + $name) + $1)"),
]


def expression_of(text: str) -> Expression:
    """The expression of a SELECT RAW."""
    statement = parse(f"SELECT RAW {text}")
    assert isinstance(statement, Query) and isinstance(statement.body, Subselect)
    found = statement.body.projection.terms[0].expression
    assert found is not None
    return found


class ParseTests(SynchronousTestCase):
    def test_precedence(self) -> None:
        wrong = []
        for text, expected in PRECEDENCE:
            try:
                found = formatted(expression_of(text))
            except QueryError:
                found = ""
            if found != expected:
                wrong.append((text, expected, found))
        self.assertEqual(wrong, [])

    def test_formatted_expressions_mean_the_same(self) -> None:
        for text, _ in PRECEDENCE:
            if text == "f(a, *)" or "?" in text:
                continue
            once = expression_of(text)
            self.assertEqual(expression_of(formatted(once)), once, text)

    def test_tokens(self) -> None:
        found = [
            (token.kind, token.value)
            for token in tokens("Select `a``b`, 'x''y' -- c\n/* d */ ? $n ?")
        ]
        self.assertEqual(
            found,
            [
                ("SELECT", "SELECT"),
                ("NAME", "a`b"),
                ("COMMA", ","),
                ("TEXT", "x'y"),
                ("PARAMETER", "1"),
                ("PARAMETER", "n"),
                ("PARAMETER", "2"),
            ],
        )

    def test_words_are_case_insensitive_and_names_are_not(self) -> None:
        self.assertEqual(parse("select Raw A from [1] as A"), parse("SELECT RAW A FROM [1] AS A"))
        self.assertNotEqual(parse("SELECT a"), parse("SELECT A"))

    def test_reserved_words_need_backticks(self) -> None:
        for word in sorted(RESERVED):
            self.assertRaises(QueryError, parse, f"SELECT 1 AS {word}")
            parse(f"SELECT 1 AS `{word}`")
        parse("SELECT default, system, type, name, id FROM default")

    def test_errors_say_where(self) -> None:
        for text, expected in (
            ("SELECT 1 +", "line 1, column 11, near 'SELECT 1 +', at: end of input"),
            ("SELECT\n  FROM x", "line 2, column 3, near 'SELECT   ', at: FROM (reserved word)"),
            ("SELECT 1 AS 'x'", "line 1, column 13, near 'SELECT 1 AS ', at: 'x'"),
            ("SELECT " + "1," * 30 + ")", "column 68, near '..."),
        ):
            error = self.assertRaises(QueryError, parse, text)
            self.assertEqual(error.code, 3000)
            self.assertIn(expected, error.message)

    def test_statements(self) -> None:
        statement = parse("UPSERT INTO default:b.s.c AS t (KEY, VALUE) VALUES (1, 2), (3, 4)")
        assert isinstance(statement, Insert)
        self.assertTrue(statement.upsert)
        self.assertEqual(statement.target.path, KeyspacePath("default", ("b", "s", "c")))
        self.assertEqual((statement.target.alias, len(statement.rows)), ("t", 2))
        statement = parse("CREATE PRIMARY INDEX ON `b`")
        assert isinstance(statement, CreateIndex)
        self.assertEqual((statement.name, statement.primary, statement.keys), (None, True, ()))
        statement = parse("DROP INDEX default:`b`.`i` USING GSI")
        self.assertEqual(statement, DropIndex("i", KeyspacePath("default", ("b",)), False))
        statement = parse("DROP INDEX `i` IF EXISTS ON default:`b`.`s`.`c`")
        path = KeyspacePath("default", ("b", "s", "c"))
        self.assertEqual(statement, DropIndex("i", path, True))
        statement = parse("PREPARE FORCE p AS SELECT 1;")
        self.assertEqual(statement, Prepare("p", True, parse("SELECT 1")))

    def test_nesting_has_a_limit(self) -> None:
        for deep in (
            "[" * 500 + "]" * 500,
            "(" * 50_000 + "1" + ")" * 50_000,
            "NOT " * 500 + "1",
            "-" + " -" * 5000 + "1",
            "1" + " + 1" * 500,
            "a" + ".b" * 500,
            "a" + "[0]" * 500,
            "f(" * 500 + ")" * 500,
            "CASE WHEN " * 500,
            "(SELECT RAW " * 200 + "1" + ")" * 200,
            "{'a':" * 500 + "1" + "}" * 500,
        ):
            try:
                parse(f"SELECT RAW {deep}")
            except QueryError as error:
                self.assertEqual(error.code, 3000, deep[:20])
        # What is flat is not deep.
        for flat in (" OR ".join(["a"] * 3000), "||".join(["a"] * 3000), "((((((1))))))"):
            parse(f"SELECT RAW {flat}")
        service = QueryService()
        self.assertEqual(service.value("[" * 100 + "]" * 100), json.loads("[" * 100 + "]" * 100))

    def test_unfinished_statements_are_refused_fast(self) -> None:
        started = time.process_time()
        for text in ("SELECT " + "/* " * 100_000, "SELECT '" + "''" * 100_000, "`" * 99_999):
            self.assertRaises(QueryError, parse, text)
        self.assertLess(time.process_time() - started, 2.0)

    def test_parsed_statements_are_kept(self) -> None:
        parser = Parser(size=2)
        first = parser.parse("SELECT 1")
        self.assertIs(parser.parse("SELECT 1"), first)
        parser.parse("SELECT 2")
        parser.parse("SELECT 1")
        parser.parse("SELECT 3")
        self.assertIs(parser.parse("SELECT 1"), first)
        self.assertRaises(QueryError, parser.parse, "SELECT")
        self.assertRaises(QueryError, parser.parse, "SELECT")

    def test_without_lark_the_extra_is_named(self) -> None:
        parsing._grammar.cache_clear()
        self.patch(parsing, "find_spec", lambda name: None)
        self.addCleanup(parsing._grammar.cache_clear)
        error = self.assertRaises(QueryError, parse, "SELECT 1")
        self.assertIn("txcouchbase[testing]", error.message)

    def test_lark_is_imported_by_the_first_statement(self) -> None:
        code = (
            "import sys, txcouchbase.testing.query.service; assert 'lark' not in sys.modules; "
            "from txcouchbase.testing.query.parse import parse; parse('SELECT 1'); "
            "assert 'lark' in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class LikeTests(SynchronousTestCase):
    def test_many_percent_signs_are_no_work(self) -> None:
        started = time.process_time()
        self.assertFalse(LikePattern("%a" * 30 + "b").matches("a" * 5000))
        self.assertTrue(LikePattern("%a" * 30).matches("a" * 5000))
        self.assertLess(time.process_time() - started, 1.0)

    @given(st.text("ab", max_size=12), st.text("ab%_", max_size=8))
    @settings(max_examples=300, deadline=None)
    def test_it_matches_as_a_slow_one_does(self, text: str, pattern: str) -> None:
        def slow(text: str, pattern: str) -> bool:
            if not pattern:
                return not text
            if pattern[0] == "%":
                return any(slow(text[at:], pattern[1:]) for at in range(len(text) + 1))
            return bool(text) and pattern[0] in ("_", text[0]) and slow(text[1:], pattern[1:])

        self.assertEqual(LikePattern(pattern).matches(text), slow(text, pattern))


WORDS = sorted(
    {
        word
        for statement in (
            *[text for text, _ in QUERIES],
            *[f"SELECT {text}" for text, _ in EXPRESSIONS],
            *[text for text, _, _ in ERRORS],
        )
        for word in statement.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
    }
)


class SoupTests(SynchronousTestCase):
    """Nothing but a `QueryError` comes of nonsense."""

    def setUp(self) -> None:
        self.service = QueryService()
        self.service.rows("CREATE PRIMARY INDEX ON b")

    def check(self, statement: str) -> None:
        code, answer = self.service.ask(statement, args=[1, "a", [2]], timeout="1s")
        self.assertIn(answer.get("status"), ("success", "errors", "fatal", "timeout"), statement)
        self.assertIn(code, (200, 400, 401, 403, 404, 405, 408, 409, 500))
        # An error that is the node's own would say so.
        self.assertNotIn("error", answer, statement)

    @given(st.lists(st.sampled_from(WORDS), max_size=12))
    @settings(max_examples=300, deadline=None)
    def test_words(self, words: list[str]) -> None:
        self.check(" ".join(["SELECT", *words]))

    @given(st.text(max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_text(self, text: str) -> None:
        self.check(text.encode("utf-8", "replace").decode())

    def test_changed_statements(self) -> None:
        random = Random(3)
        statements = [text for text, _ in QUERIES] + [f"SELECT {text}" for text, _ in EXPRESSIONS]
        for _ in range(1500):
            words = random.choice(statements).split()
            for _ in range(random.randint(1, 3)):
                at = random.randrange(len(words))
                change = random.randrange(4)
                if change == 0 and len(words) > 1:
                    del words[at]
                elif change == 1:
                    words.insert(at, random.choice(WORDS))
                elif change == 2:
                    words[at] = random.choice(WORDS)
                else:
                    other = random.randrange(len(words))
                    words[at], words[other] = words[other], words[at]
            self.check(" ".join(words))

    def test_nodes_know_their_children(self) -> None:
        statement = parse("SELECT a, COUNT(*) FROM b GROUP BY a ORDER BY a")
        waiting, count = [statement], 0
        while waiting:
            node = waiting.pop()
            count += 1
            waiting.extend(children(node))  # type: ignore[arg-type]
        self.assertGreater(count, 10)
