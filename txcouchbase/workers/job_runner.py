"""`JobRunner`: runs the application's own functions, in a thread of a job worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from couchbase.cluster import Cluster
from couchbase.exceptions import CouchbaseException, UnAmbiguousTimeoutException
from couchbase.options import GetMultiOptions, GetOptions, TransactionOptions

from txcouchbase.amp.jobs import Outcome, outcome_of, pickled_value, raised, run_job
from txcouchbase.amp.transactions import from_data
from txcouchbase.workers.attempts import run_attempts

if TYPE_CHECKING:
    from couchbase.transactions import AttemptContext
    from couchbase.transcoder import Transcoder

    from txcouchbase.workers.executor import Task

__all__ = ["JobRunner", "map_documents", "run_transaction"]

_left: Callable[[], int] = int
"""What is left of the time of the job that runs, there is only one (milliseconds, 0 for no
limit)."""

_LONGEST_MARGIN = 500.0
"""Milliseconds, or a tenth of the time if that is less, by which a transaction expires before its
job's time is over, so that whoever waits hears of it."""

_TAKEN = "all_okay"
"""The key that the SDK's multi operations use for themselves."""


class JobRunner:
    """Runs jobs, in the place of a client.

    Args:
        number: The cluster's number on the pipe, 0 for none.
        cluster: The connected cluster, which is the first argument of each function.
    """

    def __init__(self, number: int = 0, cluster: Cluster | None = None) -> None:
        self._number = number
        self._cluster = cluster

    def run(self, task: Task) -> dict[str, Any]:
        """Run one; the outcome is the answer, whatever the function does."""
        global _left
        assert task.value is not None
        _left = task.remaining
        return run_job(task.value, self._number, self._cluster)


def map_documents(
    cluster: Cluster,
    place: tuple[str, str, str],
    keys: list[str],
    function: Callable[..., Any],
    transcoder: Transcoder,
) -> list[Outcome]:
    """A job: fetch documents and call the application's function with each.

    Args:
        cluster: The connected cluster.
        place: Bucket, scope and collection.
        keys: Which documents.
        function: Called with the key and the SDK's `GetResult`.
        transcoder: Decodes them.

    Returns:
        One outcome for each key, in their order.
    """
    bucket, scope, name = place
    collection = cluster.bucket(bucket).scope(scope).collection(name)
    fetched = collection.get_multi(
        [key for key in keys if key != _TAKEN], GetMultiOptions(transcoder=transcoder)
    )
    results, exceptions = fetched.results, fetched.exceptions
    if _TAKEN in keys:
        try:
            results[_TAKEN] = collection.get(_TAKEN, GetOptions(transcoder=transcoder))
        except CouchbaseException as error:
            exceptions[_TAKEN] = error
    return [
        raised(exceptions[key]) if key in exceptions else outcome_of(function, key, results[key])
        for key in keys
    ]


def run_transaction(
    cluster: Cluster,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
) -> tuple[dict[str, Any], bytes]:
    """A job: run the application's function in a transaction.

    Args:
        cluster: The connected cluster.
        function: Called with the SDK's `AttemptContext`, once for each attempt.
        args: Further arguments.
        kwargs: Keyword arguments.
        options: The transaction's options as `txcouchbase.amp.transactions` has them.

    Returns:
        The fields of the SDK's result, and the pickle of what the function returned last.

    Raises:
        UnAmbiguousTimeoutException: No time was left to begin.
        CouchbaseException: As `run_attempts`.
    """
    value = b""

    def attempt(context: AttemptContext) -> None:
        nonlocal value
        # Before the commit, since what cannot be answered must not be committed.
        value = pickled_value("the transaction", function(context, *args, **kwargs))

    within = from_data(TransactionOptions, _with_expiry(options, _left()))
    return dict(run_attempts(cluster.transactions, attempt, within)), value


def _with_expiry(options: dict[str, Any], left: int) -> dict[str, Any]:
    """The options of a transaction that expires before its job's time is over.

    The SDK counts an expiry from the start, the job's time runs from the call. Whoever waits is
    answered when it is over, and the worker is killed soon after, in the middle of a transaction
    that still goes on.

    Args:
        options: As `txcouchbase.amp.transactions` has them.
        left: What is left of the job's time (milliseconds), 0 for no limit.

    Raises:
        UnAmbiguousTimeoutException: Nothing is left.
    """
    if not left:
        return options
    longest = int(left - min(_LONGEST_MARGIN, left / 10)) * 1_000_000
    if not longest:
        raise UnAmbiguousTimeoutException("transaction timed out before it was begun")
    return {**options, "timeout": min(options.get("timeout", longest), longest)}
