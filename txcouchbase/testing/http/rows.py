"""Rows on their way out: encoded a batch at a time, with what may cut them short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

__all__ = ["Severed", "cut_after", "encoded"]

FIRST_BATCH = 8
BATCH = 256
"""Rows of the first batch, which is to leave soon, and of the others."""


class Severed(Exception):
    """The answer ends here, and the connection with it.

    :param rest: the last bytes that leave.
    """

    def __init__(self, rest: bytes = b"") -> None:
        super().__init__("the connection is cut")
        self.rest = rest


def encoded(rows: Iterable[Any]) -> Iterator[list[bytes]]:
    """Rows as JSON, in batches that take no longer than a few milliseconds.

    :raises Severed: from `rows`, once the rows before it are out.
    :raises TypeError: for a row that JSON cannot hold.
    """
    iterator = iter(rows)
    size = FIRST_BATCH
    while True:
        batch: list[bytes] = []
        try:
            batch.extend(map(msgspec.json.encode, islice(iterator, size)))
        except Severed:
            yield batch
            raise
        if not batch:
            return
        yield batch
        size = BATCH


def cut_after(rows: Iterable[Any], count: int) -> Iterator[Any]:
    """Some rows, then the connection is cut in the middle of the next one, or after the last.

    :raises Severed: always.
    """
    iterator = iter(rows)
    yield from islice(iterator, count)
    for row in islice(iterator, 1):
        text = msgspec.json.encode(row)
        raise Severed((b"," if count else b"") + text[: (len(text) + 1) // 2])
    raise Severed
