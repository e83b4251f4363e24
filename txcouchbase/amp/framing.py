"""Payloads of any length as AMP boxes.

AMP limits a value to 65,535 bytes (twisted.protocols.amp), so a longer payload is split over
several keys of one box. Two shapes use this: boxes of our own for the frequent traffic, which
`twisted.protocols.amp.AMP.ampBoxReceived` hands over without the cost of `callRemote`, and
`LongBytes`, an argument for ordinary commands.

A box of our own has the key ``+`` for what it is, ``0``, ``1``, ... for the payload, and ``a``
for the number of boxes that it acknowledges.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack
from typing import Any

from twisted.protocols import amp

__all__ = [
    "ACK",
    "BATCH",
    "CREDIT",
    "KIND",
    "LOG",
    "RESULTS",
    "ROWS",
    "LongBytes",
    "encode_box",
    "payload_of",
]

KIND = b"+"
"""The key that tells a box of our own from those of `callRemote`."""

BATCH = b"b"
"""Kind: operations, towards a worker."""

RESULTS = b"r"
"""Kind: answers to operations, from a worker."""

ROWS = b"w"
"""Kind: a chunk of a stream's rows, from a worker; `txcouchbase.amp.rows` says more."""

CREDIT = b"c"
"""Kind: how much more of a stream's rows there is room for, towards a worker."""

LOG = b"l"
"""Kind: lines of the SDK's log, from a worker: a list of `logging`'s level and the text."""

ACK = b"a"
"""The key (and, in a box without payload, the kind) that acknowledges boxes."""

_LIMIT = 0xFFFF


def _chunk_key(index: int) -> bytes:
    return b"%d" % index


def encode_box(kind: bytes, payload: bytes, acknowledged: int = 0) -> bytes:
    """The bytes of one box of our own.

    Args:
        kind: One of `BATCH`, `RESULTS`, `ROWS`, `CREDIT`, `ACK`.
        payload: What it carries; any length.
        acknowledged: How many boxes it acknowledges.
    """
    parts: list[bytes | memoryview] = [b"\x00\x01+\x00\x01", kind]
    if acknowledged:
        count = b"%d" % acknowledged
        parts += (b"\x00\x01a", pack("!H", len(count)), count)
    if len(payload) <= _LIMIT:
        parts += (b"\x00\x010", pack("!H", len(payload)), payload)
    else:
        view = memoryview(payload)
        for index, start in enumerate(range(0, len(payload), _LIMIT)):
            chunk = view[start : start + _LIMIT]
            key = _chunk_key(index)
            parts += (pack("!H", len(key)), key, pack("!H", len(chunk)), chunk)
    parts.append(b"\x00\x00")
    return b"".join(parts)


def payload_of(box: Mapping[bytes, bytes]) -> bytes:
    """The payload of a received box of our own."""
    if b"1" not in box:
        return box.get(b"0", b"")
    chunks = []
    index = 0
    while (chunk := box.get(_chunk_key(index))) is not None:
        chunks.append(chunk)
        index += 1
    return b"".join(chunks)


class LongBytes(amp.Argument):
    """Bytes of any length as an argument of an ordinary AMP command."""

    def __init__(self) -> None:
        super().__init__()

    def toBox(self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any) -> None:
        """Split the value over the keys ``name``, ``name.1``, ``name.2``, ..."""
        value: bytes = objects[name.decode("ascii")]
        strings[name] = value[:_LIMIT]
        for index, start in enumerate(range(_LIMIT, len(value), _LIMIT), 1):
            strings[b"%s.%d" % (name, index)] = value[start : start + _LIMIT]

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """Join the value again."""
        chunks = [strings.pop(name, b"")]
        index = 1
        while (chunk := strings.pop(b"%s.%d" % (name, index), None)) is not None:
            chunks.append(chunk)
            index += 1
        objects[name.decode("ascii")] = b"".join(chunks)
