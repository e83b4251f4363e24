"""The application's own functions on their way to a worker, and what becomes of them there.

Towards the worker a job is a pickle of ``(function, args, kwargs)``, functions by name. Back
comes an outcome, a map: ``{"value": pickle}``, or ``{"error": data, "text": str, "traceback":
str}`` with ``data`` as in `txcouchbase.amp.errors`. To the latter comes ``"raised": pickle`` for
an exception that is not the SDK's and can be rebuilt, or ``"cause": pickle`` for one that is the
inner cause of one of the SDK's.

What such a function returned or raised is all that the application's process ever unpickles, and
`value_of` and `unpickled_value` are the places where it does.
"""

from __future__ import annotations

import inspect
import io
import pickle
import traceback
from collections.abc import Callable
from types import FunctionType
from typing import Any

from couchbase.exceptions import CouchbaseException, InvalidArgumentException
from twisted.internet.defer import Deferred

from txcouchbase.amp.errors import error_from_data, error_to_data
from txcouchbase.exceptions import RemoteError

__all__ = [
    "Outcome",
    "collection_of_job",
    "outcome_of",
    "pickled_job",
    "pickled_value",
    "raised",
    "run_job",
    "unpickled_value",
    "value_of",
]

Outcome = dict[str, Any]

_WHAT_TO_DO = (
    "workers import functions and classes by their names: define it with def or class at the top "
    "level of a module that is not the program itself, and give what else it needs as arguments"
)
_LARGEST = 2**32 - 2**16
"""Bytes that a value can have: what msgpack can hold, less what goes along with it."""


class _NotImportable(Exception):
    """Says what is in the way."""


class _JobPickler(pickle.Pickler):
    """Refuses what a worker could not import, with better words than pickle's own."""

    def reducer_override(self, obj: Any) -> Any:
        """Look at every function and class before it is pickled by name."""
        if isinstance(obj, (FunctionType, type)):
            where = f"{obj.__module__}.{obj.__qualname__}"
            if "<lambda>" in obj.__qualname__:
                raise _NotImportable(f"{where} is a lambda")
            if "<locals>" in obj.__qualname__:
                raise _NotImportable(f"{where} is defined inside a function")
            if obj.__module__ == "__main__":
                raise _NotImportable(f"{where} is defined in the program itself")
        return NotImplemented


def pickled_job(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bytes:
    """A job as bytes.

    Args:
        name: What the application called, for the errors.
        function: What to call there.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        InvalidArgumentException: The function or an argument cannot be sent; says why.
    """
    if not callable(function):
        raise InvalidArgumentException(f"{name} needs a function, not {type(function).__name__}")
    shown = getattr(function, "__qualname__", type(function).__name__)
    if inspect.iscoroutinefunction(function):
        raise InvalidArgumentException(
            f"{name} runs ordinary functions, and {shown} is a coroutine function"
        )
    try:
        return _pickled((function, args, kwargs))
    except Exception as error:  # pickling runs the values' own code
        what, reason = _culprit(function, args, kwargs) or ("the arguments", error)
        message = f"{name} cannot send {what} of {shown} to a worker"
        if isinstance(reason, _NotImportable):
            raise InvalidArgumentException(f"{message}: {reason}; {_WHAT_TO_DO}") from None
        raise InvalidArgumentException(
            f"{message}: it cannot be pickled ({reason}); give plain data, and open there what "
            "belongs to one process"
        ) from reason


def _pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    _JobPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _culprit(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Exception] | None:
    """The part of a job that cannot be pickled, and why."""
    parts = [("the function", function)]
    parts += [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    parts += [(f"the argument {keyword}", value) for keyword, value in kwargs.items()]
    for what, value in parts:
        try:
            _pickled(value)
        except Exception as error:  # as above
            return what, error
    return None


_current: tuple[int, Any] = (0, None)
"""In the worker: the cluster of the job that runs, there is only one, and its number."""


def run_job(payload: bytes, number: int, cluster: Any) -> Outcome:
    """In the worker: call the function of a job; never raises.

    Args:
        payload: As `pickled_job` made it.
        number: The cluster's number on the pipe, 0 for none.
        cluster: The connected cluster, the first argument of the function; None for none.
    """
    return outcome_of(_call, payload, number, cluster)


def collection_of_job(number: int, bucket: str, scope: str, collection: str) -> Any:
    """In the worker: what becomes of a collection among the arguments of a job.

    Args:
        number: The number of its cluster on the pipe.
        bucket: The name of its bucket.
        scope: The name of its scope.
        collection: Its name.

    Returns:
        The SDK's collection of the connected cluster.

    Raises:
        InvalidArgumentException: It belongs to another cluster than the job.
    """
    current, cluster = _current
    if cluster is None or number != current:
        raise InvalidArgumentException(
            "a collection can be an argument only of a job with its own cluster, as those of "
            "run_in_worker and transactions.run are"
        )
    return cluster.bucket(bucket).scope(scope).collection(collection)


def _call(payload: bytes, number: int, cluster: Any) -> Any:
    global _current
    _current = (number, cluster)
    first = (cluster,) if cluster is not None else ()
    try:
        function, args, kwargs = pickle.loads(payload)
    except CouchbaseException:
        raise
    except Exception as error:  # whatever importing the application's modules raises
        raise ImportError(
            f"the job cannot be unpickled in the worker ({type(error).__name__}: {error}): its "
            "function, and the classes of its arguments, must be importable there"
        ) from error
    return function(*first, *args, **kwargs)


def outcome_of(function: Callable[..., Any], *args: Any) -> Outcome:
    """In the worker: call a function and describe what becomes of it; never raises."""
    try:
        return {"value": pickled_value("the job", function(*args))}
    except BaseException as error:  # SystemExit too ends the job, not the worker
        return raised(error)


def pickled_value(what: str, value: Any) -> bytes:
    """In the worker: what a function returned, as bytes.

    Args:
        what: Returned it, for the errors.
        value: What it is.

    Raises:
        TypeError: It cannot be sent; says why.
    """
    try:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # pickling runs the value's own code, which may exit
        reason = f"cannot be pickled: {_shown(error)}"
    else:
        if len(pickled) <= _LARGEST:
            return pickled
        reason = f"is too large: {len(pickled)} bytes"
    raise TypeError(f"{what} returned a {type(value).__name__} that {reason}; return plain data")


def _shown(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # its own __str__ may raise
        return type(error).__name__


def raised(error: BaseException) -> Outcome:
    """In the worker: the outcome of a function that raised this."""
    shown = traceback.format_exception(type(error), error, error.__traceback__)
    cause = error.inner_cause if isinstance(error, CouchbaseException) else None
    if isinstance(cause, Exception) and cause.__traceback__ is not None:
        shown += ["\nIts inner cause:\n", *traceback.format_exception(cause)]
    outcome: Outcome = {"traceback": "".join(shown)}
    try:
        outcome["text"] = str(error)
        outcome["error"] = error_to_data(error)
    except BaseException:  # its own __str__ may raise
        outcome["text"] = "<it cannot be shown>"
        outcome["error"] = {"class": type(error).__name__, "module": type(error).__module__}
    if not outcome["error"].get("sdk"):
        _add_pickled(outcome, "raised", error)
    elif cause is not None:
        _add_pickled(outcome, "cause", cause)
    return outcome


def _add_pickled(outcome: Outcome, name: str, error: BaseException) -> None:
    """Add the pickle of an exception that can be rebuilt and is not the SDK's."""
    if not isinstance(error, Exception) or type(error).__module__ == CouchbaseException.__module__:
        return
    try:
        pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        if isinstance(pickle.loads(pickled), Exception):
            outcome[name] = pickled
    except BaseException:  # a class of the application may refuse in any way
        pass


def value_of(outcome: Outcome) -> Any:
    """In the application: what the function returned; raises what it raised.

    An exception has a `RemoteError` with the worker's traceback as its cause, or is one if it
    cannot be rebuilt here.
    """
    if "value" not in outcome:
        raise _error_of(outcome)
    return unpickled_value("the job", outcome["value"])


def unpickled_value(what: str, pickled: bytes) -> Any:
    """In the application: the value of which `pickled_value` made bytes.

    Args:
        what: Returned it, for the errors.
        pickled: The bytes.

    Raises:
        TypeError: It cannot be used here; says why.
    """
    try:
        value = pickle.loads(pickled)
        waits = isinstance(value, Deferred)
    except BaseException as error:  # unpickling runs the value's own code, which may exit
        raise TypeError(
            f"what {what} returned cannot be unpickled here: {_shown(error)}"
        ) from error
    if waits:
        raise TypeError(f"{what} returned a Deferred, which nothing will fire: jobs may block")
    return value


def _error_of(outcome: Outcome) -> Exception:
    data = outcome["error"]
    name = f"{data['module']}.{data['class']}"
    remote = RemoteError(name, outcome["text"], outcome["traceback"])
    if data.get("sdk"):
        error: Exception | None = error_from_data(data)
        cause = _unpickled(outcome["cause"]) if "cause" in outcome else None
        if cause is not None and isinstance(error, CouchbaseException):
            error._exc_info = {**(error._exc_info or {}), "inner_cause": cause}
    else:
        error = _unpickled(outcome["raised"]) if "raised" in outcome else None
    if error is None:
        return remote
    error.__cause__ = remote
    return error


def _unpickled(pickled: bytes) -> Exception | None:
    try:
        error = pickle.loads(pickled)
        return error if isinstance(error, Exception) else None
    except BaseException:  # a class of the application may refuse in any way
        return None
