"""The operations that change something, called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import couchbase.subdocument as SD

__all__ = ["CHANGES", "EXPIRY", "Ask"]

EXPIRY = timedelta(minutes=5)

Ask = Callable[..., Any]
"""Calls a method of a collection on a key, with further keywords."""

CHANGES: dict[str, Ask] = {
    "upsert": lambda c, k, **kw: c.upsert(k, 1, **kw),
    "insert": lambda c, k, **kw: c.insert(f"{k}-new", 1, **kw),
    "replace": lambda c, k, **kw: c.replace(k, 2, **kw),
    "remove": lambda c, k, **kw: c.remove(k, **kw),
    "touch": lambda c, k, **kw: c.touch(k, EXPIRY, **kw),
    "get_and_touch": lambda c, k, **kw: c.get_and_touch(k, EXPIRY, **kw),
    "get_and_lock": lambda c, k, **kw: c.get_and_lock(k, timedelta(seconds=15), **kw),
    "mutate_in": lambda c, k, **kw: c.mutate_in(k, [SD.upsert("a", 1)], **kw),
    "append": lambda c, k, **kw: c.binary().append(k, b"x", **kw),
    "prepend": lambda c, k, **kw: c.binary().prepend(k, b"x", **kw),
    "increment": lambda c, k, **kw: c.binary().increment(k, **kw),
    "decrement": lambda c, k, **kw: c.binary().decrement(k, **kw),
}
"""The operations that change something, save `unlock`, which needs a CAS."""
