"""Sub-document operations: lookups and mutations of parts of a document and its attributes.

Not like a server: numbers and white space of what a mutation leaves alone are written anew.
Source: kv_engine ``docs/SubDocument.md``.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.kv.bucket import Bucket, Document
from txcouchbase.testing.kv.documents import mutated
from txcouchbase.testing.kv.frames import DATATYPE_JSON, Opcode, Request, reply
from txcouchbase.testing.kv.paths import LOOKUPS, MUTATIONS, Path, dump, load_value, parse
from txcouchbase.testing.kv.specs import (
    ACCESS_DELETED,
    ADD,
    BINARY,
    CREATE_AS_DELETED,
    CREATE_PATH,
    EXPAND_MACROS,
    MAKE,
    REPLICA_READ,
    REVIVE,
    XATTR,
    Changes,
    Spec,
    checked,
    lookup_specs,
    mutation_extras,
    mutation_specs,
    single,
)
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.kv.xattrs import as_binary, as_json, expanded, virtual

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "READS"]

_RESULT = Struct(">HI")
_U16 = Struct(">H")

_WITH_RESULT = Opcode.SUBDOC_COUNTER


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
        value = LOOKUPS[spec.opcode](parts.attributes(path), path)
        return as_binary(value) if spec.flags & BINARY else value
    return LOOKUPS[spec.opcode](parts.body(), path)


def _readable(session: Session, request: Request, flags: int) -> tuple[Bucket, Document]:
    bucket = session.require_bucket(request, replica=bool(flags & REPLICA_READ))
    document = bucket.find(request.key, request.now)
    if document is None and flags & ACCESS_DELETED:
        document = bucket.tombstones.get(request.key)
    if document is None:
        raise Refused(Status.KEY_ENOENT)
    return bucket, document


def _multi_lookup(session: Session, request: Request) -> bytes:
    if len(request.extras) > 1:
        raise Refused(Status.EINVAL)
    flags = request.extras[0] if request.extras else 0
    specs = checked(lookup_specs(request.value))
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
    spec, changes = single(request, 0)
    bucket, document = _readable(session, request, changes.flags)
    value = _look(Parts(bucket, document, request), spec)
    status = Status.SUCCESS_DELETED if document.deleted else Status.SUCCESS
    return reply(request, status, value=value, cas=document.visible_cas(request.now))


# Mutations.


class Mutation:
    """One request that changes a document, all of its specs or none.

    Attributes:
        bucket: The bucket of the document.
    """

    def __init__(self, session: Session, request: Request, changes: Changes) -> None:
        self._request = request
        self._changes = changes
        self.bucket = bucket = session.require_writable(request)
        self._preserve = request.mutation_frames()
        self._removed = False
        self._document = self._writable(bucket)
        self._parts = Parts(bucket, self._document, request)
        self._cas = bucket.next_cas(request.now)

    def _writable(self, bucket: Bucket) -> Document | None:
        request, flags = self._request, self._changes.flags
        if flags & MAKE and flags & ADD:
            raise Refused(Status.EINVAL)
        document = bucket.find(request.key, request.now)
        if document is None and flags & ACCESS_DELETED:
            document = bucket.tombstones.get(request.key)
        if document is not None and flags & ADD:
            raise Refused(Status.KEY_EEXISTS)
        if document is not None and document.deleted:
            if request.cas and request.cas != document.cas:
                raise Refused(Status.KEY_EEXISTS)
            return document
        document = bucket.writable(request.key, request.cas, request.now)
        if document is None and not flags & (MAKE | ADD):
            raise Refused(Status.KEY_ENOENT)
        if flags & REVIVE:
            raise Refused(Status.CAN_ONLY_REVIVE_DELETED)
        return document

    def apply(self, spec: Spec) -> bytes:
        """Apply one spec to the parts.

        :raises Refused: with the status of this path.
        """
        if spec.opcode in (Opcode.SET, Opcode.DELETE):
            return self._apply_to_whole(spec)
        path = parse(spec.path)
        if spec.opcode == Opcode.SUBDOC_REPLACE_BODY_WITH_XATTR:
            return self._replace_body(spec, path)
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

    def _replace_body(self, spec: Spec, path: Path) -> bytes:
        if not spec.flags & XATTR or not path:
            raise Refused(Status.XATTR_INVALID_FLAG_COMBO)
        value = LOOKUPS[Opcode.SUBDOC_GET](self._parts.xattrs, path)
        self._parts.replace_body(as_binary(value) if spec.flags & BINARY else value)
        return b""

    def _expanded(self, spec: Spec) -> bytes:
        if spec.flags & BINARY:
            if not spec.flags & XATTR or spec.flags & EXPAND_MACROS:
                raise Refused(Status.XATTR_INVALID_FLAG_COMBO)
            return as_json(spec.value)
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
        changes = self._changes
        if changes.expiry is None or (self._preserve and document is not None):
            expiry = document.expiry if document is not None else 0
        else:
            expiry = self.bucket.absolute_expiry(changes.expiry, request.now)
        if document is None:
            deleted = bool(changes.flags & CREATE_AS_DELETED)
        else:
            deleted = document.deleted and not changes.flags & REVIVE
        deleted = deleted or self._removed
        if document is None and not deleted and not parts.raw:
            parts.body({})
        raw = b"" if self._removed else parts.written()
        if deleted and raw:
            raise Refused(Status.DELETED_DOCUMENT_CANT_HAVE_VALUE)
        if document is not None and not deleted:
            self.bucket.tombstones.pop(request.key, None)
        flags = changes.user_flags
        if flags is None:
            flags = document.flags if document is not None else 0
        return self.bucket.store(
            request.key,
            request.vbucket,
            document,
            raw,
            flags,
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


def _multi_mutation(session: Session, request: Request) -> bytes:
    changes = mutation_extras(request.extras)
    specs = checked(mutation_specs(request.value))
    mutation = Mutation(session, request, changes)
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
    spec, changes = single(request, 4)
    mutation = Mutation(session, request, changes)
    return _stored(session, request, mutation, mutation.apply(spec))


def _stored(session: Session, request: Request, mutation: Mutation, value: bytes) -> bytes:
    document = mutation.store()
    status = Status.SUCCESS_DELETED if document.deleted else Status.SUCCESS
    return mutated(session, request, mutation.bucket, document, value, status)


HANDLERS: dict[int, Handler] = {
    **dict.fromkeys(LOOKUPS, _single_lookup),
    **dict.fromkeys(MUTATIONS, _single_mutation),
    Opcode.SUBDOC_MULTI_LOOKUP: _multi_lookup,
    Opcode.SUBDOC_MULTI_MUTATION: _multi_mutation,
}

READS = frozenset({*LOOKUPS, Opcode.SUBDOC_MULTI_LOOKUP})
"""Operations that need the right to read."""
