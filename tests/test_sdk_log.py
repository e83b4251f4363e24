"""What the SDK logs in workers arrives in the application's log."""

from __future__ import annotations

import logging
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support import ServerTestCase, until
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.sdk_log import LINES_PER_SECOND, SdkLog, log_lines


class ThreadlessClock(Clock):
    """A reactor in which everything happens in one thread."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)


class Captured:
    """The events of the namespace of the SDK."""

    def __init__(self, test: Any) -> None:
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self)
        test.addCleanup(globalLogPublisher.removeObserver, self)

    def __call__(self, event: Any) -> None:
        if event["log_namespace"] == "couchbase":
            self.events.append(event)


class SdkLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadlessClock()
        self.sent: list[list[tuple[int, str]]] = []
        self.logger = logging.Logger("couchbase")
        self.logger.addHandler(SdkLog(self.clock, self.sent.append))

    def test_warnings_and_worse_in_the_reactor_thread(self) -> None:
        self.logger.info("nobody has to know")
        self.logger.warning("%s of %d", "one", 2)
        self.logger.error("an error")
        self.assertEqual(self.sent, [])
        self.clock.advance(0)
        self.assertEqual(self.sent, [[(logging.WARNING, "one of 2"), (logging.ERROR, "an error")]])

    def test_more_than_anybody_reads(self) -> None:
        for number in range(1000):
            self.logger.warning("%d", number)
        self.clock.advance(0)
        self.logger.warning("x" * 10_000)
        self.clock.advance(0.9)
        (lines,) = self.sent
        self.assertEqual(len(lines), LINES_PER_SECOND + 1)
        self.assertIn(str(1000 - LINES_PER_SECOND), lines[-1][1])
        self.clock.advance(0.2)
        self.assertEqual(self.sent[1], [(logging.WARNING, "x" * 2000)])
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_levels_in_the_application(self) -> None:
        captured = Captured(self)
        log_lines(7, [(logging.WARNING, "{not} a field"), (logging.CRITICAL, "bad")])
        self.assertEqual(
            [(event["log_level"], event["text"]) for event in captured.events],
            [(LogLevel.warn, "{not} a field"), (LogLevel.error, "bad")],
        )


class WorkerLogTests(ServerTestCase):
    @inlineCallbacks
    def test_a_server_that_goes_away(self) -> Any:
        if self.node is None:
            raise SkipTest("the node has to go away")
        captured = Captured(self)
        cluster = self.cluster(PoolConfig(min_workers=1, max_workers=1))
        yield cluster.bucket(self.bucket_name).on_connect()
        (worker,) = cluster.pool.workers
        yield self.node.kill()
        yield until(lambda: captured.events)
        self.assertEqual({event["pid"] for event in captured.events}, {worker.pid})
        shown = " ".join(event["text"] for event in captured.events)
        self.assertIn("127.0.0.1", shown)
        self.assertNotIn(self.password, shown)
        yield self.node.restart()
