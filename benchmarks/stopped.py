"""One of three workers is stopped under a paced load: do operations on the others notice?

First the capacity is measured (a closed loop on all workers), then reads are called at 30 % of it.
In each round their times are taken for a while, one worker gets SIGSTOP, and they are taken again;
then it goes on. It is not silent for long enough to be killed. Of the second half those count that
did not go to the lane of the stopped worker. Ends with exit status 1 if their 99th percentile,
as the median of the rounds, is more than twice the normal one.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import uuid
from datetime import timedelta
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import ROOT, add_server_arguments, median, percentile, print_table, run_and_judge
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

sys.path.insert(0, ROOT)

from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig

WORKERS = 3
KEYS = 10_000
SHARE = 0.3
PACE = 0.002
"""Seconds between two bites of the paced load."""

BOUND = 2.0
"""How many times the normal 99th percentile is good enough."""

LONG = timedelta(seconds=60)


class Reads:
    """Calls reads and takes their times.

    Args:
        reactor: The reactor.
        collection: Where they go.
        keys: Of which documents.
    """

    def __init__(self, reactor: Any, collection: Any, keys: list[str]) -> None:
        self._reactor = reactor
        self._collection = collection
        self._keys = keys
        self._answered = 0

    async def capacity(self, in_flight: int, seconds: float) -> float:
        """Reads per second of a closed loop."""
        self._answered = 0
        end = self._reactor.seconds() + seconds
        await gatherResults([self._loop(end) for _ in range(in_flight)])
        return self._answered / seconds

    def _loop(self, end: float) -> Deferred[Any]:
        over: Deferred[Any] = Deferred()

        def again(_: Any) -> None:
            self._answered += 1
            if self._reactor.seconds() < end:
                self._read().addCallbacks(again, over.errback)
            else:
                over.callback(None)

        self._read().addCallbacks(again, over.errback)
        return over

    def _read(self) -> Deferred[Any]:
        read: Deferred[Any] = self._collection.get(random.choice(self._keys), timeout=LONG)
        return read

    async def paced(self, per_second: float, seconds: float, lane: Any) -> tuple[Any, Any]:
        """Call reads at a steady pace.

        Returns:
            The times of those that did not go to the lane, and the Deferreds of those that did.
        """
        begin = self._reactor.seconds()
        times: list[float] = []
        held: list[Deferred[Any]] = []
        called = 0

        def bite() -> None:
            nonlocal called
            due = int((self._reactor.seconds() - begin) * per_second)
            while called < due:
                called += 1
                self._timed(times, held, lane)

        loop = task.LoopingCall(bite)
        loop.clock = self._reactor
        pacing = loop.start(PACE)
        self._reactor.callLater(seconds, loop.stop)
        await pacing
        while len(times) + len(held) < called:
            await task.deferLater(self._reactor, 0.01)
        return times, held

    def _timed(self, times: list[float], held: list[Deferred[Any]], lane: Any) -> None:
        key = random.choice(self._keys)
        begin = self._reactor.seconds()
        read = self._collection.get(key, timeout=LONG)
        # Which lane it went to: the one that its key is bound to until it is answered.
        if self._collection._pool._keys[self._collection._keyspace.order, key][0] is lane:
            held.append(read)
        else:
            read.addCallback(lambda _: times.append(self._reactor.seconds() - begin))


async def measure(reactor: Any, where: dict[str, str], arguments: Any) -> list[dict[str, Any]]:
    """All rounds."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    config = PoolConfig(min_workers=WORKERS, max_workers=WORKERS, heartbeat_timeout=60)
    cluster = TxCluster(where["connstr"], options, pool=config)
    rounds = []
    try:
        collection = cluster.bucket(where["bucket"]).default_collection()
        prefix = uuid.uuid4().hex[:8]
        keys = [f"{prefix}-{number}" for number in range(KEYS)]
        await collection.upsert_multi({key: {"number": 1, "text": "x" * 100} for key in keys})
        await cluster.wait_until_ready(timedelta(seconds=60))
        reads = Reads(reactor, collection, keys)
        await reads.capacity(256, 1.0)  # to warm up
        for number in range(arguments.rounds):
            capacity = await reads.capacity(256, 1.0)
            lanes = cluster.pool.lanes()
            lane = lanes[number % len(lanes)]
            normal, same = await reads.paced(SHARE * capacity, arguments.seconds, lane)
            await gatherResults(same)
            pid = lane.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                others, held = await reads.paced(SHARE * capacity, arguments.seconds, lane)
            finally:
                os.kill(pid, signal.SIGCONT)
            await gatherResults(held)
            rounds.append(
                {
                    "capacity": capacity,
                    "normal": [percentile(normal, each) * 1e3 for each in (50, 99)],
                    "stopped": [percentile(others, each) * 1e3 for each in (50, 99)],
                    "others": len(others),
                    "held": len(held),
                }
            )
    finally:
        await cluster.close()
    return rounds


def show(rounds: list[dict[str, Any]]) -> bool:
    """Print what was found; whether it is good."""
    ratios = [found["stopped"][1] / found["normal"][1] for found in rounds]
    print_table(
        [
            "round",
            "capacity, op/s",
            "normal p50 ms",
            "p99 ms",
            "stopped p50 ms",
            "p99 ms",
            "ratio of p99",
            "on other lanes",
            "on its lane",
        ],
        [
            [
                str(number),
                f"{found['capacity']:,.0f}",
                *(f"{value:.2f}" for value in (*found["normal"], *found["stopped"])),
                f"{ratio:.2f}",
                f"{found['others']:,}",
                f"{found['held']:,}",
            ]
            for number, (found, ratio) in enumerate(zip(rounds, ratios, strict=True), 1)
        ],
    )
    ratio = median(ratios)
    print(f"99th percentile with a stopped worker: {ratio:.2f} times normal; bound {BOUND:.1f}")
    return ratio <= BOUND


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each half of a round")
    arguments = parser.parse_args()
    run_and_judge(measure, show, arguments)


if __name__ == "__main__":
    main()
