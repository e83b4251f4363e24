"""`Bites`: rows of an iterator, in chunks for the pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from txcouchbase.amp import wire
from txcouchbase.amp.rows import CHUNK_BYTES, CHUNK_ROWS

__all__ = ["Bites"]


class Bites:
    """Cuts rows into chunks.

    Args:
        rows: Raises when it cannot go on.
        last: Called after the last row for what comes then.
        patience: How long the rows of a chunk may take (seconds), None for as long as it takes. The
            last of them may wait longer for the iterator.
    """

    def __init__(
        self,
        rows: Iterator[Any],
        last: Callable[[], dict[str, Any]],
        patience: float | None = None,
    ) -> None:
        self._rows = rows
        self._last = last
        self._patience = patience
        self._left: bytes | None = None
        self._outcome: dict[str, Any] | Exception | None = None

    def take(self) -> list[bytes] | dict[str, Any]:
        """One chunk, or after the last what comes then; raises in place of further rows."""
        begun = time.monotonic()
        chunk: list[bytes] = []
        size = 0
        if self._left is not None:
            chunk.append(self._left)
            size, self._left = len(self._left), None
        while self._outcome is None and len(chunk) < CHUNK_ROWS:
            row = self._next()
            if row is None:
                break
            size += len(row)
            if chunk and size > CHUNK_BYTES:
                self._left = row
                break
            chunk.append(row)
            if self._patience is not None and time.monotonic() - begun >= self._patience:
                break
        if chunk:
            return chunk
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _next(self) -> bytes | None:
        try:
            row = next(self._rows, None)
            if row is None:
                self._outcome = self._last()
        except Exception as error:  # it is told after the rows that were there before it
            self._outcome = error
            return None
        # Of search and views the binding makes maps, and of scans.
        return wire.encode(row) if isinstance(row, dict) else row
