"""What a client says before and between its operations: HELLO, SASL, buckets, maps.

Source: kv_engine ``docs/BinaryProtocol.md``, ``docs/sasl.md``, ``docs/Collections.md``.
"""

from __future__ import annotations

import json
from struct import Struct, error, unpack
from typing import TYPE_CHECKING

from txcouchbase.testing.kv.errormap import ERROR_MAP
from txcouchbase.testing.kv.frames import DATATYPE_JSON, Feature, Opcode, Request, reply
from txcouchbase.testing.kv.scram import MECHANISMS, Scram, plain_credentials, scram_name
from txcouchbase.testing.kv.status import Refused, Status

if TYPE_CHECKING:
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "VERSION"]

VERSION = b"7.6.2-1-enterprise"
"""As servers say it: version, build and edition, which clients take apart."""

_FEATURES = {int(feature) for feature in Feature}
_COLLECTION_ID = Struct(">QI")


def _hello(session: Session, request: Request) -> bytes:
    try:
        wanted = unpack(f">{len(request.value) // 2}H", request.value)
    except error:
        raise Refused(Status.EINVAL) from None
    # Each once, in the client's order.
    granted = [Feature(code) for code in dict.fromkeys(wanted) if code in _FEATURES]
    session.negotiate(frozenset(granted))
    return reply(request, value=b"".join(code.to_bytes(2, "big") for code in granted))


def _mechanisms(session: Session, request: Request) -> bytes:
    return reply(request, value=" ".join(MECHANISMS).encode())


def _authenticate(session: Session, request: Request) -> bytes:
    # Whatever the outcome, an earlier login ends here.
    session.log_in(None)
    session.scram = None
    mechanism = request.key.decode("ascii", "replace")
    security = session.cluster.security
    if mechanism not in MECHANISMS:
        raise Refused(Status.EINVAL)
    if mechanism == "PLAIN":
        credentials = plain_credentials(request.value)
        account = security.authenticate(*credentials) if credentials else None
        if account is None:
            raise Refused(Status.AUTH_ERROR)
        session.log_in(account)
        return reply(request)
    name = scram_name(request.value)
    account = security.account(name) if name is not None else None
    if account is None:
        raise Refused(Status.AUTH_ERROR)
    scram = Scram(mechanism, account.password)
    challenge = scram.first(request.value)
    if challenge is None:
        raise Refused(Status.AUTH_ERROR)
    session.scram = account, scram
    return reply(request, Status.AUTH_CONTINUE, value=challenge)


def _step(session: Session, request: Request) -> bytes:
    exchange, session.scram = session.scram, None
    if exchange is None:
        raise Refused(Status.EINVAL)
    account, scram = exchange
    signature = scram.final(request.value)
    if signature is None:
        raise Refused(Status.AUTH_ERROR)
    session.log_in(account)
    return reply(request, value=signature)


def _select_bucket(session: Session, request: Request) -> bytes:
    session.require_login()
    bucket = session.cluster.buckets.get(request.key.decode("utf-8", "replace"))
    if bucket is None:
        # A server does not tell a bucket that is missing from one that is forbidden.
        raise Refused(Status.EACCESS)
    if session.cluster.topology.all[session.node].failed_over:
        # As if it had not heard of the bucket yet, so that clients try another node.
        raise Refused(Status.KEY_ENOENT)
    session.select(bucket)
    return reply(request)


def _cluster_config(session: Session, request: Request) -> bytes:
    session.require_login()
    bucket = None if session.bucket is None else session.selected()
    value = session.cluster.config_bytes(bucket, session.node)
    return reply(request, value=value, datatype=DATATYPE_JSON if session.json else 0)


def _error_map(session: Session, request: Request) -> bytes:
    if len(request.value) != 2:
        raise Refused(Status.EINVAL)
    return reply(request, value=ERROR_MAP, datatype=DATATYPE_JSON if session.json else 0)


def _noop(session: Session, request: Request) -> bytes:
    return reply(request)


def _version(session: Session, request: Request) -> bytes:
    return reply(request, value=VERSION)


def _quit(session: Session, request: Request) -> bytes:
    session.closing = True
    return reply(request)


def _manifest(session: Session, request: Request) -> bytes:
    manifest = session.selected().manifest
    value = json.dumps(manifest.as_dict()).encode()
    return reply(request, value=value, datatype=DATATYPE_JSON if session.json else 0)


def _path(request: Request) -> list[str]:
    # In the value nowadays, in the key formerly.
    return (request.value or request.key).decode("utf-8", "replace").split(".")


def _collection_id(session: Session, request: Request) -> bytes:
    manifest = session.selected().manifest
    path = _path(request)
    if len(path) != 2:
        raise Refused(Status.EINVAL)
    number = manifest.collection_id(*path)
    return reply(request, extras=_COLLECTION_ID.pack(manifest.uid, number))


def _scope_id(session: Session, request: Request) -> bytes:
    manifest = session.selected().manifest
    path = _path(request)
    if len(path) > 2:
        raise Refused(Status.EINVAL)
    return reply(request, extras=_COLLECTION_ID.pack(manifest.uid, manifest.scope_id(path[0])))


HANDLERS: dict[int, Handler] = {
    Opcode.HELLO: _hello,
    Opcode.SASL_LIST_MECHS: _mechanisms,
    Opcode.SASL_AUTH: _authenticate,
    Opcode.SASL_STEP: _step,
    Opcode.SELECT_BUCKET: _select_bucket,
    Opcode.GET_CLUSTER_CONFIG: _cluster_config,
    Opcode.GET_ERROR_MAP: _error_map,
    Opcode.NOOP: _noop,
    Opcode.VERSION: _version,
    Opcode.QUIT: _quit,
    Opcode.GET_MANIFEST: _manifest,
    Opcode.GET_COLLECTION_ID: _collection_id,
    Opcode.GET_SCOPE_ID: _scope_id,
}
