"""The requests of sub-document operations, taken apart. No documents.

Source: kv_engine ``docs/SubDocument.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any

from txcouchbase.testing.kv.frames import Opcode, Request
from txcouchbase.testing.kv.paths import LOOKUPS, MUTATIONS
from txcouchbase.testing.kv.status import Refused, Status

__all__ = [
    "ACCESS_DELETED",
    "ADD",
    "BINARY",
    "CREATE_AS_DELETED",
    "CREATE_PATH",
    "EXPAND_MACROS",
    "MAKE",
    "REPLICA_READ",
    "REVIVE",
    "XATTR",
    "Changes",
    "Spec",
    "checked",
    "described",
    "lookup_specs",
    "mutation_extras",
    "mutation_specs",
    "single",
]

MAX_SPECS = 16

MAX_PATH = 1024
"""Bytes of the longest path."""

CREATE_PATH, XATTR, EXPAND_MACROS, BINARY = 0x01, 0x04, 0x10, 0x20
"""Flags of a path."""

MAKE, ADD, ACCESS_DELETED, CREATE_AS_DELETED, REVIVE = 0x01, 0x02, 0x04, 0x08, 0x10
REPLICA_READ = 0x20
"""Flags of a document."""

_LOOKUP_SPEC = Struct(">BBH")
_MUTATION_SPEC = Struct(">BBHI")
_U16 = Struct(">H")
_U32 = Struct(">I")

_WHOLE = (Opcode.SET, Opcode.DELETE)
_MUTATIONS = {*MUTATIONS, *_WHOLE, Opcode.SUBDOC_REPLACE_BODY_WITH_XATTR}


@dataclass
class Spec:
    """One operation on one path."""

    opcode: int
    flags: int
    path: bytes
    value: bytes = b""


@dataclass(frozen=True)
class Changes:
    """What a mutation says of the document as a whole.

    :param flags: the flags of the document.
    :param expiry: as on the wire; None leaves it as it is.
    :param user_flags: the format of its value; None leaves it as it is.
    """

    flags: int = 0
    expiry: int | None = None
    user_flags: int | None = None


def lookup_specs(value: bytes) -> Iterator[Spec]:
    """The specs of a request that looks several paths up.

    :raises Refused: EINVAL or INVALID_COMBO.
    """
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


def mutation_specs(value: bytes) -> Iterator[Spec]:
    """The specs of a request that changes several paths.

    :raises Refused: EINVAL or INVALID_COMBO.
    """
    at = 0
    while at < len(value):
        if at + 8 > len(value):
            raise Refused(Status.EINVAL)
        opcode, flags, path_length, length = _MUTATION_SPEC.unpack_from(value, at)
        at += 8
        stop = at + path_length + length
        if stop > len(value):
            raise Refused(Status.EINVAL)
        if opcode not in _MUTATIONS:
            raise Refused(Status.INVALID_COMBO)
        yield Spec(opcode, flags, value[at : at + path_length], value[at + path_length : stop])
        at = stop


def checked(specs: Iterable[Spec]) -> list[Spec]:
    """The specs, if they go together.

    :raises Refused: INVALID_COMBO for their number, INVALID_XATTR_ORDER, EINVAL for a path that
        is too long.
    """
    found = list(specs)
    if not 0 < len(found) <= MAX_SPECS:
        raise Refused(Status.INVALID_COMBO)
    body_seen = False
    for spec in found:
        if len(spec.path) > MAX_PATH:
            raise Refused(Status.EINVAL)
        if not spec.flags & XATTR:
            body_seen = True
        elif body_seen:
            raise Refused(Status.INVALID_XATTR_ORDER)
    return found


def mutation_extras(extras: bytes) -> Changes:
    """What the extras of a request with several paths say.

    :raises Refused: EINVAL.
    """
    if len(extras) not in (0, 1, 4, 5, 8, 9):
        raise Refused(Status.EINVAL)
    flags = extras[-1] if len(extras) % 4 else 0
    expiry = _U32.unpack_from(extras)[0] if len(extras) >= 4 else None
    if len(extras) < 8:
        return Changes(flags, expiry)
    # An expiry has to come before the user flags, so that here 0 says nothing.
    return Changes(flags, expiry or None, _U32.unpack_from(extras, 4)[0])


def single(request: Request, expiry_length: int) -> tuple[Spec, Changes]:
    """A request with one path.

    :param expiry_length: bytes of the expiry that it may have.
    :raises Refused: EINVAL.
    """
    extras = request.extras
    if len(extras) not in (3, 4, 3 + expiry_length, 4 + expiry_length):
        raise Refused(Status.EINVAL)
    (length,) = _U16.unpack_from(extras)
    if length > min(len(request.value), MAX_PATH):
        raise Refused(Status.EINVAL)
    with_expiry = expiry_length and len(extras) >= 3 + expiry_length
    expiry = _U32.unpack_from(extras, 3)[0] if with_expiry else None
    flags = extras[-1] if len(extras) in (4, 4 + expiry_length) else 0
    path, value = request.value[:length], request.value[length:]
    return Spec(request.opcode, extras[2], path, value), Changes(flags, expiry)


def described(request: Request) -> dict[str, Any]:
    """The options of a request by name: its paths, the expiry (seconds) and the flags.

    :raises Refused: for a request that is not well formed.
    """
    if request.opcode == Opcode.SUBDOC_MULTI_LOOKUP:
        specs = list(lookup_specs(request.value))
        changes = Changes(request.extras[0] if request.extras else 0)
    elif request.opcode == Opcode.SUBDOC_MULTI_MUTATION:
        specs = list(mutation_specs(request.value))
        changes = mutation_extras(request.extras)
    else:
        spec, changes = single(request, 0 if request.opcode in LOOKUPS else 4)
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
        "document_flags": changes.flags,
    }
    if changes.flags & REPLICA_READ:
        options["replica_read"] = True
    if changes.expiry is not None:
        options["expiry"] = changes.expiry
    if changes.user_flags is not None:
        options["flags"] = changes.user_flags
    return options
