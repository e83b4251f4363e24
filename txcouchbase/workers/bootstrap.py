"""The first code of a worker: bind its life to the application's, then run its reactor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """End this process when the application ends, however that happens.

    On Linux the kernel does it, even while this process is busy in C. Elsewhere the end of the
    pipe does, which needs the reactor to run.
    """
    if sys.platform == "linux":
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


def main(parent: str) -> None:
    """Run a worker until the application closes the pipe or asks it to stop.

    Args:
        parent: The application's process id.
    """
    die_with_parent(int(parent))
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

    worker_reactor: Any = reactor
    standard_io: Any = stdio.StandardIO
    standard_io(Worker(worker_reactor), TO_CHILD, FROM_CHILD)
    worker_reactor.run(installSignalHandlers=False)
    # The SDK's native threads need not be waited for, and must not hold up the exit.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
