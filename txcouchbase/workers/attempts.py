"""The attempts of a transaction, in a job worker.

The SDK's own loop (4.6.3) calls a function again only if the function has swallowed what went
wrong: a conflict that it lets through, as it should, fails the transaction. And whatever a commit
fails with is a reason to call it again, even where it may have been committed. The loop here does
what the SDK's documentation says. It asks the SDK's commit, which rolls back what has failed and
tells whether another attempt may help.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from couchbase.exceptions import (
    TransactionExpired,
    TransactionFailed,
    TransactionOperationFailed,
)
from couchbase.transactions import AttemptContext, TransactionResult

if TYPE_CHECKING:
    from couchbase.options import TransactionOptions
    from couchbase.transactions import Transactions

__all__ = ["run_attempts"]

_OPERATIONS = (
    "get",
    "get_replica_from_preferred_server_group",
    "get_multi",
    "get_multi_replicas_from_preferred_server_group",
    "insert",
    "replace",
    "remove",
    "query",
)

_USED = ("_new_attempt", "_commit", "_rollback")
"""What an SDK must have for the loop here."""


class _Attempts(AttemptContext):
    """The SDK's context, which remembers the failures of its operations."""

    def __init__(self, transactions: Transactions, options: TransactionOptions) -> None:
        super().__init__(transactions._txns, transactions._transcoder, options._base)
        self._failures: list[Exception] = []

    def _has_failed_with(self, error: BaseException) -> bool:
        # The SDK remembers these, too, so that its commit cannot succeed after one. A function can
        # raise others of the same class.
        return any(error is failure for failure in self._failures)


def _remembering(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def remembering(self: _Attempts, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except TransactionOperationFailed as error:
            self._failures.append(error)
            raise

    return remembering


for _name in _OPERATIONS:
    if hasattr(AttemptContext, _name):
        setattr(_Attempts, _name, _remembering(getattr(AttemptContext, _name)))


def run_attempts(
    transactions: Transactions,
    function: Callable[[AttemptContext], None],
    options: TransactionOptions,
) -> TransactionResult:
    """Run a function in a transaction, until an attempt is committed.

    Args:
        transactions: Those of a connected cluster.
        function: Called once for each attempt.
        options: The transaction's options.

    Raises:
        TransactionFailed: It was rolled back; what the function raised is the inner cause.
        TransactionExpired: Its time was over before the commit.
        TransactionCommitAmbiguous: It may have been committed.
    """
    if not all(hasattr(AttemptContext, name) for name in _USED):
        return transactions.run(function, options)
    context = _Attempts(transactions, options)
    while True:
        context._new_attempt()
        cause = None
        try:
            function(context)
        except BaseException as error:  # SystemExit too must leave nothing staged
            if not context._has_failed_with(error):
                context._rollback()
                if isinstance(error, TransactionExpired) or not isinstance(error, Exception):
                    raise
                raise TransactionFailed(exc_info={"inner_cause": error}) from None
            cause = error
        try:
            committed = context._commit()
        except TransactionFailed:
            if cause is None:
                raise
            raise TransactionFailed(exc_info={"inner_cause": cause}) from None
        if committed:
            return TransactionResult(**committed)
