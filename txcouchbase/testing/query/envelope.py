"""The JSON around the rows of a statement's answer.

Source: the "Query Service REST API", "Responses".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Any
from uuid import uuid4

from txcouchbase.testing.http.envelope import framed
from txcouchbase.testing.http.rows import encoded as encoded_rows

__all__ = [
    "Counted",
    "duration",
    "look_ahead",
    "metrics",
    "request_id",
    "scripted",
    "stream",
]

LOOK_AHEAD = 0.003
"""Seconds for which an answer waits for its first row, so that its status can tell of an error."""


def stream(
    batches: Iterable[list[bytes]], head: dict[str, Any], tail: Callable[[], dict[str, Any]]
) -> Iterator[bytes]:
    """The chunks of an answer.

    :param batches: rows as JSON; an empty batch is an empty chunk, which says "not yet".
    :param head: the members before the rows.
    :param tail: makes those after them, when the rows are out.
    """
    return framed("results", batches, tail, head)


def look_ahead(
    batches: Iterator[list[bytes]], seconds: float = LOOK_AHEAD
) -> tuple[bool, Iterator[list[bytes]]]:
    """Whether there are rows within some time, and all batches."""
    begun: list[list[bytes]] = []
    started = perf_counter()
    for batch in batches:
        begun.append(batch)
        if batch or perf_counter() - started > seconds:
            break
    return any(begun), chain(begun, batches)


@dataclass
class Counted:
    """Counts rows and their bytes on their way out."""

    count: int = 0
    size: int = 0

    def rows(self, batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        """The same batches."""
        for batch in batches:
            self.count += len(batch)
            self.size += sum(map(len, batch))
            yield batch


def duration(seconds: float) -> str:
    """Seconds as a server writes them, such as ``1.5ms``."""
    if seconds >= 1:
        return f"{seconds:.9g}s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.6g}ms"
    return f"{seconds * 1e6:.6g}\N{MICRO SIGN}s"


def metrics(elapsed: float, executed: float, counted: Counted) -> dict[str, Any]:
    """The metrics that every answer has."""
    return {
        "elapsedTime": duration(elapsed),
        "executionTime": duration(executed),
        "resultCount": counted.count,
        "resultSize": counted.size,
        "serviceLoad": 1,
    }


def request_id() -> str:
    """What a request is called in its answer."""
    return str(uuid4())


def scripted(
    rows: Iterable[Any],
    metadata: dict[str, Any],
    errors: list[dict[str, Any]],
    client_context_id: str | None,
) -> Iterator[bytes]:
    """The chunks of an answer whose rows were made by somebody else.

    :param metadata: members of the answer beside the rows; those of ``metrics`` replace the ones
        that are counted.
    """
    counted = Counted()
    head: dict[str, Any] = {"requestID": request_id()}
    if client_context_id is not None:
        head["clientContextID"] = client_context_id
    before = ("requestID", "clientContextID", "signature", "prepared")
    head |= {name: metadata[name] for name in before if name in metadata}

    def tail() -> dict[str, Any]:
        made: dict[str, Any] = {name: metadata[name] for name in metadata if name not in head}
        if errors:
            made["errors"] = errors
        made.setdefault("status", "errors" if errors else "success")
        shown = metrics(0.001, 0.0005, counted)
        if errors:
            shown["errorCount"] = len(errors)
        if made.get("warnings"):
            shown["warningCount"] = len(made["warnings"])
        return made | {"metrics": shown | (metadata.get("metrics") or {})}

    return stream(counted.rows(encoded_rows(rows)), head, tail)
