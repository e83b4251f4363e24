"""`Lane`: the reactor's side of one worker.

The clock is the batch. While the worker has read every batch that was sent, the next one leaves
at the end of the reactor's turn; otherwise operations gather until it has, or until a batch is
full. So a lonely operation waits for nobody, and load makes batches by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
from couchbase.exceptions import InvalidArgumentException
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from txcouchbase.amp import wire
from txcouchbase.amp.errors import error_from_data, timeout_error
from txcouchbase.amp.framing import (
    ACK,
    BATCH,
    CREDIT,
    KIND,
    LOG,
    RESULTS,
    ROWS,
    encode_box,
    payload_of,
)
from txcouchbase.amp.rows import STOP
from txcouchbase.exceptions import PoolClosed, WorkerLost
from txcouchbase.workers.histogram import PER_SECOND
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.sdk_log import log_lines
from txcouchbase.workers.stats import Tally
from txcouchbase.workers.stream import RowOperation

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.process import Exit, WorkerProcess
    from txcouchbase.workers.target import Target

__all__ = ["GUARD_DELAY", "Lane", "LaneOwner", "timed_out"]

GUARD_DELAY = 0.5
"""How long after an operation's deadline the reactor answers by itself, if the SDK, which was
given the rest of the time, has not (seconds)."""

_LONGEST = 10**12
"""As much time as anybody needs, and all clocks on the way can count (milliseconds)."""


class LaneOwner:
    """What a lane tells its pool."""

    def operation_left(self, operation: Operation) -> None:
        """The operation no longer counts: it was answered, dropped or lost."""
        raise NotImplementedError

    def lane_spoke_nonsense(self, lane: Lane, reason: str) -> None:
        """The worker sent something that cannot be understood."""
        raise NotImplementedError


class WorkerPipe(amp.AMP):
    """The pool's end of the pipe: our own boxes go to the lane, the others to AMP."""

    def __init__(self, lane: Lane) -> None:
        super().__init__()
        self._lane = lane

    def makeConnection(self, transport: Any) -> None:
        """As AMP, without its line in the log, since the pool's own say more."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """As above."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)

    def call(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Send an ordinary command; errbacks if the worker ends before it answers."""
        answer: Deferred[dict[str, Any]] = self.callRemote(command, **arguments)
        return answer

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """One box from the worker."""
        kind = box.get(KIND)
        if kind is not None:
            self._lane.box_received(kind, box)
        elif amp.ANSWER in box or amp.ERROR in box:
            super().ampBoxReceived(box)
        else:
            self._lane.broken("it sent a box that is neither an answer nor of a known kind")


class Lane:
    """Queue, operations in flight and pipe of one worker.

    Attributes:
        generation: The worker's number, never used again.
        process: Its process protocol, once it was spawned.
        pid: Its process id, also after it ended; None before it was spawned.
        silent_beats: Heartbeats in a row without a word from the worker.
        operations: Operations that it was sent.
        rss: Its resident memory at its last sign of life (bytes), 0 before the first.
        client: The client that the worker runs, ``"raw"`` or ``"sync"``, once it is ready.
        tally: Where it counts what it does.
    """

    def __init__(
        self,
        generation: int,
        owner: LaneOwner,
        config: PoolConfig,
        reactor: Any,
        tally: Tally | None = None,
    ) -> None:
        self.generation = generation
        self.process: WorkerProcess | None = None
        self.pipe = WorkerPipe(self)
        self.pid: int | None = None
        self.silent_beats = 0
        self.operations = 0
        self.rss = 0
        self.client = ""
        self.tally = tally if tally is not None else Tally()
        self._owner = owner
        self._config = config
        self._reactor = reactor
        self._queue: deque[Operation] = deque()
        self._in_flight: dict[int, Operation] = {}
        self._in_flight_bytes = 0
        self._streams: dict[int, RowOperation] = {}
        self._held_streams: deque[RowOperation] = deque()
        self._known_keyspaces: set[int] = set()
        self._unacknowledged = 0
        self._flush_due = False
        self._lost = False

    @property
    def load(self) -> int:
        """Operations queued and in flight."""
        return len(self._queue) + len(self._held_streams) + len(self._in_flight)

    @property
    def sent(self) -> Collection[Operation]:
        """What its worker was sent and has not answered."""
        return self._in_flight.values()

    @property
    def places(self) -> tuple[Collection[Operation], ...]:
        """Where its operations are, those included for which nobody waits any more."""
        return self._queue, self._held_streams, self._in_flight.values()

    @property
    def owes_answers(self) -> bool:
        """Whether somebody waits for an answer from it."""
        return any(not operation.settled for operation in chain(*self.places))

    @property
    def falls_behind(self) -> bool:
        """Whether operations wait for the worker, and not for the server."""
        if self.client == "sync":
            return len(self._in_flight) > self._config.worker_threads
        waits_for_server = len(self._in_flight) >= self._config.max_in_flight
        return bool(self._queue) and self._unacknowledged > 0 and not waits_for_server

    def submit(self, operation: Operation) -> None:
        """Queue an operation. Nothing is delivered or written before the turn ends."""
        self._queue.append(operation)
        if not self._flush_due and (
            not self._unacknowledged or len(self._queue) == self._config.batch_max_ops
        ):
            self._flush_due = True
            self._reactor.callLater(0, self._flush)

    def broken(self, reason: str) -> None:
        """The worker cannot be used any more, for example since it closed its pipe."""
        self._owner.lane_spoke_nonsense(self, reason)

    def box_received(self, kind: bytes, box: Mapping[bytes, bytes]) -> None:
        """A box of our own arrived from the worker."""
        self.silent_beats = 0
        answers: list[wire.Answer] = []
        rows: tuple[int, list[bytes]] | None = None
        try:
            acknowledged = int(box.get(ACK, b"0"))
            if not 0 <= acknowledged <= self._unacknowledged:
                raise ValueError(f"it acknowledges {acknowledged}")
            data = payload_of(box)
            if kind == RESULTS:
                answers = wire.decode_answers(data)
            elif kind == ROWS:
                rows = wire.decode_rows(data)
            elif kind == LOG:
                log_lines(self.pid, wire.decode_log(data))
            elif kind != ACK:
                raise ValueError(f"its kind is {kind!r}")
        except (ValueError, msgspec.MsgspecError) as error:
            self.broken(f"it sent a box that cannot be: {error}")
            return
        self._unacknowledged -= acknowledged
        if rows is not None:
            self._rows_received(*rows, len(data))
        elif answers:
            self._results_received(answers)
        if self._queue and not self._unacknowledged and not self._flush_due:
            self._flush()

    def _results_received(self, answers: list[wire.Answer]) -> None:
        # Callbacks submit more operations: they leave together when all have run.
        flush_was_due, self._flush_due = self._flush_due, True
        in_flight = self._in_flight
        now = self._reactor.seconds()
        executed = self.tally.executed
        # Most answers of a box are to operations of one batch: their time is counted at once.
        of_batch, batch_sent_at = 0, now
        unasked = None
        for answer in answers:
            result, error = answer.result, answer.error
            if answer.id not in in_flight or (result is None and error is None):
                unasked = answer.id
                continue
            operation = in_flight.pop(answer.id)
            if operation.sent_at != batch_sent_at:
                if of_batch:
                    executed.add(now - batch_sent_at, of_batch)
                of_batch, batch_sent_at = 0, operation.sent_at
            of_batch += 1
            self._in_flight_bytes -= operation.size
            self._owner.operation_left(operation)
            if self._streams and operation.kind.rows:
                self._stream_left(operation.id)
            if operation.settled:
                continue
            operation.settled = True
            if error is not None:
                self.tally.failed += 1
                operation.fail(operation.refused(error_from_data(error)))
            elif result is not None:
                operation.succeed(result)
        if of_batch:
            executed.add(now - batch_sent_at, of_batch)
        self._flush_due = flush_was_due
        if unasked is not None:
            self.broken(f"it sent an answer that nobody asked for, or none to {unasked}")

    def _rows_received(self, number: int, rows: list[bytes], size: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            self.broken(f"it sent rows for {number}, which is no stream")
        elif stream.settled:
            # Late, after its guard fired: nobody would pay, and it would keep its slot for ever.
            self.pay(stream, STOP)
        else:
            stream.arrived(rows, size)

    def pay(self, stream: RowOperation, size: int) -> None:
        """Tell the worker that so many bytes of a stream's rows were used up, or `STOP`."""
        if not self._lost and self.process is not None:
            self.process.write(encode_box(CREDIT, wire.encode((stream.id, size))))

    def _stream_left(self, number: int) -> None:
        del self._streams[number]
        while self._held_streams:
            stream = self._held_streams.popleft()
            if not stream.settled:
                self._queue.appendleft(stream)
                return

    def _flush(self) -> None:
        self._flush_due = False
        if self._lost or self.process is None or not self.process.hears:
            return  # what is not sent can move to another worker once this one is known to be lost
        while self._queue and (
            not self._unacknowledged or len(self._queue) >= self._config.batch_max_ops
        ):
            if not self._send_batch():
                return

    def _send_batch(self) -> bool:
        """Send one batch; false if there was nothing that could be sent."""
        config = self._config
        now = self._reactor.seconds()
        queue = self._queue
        keyspaces: list[Any] = []
        requests: list[Any] = []
        waited, seconds = self.tally.waited.counts, 0.0
        room_ops = min(config.batch_max_ops, config.max_in_flight - len(self._in_flight))
        batch_bytes = 0
        while queue and len(requests) < room_ops:
            operation = queue[0]
            if operation.settled:
                queue.popleft()
                continue
            if _passed(operation.deadline, now):
                queue.popleft()
                self._expired(operation)
                continue
            stream = operation if isinstance(operation, RowOperation) else None
            if stream is not None and len(self._streams) >= config.max_streams:
                queue.popleft()
                self._held_streams.append(stream)
                continue
            size = operation.size
            if requests and batch_bytes + size > config.batch_max_bytes:
                break
            if self._in_flight and self._in_flight_bytes + size > config.max_in_flight_bytes:
                break
            queue.popleft()
            batch_bytes += size
            self._in_flight_bytes += size
            self._in_flight[operation.id] = operation
            operation.sent = True
            operation.sent_at = now
            taken = now - operation.admitted
            seconds += taken
            waited[int(taken * PER_SECOND).bit_length()] += 1  # as `Times.add`
            if stream is not None:
                stream.lane = self
                self._streams[stream.id] = stream
            requests.append(self._request(operation, now, keyspaces))
        if not requests:
            return False
        self.tally.waited.total += seconds
        self.tally.batches.add(len(requests))
        try:
            payload = wire.encode((keyspaces, requests))
        except Exception:  # whatever an odd option makes the encoder raise
            payload = wire.encode((keyspaces, self._encodable(requests)))
        self._unacknowledged += 1
        self.operations += len(requests)
        assert self.process is not None
        self.process.write(encode_box(BATCH, payload))
        return True

    def _encodable(self, requests: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Those that can be sent; the others fail, so that they harm nobody else's."""
        good = []
        for request in requests:
            try:
                wire.encode(request)
            except Exception as error:  # as above
                operation = self._in_flight.pop(request[0])
                self._in_flight_bytes -= operation.size
                operation.settled = True
                self._owner.operation_left(operation)
                self.tally.failed += 1
                message = f"{operation.kind.name}: an option is of the wrong type: {error}"
                operation.fail(InvalidArgumentException(message))
            else:
                good.append(request)
        return good

    def _expired(self, operation: Operation) -> None:
        operation.settled = True
        self._owner.operation_left(operation)
        self.tally.failed += 1
        operation.fail(operation.unsent(timed_out(operation, sent=False)))

    def _request(self, operation: Operation, now: float, keyspaces: list[Any]) -> tuple[Any, ...]:
        keyspace = operation.keyspace
        if keyspace.id not in self._known_keyspaces:
            self._known_keyspaces.add(keyspace.id)
            keyspaces.append(keyspace.introduction)
        deadline = operation.deadline
        timeout = 0
        if deadline is not None:
            timeout = min(max(1, int((deadline - now) * 1000)), _LONGEST)
        head = (operation.id, operation.kind.code, keyspace.id, operation.key, timeout)
        if operation.options is not None:
            return (*head, operation.value, operation.flags, operation.options)
        if operation.value is not None:
            return (*head, operation.value, operation.flags)
        return head

    def expire(self, now: float) -> None:
        """End the operations whose deadline has passed."""
        for operation in (*self._queue, *self._held_streams):
            if not operation.settled and _passed(operation.deadline, now):
                self._expired(operation)
        # While the worker reads nothing, those that are over would gather without a bound.
        self._queue = deque(each for each in self._queue if not each.settled)
        self._held_streams = deque(each for each in self._held_streams if not each.settled)
        guard = now - GUARD_DELAY
        for operation in list(self._in_flight.values()):
            if not operation.settled and _passed(operation.deadline, guard):
                # The slot stays busy until the worker answers: its bytes may be at the server.
                operation.settled = True
                self.tally.failed += 1
                operation.fail(timed_out(operation, sent=True))

    def end_unread(self, now: float, closing: bool) -> None:
        """End the streams that hold up a close, since nobody asks for their rows.

        Args:
            now: The time (seconds).
            closing: Whether the whole pool is closed.
        """
        for stream in list(self._streams.values()):
            closed = closing or stream.keyspace.target.closed
            if closed and not stream.settled and stream.is_unread(now):
                stream.settled = True
                self.tally.failed += 1
                self.pay(stream, STOP)
                what = "pool" if closing else "cluster or bucket"
                stream.fail(PoolClosed(f"the {what} was closed before all rows were read"))

    def release_queue(self, target: Target | None = None) -> list[Operation]:
        """Give back what the worker was not sent.

        Args:
            target: Whose operations, all of which are given back; by default everybody's, but
                for what only this worker can do.

        Returns:
            The operations, in their order. None of them counts any more.
        """

        def leaves(operation: Operation) -> bool:
            if target is None:
                return not operation.pinned
            return operation.keyspace.target is target

        queued = sorted((*self._queue, *self._held_streams), key=lambda operation: operation.id)
        # In place: a batch may be under way, in which the errback of a late operation called this.
        self._queue.clear()
        self._queue.extend(each for each in queued if not leaves(each))
        self._held_streams.clear()
        again = [each for each in queued if leaves(each) and not each.settled]
        for operation in again:
            self._owner.operation_left(operation)
        return again

    def lost(self, exit: Exit) -> tuple[list[Operation], list[tuple[Operation, Exception]]]:
        """The worker has ended.

        Returns:
            The operations to submit again, in their order, and those that failed, each with
            its error, which they have not heard of yet. None of them counts any more.
        """
        self._lost = True
        again: list[Operation] = []
        failed: list[tuple[Operation, Exception]] = []
        for operation in self._in_flight.values():
            self._owner.operation_left(operation)
            if operation.settled:
                continue
            if operation.resendable and not operation.resent and not operation.pinned:
                operation.send_once_more(_worker_lost(operation, exit))
                self.tally.resent += 1
                again.append(operation)
            else:
                failed.append((operation, _worker_lost(operation, exit)))
        for operation in (*self._queue, *self._held_streams):
            if operation.settled:
                continue
            self._owner.operation_left(operation)
            if operation.pinned:
                operation.sent = True  # it is on no queue any more, should it be cancelled
                failed.append((operation, _worker_lost(operation, exit)))
            else:
                again.append(operation)
        self._in_flight.clear()
        self._queue.clear()
        self._streams.clear()
        self._held_streams.clear()
        self._in_flight_bytes = 0
        for operation in again:
            operation.sent = False
        again.sort(key=lambda operation: operation.id)
        return again, failed


def _passed(deadline: float | None, now: float) -> bool:
    return deadline is not None and deadline <= now


def timed_out(operation: Operation, *, sent: bool) -> Exception:
    """The exception for an operation whose deadline has passed on this side of the pipe, with
    the code that the SDK gives it."""
    where = "waiting for the worker's answer" if sent else "before it was sent to a worker"
    message = f"{operation.kind.name} timed out {where}"
    return timeout_error(message, ambiguous=sent and not operation.only_reads)


def _worker_lost(operation: Operation, exit: Exit) -> WorkerLost:
    return WorkerLost(
        ambiguous=not operation.only_reads,
        operation=operation.kind.name,
        key=operation.key,
        exit_code=exit.code,
        signal=exit.signal,
        stderr=exit.stderr,
    )
