"""What one connection has said so far, and the way from a request to its response. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from txcouchbase.testing.kv.bucket import VBUCKETS, Bucket, Document
from txcouchbase.testing.kv.cluster import ClusterState
from txcouchbase.testing.kv.frames import Feature, Request, reply
from txcouchbase.testing.kv.scram import Scram
from txcouchbase.testing.kv.status import Malformed, Refused, Status

__all__ = ["Handler", "Session"]


def _no_document(key: bytes) -> Document | None:
    return None


class Session:
    """The state of one connection.

    :param cluster: what it shares with the others.
    """

    log = Logger()

    def __init__(self, cluster: ClusterState) -> None:
        self.cluster = cluster
        self.authenticated = False
        self.bucket: Bucket | None = None
        self.features: frozenset[Feature] = frozenset()
        self.mutation_tokens = False
        self.collections = False
        self.json = False
        self.scram: Scram | None = None
        self.closing = False
        self.find: Callable[[bytes], Document | None] = _no_document
        """Looks a key of the wire up, once such keys need neither checks nor changes."""

    def answer(self, request: Request) -> bytes:
        """The response to a request; whatever goes wrong becomes a status."""
        handler = HANDLERS.get(request.opcode)
        try:
            if handler is None:
                raise Refused(Status.UNKNOWN_COMMAND)
            if request.datatype & 0xFE:
                # Compressed values and attributes within values were not negotiated.
                raise Refused(Status.EINVAL)
            return handler(self, request)
        except Refused as refused:
            return reply(request, refused.status, value=refused.value)
        except Malformed:
            raise
        except Exception:
            self.log.failure("opcode {opcode:#04x} failed", opcode=request.opcode)
            return reply(request, Status.EINTERNAL)

    def negotiate(self, features: frozenset[Feature]) -> None:
        """Take note of what HELLO granted."""
        self.features = features
        self.mutation_tokens = Feature.MUTATION_SEQNO in features
        self.collections = Feature.COLLECTIONS in features
        self.json = Feature.JSON in features
        self._choose_find()

    def select(self, bucket: Bucket) -> None:
        """Send later operations to a bucket."""
        self.bucket = bucket
        self._choose_find()

    def require_login(self) -> None:
        """:raises Refused: EACCESS before authentication."""
        if not self.authenticated:
            raise Refused(Status.EACCESS)

    def selected(self) -> Bucket:
        """The bucket of this connection.

        :raises Refused: EACCESS before authentication, NO_BUCKET before SELECT_BUCKET.
        """
        bucket = self.bucket
        if bucket is None:
            self.require_login()
            raise Refused(Status.NO_BUCKET)
        return bucket

    def require_bucket(self, request: Request) -> Bucket:
        """The bucket for an operation on a document, whose key gets its collection number.

        :raises Refused: as `selected`, and NOT_MY_VBUCKET for one that does not exist.
        """
        bucket = self.bucket
        if bucket is None:
            return self.selected()
        if request.vbucket >= VBUCKETS:
            raise Refused(Status.NOT_MY_VBUCKET, self.cluster.config_bytes(bucket))
        if not request.key:
            raise Refused(Status.EINVAL)
        if not self.collections:
            request.key = b"\0" + request.key
        return bucket

    def _choose_find(self) -> None:
        plain = self.bucket is not None and self.collections and self.json
        self.find = self.bucket.documents.get if self.bucket and plain else _no_document


Handler = Callable[[Session, Request], bytes]

# The handlers need the names above.
from txcouchbase.testing.kv import bootstrap, documents, subdoc  # noqa: E402

HANDLERS: dict[int, Handler] = bootstrap.HANDLERS | documents.HANDLERS | subdoc.HANDLERS
