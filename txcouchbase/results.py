"""Answers on their way into the SDK's own Results, and `AsyncResult`, which waits for one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txcouchbase.amp.operations import OperationKind

__all__ = ["AsyncResult", "RawResult", "ReplicaResults", "raw_result"]

_log = Logger()

T = TypeVar("T")

Callback = Callable[[T], Any]
Errback = Callable[
    ["AsyncResult[Any]", type[BaseException], BaseException, TracebackType | None], Any
]


class Cancellable(Protocol):
    """An operation that an `AsyncResult` waits for.

    Attributes:
        kind: What is known of all operations of its name.
    """

    kind: OperationKind

    def cancel(self) -> None:
        """The caller no longer wants the answer."""


class _Error:
    """An operation's error, which is logged if it is forgotten before an errback had it."""

    __slots__ = ("handled", "operation", "value")

    def __init__(self, operation: str, value: BaseException) -> None:
        self.operation = operation
        self.value = value
        self.handled = False

    def __del__(self) -> None:
        if not self.handled:
            _log.failure(
                "{operation} failed, and no errback was set",
                Failure(self.value, type(self.value), self.value.__traceback__),
                operation=self.operation,
            )


class AsyncResult(Generic[T]):
    """What an operation of a raw form returns. It costs the reactor less than a Deferred.

    Either `callback` is called with the SDK's Result, or `errback` with this object and the
    exception's class, value and traceback. Neither is ever called from inside the call that
    started the operation; one that is set after the outcome is there is called on a later turn
    of the reactor. It is called once and then forgotten. What it raises is logged. An error
    that no errback was set for is logged when this object is forgotten, as a Deferred does.
    """

    __slots__ = ("_callback", "_errback", "_error", "_operation", "_reactor", "_value")

    _value: T

    def __init__(self, operation: Cancellable, reactor: Any) -> None:
        self._operation: Cancellable | None = operation
        self._reactor = reactor
        self._callback: Callback[T] | None = None
        self._errback: Errback | None = None
        self._error: _Error | None = None

    def __repr__(self) -> str:
        if self._operation is not None:
            return f"<AsyncResult of {self._operation.kind.name}, waiting>"
        if self._error is not None:
            return f"<AsyncResult failed with {self._error.value!r}>"
        return f"<AsyncResult {self._value!r}>"

    @property
    def callback(self) -> Callback[T] | None:
        """What is to be called with the Result."""
        return self._callback

    @callback.setter
    def callback(self, callback: Callback[T] | None) -> None:
        self.set_callbacks(callback, self._errback)

    @property
    def errback(self) -> Errback | None:
        """What is to be called with this object and the exception's class, value and traceback."""
        return self._errback

    @errback.setter
    def errback(self, errback: Errback | None) -> None:
        self.set_callbacks(self._callback, errback)

    def set_callbacks(self, ok: Callback[T] | None, err: Errback | None) -> None:
        """Set `callback` and `errback`."""
        self._callback = ok
        self._errback = err
        if self._operation is None:
            self._reactor.callLater(0, self._deliver)

    def cancel(self) -> None:
        """Give the operation up: `errback` gets a `CancelledError`, at once.

        What was sent may be carried out all the same. Once the outcome is there, this does
        nothing.
        """
        operation = self._operation
        if operation is not None:
            operation.cancel()
            self.failed(CancelledError())

    def succeeded(self, value: T) -> None:
        """Take the answer; for the operation, which calls this or `failed`, once."""
        self._operation = None
        self._value = value
        if self._callback is not None:
            self._deliver()

    def failed(self, error: BaseException) -> None:
        """Take the error; for the operation, as `succeeded`."""
        assert self._operation is not None
        self._error = _Error(self._operation.kind.name, error)
        self._operation = None
        self._deliver()

    def _deliver(self) -> None:
        callback, errback, error = self._callback, self._errback, self._error
        # They may refer to this object: it ends with its last user, not with the next
        # collection of garbage.
        self._callback = self._errback = None
        try:
            if error is None:
                if callback is not None:
                    callback(self._value)
            elif errback is not None:
                error.handled = True
                errback(self, type(error.value), error.value, error.value.__traceback__)
        except Exception:  # the caller's code, which may harm no other operation
            _log.failure("a callback of an AsyncResult raised")


class ReplicaResults(list[T]):
    """The results of all copies of a document. Like the SDK's, which is only that, it is also an
    iterator: ``next`` gives one after another, once."""

    _given = 0

    def __next__(self) -> T:
        if self._given == len(self):
            raise StopIteration
        self._given += 1
        return self[self._given - 1]


class RawResult:
    """Stands in for the binding's result behind a Result of the SDK.

    Attributes:
        raw_result: What the binding told, as a map.
    """

    __slots__ = ("raw_result",)

    core_span = None
    start_time = None
    end_time = None

    def __init__(self, raw_result: dict[str, Any]) -> None:
        self.raw_result = raw_result

    def __repr__(self) -> str:
        return f"RawResult:{self.raw_result}"


def raw_result(data: dict[str, Any]) -> Any:
    """A `RawResult`, typed so that the SDK's annotations take it for the binding's own."""
    return RawResult(data)
