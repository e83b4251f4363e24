"""An application ends, however that happens, and no worker outlives it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks

from tests.applications import ROOT, Application, ended
from tests.support import ServerTestCase, slow, until

SOON = 30.0
"""How long anything may take to end here, also where a machine is busy (seconds)."""

ABLE = ("idle", "busy", "connecting", "busy_job", "starting")
"""States of workers that can act."""

HELPLESS = ("stopped", "stuck", "stuck_job")
"""States of workers that cannot, the last two of them with SIGTERM ignored."""


class ShutdownTests(ServerTestCase):
    workers: tuple[int, ...] = ()

    @inlineCallbacks
    def start(
        self,
        *states: str,
        form: tuple[str, ...] = ("plain",),
        timeout: float = 60.0,
        terminal: bool = False,
        **config: Any,
    ) -> Any:
        """An application, once its workers are in these states."""
        marks = os.path.abspath(self.mktemp())
        os.mkdir(marks)
        order: dict[str, Any] = {
            "connstr": self.connstr,
            "username": self.username,
            "password": self.password,
            "bucket": self.bucket_name,
            "states": states,
            "marks": marks,
            "timeout": timeout,
            "terminal": terminal,
            "config": {"drain_timeout": 0.3, "kill_timeout": 0.3, **config},
        }
        application = Application(order)
        reactor.spawnProcess(  # type: ignore[attr-defined]
            application,
            sys.executable,
            [sys.executable, "-c", f"from tests.shutdownapp import main; main(*{form!r})"],
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        self.addCleanup(self.end, application)
        self.workers = tuple((yield application.workers))
        self.assertEqual(len(self.workers), len(states))
        self.assertFalse([pid for pid in self.workers if ended(pid)])
        return application

    @inlineCallbacks
    def end(self, application: Application) -> Any:
        """Leave nothing behind, also where a test has failed."""
        if application.transport.pid is not None:
            application.transport.signalProcess(signal.SIGKILL)
            yield application.ended
        for pid in self.workers:
            if not ended(pid):
                os.kill(pid, signal.SIGKILL)

    @inlineCallbacks
    def assert_ends(self, application: Application, status: int) -> Any:
        """It and all of its workers end soon; a negative status is a signal."""
        begin = reactor.seconds()  # type: ignore[attr-defined]
        reason = yield application.ended
        self.assertEqual(
            -reason.signal if reason.signal else reason.exitCode,
            status,
            application.stderr.decode()[-3000:],
        )
        yield until(lambda: all(ended(pid) for pid in self.workers))
        self.assertLess(reactor.seconds() - begin, SOON)  # type: ignore[attr-defined]

    # -- ends that the application hears of ------------------------------------------------

    @inlineCallbacks
    def test_terminated(self) -> Any:
        application = yield self.start(*ABLE)
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_terminated_with_workers_that_do_not_act(self) -> Any:
        application = yield self.start(*HELPLESS)
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_operations_that_are_over_hold_up_nothing(self) -> Any:
        application = yield self.start("stopped", timeout=0.1, drain_timeout=60, kill_timeout=0.1)
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_interrupted(self) -> Any:
        application = yield self.start("busy", "stuck")
        # As Ctrl-C does it: the workers get the signal, too.
        for pid in (*self.workers, application.transport.pid):
            os.kill(pid, signal.SIGINT)
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_stopped_by_itself(self) -> Any:
        application = yield self.start("busy", "stuck_job")
        application.transport.write(b"stop\n")
        yield self.assert_ends(application, 0)

    @slow
    @inlineCallbacks
    def test_an_exit_in_a_callback_ends_nothing(self) -> Any:
        application = yield self.start("busy", "starting")
        application.transport.write(b"sys.exit\n")
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_a_main_function_that_fails(self) -> Any:
        application = yield self.start("busy", "stopped", form=("react",))
        application.transport.write(b"raise\n")
        yield self.assert_ends(application, 1)
        self.assertIn(b"Ended", application.stderr)

    # -- ends that nobody hears of ---------------------------------------------------------

    @inlineCallbacks
    def test_killed(self) -> Any:
        application = yield self.start(*ABLE)
        application.transport.signalProcess(signal.SIGKILL)
        yield self.assert_ends(application, -signal.SIGKILL)

    @inlineCallbacks
    def test_killed_with_workers_that_do_not_act(self) -> Any:
        application = yield self.start(*HELPLESS)
        application.transport.signalProcess(signal.SIGKILL)
        yield self.assert_ends(application, -signal.SIGKILL)

    @inlineCallbacks
    def test_killed_where_the_kernel_does_it_by_a_terminal(self) -> Any:
        application = yield self.start("busy", "starting", *HELPLESS, terminal=True)
        application.transport.signalProcess(signal.SIGKILL)
        yield self.assert_ends(application, -signal.SIGKILL)

    @slow
    @inlineCallbacks
    def test_terminated_where_workers_have_a_terminal(self) -> Any:
        application = yield self.start("idle", "stuck", terminal=True)
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)

    @slow
    @inlineCallbacks
    def test_crashed(self) -> Any:
        application = yield self.start("busy", "stuck")
        application.transport.signalProcess(signal.SIGSEGV)
        yield self.assert_ends(application, -signal.SIGSEGV)

    @slow
    @inlineCallbacks
    def test_left_at_once(self) -> Any:
        application = yield self.start("stopped", "stuck_job")
        application.transport.write(b"exit\n")
        yield self.assert_ends(application, 5)

    @slow
    @inlineCallbacks
    def test_an_exception_after_a_reactor_that_crashed(self) -> Any:
        application = yield self.start("busy", "stuck", form=("plain", "raise"))
        application.transport.write(b"crash\n")
        yield self.assert_ends(application, 1)
        self.assertIn(b"Ended", application.stderr)

    # -- a reactor in a thread -------------------------------------------------------------

    @slow
    @inlineCallbacks
    def test_terminated_with_a_reactor_in_a_thread(self) -> Any:
        application = yield self.start("busy", "stuck", form=("thread",))
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)

    @inlineCallbacks
    def test_the_end_of_workers_is_noticed_without_signals(self) -> Any:
        application = yield self.start("idle", "busy", "connecting", form=("thread",))
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
        yield until(lambda: all(ended(pid) for pid in self.workers))
        # It would wait for ever for workers whose end it does not notice.
        application.transport.write(b"stop\n")
        yield self.assert_ends(application, 0)

    @slow
    @inlineCallbacks
    def test_workers_end_with_the_thread_of_a_reactor_that_crashed(self) -> Any:
        application = yield self.start("busy", "stuck", form=("thread", "wait"))
        application.transport.write(b"crash\n")
        yield until(lambda: all(ended(pid) for pid in self.workers))
        self.assertIsNotNone(application.transport.pid)
        application.transport.signalProcess(signal.SIGTERM)
        yield self.assert_ends(application, 0)
