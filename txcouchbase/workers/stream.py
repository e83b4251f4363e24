"""`RowOperation`: the reactor's side of a stream of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from couchbase.exceptions import InvalidArgumentException

from txcouchbase.amp import wire
from txcouchbase.amp.rows import CHUNK_BYTES, STOP
from txcouchbase.workers.operation import Operation

if TYPE_CHECKING:
    from txcouchbase.amp.operations import OperationKind
    from txcouchbase.workers.keyspace import Keyspace
    from txcouchbase.workers.lane import Lane
    from txcouchbase.workers.pool import WorkerPool

__all__ = ["RowConsumer", "RowOperation"]


class RowConsumer(Protocol):
    """Who uses the rows. `rows_arrived` any number of times, then one of the others, once."""

    def rows_arrived(self, rows: list[bytes], size: int) -> None:
        """Rows; when they are used up, `RowOperation.pay` is to be called with their size."""

    def rows_ended(self, result: dict[str, Any]) -> None:
        """All rows were there; this is what the binding tells after them."""

    def rows_failed(self, error: Exception) -> None:
        """No more rows come."""

    def is_idle(self, now: float) -> bool:
        """Whether it does not ask for the rows that are there."""


class RowOperation(Operation):
    """One query and its rows.

    Its deadline ends with the first rows: from then on it is the reader who takes the time.

    Attributes:
        lane: Where it was sent, or will be.
    """

    __slots__ = ("_consumer", "_delivered", "_only_reads", "_pool", "_unpaid", "lane")

    def __init__(
        self,
        pool: WorkerPool,
        kind: OperationKind,
        keyspace: Keyspace,
        request: dict[str, Any],
        only_reads: bool,
        timeout: float | None,
        default_timeout: float,
        consumer: RowConsumer,
    ) -> None:
        try:
            value = wire.encode(request)
        except Exception as error:  # whatever an odd option makes the encoder raise
            message = f"{kind.name}: an option is of the wrong type: {error}"
            raise InvalidArgumentException(message) from None
        super().__init__(kind, keyspace, None, value, 0, None, timeout, default_timeout)
        self._pool = pool
        self._consumer = consumer
        self._only_reads = only_reads
        self._delivered = False
        self._unpaid = 0
        self.lane: Lane | None = None

    @property
    def only_reads(self) -> bool:
        """Whether it cannot have changed anything."""
        return self._only_reads

    @property
    def resendable(self) -> bool:
        """Whether it may be sent once more: not after rows of it were delivered."""
        return (self._only_reads or self.retry_ambiguous) and not self._delivered

    def is_unread(self, now: float) -> bool:
        """Whether rows arrived, and their consumer does not ask for them."""
        return self._delivered and self._consumer.is_idle(now)

    def start(self) -> None:
        """Hand it to the pool.

        Raises:
            What `WorkerPool.submit` raises.
        """
        self._pool.submit(self)

    def arrived(self, rows: list[bytes], size: int) -> None:
        """A chunk arrived."""
        self.deadline = None
        self._delivered = True
        self._consumer.rows_arrived(rows, size)

    def pay(self, size: int) -> None:
        """Rows of this size (bytes, as they arrived) were used up."""
        self._unpaid += size
        if self._unpaid >= CHUNK_BYTES and self.lane is not None and not self.settled:
            size, self._unpaid = self._unpaid, 0
            self.lane.pay(self, size)

    def stop(self) -> None:
        """The worker is to forget the stream; the consumer hears no more of it."""
        if self.settled or not self.id:
            return  # it is over, or the pool refused it
        if self.sent and self.lane is not None:
            self.lane.pay(self, STOP)
        self._pool.cancel(self)

    def succeed(self, result: dict[str, Any]) -> None:
        """Tell the consumer that all rows were there."""
        self._consumer.rows_ended(result)

    def fail(self, error: Exception) -> None:
        """Tell the consumer that no more rows come."""
        self._consumer.rows_failed(error)
