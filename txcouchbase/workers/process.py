"""Spawning workers with Ampoule.

Importing this module imports `ampoule`, and with it the installed reactor: it is imported when a
pool starts, never before.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ampoule.main import FROM_CHILD, TO_CHILD, AMPConnector, ProcessStarter
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.workers.lane import Lane

__all__ = ["Exit", "WorkerProcess", "WorkerStarter"]

_log = Logger()

_LAST_WORDS = 20
"""How many lines of a worker's stderr are kept for error messages."""

_PIPES_MAY_LAG = 0.2
"""How long after a worker's exit its last answers may still be in the pipe while a grandchild
holds the pipe open (seconds)."""

_BOOTSTRAP = """\
import sys
if sys.path[0] == "":
    del sys.path[0]
sys.path.insert(0, sys.argv[1])
from txcouchbase.workers.bootstrap import main
main(*sys.argv[2:])
"""

PACKAGE_ROOT = str(Path(txcouchbase.__file__).resolve().parent.parent)
"""The folder that holds this package, for the workers to import the same."""


@dataclass(frozen=True)
class Exit:
    """How a worker's process ended.

    Attributes:
        code: Its exit status, None if a signal ended it.
        signal: The number of that signal, else None.
        stderr: The last lines that it wrote to stderr.
    """

    code: int | None
    signal: int | None
    stderr: str


class WorkerProcess(AMPConnector):
    """The process of one worker; a transport for its AMP protocol."""

    transport: Any

    def __init__(self, lane: Lane, reactor: Any, on_exit: Callable[[Lane, Exit], None]) -> None:
        super().__init__(lane.pipe, name=lane.generation)
        self._lane = lane
        self._reactor = reactor
        self._on_exit = on_exit
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._partial: dict[int, bytes] = {1: b"", 2: b""}
        self._exit: Exit | None = None
        self._hears = True
        self._told = False
        self._lagging: Any = None

    @property
    def pid(self) -> int | None:
        """The process id while the process is there."""
        pid: int | None = self.transport.pid if self.transport is not None else None
        return pid

    def connectionMade(self) -> None:
        """The process was spawned."""
        self.amp.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Send bytes to the worker; they are dropped if it has ended, or is about to."""
        if self._hears and self._exit is None:
            self.transport.writeToChild(TO_CHILD, data)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Bytes from the worker: its answers, or what it printed."""
        if childFD == FROM_CHILD:
            if not self._told:
                self.amp.dataReceived(data)
            return
        *lines, self._partial[childFD] = (self._partial[childFD] + data).split(b"\n")
        for line in lines:
            self._printed(childFD, line)
        if len(self._partial[childFD]) > 65_536:
            self._printed(childFD, self._partial[childFD])
            self._partial[childFD] = b""

    def _printed(self, fd: int, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if fd == 2:
            self._last_words.append(text)
        _log.info("worker {pid} printed: {text}", pid=self.pid, text=text)

    def childConnectionLost(self, childFD: int) -> None:
        """A pipe was closed; that of a dying worker is, before its exit is known."""
        if childFD == TO_CHILD:
            self._hears = False

    def processExited(self, reason: Failure) -> None:
        """The process ended; its pipes may still be open."""
        self._exit = _exit_of(reason)
        if not self._told:
            self._lagging = self._reactor.callLater(_PIPES_MAY_LAG, self._tell)

    def processEnded(self, reason: Failure) -> None:
        """The process ended and its pipes are closed."""
        if self._exit is None:
            self._exit = _exit_of(reason)
        self._tell()

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        if self._lagging is not None and self._lagging.active():
            self._lagging.cancel()
        for fd, rest in self._partial.items():
            if rest:
                self._printed(fd, rest)
        assert self._exit is not None
        exit = Exit(self._exit.code, self._exit.signal, "\n".join(self._last_words))
        self.transport.loseConnection()
        self.amp.connectionLost(Failure(ProcessExitedAlready()))
        self._on_exit(self._lane, exit)

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        try:
            self.transport.signalProcess(number)
        except ProcessExitedAlready:
            pass


def _exit_of(reason: Failure) -> Exit:
    status: Any = reason.value
    return Exit(status.exitCode, status.signal, "")


class WorkerStarter(ProcessStarter):
    """Ampoule's starter with an injected reactor and an explicit environment."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(bootstrap=_BOOTSTRAP)
        self._reactor = reactor

    def start(self, lane: Lane, on_exit: Callable[[Lane, Exit], None]) -> None:
        """Spawn the worker of a lane.

        Args:
            lane: Gets the process.
            on_exit: Called once, with the lane and how the process ended.

        Raises:
            OSError: The process could not be spawned.
        """
        process = WorkerProcess(lane, self._reactor, on_exit)
        lane.process = process
        self.startPythonProcess(process, PACKAGE_ROOT, str(os.getpid()))

    def startPythonProcess(self, prot: WorkerProcess, *args: str) -> None:
        """Spawn ``python`` with the bootstrap and these arguments."""
        self._reactor.spawnProcess(
            prot,
            sys.executable,
            [sys.executable, "-c", self.bootstrap, *args],
            env=_environment(),
            childFDs={0: "w", 1: "r", 2: "r", TO_CHILD: "w", FROM_CHILD: "r"},
        )


def _environment() -> dict[str, str]:
    """The worker's environment: the application's, less what may hold credentials."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COUCHBASE_")}
    # The empty name stands for the current folder, from which jobs may import as well.
    folders = [PACKAGE_ROOT, *map(os.path.abspath, sys.path)]
    environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
    return environ
