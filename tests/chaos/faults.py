"""The faults: planned from a seed, and struck whatever the load is doing."""

from __future__ import annotations

import json
import os
import signal
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, gatherResults, inlineCallbacks, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http_headers import Headers

from tests.chaos.calls import Book, Call, Fate, Finding, Violation
from tests.chaos.load import DEFAULT_TIMEOUT, Place, give_up
from txcouchbase.workers import PoolConfig
from txcouchbase.workers.view import WorkerView

__all__ = ["FAULTS", "NODE_FAULTS", "FaultPlan", "Injector", "NodeControl", "PlannedFault"]

_WRITES_AND_READS = "^(GET|SET|ADD|REPLACE|DELETE|INCREMENT|APPEND|PREPEND)$"

WORKER_FAULTS = {
    "kill": 6,
    "crash": 1,
    "kill a job worker": 2,
    "stop a job worker": 1,
    "pause": 4,
    "stop": 3,
    "cancel": 3,
    "overload": 2,
    "resize": 4,
}
"""How often each comes, in one round of all of them."""

NODE_FAULTS = {
    "restart": 2,
    "outage": 1,
    "hang": 2,
    "drop": 4,
    "drop a query": 2,
    "silence": 2,
    "slow": 3,
    "busy": 3,
}
"""The same for those that need the embedded node."""

FAULTS = {**WORKER_FAULTS, **NODE_FAULTS}
"""All of them."""


@dataclass(frozen=True)
class PlannedFault:
    """One fault, all of whose choices are made.

    Attributes:
        after: How long after the one before (seconds).
        kind: One of `FAULTS`.
        share: Chooses the victim, from 0.0 to below 1.0.
        length: How long it lasts, where it does, from 0.0 to 1.0 of the longest.
        count: A small number.
        seed: For what is to be drawn by others.
    """

    after: float
    kind: str
    share: float
    length: float
    count: int
    seed: int


class FaultPlan:
    """An endless list of faults, the same for the same seed.

    Args:
        random: Decides.
        pace: The mean time between two of them (seconds).
        weights: How often each kind comes in one round.
    """

    def __init__(self, random: Random, pace: float, weights: dict[str, int]) -> None:
        self._random = random
        self._pace = pace
        self._weights = weights

    def __iter__(self) -> Iterator[PlannedFault]:
        random = self._random
        while True:
            # Every kind once early, so that a short run has met them all.
            first = list(self._weights)
            rest = [kind for kind, times in self._weights.items() for _ in range(times - 1)]
            random.shuffle(first)
            random.shuffle(rest)
            for kind in [*first, *rest]:
                yield PlannedFault(
                    random.uniform(0.4, 1.6) * self._pace,
                    kind,
                    random.random(),
                    random.random(),
                    random.randint(1, 4),
                    random.getrandbits(32),
                )


class _Body(Protocol):
    """Gathers the body of an answer. `twisted.web.client.readBody` warns about the transport of a
    body that has not arrived whole yet, and trial makes an error of that."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """A piece of it."""
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There is no more."""
        self.over.callback(b"".join(self._pieces))


class NodeControl:
    """Asks things of an embedded node, by its control port.

    Args:
        reactor: The reactor.
        port: The control port.
        username: The administrator.
        password: The password.
    """

    def __init__(self, reactor: Any, port: int, username: str, password: str) -> None:
        self._agent = Agent(reactor, connectTimeout=10)
        self._base = f"http://127.0.0.1:{port}"
        token = b64encode(f"{username}:{password}".encode()).decode()
        self._headers = Headers({"Authorization": [f"Basic {token}"]})

    @inlineCallbacks
    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Generator[Deferred[Any], Any, Any]:
        """What it answers, which is JSON.

        Errors: RuntimeError with the answer, if it refuses.
        """
        producer: Any = None
        if body is not None:
            producer = FileBodyProducer(BytesIO(json.dumps(body).encode()))
        response = yield self._agent.request(
            method.encode(), f"{self._base}{path}".encode(), self._headers, producer
        )
        gathered = _Body()
        response.deliverBody(gathered)
        answer = yield gathered.over
        if response.code // 100 != 2:
            raise RuntimeError(f"{method} {path}: {response.code} {answer!r}")
        return json.loads(answer or b"null")


class Injector:
    """Strikes.

    Args:
        place: Where the load is.
        book: Its calls, which are to be cancelled at times.
        node: The node's control port, None for a server that has none.

    Attributes:
        struck: How many faults of each kind there were.
        victims: The processes that were struck.
    """

    def __init__(self, place: Place, book: Book, node: NodeControl | None) -> None:
        self._place = place
        self._book = book
        self._node = node
        self._node_life = DeferredLock()
        self._pool = place.deferred.pool
        self._running: set[Deferred[Any]] = set()
        self._stopped: set[int] = set()
        self._stopping = False
        self.struck: Counter[str] = Counter()
        self.victims: set[int] = set()
        self._strikes: dict[str, Callable[[PlannedFault], Any]] = {
            "kill": lambda fault: self._signal(fault, signal.SIGKILL),
            "crash": lambda fault: self._signal(fault, signal.SIGSEGV),
            "kill a job worker": lambda fault: self._signal(fault, signal.SIGKILL, jobs=True),
            "stop a job worker": lambda fault: self._signal(fault, signal.SIGSTOP, jobs=True),
            "pause": self._pause,
            "stop": lambda fault: self._signal(fault, signal.SIGSTOP),
            "cancel": self._cancel,
            "overload": self._overload,
            "resize": self._resize,
            "restart": self._restart,
            "outage": self._outage,
            "hang": self._hang,
            "drop": self._drop,
            "drop a query": self._drop_query,
            "silence": self._silence,
            "slow": self._slow,
            "busy": self._busy,
        }

    @inlineCallbacks
    def run(self, plan: FaultPlan) -> Generator[Deferred[Any], Any, None]:
        """Strike until `stop`; fires when nothing lasts any more, and all is whole again."""
        for fault in plan:
            yield self._pause_for(fault.after)
            if self._stopping:
                break
            self._strike(fault)
        while self._running:
            yield gatherResults(list(self._running), consumeErrors=True)
        for pid in self._stopped:
            self._send(pid, signal.SIGCONT)
        if self._node is not None:
            yield self._node.ask("DELETE", "/faults")
            yield self._node.ask("POST", "/release")

    def stop(self) -> None:
        """Strike no more."""
        self._stopping = True

    def _strike(self, fault: PlannedFault) -> None:
        result = self._strikes[fault.kind](fault)
        if result is False:
            return
        self.struck[fault.kind] += 1
        if isinstance(result, Deferred):
            self._running.add(result)
            result.addBoth(self._over, result)

    def _over(self, outcome: Any, running: Deferred[Any]) -> Any:
        self._running.discard(running)
        return outcome

    def _pause_for(self, seconds: float) -> Deferred[None]:
        return deferLater(self._place.reactor, seconds)

    # -- workers --------------------------------------------------------------------------

    def _views(self, jobs: bool = False) -> list[WorkerView]:
        views = self._pool.job_workers if jobs else self._pool.workers
        return [view for view in views if view.pid is not None]

    def _victim(self, fault: PlannedFault, jobs: bool = False) -> int | None:
        views = self._views(jobs)
        if not views:
            return None
        pid = views[int(fault.share * len(views))].pid
        assert pid is not None
        self.victims.add(pid)
        return pid

    def _send(self, pid: int, number: int) -> None:
        # Only to what is a worker now: the number might be that of another process else.
        if any(view.pid == pid for view in [*self._views(), *self._views(jobs=True)]):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _signal(self, fault: PlannedFault, number: int, jobs: bool = False) -> bool:
        pid = self._victim(fault, jobs)
        if pid is None:
            return False
        if number == signal.SIGSTOP:
            self._stopped.add(pid)
        self._send(pid, number)
        return True

    def _pause(self, fault: PlannedFault) -> Any:
        pid = self._victim(fault)
        if pid is None:
            return False
        self._send(pid, signal.SIGSTOP)
        return self._pause_for(0.02 + fault.length).addCallback(
            lambda _: self._send(pid, signal.SIGCONT)
        )

    def _resize(self, fault: PlannedFault) -> Any:
        self._pool.resize(1 + int(fault.share * fault.count), fault.count)

    # -- calls ----------------------------------------------------------------------------

    def _cancel(self, fault: PlannedFault) -> Any:
        for call in list(self._book.pending.values())[fault.count - 1 :: fault.count]:
            give_up(call)

    def _overload(self, fault: PlannedFault) -> Any:
        """Many more calls in one turn than the pool takes."""
        config: PoolConfig = self._pool.config
        # Some keys are the same and some are not, and nobody ever writes them.
        keys = [f"{self._place.prefix}-none-{number}" for number in range(97)]
        calls = []
        for number in range(config.max_pending + 200):
            call = self._book.open("overload", keys[number % 97], DEFAULT_TIMEOUT)
            collection = self._place.collections[number % 2]
            begun: Any = collection.get(call.key)
            self._book.follow(call, begun)
            calls.append(call)
        over = self._book.when_over(calls)
        return over.addCallback(lambda _: self._expect_no_documents(calls))

    def _expect_no_documents(self, calls: list[Call]) -> None:
        self._book.report(
            [
                Finding(Violation.ALIEN, call.key, "nobody wrote this document", (str(call),))
                for call in calls
                if call.fate is Fate.DONE
            ]
        )

    # -- the node -------------------------------------------------------------------------

    def _control(self, method: str, path: str, body: Any = None) -> Deferred[Any]:
        return self._node.ask(method, path, body) if self._node is not None else succeed(None)

    @inlineCallbacks
    def _back(self) -> Generator[Deferred[Any], Any, None]:
        """Restart the node."""
        for _ in range(100):
            answer = yield self._control("POST", "/restart")
            if not answer or "error" not in answer:
                return
            # Somebody's connection may have got its port meanwhile.
            yield self._pause_for(0.1)
        raise RuntimeError(f"the node does not come back: {answer['error']}")

    def _restart(self, fault: PlannedFault) -> Deferred[Any]:
        return self._node_life.run(self._back)

    def _outage(self, fault: PlannedFault) -> Deferred[Any]:
        seconds = 0.2 + 1.3 * fault.length
        return self._node_life.run(self._away, "/kill", self._back, seconds)

    def _hang(self, fault: PlannedFault) -> Deferred[Any]:
        seconds = 0.1 + 1.4 * fault.length
        return self._node_life.run(
            self._away, "/hold", lambda: self._control("POST", "/release"), seconds
        )

    @inlineCallbacks
    def _away(
        self, begin: str, end: Callable[[], Deferred[Any]], seconds: float
    ) -> Generator[Deferred[Any], Any, None]:
        yield self._control("POST", begin)
        yield self._pause_for(seconds)
        yield end()

    @inlineCallbacks
    def _for_a_while(self, seconds: float, **fault: Any) -> Generator[Deferred[Any], Any, None]:
        added = yield self._control("POST", "/faults", fault)
        yield self._pause_for(seconds)
        if added is not None:
            yield self._control("DELETE", f"/faults/{added['number']}")

    def _drop(self, fault: PlannedFault) -> Deferred[Any]:
        return self._for_a_while(
            1.0,
            service="kv",
            operation=_WRITES_AND_READS,
            effect="drop",
            times=fault.count,
            skip=fault.seed % 50,
            size=(0, 0, 10, 30)[fault.count - 1],
            carried_out=fault.share < 0.5,
        )

    def _drop_query(self, fault: PlannedFault) -> Deferred[Any]:
        return self._for_a_while(
            1.0,
            service="query",
            effect="drop",
            times=fault.count,
            size=(0, 100, 1000, 10000)[fault.seed % 4],
            carried_out=fault.share < 0.5,
        )

    def _silence(self, fault: PlannedFault) -> Deferred[Any]:
        return self._for_a_while(
            1.0,
            service="kv",
            operation=_WRITES_AND_READS,
            effect="silence",
            times=5 * fault.count,
            skip=fault.seed % 50,
            carried_out=fault.share < 0.5,
        )

    def _slow(self, fault: PlannedFault) -> Deferred[Any]:
        return self._for_a_while(
            0.5 + fault.length,
            service=("kv", "kv", "kv", "query")[fault.count - 1],
            delay=0.05 + fault.share,
            probability=0.3,
            seed=fault.seed,
        )

    def _busy(self, fault: PlannedFault) -> Deferred[Any]:
        return self._for_a_while(
            0.5 + fault.length,
            service="kv",
            operation=_WRITES_AND_READS,
            effect="refuse",
            status=("TMPFAIL", "TMPFAIL", "EBUSY", "EBUSY")[fault.count - 1],
            probability=0.3,
            seed=fault.seed,
        )
