"""`Operation`: one call on its way through a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CasMismatchException,
    DocumentExistsException,
    DocumentNotFoundException,
    InvalidArgumentException,
    PathExistsException,
    PathNotFoundException,
    UnAmbiguousTimeoutException,
)

from txcouchbase.amp.errors import timeout_error

if TYPE_CHECKING:
    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.workers.keyspace import Keyspace

__all__ = ["Operation", "check_name"]

_TELLING = (
    AmbiguousTimeoutException,
    CasMismatchException,
    DocumentExistsException,
    DocumentNotFoundException,
    PathExistsException,
    PathNotFoundException,
)
"""What an operation may also meet because it was done already."""


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
        resent: Whether it was sent to a worker that died, and is on its way once more.
        retry_ambiguous: Whether the caller wants it sent once more although it may have been
            applied.
        admitted: When the pool took it (seconds).
        sent_at: When it was sent to a worker (seconds).
        loss: What became of it on the worker that died, once it was resent.
        ident: What orders it among the operations on its key, while it is on a lane.
        size: What it counts for against limits on bytes.
    """

    __slots__ = (
        "admitted",
        "deadline",
        "default_timeout",
        "flags",
        "id",
        "ident",
        "key",
        "keyspace",
        "kind",
        "loss",
        "options",
        "pinned",
        "resent",
        "retry_ambiguous",
        "sent",
        "sent_at",
        "settled",
        "size",
        "timeout",
        "value",
    )

    sent_at: float
    loss: Exception

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
        self.admitted = 0.0
        self.deadline: float | None = None
        self.id = 0
        self.ident: tuple[int, str] | None = None
        self.settled = False
        self.sent = False
        self.resent = False
        self.pinned = False
        self.retry_ambiguous = False

    @property
    def only_reads(self) -> bool:
        """Whether it cannot have changed anything, so that its failure is never ambiguous."""
        return self.kind.repeatable

    @property
    def resendable(self) -> bool:
        """Whether it may be sent once more when its worker dies."""
        return self.kind.repeatable or self.retry_ambiguous

    def send_once_more(self, loss: Exception) -> None:
        """Its worker died with it in flight, and it goes to another one."""
        self.resent = True
        self.sent = False
        self.loss = loss

    def unsent(self, error: Exception) -> Exception:
        """What its caller has to hear when it cannot be sent.

        Args:
            error: Why it cannot be. If it was on a worker that died and may have changed
                something there, what is returned says so.
        """
        if not self.resent or self.only_reads:
            return error
        if isinstance(error, UnAmbiguousTimeoutException):
            message = f"{self.kind.name} timed out after its worker's death"
            timeout = timeout_error(message, ambiguous=True)
            timeout.__cause__ = self.loss
            return timeout
        self.loss.__cause__ = error
        return self.loss

    def refused(self, error: Exception) -> Exception:
        """What its caller has to hear when it has failed at the server.

        Args:
            error: What came back. If it was sent once more, and the first time may have changed
                something, what is returned says so; save for what tells of the document, or is
                ambiguous by itself, which stays with the loss as its cause.
        """
        if not self.resent or self.only_reads:
            return error
        if isinstance(error, _TELLING):
            error.__cause__ = self.loss
            return error
        return self.unsent(error)

    def succeed(self, result: dict[str, Any]) -> None:
        """Deliver the map that the binding made."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Deliver an exception."""
        raise NotImplementedError
