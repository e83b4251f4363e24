"""Values as JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from txcouchbase.testing.query.errors import QueryError

__all__ = ["encoded"]

MAX_RANGE = 20 * 1024 * 1024
"""Elements of the longest array that is made while it is written."""


def _hook(value: Any) -> Any:
    if type(value) is range and len(value) <= MAX_RANGE:
        return list(value)
    raise QueryError(5010, f"Error evaluating projection - cause: {len(value)} elements")


_encode = msgspec.json.Encoder(enc_hook=_hook).encode


def encoded(value: Any) -> bytes:
    """A value as JSON.

    :raises QueryError: 5010 for one that is too large or nested too deeply.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        # Halves of surrogate pairs, which documents may hold as escapes.
        return json.dumps(value, default=_hook).encode()
    except RecursionError:
        raise QueryError(5010, "Error evaluating projection - cause: nested too deeply") from None
