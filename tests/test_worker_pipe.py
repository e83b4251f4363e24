"""A worker's end of the pipe as the application sees it, whatever comes out of it."""

from __future__ import annotations

from typing import Any

from ampoule.main import FROM_CHILD, TO_CHILD
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.faultyworker import GARBAGE, Faulty
from tests.test_lane import Owner, Recorded
from txcouchbase.amp import wire
from txcouchbase.amp.framing import ACK, RESULTS, ROWS, encode_box
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.lane import Lane
from txcouchbase.workers.process import Exit, WorkerProcess


class Pipe:
    """One pipe of a process."""

    def __init__(self, process: WorkerProcess, fd: int) -> None:
        self.process = process
        self.fd = fd

    def connectionLost(self, reason: Failure) -> None:
        """Closed by the application."""
        del self.process.transport.pipes[self.fd]
        self.process.childConnectionLost(self.fd)


class Transport:
    """A process as Twisted presents it."""

    pid = 7

    def __init__(self, process: WorkerProcess) -> None:
        self.written: list[bytes] = []
        self.pipes = {fd: Pipe(process, fd) for fd in (0, 1, 2, TO_CHILD, FROM_CHILD)}

    def writeToChild(self, fd: int, data: bytes) -> None:
        """Bytes to the worker."""
        self.written.append(data)

    def reapProcess(self) -> None:
        """It goes on."""


class Written(Faulty):
    """A faulty worker whose bytes are collected."""

    def __init__(self) -> None:
        self.data = b""
        self.task: Any = Recorded(5)

    def write(self, data: bytes) -> None:
        """Bytes to the application."""
        self.data += data


class PipeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.exits: list[Exit] = []
        self.lane = Lane(0, self.owner, PoolConfig(min_workers=1, max_workers=1), self.clock)
        self.process = WorkerProcess(self.lane, self.clock, lambda _, end: self.exits.append(end))
        self.lane.process = self.process
        self.process.makeConnection(Transport(self.process))  # type: ignore[arg-type]
        self.operation = Recorded(5)
        self.lane.submit(self.operation)
        self.clock.advance(0)

    def end(self, status: int = 0x0100) -> None:
        """The process ends, and the pipes stay open."""
        self.process.processExited(Failure(ProcessTerminated(1, None, status)))


class GarbageTests(PipeTestCase):
    def test_everything_that_makes_no_sense(self) -> None:
        for name in sorted(GARBAGE):
            if name != "truncated":
                self.setUp()
                faulty = Written()
                GARBAGE[name](faulty)
                self.process.childDataReceived(FROM_CHILD, faulty.data)
                self.assertEqual(len(self.owner.nonsense), 1, name)
                self.assertLessEqual(len(self.operation.outcome), 1)
        self.flushLoggedErrors(KeyError)

    def test_what_follows_nonsense_is_not_read(self) -> None:
        self.process.childDataReceived(FROM_CHILD, b"\xff" * 10)
        answer = encode_box(RESULTS, wire.encode([(5, {"cas": 1})]))
        self.process.childDataReceived(FROM_CHILD, answer)
        self.assertEqual((len(self.owner.nonsense), self.operation.outcome), (1, []))

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([RESULTS, ROWS, ACK, b"?"]),
                st.recursive(
                    st.none() | st.integers(-9, 9) | st.binary(max_size=3) | st.text(max_size=3),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
                    ),
                    max_leaves=6,
                ),
                st.integers(0, 2),
            ),
            max_size=4,
        ),
        st.binary(max_size=20),
    )
    def test_whatever_comes(self, boxes: list[tuple[bytes, Any, int]], rest: bytes) -> None:
        self.setUp()
        for kind, content, acknowledged in boxes:
            box = encode_box(kind, wire.encode(content), acknowledged)
            self.process.childDataReceived(FROM_CHILD, box)
        self.process.childDataReceived(FROM_CHILD, rest)
        self.assertLessEqual(len(self.operation.outcome), 1)
        self.assertGreaterEqual(self.lane._unacknowledged, 0)
        self.assertEqual(len(self.lane._in_flight), 1 - len(self.operation.outcome))
        self.flushLoggedErrors()


class EndTests(PipeTestCase):
    def test_what_is_left_in_the_pipes_is_read_before_the_end_is_told(self) -> None:
        self.end()
        answer = encode_box(RESULTS, wire.encode([(5, {"cas": 1})]))
        for start in range(0, len(answer), 5):
            # One look each, however long the reactor was held up before it.
            self.clock.advance(60)
            self.process.childDataReceived(FROM_CHILD, answer[start : start + 5])
        self.process.childDataReceived(2, b"last words")
        self.assertEqual((self.exits, len(self.operation.outcome)), ([], 1))
        self.clock.pump([60, 60])
        self.assertEqual(self.exits, [Exit(1, None, "last words")])
        self.assertEqual(self.process.transport.pipes, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_grandchild_that_goes_on_writing_is_not_waited_for(self) -> None:
        self.end()
        for _ in range(100):
            self.process.childDataReceived(2, b"still here\n")
            self.clock.advance(0.01)
        self.assertEqual(len(self.exits), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_pipe_that_is_closed_by_a_worker_that_ends(self) -> None:
        for fd in (FROM_CHILD, TO_CHILD):
            self.process.transport.pipes[fd].connectionLost(Failure(ConnectionError()))
        self.end()
        self.clock.pump([60, 60])
        self.assertEqual((len(self.exits), self.owner.nonsense), (1, []))

    def test_a_pipe_that_is_closed_by_a_worker_that_goes_on(self) -> None:
        self.process.transport.pipes[FROM_CHILD].connectionLost(Failure(ConnectionError()))
        self.assertEqual(self.owner.nonsense, [])
        self.clock.advance(60)
        self.assertEqual((len(self.owner.nonsense), self.exits), (1, []))

    def test_stdout_and_stderr_may_be_closed(self) -> None:
        for fd in (0, 1, 2):
            self.process.transport.pipes[fd].connectionLost(Failure(ConnectionError()))
        self.clock.advance(60)
        self.assertEqual((self.owner.nonsense, self.exits), ([], []))
