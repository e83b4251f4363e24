"""Exceptions as plain data, and back.

An exception of the SDK crosses the pipe as its class name and the plain data that it shows:
message, error code, category, context, cause. It is rebuilt as the SDK's own class. Any other
exception that can be named is rebuilt if it is one of Python's built-in ones; what is left
arrives as `RemoteError`. Nothing is ever unpickled.
"""

from __future__ import annotations

import builtins
import traceback
from typing import Any

import couchbase.exceptions as sdk_exceptions
import msgspec
from couchbase.exceptions import CouchbaseException, ErrorContext

from txcouchbase.exceptions import RemoteError

__all__ = ["decode_error", "encode_error", "error_from_data", "error_to_data", "timeout_error"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class CoreError:
    """Stands in for the binding's own error object behind a rebuilt exception."""

    __slots__ = ("_category", "_code", "_context", "_text")

    core_span = None
    start_time = None
    end_time = None

    def __init__(self, code: int, category: str, text: str, context: dict[str, Any]) -> None:
        self._code = code
        self._category = category
        self._text = text
        self._context = context

    def err(self) -> int:
        """The code of the error."""
        return self._code

    def err_category(self) -> str:
        """The category of the code, e.g. ``couchbase.key_value``."""
        return self._category

    def strerror(self) -> str:
        """The core's name of the error."""
        return self._text

    def error_context(self) -> dict[str, Any]:
        """What the core knows of the request."""
        return self._context

    def error_info(self) -> dict[str, Any]:
        """Nothing: where in the core the error was made means nothing in this process."""
        return {}


def plain(value: Any) -> Any:
    """The value with everything that msgpack cannot carry replaced by plain data.

    Sets become a map with the single key ``set``, since contexts hold sets of retry reasons.
    In a text that is not valid Unicode, what is not is escaped.
    """
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": [plain(item) for item in value]}
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bytes, bool, float)):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    return str(value)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"set"}:
            return set(value["set"])
        return {k: _restored(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value


def timeout_error(message: str, *, ambiguous: bool = False) -> CouchbaseException:
    """A timeout that is noticed outside of the SDK, with the code that the SDK gives it.

    Args:
        message: What timed out, and where.
        ambiguous: Whether the operation may have been applied.
    """
    if ambiguous:
        return sdk_exceptions.AmbiguousTimeoutException(message, error_code=13)
    return sdk_exceptions.UnAmbiguousTimeoutException(message, error_code=14)


def error_to_data(error: BaseException) -> dict[str, Any]:
    """An exception as a map that msgpack can carry."""
    data: dict[str, Any] = {"class": type(error).__name__, "module": type(error).__module__}
    if isinstance(error, CouchbaseException):
        data["sdk"] = type(error).__module__ == sdk_exceptions.__name__
        data["message"] = plain(error._message)
        data["code"] = plain(error._error_code)
        context = error._context
        if context is not None:
            data["context"] = plain(context._get_base())
            data["context_class"] = type(context).__name__
        if error._base is not None:
            base = error._base
            data["base"] = [base.err(), base.err_category(), base.strerror()]
            if context is None:
                data["base_context"] = plain(base.error_context() or {})
        if error._exc_info:
            info = dict(error._exc_info)
            if isinstance(info.get("inner_cause"), BaseException):
                data["cause"] = error_to_data(info.pop("inner_cause"))
            data["info"] = plain(info)
    if not data.get("sdk"):
        data["text"] = plain(str(error))
        data["args"] = plain(error.args)
        shown = traceback.format_exception(type(error), error, error.__traceback__)
        data["traceback"] = plain("".join(shown))
    return data


def error_from_data(data: dict[str, Any]) -> Exception:
    """The exception that `error_to_data` described; never raises."""
    try:
        return _rebuilt(data)
    except Exception as error:  # a description that cannot be read still stands for an error
        return RemoteError(str(data.get("class")), f"{data.get('message')} ({error})")


def _rebuilt(data: dict[str, Any]) -> Exception:
    name: str = data["class"]
    if data.get("sdk"):
        found = getattr(sdk_exceptions, name, None)
        if isinstance(found, type) and issubclass(found, CouchbaseException):
            return _sdk_error(found, data)
    elif data["module"] == "builtins":
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                return found(*data["args"])
            except Exception:  # an exception class may refuse any arguments: then by name only
                pass
    full_name = f"{data['module']}.{name}"
    return RemoteError(full_name, data.get("text", ""), data.get("traceback", ""))


def _sdk_error(found: type[CouchbaseException], data: dict[str, Any]) -> CouchbaseException:
    context = None
    if "context" in data:
        context_class = getattr(sdk_exceptions, data["context_class"], None)
        if not (isinstance(context_class, type) and issubclass(context_class, ErrorContext)):
            context_class = ErrorContext
        context = context_class(**_restored(data["context"]))
    base: Any = None
    if "base" in data:
        fields = context._get_base() if context is not None else _restored(data["base_context"])
        code, category, text = data["base"]
        base = CoreError(code, category, text, fields)
    info: Any = _restored(data["info"]) if "info" in data else None
    if "cause" in data:
        info["inner_cause"] = error_from_data(data["cause"])
    # The base class's constructor, since those of the classes differ and only pass on to it.
    error = found.__new__(found)
    CouchbaseException.__init__(
        error,
        base=base,
        message=data["message"],
        context=context,
        error_code=data["code"],
        exc_info=info,
    )
    return error


def encode_error(error: BaseException) -> bytes:
    """An exception as bytes, for the `error` argument of a command."""
    return _encode(error_to_data(error))


def decode_error(data: bytes) -> Exception:
    """The exception of an `error` argument."""
    return error_from_data(_decode(data))
