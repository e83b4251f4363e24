"""Scans of one vBucket: of a range of keys, or of a random sample. No I/O.

A scan sees what was stored when it was created. It belongs to its connection and ends with it.
Source: kv_engine ``docs/range_scans``.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from struct import Struct
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from txcouchbase.testing.kv.bucket import Bucket, vbucket_of
from txcouchbase.testing.kv.frames import DATATYPE_JSON, Opcode, Request, reply
from txcouchbase.testing.kv.manifest import leb128, split_leb128
from txcouchbase.testing.kv.sorted_keys import SortedKeys
from txcouchbase.testing.kv.status import Refused, Status

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "READS", "Scans", "described", "scanned_collection"]

FRAME_BYTES = 8 * 1024
"""A response holds about so much; what a client asks for at once may take several."""

MOST_BYTES = 1024 * 1024
"""What is sent at once to a client that sets no limit; it has to ask for more."""

MAX_KEY = 250

_CONTINUE = Struct(">16sIII")
_METADATA = Struct(">IIQQB")
_U32 = Struct(">I")

_BOUNDS = {"start": False, "excl_start": True, "end": False, "excl_end": True}
"""The bounds of a range by their names: whether the bound itself is left out."""


@dataclass(frozen=True)
class Requirements:
    """The snapshot that a scan needs.

    :param vb_uuid: the UUID that the vBucket must have.
    :param seqno: the sequence number that it must have reached.
    :param exists: whether the mutation of that number must be there.
    """

    vb_uuid: int
    seqno: int
    exists: bool


@dataclass(frozen=True)
class Wanted:
    """What a scan is to find: either `start` and `end` are set, or `samples` and `seed`.

    :param start: the least key, and whether it is left out itself.
    :param end: the greatest key, and whether it is left out itself.
    :param samples: about how many keys of the vBucket.
    """

    collection: int
    key_only: bool
    start: tuple[bytes, bool]
    end: tuple[bytes, bool]
    samples: int
    seed: int
    requirements: Requirements | None

    def choose(self, keys: list[bytes]) -> list[bytes]:
        """The keys that are wanted.

        :param keys: all keys of the collection in the vBucket, sorted.
        """
        if not self.samples:
            bound, left_out = self.start
            low = bisect_right(keys, bound) if left_out else bisect_left(keys, bound)
            bound, left_out = self.end
            return keys[low : bisect_left(keys, bound) if left_out else bisect_right(keys, bound)]
        if self.samples >= len(keys):
            return keys
        # As a server does: each key by itself, so that the size of the sample is not exact.
        share = self.samples / len(keys)
        random = Random(self.seed)
        return [key for key in keys if random.random() < share]


@dataclass
class Scan:
    """One scan that is not at its end.

    :param vb_uuid: that of the vBucket when it was created.
    :param found: keys and documents. Of a document: expiry, sequence number, datatype, and CAS,
        flags and value as `Document.tail` has them.
    """

    bucket: Bucket
    vbucket: int
    vb_uuid: int
    collection: int
    key_only: bool
    found: Iterator[tuple[bytes, int, int, int, bytes]]

    def next_item(self) -> bytes | None:
        """The next key or document as it is on the wire, None at the end."""
        item = next(self.found, None)
        if item is None:
            return None
        key, expiry, seqno, datatype, tail = item
        packed = leb128(len(key)) + key
        if self.key_only:
            return packed
        cas, flags = int.from_bytes(tail[:8], "big"), int.from_bytes(tail[8:12], "big")
        value = tail[12:]
        metadata = _METADATA.pack(flags, expiry, seqno, cas, datatype)
        return metadata + packed + leb128(len(value)) + value


class Scans:
    """The scans of one connection, by their UUIDs."""

    def __init__(self) -> None:
        self.open: dict[bytes, Scan] = {}
        self._keys: dict[int, SortedKeys] = {}
        self._bucket: Bucket | None = None

    def keys(self, bucket: Bucket, collection: int, vbucket: int) -> list[bytes]:
        """The keys of a collection in a vBucket, sorted. Some may be gone by now."""
        if self._bucket is not bucket:
            self._bucket, self._keys = bucket, {}
        known = self._keys.get(collection)
        if known is None:
            live = bucket.manifest.live
            self._keys = {number: keys for number, keys in self._keys.items() if number in live}
            known = self._keys[collection] = SortedKeys(bucket, collection)
        return known.within(vbucket)

    def find(self, bucket: Bucket, vbucket: int, uuid: bytes) -> Scan:
        """A scan by its UUID.

        :raises Refused: KEY_ENOENT; and for one that cannot go on, which ends by that,
            UNKNOWN_COLLECTION or RANGE_SCAN_CANCELLED.
        """
        scan = self.open.get(uuid)
        if scan is None or scan.bucket is not bucket or scan.vbucket != vbucket:
            raise Refused(Status.KEY_ENOENT)
        if scan.collection not in bucket.manifest.live:
            del self.open[uuid]
            raise Refused(Status.UNKNOWN_COLLECTION, bucket.manifest.unknown())
        if scan.vb_uuid != bucket.vbucket_uuids[vbucket]:
            # For example since the bucket was flushed.
            del self.open[uuid]
            raise Refused(Status.RANGE_SCAN_CANCELLED)
        return scan


def _asked(session: Session, request: Request, uuid: bytes) -> Scan:
    """The scan that a request goes on with, or ends.

    :raises Refused: as `Scans.find`, and NOT_MY_VBUCKET, which ends it.
    """
    try:
        bucket = session.require_active(request)
    except Refused:
        scan = session.scans.open.get(uuid)
        if scan is not None and scan.vbucket == request.vbucket:
            del session.scans.open[uuid]
        raise
    return session.scans.find(bucket, request.vbucket, uuid)


def _invalid(expected: bool) -> None:
    if not expected:
        raise Refused(Status.EINVAL)


def _whole(value: object, *, least: int = 0) -> int:
    """A whole number of JSON.

    :raises Refused: EINVAL.
    """
    if type(value) is not int or value < least:
        raise Refused(Status.EINVAL)
    return value


def _member(value: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    found = value.get(name, default)
    _invalid(isinstance(found, kind))
    return found


def _bound(bounds: dict[str, Any], name: str) -> tuple[bytes, bool]:
    names = [given for given in (name, f"excl_{name}") if given in bounds]
    _invalid(len(names) == 1)
    try:
        key = b64decode(_member(bounds, names[0], str), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Status.EINVAL) from None
    _invalid(len(key) <= MAX_KEY)
    return key, _BOUNDS[names[0]]


def _read_requirements(value: dict[str, Any]) -> Requirements:
    try:
        vb_uuid = int(_member(value, "vb_uuid", str))
    except ValueError:
        raise Refused(Status.EINVAL) from None
    exists = _member(value, "seqno_exists", bool, False)
    # The node stores at once: there is nothing to wait for.
    _whole(value.get("timeout_ms", 0))
    return Requirements(vb_uuid, _whole(value.get("seqno")), exists)


def _read(body: bytes) -> Wanted:
    """What the body of a request to create a scan asks for.

    :raises Refused: EINVAL.
    """
    try:
        value = json.loads(body)
        _invalid(isinstance(value, dict))
        collection = int(_member(value, "collection", str, "0"), 16)
    except (ValueError, RecursionError):
        raise Refused(Status.EINVAL) from None
    _invalid(("range" in value) != ("sampling" in value))
    start = end = (b"", False)
    samples = seed = 0
    if "range" in value:
        bounds = _member(value, "range", dict)
        start, end = _bound(bounds, "start"), _bound(bounds, "end")
    else:
        sampling = _member(value, "sampling", dict)
        samples, seed = _whole(sampling.get("samples"), least=1), _whole(sampling.get("seed", 0))
    requirements = None
    if "snapshot_requirements" in value:
        requirements = _read_requirements(_member(value, "snapshot_requirements", dict))
    key_only = _member(value, "key_only", bool, False)
    return Wanted(collection, key_only, start, end, samples, seed, requirements)


def _require(bucket: Bucket, vbucket: int, needed: Requirements) -> None:
    """Check that a vBucket is as a scan needs it.

    :raises Refused: RANGE_SCAN_VB_UUID_NOT_EQUAL, TMPFAIL for a mutation that is still to come,
        NOT_STORED for one that another has replaced.
    """
    uuid, seqno = bucket.token(vbucket)
    if needed.vb_uuid != uuid:
        raise Refused(Status.RANGE_SCAN_VB_UUID_NOT_EQUAL)
    if needed.seqno > seqno:
        raise Refused(Status.TMPFAIL)
    if needed.exists:
        for store in (bucket.documents, bucket.tombstones):
            for wire, document in store.items():
                if document.seqno == needed.seqno and _vbucket(wire, bucket) == vbucket:
                    return
        raise Refused(Status.NOT_STORED)


def _vbucket(wire: bytes, bucket: Bucket) -> int:
    return vbucket_of(wire[split_leb128(wire)[1] :], bucket.vbuckets)


def _create(session: Session, request: Request) -> bytes:
    _invalid(not request.extras and not request.key and request.datatype == DATATYPE_JSON)
    bucket = session.require_active(request)
    if bucket.settings.ephemeral:
        # Scans read what is on disk.
        raise Refused(Status.NOT_SUPPORTED)
    wanted = _read(request.value)
    if wanted.collection not in bucket.manifest.live:
        raise Refused(Status.UNKNOWN_COLLECTION, bucket.manifest.unknown())
    vbucket = request.vbucket
    if wanted.requirements is not None:
        _require(bucket, vbucket, wanted.requirements)
    keys = session.scans.keys(bucket, wanted.collection, vbucket)
    prefix = leb128(wanted.collection)
    found = []
    for key in wanted.choose(keys):
        document = bucket.find(prefix + key, request.now)
        if document is not None:
            found.append((key, document.expiry, document.seqno, document.datatype, document.tail))
    if not found and (not keys or not wanted.samples):
        raise Refused(Status.KEY_ENOENT)
    uuid = uuid4().bytes
    session.scans.open[uuid] = Scan(
        bucket,
        vbucket,
        bucket.vbucket_uuids[vbucket],
        wanted.collection,
        wanted.key_only,
        iter(found),
    )
    return reply(request, value=uuid)


def _continue(session: Session, request: Request) -> bytes:
    _invalid(len(request.extras) == _CONTINUE.size and not request.key and not request.value)
    # Whatever time there is, it is enough.
    uuid, most_items, _, most_bytes = _CONTINUE.unpack(request.extras)
    scan = _asked(session, request, uuid)
    extras = _U32.pack(0 if scan.key_only else 1)
    most_bytes = min(most_bytes or MOST_BYTES, MOST_BYTES)
    frames: list[bytes] = []
    items: list[bytes] = []
    count = size = framed = 0
    status = Status.RANGE_SCAN_COMPLETE
    while (item := scan.next_item()) is not None:
        items.append(item)
        count += 1
        size += len(item)
        framed += len(item)
        if count == most_items or size >= most_bytes:
            status = Status.RANGE_SCAN_MORE
            break
        if framed >= FRAME_BYTES:
            frames.append(reply(request, extras=extras, value=b"".join(items)))
            items, framed = [], 0
    if status == Status.RANGE_SCAN_COMPLETE:
        del session.scans.open[uuid]
    return b"".join([*frames, reply(request, status, extras=extras, value=b"".join(items))])


def _cancel(session: Session, request: Request) -> bytes:
    _invalid(len(request.extras) == 16 and not request.key and not request.value)
    _asked(session, request, request.extras)
    del session.scans.open[request.extras]
    return reply(request)


def scanned_collection(session: Session, request: Request) -> int | None:
    """The number of the collection that a request is about; None where that cannot be told."""
    if request.opcode == Opcode.RANGE_SCAN_CREATE:
        try:
            return _read(request.value).collection
        except Refused:
            return None
    scan = session.scans.open.get(request.extras[:16])
    return None if scan is None else scan.collection


def described(request: Request) -> dict[str, Any]:
    """The options of a request, by name, for those who watch.

    :raises Refused: it is not well formed.
    :raises struct.error: likewise.
    """
    options: dict[str, Any] = {"vbucket": request.vbucket}
    if request.opcode == Opcode.RANGE_SCAN_CREATE:
        _read(request.value)
        body = json.loads(request.value)
        options["key_only"] = body.get("key_only", False)
        for name, bound in body.get("range", {}).items():
            if name in _BOUNDS:
                options[name] = b64decode(bound).decode("utf-8", "replace")
        options |= body.get("sampling", {})
        options |= body.get("snapshot_requirements", {})
        return options
    if request.opcode == Opcode.RANGE_SCAN_CANCEL:
        return options | {"scan": request.extras.hex()}
    uuid, items, milliseconds, size = _CONTINUE.unpack(request.extras)
    return options | {
        "scan": uuid.hex(),
        "item_limit": items,
        "time_limit": milliseconds,
        "byte_limit": size,
    }


HANDLERS: dict[int, Handler] = {
    Opcode.RANGE_SCAN_CREATE: _create,
    Opcode.RANGE_SCAN_CONTINUE: _continue,
    Opcode.RANGE_SCAN_CANCEL: _cancel,
}

READS = frozenset(HANDLERS)
"""Operations that need the right to read."""
