"""A short run of chaos, and what it looks at besides documents."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from random import Random
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    DocumentLockedException,
    TemporaryFailException,
    UnAmbiguousTimeoutException,
)
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.chaos.calls import NEVER, Book, Fate, Finding, Violation, fate_of
from tests.chaos.faults import FAULTS, FaultPlan
from tests.chaos.leftovers import Inventory
from tests.chaos.run import ChaosRun, Server, started_node
from txcouchbase.exceptions import PoolOverloaded, WorkerLost
from txcouchbase.workers.events import EndCause, WorkerDraining, WorkerEnded


class ChaosTests(TestCase):
    timeout = 120

    @inlineCallbacks
    def test_a_short_run(self) -> Any:
        if os.environ.get("COUCHBASE_CONNSTR"):
            raise SkipTest("a real server is not for chaos")
        with started_node() as server:
            lines: list[str] = []
            chaos = ChaosRun(
                reactor,
                server,
                seed=1,
                weights=FAULTS,
                workers=2,
                loads=6,
                pace=0.45,
                recycle_after_ops=1000,
                slack=None,
                say=lines.append,
            )
            yield chaos.run(seconds=6.0, warm_up=0.0)
        book = chaos.book
        self.assertEqual("\n".join(map(str, book.findings)), "")
        self.assertEqual(book.found, 0)
        self.assertEqual(book.pending, {})
        self.assertGreater(book.count(Fate.DONE), 100)
        self.assertGreater(book.count(Fate.AMBIGUOUS), 0)
        self.assertGreater(book.count(Fate.REFUSED), 0)
        self.assertGreaterEqual(sum(chaos.struck.values()), 10, chaos.struck)


class BookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seconds = 0.0
        self.book = Book(now=lambda: self.seconds)

    def found(self) -> list[Violation]:
        return [finding.violation for finding in self.book.findings]

    def test_a_call_that_ends_twice(self) -> None:
        call = self.book.open("get", "k", 1.0)
        self.book.end(call, Fate.DONE, 1)
        self.assertEqual(self.found(), [])
        self.book.fail(call, CancelledError())
        self.assertEqual(self.found(), [Violation.FIRED_TWICE])
        self.assertIs(call.fate, Fate.DONE)

    def test_a_call_that_does_not_end(self) -> None:
        call = self.book.open("get", "k", 1.0)
        over = self.book.when_over([call])
        self.seconds = NEVER
        self.book.look()
        self.assertEqual(self.found(), [])
        self.assertNoResult(over)
        self.seconds = NEVER + 1.1
        self.book.look()
        self.assertEqual(self.found(), [Violation.NEVER_FIRED])
        self.successResultOf(over)
        self.book.end(call, Fate.DONE)
        self.assertEqual(self.book.found, 1)

    def test_errors(self) -> None:
        def lost(ambiguous: bool) -> WorkerLost:
            return WorkerLost(
                ambiguous=ambiguous, operation="upsert", key="k", exit_code=None, signal=9
            )

        for error, fate in (
            (lost(True), Fate.AMBIGUOUS),
            (lost(False), Fate.REFUSED),
            (AmbiguousTimeoutException(), Fate.AMBIGUOUS),
            (UnAmbiguousTimeoutException(), Fate.REFUSED),
            (PoolOverloaded("full"), Fate.REFUSED),
            (TemporaryFailException(error_code=7), Fate.REFUSED),
            (TemporaryFailException(error_code=13), Fate.AMBIGUOUS),
            (DocumentLockedException(error_code=14), Fate.REFUSED),
            (ValueError(), None),
        ):
            self.assertIs(fate_of(error), fate, repr(error))

    def test_an_error_that_no_fault_explains(self) -> None:
        call = self.book.open("get", "k", 1.0)
        self.book.fail(call, ValueError("odd"))
        self.assertEqual(self.found(), [Violation.UNEXPECTED])

    def test_what_was_cancelled_before_it_was_sent_never_happens(self) -> None:
        call = self.book.open("upsert", "k", 1.0)
        begun: Deferred[None] = Deferred()
        self.book.follow(call, begun)
        call.unsent = True
        assert call.cancel is not None
        call.cancel()
        self.assertIs(call.fate, Fate.REFUSED)

    def test_figures(self) -> None:
        for _ in range(200):
            call = self.book.open("get", "k", 1.0)
            self.book.follow(call, succeed(5), lambda value: value + 1)
            self.assertEqual(call.value, 6)
            self.book.report([Finding(Violation.LOST, "k", "")])
        self.assertEqual(self.book.outcomes, {("get", "done"): 200})
        self.assertEqual(self.book.count(Fate.DONE), 200)
        self.assertEqual(self.book.pending, {})
        self.assertEqual((self.book.found, len(self.book.findings)), (200, 100))


class FaultPlanTests(SynchronousTestCase):
    def test_the_same_seed_is_the_same_plan(self) -> None:
        def plan(seed: int) -> list[Any]:
            return list(islice(FaultPlan(Random(seed), 1.0, FAULTS), 200))

        self.assertEqual(plan(1), plan(1))
        self.assertNotEqual(plan(1), plan(2))
        kinds = [fault.kind for fault in plan(1)]
        self.assertEqual(set(kinds[: len(FAULTS)]), set(FAULTS))
        self.assertEqual(
            {kind: kinds[: sum(FAULTS.values())].count(kind) for kind in FAULTS}, FAULTS
        )


class InventoryTests(TestCase):
    def test_what_is_left(self) -> None:
        before = Inventory.take(reactor)
        self.assertEqual(before.compare(Inventory.take(reactor)), [])
        looked: Any = reactor
        call = looked.callLater(60, lambda: None)
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            found = before.compare(Inventory.take(reactor))
        finally:
            call.cancel()
            process.communicate(b"\n")
        keys = sorted(finding.key for finding in found)
        self.assertEqual(keys, ["a delayed call", "a descriptor", "a process"])
        self.assertEqual(before.compare(Inventory.take(reactor)), [])


class RunTests(SynchronousTestCase):
    """What a run looks at besides calls."""

    def setUp(self) -> None:
        server = Server("couchbase://127.0.0.1", "who", "secret", "default")
        self.chaos = ChaosRun(reactor, server, seed=1, weights=FAULTS)

    def found(self) -> list[Violation]:
        return [finding.violation for finding in self.chaos.book.findings]

    def ended(self, cause: EndCause, victims: set[int]) -> None:
        event = WorkerEnded(
            jobs=False, generation=1, pid=7, cause=cause, exit_code=1, signal=None, stderr="oh"
        )
        self.chaos.happened(event, victims)

    def test_a_worker_that_ended_and_nobody_had_struck(self) -> None:
        self.ended(EndCause.CRASHED, victims={7})
        self.ended(EndCause.RESIZED, victims=set())
        self.ended(EndCause.SILENT, victims=set())
        self.assertEqual(self.found(), [])
        self.ended(EndCause.CRASHED, victims={8})
        self.assertEqual(self.found(), [Violation.WORKER_LOST])
        self.assertEqual(
            self.chaos.ended,
            {
                "worker crashed": 1,
                "worker crashed, not struck": 1,
                "worker resized, not struck": 1,
                "worker silent, not struck": 1,
            },
        )

    def test_recycling_is_a_fault(self) -> None:
        for cause in (EndCause.RECYCLED_OPS, EndCause.RESIZED):
            self.chaos.happened(WorkerDraining(False, 1, 7, cause), set())
        self.assertEqual(self.chaos.struck, {"recycle": 1})

    def test_a_failure_that_is_logged(self) -> None:
        observer: Any = self.chaos.logged
        log = Logger(observer=observer)
        log.warn("a worker ended")
        log.error("a crash loop")
        self.assertEqual(self.found(), [])
        log.critical("unhandled")
        log.failure("raised", Failure(ValueError("odd")))
        self.assertEqual(self.found(), [Violation.LOGGED] * 2)
        self.assertIn("odd", self.chaos.book.findings[1].what)

    def test_memory(self) -> None:
        self.chaos.resident = (70.0, 77.9)
        self.chaos.compare_memory()
        self.assertEqual(self.found(), [])
        self.chaos.resident = (70.0, 78.1)
        self.chaos.compare_memory()
        self.assertEqual(self.found(), [Violation.MEMORY])
