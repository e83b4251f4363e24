"""Sub-document operations: lookups and mutations of parts of a document and its attributes.

Not like a server: numbers and white space of what a mutation leaves alone are written anew.
Source: kv_engine ``docs/SubDocument.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.kv.bucket import Bucket, Document
from txcouchbase.testing.kv.documents import mutated
from txcouchbase.testing.kv.frames import DATATYPE_JSON, Opcode, Request, reply
from txcouchbase.testing.kv.paths import LOOKUPS, MUTATIONS, dump, load_value, parse
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.kv.xattrs import expanded, virtual

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "READS", "described"]

MAX_SPECS = 16

CREATE_PATH, XATTR, EXPAND_MACROS = 0x01, 0x04, 0x10
"""Flags of a path."""

MAKE, ADD, ACCESS_DELETED, CREATE_AS_DELETED, REVIVE = 0x01, 0x02, 0x04, 0x08, 0x10
"""Flags of a document."""

_LOOKUP_SPEC = Struct(">BBH")
_MUTATION_SPEC = Struct(">BBHI")
_RESULT = Struct(">HI")
_U16 = Struct(">H")
_U32 = Struct(">I")

_WITH_RESULT = Opcode.SUBDOC_COUNTER


@dataclass
class Spec:
    """One operation on one path."""

    opcode: int
    flags: int
    path: bytes
    value: bytes = b""


class Parts:
    """The parsed body and attributes of a document, as one request sees and changes them."""

    def __init__(self, bucket: Bucket, document: Document | None, request: Request) -> None:
        self._bucket = bucket
        self._document = document
        self._request = request
        self._body: Any = None
        self._parsed = False
        self.raw = document.value if document is not None else b""
        self.xattrs: dict[str, Any] = (
            json.loads(document.xattrs) if document is not None and document.xattrs else {}
        )

    def body(self, empty: Any = None) -> Any:
        """The parsed body.

        :param empty: what a document that is only being created is.
        :raises Refused: DOC_NOTJSON, DOC_E2DEEP.
        """
        if not self._parsed:
            if not self.raw and (self._document is None or self._document.deleted):
                self._body = empty
            else:
                try:
                    self._body = json.loads(self.raw)
                except ValueError:
                    raise Refused(Status.DOC_NOTJSON) from None
                except RecursionError:
                    raise Refused(Status.DOC_E2DEEP) from None
            self._parsed = True
        return self._body

    def replace_body(self, raw: bytes) -> None:
        """Put another body in its place."""
        self.raw = raw
        self._parsed = False

    def written(self) -> bytes:
        """The body as bytes."""
        return dump(self._body) if self._parsed else self.raw

    def attributes(self, path: list[str | int]) -> dict[str, Any]:
        """The attributes that a lookup sees, with the virtual one that it names."""
        name = path[0] if path else ""
        if isinstance(name, str) and name.startswith("$") and self._document is not None:
            request = self._request
            value = virtual(name, self._bucket, self._document, request.vbucket, request.now)
            if value is None:
                raise Refused(Status.XATTR_UNKNOWN_VATTR)
            return {name: value}
        return self.xattrs


# Lookups.


def _look(parts: Parts, spec: Spec) -> bytes:
    if spec.opcode == Opcode.GET:
        if spec.path or spec.flags & XATTR:
            raise Refused(Status.EINVAL)
        return parts.raw
    path = parse(spec.path)
    if spec.flags & XATTR:
        if not path:
            raise Refused(Status.XATTR_EINVAL)
        return LOOKUPS[spec.opcode](parts.attributes(path), path)
    return LOOKUPS[spec.opcode](parts.body(), path)


def _readable(session: Session, request: Request, flags: int) -> tuple[Bucket, Document]:
    bucket = session.require_bucket(request)
    document = bucket.find(request.key, request.now)
    if document is None and flags & ACCESS_DELETED:
        document = bucket.tombstones.get(request.key)
    if document is None:
        raise Refused(Status.KEY_ENOENT)
    return bucket, document


def _lookup_specs(value: bytes) -> Iterator[Spec]:
    at = 0
    while at < len(value):
        if at + 4 > len(value):
            raise Refused(Status.EINVAL)
        opcode, flags, length = _LOOKUP_SPEC.unpack_from(value, at)
        at += 4
        if at + length > len(value) or (opcode not in LOOKUPS and opcode != Opcode.GET):
            raise Refused(Status.INVALID_COMBO)
        yield Spec(opcode, flags, value[at : at + length])
        at += length


def _checked(specs: Iterator[Spec]) -> list[Spec]:
    found = list(specs)
    if not 0 < len(found) <= MAX_SPECS:
        raise Refused(Status.INVALID_COMBO)
    body_seen = False
    for spec in found:
        if not spec.flags & XATTR:
            body_seen = True
        elif body_seen:
            raise Refused(Status.INVALID_XATTR_ORDER)
    return found


def _multi_lookup(session: Session, request: Request) -> bytes:
    if len(request.extras) > 1:
        raise Refused(Status.EINVAL)
    flags = request.extras[0] if request.extras else 0
    specs = _checked(_lookup_specs(request.value))
    bucket, document = _readable(session, request, flags)
    parts = Parts(bucket, document, request)
    results = []
    failed = False
    for spec in specs:
        try:
            status, value = Status.SUCCESS, _look(parts, spec)
        except Refused as refused:
            failed = True
            status, value = refused.status, b""
        results.append(_RESULT.pack(status, len(value)) + value)
    if document.deleted:
        status = Status.MULTI_PATH_FAILURE_DELETED if failed else Status.SUCCESS_DELETED
    else:
        status = Status.MULTI_PATH_FAILURE if failed else Status.SUCCESS
    return reply(request, status, value=b"".join(results), cas=document.visible_cas(request.now))


def _single_lookup(session: Session, request: Request) -> bytes:
    spec, _, flags = _single(request, 0)
    bucket, document = _readable(session, request, flags)
    value = _look(Parts(bucket, document, request), spec)
    status = Status.SUCCESS_DELETED if document.deleted else Status.SUCCESS
    return reply(request, status, value=value, cas=document.visible_cas(request.now))


def _single(request: Request, expiry_length: int) -> tuple[Spec, int | None, int]:
    """The spec, expiry and document flags of a request with one path."""
    extras = request.extras
    if len(extras) not in (3, 4, 3 + expiry_length, 4 + expiry_length):
        raise Refused(Status.EINVAL)
    (length,) = _U16.unpack_from(extras)
    if length > len(request.value):
        raise Refused(Status.EINVAL)
    with_expiry = expiry_length and len(extras) >= 3 + expiry_length
    expiry = _U32.unpack_from(extras, 3)[0] if with_expiry else None
    flags = extras[-1] if len(extras) in (4, 4 + expiry_length) else 0
    path, value = request.value[:length], request.value[length:]
    return Spec(request.opcode, extras[2], path, value), expiry, flags


# Mutations.


class Mutation:
    """One request that changes a document, all of its specs or none.

    Attributes:
        bucket: The bucket of the document.
    """

    def __init__(self, session: Session, request: Request, expiry: int | None, flags: int) -> None:
        self._request = request
        self._expiry = expiry
        self._flags = flags
        self.bucket = bucket = session.require_writable(request)
        self._preserve = request.mutation_frames()
        self._removed = False
        self._document = self._writable(bucket)
        self._parts = Parts(bucket, self._document, request)
        self._cas = bucket.next_cas(request.now)

    def _writable(self, bucket: Bucket) -> Document | None:
        request, flags = self._request, self._flags
        if flags & MAKE and flags & ADD:
            raise Refused(Status.EINVAL)
        document = bucket.writable(request.key, 0 if flags & ADD else request.cas, request.now)
        if document is not None:
            if flags & ADD:
                raise Refused(Status.KEY_EEXISTS)
            return document
        if flags & ACCESS_DELETED and request.key in bucket.tombstones:
            return bucket.tombstones[request.key]
        if not flags & (MAKE | ADD):
            raise Refused(Status.KEY_ENOENT)
        return None

    def apply(self, spec: Spec) -> bytes:
        """Apply one spec to the parts.

        :raises Refused: with the status of this path.
        """
        if spec.opcode in (Opcode.SET, Opcode.DELETE):
            return self._apply_to_whole(spec)
        path = parse(spec.path)
        change = MUTATIONS[spec.opcode]
        create = bool(spec.flags & CREATE_PATH)
        value = self._expanded(spec)
        if spec.flags & XATTR:
            if not path or not isinstance(path[0], str) or len(path[0]) > 16:
                raise Refused(Status.XATTR_EINVAL)
            if path[0].startswith("$"):
                raise Refused(Status.XATTR_CANT_MODIFY_VATTR)
            if len(path) > 1 and create and path[0] not in self._parts.xattrs:
                self._parts.xattrs[path[0]] = {}
            return change(self._parts.xattrs, path, value, create)
        # An array at the root is only made by what adds elements to the root.
        return change(self._parts.body([] if not path else {}), path, value, create)

    def _apply_to_whole(self, spec: Spec) -> bytes:
        if spec.path or spec.flags & XATTR:
            raise Refused(Status.EINVAL)
        if spec.opcode == Opcode.DELETE:
            self._removed = True
            self._parts.replace_body(b"")
        else:
            self._parts.replace_body(spec.value)
        return b""

    def _expanded(self, spec: Spec) -> bytes:
        if not spec.flags & EXPAND_MACROS:
            return spec.value
        if not spec.flags & XATTR:
            raise Refused(Status.XATTR_INVALID_FLAG_COMBO)
        seqno = self.bucket.seqnos[self._request.vbucket] + 1
        body = self._parts.written()
        value = expanded(load_value(spec.value), self._cas, seqno, body)
        if value is None:
            raise Refused(Status.XATTR_UNKNOWN_MACRO)
        return dump(value)

    def store(self) -> Document:
        """Write what the specs have made of the document."""
        request, document, parts = self._request, self._document, self._parts
        if self._expiry is None or (self._preserve and document is not None):
            expiry = document.expiry if document is not None else 0
        else:
            expiry = self.bucket.absolute_expiry(self._expiry, request.now)
        deleted = self._removed or bool(
            self._flags & CREATE_AS_DELETED
            or (document is not None and document.deleted and not self._flags & REVIVE)
        )
        if document is None and not deleted and not parts.raw:
            parts.body({})
        raw = b"" if self._removed else parts.written()
        if document is not None and not deleted:
            self.bucket.tombstones.pop(request.key, None)
        return self.bucket.store(
            request.key,
            request.vbucket,
            document,
            raw,
            document.flags if document is not None else 0,
            request.now,
            expiry=0 if deleted else expiry,
            datatype=DATATYPE_JSON if _is_json(raw) else 0,
            xattrs=dump(parts.xattrs).decode() if parts.xattrs else "",
            deleted=deleted,
            cas=self._cas,
        )


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _mutation_specs(value: bytes) -> Iterator[Spec]:
    at = 0
    while at < len(value):
        if at + 8 > len(value):
            raise Refused(Status.EINVAL)
        opcode, flags, path_length, length = _MUTATION_SPEC.unpack_from(value, at)
        at += 8
        stop = at + path_length + length
        if stop > len(value):
            raise Refused(Status.EINVAL)
        if opcode not in MUTATIONS and opcode not in (Opcode.SET, Opcode.DELETE):
            raise Refused(Status.INVALID_COMBO)
        yield Spec(opcode, flags, value[at : at + path_length], value[at + path_length : stop])
        at = stop


def _mutation_extras(extras: bytes) -> tuple[int | None, int]:
    """The expiry and the document flags of a request with several paths."""
    if len(extras) not in (0, 1, 4, 5):
        raise Refused(Status.EINVAL)
    expiry = _U32.unpack_from(extras)[0] if len(extras) >= 4 else None
    return expiry, extras[-1] if len(extras) in (1, 5) else 0


def _multi_mutation(session: Session, request: Request) -> bytes:
    expiry, flags = _mutation_extras(request.extras)
    specs = _checked(_mutation_specs(request.value))
    mutation = Mutation(session, request, expiry, flags)
    results = []
    for index, spec in enumerate(specs):
        try:
            value = mutation.apply(spec)
        except Refused as refused:
            failure = bytes([index]) + _U16.pack(refused.status)
            return reply(request, Status.MULTI_PATH_FAILURE, value=failure)
        if spec.opcode == _WITH_RESULT:
            results.append(bytes([index]) + _RESULT.pack(Status.SUCCESS, len(value)) + value)
    return _stored(session, request, mutation, b"".join(results))


def _single_mutation(session: Session, request: Request) -> bytes:
    spec, expiry, flags = _single(request, 4)
    mutation = Mutation(session, request, expiry, flags)
    return _stored(session, request, mutation, mutation.apply(spec))


def _stored(session: Session, request: Request, mutation: Mutation, value: bytes) -> bytes:
    document = mutation.store()
    status = Status.SUCCESS_DELETED if document.deleted else Status.SUCCESS
    return mutated(session, request, mutation.bucket, document, value, status)


def described(request: Request) -> dict[str, Any]:
    """The options of a request by name: its paths, the expiry (seconds) and the flags.

    :raises Refused: for a request that is not well formed.
    """
    expiry: int | None = None
    if request.opcode == Opcode.SUBDOC_MULTI_LOOKUP:
        specs = list(_lookup_specs(request.value))
        flags = request.extras[0] if request.extras else 0
    elif request.opcode == Opcode.SUBDOC_MULTI_MUTATION:
        specs = list(_mutation_specs(request.value))
        expiry, flags = _mutation_extras(request.extras)
    else:
        spec, expiry, flags = _single(request, 0 if request.opcode in LOOKUPS else 4)
        specs = [spec]
    options: dict[str, Any] = {
        "specs": [
            {
                "operation": Opcode(spec.opcode).name,
                "flags": spec.flags,
                "path": spec.path.decode("utf-8", "replace"),
                "value": spec.value,
            }
            for spec in specs
        ],
        "document_flags": flags,
    }
    if expiry is not None:
        options["expiry"] = expiry
    return options


HANDLERS: dict[int, Handler] = {
    **dict.fromkeys(LOOKUPS, _single_lookup),
    **dict.fromkeys(MUTATIONS, _single_mutation),
    Opcode.SUBDOC_MULTI_LOOKUP: _multi_lookup,
    Opcode.SUBDOC_MULTI_MUTATION: _multi_mutation,
}

READS = frozenset({*LOOKUPS, Opcode.SUBDOC_MULTI_LOOKUP})
"""Operations that need the right to read."""
