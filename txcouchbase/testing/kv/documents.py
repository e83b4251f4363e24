"""Whole-document operations: what each request means for the bucket.

A handler takes the session and the request, and returns the response. A failure is a `Refused`.
Source: kv_engine ``docs/BinaryProtocol.md``.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from txcouchbase.testing.kv.bucket import Bucket, Document
from txcouchbase.testing.kv.frames import NO_EXPIRY_CHANGE, Opcode, Request, reply
from txcouchbase.testing.kv.status import Refused, Status

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "READING_WRITES", "READS"]

_STORE_EXTRAS = Struct(">II")
_COUNTER_EXTRAS = Struct(">QQI")
_META = Struct(">IIIQB")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_TOKEN = Struct(">QQ")

_COUNTER_VALUE = re.compile(rb"[0-9]{1,20}\s*\Z")
_WRAP = 1 << 64


def mutated(
    session: Session,
    request: Request,
    bucket: Bucket,
    document: Document,
    value: bytes = b"",
    status: int = 0,
) -> bytes:
    """The response to a mutation: the new CAS, and the mutation token if it was asked for."""
    extras = _TOKEN.pack(*bucket.token(request.vbucket)) if session.mutation_tokens else b""
    return reply(request, status, extras=extras, value=value, cas=document.cas)


def _bare(request: Request, extras: int, *, key: bool = True, value: bool = False) -> None:
    """Check the shape of a request: length of extras, whether it has key and value."""
    if len(request.extras) != extras or bool(request.key) != key or (request.value and not value):
        raise Refused(Status.EINVAL)


def _get(session: Session, request: Request) -> bytes:
    _bare(request, 0)
    bucket = session.require_bucket(request)
    return _found(bucket, request, bucket.get(request.key, request.now))


def _found(bucket: Bucket, request: Request, document: Document, cas: int | None = None) -> bytes:
    return reply(
        request,
        extras=document.tail[8:12],
        value=document.tail[12:],
        cas=document.visible_cas(request.now) if cas is None else cas,
        datatype=document.datatype,
    )


def _get_replica(session: Session, request: Request) -> bytes:
    _bare(request, 0)
    bucket = session.require_bucket(request, replica=True)
    document = bucket.get(request.key, request.now)
    # Replicas know of no locks.
    return _found(bucket, request, document, document.cas)


def _set(session: Session, request: Request) -> bytes:
    bucket = session.require_writable(request)
    if len(request.extras) != 8:
        raise Refused(Status.EINVAL)
    flags, expiry = _STORE_EXTRAS.unpack(request.extras)
    document = bucket.writable(request.key, request.cas, request.now)
    return _write(session, request, bucket, document, flags, expiry)


def _add(session: Session, request: Request) -> bytes:
    bucket = session.require_writable(request)
    if len(request.extras) != 8 or request.cas:
        raise Refused(Status.EINVAL)
    flags, expiry = _STORE_EXTRAS.unpack(request.extras)
    if bucket.find(request.key, request.now) is not None:
        raise Refused(Status.KEY_EEXISTS)
    return _write(session, request, bucket, None, flags, expiry)


def _replace(session: Session, request: Request) -> bytes:
    bucket = session.require_writable(request)
    if len(request.extras) != 8:
        raise Refused(Status.EINVAL)
    flags, expiry = _STORE_EXTRAS.unpack(request.extras)
    document = bucket.writable(request.key, request.cas, request.now)
    if document is None:
        raise Refused(Status.KEY_ENOENT)
    return _write(session, request, bucket, document, flags, expiry)


def _write(
    session: Session,
    request: Request,
    bucket: Bucket,
    document: Document | None,
    flags: int,
    expiry: int,
) -> bytes:
    preserve = request.frames and request.mutation_frames()
    if preserve and document is not None:
        expiry = document.expiry
    elif expiry:
        expiry = bucket.absolute_expiry(expiry, request.now)
    document = bucket.store(
        request.key,
        request.vbucket,
        document,
        request.value,
        flags,
        request.now,
        expiry=expiry,
        datatype=request.datatype,
    )
    return mutated(session, request, bucket, document)


def _delete(session: Session, request: Request) -> bytes:
    _bare(request, 0)
    bucket = session.require_writable(request)
    request.mutation_frames()
    document = bucket.writable(request.key, request.cas, request.now)
    if document is None:
        raise Refused(Status.KEY_ENOENT)
    bucket.delete(request.key, document, request.vbucket, request.now)
    return mutated(session, request, bucket, document)


def _concatenate(session: Session, request: Request) -> bytes:
    _bare(request, 0, value=True)
    bucket = session.require_writable(request)
    request.mutation_frames()
    document = bucket.writable(request.key, request.cas, request.now)
    if document is None:
        raise Refused(Status.NOT_STORED)
    old = document.value
    value = old + request.value if request.opcode == Opcode.APPEND else request.value + old
    document = bucket.store(
        request.key,
        request.vbucket,
        document,
        value,
        document.flags,
        request.now,
        expiry=document.expiry,
    )
    return mutated(session, request, bucket, document)


def _count(session: Session, request: Request) -> bytes:
    _bare(request, 20)
    bucket = session.require_writable(request)
    request.mutation_frames()
    delta, initial, expiry = _COUNTER_EXTRAS.unpack(request.extras)
    document = bucket.writable(request.key, request.cas, request.now)
    if document is None:
        if expiry == NO_EXPIRY_CHANGE:
            raise Refused(Status.KEY_ENOENT)
        number, flags = initial, 0
        expiry = bucket.absolute_expiry(expiry, request.now)
    else:
        if not _COUNTER_VALUE.match(document.value):
            raise Refused(Status.DELTA_BADVAL)
        number = int(document.value)
        if number >= _WRAP:
            raise Refused(Status.DELTA_BADVAL)
        # Counting up wraps at 64 bits, counting down stops at zero.
        if request.opcode == Opcode.INCREMENT:
            number = (number + delta) % _WRAP
        else:
            number = max(number - delta, 0)
        flags, expiry = document.flags, document.expiry
    document = bucket.store(
        request.key,
        request.vbucket,
        document,
        b"%d" % number,
        flags,
        request.now,
        expiry=expiry,
        datatype=1,
    )
    return mutated(session, request, bucket, document, _U64.pack(number))


def _touch(session: Session, request: Request) -> bytes:
    _bare(request, 4)
    bucket = session.require_bucket(request)
    request.mutation_frames()
    now = request.now
    document = bucket.get(request.key, now)
    if document.locked(now):
        raise Refused(Status.LOCKED)
    expiry = bucket.absolute_expiry(_U32.unpack(request.extras)[0], now)
    expiry = bucket.limited(request.key, expiry, now)
    if expiry != document.expiry:
        bucket.change(document, request.vbucket, expiry, now)
    if request.opcode == Opcode.TOUCH:
        return reply(request, cas=document.cas)
    return _found(bucket, request, document)


def _get_locked(session: Session, request: Request) -> bytes:
    _bare(request, 4 if request.extras else 0)
    bucket = session.require_bucket(request)
    document = bucket.get(request.key, request.now)
    seconds = _U32.unpack(request.extras)[0] if request.extras else 0
    bucket.lock(document, seconds, request.now)
    return _found(bucket, request, document, document.cas)


def _unlock(session: Session, request: Request) -> bytes:
    _bare(request, 0)
    bucket = session.require_bucket(request)
    if not request.cas:
        raise Refused(Status.EINVAL)
    bucket.unlock(bucket.get(request.key, request.now), request.cas, request.now)
    return reply(request)


def _get_meta(session: Session, request: Request) -> bytes:
    if len(request.extras) > 1 or request.value:
        raise Refused(Status.EINVAL)
    bucket = session.require_bucket(request)
    document = bucket.find(request.key, request.now) or bucket.tombstones.get(request.key)
    if document is None:
        raise Refused(Status.KEY_ENOENT)
    # Version 2 of the request wants the datatype too.
    extras = _META.pack(
        document.deleted, document.flags, document.expiry, document.revision, document.datatype
    )
    if request.extras != b"\x02":
        extras = extras[:-1]
    return reply(request, extras=extras, cas=document.visible_cas(request.now))


HANDLERS: dict[int, Handler] = {
    Opcode.GET: _get,
    Opcode.GET_REPLICA: _get_replica,
    Opcode.SET: _set,
    Opcode.ADD: _add,
    Opcode.REPLACE: _replace,
    Opcode.DELETE: _delete,
    Opcode.INCREMENT: _count,
    Opcode.DECREMENT: _count,
    Opcode.APPEND: _concatenate,
    Opcode.PREPEND: _concatenate,
    Opcode.TOUCH: _touch,
    Opcode.GET_AND_TOUCH: _touch,
    Opcode.GET_LOCKED: _get_locked,
    Opcode.UNLOCK: _unlock,
    Opcode.GET_META: _get_meta,
}

READING_WRITES = frozenset({Opcode.GET_AND_TOUCH, Opcode.GET_LOCKED})
"""Operations that need the right to read and the right to write."""

READS = READING_WRITES | {Opcode.GET, Opcode.GET_REPLICA, Opcode.GET_META}
"""Operations that need the right to read."""
