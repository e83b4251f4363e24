"""`JobRunner`: runs the application's own functions, in a thread of a job worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from couchbase.cluster import Cluster
from couchbase.exceptions import CouchbaseException
from couchbase.options import GetMultiOptions, GetOptions, TransactionOptions

from txcouchbase.amp.jobs import Outcome, outcome_of, raised, run_job
from txcouchbase.amp.transactions import from_data
from txcouchbase.workers.attempts import run_attempts

if TYPE_CHECKING:
    from couchbase.transactions import AttemptContext
    from couchbase.transcoder import Transcoder

    from txcouchbase.workers.executor import Task

__all__ = ["JobRunner", "map_documents", "run_transaction"]

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
        assert task.value is not None
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
) -> tuple[dict[str, Any], Any]:
    """A job: run the application's function in a transaction.

    Args:
        cluster: The connected cluster.
        function: Called with the SDK's `AttemptContext`, once for each attempt.
        args: Further arguments.
        kwargs: Keyword arguments.
        options: The transaction's options as `txcouchbase.amp.transactions` has them.

    Returns:
        The fields of the SDK's result, and what the function returned last.
    """
    value = None

    def attempt(context: AttemptContext) -> None:
        nonlocal value
        value = function(context, *args, **kwargs)

    result = run_attempts(cluster.transactions, attempt, from_data(TransactionOptions, options))
    return dict(result), value
