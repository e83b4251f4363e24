"""Key-value operations: from the arguments of a facade's method to what goes to the pool, and
from its answer to the SDK's Result.

Options are read with the SDK's own `couchbase.options.forward_args`, so that they mean here
what they mean there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from couchbase.durability import DurabilityLevel
from couchbase.exceptions import InvalidArgumentException
from couchbase.options import DeltaValue, SignedInt64, forward_args
from couchbase.result import (
    CounterResult,
    ExistsResult,
    GetResult,
    LookupInResult,
    MutateInResult,
    MutationResult,
)
from couchbase.subdocument import StoreSemantics, SubDocOp
from couchbase.transcoder import Transcoder
from twisted.internet.defer import Deferred

from txcouchbase.amp.operations import OperationKind
from txcouchbase.results import raw_result
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.session import Keyspace

__all__ = ["DURABLE_TIMEOUT", "KeyValueOperation", "Options", "binary_value", "read_options"]

DURABLE_TIMEOUT = 10.0
"""The SDK's default for a mutation with a durability level (seconds)."""

_SPANS = ("span", "parent_span")


class KeyValueOperation(Operation):
    """A key-value operation that ends in a Deferred."""

    __slots__ = ("deferred", "on_cancel", "transcoder")

    transcoder: Transcoder
    on_cancel: Callable[[Operation], None]

    def start(
        self, submit: Callable[[Operation], None], cancel: Callable[[Operation], None]
    ) -> Deferred[Any]:
        """Hand the operation over; the Deferred fires with its Result."""
        if self.key is None:
            raise InvalidArgumentException(
                "bucket/scope/collection/key must be valid UTF-8 strings"
            )
        self.on_cancel = cancel
        deferred: Deferred[Any] = Deferred(self._cancelled)
        self.deferred: Deferred[Any] | None = deferred
        try:
            submit(self)
        except Exception as error:  # whatever the pool refuses with is the caller's answer
            self.deferred = None
            deferred.errback(error)
        return deferred

    def _cancelled(self, deferred: Deferred[Any]) -> None:
        self.deferred = None
        self.on_cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Fire the Deferred with the SDK's Result."""
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        try:
            built = _RESULTS[self.kind.name](self, result)
        except Exception as error:  # the caller has to hear of it, whatever it is
            deferred.errback(error)
        else:
            deferred.callback(built)

    def fail(self, error: Exception) -> None:
        """Fire the Deferred with an exception."""
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.errback(error)


def _get_result(operation: KeyValueOperation, raw: dict[str, Any]) -> GetResult:
    return GetResult(raw_result(raw), transcoder=operation.transcoder, key=operation.key)


def _mutation_result(operation: KeyValueOperation, raw: dict[str, Any]) -> MutationResult:
    return MutationResult(raw_result(raw), key=operation.key)


def _exists_result(operation: KeyValueOperation, raw: dict[str, Any]) -> ExistsResult:
    return ExistsResult(raw_result(raw), key=operation.key)


def _counter_result(operation: KeyValueOperation, raw: dict[str, Any]) -> CounterResult:
    return CounterResult(raw_result(raw), key=operation.key)


def _lookup_result(operation: KeyValueOperation, raw: dict[str, Any]) -> LookupInResult:
    return LookupInResult(
        raw_result(raw), transcoder=operation.transcoder, is_subdoc=True, key=operation.key
    )


def _mutate_in_result(operation: KeyValueOperation, raw: dict[str, Any]) -> MutateInResult:
    return MutateInResult(
        raw_result(raw), transcoder=operation.transcoder, is_subdoc=True, key=operation.key
    )


_RESULTS: dict[str, Callable[[KeyValueOperation, dict[str, Any]], Any]] = {
    "get": _get_result,
    "get_and_lock": _get_result,
    "get_and_touch": _get_result,
    "exists": _exists_result,
    "lookup_in": _lookup_result,
    "mutate_in": _mutate_in_result,
    "insert": _mutation_result,
    "upsert": _mutation_result,
    "replace": _mutation_result,
    "remove": _mutation_result,
    "touch": _mutation_result,
    "append": _mutation_result,
    "prepend": _mutation_result,
    "increment": _counter_result,
    "decrement": _counter_result,
    "unlock": lambda operation, raw: None,
}


class Options:
    """The options of one call.

    Attributes:
        timeout: The caller's (seconds), None for the default.
        default_timeout: The default (seconds).
        transcoder: The caller's, or the collection's.
        wire: The other options, by the binding's names.
    """

    __slots__ = ("default_timeout", "timeout", "transcoder", "wire")

    def __init__(
        self,
        timeout: float | None,
        default_timeout: float,
        transcoder: Transcoder,
        wire: dict[str, Any],
    ) -> None:
        self.timeout = timeout
        self.default_timeout = default_timeout
        self.transcoder = transcoder
        self.wire = wire

    def operation(
        self,
        kind: OperationKind,
        keyspace: Keyspace,
        key: str,
        value: bytes | None = None,
        flags: int = 0,
    ) -> KeyValueOperation:
        """The operation that these options are for."""
        operation = KeyValueOperation(
            kind,
            keyspace,
            key,
            value,
            flags,
            self.wire or None,
            self.timeout,
            self.default_timeout,
        )
        operation.transcoder = self.transcoder
        return operation


def read_options(
    opts: tuple[Any, ...],
    kwargs: dict[str, Any],
    transcoder: Transcoder,
    default_timeout: float,
) -> Options:
    """Read an options block and keywords as the SDK does.

    Raises:
        InvalidArgumentException: A value is not what its option takes.
    """
    wire = forward_args(kwargs, *opts)
    for span in _SPANS:
        wire.pop(span, None)
    chosen = wire.pop("transcoder", None)
    milliseconds = wire.pop("timeout", None)
    durability = wire.pop("durability", None)
    if isinstance(durability, dict):
        wire.update(durability)
    elif durability is not None:
        wire["durability_level"] = int(DurabilityLevel(durability))
        default_timeout = DURABLE_TIMEOUT
    return Options(
        milliseconds / 1000.0 if milliseconds is not None else None,
        default_timeout,
        chosen if chosen is not None else transcoder,
        {name: value for name, value in wire.items() if value is not None},
    )


def read_projection(options: Options) -> None:
    """Turn the options of `get` into the binding's.

    Raises:
        InvalidArgumentException: `project` is not a list of strings.
    """
    wire = options.wire
    project = wire.pop("project", None)
    if project:
        if not isinstance(project, list) or not all(isinstance(path, str) for path in project):
            raise InvalidArgumentException("Project must be a list of strings.")
        wire["projections"] = project
    elif project is not None:
        # An empty list still asks for the projected form, as in the SDK.
        wire["projections"] = []
    if not wire.get("with_expiry", True):
        del wire["with_expiry"]


def read_counter(options: Options) -> None:
    """Turn the options of a counter into the binding's.

    Raises:
        InvalidArgumentException: `delta` or `initial` is not of the SDK's type or out of range.
    """
    wire = options.wire
    delta: Any = wire.pop("delta", None) or DeltaValue(1)
    initial: Any = wire.pop("initial", None) or SignedInt64(0)
    if not DeltaValue.is_valid(delta):
        raise InvalidArgumentException("Argument is not valid DeltaValue")
    if not SignedInt64.is_valid(initial):
        raise InvalidArgumentException("Argument is not valid SignedInt64")
    wire["delta"] = int(delta)
    # A negative one means that the counter is not created.
    if int(initial) >= 0:
        wire["initial_value"] = int(initial)


def binary_value(value: str | bytes | bytearray) -> bytes:
    """The bytes to append or prepend.

    Raises:
        ValueError: The value is neither text nor bytes.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError("The value provided must of type str, bytes or bytearray.")


def lookup_specs(specs: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The specs of `lookup_in` as plain data."""
    return [(spec[0].value, *spec[1:]) for spec in specs]


_LIST_VALUES = (SubDocOp.ARRAY_PUSH_FIRST, SubDocOp.ARRAY_PUSH_LAST, SubDocOp.ARRAY_INSERT)
_SEMANTICS = {
    "insert_doc": StoreSemantics.INSERT,
    "upsert_doc": StoreSemantics.UPSERT,
    "replace_doc": StoreSemantics.REPLACE,
}


def mutation_specs(specs: Iterable[Any], transcoder: Transcoder) -> list[tuple[Any, ...]]:
    """The specs of `mutate_in` as plain data, their values encoded."""
    plain = []
    for spec in specs:
        operation, *rest = spec
        if len(rest) == 5:
            value = rest[4]
            if operation in _LIST_VALUES:
                # Several values at once: a list without its brackets.
                rest[4] = json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8")
            else:
                rest[4] = transcoder.encode_value(value)[0]
        plain.append((operation.value, *rest))
    return plain


def read_mutate_in(options: Options, specs: Iterable[Any]) -> None:
    """Turn the options and specs of `mutate_in` into the binding's.

    Raises:
        InvalidArgumentException: Options exclude each other.
    """
    wire = options.wire
    specs = list(specs)
    operations = [spec[0] for spec in specs]
    if wire.get("preserve_expiry") is True:
        if SubDocOp.DICT_ADD in operations:
            raise InvalidArgumentException(
                "The preserve_expiry option cannot be set for mutate_in with insert operations."
            )
        if SubDocOp.REPLACE in operations and wire.get("expiry"):
            raise InvalidArgumentException(
                "The expiry and preserve_expiry options cannot both be set for mutate_in with "
                "replace operations."
            )
    semantics = [
        semantic for name, semantic in _SEMANTICS.items() if wire.pop(name, None) is not None
    ]
    if len(semantics) > 1:
        raise InvalidArgumentException("Cannot set multiple store semantics.")
    if semantics:
        wire["store_semantics"] = semantics[0].value
    wire["specs"] = mutation_specs(specs, options.transcoder)
