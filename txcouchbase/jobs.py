"""`map_documents`: a function of the application over many documents, in the job workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FirstError,
    gatherResults,
    inlineCallbacks,
)
from twisted.python.failure import Failure

from txcouchbase.amp.jobs import pickled_job, value_of
from txcouchbase.workers import job_runner
from txcouchbase.workers.jobs import job_timeout
from txcouchbase.workers.operation import check_name

if TYPE_CHECKING:
    from couchbase.transcoder import Transcoder

    from txcouchbase.workers.pool import WorkerPool
    from txcouchbase.workers.session import ClusterSession

__all__ = ["map_documents"]

_PIECE = 64
"""Documents of one job at most: what a worker holds at a time, and what its death can cost."""

_AHEAD = 2
"""Jobs for each worker at a time: one that runs, and one that it need not wait for."""


def map_documents(
    pool: WorkerPool,
    session: ClusterSession,
    place: tuple[str, str, str],
    transcoder: Transcoder,
    keys: Iterable[str],
    function: Callable[..., Any],
    timeout: float | timedelta | None,
    return_exceptions: bool,
) -> Deferred[dict[str, Any]]:
    """As `TxCollection.map_multi`.

    Args:
        pool: Whose job workers do it.
        session: The cluster, as the pool knows it.
        place: Bucket, scope and collection.
        transcoder: Decodes the documents.
        keys: Which documents.
        function: Called with each key and its `GetResult`.
        timeout: For the whole (seconds or timedelta), None for no limit.
        return_exceptions: Whether a key that failed gets its exception as its value.
    """
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise InvalidArgumentException(f"map_multi needs several keys, not {keys!r}")
    given = list(keys)
    for name in given:
        check_name(name)
    names = list(dict.fromkeys(given))
    seconds = job_timeout(timeout)
    pickled_job("map_multi", function, (), {})  # refused here, where its name can be said
    ends = pool.now() + seconds if seconds is not None else None
    workers = pool.config.job_workers
    size = max(1, min(_PIECE, -(-len(names) // (workers * _AHEAD))))
    pieces = iter([names[start : start + size] for start in range(0, len(names), size)])
    values: dict[str, Any] = dict.fromkeys(names)
    failed: dict[str, Exception] = {}

    def fetch(piece: list[str]) -> Deferred[Any]:
        rest = max(0.0, ends - pool.now()) if ends is not None else None
        arguments = {"keys": piece, "function": function, "transcoder": transcoder}
        return pool.run_job(
            "map_multi", session, job_runner.map_documents, (place,), arguments, rest
        )

    @inlineCallbacks
    def take_pieces() -> Generator[Deferred[Any], Any, None]:
        for piece in pieces:
            try:
                outcomes = yield fetch(piece)
            except CancelledError:
                raise
            except Exception as error:  # what ends a job ends it for each of its documents
                failed.update(dict.fromkeys(piece, error))
                continue
            for key, outcome in zip(piece, outcomes, strict=True):
                try:
                    values[key] = value_of(outcome)
                except Exception as error:  # the function's own, or the document's
                    failed[key] = error

    def put_together(_: Any) -> dict[str, Any]:
        values.update(failed)
        if failed and not return_exceptions:
            first: Any = next(failed[key] for key in names if key in failed)
            first.all_results = values
            raise first
        return values

    def unwrap(failure: Failure) -> Failure:
        assert isinstance(failure.value, FirstError)
        return failure.value.subFailure

    takers = [take_pieces() for _ in range(workers * _AHEAD)]
    done: Deferred[Any] = gatherResults(takers, consumeErrors=True)
    return done.addCallbacks(put_together, unwrap)
