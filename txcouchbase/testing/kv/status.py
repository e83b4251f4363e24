"""The status codes of the binary protocol, and the error that carries one to the wire.

Source: the public protocol documentation of kv_engine, ``docs/BinaryProtocol.md`` and
``docs/SubDocument.md``.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Malformed", "Refused", "Status"]


class Status(IntEnum):
    """What the two status bytes of a response mean."""

    SUCCESS = 0x00
    KEY_ENOENT = 0x01
    KEY_EEXISTS = 0x02
    E2BIG = 0x03
    EINVAL = 0x04
    NOT_STORED = 0x05
    DELTA_BADVAL = 0x06
    NOT_MY_VBUCKET = 0x07
    NO_BUCKET = 0x08
    LOCKED = 0x09
    NOT_LOCKED = 0x0E
    AUTH_ERROR = 0x20
    AUTH_CONTINUE = 0x21
    ERANGE = 0x22
    EACCESS = 0x24
    UNKNOWN_FRAME_INFO = 0x80
    UNKNOWN_COMMAND = 0x81
    ENOMEM = 0x82
    NOT_SUPPORTED = 0x83
    EINTERNAL = 0x84
    EBUSY = 0x85
    TMPFAIL = 0x86
    XATTR_EINVAL = 0x87
    UNKNOWN_COLLECTION = 0x88
    CANNOT_APPLY_MANIFEST = 0x8A
    UNKNOWN_SCOPE = 0x8C
    DURABILITY_INVALID_LEVEL = 0xA0
    DURABILITY_IMPOSSIBLE = 0xA1
    SYNC_WRITE_IN_PROGRESS = 0xA2
    SYNC_WRITE_AMBIGUOUS = 0xA3
    SYNC_WRITE_RE_COMMIT_IN_PROGRESS = 0xA4
    RANGE_SCAN_CANCELLED = 0xA5
    RANGE_SCAN_MORE = 0xA6
    RANGE_SCAN_COMPLETE = 0xA7
    RANGE_SCAN_VB_UUID_NOT_EQUAL = 0xA8
    PATH_ENOENT = 0xC0
    PATH_MISMATCH = 0xC1
    PATH_EINVAL = 0xC2
    PATH_E2BIG = 0xC3
    DOC_E2DEEP = 0xC4
    VALUE_CANTINSERT = 0xC5
    DOC_NOTJSON = 0xC6
    NUM_ERANGE = 0xC7
    DELTA_EINVAL = 0xC8
    PATH_EEXISTS = 0xC9
    VALUE_ETOODEEP = 0xCA
    INVALID_COMBO = 0xCB
    MULTI_PATH_FAILURE = 0xCC
    SUCCESS_DELETED = 0xCD
    XATTR_INVALID_FLAG_COMBO = 0xCE
    XATTR_INVALID_KEY_COMBO = 0xCF
    XATTR_UNKNOWN_MACRO = 0xD0
    XATTR_UNKNOWN_VATTR = 0xD1
    XATTR_CANT_MODIFY_VATTR = 0xD2
    MULTI_PATH_FAILURE_DELETED = 0xD3
    INVALID_XATTR_ORDER = 0xD4
    CAN_ONLY_REVIVE_DELETED = 0xD6
    DELETED_DOCUMENT_CANT_HAVE_VALUE = 0xD7


class Refused(Exception):
    """An operation ends with a status other than success.

    :param status: the status that the client is told.
    :param value: the body of the response, empty for most.
    """

    def __init__(self, status: Status, value: bytes = b"") -> None:
        super().__init__(status.name)
        self.status = status
        self.value = value


class Malformed(Exception):
    """The bytes of a connection are not the protocol; the connection is closed."""
