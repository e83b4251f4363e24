"""An application that is ended in every way there is, for `tests.test_shutdown`.

It reads one line of JSON, an `Order`, prints the process ids of its workers once they are in the
states that were asked for, and then ends as the next line says, or as it is made to.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet import reactor, stdio, task
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.protocols.basic import LineReceiver

from tests import shutdownapp
from tests.support import until
from txcouchbase.cluster import TxCluster
from txcouchbase.collection import TxCollection
from txcouchbase.workers import PoolConfig, WorkerPool, process

RUNNING: Any = reactor
IN_FLIGHT = 32

HOLDING = """\
import ctypes, os, signal
def hold(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join({marks!r}, str(os.getpid())), "w").close()
    ctypes.PyDLL(None).sleep(600)
signal.signal(signal.SIGUSR1, hold)
"""
"""Lets a worker stick in C with the interpreter's lock held, deaf to SIGTERM."""


def hold_job(mark: str) -> None:
    """A job that sticks in C with the interpreter's lock held."""
    ctypes.CDLL(None).signal(signal.SIGTERM, signal.SIG_IGN)  # it is not the main thread
    Path(mark).touch()
    ctypes.PyDLL(None).sleep(600)


def busy_job(mark: str) -> None:
    """A job that has much to do."""
    Path(mark).touch()
    while True:
        sum(range(100_000))


class Application:
    """Brings workers into the states that an order names.

    Args:
        order: `connstr`, `username`, `password`, `bucket`: the server; `states`: what is wanted;
            `marks`: a folder for marks; `config`: fields of the pools' configurations;
            `timeout`: of the operations (seconds); `terminal`: whether the workers end with a
            terminal, as where the system is not Linux.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._pools: list[WorkerPool] = []
        self._mute = socket.create_server(("127.0.0.1", 0))
        """Answers nobody."""

    @inlineCallbacks
    def prepare(self) -> Generator[Deferred[Any], Any, list[int]]:
        """Fires with the process ids of all workers when they are in their states."""
        states = {
            name: getattr(self, f"_{name}")
            for name in sorted(self._order["states"], key=lambda name: name == "starting")
        }
        yield gatherResults([make() for name, make in states.items() if name != "starting"])
        if "starting" in states:
            yield states["starting"]()
        views = [view for pool in self._pools for view in (*pool.workers, *pool.job_workers)]
        return [view.pid for view in views if view.pid is not None]

    def _pool(self) -> WorkerPool:
        pool = WorkerPool(
            PoolConfig(min_workers=1, max_workers=1, job_workers=1, **self._order["config"])
        )
        self._pools.append(pool)
        return pool

    def _cluster(self, connstr: str | None = None) -> TxCluster:
        order = self._order
        authenticator = PasswordAuthenticator(order["username"], order["password"])
        return TxCluster(
            connstr or order["connstr"], ClusterOptions(authenticator), pool=self._pool()
        )

    @inlineCallbacks
    def _under_load(self) -> Generator[Deferred[Any], Any, int]:
        """Fires with the process id of a worker that has operations in flight, again and again."""
        cluster = self._cluster()
        collection = cluster.bucket(self._order["bucket"]).default_collection()
        yield collection.upsert(f"shutdown-{os.getpid()}", 0)
        for number in range(IN_FLIGHT):
            self._write_for_ever(collection, f"shutdown-{os.getpid()}-{number}")
        (worker,) = cluster.pool.workers
        assert worker.pid is not None
        return worker.pid

    def _write_for_ever(self, collection: TxCollection, key: str) -> None:
        written = collection.upsert(key, 1, timeout=timedelta(seconds=self._order["timeout"]))
        # The first error ends it: the pool is closed, or the worker does not answer any more.
        written.addCallbacks(lambda _: self._write_for_ever(collection, key), lambda _: None)

    def _idle(self) -> Deferred[Any]:
        return self._cluster().on_connect()

    def _busy(self) -> Deferred[Any]:
        return self._under_load()

    @inlineCallbacks
    def _stopped(self) -> Generator[Deferred[Any], Any, None]:
        pid = yield self._under_load()
        os.kill(pid, signal.SIGSTOP)

    @inlineCallbacks
    def _stuck(self) -> Generator[Deferred[Any], Any, None]:
        pid = yield self._under_load()
        os.kill(pid, signal.SIGUSR1)
        yield until((Path(self._order["marks"]) / str(pid)).exists)

    def _connecting(self) -> Deferred[Any]:
        cluster = self._cluster(f"couchbase://127.0.0.1:{self._mute.getsockname()[1]}")
        cluster.on_connect().addErrback(lambda _: None)
        return until(lambda: cluster._session._attempts)

    def _starting(self) -> Deferred[Any]:
        pool = self._pool()
        pool.start()
        return until(lambda: pool.workers)

    def _busy_job(self) -> Deferred[Any]:
        return self._job(shutdownapp.busy_job)

    def _stuck_job(self) -> Deferred[Any]:
        return self._job(shutdownapp.hold_job)

    def _job(self, function: Callable[[str], None]) -> Deferred[Any]:
        mark = Path(self._order["marks"]) / function.__name__
        self._pool().run(function, str(mark)).addErrback(lambda _: None)  # it does not end well
        return until(mark.exists)


class Orders(LineReceiver):
    """Reads what to do."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.order: Deferred[dict[str, Any]] = Deferred()
        self.ending: Deferred[str] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        """One line: the order, or how to end."""
        if not self.order.called:
            self.order.callback(json.loads(line))
        else:
            self.ending.callback(line.decode())


class Ended(Exception):
    """What an application ends with that nobody handles."""


@inlineCallbacks
def run(_: Any = None) -> Generator[Deferred[Any], Any, None]:
    """Prepare, tell, wait for how to end, and do that."""
    orders = Orders()
    standard_io: Any = stdio.StandardIO
    standard_io(orders)
    order = yield orders.order
    process.TERMINAL_NEEDED = order["terminal"]
    process._BOOTSTRAP = HOLDING.format(marks=order["marks"]) + process._BOOTSTRAP
    pids = yield Application(order).prepare()
    print(json.dumps(pids), flush=True)
    ending = yield orders.ending
    if ending == "stop":
        RUNNING.stop()
    elif ending == "raise":
        raise Ended
    elif ending == "crash":
        RUNNING.crash()  # stops, without the triggers that a stop calls
    elif ending == "exit":
        os._exit(5)
    elif ending == "sys.exit":
        # The reactor logs it as it logs what else is raised, and goes on.
        RUNNING.callLater(0, sys.exit, 3)
        RUNNING.callLater(0.01, RUNNING.stop)


def main(form: str, then: str = "") -> None:
    """Run as a program.

    Args:
        form: Who runs the reactor: ``"plain"``, ``"react"`` or ``"thread"``.
        then: What follows when the reactor does not run any more: ``"raise"`` something,
            ``"wait"`` for SIGTERM, or nothing.
    """
    if form == "react":
        task.react(run)
    RUNNING.callWhenRunning(lambda: run().addErrback(failed))
    if form == "thread":
        thread = threading.Thread(target=RUNNING.run, kwargs={"installSignalHandlers": False})
        signal.signal(signal.SIGTERM, lambda *_: RUNNING.callFromThread(RUNNING.stop))
        thread.start()
        thread.join()
        if then == "wait":
            signal.pause()
    else:
        RUNNING.run()
    if then == "raise":
        raise Ended


def failed(failure: Any) -> None:
    """Preparing went wrong, which nobody expects."""
    failure.printTraceback(file=sys.stderr)
    sys.stderr.flush()
    os._exit(9)
