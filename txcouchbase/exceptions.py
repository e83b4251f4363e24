"""The errors of this package, beside the SDK's own.

    couchbase.exceptions.CouchbaseException
    └── TxCouchbaseException         everything that this package raises by itself
        ├── WorkerLost               a worker process died with the operation in flight
        ├── WorkerStartFailed        worker processes cannot be started
        ├── PoolOverloaded           the limits on pending operations or bytes are reached
        ├── PoolClosed               the pool, cluster or bucket was closed (also a RuntimeError)
        └── RemoteError              an exception that could not travel from a worker

Everything that Couchbase or the SDK reports arrives as the SDK's own class.
"""

from __future__ import annotations

from couchbase.exceptions import CouchbaseException

__all__ = [
    "PoolClosed",
    "PoolOverloaded",
    "RemoteError",
    "TxCouchbaseException",
    "WorkerLost",
    "WorkerStartFailed",
]


class TxCouchbaseException(CouchbaseException):
    """Base of this package's own errors.

    Args:
        message: What happened and what to do about it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message=message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._message})"

    def __str__(self) -> str:
        return str(self._message)


class WorkerLost(TxCouchbaseException):
    """A worker process ended while the operation was in flight on it.

    Attributes:
        ambiguous: True if the operation may have been applied by the server.
        operation: The name of the operation, e.g. ``"upsert"``.
        key: The document's key, or None where the operation has none.
        exit_code: The exit status of the process, None if a signal ended it.
        signal: The number of the signal that ended the process, else None.
        stderr: The last lines that the process wrote to its stderr.
    """

    def __init__(
        self,
        *,
        ambiguous: bool,
        operation: str,
        key: str | None,
        exit_code: int | None,
        signal: int | None,
        stderr: str = "",
    ) -> None:
        self.ambiguous = ambiguous
        self.operation = operation
        self.key = key
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr
        how = f"by signal {signal}" if signal is not None else f"with exit status {exit_code}"
        about = f" of {key!r}" if key is not None else ""
        done = "been applied: read the document" if key is not None else "had effects: look at them"
        certainty = (
            f"it may have {done} before you repeat it"
            if ambiguous
            else "it was not applied and may be repeated"
        )
        message = f"the worker ended {how} during {operation}{about}; {certainty}"
        if stderr:
            message += f"; its last words: {stderr}"
        super().__init__(message)


class WorkerStartFailed(TxCouchbaseException):
    """Worker processes die before they are ready.

    Attributes:
        stderr: The last lines that the latest of them wrote to its stderr.
    """

    def __init__(self, message: str, stderr: str = "") -> None:
        self.stderr = stderr
        super().__init__(f"{message}; its last words: {stderr}" if stderr else message)


class PoolOverloaded(TxCouchbaseException):
    """The operation was refused: too many operations or bytes are pending.

    Nothing was sent. `WorkerPool.when_room` tells when there is room again.
    """


class PoolClosed(TxCouchbaseException, RuntimeError):
    """The pool, cluster or bucket is closed. Nothing was sent."""


class RemoteError(TxCouchbaseException):
    """An exception in a worker that could not be rebuilt here.

    Attributes:
        class_name: The full name of the exception's class.
        text: The exception's text.
        remote_traceback: The traceback in the worker, as text; may be empty.
    """

    def __init__(self, class_name: str, text: str, remote_traceback: str = "") -> None:
        self.class_name = class_name
        self.text = text
        self.remote_traceback = remote_traceback
        message = f"{class_name}: {text}"
        if remote_traceback:
            message += f"\n\nin the worker:\n{remote_traceback}"
        super().__init__(message)
