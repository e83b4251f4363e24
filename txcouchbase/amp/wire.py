"""What is inside the boxes: requests and answers as msgpack arrays.

A batch is ``[keyspaces, requests]``. `keyspaces` introduces those that the worker has not seen:
``[id, cluster, bucket, scope, collection]``. A request is ``[id, code, keyspace, key, timeout]``,
followed by ``value, flags, options`` as far as it has them; `timeout` is in milliseconds, 0 for
none. A payload of results is a list of answers, each ``[id, result]`` or ``[id, None, error]``,
where `result` is the map that the SDK's binding made and `error` as in `txcouchbase.amp.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from couchbase.auth import Authenticator

__all__ = [
    "OF_REPLICAS",
    "Answer",
    "ClusterSettings",
    "decode",
    "decode_answers",
    "decode_log",
    "decode_rows",
    "encode",
]


class Answer(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One answer to an operation.

    Attributes:
        id: The number of the operation.
        result: The map that the SDK's binding made, None if it failed.
        error: What it failed with, as in `txcouchbase.amp.errors`.
    """

    id: int
    result: dict[Any, Any] | None
    error: dict[Any, Any] | None = None


OF_REPLICAS = "replicas"
"""Where the answer to a read of all copies of a document has the list of their maps."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode
decode_answers = msgspec.msgpack.Decoder(list[Answer]).decode
"""A payload of results; raises `msgspec.MsgspecError` if it is none."""
decode_log = msgspec.msgpack.Decoder(list[tuple[int, str]]).decode
"""A payload of lines of the log; raises as `decode_answers`."""
decode_rows = msgspec.msgpack.Decoder(tuple[int, list[bytes]]).decode
"""A payload of rows, see `txcouchbase.amp.rows`; raises as `decode_answers`."""


@dataclass(frozen=True, repr=False)
class ClusterSettings:
    """What a worker needs to connect. It holds credentials: never log it.

    Attributes:
        connstr: The connection string.
        authenticator: The credentials.
        options: The other options of the cluster, by their names in the SDK's `ClusterOptions`.
    """

    connstr: str
    authenticator: Authenticator
    options: dict[str, Any]

    def __repr__(self) -> str:
        return "<ClusterSettings>"
