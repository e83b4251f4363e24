"""The first code of a worker: bind its life to the application's, then run its reactor."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import sys
import termios
from typing import Any

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, terminal: int | None) -> None:
    """End this process when the application ends, however that happens.

    The kernel does it, even while this process is busy in C or stopped. On Linux it is told to,
    when the thread ends that spawned it, which is the one that the application's reactor runs in;
    elsewhere it hangs up the terminal, whose other end only the application has.

    Args:
        parent: The application's process id.
        terminal: The terminal's file descriptor, None on Linux.
    """
    if terminal is not None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    else:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The application ended before the line above took effect.
        os._exit(1)


def _log_warnings() -> None:
    from twisted import logger

    warnings: Any = logger.LogLevelFilterPredicate(defaultLogLevel=logger.LogLevel.warn)
    to_stderr: Any = logger.textFileLogObserver(sys.stderr)
    observer: Any = logger.FilteringLogObserver(to_stderr, [warnings])
    logger.globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _end_imports() -> None:
    """Take back what makes a worker's start a third shorter.

    Its first lines forbid OpenSSL, which Twisted would import for a possibility that no worker
    uses, together with 12 MiB; jobs may have it. And they turn the collector off, for which
    imports leave much to look at and nothing to collect.
    """
    if sys.modules.get("OpenSSL", sys) is None:
        del sys.modules["OpenSSL"]
    gc.freeze()
    gc.enable()


def _leave() -> None:
    """End the process, and wait neither for threads nor for the SDK's clean-up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more, or a job has closed it
            pass
    os._exit(0)


def main(parent: str, terminal: str = "") -> None:
    """Run a worker until the application closes the pipe or asks it to stop.

    Args:
        parent: The application's process id.
        terminal: As `die_with_parent`, empty for None.
    """
    die_with_parent(int(parent), int(terminal) if terminal else None)
    # Ctrl-C reaches the whole group; it is the application that decides what becomes of workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        from twisted.internet import epollreactor

        epollreactor.install()

    from ampoule.main import FROM_CHILD, TO_CHILD
    from twisted.internet import reactor, stdio

    _log_warnings()
    # What is printed goes to the application's log line by line, not when a buffer is full.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    from txcouchbase.workers.child import Worker

    _end_imports()
    worker_reactor: Any = reactor
    standard_io: Any = stdio.StandardIO
    standard_io(Worker(worker_reactor), TO_CHILD, FROM_CHILD)
    # Before the reactor waits for the threads of its pool: one that still connects to a server,
    # or runs a job, would hold up the exit. What was answered is in the pipe by then.
    worker_reactor.addSystemEventTrigger("before", "shutdown", _leave)
    worker_reactor.run(installSignalHandlers=False)
