"""A JSON object around rows that stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from txcouchbase.testing.http.rows import Severed

__all__ = ["framed", "peek"]


def peek(rows: Iterable[Any]) -> tuple[bool, Iterator[Any]]:
    """Whether there are rows, and all of them; rows that are cut off at once count as rows."""
    iterator = iter(rows)
    try:
        first = next(iterator)
    except StopIteration:
        return False, iter(())
    except Severed as severed:
        return True, _severed(severed)
    return True, chain((first,), iterator)


def _severed(severed: Severed) -> Iterator[Any]:
    raise severed
    yield


def framed(
    name: str,
    batches: Iterable[list[bytes]],
    rest: Callable[[], dict[str, Any]],
    head: dict[str, Any] | None = None,
) -> Iterator[bytes]:
    """The chunks of an object that holds an array of rows, and other members around it.

    :param name: the name of the array.
    :param batches: rows as JSON; an empty batch is an empty chunk, which says "not yet".
    :param rest: makes the members after the rows, when those are out.
    :param head: the members before the rows.
    :raises Severed: from `batches`.
    """
    opening = msgspec.json.encode(head)[:-1] + b"," if head else b"{"
    yield opening + msgspec.json.encode(name) + b":["
    separator = b""
    for batch in batches:
        if batch:
            yield separator + b",".join(batch)
            separator = b","
        else:
            yield b""
    after = msgspec.json.encode(rest())
    yield b"]," + after[1:] if after != b"{}" else b"]}"
