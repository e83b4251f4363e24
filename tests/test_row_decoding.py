"""How rows are decoded."""

from __future__ import annotations

import json
from typing import Any

from couchbase.serializer import DefaultJsonSerializer
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.row_requests import from_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
NOT_QUITE_JSON = (
    *(b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b"-0", b"1" * 400, b'{"a":1,"a":2}', b'"\x7f"'),
    *(
        b"",
        b"nul",
        b"01",
        b"1.",
        b'"\t"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b"[1,]",
        b"1 2",
    ),
)


class DecodingTests(SynchronousTestCase):
    """The fast decoder means what the SDK's means, and refuses what it refuses."""

    def check(self, row: bytes) -> None:
        try:
            theirs: Any = DefaultJsonSerializer().deserialize(row)
        except Exception as error:
            self.assertRaises(type(error), from_json, row)
        else:
            self.assertEqual(repr(from_json(row)), repr(theirs))

    @given(JSON_VALUES, st.booleans(), st.sampled_from((None, 2)))
    @settings(deadline=None, max_examples=200)
    def test_any_value(self, value: Any, ascii_only: bool, indent: int | None) -> None:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        self.check(text.encode("utf-8", "surrogatepass"))

    @given(st.binary(max_size=20))
    @settings(deadline=None, max_examples=200)
    def test_any_bytes(self, row: bytes) -> None:
        self.check(row)

    def test_what_is_not_quite_json(self) -> None:
        for row in NOT_QUITE_JSON:
            self.check(row)
