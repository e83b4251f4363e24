"""`ChaosRun`: one run, from the start of a pool to what its close leaves behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.chaos.calls import Book, Fate, Finding, Violation
from tests.chaos.faults import FaultPlan, Injector, NodeControl
from tests.chaos.leftovers import Inventory, leftovers_of_pool
from tests.chaos.load import DocumentLoad, Load, Place
from tests.chaos.model import Ledger
from tests.chaos.queries import JobLoad, QueryLoad, TallyLoad
from tests.chaos.visits import VisitLoad
from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.workers import PoolConfig, WorkerPool
from txcouchbase.workers.brain import WorkerState
from txcouchbase.workers.events import EndCause, PoolEvent, WorkerDraining, WorkerEnded
from txcouchbase.workers.memory import resident_bytes

__all__ = ["ChaosRun", "Server", "started_node"]

_OF_ITSELF = (
    EndCause.CRASHED,
    EndCause.START_FAILED,
    EndCause.START_OVERDUE,
    EndCause.BROKEN,
)
"""Causes that need a fault. A worker that was silent may have lacked the processor."""

_RECOVERY = 60.0
"""So long after the last fault everything has to work again (seconds)."""

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclass(frozen=True)
class Server:
    """Where the server is.

    Attributes:
        connstr: The connection string.
        username: Who connects.
        password: The password.
        bucket: A bucket.
        control: The control port of an embedded node, None for another server.
    """

    connstr: str
    username: str
    password: str
    bucket: str
    control: int | None = None


@contextmanager
def started_node() -> Iterator[Server]:
    """An embedded node in a process of its own, which can be away while this one goes on."""
    node = subprocess.Popen(
        [sys.executable, "-m", "txcouchbase.testing"], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert node.stdout is not None
        where = json.loads(node.stdout.readline())
        names = ("connstr", "username", "password", "bucket", "control")
        yield Server(*(where[name] for name in names))
    finally:
        node.terminate()
        node.communicate()


@dataclass
class ChaosRun:
    """One run.

    Attributes:
        reactor: The reactor.
        server: The server.
        seed: Of the load's decisions and of those on faults.
        workers: How many workers the pool has.
        loads: How many loads on documents there are at a time.
        pace: The mean time between two faults (seconds).
        recycle_after_ops: When the pool recycles a worker.
        weights: How often each fault comes in one round of all of them.
        client: The client that the workers run.
        slack: By how much resident memory may grow (MiB), None where it does not matter.
        say: Takes lines about how it goes.
        book: What was called, and what was found.
        struck: How many faults of each kind there were.
        ended: How many workers ended for which cause.
        resident: The resident memory at the start and at the end (MiB).
    """

    reactor: Any
    server: Server
    seed: int
    weights: dict[str, int]
    workers: int = 3
    loads: int = 16
    pace: float = 1.4
    recycle_after_ops: int = 10_000
    client: str = "raw"
    slack: float | None = 8.0
    say: Callable[[str], object] = print
    book: Book = field(default_factory=Book)
    struck: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    resident: tuple[float, float] = (0.0, 0.0)
    _ledger: Ledger = field(default_factory=Ledger)

    def config(self) -> PoolConfig:
        """How the pool behaves: limits that are met, and times that are short."""
        return PoolConfig(
            min_workers=self.workers,
            max_workers=self.workers,
            max_pending=1000,
            max_in_flight=256,
            heartbeat_interval=0.5,
            heartbeat_timeout=2.5,
            start_timeout=20.0,
            restart_backoff=(0.1, 2.0, 0.2),
            job_workers=1,
            job_grace=0.5,
            drain_timeout=5.0,
            kill_timeout=0.5,
            idle_timeout=5.0,
            client=self.client,
            recycle_after_ops=self.recycle_after_ops,
        )

    @inlineCallbacks
    def run(self, seconds: float, warm_up: float) -> Generator[Deferred[Any], Any, None]:
        """Do it.

        Args:
            seconds: How long the faults go on.
            warm_up: How long the load goes on before, without faults (seconds).
        """
        node = None
        if self.server.control is not None:
            who = (self.server.username, self.server.password)
            node = NodeControl(self.reactor, self.server.control, *who)
            yield node.ask("GET", "/health")
        gc.collect()  # what others left to be logged is not ours
        before = Inventory.take(self.reactor)
        observer: Any = self.logged
        globalLogPublisher.addObserver(observer)
        looking = LoopingCall(self.book.look)
        looking.clock = self.reactor
        descriptor, traces = tempfile.mkstemp(prefix="chaos-")
        os.close(descriptor)
        try:
            looking.start(1.0, now=False)
            place = self._place()
            yield self._connected(place)
            if warm_up:
                yield self._load(place, traces, warm_up, None)
            start = _collected()
            injector = Injector(place, self.book, node)
            self.struck = injector.struck
            place.deferred.pool.add_observer(lambda event: self.happened(event, injector.victims))
            yield self._load(place, traces, seconds, injector)
            yield self._whole(place.deferred.pool)
            self.resident = (start, _collected())
            yield self._close(place)
            with open(traces, encoding="ascii") as written:
                self.book.report(self._ledger.check([int(line) for line in written]))
            yield self._pause(0.2)
            self.book.report(leftovers_of_pool(place.deferred.pool))
        finally:
            looking.stop()
            os.unlink(traces)
            globalLogPublisher.removeObserver(observer)
        self.book.report(before.compare(Inventory.take(self.reactor)))
        self.compare_memory()

    def compare_memory(self) -> None:
        """Look at the resident memory of the start and the end."""
        start, end = self.resident
        if self.slack is not None and end - start > self.slack:
            grown = f"from {start:.1f} to {end:.1f} MiB"
            self.book.report([Finding(Violation.MEMORY, "resident", grown)])

    def _place(self) -> Place:
        pool = WorkerPool(self.config(), self.reactor)

        def options() -> ClusterOptions:
            who = PasswordAuthenticator(self.server.username, self.server.password)
            return ClusterOptions(who)

        connstr = self.server.connstr
        return Place(
            self.reactor,
            TxCluster(connstr, options(), pool=pool),
            TxRawCluster(connstr, options(), pool=pool),
            lambda: TxCluster(connstr, options(), pool=pool),
            self.server.bucket,
            f"chaos-{self.seed}-{os.getpid()}",
        )

    def _connected(self, place: Place) -> Deferred[Any]:
        return gatherResults([place.deferred.on_connect(), place.raw.on_connect()])

    @inlineCallbacks
    def _load(
        self, place: Place, traces: str, seconds: float, injector: Injector | None
    ) -> Generator[Deferred[Any], Any, None]:
        """Make a load for some time, with the faults of an injector."""

        def random(name: str) -> Random:
            return Random(f"{self.seed} {name} {injector is not None}")

        loads: list[Load] = [JobLoad(place, self.book, random("jobs"), self._ledger, traces)]
        for number in range(self.loads):
            loads.append(DocumentLoad(place, self.book, random(f"documents {number}")))
        for number in range(2):
            loads.append(QueryLoad(place, self.book, random(f"queries {number}")))
            loads.append(TallyLoad(place, self.book, random(f"tally {number}")))
            loads.append(VisitLoad(place, self.book, random(f"visits {number}")))
        running = [load.run() for load in loads]
        giving_up: list[Any] = []
        reporting = LoopingCall(self._tell, place, self.reactor.seconds(), injector)
        reporting.clock = self.reactor
        reporting.start(10.0, now=False)
        try:
            if injector is not None:
                plan = FaultPlan(random("faults"), self.pace, self.weights)
                striking = injector.run(plan)
                yield self._pause(seconds)
                injector.stop()
                yield striking
            else:
                yield self._pause(seconds)
            for load in loads:
                load.stop()
                giving_up.append(self.reactor.callLater(_RECOVERY, load.give_up))
            yield gatherResults(running)
        finally:
            reporting.stop()
            for call in giving_up:
                if call.active():
                    call.cancel()

    @inlineCallbacks
    def _close(self, place: Place) -> Generator[Deferred[Any], Any, None]:
        """Close while calls are made, with a worker that has to be ended by force."""
        book = self.book
        pids = [view.pid for view in place.deferred.pool.workers if view.pid is not None]
        os.kill(pids[self.seed % len(pids)], signal.SIGSTOP)
        calls = []
        closed: Deferred[Any] = succeed(None)
        for number in range(300):
            call = book.open("at the close", f"{place.prefix}-last-{number % 50}", 1.0)
            begun: Any = place.collections[number % 2].upsert(
                call.key, number, timeout=timedelta(seconds=1)
            )
            book.follow(call, begun)
            calls.append(call)
            if number == 200:
                closed = gatherResults([place.deferred.close(), place.deferred.pool.close()])
            elif number % 7 == 0:
                yield self._pause(0.001)
        yield place.raw.close()
        yield closed
        if any(call.number in book.pending for call in calls):
            what = "calls have not ended when the pool is closed"
            self.book.report([Finding(Violation.LEFT_BEHIND, "calls", what)])
        yield book.when_over(calls)

    @inlineCallbacks
    def _whole(self, pool: WorkerPool) -> Generator[Deferred[Any], Any, None]:
        """Wait until the pool has its workers again."""
        for _ in range(600):
            states = [view.state for view in pool.workers]
            ready = states.count(WorkerState.READY)
            if pool.config.min_workers <= ready == len(states) <= pool.config.max_workers:
                return
            yield self._pause(0.1)
        what = f"{states}, not {pool.config.min_workers} to {pool.config.max_workers} ready ones"
        self.book.report([Finding(Violation.NOT_WHOLE, "pool", what)])

    def happened(self, event: PoolEvent, victims: set[int]) -> None:
        """Something happened to a worker.

        Args:
            event: What.
            victims: The processes that faults have struck.
        """
        if isinstance(event, WorkerDraining) and event.cause.recycled:
            self.struck["recycle"] += 1
        elif isinstance(event, WorkerEnded):
            who = "job worker" if event.jobs else "worker"
            struck = "" if event.pid in victims else ", not struck"
            self.ended[f"{who} {event.cause.value}{struck}"] += 1
            if event.cause in _OF_ITSELF and event.pid not in victims:
                self.book.report([Finding(Violation.WORKER_LOST, str(event.pid), str(event))])

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self.reactor, seconds)

    def _tell(self, place: Place, since: float, injector: Injector | None) -> None:
        book = self.book
        figures = {
            "calls": sum(book.outcomes.values()),
            "pending": len(book.pending),
            "done": book.count(Fate.DONE),
            "refused": book.count(Fate.REFUSED),
            "ambiguous": book.count(Fate.AMBIGUOUS),
            "faults": sum(self.struck.values()),
            "workers": len(place.deferred.pool.workers),
            "MiB": round(_resident()),
            "violations": book.found,
        }
        told = ", ".join(f"{name} {number:,}" for name, number in figures.items())
        self.say(f"{self.reactor.seconds() - since:.0f} s: {told}")

    def logged(self, event: dict[str, Any]) -> None:
        """Something was logged."""
        failure = event.get("log_failure")
        level = event.get("log_level")
        if failure is not None or level is LogLevel.critical:
            trace = failure.getTraceback() if failure is not None else ""
            text = f"{formatEvent(event)}\n{trace}"
            self.book.report([Finding(Violation.LOGGED, str(event.get("log_namespace")), text)])


def _resident() -> float:
    """The resident memory of this process (MiB)."""
    return resident_bytes() / (1 << 20)


def _collected() -> float:
    gc.collect()
    return _resident()
