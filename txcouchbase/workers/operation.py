"""`Operation`: one call on its way through a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.exceptions import InvalidArgumentException

if TYPE_CHECKING:
    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.workers.session import Keyspace

__all__ = ["Operation", "check_name"]


def check_name(name: str) -> None:
    """Refuse what cannot name a document, bucket, scope or collection, as the SDK does.

    Raises:
        InvalidArgumentException: It is no text, or no text that UTF-8 can hold.
    """
    if isinstance(name, str):
        if name.isascii():
            return
        try:
            name.encode("utf-8")
            return
        except UnicodeEncodeError:
            pass
    raise InvalidArgumentException("bucket/scope/collection/key must be valid UTF-8 strings")


class Operation:
    """One call. Facades derive from it to say what becomes of its answer.

    Exactly one of `succeed` and `fail` is called, once, never from inside the call that
    submitted the operation.

    Attributes:
        kind: What is known of all operations of this name.
        keyspace: Where it goes.
        key: The document's key, None for an operation of the cluster.
        value: The encoded value, None if it has none.
        flags: The format of the value.
        options: Further options by the binding's names, None if there are none.
        timeout: From the call to the answer (seconds), None if the caller named none.
        default_timeout: From the call to the answer (seconds) if the caller named none; for an
            operation that waits for the first connection it counts from then. None for no deadline.
        pinned: Whether it is meant for one worker, and has no sense on another.
        ident: What orders it among the operations on its key, while it is on a lane.
        size: What it counts for against limits on bytes.
    """

    __slots__ = (
        "deadline",
        "default_timeout",
        "flags",
        "id",
        "ident",
        "key",
        "keyspace",
        "kind",
        "options",
        "pinned",
        "resent",
        "sent",
        "settled",
        "size",
        "timeout",
        "value",
    )

    def __init__(
        self,
        kind: OperationKind,
        keyspace: Keyspace,
        key: str | None,
        value: bytes | None = None,
        flags: int = 0,
        options: dict[str, Any] | None = None,
        timeout: float | None = None,
        default_timeout: float | None = 2.5,
    ) -> None:
        if key is not None:
            check_name(key)
        self.kind = kind
        self.keyspace = keyspace
        self.key = key
        self.value = value
        self.flags = flags
        self.options = options
        self.timeout = timeout
        self.default_timeout = default_timeout
        self.size = len(key or "") + (len(value) if value is not None else 0)
        self.deadline: float | None = None
        self.id = 0
        self.ident: tuple[int, str] | None = None
        self.settled = False
        self.sent = False
        self.resent = False
        self.pinned = False

    @property
    def only_reads(self) -> bool:
        """Whether it cannot have changed anything, so that its failure is never ambiguous."""
        return self.kind.repeatable

    @property
    def resendable(self) -> bool:
        """Whether it may be sent once more when its worker dies."""
        return self.kind.repeatable

    def succeed(self, result: dict[str, Any]) -> None:
        """Deliver the map that the binding made."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Deliver an exception."""
        raise NotImplementedError
