"""The values of the embedded node's SQL++: order, comparison, arithmetic."""

from __future__ import annotations

import copy
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.testing.query.limits import LARGEST_RESULT, FunctionFailed
from txcouchbase.testing.query.values import (
    MISSING,
    add,
    compare,
    concatenate,
    divide,
    equals,
    group_key,
    is_array,
    is_number,
    less,
    less_or_equal,
    modulo,
    multiply,
    negate,
    number,
    sort_key,
    subtract,
    truth,
    type_name,
)

IN_ORDER: list[Any] = [
    MISSING,
    None,
    False,
    True,
    -math.inf,
    -(1 << 63),
    -1.5,
    -1,
    0,
    0.5,
    1,
    2.5,
    1 << 53,
    (1 << 53) + 1,
    math.inf,
    "",
    "A",
    "a",
    "aa",
    "b",
    "é",
    "\uffff",
    "😀",
    [],
    [None],
    [1],
    [1, 1],
    [2],
    [[]],
    {},
    {"z": 1},
    {"a": 1, "b": 1},
    {"a": 1, "b": 2},
    {"a": 2, "b": 0},
    {"a": 2, "c": 0},
    {"a": 0, "b": 0, "c": 0},
    b"",
    b"x",
]
"""Values as they sort, no two of which are the same."""

PROPAGATION = [
    (MISSING, 1, MISSING),
    (1, MISSING, MISSING),
    (MISSING, None, MISSING),
    (None, MISSING, MISSING),
    (None, 1, None),
    (1, None, None),
]
"""Two values, and what any comparison or sum of them is."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.text(max_size=4)
    | st.just(MISSING)
    | st.binary(max_size=2)
    | st.builds(range, st.integers(-3, 3), st.integers(-3, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


class OrderTests(SynchronousTestCase):
    """The order of all values."""

    def test_order_of_the_documentation(self) -> None:
        for place, left in enumerate(IN_ORDER):
            for other, right in enumerate(IN_ORDER):
                expected = (place > other) - (place < other)
                self.assertEqual(compare(left, right), expected, f"{left!r} {right!r}")

    def test_sort_restores_the_order(self) -> None:
        shuffled = IN_ORDER[::2] + IN_ORDER[1::2][::-1]
        self.assertEqual(sorted(shuffled, key=sort_key), IN_ORDER)

    def test_same_numbers_are_the_same(self) -> None:
        self.assertEqual(compare(1, 1.0), 0)
        self.assertEqual(compare([1, {"a": 2.0}], [1.0, {"a": 2}]), 0)
        self.assertEqual(compare(math.nan, math.nan), 0)
        self.assertLess(compare(math.nan, -math.inf), 0)
        self.assertGreater(compare(math.nan, True), 0)

    def test_array_that_is_made_while_it_is_read_is_an_array(self) -> None:
        self.assertEqual(compare(range(3), [0, 1, 2]), 0)
        self.assertLess(compare(range(2), [0, 1, 2]), 0)
        self.assertEqual(group_key(range(3)), group_key([0, 1.0, 2]))

    def test_names_of_objects_have_no_order(self) -> None:
        self.assertEqual(compare({"a": 1, "b": 2}, {"b": 2, "a": 1}), 0)
        self.assertEqual(group_key({"a": 1, "b": 2}), group_key({"b": 2, "a": 1}))

    @settings(max_examples=150, deadline=None)
    @given(values, values, values)
    def test_order_is_total(self, first: Any, second: Any, third: Any) -> None:
        one, two, three = (
            compare(a, b) for a, b in ((first, second), (second, third), (first, third))
        )
        self.assertEqual(compare(second, first), -one)
        if one <= 0 and two <= 0:
            self.assertLessEqual(three, 0)
        if one == 0 and two == 0:
            self.assertEqual(three, 0)

    @settings(max_examples=150, deadline=None)
    @given(values, values)
    def test_keys_agree_with_the_order(self, left: Any, right: Any) -> None:
        same = compare(left, right) == 0
        self.assertEqual(sort_key(left) == sort_key(right), same)
        self.assertEqual(group_key(left) == group_key(right), same)
        if same:
            self.assertEqual(hash(group_key(left)), hash(group_key(right)))
        self.assertEqual(compare(left, right) < 0, sort_key(left) < sort_key(right))

    @settings(max_examples=100, deadline=None)
    @given(values, values)
    def test_comparison_agrees_with_the_order(self, left: Any, right: Any) -> None:
        if equals(left, right) is True:
            self.assertEqual(compare(left, right), 0)
        if less(left, right) is True:
            self.assertLess(compare(left, right), 0)
        if less_or_equal(left, right) is False:
            self.assertGreater(compare(left, right), 0)


class ComparisonTests(SynchronousTestCase):
    """The operators =, < and <=."""

    def test_missing_and_null_propagate(self) -> None:
        for operator in (equals, less, less_or_equal):
            for left, right, expected in PROPAGATION:
                self.assertIs(operator(left, right), expected, (operator, left, right))
            self.assertIs(operator(None, None), None)
            self.assertIs(operator(MISSING, MISSING), MISSING)

    def test_equal(self) -> None:
        for left, right, expected in [
            (1, 1.0, True),
            (1, 2, False),
            (1, True, False),
            (0, False, False),
            (True, True, True),
            (True, False, False),
            (1, "1", False),
            ("a", "a", True),
            ("a", "A", False),
            ([], {}, False),
            ([1, 2], [1, 2.0], True),
            ([1, 2], [2, 1], False),
            ([1], [1, 2], False),
            ([1], [True], False),
            ([None], [None], None),
            ([None, 1], [None, 2], False),
            ([1, None], [1, 2], None),
            ([MISSING, None], [1, 1], MISSING),
            ({"a": 1}, {"a": 1.0}, True),
            ({"a": 1}, {"b": 1}, False),
            ({"a": 1}, {"a": 1, "b": 1}, False),
            ({"a": None}, {"a": None}, None),
            ({"a": None, "b": 1}, {"b": 2, "a": None}, False),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
            ({"a": {"b": [1]}}, {"a": {"b": [1.0]}}, True),
            (range(3), [0, 1, 2], True),
            (range(3), range(3), True),
            (range(3), [0, 1], False),
            (range(3), "x", False),
            (math.nan, math.nan, False),
            (b"x", b"x", True),
        ]:
            self.assertIs(equals(left, right), expected, f"{left!r} = {right!r}")

    def test_less(self) -> None:
        for left, right, expected in [
            (1, 2, True),
            (2, 1, False),
            (1, 1, False),
            (1, 1.5, True),
            ("a", "b", True),
            ("b", "a", False),
            ("Z", "a", True),
            (False, True, True),
            (1, "1", True),
            ("1", 1, False),
            (True, 0, True),
            ("z", [], True),
            ([1], [1, 0], True),
            ([2], [1, 0], False),
            ([None], [1], None),
            ([1, None], [2, 1], True),
            ({}, {"a": 1}, True),
            ({"a": 2}, {"a": 1, "b": 1}, True),
        ]:
            self.assertIs(less(left, right), expected, f"{left!r} < {right!r}")

    def test_less_or_equal(self) -> None:
        for left, right, expected in [
            (1, 1, True),
            (1, 1.0, True),
            (2, 1, False),
            ("a", "a", True),
            ([1], [1], True),
            ([1, None], [1, None], None),
            ({"a": 1}, {"a": 1}, True),
            ("a", 1, False),
        ]:
            self.assertIs(less_or_equal(left, right), expected, f"{left!r} <= {right!r}")


class TruthTests(SynchronousTestCase):
    """What AND, OR, NOT and WHERE see."""

    def test_truth(self) -> None:
        for value, expected in [
            (True, True),
            (False, False),
            (None, None),
            (MISSING, MISSING),
            (0, False),
            (0.0, False),
            (math.nan, False),
            (1, True),
            (-0.5, True),
            ("", False),
            ("false", True),
            ([], False),
            ([False], True),
            ({}, False),
            ({"a": None}, True),
            (range(0), False),
            (range(2), True),
        ]:
            self.assertIs(truth(value), expected, repr(value))


class TypeTests(SynchronousTestCase):
    """Names of types."""

    def test_names(self) -> None:
        for value, expected in [
            (MISSING, "missing"),
            (None, "null"),
            (True, "boolean"),
            (1, "number"),
            (1.5, "number"),
            ("", "string"),
            ([], "array"),
            (range(3), "array"),
            ({}, "object"),
            (b"", "binary"),
        ]:
            self.assertEqual(type_name(value), expected)
            self.assertEqual(is_array(value), expected == "array")
            self.assertEqual(is_number(value), expected == "number")

    def test_missing_is_one(self) -> None:
        self.assertIs(copy.copy(MISSING), MISSING)
        self.assertIs(copy.deepcopy([MISSING])[0], MISSING)
        self.assertFalse(MISSING)
        self.assertEqual(repr(MISSING), "MISSING")


class ArithmeticTests(SynchronousTestCase):
    """Sums, products and what they are of other things than numbers."""

    def test_missing_and_null_propagate(self) -> None:
        for operator in (add, subtract, multiply, divide, modulo):
            for left, right, expected in PROPAGATION:
                self.assertIs(operator(left, right), expected, (operator, left, right))
            for other in (True, "1", [], {}, b""):
                self.assertIs(operator(1, other), None)
                self.assertIs(operator(other, 1), None)
                self.assertIs(operator(MISSING, other), MISSING)
        self.assertIs(negate(None), None)
        self.assertIs(negate(MISSING), MISSING)
        self.assertIs(negate("1"), None)

    def test_results(self) -> None:
        largest = (1 << 63) - 1
        for operator, left, right, expected in [
            (add, 1, 2, 3),
            (add, 1, 0.5, 1.5),
            (add, 0.5, 0.5, 1),
            (add, largest, 1, float(1 << 63)),
            (subtract, 1, 2, -1),
            (subtract, -largest, 2, -float(1 << 63)),
            (multiply, 3, 4, 12),
            (multiply, 0.1, 10, 1),
            (multiply, 1 << 40, 1 << 40, float(1 << 80)),
            (multiply, 1e308, 10, math.inf),
            (divide, 6, 2, 3),
            (divide, 5, 2, 2.5),
            (divide, 1, 0, None),
            (divide, 1, 0.0, None),
            (divide, 0, 5, 0),
            (modulo, 7, 3, 1),
            (modulo, -7, 3, -1),
            (modulo, 7, -3, 1),
            (modulo, 7.5, 2, 1.5),
            (modulo, 1, 0, None),
            (modulo, 1, 0.0, None),
        ]:
            found = operator(left, right)
            self.assertEqual(found, expected, (operator, left, right))
            self.assertIs(type(found), type(expected), (operator, left, right))
        self.assertEqual(negate(5), -5)
        self.assertEqual(negate(-0.5), 0.5)

    def test_numbers_have_64_bits(self) -> None:
        self.assertEqual(number(1.0), 1)
        self.assertIs(type(number(1.0)), int)
        self.assertIs(type(number(1 << 63)), float)
        self.assertEqual(number(10**400), math.inf)
        self.assertEqual(number(-(10**400)), -math.inf)
        self.assertEqual(number(1e300), 1e300)

    @settings(max_examples=100, deadline=None)
    @given(values, values)
    def test_anything_has_a_result(self, left: Any, right: Any) -> None:
        for operator in (add, subtract, multiply, divide, modulo, concatenate):
            found = operator(left, right)
            self.assertIn(type_name(found), ("missing", "null", "number", "string"))
            if is_number(found) and type(found) is int:
                self.assertTrue(-(1 << 63) <= found < 1 << 63)

    def test_concatenation(self) -> None:
        for left, right, expected in [
            ("a", "b", "ab"),
            ("a", 1, None),
            (1, "a", None),
            (None, "a", None),
            (MISSING, "a", MISSING),
            ("a", MISSING, MISSING),
            (None, MISSING, MISSING),
            (["a"], ["b"], None),
        ]:
            self.assertEqual(concatenate(left, right), expected)
        self.assertRaises(FunctionFailed, concatenate, "x" * LARGEST_RESULT, "x")
