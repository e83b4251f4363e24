"""`AnswerReader` takes any legal answer apart, whatever pieces it comes in."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import SLOW
from txcouchbase.workers import answers
from txcouchbase.workers.answers import AnswerReader, MalformedAnswer

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
names = st.text(max_size=4) | st.sampled_from(["results", "a", '"', "\\", "[", "},{"])
values = st.recursive(
    scalars | st.sampled_from(['"', "\\", "},{", '],"results":[', "\\u0022", "{", "]"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
members = st.dictionaries(names.filter(lambda name: name != "results"), values, max_size=3)
spaces = st.sampled_from(["", " ", "\n", "\t\r\n "])


def read(data: bytes, pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    reader = AnswerReader("results")
    rows = [row for piece in pieces for row in reader.feed(piece)]
    return rows, reader.finish()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


class ReaderTests(SynchronousTestCase):
    def check(self, text: str, rows: list[Any], pieces: list[bytes]) -> None:
        whole = json.loads(text)
        whole["results"] = []
        found, rest = read(text.encode(), pieces)
        self.assertEqual([json.loads(row) for row in found], rows)
        self.assertEqual(json.loads(rest), whole)

    @settings(max_examples=5000 if SLOW else 400, deadline=None)
    @given(
        st.lists(values, max_size=8),
        members,
        members,
        spaces,
        spaces,
        st.booleans(),
        st.booleans(),
        st.integers(1, 50),
    )
    def test_any_layout_in_any_pieces(
        self,
        rows: list[Any],
        head: dict[str, Any],
        tail: dict[str, Any],
        before: str,
        after: str,
        escaped: bool,
        named_oddly: bool,
        size: int,
    ) -> None:
        def text_of(value: Any) -> str:
            return json.dumps(value, ensure_ascii=escaped or "\ud800" in str(value))

        def shown(name: str, value: str) -> str:
            return f"{before}{name}{after}:{before}{value}{after}"

        between = f"{before},{after}"
        array = f"[{after}{between.join(text_of(row) for row in rows)}{before}]"
        parts = [shown(text_of(name), text_of(value)) for name, value in head.items()]
        parts.append(shown('"res\\u0075lts"' if named_oddly else '"results"', array))
        parts += [shown(text_of(name), text_of(value)) for name, value in tail.items()]
        text = f"{before}{{{','.join(parts)}}}{after}"
        data = text.encode()
        self.check(text, rows, cut(data, size))
        self.check(text, rows, [data])

    def test_every_byte_is_a_place_to_split_at(self) -> None:
        rows = [{"a": ['},{"', {"b": "\\"}]}, 'te"xt', -1.5e3, None, [], [[1], {"c": {}}], "é"]
        for space in ("", " \n"):
            array = f",{space}".join(json.dumps(row, ensure_ascii=False) for row in rows)
            text = f'{{"x": {{"results": [1]}}, "results":{space}[{array}{space}], "z": "]"}}'
            data = text.encode()
            for place in range(len(data)):
                self.check(text, rows, [data[:place], data[place:]])
            self.check(text, rows, cut(data, 1))

    def test_many_rows_of_many_shapes(self) -> None:
        # Long enough for whole pieces to be tried, with separators that are within rows, too.
        chance = random.Random(1)
        for shape in (
            lambda n: {"id": n, "text": "x" * chance.randrange(90)},
            lambda n: {"id": n, "inner": [{"a": 1}, {"a": n}, {"b": [{"c": 1}, {"d": 2}]}]},
            lambda n: [[n], [n, [1]], [2]],
            lambda n: f'{n}","{n}',
            lambda n: n,
            lambda n: chance.choice([None, {"a": {}}, [], "},{", n]),
        ):
            rows = [shape(n) for n in range(3000)]
            for separator in (",", ",\n"):
                array = separator.join(json.dumps(row, separators=(",", ":")) for row in rows)
                text = f'{{"results":[{array}],"status":"success"}}'
                for size in (1460, 65536):
                    self.check(text, rows, cut(text.encode(), size))

    def test_what_is_tried_as_a_whole_is_most_of_it(self) -> None:
        tried: list[int] = []
        decode = answers._many

        def counted(data: bytes) -> Any:
            found = decode(data)
            tried.append(len(found))
            return found

        self.patch(answers, "_many", counted)
        row = json.dumps({"id": 1, "inner": [{"a": 1}, {"a": 2}]}, separators=(",", ":"))
        text = f'{{"results":[{",".join([row] * 20_000)}]}}'
        read(text.encode(), cut(text.encode(), 65536))
        self.assertGreater(sum(tried), 17_000)

    def test_a_row_is_there_as_soon_as_it_is_complete(self) -> None:
        reader = AnswerReader("rows")
        for data, rows in (
            (b'{"total_rows":3,"ro', []),
            (b'ws":[{"a":1', []),
            (b"}", [b'{"a":1}']),
            (b',{"a":2},', [b'{"a":2}']),
            (b'"te', []),
            (b'xt"', [b'"text"']),
            (b",12", []),
            (b"3,", [b"123"]),
            (b"[", []),
            (b"]", [b"[]"]),
            (b"]}", []),
        ):
            self.assertEqual(reader.feed(data), rows, data)
        self.assertEqual(json.loads(reader.finish()), {"total_rows": 3, "rows": []})

    def test_memory_does_not_grow(self) -> None:
        reader = AnswerReader("results")
        reader.feed(b'{"results":[')
        for _ in range(2000):
            self.assertEqual(len(reader.feed(b'{"a":1},{"b":2},')), 2)
            self.assertLess(len(reader._buffer), 32)
            self.assertLess(len(reader._rest), 32)

    def test_a_deep_row(self) -> None:
        deep = b"[" * 20_000 + b"]" * 20_000
        found, _ = read(b"", [b'{"results":[1,', deep, b",2,3]}"])
        self.assertEqual(found, [b"1", deep, b"2", b"3"])

    def test_no_rows(self) -> None:
        for text in (
            '{"errors":[{"code":1}],"status":"fatal"}',
            '{"results":null}',
            '{"results":{"results":[1]}}',
            '{"results":[],"x":["results",[1]]}',
            "[]",
            "",
            "nothing",
        ):
            found, rest = read(text.encode(), cut(text.encode(), 3))
            self.assertEqual(found, [])
            self.assertEqual(rest.decode(), text)

    def test_what_is_no_answer(self) -> None:
        for text in (
            '{"results":[1 2]}',
            '{"results":[1,,2]}',
            '{"results":[1,]}',
            '{"results":[,1]}',
            '{"results":[nonsense]}',
            '{"results":[{"a" 1}]}',
            '{"results":[{]}',
            '{"results":["a":1]}',
            '{"results":[1',
            '{"results":["a',
            '{"results":[{"a":1}',
            '{"results":[{"a":1},',
        ):
            for size in (1, 100):
                with self.assertRaises(MalformedAnswer, msg=text):
                    read(text.encode(), cut(text.encode(), size))
