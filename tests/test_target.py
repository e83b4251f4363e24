"""Who is told what about connections, and when workers try again. No process, no server."""

from __future__ import annotations

from collections import deque
from typing import Any

from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp.errors import encode_error
from txcouchbase.exceptions import PoolClosed, WorkerLost, WorkerStartFailed
from txcouchbase.workers.own_copy import own_copy
from txcouchbase.workers.target import Target

UNREACHABLE = UnAmbiguousTimeoutException("Failed to connect", error_code=14)
REFUSED = AuthenticationException("no")


class Owner:
    """A pool whose workers are strings."""

    def __init__(self, *lanes: str) -> None:
        self.reactor = Clock()
        self.lanes: list[Any] = list(lanes)
        self.dispatched = 0
        self.failed: list[Any] = []

    def ready_lanes(self) -> list[Any]:
        return list(self.lanes)

    def now(self) -> float:
        return self.reactor.seconds()

    def later(self, delay: float, function: Any, *args: Any) -> Any:
        return self.reactor.callLater(delay, function, *args)

    def cancel_call(self, call: Any) -> None:
        if call.active():
            call.cancel()

    def dispatch_waiting(self, target: Target) -> None:
        self.dispatched += 1

    def fail_waiting(self, target: Target, operations: deque[Any], error: Exception) -> None:
        self.failed += operations

    def order_number(self, place: tuple[str, str, str, str]) -> int:
        return 1


class ATarget(Target):
    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self.attempts: dict[Any, Deferred[dict[str, bytes]]] = {}

    def _open(self, lane: Any) -> Deferred[dict[str, bytes]]:
        attempt = self.attempts[lane] = Deferred()
        return attempt

    def answer(self, lane: str, error: Exception | None = None) -> None:
        described = encode_error(error) if error is not None else b""
        self.attempts.pop(lane).callback({"error": described})


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make("a", "b")

    def make(self, *lanes: str) -> None:
        self.owner = Owner(*lanes)
        self.clock = self.owner.reactor
        self.target = ATarget(self.owner)

    def start(self) -> None:
        for lane in self.owner.lanes:
            self.target.start_on(lane)

    def waiting(self) -> Deferred[None]:
        self.target.waiting.append("operation")  # type: ignore[arg-type]
        return self.target.when_connected()

    def test_the_first_worker_is_enough(self) -> None:
        self.start()
        connected = self.waiting()
        self.target.answer("a", UNREACHABLE)
        self.assertNoResult(connected)
        self.assertIs(type(self.target.last_refusal), UnAmbiguousTimeoutException)
        self.target.answer("b")
        self.successResultOf(connected)
        self.assertEqual((self.owner.dispatched, self.owner.failed), (1, []))
        self.assertIsNone(self.target.last_refusal)

    def test_an_unreachable_server_is_told_when_the_last_has_tried(self) -> None:
        self.start()
        connected = self.waiting()
        self.target.answer("a", UNREACHABLE)
        self.target.answer("b", UNREACHABLE)
        self.failureResultOf(connected, UnAmbiguousTimeoutException)
        self.assertEqual(self.owner.failed, ["operation"])
        # They go on by themselves.
        self.clock.advance(0.3)
        self.assertEqual(set(self.target.attempts), {"a", "b"})

    def test_workers_that_never_try_at_the_same_time(self) -> None:
        # One of them always tries when the other one fails.
        self.start()
        self.clock.advance(5)
        self.target.answer("a", UNREACHABLE)
        for _ in range(5):
            connected = self.waiting()
            for lane in ("b", "a"):
                self.clock.pump([1.0] * 10)
                self.assertEqual(set(self.target.attempts), {"a", "b"})
                self.target.answer(lane, UNREACHABLE)
            self.failureResultOf(connected, UnAmbiguousTimeoutException)
            self.assertEqual(self.owner.failed, ["operation"])
            self.owner.failed.clear()

    def test_who_asks_does_not_wait_for_the_next_attempt_of_its_own(self) -> None:
        self.make("a")
        self.start()
        for _ in range(8):
            self.target.answer("a", UNREACHABLE)
            connected = self.target.when_connected()
            self.clock.advance(0.3)
            self.assertEqual(set(self.target.attempts), {"a"})
            connected.addErrback(lambda failure: failure.trap(UnAmbiguousTimeoutException))
            self.assertNoResult(connected)
        self.target.answer("a")
        self.assertIsNone(self.successResultOf(connected))

    def test_a_refusal_is_told_at_once_and_not_tried_again_unasked(self) -> None:
        self.start()
        connected = self.waiting()
        self.target.answer("a", REFUSED)
        self.failureResultOf(connected, AuthenticationException)
        self.target.answer("b", REFUSED)
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.target.attempts, {})

    def test_workers_that_fail_together_have_failed_once(self) -> None:
        self.make(*"abcdefgh")
        self.start()
        for number in range(4):
            for lane in self.owner.lanes:
                self.target.answer(lane, REFUSED)
            self.target.ask()
            pause = 0.25 * 2**number
            self.clock.advance(pause - 0.01)
            self.assertEqual(self.target.attempts, {})
            self.clock.advance(0.02)
            self.assertEqual(set(self.target.attempts), set(self.owner.lanes))

    def test_the_longest_pause(self) -> None:
        self.make("a")
        self.start()
        for _ in range(30):
            self.target.answer("a", REFUSED)
            self.target.ask()
            self.clock.advance(10)
            self.assertEqual(set(self.target.attempts), {"a"})

    def test_one_that_was_refused_tries_again_when_another_is_granted(self) -> None:
        self.start()
        self.target.answer("a", REFUSED)
        self.target.answer("b")
        self.assertEqual(self.target.lanes, ["b"])
        self.clock.advance(1)
        self.target.answer("a", REFUSED)
        self.clock.advance(1)
        self.target.answer("a")
        self.assertEqual(self.target.lanes, ["b", "a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_refusal_of_one_worker_is_for_those_who_want_more_of_them(self) -> None:
        self.start()
        self.target.answer("a")
        connected, more = self.waiting(), self.target.when_next_connected()
        self.target.answer("b", REFUSED)
        self.failureResultOf(more, AuthenticationException)
        self.assertNoResult(connected)
        self.clock.advance(0)
        self.successResultOf(connected)
        self.assertEqual(self.owner.failed, [])

    def test_a_worker_that_ends_is_forgotten(self) -> None:
        self.start()
        self.target.answer("a", UNREACHABLE)
        for lane in ("a", "b"):
            self.owner.lanes.remove(lane)
            self.target.lane_lost(lane)  # type: ignore[arg-type]
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.target.answer("b")
        self.assertEqual(self.target.lanes, [])

    def test_to_try_again_at_once(self) -> None:
        self.make("a")
        self.start()
        for _ in range(6):
            self.target.answer("a", REFUSED)
            self.target.try_again()
            self.assertEqual(set(self.target.attempts), {"a"})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_called_by_who_hears_of_it_waits_for_the_next_attempt(self) -> None:
        bucket = ATarget(self.owner)
        self.target._parts = lambda: [self.target, bucket]  # type: ignore[method-assign]
        self.start()
        later: list[Deferred[None]] = []

        def call_again(_: Any) -> None:
            bucket.waiting.append("again")  # type: ignore[arg-type]
            later.append(bucket.when_connected())

        self.waiting().addErrback(call_again)
        self.target.answer("a", REFUSED)
        self.assertNoResult(later[0])
        self.assertEqual((self.owner.failed, list(bucket.waiting)), (["operation"], ["again"]))

    def test_the_reason_for_a_wait_in_vain(self) -> None:
        self.make("a")
        error = self.target.timed_out("get")
        self.assertIs(type(error), UnAmbiguousTimeoutException)
        self.assertIsNone(error.__cause__)
        self.start()
        self.target.answer("a", BucketNotFoundException("no such bucket"))
        first, second = (self.target.timed_out("get") for _ in range(2))
        self.assertIsInstance(first.__cause__, BucketNotFoundException)
        self.assertIsNot(first.__cause__, second.__cause__)
        self.assertIn("no such bucket", str(first))
        self.target.try_again()
        self.target.answer("a")
        self.assertIsNone(self.target.timed_out("get").__cause__)

    def test_after_the_end(self) -> None:
        self.start()
        connected = self.waiting()
        self.target.close(PoolClosed("closed"))
        self.failureResultOf(connected, PoolClosed)
        late = [self.target.when_connected(), self.target.when_next_connected()]
        self.clock.advance(0)
        errors = [self.failureResultOf(each, PoolClosed).value for each in late]
        self.assertIsNot(errors[0], errors[1])
        self.target.answer("a", UNREACHABLE)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OwnCopyTests(SynchronousTestCase):
    def test_it_says_the_same(self) -> None:
        lost = WorkerLost(ambiguous=True, operation="get", key="k", exit_code=1, signal=None)
        for error in (
            REFUSED,
            UNREACHABLE,
            PoolClosed("closed"),
            WorkerStartFailed("no", "words"),
            lost,
            ValueError("a", 1),
            KeyError("k"),
        ):
            error.__cause__ = cause = ValueError("why")
            try:
                raise error
            except Exception as raised:
                copied = own_copy(raised)
            self.assertIsNot(copied, error)
            self.assertEqual((type(copied), str(copied)), (type(error), str(error)))
            self.assertEqual((copied.args, vars(copied)), (error.args, vars(error)))
            self.assertIs(copied.__cause__, cause)
            self.assertIsNone(copied.__traceback__)
