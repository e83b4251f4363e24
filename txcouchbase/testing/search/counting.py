"""How many documents an index holds, without building it."""

from __future__ import annotations

from collections.abc import Generator

from txcouchbase.testing.kv.manifest import split_leb128
from txcouchbase.testing.search.documents import parsed
from txcouchbase.testing.search.mapping import Mapping
from txcouchbase.testing.search.sources import Source, Stored
from txcouchbase.testing.search.turns import Pace

__all__ = ["counted"]


def counted(mapping: Mapping, source: Source, pace: Pace) -> Generator[None, None, int]:
    """Count in steps."""
    count = 0
    for key, document in source.documents():
        if not 0 < document.expiry <= source.now and _holds(mapping, source, key, document):
            count += 1
        if pace.due():
            yield
    return count


def _holds(mapping: Mapping, source: Source, wire_key: bytes, document: Stored) -> bool:
    number, length = split_leb128(wire_key)
    names = source.names.get(number)
    if names is None:
        return False
    key = wire_key[length:].decode("utf-8", "replace")
    return mapping.rules_of(*names, key, lambda: parsed(document.tail)) is not None
