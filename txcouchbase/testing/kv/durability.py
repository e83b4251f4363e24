"""Durable writes: what they need of the nodes, and what waits for a node that does not answer.

A durable write is done where enough of its vBucket's copies are on nodes that answer. Where they
are there but do not answer, it waits, not done, until they do, or until its time is over: then a
server takes it back, and says SYNC_WRITE_AMBIGUOUS. Source: kv_engine ``docs/Durability.md`` and
``docs/protocol/observe_seqno.md``.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.kv.frames import (
    FRAME_DURABILITY,
    Opcode,
    Request,
    durability_of,
    reply,
)
from txcouchbase.testing.kv.settings import DURABILITY_LEVELS, MAX_DURABLE_REPLICAS
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.topology import NOWHERE, majority_of

if TYPE_CHECKING:
    from txcouchbase.testing.kv.bucket import Bucket
    from txcouchbase.testing.kv.session import Handler, Session

__all__ = ["HANDLERS", "ReplicasMissing", "check", "described", "outcome_of"]

DEFAULT_TIMEOUT = 30.0
"""Seconds that a durable write may take if the client does not say."""

_U64 = Struct(">Q")
_SAME_HISTORY = Struct(">BHQQQ")
_OTHER_HISTORY = Struct(">BHQQQQQ")


class ReplicasMissing(Exception):
    """A write waits for replicas that do not answer.

    :param seconds: how long it may take.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def check(session: Session, bucket: Bucket, request: Request) -> ReplicasMissing | None:
    """What keeps a write from being as durable as it must be.

    :returns: None, or what is raised once nothing else is wrong with it.
    :raises Refused: DURABILITY_INVALID_LEVEL for a level that the bucket cannot have,
        DURABILITY_IMPOSSIBLE where copies are missing or there are three replicas,
        SYNC_WRITE_IN_PROGRESS while another write of the document waits.
    """
    if not request.frames and not bucket.uncommitted and bucket.settings.durability == "none":
        return None
    infos = request.frame_infos()
    durable = _must_be_durable(bucket, durability_of(infos), request.vbucket)
    if request.key in bucket.uncommitted:
        raise Refused(Status.SYNC_WRITE_IN_PROGRESS)
    chain = bucket.copies.chains[request.vbucket]
    if not durable or session.cluster.topology.alive(chain) >= majority_of(chain):
        return None
    milliseconds = int.from_bytes(infos.get(FRAME_DURABILITY, b"")[1:], "big")
    return ReplicasMissing(milliseconds / 1000 or DEFAULT_TIMEOUT)


def _must_be_durable(bucket: Bucket, level: int, vbucket: int) -> bool:
    settings = bucket.settings
    if settings.ephemeral and level > DURABILITY_LEVELS.index("majority"):
        raise Refused(Status.DURABILITY_INVALID_LEVEL)
    if not level and settings.durability == "none":
        return False
    chain = bucket.copies.chains[vbucket]
    copies = len(chain) - chain.count(NOWHERE)
    if copies < majority_of(chain) or settings.replicas > MAX_DURABLE_REPLICAS:
        raise Refused(Status.DURABILITY_IMPOSSIBLE)
    return True


def outcome_of(session: Session, bucket: Bucket, request: Request) -> bytes | None:
    """The response to a write that waits, when the cluster has changed; None if it still waits.

    :param bucket: the one that it is for.
    """
    if session.bucket is not bucket:
        return reply(request, Status.SYNC_WRITE_AMBIGUOUS)
    if not session.collections:
        # It was put there when it was asked for the first time.
        request.key = request.key[1:]
    try:
        response = session.answer(request)
    except ReplicasMissing:
        return None
    status = int.from_bytes(response[6:8], "big")
    if status in (Status.NOT_MY_VBUCKET, Status.DURABILITY_IMPOSSIBLE):
        # It was begun, so that this cannot be said any more.
        return reply(request, Status.SYNC_WRITE_AMBIGUOUS)
    return response


def _observe(session: Session, request: Request) -> bytes:
    """Which mutations of a vBucket's history this node has; all of them are as good as on disk."""
    if len(request.value) != 8:
        raise Refused(Status.EINVAL)
    bucket, vbucket = session.selected(), request.vbucket
    if vbucket not in session.active and vbucket not in bucket.copies.replicas_on(session.node):
        raise Refused(Status.NOT_MY_VBUCKET, session.cluster.config_bytes(bucket, session.node))
    (asked,) = _U64.unpack(request.value)
    uuid, seqno = bucket.token(vbucket)
    if asked == uuid:
        return reply(request, value=_SAME_HISTORY.pack(0, vbucket, uuid, seqno, seqno))
    former = bucket.former.get(asked)
    if former is None or former[0] != vbucket:
        raise Refused(Status.KEY_ENOENT)
    value = _OTHER_HISTORY.pack(1, vbucket, uuid, seqno, seqno, asked, former[1])
    return reply(request, value=value)


def described(request: Request) -> dict[str, Any]:
    """What OBSERVE_SEQNO asks for, by name."""
    return {"vbucket": request.vbucket, "vbucket_uuid": _U64.unpack(request.value)[0]}


HANDLERS: dict[int, Handler] = {Opcode.OBSERVE_SEQNO: _observe}
