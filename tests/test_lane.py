"""Batches, acknowledgements, limits and deadlines of a lane, without a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_framing import parsed
from txcouchbase.amp import wire
from txcouchbase.amp.framing import ACK, KIND, RESULTS, payload_of
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.lane import GUARD_DELAY, Lane, LaneOwner
from txcouchbase.workers.operation import Operation
from txcouchbase.workers.process import TO_CHILD, Exit, WorkerProcess
from txcouchbase.workers.waiting import Waiters


class Recorded(Operation):
    """Remembers what became of it."""

    __slots__ = ("outcome",)

    def __init__(self, lane_id: int, name: str = "upsert", value: bytes = b"v") -> None:
        super().__init__(OPERATIONS[name], FakeKeyspace(), f"k{lane_id}", value)  # type: ignore[arg-type]
        self.id = lane_id
        self.outcome: list[Any] = []

    def succeed(self, result: dict[str, Any]) -> None:
        self.outcome.append(result)

    def fail(self, error: Exception) -> None:
        self.outcome.append(error)


class Answering(Recorded):
    """Does something when it has failed."""

    __slots__ = ("then",)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        self.then()


class FakeKeyspace:
    id = 7
    order = 1
    introduction = (7, 1, 1, "b", "s", "c")


class Owner(LaneOwner):
    def __init__(self) -> None:
        self.left: list[int] = []
        self.nonsense: list[str] = []

    def operation_left(self, operation: Operation) -> None:
        self.left.append(operation.id)

    def lane_spoke_nonsense(self, lane: Lane, reason: str) -> None:
        self.nonsense.append(reason)


class Pipe:
    """Takes the place of the process."""

    pid = 1
    hears = True

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class LaneTests(SynchronousTestCase):
    def lane(self, **config: Any) -> Lane:
        self.clock = Clock()
        self.owner = Owner()
        self.pipe = Pipe()
        config = {"min_workers": 1, "max_workers": 1, **config}
        lane = Lane(0, self.owner, PoolConfig(**config), self.clock)
        lane.process = self.pipe  # type: ignore[assignment]
        return lane

    def sent(self) -> list[list[int]]:
        """The numbers of the operations of each batch that was written."""
        batches = [wire.decode(payload_of(parsed(data)[0])) for data in self.pipe.written]
        return [[request[0] for request in requests] for _, requests in batches]

    def answer(self, lane: Lane, *numbers: int, acknowledged: int = 0) -> None:
        answers = [[number, {"cas": number}] for number in numbers]
        box: Mapping[bytes, bytes] = {
            KIND: RESULTS,
            b"0": wire.encode(answers),
            ACK: b"%d" % acknowledged,
        }
        lane.box_received(RESULTS, box)

    def acknowledge(self, lane: Lane) -> None:
        lane.box_received(ACK, {KIND: ACK, ACK: b"1"})

    def test_what_one_turn_submits_leaves_together_at_its_end(self) -> None:
        lane = self.lane()
        for number in (1, 2, 3):
            lane.submit(Recorded(number))
        self.assertEqual(self.sent(), [])
        self.clock.advance(0)
        self.assertEqual(self.sent(), [[1, 2, 3]])

    def test_operations_gather_until_the_acknowledgement(self) -> None:
        lane = self.lane()
        lane.submit(Recorded(1))
        self.clock.advance(0)
        lane.submit(Recorded(2))
        self.clock.advance(0)
        lane.submit(Recorded(3))
        self.clock.advance(1)
        self.assertEqual(self.sent(), [[1]])
        self.acknowledge(lane)
        self.assertEqual(self.sent(), [[1], [2, 3]])

    def test_a_full_batch_does_not_wait(self) -> None:
        lane = self.lane(batch_max_ops=2)
        lane.submit(Recorded(1))
        self.clock.advance(0)
        for number in (2, 3, 4):
            lane.submit(Recorded(number))
        self.clock.advance(0)
        self.assertEqual(self.sent(), [[1], [2, 3]])
        self.acknowledge(lane)
        self.acknowledge(lane)
        self.assertEqual(self.sent(), [[1], [2, 3], [4]])

    def test_bytes_bound_a_batch_but_not_a_single_operation(self) -> None:
        lane = self.lane(batch_max_bytes=100)
        for number, size in ((1, 1000), (2, 60), (3, 60)):
            lane.submit(Recorded(number, value=b"v" * size))
        self.clock.advance(0)
        for _ in range(3):
            self.acknowledge(lane)
        self.assertEqual(self.sent(), [[1], [2], [3]])

    def test_operations_in_flight_are_bounded(self) -> None:
        lane = self.lane(max_in_flight=2)
        for number in (1, 2, 3):
            lane.submit(Recorded(number))
        self.clock.advance(0)
        self.acknowledge(lane)
        self.assertEqual(self.sent(), [[1, 2]])
        self.answer(lane, 1)
        self.assertEqual(self.sent(), [[1, 2], [3]])

    def test_bytes_in_flight_are_bounded(self) -> None:
        lane = self.lane(max_in_flight_bytes=100)
        for number in (1, 2):
            lane.submit(Recorded(number, value=b"v" * 80))
        self.clock.advance(0)
        self.acknowledge(lane)
        self.assertEqual(self.sent(), [[1]])
        self.answer(lane, 1)
        self.assertEqual(self.sent(), [[1], [2]])

    def test_a_keyspace_is_introduced_once(self) -> None:
        lane = self.lane()
        for number in (1, 2):
            lane.submit(Recorded(number))
            self.clock.advance(0)
            self.acknowledge(lane)
        introduced = [wire.decode(payload_of(parsed(data)[0]))[0] for data in self.pipe.written]
        self.assertEqual(introduced, [[list(FakeKeyspace.introduction)], []])

    def test_an_answer_is_delivered_once(self) -> None:
        lane = self.lane()
        operation = Recorded(1)
        lane.submit(operation)
        self.clock.advance(0)
        self.answer(lane, 1, acknowledged=1)
        self.answer(lane, 1)
        self.assertEqual(operation.outcome, [{"cas": 1}])
        self.assertEqual(self.owner.left, [1])

    def test_a_deadline_passes_in_the_queue(self) -> None:
        lane = self.lane(max_in_flight=1)
        first, second = Recorded(1), Recorded(2)
        second.deadline = 1.0
        lane.submit(first)
        lane.submit(second)
        self.clock.advance(0)
        lane.expire(1.0)
        self.assertIsInstance(second.outcome[0], UnAmbiguousTimeoutException)
        self.answer(lane, 1, acknowledged=1)
        self.assertEqual(self.sent(), [[1]], "what has expired must never be sent")
        self.assertEqual(sorted(self.owner.left), [1, 2])

    def test_a_deadline_passes_in_flight(self) -> None:
        for name, expected in (
            ("upsert", AmbiguousTimeoutException),
            ("get", UnAmbiguousTimeoutException),
        ):
            lane = self.lane()
            operation = Recorded(1, name)
            operation.deadline = 1.0
            lane.submit(operation)
            self.clock.advance(0)
            lane.expire(1.0)
            self.assertEqual(operation.outcome, [], "the SDK has the first word")
            lane.expire(1.0 + GUARD_DELAY)
            self.assertIsInstance(operation.outcome[0], expected)
            self.assertEqual(self.owner.left, [], "the slot stays busy until the answer")
            self.answer(lane, 1)
            self.assertEqual(self.owner.left, [1])
            self.assertEqual(len(operation.outcome), 1)

    def test_the_rest_of_the_time_goes_to_the_worker(self) -> None:
        lane = self.lane()
        operation = Recorded(1)
        operation.deadline = 2.0
        lane.submit(operation)
        self.clock.advance(0.5)
        _, ((*_, timeout, _value, _flags),) = wire.decode(
            payload_of(parsed(self.pipe.written[0])[0])
        )
        self.assertEqual(timeout, 1500)

    def test_a_queue_that_is_released_while_a_batch_is_put_together(self) -> None:
        lane = self.lane()
        late, other = Answering(1), Recorded(2)
        late.deadline = 0.5
        released: list[Operation] = []
        late.then = lambda: released.extend(lane.release_queue())
        lane.submit(late)
        lane.submit(other)
        self.clock.advance(1)
        self.assertEqual(released, [other])
        self.assertEqual((self.sent(), other.sent), ([], False), "another worker is sent it")

    def test_nothing_is_sent_to_a_worker_that_has_ended(self) -> None:
        lane = self.lane()
        first, second = Recorded(1, "upsert"), Recorded(2, "upsert")
        lane.submit(first)
        self.clock.advance(0)
        self.acknowledge(lane)
        self.pipe.hears = False
        lane.submit(second)
        self.clock.advance(0)
        again, failed = lane.lost(Exit(None, 9, ""))
        self.assertEqual(again, [second], "it was not applied for certain")
        self.assertEqual([operation for operation, _ in failed], [first])

    def test_death(self) -> None:
        lane = self.lane(max_in_flight=3)
        read, write, cancelled, queued = (
            Recorded(1, "get"),
            Recorded(2, "upsert"),
            Recorded(3, "upsert"),
            Recorded(4, "upsert"),
        )
        for operation in (read, write, cancelled, queued):
            lane.submit(operation)
        self.clock.advance(0)
        cancelled.settled = True
        again, failed = lane.lost(Exit(None, 9, "last words"))
        self.assertEqual([operation.id for operation in again], [1, 4])
        ((lost, error),) = failed
        self.assertIs(lost, write)
        assert isinstance(error, WorkerLost)
        self.assertTrue(error.ambiguous)
        self.assertEqual((error.operation, error.key, error.signal), ("upsert", "k2", 9))
        self.assertEqual(sorted(self.owner.left), [1, 2, 3, 4])

    def test_a_read_is_sent_again_only_once(self) -> None:
        read = Recorded(1, "get")
        for expected in (1, 0):
            lane = self.lane()
            lane.submit(read)
            self.clock.advance(0)
            again, failed = lane.lost(Exit(1, None, ""))
            self.assertEqual((len(again), len(failed)), (expected, 1 - expected))
        error = failed[0][1]
        assert isinstance(error, WorkerLost)
        self.assertFalse(error.ambiguous)

    def test_an_operation_that_cannot_be_encoded_harms_no_other(self) -> None:
        lane = self.lane()
        good, bad = Recorded(1), Recorded(2)
        bad.options = {"cas": object()}
        for operation in (good, bad):
            lane.submit(operation)
        self.clock.advance(0)
        self.assertEqual(self.sent(), [[1]])
        self.assertIsInstance(bad.outcome[0], InvalidArgumentException)
        self.assertEqual(self.owner.left, [2])
        self.answer(lane, 1)
        self.assertEqual(good.outcome, [{"cas": 1}])

    def test_no_time_at_all(self) -> None:
        lane = self.lane()
        operation = Recorded(1)
        operation.deadline = 0.0
        lane.submit(operation)
        self.assertEqual(operation.outcome, [], "not from inside the call")
        self.clock.advance(0)
        self.assertIsInstance(operation.outcome[0], UnAmbiguousTimeoutException)
        self.assertEqual(self.sent(), [])

    def test_nonsense_is_reported(self) -> None:
        lane = self.lane()
        lane.box_received(RESULTS, {KIND: RESULTS, b"0": b"\xc1"})
        lane.box_received(b"?", {KIND: b"?", b"0": wire.encode(None)})
        self.assertEqual(len(self.owner.nonsense), 2)


class ProcessTests(SynchronousTestCase):
    def test_a_pipe_that_is_closed_before_the_exit_is_known(self) -> None:
        lane = Lane(0, Owner(), PoolConfig(min_workers=1, max_workers=1), Clock())
        process = WorkerProcess(lane, Clock(), lambda lane, exit: None)
        written: list[bytes] = []

        class Transport:
            def writeToChild(self, fd: int, data: bytes) -> None:
                written.append(data)

        process.transport = Transport()
        process.write(b"heard")
        process.childConnectionLost(2)
        process.write(b"heard too")
        process.childConnectionLost(TO_CHILD)
        process.write(b"the transport knows no such pipe any more")
        self.assertEqual(written, [b"heard", b"heard too"])


class WaitersTests(SynchronousTestCase):
    def test_one_that_cancels_another(self) -> None:
        for fire in (Waiters.release_present, lambda waiters: waiters.fail(ValueError())):
            waiters = Waiters()
            first, second, third = (waiters.wait() for _ in range(3))
            first.addBoth(lambda _, second=second: second.cancel())
            fire(waiters)
            self.failureResultOf(second, CancelledError)
            self.assertTrue(third.called)
            third.addErrback(lambda _: None)
