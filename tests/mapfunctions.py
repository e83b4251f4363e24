"""Map functions of views for nodes in other processes, which import them by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def by_kind(value: Any, meta: Any) -> Iterator[tuple[Any, Any]]:
    """A row for each document that has a kind, with its number."""
    if isinstance(value, dict) and "kind" in value:
        yield [value["kind"], meta.id], value["n"]
