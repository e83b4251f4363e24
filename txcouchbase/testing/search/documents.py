"""What one index holds: documents, the terms of their texts, and their other values.

It is brought up to date when somebody searches. A walk over the bucket's documents compares, for
each, the bytes that were indexed with those that are stored, by identity, since each mutation makes
new ones; what is new is indexed, what is gone is taken out. There is no walk while nothing says
that anything changed: `Source.version` is the same, and no document has expired.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from txcouchbase.testing.kv.manifest import split_leb128
from txcouchbase.testing.search.analyzers import Token
from txcouchbase.testing.search.mapping import Field, Mapping
from txcouchbase.testing.search.sources import Source
from txcouchbase.testing.search.textindex import TextIndex
from txcouchbase.testing.search.turns import Pace, Steps
from txcouchbase.testing.search.values import MAX_FLOAT

__all__ = ["Documents", "Row", "parsed"]

ALL = "_all"
"""The field that stands for all that are included in it."""

KEPT = 256
"""How many documents are kept taken apart."""

_HALVES = re.compile("[\ud800-\udfff]")
"""What is half of a character."""

_VALUE = 12
"""Where the value of a document begins in its bytes."""


def parsed(stored: bytes) -> Any:
    """The JSON of a document as its bucket holds it; None where it is none."""
    value = stored[_VALUE:]
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        pass
    try:
        # What msgspec refuses: halves of surrogate pairs, and numbers out of range.
        return _readable(json.loads(value))
    except (ValueError, RecursionError):
        return None


def _readable(value: Any) -> Any:
    """A value without what cannot be told in an answer."""
    if isinstance(value, str):
        return _HALVES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, dict):
        return {_readable(name): _readable(each) for name, each in value.items()}
    return value if not isinstance(value, (int, float)) or abs(value) <= MAX_FLOAT else None


@dataclass(slots=True)
class Row:
    """One document of an index."""

    key: str
    scope: str
    collection: str
    stored: bytes


class Documents:
    """The documents of one index; their numbers are never used twice.

    :param mapping: its rules.
    :param pace: says when a step ends.
    """

    def __init__(self, mapping: Mapping, pace: Pace) -> None:
        self.mapping = mapping
        self.pace = pace
        self.rows: dict[int, Row] = {}
        self.text = TextIndex()
        self._known: dict[bytes, tuple[bytes, int | None]] = {}
        self._next = 1
        self._version: object = None
        self._expires = inf
        self._numbers: dict[tuple[str, bool], int] = {}
        self._lengths: dict[int, dict[int, int]] = {}
        self._columns: dict[str, dict[str, dict[int, tuple[Any, ...]]]] = {}
        self._taken_apart: OrderedDict[int, list[Field]] = OrderedDict()

    # Keeping up.

    def refresh(self, source: Source) -> Steps:
        """Bring the index up to what is stored now."""
        if self._version == source.version and source.now < self._expires:
            return
        seen: set[bytes] = set()
        expires = inf
        self.text.begin()
        try:
            for key, document in source.documents():
                if self.pace.due():
                    self.text.commit()
                    yield
                    self.text.begin()
                if document.expiry:
                    if document.expiry <= source.now:
                        continue
                    expires = min(expires, document.expiry)
                seen.add(key)
                stored = document.tail
                known = self._known.get(key)
                if known is None or known[0] is not stored:
                    self._forget(key)
                    self._known[key] = stored, self._add(key, stored, source)
            # All that were seen are known, so most often there is nothing to look for.
            gone = len(self._known) > len(seen)
            for key in [key for key in self._known if key not in seen] if gone else ():
                if self.pace.due():
                    self.text.commit()
                    yield
                    self.text.begin()
                self._forget(key)
        finally:
            self.text.finish()
        self._version, self._expires = source.version, expires

    def _forget(self, key: bytes) -> None:
        _, number = self._known.pop(key, (b"", None))
        if number is None:
            return
        del self.rows[number]
        for lengths in self._lengths.values():
            lengths.pop(number, None)
        for columns in self._columns.values():
            for column in columns.values():
                column.pop(number, None)
        self._taken_apart.pop(number, None)
        self.text.remove(number)

    def _add(self, wire_key: bytes, stored: bytes, source: Source) -> int | None:
        collection_id, length = split_leb128(wire_key)
        names = source.names.get(collection_id)
        if names is None:
            return None
        key = wire_key[length:].decode("utf-8", "replace")
        rules = self.mapping.rules_of(*names, key, lambda: parsed(stored))
        if rules is None:
            return None
        number = self._next
        self._next += 1
        self.rows[number] = Row(key, *names, stored)
        words: list[tuple[int, list[str]]] = []
        for each in self.mapping.fields(rules, parsed(stored)):
            if not each.index:
                continue
            if each.kind == "text":
                self._add_text(number, each, words)
            else:
                column = self._columns.setdefault(each.kind, {}).setdefault(each.name, {})
                # Tuples, which Python's garbage collector has not to look at again and again.
                column[number] = (*column.get(number, ()), each.value)
        self.text.add(number, words)
        return number

    def _add_text(self, number: int, each: Field, words: list[tuple[int, list[str]]]) -> None:
        name = each.name, each.in_all
        field_number = self._numbers.setdefault(name, len(self._numbers) + 1)
        terms = each.analyzer.terms(each.value)
        words.append((field_number, terms))
        lengths = self._lengths.setdefault(field_number, {})
        lengths[number] = lengths.get(number, 0) + len(terms)

    # Looking things up.

    def field_numbers(self, name: str) -> list[int]:
        """The numbers by which the text index knows a field."""
        if name == ALL:
            return [number for (_, in_all), number in self._numbers.items() if in_all]
        return [number for (each, _), number in self._numbers.items() if each == name]

    def length(self, fields: Iterable[int], row: int) -> int:
        """How many terms a document has in some fields."""
        return sum(self._lengths[each].get(row, 0) for each in fields)

    def columns(self, kind: str, name: str) -> list[dict[int, tuple[Any, ...]]]:
        """The values of one kind in a field, by document; for `ALL` those of all fields."""
        found = self._columns.get(kind, {})
        if name == ALL:
            return list(found.values())
        return [found[name]] if name in found else []

    def fields(self, row: int) -> list[Field]:
        """The values of a document, as they were indexed."""
        found = self._taken_apart.get(row)
        if found is None:
            each = self.rows[row]
            value = parsed(each.stored)
            rules = self.mapping.rules_of(each.scope, each.collection, each.key, lambda: value)
            found = list(self.mapping.fields(rules, value)) if rules is not None else []
            self._taken_apart[row] = found
            if len(self._taken_apart) > KEPT:
                self._taken_apart.popitem(last=False)
        return found

    def texts(self, row: int, name: str) -> Iterator[tuple[Field, list[Token]]]:
        """The texts of a field of a document, with their terms."""
        for each in self.fields(row):
            wanted = each.in_all if name == ALL else each.name == name
            if wanted and each.index and each.kind == "text":
                yield each, each.analyzer.tokens(each.value, each.path)
