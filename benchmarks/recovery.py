"""One of two workers is killed under load: how soon is throughput back, and who was hurt?

In each round a closed loop of reads and writes runs, one worker gets SIGKILL, and throughput is
counted in slices of a tenth of a second. It is back with the first half second that reaches 80 % of
the median before the kill. Every operation that failed must have been a write in flight on that
worker, and say so; every such write must have failed, and nothing else. Ends with exit status 1
if any of that does not hold, or if throughput needed more than 3 seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import uuid
from datetime import timedelta
from itertools import count
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import ROOT, add_server_arguments, median, print_table, run_and_judge
from twisted.internet import task
from twisted.internet.defer import Deferred

sys.path.insert(0, ROOT)

from txcouchbase.cluster import TxCluster
from txcouchbase.exceptions import WorkerLost
from txcouchbase.workers import PoolConfig

SLICE = 0.1
"""Throughput is counted in slices of so many seconds."""

WINDOW = 5
"""Slices that must reach the share on average."""

SHARE = 0.8
BOUND = 3.0
"""Seconds within which throughput has to be back."""


class Load:
    """A closed loop of reads and writes, each on a key of its own.

    Args:
        reactor: The reactor.
        collection: Where they go.
        in_flight: Operations at a time, half of them writes.
    """

    def __init__(self, reactor: Any, collection: Any, in_flight: int) -> None:
        self._reactor = reactor
        self._collection = collection
        self._prefix = uuid.uuid4().hex[:8]
        self._in_flight = in_flight
        self._numbers = count()
        self._left = 0
        self._goes_on = True
        self._over: Deferred[None] = Deferred()
        self.begun = 0.0
        self.slices: list[int] = []
        self.failed: dict[str, Exception] = {}

    def start(self) -> None:
        """Begin."""
        self.begun = self._reactor.seconds()
        for _ in range(self._in_flight):
            self._left += 1
            self._again()

    def stop(self) -> Deferred[None]:
        """Begin nothing new; fires when all is answered."""
        self._goes_on = False
        return self._over

    def _again(self) -> None:
        writes = random.random() < 0.5
        key = f"{self._prefix}-{next(self._numbers)}"
        timeout = timedelta(seconds=30)
        if writes:
            called = self._collection.upsert(key, {"key": key}, timeout=timeout)
        else:
            called = self._collection.exists(key, timeout=timeout)
        called.addErrback(self._failed, key)
        called.addCallback(self._answered)

    def _failed(self, failure: Any, key: str) -> None:
        self.failed[key] = failure.value

    def _answered(self, _: Any) -> None:
        slice_number = int((self._reactor.seconds() - self.begun) / SLICE)
        while len(self.slices) <= slice_number:
            self.slices.append(0)
        self.slices[slice_number] += 1
        if self._goes_on:
            self._again()
            return
        self._left -= 1
        if not self._left:
            self._over.callback(None)


def watch_end(lane: Any) -> list[tuple[str, str]]:
    """The name and the key of each operation that a worker has in flight when it ends, filled
    in then."""
    in_flight: list[tuple[str, str]] = []
    lost = lane.lost

    def watched(exit: Any) -> Any:
        in_flight.extend(
            (operation.kind.name, operation.key) for operation in lane.sent if not operation.settled
        )
        return lost(exit)

    lane.lost = watched
    return in_flight


async def one_round(reactor: Any, cluster: TxCluster, arguments: Any) -> dict[str, Any]:
    """Load, kill, load; what was found."""
    collection = cluster.bucket(arguments.bucket).default_collection()
    await cluster.wait_until_ready(timedelta(seconds=60))
    load = Load(reactor, collection, arguments.in_flight)
    load.start()
    await task.deferLater(reactor, arguments.seconds)
    victim = cluster.pool.lanes()[0]
    in_flight = watch_end(victim)
    killed_at = reactor.seconds() - load.begun
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    await task.deferLater(reactor, arguments.seconds + BOUND)
    await load.stop()
    before = median(load.slices[5 : int(killed_at / SLICE)])
    after = load.slices[int(killed_at / SLICE) :]
    back = next(
        (
            first * SLICE
            for first in range(len(after) - WINDOW)
            if sum(after[first : first + WINDOW]) >= SHARE * before * WINDOW
        ),
        float("inf"),
    )
    writes = {key for name, key in in_flight if name == "upsert"}
    named = sum(
        isinstance(error, WorkerLost)
        and (error.operation, error.key, error.signal) == ("upsert", key, signal.SIGKILL)
        for key, error in load.failed.items()
    )
    return {
        "before": before / SLICE,
        "lowest": min(after[: int(BOUND / SLICE)]) / SLICE,
        "after": median(after[int(BOUND / SLICE) :]) / SLICE,
        "back": back,
        "on_worker": len(in_flight),
        "writes_on_worker": len(writes),
        "failed": len(load.failed),
        "named": named,
        "others_failed": len(set(load.failed) - writes),
        "good": back <= BOUND
        and set(load.failed) == writes
        and named == len(writes)
        and bool(in_flight),
    }


async def measure(reactor: Any, where: dict[str, str], arguments: Any) -> list[dict[str, Any]]:
    """All rounds."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    arguments.bucket = where["bucket"]
    config = PoolConfig(min_workers=2, max_workers=2)
    cluster = TxCluster(where["connstr"], options, pool=config)
    try:
        await cluster.bucket(arguments.bucket).on_connect()
        return [await one_round(reactor, cluster, arguments) for _ in range(arguments.rounds)]
    finally:
        await cluster.close()


def show(rounds: list[dict[str, Any]]) -> bool:
    """Print what was found; whether it is good."""
    rows = [
        [
            str(number),
            f"{found['before']:,.0f}",
            f"{found['lowest']:,.0f}",
            f"{found['after']:,.0f}",
            f"{found['back']:.1f}",
            str(found["on_worker"]),
            str(found["writes_on_worker"]),
            str(found["failed"]),
            str(found["named"]),
            str(found["others_failed"]),
            "yes" if found["good"] else "NO",
        ]
        for number, found in enumerate(rounds, 1)
    ]
    print_table(
        [
            "round",
            "op/s before",
            "lowest",
            "op/s after",
            "back, s",
            "on worker",
            "writes",
            "failed",
            "named",
            "others",
            "good",
        ],
        rows,
    )
    print(
        f"throughput was back after {median([found['back'] for found in rounds]):.1f} s "
        f"(median), {max(found['back'] for found in rounds):.1f} s at most; bound {BOUND} s"
    )
    return all(found["good"] for found in rounds)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load before the kill")
    parser.add_argument("--in-flight", type=int, default=256)
    arguments = parser.parse_args()
    run_and_judge(measure, show, arguments)


if __name__ == "__main__":
    main()
