"""Extended attributes: those stored with a document, the virtual ones, and macros.

Source: kv_engine ``docs/Document.md`` and ``docs/SubDocument.md``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from txcouchbase.testing.kv.bucket import Bucket, Document
from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.status import Refused, Status

__all__ = ["as_binary", "as_json", "crc32c", "expanded", "system_only", "virtual"]

_BINARY = "cb-content-base64-encoded:"
"""What the strings start with that stand for bytes in attributes."""

_POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The CRC-32 of Castagnoli."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def system_only(xattrs: str) -> str:
    """The attributes that outlive a deletion: those whose names start with an underscore."""
    if not xattrs:
        return ""
    kept = {name: value for name, value in json.loads(xattrs).items() if name.startswith("_")}
    return json.dumps(kept) if kept else ""


def as_json(value: bytes) -> bytes:
    """Bytes as the JSON that attributes keep of them."""
    return json.dumps(_BINARY + b64encode(value).decode()).encode()


def as_binary(text: bytes) -> bytes:
    """The bytes of which `as_json` made JSON.

    :raises Refused: PATH_MISMATCH for any other JSON.
    """
    value = json.loads(text)
    if not isinstance(value, str) or not value.startswith(_BINARY):
        raise Refused(Status.PATH_MISMATCH)
    return b64decode(value[len(_BINARY) :])


def virtual(name: str, bucket: Bucket, document: Document, vbucket: int, now: float) -> Any:
    """The value of a virtual attribute; None if there is no such attribute."""
    if name == "$document":
        datatypes = ["json"] if document.datatype & DATATYPE_JSON else ["raw"]
        return {
            "CAS": f"0x{document.cas:016x}",
            "vbucket_uuid": f"0x{bucket.vbucket_uuids[vbucket]:016x}",
            "seqno": f"0x{document.seqno:016x}",
            "revid": str(document.revision),
            "exptime": document.expiry,
            "value_bytes": len(document.value),
            "datatype": [*datatypes, "xattr"] if document.xattrs else datatypes,
            "deleted": document.deleted,
            "flags": document.flags,
            "last_modified": str(document.cas // 1_000_000_000),
            "value_crc32c": f"0x{crc32c(document.value):08x}",
        }
    if name == "$vbucket":
        return {"HLC": {"now": str(int(now)), "mode": "real"}}
    if name == "$XTOC":
        return list(json.loads(document.xattrs)) if document.xattrs else []
    return None


def expanded(value: Any, cas: int, seqno: int, body: bytes) -> Any:
    """A value with its macros replaced; None if it names one that does not exist."""
    if not isinstance(value, str) or not value.startswith("${"):
        return value
    if value == "${Mutation.CAS}":
        return "0x" + cas.to_bytes(8, "little").hex()
    if value == "${Mutation.seqno}":
        return f"0x{seqno:016x}"
    if value == "${Mutation.value_crc32c}":
        return f"0x{crc32c(body):08x}"
    return None
