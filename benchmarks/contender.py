"""One contender of `benchmarks/kv.py`, in a process of its own.

``contender.py NAME PACKAGES``. The first line on stdin says where the server is; each further
line names a measurement, and is answered with one line of JSON on stdout.
"""

from __future__ import annotations

import json
import os
import site
import sys
import time
from typing import Any

NAMES = ("sdk", "threads", "ampoule", "ours-1", "ours-2")
DOCUMENT = {
    "id": 1234567,
    "name": "A document of two hundred and fifty bytes as JSON",
    "tags": ["alpha", "beta", "gamma", "delta"],
    "price": 12.75,
    "stock": {"here": 17, "there": 4, "coming": True},
    "text": "x" * 50,
}
KEYS = 2_000


def use_the_sdk_s_own(packages: str) -> None:
    """Make ``import txcouchbase`` find the SDK's package: Python was started without hooks."""
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.path.dirname(__file__))]
    sys.path.append(packages)


class Contender:
    """A way to get and upsert: both return Deferreds of the SDK's Results."""

    async def start(self, where: dict[str, str]) -> None:
        """Connect."""
        raise NotImplementedError

    def get(self, key: str) -> Any:
        """Fetch a document."""
        return self.collection.get(key)  # type: ignore[attr-defined]

    def upsert(self, key: str, value: Any) -> Any:
        """Store a document."""
        return self.collection.upsert(key, value)  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Disconnect."""


def options(where: dict[str, str]) -> Any:
    from couchbase.auth import PasswordAuthenticator
    from couchbase.options import ClusterOptions

    return ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))


class Sdk(Contender):
    """The SDK's own txcouchbase."""

    async def start(self, where: dict[str, str]) -> None:
        import txcouchbase
        from txcouchbase.cluster import TxCluster

        assert hasattr(TxCluster, "loop"), f"not the SDK's: {txcouchbase.__file__}"
        self.cluster = TxCluster(where["connstr"], options(where))
        await self.cluster.on_connect()
        bucket = self.cluster.bucket(where["bucket"])
        await bucket.on_connect()
        self.collection = bucket.default_collection()

    async def stop(self) -> None:
        await self.cluster.close()


class Threads(Contender):
    """`deferToThread` with the SDK's blocking API, 10 threads."""

    async def start(self, where: dict[str, str]) -> None:
        from couchbase.cluster import Cluster
        from twisted.internet import reactor, threads

        reactor.suggestThreadPoolSize(10)  # type: ignore[attr-defined]
        self.defer = threads.deferToThread
        self.cluster = await self.defer(Cluster, where["connstr"], options(where))
        bucket = await self.defer(self.cluster.bucket, where["bucket"])
        self.sync = bucket.default_collection()

    def get(self, key: str) -> Any:
        return self.defer(self.sync.get, key)

    def upsert(self, key: str, value: Any) -> Any:
        return self.defer(self.sync.upsert, key, value)

    async def stop(self) -> None:
        await self.defer(self.cluster.close)


class Ampoule(Contender):
    """Stock Ampoule, one command per operation, 2 workers."""

    async def start(self, where: dict[str, str]) -> None:
        import ampoule_child
        from ampoule import main, pool

        self.commands = ampoule_child
        self.where = json.dumps(where).encode()
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        starter = main.ProcessStarter(env=environ)
        self.pool = pool.ProcessPool(ampoule_child.Child, min=2, max=2, starter=starter)
        self.pool.recycleAfter = 0
        await self.pool.start()

    def get(self, key: str) -> Any:
        answer = self.pool.doWork(self.commands.Get, where=self.where, key=key)
        return answer.addCallback(_Decoded)

    def upsert(self, key: str, value: Any) -> Any:
        encoded = json.dumps(value).encode()
        return self.pool.doWork(self.commands.Upsert, where=self.where, key=key, value=encoded)

    async def stop(self) -> None:
        await self.pool.stop()


class _Decoded:
    def __init__(self, answer: dict[str, bytes]) -> None:
        self.value = json.loads(answer["value"])


class Ours(Contender):
    """This package, with so many workers."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    async def start(self, where: dict[str, str]) -> None:
        from datetime import timedelta

        from txcouchbase.cluster import TxCluster
        from txcouchbase.workers import PoolConfig

        config = PoolConfig(min_workers=self.workers, max_workers=self.workers)
        self.cluster = TxCluster(where["connstr"], options(where), pool=config)
        bucket = self.cluster.bucket(where["bucket"])
        await bucket.on_connect()
        await self.cluster.wait_until_ready(timedelta(seconds=30))
        self.collection = bucket.default_collection()

    async def stop(self) -> None:
        await self.cluster.close()


def make(name: str) -> Contender:
    """The contender of that name."""
    if name.startswith("ours-"):
        return Ours(int(name.removeprefix("ours-")))
    return {"sdk": Sdk, "threads": Threads, "ampoule": Ampoule}[name]()


async def measure(contender: Contender, operation: str, in_flight: int, seconds: float) -> Any:
    """So many calls at a time, each in a loop of its own, for so long."""
    from twisted.internet.defer import gatherResults, inlineCallbacks

    latencies: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds

    @inlineCallbacks
    def loop(number: int) -> Any:
        while True:
            started = clock()
            if started >= end:
                return
            key = f"doc-{number % KEYS}"
            number += in_flight
            if operation == "get":
                result = yield contender.get(key)
                result.value  # noqa: B018 - decoding is part of a get
            else:
                yield contender.upsert(key, DOCUMENT)
            latencies.append(clock() - started)

    cpu, started = time.thread_time(), clock()
    await gatherResults([loop(number) for number in range(in_flight)], consumeErrors=True)
    cpu, took = time.thread_time() - cpu, clock() - started
    latencies.sort()
    count = len(latencies)
    return {
        "per_second": count / took,
        "cpu": cpu / count,
        "p50": latencies[count // 2],
        "p99": latencies[min(count - 1, count * 99 // 100)],
    }


async def fill(contender: Contender) -> None:
    """Store the documents that `get` fetches."""
    from twisted.internet.defer import gatherResults

    for start in range(0, KEYS, 200):
        await gatherResults(
            [contender.upsert(f"doc-{n}", DOCUMENT) for n in range(start, start + 200)]
        )


def main(name: str, packages: str) -> None:
    """Serve measurements until stdin ends; `packages` is where the SDK is installed."""
    if name == "sdk":
        use_the_sdk_s_own(packages)
        import txcouchbase  # noqa: F401 - installs the asyncio reactor
    else:
        site.main()
        site.addsitedir(packages)
    from twisted.internet import reactor, stdio
    from twisted.internet.defer import Deferred, ensureDeferred
    from twisted.protocols.basic import LineOnlyReceiver

    contender = make(name)

    class Orders(LineOnlyReceiver):
        delimiter = b"\n"
        MAX_LENGTH = 100_000
        where: dict[str, str] | None = None

        def lineReceived(self, line: bytes) -> None:
            order = json.loads(line)
            if self.where is None:
                self.where = order
                done = ensureDeferred(self.begin(order))
            else:
                done = ensureDeferred(measure(contender, **order))
            done.addCallbacks(self.answer, self.failed)

        async def begin(self, where: dict[str, str]) -> Any:
            await contender.start(where)
            await fill(contender)
            return {"ready": name}

        def answer(self, result: Any) -> None:
            self.transport.write(json.dumps(result).encode() + b"\n")

        def failed(self, failure: Any) -> None:
            failure.printTraceback(file=sys.stderr)
            reactor.stop()  # type: ignore[attr-defined]

        def connectionLost(self, reason: Any = None) -> None:
            def stop(_: Any) -> None:
                if reactor.running:  # type: ignore[attr-defined]
                    reactor.stop()  # type: ignore[attr-defined]

            stopped: Deferred[None] = ensureDeferred(contender.stop())
            stopped.addErrback(lambda failure: failure.printTraceback(file=sys.stderr))
            stopped.addBoth(stop)

    reactor.callWhenRunning(stdio.StandardIO, Orders())  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
