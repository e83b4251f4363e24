"""Key-value requests as a test sees them: taken down by name, and struck by faults. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct, error
from typing import Any

from txcouchbase.testing.faults import ActiveFault
from txcouchbase.testing.kv.documents import HANDLERS as DOCUMENT_HANDLERS
from txcouchbase.testing.kv.durability import described as described_observe
from txcouchbase.testing.kv.frames import (
    FRAME_DURABILITY,
    FRAME_PRESERVE_EXPIRY,
    HEADER,
    RESPONSE,
    Opcode,
    Request,
    reply,
)
from txcouchbase.testing.kv.manifest import split_leb128
from txcouchbase.testing.kv.scans import HANDLERS as SCAN_HANDLERS
from txcouchbase.testing.kv.scans import described as described_scan
from txcouchbase.testing.kv.scans import scanned_collection
from txcouchbase.testing.kv.session import Session
from txcouchbase.testing.kv.specs import described
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.kv.subdoc import HANDLERS as SUBDOC_HANDLERS
from txcouchbase.testing.record import RecordedRequest

__all__ = ["Outcome", "watched"]

_STORE = Struct(">II")
_COUNTER = Struct(">QQI")
_SECONDS = Struct(">I")

_LEVELS = {1: "majority", 2: "majority_and_persist_to_active", 3: "persist_to_majority"}


@dataclass(frozen=True)
class Outcome:
    """What becomes of a request.

    :param response: the bytes to send; empty for none.
    :param delay: seconds until they leave.
    :param close: whether the connection closes after them.
    """

    response: bytes
    delay: float = 0.0
    close: bool = False


def watched(session: Session, request: Request) -> Outcome:
    """Answer a request while somebody watches: it is taken down, and faults may strike it."""
    cluster = session.cluster
    name = _name(request.opcode)
    where = _address(session, request)
    bucket = session.bucket.name if session.bucket is not None else None
    if cluster.record.on:
        cluster.record.add(
            RecordedRequest(
                service="kv",
                operation=name,
                account=session.account.name if session.account is not None else "",
                at=request.now,
                options=_options(request),
                body=b"" if name.startswith("SASL") else request.value,
                key=where[2],
                bucket=bucket,
                scope=where[0],
                collection=where[1],
                node=session.node,
            )
        )
    struck = cluster.faults.strike("kv", name, where[2] or "", bucket)
    if struck is None:
        return Outcome(session.answer(request))
    return _struck(struck, session, request)


def _struck(struck: ActiveFault, session: Session, request: Request) -> Outcome:
    fault = struck.fault
    if fault.effect == "refuse":
        return Outcome(reply(request, Status[str(fault.status)]), fault.delay)
    response = session.answer(request) if fault.carried_out else b""
    if fault.effect == "drop":
        return Outcome(response[: fault.size], fault.delay, close=True)
    if fault.effect == "silence":
        return Outcome(b"")
    if fault.effect == "truncate":
        response = _with_body(response, response[24:][: fault.size])
    elif fault.effect == "garble":
        response = _with_body(response, struck.garbled(response[24:]))
    return Outcome(response, fault.delay)


def _with_body(response: bytes, body: bytes) -> bytes:
    """The response with another body, in a frame that is well formed."""
    _, opcode, key, extras, datatype, status, _, opaque, cas = HEADER.unpack_from(response)
    extras = min(extras, len(body))
    key = min(key, len(body) - extras)
    header = HEADER.pack(RESPONSE, opcode, key, extras, datatype, status, len(body), opaque, cas)
    return header + body


def _name(opcode: int) -> str:
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"0x{opcode:02x}"


def _address(session: Session, request: Request) -> tuple[str | None, str | None, str | None]:
    """Scope, collection and key; scope and collection are None where no document is named."""
    key = request.key
    manifest = session.bucket.manifest if session.bucket is not None else None
    if request.opcode in SCAN_HANDLERS:
        scanned = scanned_collection(session, request)
        names = manifest.names_of(scanned) if manifest is not None and scanned is not None else None
        return *(names or (None, None)), None
    if request.opcode not in DOCUMENT_HANDLERS and request.opcode not in SUBDOC_HANDLERS:
        return None, None, key.decode("utf-8", "replace") if key else None
    number = 0
    if session.collections:
        try:
            number, length = split_leb128(key)
        except Refused:
            return None, None, repr(key)
        key = key[length:]
    found = manifest.names_of(number) if manifest is not None else None
    return *(found or (None, f"0x{number:x}")), key.decode("utf-8", "replace")


def _options(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if request.cas:
        options["cas"] = request.cas
    try:
        options |= _frames(request)
        describe = _EXTRAS.get(request.opcode)
        if describe is not None:
            options |= describe(request)
    except (error, Refused):
        # Its answer says what is wrong with it.
        options["extras"] = request.extras.hex()
    return options


def _frames(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for kind, info in request.frame_infos().items():
        if kind == FRAME_DURABILITY:
            options["durability"] = _LEVELS.get(info[0], info[0]) if info else None
            if len(info) == 3:
                options["durability_timeout"] = int.from_bytes(info[1:], "big")
        elif kind == FRAME_PRESERVE_EXPIRY:
            options["preserve_expiry"] = True
        else:
            options[f"frame_{kind}"] = info.hex()
    return options


def _store(request: Request) -> dict[str, Any]:
    flags, expiry = _STORE.unpack(request.extras)
    return {"flags": flags, "expiry": expiry}


def _counter(request: Request) -> dict[str, Any]:
    delta, initial, expiry = _COUNTER.unpack(request.extras)
    return {"delta": delta, "initial": initial, "expiry": expiry}


def _touch(request: Request) -> dict[str, Any]:
    return {"expiry": _SECONDS.unpack(request.extras)[0]}


def _lock(request: Request) -> dict[str, Any]:
    return {"lock_time": _SECONDS.unpack(request.extras)[0]} if request.extras else {}


_EXTRAS: dict[int, Callable[[Request], dict[str, Any]]] = {
    **dict.fromkeys((Opcode.SET, Opcode.ADD, Opcode.REPLACE), _store),
    **dict.fromkeys((Opcode.INCREMENT, Opcode.DECREMENT), _counter),
    **dict.fromkeys((Opcode.TOUCH, Opcode.GET_AND_TOUCH), _touch),
    Opcode.GET_LOCKED: _lock,
    Opcode.OBSERVE_SEQNO: described_observe,
    **dict.fromkeys(SUBDOC_HANDLERS, described),
    **dict.fromkeys(SCAN_HANDLERS, described_scan),
}
