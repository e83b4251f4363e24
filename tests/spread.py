"""Test modules spread over processes.

A child gets the name of a module through its pipe, runs it under trial, answers with the figures,
and gets the next one; so it imports once what they share. All that it prints goes to a file, of
which the parent shows a module's part when the module has ended. A module whose child dies, or says
nothing for long, counts as one failure; a new child does the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, cast

from twisted.trial.itrial import ITestCase
from twisted.trial.reporter import TestResult, TreeReporter
from twisted.trial.runner import LoggedSuite, TestLoader, TestSuite, TrialRunner
from twisted.trial.unittest import decorate

ROOT = Path(__file__).resolve().parent.parent

SILENCE = 180.0
"""Seconds without output, so within one test, after which a child is ended."""

END = 30.0
"""Seconds for a child to end after its last module."""


@dataclasses.dataclass
class Tally:
    """What became of tests.

    Attributes:
        passed: How many passed.
        failures: The names of those that did not.
        skipped: How many were skipped.
    """

    passed: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    skipped: int = 0

    @classmethod
    def of(cls, result: TestResult) -> Tally:
        """What trial counted."""
        failed: tuple[Any, ...] = (*result.failures, *result.errors, *result.unexpectedSuccesses)
        return cls(result.successes, [case[0].id() for case in failed], len(result.skips))

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passed + other.passed,
            self.failures + other.failures,
            self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" * bool(self.skipped)
        return f"{self.passed} passed, {len(self.failures)} failed{skipped}"


def run_suite(suite: TestSuite, folder: str) -> Tally:
    """Run tests in this process, in a new folder in the one that is named."""
    # A warning from our own code is an error; others are their authors' to mend. Those in
    # a test come from trial when it has ended, by the file's path and not by the module's name.
    ours = "txcouchbase|tests"
    warnings.filterwarnings("error", module=rf"({ours})\.|{re.escape(str(ROOT))}/({ours})/")
    work = os.path.join(folder, "_trial_temp")
    runner = TrialRunner(cast(Any, TreeReporter), workingDirectory=work, realTimeErrors=True)
    return Tally.of(runner.run(suite))


def run_here(names: list[str], folder: str) -> Tally:
    """Run tests in this process."""
    return run_suite(TestLoader().loadByNames(names, recurse=True), folder)


class Fed(TestSuite):
    """The modules that the parent names, until it names no more; each has a report of its own."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def run(self, result: Any, debug: bool = False) -> Any:
        while not result.shouldStop and (name := self._pipe.recv()):
            reporter = TreeReporter(sys.stdout, realtime=True)
            module = LoggedSuite([TestLoader().loadByName(name, recurse=True)])
            decorate(module, ITestCase).run(reporter)
            reporter.done()
            if reporter.shouldStop:
                result.stop()
            self._pipe.send(dataclasses.astuple(Tally.of(reporter)))
        return result


def serve(descriptor: int, folder: str) -> None:
    """Be a child, with its pipe on this descriptor."""
    os.set_inheritable(descriptor, False)
    faulthandler.enable()
    with Connection(descriptor) as pipe:
        # This counts what was logged or left behind between modules and after the last one.
        pipe.send(dataclasses.astuple(run_suite(Fed(pipe), folder)))


class Child:
    """A process that runs modules, seen from the parent.

    Attributes:
        pipe: What it answers on.
        module: The one that it runs; empty after the last one.
    """

    def __init__(self, folder: str) -> None:
        folder = tempfile.mkdtemp(prefix="child-", dir=folder)
        self.module = ""
        self._shown = self._size = 0
        self._heard = time.monotonic()
        self._overdue = False
        self.pipe, theirs = Pipe()
        with theirs:
            self._output = open(os.path.join(folder, "output"), "w+b")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.spread", str(theirs.fileno()), folder],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
            )

    def give(self, module: str) -> None:
        """Have it run this module; an empty name tells it to end."""
        self.module = module
        # That it died is seen when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(module)

    def said(self) -> str:
        """What it printed since the last call."""
        self._output.seek(self._shown)
        said = self._output.read()
        self._shown += len(said)
        return said.decode(errors="replace")

    def look(self) -> None:
        """End it if it has printed nothing for long."""
        size = os.fstat(self._output.fileno()).st_size
        if size != self._size:
            self._size = size
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > SILENCE:
            self._overdue = True
            self.abort()

    def abort(self) -> None:
        """End it, and have it print where its threads are if it can."""
        self._process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END)
        self.kill()

    def ended(self) -> list[str]:
        """What was wrong with its end, if anything; it has closed its pipe."""
        self.pipe.close()
        try:
            code = self._process.wait(END)
        except subprocess.TimeoutExpired:
            self.abort()
            code = self._process.wait()
        if not code and not self.module:
            return []
        end = f"ended with {signal.Signals(-code).name if code < 0 else code}"
        silent = f", after {SILENCE:.0f} seconds without output" * self._overdue
        return [f"{self.module or 'After its last module'}: the process {end}{silent}"]

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


def likely_time(module: str) -> tuple[int, int]:
    """For an order of modules: the longest time that its tests may take, then its size."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    text = path.read_text("utf-8") if path.is_file() else ""
    return max(map(int, re.findall(r"^    timeout = (\d+)$", text, re.M)), default=0), len(text)


def run_spread(names: list[str], jobs: int, folder: str) -> Tally:
    """Run modules in as many processes as there are jobs, those first that may take long."""
    waiting = deque(sorted(names, key=likely_time, reverse=True))
    total = Tally()
    children: list[Child] = []
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                children.append(Child(folder))
                children[-1].give(waiting.popleft())
            answered = wait([child.pipe for child in children], 1)
            for child in [child for child in children if child.pipe in answered]:
                running = child.module
                try:
                    tally = Tally(*child.pipe.recv())
                except (EOFError, ConnectionError):
                    children.remove(child)
                    tally = Tally(failures=child.ended())
                said = child.said()
                if running or tally.failures:
                    print(said, end="", flush=True)
                total += tally
                if running and child in children:
                    child.give(waiting.popleft() if waiting else "")
            for child in children:
                child.look()
    finally:
        for child in children:
            child.kill()
    return total


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
