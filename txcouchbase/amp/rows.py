"""Streams of rows on the pipe: what both sides know of them.

A stream is an operation whose answer, the rows' metadata or an error, comes after its rows. The
rows travel before it in boxes of the kind `ROWS`, each ``[id, [row, ...]]``. A row is bytes: its
JSON text for queries and analytics, the binding's map as msgpack for search and views.

A worker may have sent `WINDOW` bytes of payloads that the application has not paid for. It pays
with boxes of the kind `CREDIT`, ``[id, bytes]``, as rows are used up; `STOP` in place of the bytes
says that no more are wanted. The answer comes in any case, when nothing of the stream is left.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "STOP", "WINDOW"]

CHUNK_BYTES: Final = 64 * 1024
"""The rows of a chunk together at most (bytes), unless one alone is longer."""

CHUNK_ROWS: Final = 1_000
"""The rows of a chunk at most."""

WINDOW: Final = 4 * CHUNK_BYTES
"""What a stream sends unasked (bytes)."""

STOP: Final = 0
"""In place of credit: no more rows are wanted."""
