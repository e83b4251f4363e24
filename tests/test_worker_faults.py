"""Workers that live and do what they should not; with real processes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from couchbase.exceptions import DocumentNotFoundException
from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.logger import LogLevel

import txcouchbase
from tests.faultcases import SHORT_BEATS, FaultTestCase, outcome_of
from tests.support import LONG, SLOW, gone, slow, until
from txcouchbase.exceptions import RemoteError, WorkerLost, WorkerStartFailed
from txcouchbase.workers.events import EndCause
from txcouchbase.workers.printed import LINES_PER_SECOND


class PipeTests(FaultTestCase):
    """What makes no sense on the pipe ends the worker at once, without waiting for its silence."""

    @inlineCallbacks
    def _broken_by(self, *faults: str) -> Any:
        collection = self.faulty_collection()
        for number, fault in enumerate(faults):
            key = f"fault:{fault}:k"
            # The read first, so that it is the first worker that holds it.
            read = outcome_of(collection.get(f"hold:{number}", timeout=LONG))
            write = outcome_of(collection.upsert(key, 1, timeout=LONG))
            error, again = yield gatherResults([write, read])
            if not fault.endswith("answer-twice"):  # the first of the two is one
                self.assert_lost(error, key, fault, None, signal.SIGKILL)
            self.assertIsInstance(again, DocumentNotFoundException)
            yield until(lambda number=number: len(self.ends) > number)
            self.assertIs(self.ends[number].cause, EndCause.BROKEN)
        killed = [line for line in self.lines[LogLevel.warn] if " is killed: it sent " in line]
        self.assertEqual(len(killed), len(faults))
        yield self.assert_whole(collection)

    def test_noise(self) -> Any:
        return self._broken_by("garbage=noise", "garbage=no-key", "garbage=unknown-kind")

    def test_answers(self) -> Any:
        return self._broken_by("garbage=unhashable-number", "garbage=answer-twice")

    def test_rows_and_acknowledgements(self) -> Any:
        return self._broken_by("garbage=rows-for-nobody", "garbage=acknowledges-too-many")

    @inlineCallbacks
    def test_an_answer_to_a_command_that_was_not_sent(self) -> Any:
        collection = self.faulty_collection()
        fault = "garbage=amp-unknown-answer"
        error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
        self.assert_lost(error, f"fault:{fault}:k", fault, None, signal.SIGKILL)
        yield until(lambda: self.ends)
        self.assertIs(self.ends[0].cause, EndCause.BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_half_a_box(self) -> Any:
        collection = self.faulty_collection()
        fault = "garbage=truncated"
        error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
        self.assert_lost(error, f"fault:{fault}:k", fault, 0, None)
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_a_pipe_that_is_closed_by_a_worker_that_goes_on(self) -> Any:
        collection = self.faulty_collection()
        for number, end in enumerate(("answers", "requests")):
            fault = f"close-pipe={end}"
            error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
            self.assert_lost(error, f"fault:{fault}:k", fault, None, signal.SIGKILL)
            yield until(lambda number=number: len(self.ends) > number)
            self.assertIs(self.ends[number].cause, EndCause.BROKEN)
        self.assertEqual(sum("closed its pipe" in each for each in self.lines[LogLevel.warn]), 2)
        yield self.assert_whole(collection)


class GrandchildTests(FaultTestCase):
    """A process that a worker started, and that holds its pipes when it has ended."""

    @inlineCallbacks
    def _check(self, argument: str) -> Any:
        collection = self.faulty_collection()
        key, fault = f"fault:grandchild={argument}:k", f"grandchild={argument}"
        error = yield outcome_of(collection.upsert(key, 1, timeout=LONG))
        grandchild = int(Path(self.folder, "grandchild").read_text())
        self.addCleanup(self._end, grandchild)
        self.assertEqual((error.exit_code, error.signal), (3, None))
        if argument != "writes":
            self.assertIn(f"last words before {fault}", error.stderr)
        yield self.assert_whole(collection)
        self.assertIs(self.ends[0].cause, EndCause.CRASHED)
        # It is still there, unless it hit upon a pipe that is closed.
        self.assertTrue(argument == "writes" or not gone(grandchild))

    def _end(self, pid: int) -> None:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)

    def test_that_is_quiet(self) -> Any:
        return self._check("quiet")

    @slow
    def test_that_writes(self) -> Any:
        return self._check("writes")

    def test_that_holds_all_pipes(self) -> Any:
        return self._check("all")


class RaisingTests(FaultTestCase):
    @inlineCallbacks
    def test_out_of_an_operation(self) -> Any:
        collection = self.faulty_collection()
        for fault, expected, name in (
            ("raise=RuntimeError", RuntimeError, ""),
            ("raise=MemoryError", MemoryError, ""),
            ("use-memory", MemoryError, ""),
            ("raise=SystemExit", RemoteError, "builtins.SystemExit"),
            ("raise=KeyboardInterrupt", RemoteError, "builtins.KeyboardInterrupt"),
            ("raise=GeneratorExit", RemoteError, "builtins.GeneratorExit"),
            ("raise=unshowable", Exception, ""),
        ):
            error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
            self.assertIsInstance(error, expected)
            self.assertNotIsInstance(error, WorkerLost)
            self.assertEqual(getattr(error, "class_name", ""), name)
        self.assertEqual(self.ends, [])
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_an_operation_that_calls_back_twice(self) -> Any:
        collection = self.faulty_collection()
        result = yield collection.upsert("fault:calls-back-twice:k", 1, timeout=LONG)
        self.assertEqual(result.cas, 1)
        yield collection.upsert("fault:calls-back-twice:k", 1, timeout=LONG)
        self.assertEqual(self.ends, [])
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_when_answers_are_packed(self) -> Any:
        collection = self.faulty_collection()
        fault = "packing-fails"
        error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
        self.assert_lost(error, f"fault:{fault}:k", fault, 70, None)
        self.assertIn("no room to pack answers", error.stderr)
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_out_of_a_responder(self) -> Any:
        collection = self.faulty_collection(**SHORT_BEATS)
        fault = "responder-raises"
        error = yield outcome_of(collection.upsert(f"fault:{fault}:k", 1, timeout=LONG))
        self.assert_lost(error, f"fault:{fault}:k", fault, 255, None)
        self.assertIn("raised by a responder", error.stderr)
        yield self.assert_whole(collection)
        self.assertIs(self.ends[0].cause, EndCause.CRASHED)

    @inlineCallbacks
    def test_when_a_worker_is_configured(self) -> Any:
        collection = self.faulty_collection({"configure": "raise-here=unshowable"})
        yield collection.upsert(self.key("k"), 1, timeout=LONG)
        self.assertIs(self.ends[0].cause, EndCause.BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_when_a_cluster_or_a_bucket_is_opened(self) -> Any:
        # It is an error of that connection, which is tried again; the worker stays.
        for fault in ("RuntimeError", *["SystemExit", "unshowable"] * SLOW):
            for moment in ("open_cluster", "open_bucket"):
                self.folder = os.path.abspath(self.mktemp())
                os.mkdir(self.folder)
                collection = self.faulty_collection({moment: f"raise-here={fault}"})
                yield outcome_of(collection.upsert(self.key("k"), 1, timeout=LONG))
                yield self.assert_whole(collection)
                self.assertEqual([end.cause for end in self.ends], [EndCause.CLOSED])
                self.ends.clear()


class MemoryTests(FaultTestCase):
    @inlineCallbacks
    def test_without_address_space(self) -> Any:
        # Whatever gives way: every operation gets its one answer, and another worker goes on.
        value = "v" * (4 * 1024 * 1024)
        for room in (1, 16):
            collection = self.faulty_collection({}, min_workers=1)
            yield collection.upsert(self.key("big"), value, timeout=LONG)
            first = outcome_of(collection.get(f"fault:limit-memory={room}:k", timeout=LONG))
            calls = [first] + [
                outcome_of(collection.get(self.key("big"), timeout=LONG)) for _ in range(8)
            ]
            outcomes = yield gatherResults(calls)
            self.assertEqual(len(outcomes), 9)
            if not self.ends:
                (worker,) = collection._pool.workers
                os.kill(worker.pid, signal.SIGKILL)
                yield until(lambda: self.ends)
            yield self.assert_whole(collection)
            self.ends.clear()
            self.folder += "-again"
            os.mkdir(self.folder)
        self.flushLoggedErrors()


class PrintTests(FaultTestCase):
    @inlineCallbacks
    def test_to_stdout(self) -> Any:
        collection = self.faulty_collection()
        yield collection.upsert("fault:print:k", 1, timeout=LONG)
        yield until(lambda: any("to stdout" in each for each in self.lines[LogLevel.info]))
        self.assertEqual(self.ends, [])
        yield self.assert_whole(collection)

    @inlineCallbacks
    def _flooded(self, kind: str) -> Any:
        collection = self.faulty_collection()
        yield collection._scope._bucket._cluster.wait_until_ready(LONG)
        begun = reactor.seconds()  # type: ignore[attr-defined]
        flood = collection.upsert(f"fault:flood={kind}:k", 1, timeout=LONG)
        # Others are answered meanwhile.
        for number in range(10):
            yield collection.upsert(self.key(str(number)), 1, timeout=LONG)
        yield flood
        yield collection.upsert("after:exit=3:k", 1, timeout=LONG)
        yield until(lambda: self.ends)
        seconds = int(reactor.seconds() - begun) + 2  # type: ignore[attr-defined]
        printed = [
            line
            for lines in self.lines.values()
            for line in lines
            if " printed" in line and "last words" not in line
        ]
        self.assertLessEqual(len(printed), seconds * (LINES_PER_SECOND + 1))
        self.assertLess(max(map(len, printed)), 3_000)
        self.assertIn("the last line\nlast words before exit=3", self.ends[0].stderr)
        self.assertLess(len(self.ends[0].stderr), 5_000)
        yield self.assert_whole(collection)

    def test_a_flood_of_lines(self) -> Any:
        return self._flooded("lines")

    @slow
    def test_a_flood_of_short_lines(self) -> Any:
        return self._flooded("short")

    @slow
    def test_a_flood_of_empty_lines(self) -> Any:
        return self._flooded("empty")

    def test_an_endless_line(self) -> Any:
        return self._flooded("endless")

    @slow
    def test_what_is_no_text(self) -> Any:
        return self._flooded("invalid")


class ImportTests(FaultTestCase):
    @inlineCallbacks
    def test_what_cannot_be_imported(self) -> Any:
        cluster = self.faulty_cluster(
            {"import": "raise-here=ImportError"}, times=100, crash_loop_after=2
        )
        call = cluster.bucket(self.bucket_name).default_collection().get("k", timeout=LONG)
        error = yield self.assertFailure(call, WorkerStartFailed)
        self.assertIn("ImportError: raised on purpose", error.stderr)
        yield self.assert_nothing_left(cluster)

    @inlineCallbacks
    def test_another_copy_of_the_package(self) -> Any:
        other = os.path.abspath(self.mktemp())
        package = os.path.dirname(txcouchbase.__file__)
        shutil.copytree(
            package,
            os.path.join(other, "txcouchbase"),
            ignore=shutil.ignore_patterns("testing", "__pycache__"),
        )
        collection = self.faulty_collection({"import": f"other-package={other}"})
        yield collection.upsert(self.key("k"), 1, timeout=LONG)
        self.assertIs(self.ends[0].cause, EndCause.BROKEN)
        (failure,) = self.flushLoggedErrors(WorkerStartFailed)
        self.assertIn(f"from {other}", str(failure.value))
        yield self.assert_whole(collection)

    @inlineCallbacks
    def test_a_worker_that_never_answers_its_first_command(self) -> Any:
        collection = self.faulty_collection({"import": "hang"}, start_timeout=1.5)
        call = collection.upsert(self.key("k"), 1, timeout=LONG)
        yield until(lambda: os.path.exists(os.path.join(self.folder, "import.0")))
        object.__setattr__(collection._pool.config, "start_timeout", 30.0)
        yield call
        self.assertIs(self.ends[-1].cause, EndCause.START_OVERDUE)
        yield self.assert_whole(collection)
