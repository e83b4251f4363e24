"""What one connection has said so far, and the way from a request to its response. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.kv.bucket import Bucket, Document
from txcouchbase.testing.kv.durability import ReplicasMissing
from txcouchbase.testing.kv.durability import check as check_durability
from txcouchbase.testing.kv.frames import DATATYPE_JSON, Feature, Opcode, Request, reply
from txcouchbase.testing.kv.scans import Scans
from txcouchbase.testing.kv.scram import Scram
from txcouchbase.testing.kv.status import Malformed, Refused, Status

if TYPE_CHECKING:
    from txcouchbase.testing.management.accounts import Account

__all__ = ["Handler", "Session"]


def _no_document(key: bytes) -> Document | None:
    return None


def _nothing() -> None:
    pass


class Session:
    """The state of one connection.

    :param cluster: what it shares with the others.
    :param node: the number of the node that it is connected to.
    """

    log = Logger()

    def __init__(self, cluster: ClusterState, node: int = 0) -> None:
        self.cluster = cluster
        self.node = node
        self.account: Account | None = None
        self.bucket: Bucket | None = None
        self.handlers = HANDLERS
        """What this connection may ask for."""
        self.features: frozenset[Feature] = frozenset()
        self.mutation_tokens = False
        self.collections = False
        self.json = False
        self.scram: tuple[Account, Scram] | None = None
        self.closing = False
        self.find: Callable[[bytes], Document | None] = _no_document
        """Looks a key of the wire up, once such keys need neither checks nor changes."""
        self.wake: Callable[[], None] = _nothing
        """Called when the cluster has changed, for what waits for that."""
        self.active: frozenset[int] = frozenset()
        """The vBuckets of the bucket that are active on this node."""
        self.scans = Scans()

    def answer(self, request: Request) -> bytes:
        """The response to a request; whatever goes wrong becomes a status.

        :raises Malformed: where what follows cannot be understood either.
        :raises ReplicasMissing: for a write that must wait.
        """
        handler = self.handlers.get(request.opcode)
        try:
            if handler is None:
                raise Refused(Status.UNKNOWN_COMMAND)
            if request.datatype & 0xFE:
                # Compressed values and attributes within values were not negotiated.
                raise Refused(Status.EINVAL)
            return handler(self, request)
        except Refused as refused:
            if self.bucket is not None:
                self.bucket.withheld = None
            # Clients read the map only where it is marked as JSON.
            is_map = self.json and refused.status == Status.NOT_MY_VBUCKET
            datatype = DATATYPE_JSON if is_map else 0
            return reply(request, refused.status, value=refused.value, datatype=datatype)
        except (Malformed, ReplicasMissing):
            raise
        except Exception:
            if self.bucket is not None:
                self.bucket.withheld = None
            # A defect of the node must not take the connection along.
            self.log.failure("opcode {opcode:#04x} failed", opcode=request.opcode)
            return reply(request, Status.EINTERNAL)

    def negotiate(self, features: frozenset[Feature]) -> None:
        """Take note of what HELLO granted."""
        self.features = features
        self.mutation_tokens = Feature.MUTATION_SEQNO in features
        self.collections = Feature.COLLECTIONS in features
        self.json = Feature.JSON in features
        self.choose_find()

    def log_in(self, account: Account | None) -> None:
        """Take note of who speaks; what was selected before is not any more."""
        self.account = account
        self.bucket = None
        self.handlers = HANDLERS
        self.choose_find()

    def select(self, bucket: Bucket) -> None:
        """Send later operations to a bucket, as far as the account's rights go.

        The rights are those of this moment: a role that is given or taken later counts from the
        next login on.

        :raises Refused: EACCESS for an account that may not open it.
        """
        account = self.require_login()
        if not account.may("bucket", bucket.name):
            raise Refused(Status.EACCESS)
        self.bucket = bucket
        self.handlers = _allowed(
            account.may("read", bucket.name), account.may("write", bucket.name)
        )
        self.choose_find()

    def require_login(self) -> Account:
        """Who has logged in.

        :raises Refused: EACCESS before authentication.
        """
        if self.account is None:
            raise Refused(Status.EACCESS)
        return self.account

    def selected(self) -> Bucket:
        """The bucket of this connection.

        :raises Refused: EACCESS before authentication, NO_BUCKET before SELECT_BUCKET, and for a
            bucket that was dropped, when the connection is closed too.
        """
        bucket = self.bucket
        if bucket is None:
            self.require_login()
            raise Refused(Status.NO_BUCKET)
        if bucket.dropped:
            self.closing = True
            raise Refused(Status.NO_BUCKET)
        return bucket

    def require_bucket(self, request: Request, *, replica: bool = False) -> Bucket:
        """The bucket for an operation on a document, whose key gets its collection number.

        :param replica: whether it wants a replica of the document, not the active copy.
        :raises Refused: as `selected`, and NOT_MY_VBUCKET, with the cluster map, for a vBucket of
            which this node has no such copy.
        """
        bucket = self.bucket
        if bucket is None or bucket.dropped:
            return self.selected()
        here = bucket.copies.replicas_on(self.node) if replica else self.active
        if request.vbucket not in here:
            raise Refused(Status.NOT_MY_VBUCKET, self.cluster.config_bytes(bucket, self.node))
        if not request.key:
            raise Refused(Status.EINVAL)
        if not self.collections:
            request.key = b"\0" + request.key
        return bucket

    def require_active(self, request: Request) -> Bucket:
        """The bucket for a request to a vBucket as a whole, whose active copy must be here.

        :raises Refused: as `selected`, and NOT_MY_VBUCKET with the cluster map.
        """
        bucket = self.selected()
        if request.vbucket not in self.active:
            raise Refused(Status.NOT_MY_VBUCKET, self.cluster.config_bytes(bucket, self.node))
        return bucket

    def require_writable(self, request: Request) -> Bucket:
        """The bucket for a change of a document.

        :raises Refused: as `require_bucket`, and where the change cannot be as durable as it must.
        """
        bucket = self.require_bucket(request)
        if bucket.strict:
            bucket.withheld = check_durability(self, bucket, request)
        return bucket

    def choose_find(self) -> None:
        """Choose the short way for plain GETs, if nobody watches and nothing is to be checked.

        Also take note of the vBuckets that are active here by now.
        """
        self.active = self.bucket.copies.active_on(self.node) if self.bucket else frozenset()
        plain = self.collections and self.json and not self.cluster.watched
        plain = plain and self.handlers.get(Opcode.GET) is HANDLERS[Opcode.GET]
        self.find = self.bucket.documents.get if self.bucket and plain else _no_document


Handler = Callable[[Session, Request], bytes]

# The handlers need the names above.
from txcouchbase.testing.kv import bootstrap, documents, durability, scans, subdoc  # noqa: E402

HANDLERS: dict[int, Handler] = (
    bootstrap.HANDLERS | documents.HANDLERS | durability.HANDLERS | subdoc.HANDLERS | scans.HANDLERS
)

_READS = documents.READS | subdoc.READS | scans.READS
_WRITES = (documents.HANDLERS.keys() | subdoc.HANDLERS.keys()) - documents.READS - subdoc.READS
_WRITES |= documents.READING_WRITES


def _denied(session: Session, request: Request) -> bytes:
    raise Refused(Status.EACCESS)


def _allowed(read: bool, write: bool) -> dict[int, Handler]:
    """What may be asked for with these rights."""
    if read and write:
        return HANDLERS
    denied = (set() if read else _READS) | (set() if write else _WRITES)
    return HANDLERS | dict.fromkeys(denied, _denied)
