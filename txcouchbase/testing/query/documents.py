"""Documents of a bucket as queries see them: their values and their metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.query.values import MISSING

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Document

__all__ = ["META_FIELDS", "DocumentMeta", "decoded", "fetched", "metadata"]

_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class DocumentMeta:
    """What is known of a document beside its value, at the moment when it was read."""

    id: str
    cas: int
    expiration: int
    flags: int
    keyspace: str
    json: bool
    xattrs: str


def decoded(raw: bytes) -> Any:
    """The value of a document; bytes where it is no JSON."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        # What msgspec refuses: halves of surrogate pairs, and numbers out of range.
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw


def fetched(key: str, document: Document, keyspace: str, now: float) -> DocumentMeta:
    """The metadata of a document."""
    return DocumentMeta(
        key,
        document.visible_cas(now),
        document.expiry,
        document.flags,
        keyspace,
        bool(document.datatype & DATATYPE_JSON),
        document.xattrs,
    )


META_FIELDS: dict[str, Callable[[DocumentMeta], Any]] = {
    "id": lambda meta: meta.id,
    "cas": lambda meta: meta.cas,
    "expiration": lambda meta: meta.expiration,
    "flags": lambda meta: meta.flags,
    "keyspace": lambda meta: meta.keyspace,
    "type": lambda meta: "json" if meta.json else "base64",
    "xattrs": lambda meta: decoded(meta.xattrs.encode()) if meta.xattrs else {},
}
"""What META() has; extended attributes only for those who name them."""


def metadata(meta: Any) -> Any:
    """The object that META() gives; MISSING where there is no document."""
    if not isinstance(meta, DocumentMeta):
        return MISSING
    return {name: read(meta) for name, read in META_FIELDS.items() if name != "xattrs"}
