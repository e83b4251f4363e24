"""Objects of a closed set of classes as bytes, and back.

What management takes and gives are objects of some eighty small classes of the SDK, with
enumerations, durations, dates, sets and tuples in them. Both sides of the pipe encode them here,
so that neither has to unpickle the other's bytes: an object crosses as the name of its class and
its attributes, and nothing outside the set below is ever made of what arrives.

On the wire (msgpack) a list starts with what it stands for, so a list is ``["list", ...]``; a
map with texts as keys, a text, a number, bytes, None and a bool are themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from couchbase.auth import AuthDomain
from couchbase.diagnostics import ClusterState
from couchbase.durability import DurabilityLevel
from couchbase.management import (
    analytics,
    buckets,
    collections,
    eventing,
    options,
    queries,
    search,
    users,
    views,
)
from couchbase.management.logic.eventing_function_mgmt_types import EventingFunctionUrlAuth
from couchbase.n1ql import QueryScanConsistency

from txcouchbase.amp import wire

__all__ = ["CLASSES", "OPTION_CLASSES", "decode", "encode"]

OPTION_CLASSES: Final[tuple[type[dict[str, Any]], ...]] = tuple(
    cls for cls in vars(options).values() if isinstance(cls, type) and issubclass(cls, dict)
)
"""Blocks of options of management: maps with a name, all alike."""

_DATA_CLASSES: Final = (
    analytics.AnalyticsDataset,
    analytics.AnalyticsIndex,
    analytics.AzureBlobExternalAnalyticsLink,
    analytics.CouchbaseAnalyticsEncryptionSettings,
    analytics.CouchbaseRemoteAnalyticsLink,
    analytics.S3ExternalAnalyticsLink,
    buckets.BucketDescribeResult,
    buckets.BucketSettings,
    buckets.CreateBucketSettings,
    collections.CollectionSpec,
    collections.CreateCollectionSettings,
    collections.ScopeSpec,
    collections.UpdateCollectionSettings,
    eventing.EventingFunction,
    eventing.EventingFunctionBucketBinding,
    eventing.EventingFunctionConstantBinding,
    eventing.EventingFunctionKeyspace,
    eventing.EventingFunctionSettings,
    eventing.EventingFunctionsStatus,
    eventing.EventingFunctionStatus,
    EventingFunctionUrlAuth,
    eventing.EventingFunctionUrlAuthBasic,
    eventing.EventingFunctionUrlAuthBearer,
    eventing.EventingFunctionUrlAuthDigest,
    eventing.EventingFunctionUrlBinding,
    eventing.EventingFunctionUrlNoAuth,
    queries.QueryIndex,
    search.SearchIndex,
    users.Group,
    users.Origin,
    users.Role,
    users.RoleAndDescription,
    users.RoleAndOrigins,
    users.User,
    users.UserAndMetadata,
    views.DesignDocument,
    views.View,
    *OPTION_CLASSES,
)
_ENUMERATIONS: Final = (
    AuthDomain,
    ClusterState,
    DurabilityLevel,
    QueryScanConsistency,
    analytics.AnalyticsDataType,
    analytics.AnalyticsEncryptionLevel,
    analytics.AnalyticsLinkType,
    buckets.BucketType,
    buckets.CompressionMode,
    buckets.ConflictResolutionType,
    buckets.EjectionMethod,
    buckets.EvictionPolicyType,
    buckets.StorageBackend,
    eventing.EventingFunctionBucketAccess,
    eventing.EventingFunctionDcpBoundary,
    eventing.EventingFunctionDeploymentStatus,
    eventing.EventingFunctionLanguageCompatibility,
    eventing.EventingFunctionLogLevel,
    eventing.EventingFunctionProcessingStatus,
    eventing.EventingFunctionState,
    views.DesignDocumentNamespace,
)

CLASSES: Final[dict[str, type]] = {cls.__name__: cls for cls in (*_DATA_CLASSES, *_ENUMERATIONS)}
"""The closed set, by name. Beside it only the standard library's data crosses."""


def encode(value: Any) -> bytes:
    """A value as bytes. An instance of a subclass crosses as its nearest class that can.

    Raises:
        TypeError: There is something in it that cannot cross; the text names its class.
        ValueError: It contains itself, or is nested too deeply.
    """
    try:
        return wire.encode(_to_plain(value))
    except RecursionError:
        raise ValueError("a value that contains itself, or is nested too deeply") from None


def decode(data: bytes) -> Any:
    """The value that `encode` made bytes of.

    Raises:
        ValueError: The bytes are not of `encode`'s making.
    """
    try:
        return _from_plain(wire.decode(data))
    except Exception as error:  # nonsense may break anything on the way
        raise ValueError(f"not an encoded object: {error!r}") from None


# -- encoding -----------------------------------------------------------------------------


def _to_plain(value: Any) -> Any:
    for cls in type(value).__mro__:
        encoder = _ENCODERS.get(cls)
        if encoder is not None:
            return encoder(value, cls)
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"an object of the class {name} cannot be sent to another process")


def _text(value: str, cls: type) -> Any:
    text = str.__str__(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return ["surrogates", text.encode("utf-8", "surrogatepass")]
    return text


def _number(value: int, cls: type) -> Any:
    number = int(value)
    return number if -(2**63) <= number < 2**64 else ["int", hex(number)]


def _map(value: dict[Any, Any], cls: type) -> Any:
    pairs = [(_to_plain(key), _to_plain(item)) for key, item in value.items()]
    if all(type(key) is str for key, _ in pairs):
        return dict(pairs)
    return ["dict", *pairs]


def _several(value: Any, cls: type) -> Any:
    return [cls.__name__, *map(_to_plain, value)]


def _object(value: Any, cls: type) -> Any:
    items = _map(value, dict) if isinstance(value, dict) else None
    return ["object", cls.__name__, _map(vars(value), dict), items]


def _member(value: enum.Enum, cls: type) -> Any:
    return ["member", cls.__name__, value.name]


_ENCODERS: Final[dict[type, Callable[[Any, type], Any]]] = {
    type(None): lambda value, cls: None,
    bool: lambda value, cls: value,
    int: _number,
    float: lambda value, cls: float(value),
    str: _text,
    bytes: lambda value, cls: bytes(value),
    bytearray: lambda value, cls: ["bytearray", bytes(value)],
    list: _several,
    tuple: _several,
    set: _several,
    frozenset: _several,
    dict: _map,
    timedelta: lambda value, cls: ["timedelta", value.days, value.seconds, value.microseconds],
    datetime: lambda value, cls: ["datetime", value.isoformat(), value.fold],
    **dict.fromkeys(_DATA_CLASSES, _object),
    **dict.fromkeys(_ENUMERATIONS, _member),
}


# -- decoding -----------------------------------------------------------------------------


def _from_plain(data: Any) -> Any:
    if isinstance(data, list):
        return _DECODERS[data[0]](*data[1:])
    if isinstance(data, dict) and all(type(key) is str for key in data):
        return {key: _from_plain(item) for key, item in data.items()}
    if data is None or isinstance(data, (str, bytes, int, float)):
        return data
    raise TypeError("msgpack can hold more than `encode` makes")


def _make_object(name: str, attributes: Any, items: Any) -> Any:
    cls: Any = CLASSES[name]
    made = cls.__new__(cls)
    # Not by its constructor: what crosses is what the object is, and no code may run.
    made.__dict__.update(_from_plain(attributes))
    if items is not None:
        made.update(_from_plain(items))
    return made


def _make_member(name: str, member: str) -> Any:
    cls: Any = CLASSES[name]
    return cls.__members__[member]


_DECODERS: Final[dict[str, Callable[..., Any]]] = {
    "surrogates": lambda data: data.decode("utf-8", "surrogatepass"),
    "int": lambda digits: int(digits, 16),
    "bytearray": bytearray,
    "list": lambda *items: list(map(_from_plain, items)),
    "tuple": lambda *items: tuple(map(_from_plain, items)),
    "set": lambda *items: set(map(_from_plain, items)),
    "frozenset": lambda *items: frozenset(map(_from_plain, items)),
    "dict": lambda *items: {_from_plain(key): _from_plain(item) for key, item in items},
    "timedelta": timedelta,
    "datetime": lambda text, fold: datetime.fromisoformat(text).replace(fold=fold),
    "object": _make_object,
    "member": _make_member,
}
