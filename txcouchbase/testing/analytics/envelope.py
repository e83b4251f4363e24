"""The JSON around the rows of an answer.

Source: Couchbase's documentation, *Analytics Service REST API*, "Responses".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from txcouchbase.testing.analytics.errors import INTERNAL
from txcouchbase.testing.analytics.requests import fields_of_call
from txcouchbase.testing.http.calls import Answer, Call
from txcouchbase.testing.http.envelope import framed, peek
from txcouchbase.testing.http.rows import encoded
from txcouchbase.testing.query.envelope import Counted, duration

__all__ = ["Outcome", "render", "stream"]


@dataclass
class Outcome:
    """How a request ended.

    :param errors: each with ``code`` and ``msg``.
    :param metadata: members of the answer that replace those that are made; those of ``metrics``
        one by one.
    :param processed: how many documents were read; None for as many as there are rows.
    :param elapsed: seconds.
    """

    status: str = "success"
    errors: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    processed: int | None = None
    elapsed: float = 0.001


def stream(
    call: Call, batches: Iterable[list[bytes]], outcome: Callable[[], Outcome]
) -> Iterator[bytes]:
    """The chunks of an answer.

    :param batches: rows as JSON; an empty batch is an empty chunk, which says "not yet".
    :param outcome: is asked when the rows are out.
    """
    counted = Counted()

    def rest() -> dict[str, Any]:
        return _members(fields_of_call(call).get("client_context_id"), outcome(), counted)

    return framed("results", counted.rows(batches), rest)


def _members(identity: Any, outcome: Outcome, counted: Counted) -> dict[str, Any]:
    made: dict[str, Any] = {"requestID": str(uuid4()), "signature": {"*": "*"}}
    if isinstance(identity, str):
        made["clientContextID"] = identity
    if outcome.errors:
        made["errors"] = outcome.errors
    metrics: dict[str, Any] = {
        "elapsedTime": duration(outcome.elapsed),
        "executionTime": duration(outcome.elapsed / 2),
        "resultCount": counted.count,
        "resultSize": counted.size,
        "processedObjects": counted.count if outcome.processed is None else outcome.processed,
    }
    if outcome.errors:
        metrics["errorCount"] = len(outcome.errors)
    if outcome.metadata.get("warnings"):
        metrics["warningCount"] = len(outcome.metadata["warnings"])
    metrics |= outcome.metadata.get("metrics") or {}
    return made | outcome.metadata | {"status": outcome.status, "metrics": metrics}


def render(
    rows: Iterable[Any], metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    """An answer of rows, as the analytics service sends it.

    :param rows: the results.
    :param metadata: members beside the rows: ``status``, ``signature``, ``warnings``; those of
        ``metrics`` are made where they lack.
    :param errors: each with ``code`` and ``msg``.
    :param call: the request.
    """
    some, results = peek(rows)
    status = metadata.get("status", "fatal" if errors else "success")
    if status != "success" and not errors:
        # Clients need the error of what has not succeeded.
        errors = [{"code": INTERNAL, "msg": f"Internal error: the request ended as {status}"}]
    outcome = Outcome(status, errors, metadata)
    chunks = stream(call, encoded(results), lambda: outcome)
    return Answer(chunks, 400 if errors and not some else 200)
