"""The worker's connection for rows, and queries that cannot use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    AuthenticationException,
    RequestCanceledException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp import wire
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.workers.executor import Place, Task
from txcouchbase.workers.row_cluster import RowCluster
from txcouchbase.workers.sdk_rows import CallbackRows, ThreadRows, mismatch


class FakeCluster:
    def __init__(self, authenticator: str) -> None:
        self.authenticator = authenticator
        self.closed = False
        self.requests: list[dict[str, Any]] = []
        self._impl = self
        self.connection = self

    def set_authenticator(self, authenticator: str) -> None:
        self.authenticator = authenticator

    def close(self) -> None:
        self.closed = True

    def pycbc_query(self, **request: Any) -> FakeResult:
        self.requests.append(request)
        return FakeResult()


class FakeResult:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Threads(Clock):
    """A reactor and its thread pool, whose threads run when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Callable[[], None]] = []

    def getThreadPool(self) -> Threads:
        return self

    def callInThread(self, function: Any, *args: Any) -> None:
        self.begun.append(lambda: function(*args))

    def callInThreadWithCallback(self, on_result: Any, function: Any, *args: Any) -> None:
        def run() -> None:
            from twisted.python.failure import Failure

            try:
                result = function(*args)
            except Exception:
                on_result(False, Failure())
            else:
                on_result(True, result)

        self.begun.append(run)

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)

    def run(self) -> None:
        begun, self.begun = self.begun, []
        for call in begun:
            call()


class RowClusterTests(SynchronousTestCase):
    def test_it_connects_once_with_the_credentials_of_the_time(self) -> None:
        made: list[FakeCluster] = []

        def connect(authenticator: Any) -> Any:
            made.append(FakeCluster(authenticator))
            return made[-1]

        rows: Any = RowCluster(connect, "first", None, None)  # type: ignore[arg-type]
        rows.set_authenticator("second")
        self.assertEqual(made, [])
        self.assertIs(rows.get(), rows.get())
        self.assertEqual([cluster.authenticator for cluster in made], ["second"])
        rows.set_authenticator("third")
        rows.close()
        self.assertEqual((made[0].authenticator, made[0].closed), ("third", True))

    def test_closing_waits_for_no_connection(self) -> None:
        made: list[FakeCluster] = []

        def connect(authenticator: Any) -> Any:
            rows.close()  # as another thread does meanwhile
            made.append(FakeCluster(authenticator))
            return made[-1]

        rows = RowCluster(connect, "a", None, None)  # type: ignore[arg-type]
        self.assertRaises(RequestCanceledException, rows.get)
        self.assertTrue(made[0].closed)

    def test_a_refusal_is_not_for_ever(self) -> None:
        refusals = [AuthenticationException("no")]

        def connect(authenticator: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return FakeCluster(authenticator)

        rows = RowCluster(connect, "a", None, None)  # type: ignore[arg-type]
        self.assertRaises(AuthenticationException, rows.get)
        self.assertIsInstance(rows.get(), FakeCluster)


class SourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.ready = 0

    def source(self, kind: Any, connect: Any) -> Any:
        value = wire.encode({"statement": "SELECT 1"})
        request = [1, OPERATIONS["query"].code, 1, None, 5000, value, 0]
        task = Task(request, Place(1, 1, "", "", ""), 0.0)

        def ready() -> None:
            self.ready += 1

        self.rows = RowCluster(connect, "a", self.threads, self.threads)  # type: ignore[arg-type]
        return kind(self.rows, self.threads, task, ready)

    def refuse(self, authenticator: Any) -> Any:
        raise AuthenticationException("no")

    def test_the_binding_is_as_expected(self) -> None:
        self.assertEqual(mismatch(), "")

    def test_a_connection_that_is_refused(self) -> None:
        for kind in (CallbackRows, ThreadRows):
            self.ready = 0
            source = self.source(kind, self.refuse)
            source.start()
            self.assertEqual(self.ready, 0)
            self.threads.run()
            self.assertEqual(self.ready, 1)
            self.assertRaises(AuthenticationException, source.take)

    def test_nothing_is_sent_after_a_stop(self) -> None:
        source = self.source(CallbackRows, FakeCluster)
        source.start()
        source.stop()
        self.threads.run()
        self.assertEqual((self.ready, self.rows.get().requests), (1, []))  # type: ignore[attr-defined]

    def test_a_request_takes_the_rest_of_the_time(self) -> None:
        source = self.source(CallbackRows, FakeCluster)
        self.rows.get()
        source.start()
        (request,) = self.rows.get().requests  # type: ignore[attr-defined]
        self.assertEqual(request["statement"], "SELECT 1")
        # The task was received at the start of all time.
        self.assertEqual((request["timeout"], request["streaming_timeout"]), (1, 1))
        request["callback"](True)
        self.assertEqual(self.ready, 1)
        self.assertEqual(self.threads.getDelayedCalls(), [])
        source.stop()
        self.assertTrue(source._result.cancelled)

    def test_one_thread_connects_for_all(self) -> None:
        first = self.source(CallbackRows, FakeCluster)
        second = CallbackRows(self.rows, self.threads, first._task, first._ready)
        for source in (first, second):
            source.start()
        self.assertEqual(len(self.threads.begun), 1)
        self.threads.run()
        self.assertEqual(len(self.rows.get().requests), 2)  # type: ignore[attr-defined]

    def test_what_is_late_for_the_connection_is_not_sent(self) -> None:
        for kind in (CallbackRows, ThreadRows):
            self.ready = 0
            source = self.source(kind, FakeCluster)
            source.start()
            self.threads.advance(0.1)
            self.threads.run()
            self.threads.advance(60)
            self.assertEqual(self.ready, 1)
            self.assertRaises(UnAmbiguousTimeoutException, source.take)
            self.assertEqual(self.rows.get().requests, [])  # type: ignore[attr-defined]
            self.assertEqual(self.threads.getDelayedCalls(), [])

    def test_what_the_sdk_never_answers_is_given_up(self) -> None:
        source = self.source(CallbackRows, FakeCluster)
        self.rows.get()
        source.start()
        self.threads.advance(0.1)
        self.assertEqual((self.ready, source._result.cancelled), (0, False))
        self.threads.advance(60)
        self.assertEqual((self.ready, source._result.cancelled), (1, True))
        self.assertRaises(AmbiguousTimeoutException, source.take)
        (request,) = self.rows.get().requests  # type: ignore[attr-defined]
        request["callback"](True)
        self.assertEqual(self.ready, 1)
