"""Requests and responses of the binary protocol, as bytes.

A frame is a header of 24 bytes, then framing extras, extras, key and value. Classic requests
have magic 0x80 and a key length of two bytes; requests with framing extras have magic 0x08 and
one byte for each of the two lengths. Source: kv_engine ``docs/BinaryProtocol.md``.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from txcouchbase.testing.kv.status import Malformed, Refused, Status

__all__ = [
    "DATATYPE_JSON",
    "HEADER",
    "MAX_BODY",
    "Feature",
    "Opcode",
    "Request",
    "durability_of",
    "reply",
]

HEADER = Struct(">BBHBBHIIQ")
"""Magic, opcode, key length, extras length, datatype, vBucket or status, body, opaque, CAS."""

MAX_BODY = 30 * 1024 * 1024
"""Bytes of the longest body that is read at all; a longer one closes the connection."""

DATATYPE_JSON = 0x01

REQUEST = 0x80
ALT_REQUEST = 0x08
RESPONSE = 0x81

FRAME_DURABILITY = 1
FRAME_OPEN_TRACING = 3
FRAME_IMPERSONATE = 4
FRAME_PRESERVE_EXPIRY = 5

NO_EXPIRY_CHANGE = 0xFFFFFFFF


class Opcode(IntEnum):
    """What a request asks for."""

    GET = 0x00
    SET = 0x01
    ADD = 0x02
    REPLACE = 0x03
    DELETE = 0x04
    INCREMENT = 0x05
    DECREMENT = 0x06
    QUIT = 0x07
    NOOP = 0x0A
    VERSION = 0x0B
    APPEND = 0x0E
    PREPEND = 0x0F
    TOUCH = 0x1C
    GET_AND_TOUCH = 0x1D
    HELLO = 0x1F
    SASL_LIST_MECHS = 0x20
    SASL_AUTH = 0x21
    SASL_STEP = 0x22
    GET_REPLICA = 0x83
    SELECT_BUCKET = 0x89
    OBSERVE_SEQNO = 0x91
    GET_LOCKED = 0x94
    UNLOCK = 0x95
    GET_META = 0xA0
    GET_CLUSTER_CONFIG = 0xB5
    GET_MANIFEST = 0xBA
    GET_COLLECTION_ID = 0xBB
    GET_SCOPE_ID = 0xBC
    SUBDOC_GET = 0xC5
    SUBDOC_EXISTS = 0xC6
    SUBDOC_DICT_ADD = 0xC7
    SUBDOC_DICT_UPSERT = 0xC8
    SUBDOC_DELETE = 0xC9
    SUBDOC_REPLACE = 0xCA
    SUBDOC_ARRAY_PUSH_LAST = 0xCB
    SUBDOC_ARRAY_PUSH_FIRST = 0xCC
    SUBDOC_ARRAY_INSERT = 0xCD
    SUBDOC_ARRAY_ADD_UNIQUE = 0xCE
    SUBDOC_COUNTER = 0xCF
    SUBDOC_MULTI_LOOKUP = 0xD0
    SUBDOC_MULTI_MUTATION = 0xD1
    SUBDOC_GET_COUNT = 0xD2
    SUBDOC_REPLACE_BODY_WITH_XATTR = 0xD3
    RANGE_SCAN_CREATE = 0xDA
    RANGE_SCAN_CONTINUE = 0xDB
    RANGE_SCAN_CANCEL = 0xDC
    GET_ERROR_MAP = 0xFE


class Feature(IntEnum):
    """What HELLO negotiates. Only what this node does is here, so only that is granted."""

    TCP_NODELAY = 0x03
    MUTATION_SEQNO = 0x04
    XATTR = 0x06
    XERROR = 0x07
    SELECT_BUCKET = 0x08
    JSON = 0x0B
    ALT_REQUEST = 0x10
    SYNC_REPLICATION = 0x11
    COLLECTIONS = 0x12
    PRESERVE_TTL = 0x14
    VATTR = 0x15
    CREATE_AS_DELETED = 0x17
    DOCUMENT_MACROS = 0x18
    SUBDOC_REPLICA_READ = 0x1C
    MULTIPLE_XATTR_KEYS = 0x20
    BINARY_XATTR = 0x21


class Request:
    """One request, taken apart.

    :param data: bytes that hold the frame.
    :param at: where its header starts.
    :param now: the node's clock, in seconds since the epoch.
    :raises Malformed: where the lengths of the header contradict each other.
    """

    __slots__ = (
        "cas",
        "datatype",
        "extras",
        "frames",
        "key",
        "now",
        "opaque",
        "opcode",
        "value",
        "vbucket",
    )

    def __init__(self, data: bytes, at: int, now: float) -> None:
        (
            magic,
            self.opcode,
            key_length,
            extras_length,
            self.datatype,
            self.vbucket,
            body,
            self.opaque,
            self.cas,
        ) = HEADER.unpack_from(data, at)
        start = at + 24
        stop = start + body
        self.frames = b""
        if magic != REQUEST:
            if magic != ALT_REQUEST:
                raise Malformed(f"a request cannot start with magic 0x{magic:02x}")
            frames_length, key_length = key_length >> 8, key_length & 0xFF
            self.frames = data[start : start + frames_length]
            start += frames_length
        key_at = start + extras_length
        value_at = key_at + key_length
        if value_at > stop:
            raise Malformed(
                f"extras and key of opcode 0x{self.opcode:02x} are longer than its body of {body}"
            )
        self.extras = data[start:key_at]
        self.key = data[key_at:value_at]
        self.value = data[value_at:stop]
        self.now = now

    def frame_infos(self) -> dict[int, bytes]:
        """The framing extras, by their id; the last one of each, since clients that send a write
        again may add one more.

        :raises Refused: EINVAL where they do not add up.
        """
        infos: dict[int, bytes] = {}
        frames, at = self.frames, 0
        while at < len(frames):
            kind, length = frames[at] >> 4, frames[at] & 0x0F
            at += 1
            # 15 in either half means that a further byte holds the rest.
            if kind == 15:
                if at == len(frames):
                    raise Refused(Status.EINVAL)
                kind += frames[at]
                at += 1
            if length == 15:
                if at == len(frames):
                    raise Refused(Status.EINVAL)
                length += frames[at]
                at += 1
            if at + length > len(frames):
                raise Refused(Status.EINVAL)
            infos[kind] = frames[at : at + length]
            at += length
        return infos

    def mutation_frames(self) -> bool:
        """Check the framing extras of a mutation.

        :returns: whether the document's expiry must be kept.
        :raises Refused: for a durability level that does not exist, or an unknown frame.
        """
        if not self.frames:
            return False
        infos = self.frame_infos()
        durability_of(infos)
        for kind in infos:
            if kind not in (
                FRAME_DURABILITY,
                FRAME_OPEN_TRACING,
                FRAME_IMPERSONATE,
                FRAME_PRESERVE_EXPIRY,
            ):
                raise Refused(Status.UNKNOWN_FRAME_INFO)
        preserve = infos.get(FRAME_PRESERVE_EXPIRY)
        if preserve:
            raise Refused(Status.EINVAL)
        return preserve is not None


def durability_of(infos: dict[int, bytes]) -> int:
    """The durability level that framing extras ask for.

    :returns: 0 none, 1 majority, 2 majority and persist on the active, 3 persist to majority.
    :raises Refused: EINVAL or DURABILITY_INVALID_LEVEL.
    """
    info = infos.get(FRAME_DURABILITY)
    if info is None:
        return 0
    if len(info) not in (1, 3):
        raise Refused(Status.EINVAL)
    if not 1 <= info[0] <= 3:
        raise Refused(Status.DURABILITY_INVALID_LEVEL)
    return info[0]


def reply(
    request: Request,
    status: int = 0,
    *,
    extras: bytes = b"",
    value: bytes = b"",
    cas: int = 0,
    datatype: int = 0,
) -> bytes:
    """The response to a request, ready for the transport."""
    header = HEADER.pack(
        RESPONSE,
        request.opcode,
        0,
        len(extras),
        datatype,
        status,
        len(extras) + len(value),
        request.opaque,
        cas,
    )
    return header + extras + value if extras or value else header
