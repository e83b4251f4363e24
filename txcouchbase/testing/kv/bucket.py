"""The documents of one bucket, and the rules by which they change. No I/O.

Documents live in one dict whose keys are the keys of the wire, collection number included, so
that a lookup needs no parsing. The head and tail of a document's GET response are kept ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING
from uuid import uuid4
from zlib import crc32

from txcouchbase.testing.kv.frames import DATATYPE_JSON
from txcouchbase.testing.kv.limits import ALWAYS_SMALL, MAX_COLLECTION_KEY, MAX_KEY, check_size
from txcouchbase.testing.kv.manifest import Manifest, split_leb128
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.kv.status import Refused, Status
from txcouchbase.testing.topology import NOWHERE, Copies
from txcouchbase.testing.views.designs import DesignDocument

if TYPE_CHECKING:
    from txcouchbase.testing.kv.durability import ReplicasMissing

__all__ = ["LOCKED_CAS", "VBUCKETS", "Bucket", "Document", "vbucket_of"]

VBUCKETS = BucketSettings.vbuckets
"""How many vBuckets a bucket has if nobody says how many; servers have 1024, on macOS 64."""

RELATIVE_EXPIRY = 30 * 24 * 3600
"""Expiries up to this many seconds are relative, longer ones are times since the epoch."""

LOCKED_CAS = 0xFFFFFFFFFFFFFFFF
"""What readers of a locked document see in place of its CAS."""

DEFAULT_LOCK = 15
MAX_LOCK = 30

_HEAD = Struct(">BBHBBHI")
_TAIL = Struct(">QI")


def vbucket_of(key: bytes, count: int = VBUCKETS) -> int:
    """The vBucket of a key without its collection number, as clients choose it.

    :param count: how many there are.
    """
    return ((crc32(key) >> 16) & 0x7FFF) % count


class Document:
    """One document, or what deletion left of it.

    ``head`` and ``tail`` are its GET response before and after the opaque. ``head`` is empty
    while the document has an expiry or a lock, or is deleted, which says that they must be
    looked at first.
    """

    __slots__ = (
        "cas",
        "datatype",
        "deleted",
        "expiry",
        "head",
        "locked_until",
        "revision",
        "seqno",
        "tail",
        "xattrs",
    )

    def __init__(self) -> None:
        self.head = b""
        self.tail = b"\0" * 12
        self.cas = 0
        self.seqno = 0
        self.revision = 0
        self.expiry = 0
        self.locked_until = 0.0
        self.datatype = 0
        self.xattrs = ""
        self.deleted = False

    def __deepcopy__(self, memo: dict[int, object]) -> Document:
        # All attributes are immutable; many documents are copied at once.
        copied = Document()
        for name in Document.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied

    @property
    def flags(self) -> int:
        """The four bytes that clients use for their own: the format of the value."""
        return int.from_bytes(self.tail[8:12], "big")

    @property
    def value(self) -> bytes:
        """The document itself."""
        return self.tail[12:]

    def locked(self, now: float) -> bool:
        """Whether somebody holds its lock."""
        return self.locked_until > now

    def visible_cas(self, now: float) -> int:
        """Its CAS, as a reader may see it."""
        return LOCKED_CAS if self.locked_until > now else self.cas


class Bucket:
    """The documents, collections and sequence numbers of one bucket.

    :param name: what clients select.
    :param settings: how it is set up; None for `BucketSettings` as they are by default.
    """

    def __init__(self, name: str, settings: BucketSettings | None = None) -> None:
        self.name = name
        self.uuid = uuid4().hex
        self.manifest = Manifest()
        self.documents: dict[bytes, Document] = {}
        self.tombstones: dict[bytes, Document] = {}
        self.design_documents: dict[str, DesignDocument] = {}
        self.dropped = False
        """Whether the bucket is gone; connections that have it selected are told."""
        self.configure(settings or BucketSettings())
        self.vbuckets = self.settings.vbuckets
        self.copies = Copies([(0, *[NOWHERE] * self.settings.replicas)] * self.vbuckets)
        self._renew()
        self.uncommitted: set[bytes] = set()
        """Keys of documents of which a durable write waits."""
        self.withheld: ReplicasMissing | None = None
        """What the mutation that is under way must wait for."""
        self._cas = 0
        self._heads: dict[tuple[int, int], bytes] = {}

    def configure(self, settings: BucketSettings) -> None:
        """Set the bucket up anew; what is stored stays as it is."""
        self.settings = settings
        self.strict = settings.replicas > 0 or settings.ephemeral
        """Whether durable writes must be looked at."""
        self._max_ttl = settings.max_ttl

    def _renew(self) -> None:
        self.seqnos = [0] * self.vbuckets
        self.former: dict[int, tuple[int, int]] = {}
        """By the UUIDs of histories that ended: the vBucket, and its sequence number then."""
        self.vbucket_uuids = [uuid4().int & 0xFFFFFFFFFFFF for _ in range(self.vbuckets)]

    def take_over(self, vbuckets: Iterable[int]) -> None:
        """Begin a new history of vBuckets that have become active elsewhere.

        Those that are active nowhere are empty from now on.
        """
        lost = set()
        for vbucket in vbuckets:
            self.former[self.vbucket_uuids[vbucket]] = vbucket, self.seqnos[vbucket]
            self.vbucket_uuids[vbucket] = uuid4().int & 0xFFFFFFFFFFFF
            if self.copies.chains[vbucket][0] == NOWHERE:
                self.seqnos[vbucket] = 0
                lost.add(vbucket)
        if lost:
            for store in (self.documents, self.tombstones):
                for key in [key for key in store if self.vbucket_of(key) in lost]:
                    del store[key]

    def vbucket_of(self, key: bytes) -> int:
        """The vBucket of a key of the wire."""
        return vbucket_of(key[split_leb128(key)[1] :], self.vbuckets)

    def flush(self) -> None:
        """Forget all documents; scopes and collections stay."""
        # In place, since connections look documents up directly.
        self.documents.clear()
        self.tombstones.clear()
        self._renew()

    def restore(self, stored: Bucket) -> None:
        """Take over what another bucket stores, which must not be used any more.

        Sequence numbers and CAS go on from where they are.
        """
        # In place, since connections look documents up directly.
        self.documents.clear()
        self.documents.update(stored.documents)
        self.tombstones.clear()
        self.tombstones.update(stored.tombstones)
        self.design_documents = stored.design_documents
        self.manifest.restore(stored.manifest)
        self.configure(stored.settings)

    def revive(self, dropped: Manifest) -> None:
        """Come back after having been dropped, with a new history of mutations.

        :param dropped: the numbers that may have been used since then.
        """
        self.manifest.outgrow(dropped)
        self.uncommitted.clear()
        self._renew()

    def drop(self) -> None:
        """Forget everything."""
        self.flush()
        self.dropped = True

    def next_cas(self, now: float) -> int:
        """A CAS above every other: nanoseconds, whose low 16 bits count within one instant."""
        physical = int(now * 1e9) & ~0xFFFF
        self._cas = physical if physical > self._cas else self._cas + 1
        return self._cas

    # Reading.

    def find(self, key: bytes, now: float) -> Document | None:
        """The document of a key, unless it has expired.

        :raises Refused: where no document could have such a key.
        """
        document = self.documents.get(key)
        if document is None:
            self.check_key(key)
            return None
        if document.expiry and document.expiry <= now:
            self._bury(key, document, now)
            return None
        return document

    def get(self, key: bytes, now: float) -> Document:
        """As `find`, for those who need one.

        :raises Refused: KEY_ENOENT too.
        """
        document = self.find(key, now)
        if document is None:
            raise Refused(Status.KEY_ENOENT)
        return document

    def check_key(self, key: bytes) -> int:
        """The collection number of a key.

        :raises Refused: EINVAL for its length, UNKNOWN_COLLECTION.
        """
        number, length = split_leb128(key)
        if number not in self.manifest.live:
            raise Refused(Status.UNKNOWN_COLLECTION, self.manifest.unknown())
        if not 0 < len(key) - length <= (MAX_COLLECTION_KEY if number else MAX_KEY):
            raise Refused(Status.EINVAL)
        return number

    # Writing.

    def absolute_expiry(self, expiry: int, now: float) -> int:
        """The second since the epoch at which an expiry of the wire falls; 0 for never."""
        if expiry == 0 or expiry > RELATIVE_EXPIRY:
            return expiry
        return int(now) + expiry

    def writable(self, key: bytes, cas: int, now: float) -> Document | None:
        """The document that a mutation replaces, checked for its lock and CAS.

        :param cas: what the client last saw; 0 if it does not care.
        :raises Refused: LOCKED, KEY_EEXISTS for another CAS, KEY_ENOENT where a CAS names
            nothing.
        """
        document = self.documents.get(key)
        # A head says: neither lock nor expiry.
        if document is not None and document.head and not cas:
            return document
        document = self.find(key, now)
        if document is None:
            if cas:
                raise Refused(Status.KEY_ENOENT)
            return None
        if cas != document.cas:
            if document.locked_until > now:
                raise Refused(Status.LOCKED)
            if cas:
                raise Refused(Status.KEY_EEXISTS)
        return document

    def store(
        self,
        key: bytes,
        vbucket: int,
        document: Document | None,
        value: bytes,
        flags: int,
        now: float,
        *,
        expiry: int = 0,
        datatype: int = 0,
        xattrs: str | None = None,
        deleted: bool = False,
        cas: int = 0,
    ) -> Document:
        """Write a document.

        :param document: the one that it replaces, as `writable` gave it.
        :param expiry: seconds since the epoch, 0 for never.
        :param xattrs: the extended attributes as JSON text; None keeps those that are there.
        :param deleted: write a tombstone.
        :param cas: a CAS already drawn by `next_cas` for this mutation.
        :raises Refused: E2BIG.
        :raises ReplicasMissing: for a durable write that must wait.
        """
        if len(value) > ALWAYS_SMALL or xattrs or (document is not None and document.xattrs):
            kept = document.xattrs if document is not None else ""
            check_size(len(value), kept if xattrs is None else xattrs)
        if self.withheld is not None:
            self._withhold(key)
        if (self._max_ttl or self.manifest.has_limits) and not deleted:
            expiry = self.limited(key, expiry, now)
        if document is None:
            document = Document()
            buried = self.tombstones.pop(key, None)
            if buried is not None:
                document.revision = buried.revision
                if xattrs is None:
                    document.xattrs = ""
        if deleted:
            self.documents.pop(key, None)
            self.tombstones[key] = document
        else:
            self.documents[key] = document
        document.deleted = deleted
        if xattrs is not None:
            document.xattrs = xattrs
        document.datatype = datatype & DATATYPE_JSON
        document.expiry = expiry
        document.locked_until = 0.0
        document.tail = (
            _TAIL.pack(self._mutate(document, vbucket, now, cas), flags) + value
            if value
            else _TAIL.pack(self._mutate(document, vbucket, now, cas), flags)
        )
        document.head = b"" if expiry or deleted else self._head(len(value), document.datatype)
        return document

    def change(self, document: Document, vbucket: int, expiry: int, now: float) -> None:
        """Give a document another expiry (seconds since the epoch, 0 for never)."""
        document.expiry = expiry
        self._restamp(document, self._mutate(document, vbucket, now, 0))
        self._refresh(document)

    def delete(self, key: bytes, document: Document, vbucket: int, now: float) -> None:
        """Delete a document; its system attributes stay, as a server keeps them."""
        if self.withheld is not None:
            self._withhold(key)
        self._mutate(document, vbucket, now, 0)
        self._bury(key, document, now)

    def lock(self, document: Document, seconds: int, now: float) -> None:
        """Lock a document; it gets a new CAS, which unlocks it.

        :param seconds: 0 for the server's default of 15; what is above 30 counts as that too.
        :raises Refused: LOCKED if somebody else holds it.
        """
        if document.locked_until > now:
            raise Refused(Status.LOCKED)
        if not 0 < seconds <= MAX_LOCK:
            seconds = DEFAULT_LOCK
        document.locked_until = now + seconds
        document.cas = self.next_cas(now)
        self._restamp(document, document.cas)
        document.head = b""

    def unlock(self, document: Document, cas: int, now: float) -> None:
        """Let a lock go.

        :raises Refused: NOT_LOCKED, or LOCKED for a CAS that does not open it.
        """
        if document.locked_until <= now:
            raise Refused(Status.NOT_LOCKED)
        if cas != document.cas:
            raise Refused(Status.LOCKED)
        document.locked_until = 0.0
        self._refresh(document)

    def drop_collections(self, numbers: set[int]) -> None:
        """Forget the documents of collections that were dropped."""
        for store in (self.documents, self.tombstones):
            for key in [key for key in store if split_leb128(key)[0] in numbers]:
                del store[key]

    def token(self, vbucket: int) -> tuple[int, int]:
        """The mutation token of a vBucket's last mutation: its UUID and sequence number."""
        return self.vbucket_uuids[vbucket], self.seqnos[vbucket]

    def limited(self, key: bytes, expiry: int, now: float) -> int:
        """An expiry (seconds since the epoch, 0 for never) within what its collection allows."""
        limit = self.manifest.max_expiry(split_leb128(key)[0])
        if limit is None:
            limit = self._max_ttl
        return min(expiry or int(now) + limit, int(now) + limit) if limit else expiry

    def _mutate(self, document: Document, vbucket: int, now: float, cas: int) -> int:
        document.cas = cas = cas or self.next_cas(now)
        self.seqnos[vbucket] = document.seqno = self.seqnos[vbucket] + 1
        document.revision += 1
        return cas

    def _withhold(self, key: bytes) -> None:
        withheld, self.withheld = self.withheld, None
        assert withheld is not None
        self.uncommitted.add(key)
        raise withheld

    def _head(self, length: int, datatype: int) -> bytes:
        # Documents of one length share one head.
        head = self._heads.get((length, datatype))
        if head is None:
            head = _HEAD.pack(0x81, 0, 0, 4, datatype, 0, length + 4)
            if len(self._heads) < 4096:
                self._heads[length, datatype] = head
        return head

    def _restamp(self, document: Document, cas: int) -> None:
        document.tail = _TAIL.pack(cas, document.flags) + document.tail[12:]

    def _refresh(self, document: Document) -> None:
        plain = not (document.expiry or document.locked_until or document.deleted)
        document.head = self._head(len(document.tail) - 12, document.datatype) if plain else b""

    def _bury(self, key: bytes, document: Document, now: float) -> None:
        from txcouchbase.testing.kv.xattrs import system_only

        self.documents.pop(key, None)
        xattrs = system_only(document.xattrs)
        if not xattrs:
            return
        document.xattrs = xattrs
        document.deleted = True
        document.expiry = 0
        document.locked_until = 0.0
        document.datatype = 0
        document.head = b""
        document.tail = _TAIL.pack(document.cas, 0)
        self.tombstones[key] = document
