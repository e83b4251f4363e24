"""A lane's streams of rows, without a process: payments, stops, deadlines, deaths, limits."""

from __future__ import annotations

from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_framing import parsed
from tests.test_lane import FakeKeyspace, Owner, Pipe, Recorded
from txcouchbase.amp import wire
from txcouchbase.amp.framing import ACK, BATCH, CREDIT, KIND, RESULTS, ROWS, payload_of
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.amp.rows import CHUNK_BYTES, STOP
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.lane import GUARD_DELAY, Lane
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.process import Exit
from txcouchbase.workers.stream import RowOperation


class Consumer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def rows_arrived(self, rows: list[bytes], size: int) -> None:
        self.told.append(rows)

    def rows_ended(self, result: dict[str, Any]) -> None:
        self.told.append(result)

    def rows_failed(self, error: Exception) -> None:
        self.told.append(error)


class OneLane:
    """A pool that has one lane and admits everything."""

    def __init__(self, lane: Lane, owner: Owner) -> None:
        self.lane = lane
        self.owner = owner
        self.last = 0

    def submit(self, operation: Operation) -> None:
        self.last += 1
        operation.id = self.last
        operation.deadline = operation.timeout
        self.lane.submit(operation)

    def cancel(self, operation: Operation) -> None:
        operation.settled = True
        if not operation.sent:
            self.owner.operation_left(operation)


class RowLaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **config: Any) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.pipe = Pipe()
        self.acknowledged = 0
        config = {"min_workers": 1, "max_workers": 1, **config}
        self.lane = Lane(0, self.owner, PoolConfig(**config), self.clock)
        self.lane.process = self.pipe  # type: ignore[assignment]
        self.pool = OneLane(self.lane, self.owner)

    def start(
        self, reads: bool = False, timeout: float | None = 5.0
    ) -> tuple[RowOperation, Consumer]:
        consumer = Consumer()
        operation = RowOperation(
            self.pool,  # type: ignore[arg-type]
            OPERATIONS["query"],
            FakeKeyspace(),  # type: ignore[arg-type]
            {"statement": "SELECT 1"},
            reads,
            timeout,
            75.0,
            consumer,
        )
        operation.start()
        self.clock.advance(0)
        self.acknowledge()
        return operation, consumer

    def acknowledge(self) -> None:
        batches = len(self.boxes(BATCH)) - self.acknowledged
        self.acknowledged += batches
        self.lane.box_received(ACK, {KIND: ACK, ACK: b"%d" % batches})

    def boxes(self, kind: bytes) -> list[Any]:
        boxes = [parsed(data)[0] for data in self.pipe.written]
        return [wire.decode(payload_of(box)) for box in boxes if box[KIND] == kind]

    def sent(self) -> list[int]:
        return [request[0] for _, requests in self.boxes(BATCH) for request in requests]

    def rows(self, operation: RowOperation, *rows: bytes) -> int:
        payload = wire.encode([operation.id, list(rows)])
        self.lane.box_received(ROWS, {KIND: ROWS, b"0": payload})
        return len(payload)

    def end(self, *operations: RowOperation) -> None:
        payload = wire.encode([[operation.id, {"end": 1}] for operation in operations])
        self.lane.box_received(RESULTS, {KIND: RESULTS, b"0": payload})

    def test_rows_and_their_payment(self) -> None:
        operation, consumer = self.start()
        self.rows(operation, b"a", b"b")
        self.rows(operation, b"c")
        self.assertEqual(consumer.told, [[b"a", b"b"], [b"c"]])
        operation.pay(CHUNK_BYTES - 1)
        self.assertEqual(self.boxes(CREDIT), [])
        operation.pay(2)
        self.assertEqual(self.boxes(CREDIT), [[1, CHUNK_BYTES + 1]])
        self.end(operation)
        self.assertEqual(consumer.told[2:], [{"end": 1}])
        self.assertEqual(self.owner.left, [1])
        operation.pay(CHUNK_BYTES)
        operation.stop()
        self.rows(operation, b"d")
        self.assertEqual((len(self.boxes(CREDIT)), len(consumer.told)), (1, 3))

    def test_stop(self) -> None:
        operation, consumer = self.start()
        self.rows(operation, b"a")
        operation.stop()
        operation.stop()
        self.assertEqual(self.boxes(CREDIT), [[1, STOP]])
        self.assertEqual((self.owner.left, self.lane.load), ([], 1), "busy until the answer")
        self.end(operation)
        self.assertEqual((self.owner.left, self.lane.load), ([1], 0))
        self.assertEqual(consumer.told, [[b"a"]])

    def test_the_deadline_ends_with_the_first_rows(self) -> None:
        reading, consumer = self.start()
        _, silent = self.start()
        _, harmless = self.start(reads=True)
        self.rows(reading, b"a")
        self.lane.expire(5.0 + GUARD_DELAY)
        self.assertEqual(consumer.told, [[b"a"]])
        self.assertIsInstance(silent.told[0], AmbiguousTimeoutException)
        self.assertIsInstance(harmless.told[0], UnAmbiguousTimeoutException)

    def test_rows_after_the_guard_are_stopped(self) -> None:
        operation, consumer = self.start()
        self.lane.expire(5.0 + GUARD_DELAY)
        self.rows(operation, b"late")
        self.assertEqual(self.boxes(CREDIT), [[1, STOP]])
        self.assertEqual(len(consumer.told), 1)

    def test_death(self) -> None:
        plain, told_plain = self.start()
        reads, told_reads = self.start(reads=True)
        delivered, told_delivered = self.start(reads=True)
        self.rows(delivered, b"a")
        again, failed = self.lane.lost(Exit(1, None, ""))
        self.assertEqual(again, [reads])
        self.assertEqual([operation for operation, _ in failed], [plain, delivered])
        ambiguous = [error.ambiguous for _, error in failed if isinstance(error, WorkerLost)]
        self.assertEqual(ambiguous, [True, False])
        delivered.pay(CHUNK_BYTES)
        self.assertEqual(self.boxes(CREDIT), [])
        # On another lane it starts anew, and once only.
        lane = self.lane
        self.make()
        self.assertIsNot(self.lane, lane)
        self.lane.submit(reads)
        self.clock.advance(0)
        self.rows(reads, b"b")
        self.assertEqual(told_reads.told, [[b"b"]])
        reads.stop()
        self.assertEqual(self.boxes(CREDIT), [[reads.id, STOP]])
        self.assertEqual((told_plain.told, told_delivered.told), ([], [[b"a"]]))

    def test_limit(self) -> None:
        self.make(max_streams=2)
        first, _ = self.start()
        second, _ = self.start()
        held, told_held = self.start()
        late, told_late = self.start(timeout=1.0)
        stopped, told_stopped = self.start()
        last, _ = self.start()
        self.lane.submit(Recorded(90))
        self.clock.advance(0)
        self.acknowledge()
        self.assertEqual(self.sent(), [1, 2, 90])
        self.assertEqual(self.lane.load, 7)
        self.lane.expire(1.0)
        self.assertIsInstance(told_late.told[0], UnAmbiguousTimeoutException)
        stopped.stop()
        self.acknowledge()
        self.end(first)
        self.assertEqual(self.sent(), [1, 2, 90, held.id])
        self.acknowledge()
        self.end(held)
        self.assertEqual(self.sent(), [1, 2, 90, held.id, last.id])
        self.assertEqual((told_held.told, told_stopped.told), ([{"end": 1}], []))
        waiting, _ = self.start()
        again, failed = self.lane.lost(Exit(1, None, ""))
        self.assertEqual(again, [waiting], "what was not sent moves")
        self.assertEqual([op.id for op, _ in failed], [2, 90, last.id])
        del late, second

    def test_what_cannot_be_encoded_is_refused_at_the_call(self) -> None:
        self.assertRaises(
            InvalidArgumentException,
            RowOperation,
            self.pool,
            OPERATIONS["query"],
            FakeKeyspace(),
            {"statement": object()},
            False,
            1.0,
            1.0,
            Consumer(),
        )
