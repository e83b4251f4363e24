"""`Transactions`: functions of the application that change several documents, or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import couchbase.transactions
from couchbase.exceptions import InvalidArgumentException
from couchbase.options import TransactionOptions
from twisted.internet.defer import Deferred

from txcouchbase.amp.jobs import pickled_job, unpickled_value
from txcouchbase.amp.transactions import to_data
from txcouchbase.exceptions import RemoteError
from txcouchbase.workers import job_runner

if TYPE_CHECKING:
    from txcouchbase.workers.pool import WorkerPool
    from txcouchbase.workers.session import ClusterSession

__all__ = ["TransactionResult", "Transactions"]


class TransactionResult(couchbase.transactions.TransactionResult):
    """The SDK's result of a transaction, with what its function returned.

    Attributes:
        value: What the function returned in the attempt that was committed.
    """

    def __init__(self, fields: dict[str, Any], value: Any) -> None:
        super().__init__(fields)
        self.value = value


class Transactions:
    """Runs transactions in the job workers of a cluster's pool."""

    def __init__(self, pool: WorkerPool, session: ClusterSession) -> None:
        self._pool = pool
        self._session = session

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        transaction_options: TransactionOptions | None = None,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> Deferred[TransactionResult]:
        """Run a function in a transaction, in a job worker.

        The function gets the SDK's `AttemptContext` and the arguments. It may be called several
        times, until an attempt can be committed: what an operation of the context fails with, such
        as a conflict, it lets through, and is called again if that may help. Anything else that it
        raises rolls the attempt back. A collection among the arguments is, in the worker, the
        SDK's own, which the methods of the `AttemptContext` take. What it returns is the `value`
        of the result; it is pickled before the commit, so that what cannot be sent rolls it back.

        Take documents in the same order in all transactions: two that take them in opposite order
        can keep failing each other until they expire. What a worker that died had staged blocks
        that document for others until the SDK's clean-up has found it (`cleanup_window`).

        Args:
            function: What to call; see `WorkerPool.run` for what it can be.
            args: Its arguments, which are pickled. A `TransactionOptions` as the first one is
                taken for `transaction_options`, as in the SDK.
            transaction_options: The SDK's options for this transaction.
            timeout: From the call to the answer (seconds or timedelta), None for no limit. What
                is left of it when a worker begins, less up to half a second, is the longest
                that the transaction's expiry can be, and is its expiry if its options name none.
            kwargs: Its keyword arguments, which are pickled.

        Raises:
            InvalidArgumentException: The function, an argument or an option cannot be used.

        Errors: TransactionFailed, with what the function raised as its `inner_cause`;
        TransactionExpired, TransactionCommitAmbiguous; RemoteError with a text that says so if
        it was committed and what it returned cannot be unpickled here; those of `WorkerPool.run`.
        """
        if args and isinstance(args[0], TransactionOptions) and transaction_options is None:
            transaction_options, *rest = args
            args = tuple(rest)
        if transaction_options is not None and not isinstance(
            transaction_options, TransactionOptions
        ):
            raise InvalidArgumentException(
                "transaction_options must be TransactionOptions, not "
                f"{type(transaction_options).__name__}"
            )
        options = to_data(transaction_options) if transaction_options is not None else {}
        pickled_job("transactions.run", function, args, kwargs)  # refused here, by its own name
        ran = self._pool.run_job(
            "transaction",
            self._session,
            job_runner.run_transaction,
            (function, args, kwargs, options),
            {},
            timeout,
        )
        return ran.addCallback(_result)


def _result(answer: tuple[dict[str, Any], bytes]) -> TransactionResult:
    fields, pickled = answer
    try:
        value = unpickled_value("the transaction", pickled)
    except TypeError as error:
        raise RemoteError(
            "builtins.TypeError", f"the transaction was committed; {error}"
        ) from error
    return TransactionResult(fields, value)
