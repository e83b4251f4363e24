"""From the arguments of a key-value method to what goes to the pool.

Options are read with the SDK's own `couchbase.options.forward_args`, so that they mean here
what they mean there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from couchbase.durability import ClientDurability, DurabilityLevel, ServerDurability
from couchbase.exceptions import InvalidArgumentException
from couchbase.logic.validation import validate_bool
from couchbase.options import DeltaValue, SignedInt64, forward_args
from couchbase.subdocument import StoreSemantics, SubDocOp
from couchbase.transcoder import Transcoder

if TYPE_CHECKING:
    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.keyvalue import KeyValueOperation
    from txcouchbase.workers.keyspace import Keyspace

__all__ = [
    "DURABLE_TIMEOUT",
    "RETRY",
    "Options",
    "block_of",
    "check_retry",
    "encode_value",
    "read_options",
    "refuse_unknown",
    "retry_refused",
]

DURABLE_TIMEOUT = 10.0
"""The SDK's default for a mutation with a durability level (seconds)."""

RETRY = "retry_ambiguous"
"""A keyword of ours: no options block of the SDK has it, and the SDK never sees it."""

_SPANS = ("span", "parent_span")


def _known(*options: str) -> frozenset[str]:
    return frozenset(("timeout", "quiet", *_SPANS, *options))


_READ = _known("transcoder")
_READ_REPLICA = _known("transcoder", "read_preference")
_CHANGE = ("durability", "expiry")
_JOIN = _known(*_CHANGE, "cas")
_COUNT = _known(*_CHANGE, "delta", "initial")

_OPTIONS = {
    "get": _known("transcoder", "with_expiry", "project"),
    "exists": _known(),
    "get_and_touch": _READ | {"expiry"},
    "get_and_lock": _READ | {"lock_time"},
    "get_any_replica": _READ_REPLICA,
    "get_all_replicas": _READ_REPLICA,
    "lookup_in": _READ | {"specs", "access_deleted", "expiry"},
    "lookup_in_any_replica": _READ_REPLICA | {"specs"},
    "lookup_in_all_replicas": _READ_REPLICA | {"specs"},
    "insert": _known(*_CHANGE, "transcoder"),
    "upsert": _known(*_CHANGE, "transcoder", "preserve_expiry"),
    "replace": _known(*_CHANGE, "transcoder", "preserve_expiry", "cas"),
    "remove": _known(*_CHANGE, "transcoder", "cas"),
    "touch": _known("expiry"),
    "unlock": _known("cas"),
    "mutate_in": _known(
        *_CHANGE,
        *("specs", "transcoder", "preserve_expiry", "cas", "access_deleted", "store_semantics"),
        *("insert_doc", "upsert_doc", "replace_doc"),
    ),
    "append": _JOIN,
    "prepend": _JOIN,
    "increment": _COUNT,
    "decrement": _COUNT,
}
"""What the operation of each name takes, with those of its arguments that are options for the
binding. The options classes of the SDK tell some, its code and documentation the others."""


class Options:
    """The options of one call.

    Attributes:
        timeout: The caller's (seconds), None for the default.
        default_timeout: The default (seconds).
        transcoder: The caller's, or the collection's.
        quiet: The caller's, or the collection's.
        wire: The other options, by the binding's names.
    """

    __slots__ = ("default_timeout", "quiet", "timeout", "transcoder", "wire")

    def __init__(
        self,
        timeout: float | None,
        default_timeout: float,
        transcoder: Transcoder,
        quiet: bool,
        wire: dict[str, Any],
    ) -> None:
        self.timeout = timeout
        self.default_timeout = default_timeout
        self.transcoder = transcoder
        self.quiet = quiet
        self.wire = wire

    def operation(
        self,
        form: type[KeyValueOperation],
        kind: OperationKind,
        keyspace: Keyspace,
        key: str,
        value: bytes | None,
        flags: int,
    ) -> KeyValueOperation:
        """The operation that these options are for."""
        operation = form(
            kind, keyspace, key, value, flags, self.wire or None, self.timeout, self.default_timeout
        )
        operation.transcoder = self.transcoder
        operation.quiet = self.quiet
        return operation


def read_options(
    name: str,
    opts: Sequence[Any],
    kwargs: dict[str, Any],
    transcoder: Transcoder,
    default_timeout: float,
    quiet: bool,
) -> Options:
    """Read the options block and the keywords of the operation of that name as the SDK does,
    and `quiet`.

    Raises:
        InvalidArgumentException: There is no such option, or a value is not what it takes.
    """
    given = {**block_of(name, opts), **kwargs}
    if RETRY in given:
        raise retry_refused(name)
    refuse_unknown(name, given, _OPTIONS[name])
    _check_durability(name, given.get("durability"))
    wire = forward_args(given)
    chosen_quiet = wire.pop("quiet", None)
    if chosen_quiet is not None:
        quiet = validate_bool(chosen_quiet)
    for span in _SPANS:
        wire.pop(span, None)
    chosen = wire.pop("transcoder", None)
    milliseconds = wire.pop("timeout", None)
    if milliseconds == 0:
        # Of None the SDK's reader makes the same as of no time at all.
        if not isinstance(given["timeout"], timedelta):
            milliseconds = None
    durability = wire.pop("durability", None)
    if isinstance(durability, dict):
        wire.update(durability)
    elif durability is not None:
        wire["durability_level"] = int(DurabilityLevel(durability))
        default_timeout = DURABLE_TIMEOUT
    options = Options(
        milliseconds / 1000.0 if milliseconds is not None else None,
        default_timeout,
        chosen if chosen is not None else transcoder,
        quiet,
        {option: value for option, value in wire.items() if value is not None},
    )
    reader = _READERS.get(name)
    if reader is not None:
        reader(options)
    if name == "mutate_in":
        # As in the SDK: what it returns is decoded with the collection's.
        options.transcoder = transcoder
    return options


def block_of(name: str, opts: Sequence[Any]) -> Mapping[str, Any]:
    """The options block among the arguments of the method of that name, empty if there is none.

    Raises:
        InvalidArgumentException: It is something else.
    """
    block = opts[0] if opts and opts[0] else {}
    if isinstance(block, Mapping):
        return block
    raise InvalidArgumentException(
        f"the options of {name} must be an options block of the SDK, or keywords, "
        f"not {type(block).__name__}"
    )


def refuse_unknown(name: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options that the method of that name does not have.

    Raises:
        InvalidArgumentException: There is one.
    """
    unknown = [str(option) for option in given if option not in known]
    if unknown:
        raise InvalidArgumentException(f"{name} has no option {', '.join(unknown)}")


def _check_durability(name: str, durability: object) -> None:
    """Check what the SDK would leave out without a word.

    Raises:
        InvalidArgumentException: It is not the SDK's.
    """
    if durability is None:
        return
    if isinstance(durability, ServerDurability):
        parts: tuple[object, ...] = (durability.level,)
    elif isinstance(durability, ClientDurability):
        parts = (durability.replicate_to, durability.persist_to)
    else:
        parts = (None,)
    if not all(isinstance(part, IntEnum) for part in parts):
        raise InvalidArgumentException(
            f"durability of {name} must be ServerDurability(Durability.MAJORITY), or another "
            "level, or ClientDurability(ReplicateTo.ONE, PersistTo.ONE), not "
            + (repr(durability) if parts == (None,) else f"one of {parts!r}")
        )


def check_retry(value: object) -> bool:
    """The caller's `retry_ambiguous`.

    Raises:
        InvalidArgumentException: It is no bool.
    """
    if isinstance(value, bool):
        return value
    raise InvalidArgumentException(f"{RETRY} must be True or False, not {value!r}")


def retry_refused(name: str) -> InvalidArgumentException:
    """The refusal of `retry_ambiguous` where it has no sense."""
    return InvalidArgumentException(
        f"{RETRY} is a keyword of methods that change something: {name} has no such option"
    )


def encode_value(name: str, value: Any, transcoder: Transcoder) -> tuple[bytes, int]:
    """The bytes and the flags of the value that an operation of that name takes.

    Raises:
        ValueError: It cannot be encoded, or is neither text nor bytes for the operations that
            join values.
    """
    if name not in ("append", "prepend"):
        return transcoder.encode_value(value)
    if isinstance(value, str):
        return value.encode("utf-8"), 0
    if isinstance(value, (bytes, bytearray)):
        return bytes(value), 0
    raise ValueError("The value provided must of type str, bytes or bytearray.")


def _read_projection(options: Options) -> None:
    """Turn the options of `get` into the binding's.

    Raises:
        InvalidArgumentException: `project` is not a list of strings.
    """
    wire = options.wire
    project = wire.pop("project", None)
    if project:
        if not isinstance(project, list) or not all(isinstance(path, str) for path in project):
            raise InvalidArgumentException("Project must be a list of strings.")
        wire["projections"] = list(project)
    elif project is not None:
        # An empty list still asks for the projected form, as in the SDK.
        wire["projections"] = []
    if not wire.get("with_expiry", True):
        del wire["with_expiry"]


def _read_counter(options: Options) -> None:
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


def _read_replace(options: Options) -> None:
    """Refuse options that exclude each other.

    Raises:
        InvalidArgumentException: `expiry` and `preserve_expiry` are both given.
    """
    if options.wire.get("expiry") and options.wire.get("preserve_expiry") is True:
        raise InvalidArgumentException(
            "The expiry and preserve_expiry options cannot both be set for replace operations."
        )


def _read_lookup_in(options: Options) -> None:
    """Turn the specs of `lookup_in` into plain data."""
    options.wire["specs"] = [(spec[0].value, *spec[1:]) for spec in options.wire["specs"]]


_LIST_VALUES = (SubDocOp.ARRAY_PUSH_FIRST, SubDocOp.ARRAY_PUSH_LAST, SubDocOp.ARRAY_INSERT)
_SEMANTICS = {
    "insert_doc": StoreSemantics.INSERT,
    "upsert_doc": StoreSemantics.UPSERT,
    "replace_doc": StoreSemantics.REPLACE,
}


def _mutation_specs(specs: Iterable[Any], transcoder: Transcoder) -> list[tuple[Any, ...]]:
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


def _read_mutate_in(options: Options) -> None:
    """Turn the options and specs of `mutate_in` into the binding's.

    Raises:
        InvalidArgumentException: Options exclude each other.
    """
    wire = options.wire
    specs = wire["specs"]
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
    wire["specs"] = _mutation_specs(specs, options.transcoder)


_READERS: dict[str, Callable[[Options], None]] = {
    "get": _read_projection,
    "replace": _read_replace,
    "lookup_in": _read_lookup_in,
    "lookup_in_any_replica": _read_lookup_in,
    "lookup_in_all_replicas": _read_lookup_in,
    "mutate_in": _read_mutate_in,
    "increment": _read_counter,
    "decrement": _read_counter,
}
