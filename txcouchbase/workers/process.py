"""Spawning workers with Ampoule.

Importing this module imports `ampoule`, and with it the installed reactor: it is imported when a
pool starts, never before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ampoule.main import FROM_CHILD, TO_CHILD, AMPConnector, ProcessStarter
from twisted.internet.error import ConnectionDone, ProcessExitedAlready
from twisted.logger import Logger
from twisted.python.failure import Failure

import txcouchbase
from txcouchbase.workers.lane import Lane
from txcouchbase.workers.printed import Printed

__all__ = ["Exit", "WorkerProcess", "WorkerStarter"]

_log = Logger()

_EXIT_MAY_LAG = 0.5
"""How long a worker that closed its pipe may take to end by itself (seconds)."""

_LOOK = 0.01
"""Between two looks for what a dead worker left in its pipes (seconds)."""

_MOST_LOOKS = 20
"""Looks until nobody waits any longer for a grandchild that goes on writing; what a pipe holds is
read in fewer."""

TERMINAL_NEEDED = sys.platform != "linux"
"""Whether workers get a terminal whose hang-up ends them, since the kernel has no other way."""

_TERMINAL = 5
"""The terminal's file descriptor in the worker."""

_BOOTSTRAP = """\
import gc
import sys
gc.disable()
if sys.path[0] == "":
    del sys.path[0]
sys.path.insert(0, sys.argv[1])
sys.modules.setdefault("OpenSSL", None)
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
        self._printed: Printed | None = None
        self._exit: Exit | None = None
        self._hears = True
        self._given_up = False
        self._told = False
        self._has_read = False
        self._delayed: Any = None
        self._terminal: int | None = None

    def open_terminal(self) -> int:
        """Make a terminal that is hung up when this process ends; the worker's side of it."""
        self._terminal, of_worker = os.openpty()
        return of_worker

    def close_terminal(self) -> None:
        """The worker is no more."""
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def connectionMade(self) -> None:
        """The process was spawned."""
        self._lane.pid = self.transport.pid
        self._printed = Printed(self.transport.pid, self._reactor)
        self.amp.makeConnection(self)

    @property
    def hears(self) -> bool:
        """Whether what is sent may arrive: not once it has ended, or is about to."""
        return self._hears and self._exit is None

    def write(self, data: bytes) -> None:
        """Send bytes to the worker; they are dropped if it does not hear."""
        if self.hears:
            self.transport.writeToChild(TO_CHILD, data)

    def loseConnection(self) -> None:
        """AMP calls this when it cannot go on with what the worker has sent."""
        self._give_up("it sent what cannot be understood")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Bytes from the worker: its answers, or what it printed."""
        self._has_read = True
        if self._told:
            return
        if childFD != FROM_CHILD:
            assert self._printed is not None
            self._printed.received(childFD, data)
        elif not self._given_up:
            try:
                self.amp.dataReceived(data)
            except Exception as error:
                # The reactor would close the pipe, and leave the worker alone with it. The rest
                # of the box is lost, so that no other answer of this worker can be relied on.
                _log.failure("what worker {pid} sent cannot be handled", pid=self._lane.pid)
                self._give_up(f"it sent what raised {type(error).__name__}: {error}")

    def _give_up(self, reason: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._lane.broken(reason)

    def childConnectionLost(self, childFD: int) -> None:
        """A pipe was closed; that of a dying worker is, before its exit is known."""
        if childFD == TO_CHILD:
            self._hears = False
        if childFD in (TO_CHILD, FROM_CHILD) and self._exit is None:
            self._later(_LOOK, self._ask, self._reactor.seconds() + _EXIT_MAY_LAG)

    def _ask(self, patience: float) -> None:
        """Ask whether the process has ended, until it has.

        Nobody tells a reactor that runs in a thread, or without signal handlers.
        """
        self.transport.reapProcess()
        if self._exit is None:
            if self._reactor.seconds() >= patience:
                self._give_up("it closed its pipe and went on")
            self._later(_LOOK, self._ask, patience)

    def processExited(self, reason: Failure) -> None:
        """The process ended; a grandchild may still hold its pipes open."""
        self._exit = _exit_of(reason)
        # Whatever it wrote is in the pipes by now, and between two looks the reactor reads them,
        # also when it was held up before the first one.
        self._has_read = True
        self._later(_LOOK, self._look, _MOST_LOOKS)

    def _look(self, looks: int) -> None:
        """Tell as soon as nothing more was read since the last look."""
        if self._has_read and looks:
            self._has_read = False
            self._later(_LOOK, self._look, looks - 1)
        else:
            self._tell()

    def processEnded(self, reason: Failure) -> None:
        """The process ended and its pipes are closed."""
        if self._exit is None:
            self._exit = _exit_of(reason)
        self._tell()

    def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        self._cancel_delayed()
        self.close_terminal()
        assert self._exit is not None and self._printed is not None
        exit = Exit(self._exit.code, self._exit.signal, self._printed.ended())
        for pipe in list(self.transport.pipes.values()):
            # At once: its `loseConnection` would wait until somebody has read what is unsent.
            pipe.connectionLost(Failure(ConnectionDone()))
        self.amp.connectionLost(Failure(ProcessExitedAlready()))
        self._on_exit(self._lane, exit)

    def _later(self, delay: float, function: Callable[..., None], *args: Any) -> None:
        self._cancel_delayed()
        self._delayed = self._reactor.callLater(delay, function, *args)

    def _cancel_delayed(self) -> None:
        if self._delayed is not None and self._delayed.active():
            self._delayed.cancel()

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
        fds: dict[int, str | int] = {0: "w", 1: "r", 2: "r", TO_CHILD: "w", FROM_CHILD: "r"}
        if TERMINAL_NEEDED:
            fds[_TERMINAL] = prot.open_terminal()
            args = (*args, str(_TERMINAL))
        try:
            self._reactor.spawnProcess(
                prot,
                sys.executable,
                [sys.executable, "-c", self.bootstrap, *args],
                env=_environment(),
                childFDs=fds,
            )
        except OSError:
            prot.close_terminal()
            raise
        finally:
            if TERMINAL_NEEDED:
                os.close(int(fds[_TERMINAL]))


def _environment() -> dict[str, str]:
    """The worker's environment: the application's, less what may hold credentials."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COUCHBASE_")}
    # The empty name stands for the current folder, from which jobs may import as well.
    folders = [PACKAGE_ROOT, *map(os.path.abspath, sys.path)]
    environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
    return environ
