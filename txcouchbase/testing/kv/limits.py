"""How long keys and how large documents may be.

Source: kv_engine ``docs/Collections.md`` for keys; for values the settings ``max_item_size`` and
``max_item_privileged_bytes``, as servers have them by default.
"""

from __future__ import annotations

import json

from txcouchbase.testing.kv.status import Refused, Status

__all__ = ["ALWAYS_SMALL", "MAX_COLLECTION_KEY", "MAX_KEY", "check_size"]

MAX_KEY = 250
"""Bytes of the longest key in the default collection."""

MAX_COLLECTION_KEY = 246
"""Bytes of the longest key in any other collection."""

MAX_VALUE = 20 * 1024 * 1024
"""Bytes of the largest document, its own attributes included."""

MAX_SYSTEM_XATTRS = 1024 * 1024
"""Bytes that a document's system attributes, whose names start with ``_``, may have beside."""

ALWAYS_SMALL = min(MAX_VALUE, MAX_SYSTEM_XATTRS)
"""Bytes up to which no document is too large."""

_PAIR = 6
"""Bytes that a server stores with each attribute."""


def check_size(value: int, xattrs: str) -> None:
    """Whether a document is small enough.

    :param value: bytes of its value.
    :param xattrs: all its attributes as JSON text.
    :raises Refused: E2BIG.
    """
    if value + len(xattrs) <= ALWAYS_SMALL:
        return
    system = 0
    for name, attribute in (json.loads(xattrs) if xattrs else {}).items():
        size = len(name.encode()) + len(json.dumps(attribute, separators=(",", ":"))) + _PAIR
        if name.startswith("_"):
            system += size
        else:
            value += size
    if system > MAX_SYSTEM_XATTRS or value > MAX_VALUE:
        raise Refused(Status.E2BIG)
