"""CPU-bound jobs on one worker and on two, and key-value latency beside a job that hogs a core.

The target: on two workers the jobs take at most 0.6 of the time on one. That needs two free
cores, so the same work is done by the standard library's processes in between, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import ROOT, add_server_arguments, median, percentile, print_table, server
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

sys.path.insert(0, ROOT)

from tests import jobfunctions
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig, WorkerPool, WorkerState

TARGET = 0.6


async def ready_pool(workers: int) -> WorkerPool:
    """A pool all of whose job workers have started."""
    pool = WorkerPool(PoolConfig(min_workers=1, max_workers=1, job_workers=workers))
    await pool.run(jobfunctions.pid)
    while any(view.state is not WorkerState.READY for view in pool.job_workers):
        await pool.run(jobfunctions.work, 100_000)
    return pool


def ratio(seconds: dict[int, list[float]]) -> float:
    """Of the time on two to that on one, the median of the rounds."""
    return median([two / one for one, two in zip(seconds[1], seconds[2], strict=True)])


async def cpu_bound(arguments: argparse.Namespace) -> dict[str, float]:
    """The same jobs on one worker and on two, in turn."""
    pools = {workers: await ready_pool(workers) for workers in (1, 2)}
    others = {n: ProcessPoolExecutor(n, mp_context=get_context("spawn")) for n in (1, 2)}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    theirs: dict[int, list[float]] = {1: [], 2: []}
    work = [arguments.work] * arguments.jobs
    try:
        for executor in others.values():
            list(executor.map(jobfunctions.work, [10_000] * 100))
        for _ in range(arguments.rounds):
            for workers, pool in pools.items():
                started = time.monotonic()
                await gatherResults([pool.run(jobfunctions.work, steps) for steps in work])
                seconds[workers].append(time.monotonic() - started)
                started = time.monotonic()
                list(others[workers].map(jobfunctions.work, work))  # this blocks
                theirs[workers].append(time.monotonic() - started)
        started = time.monotonic()
        for _ in range(200):
            await pools[1].run(jobfunctions.pid)
        empty = (time.monotonic() - started) / 200
    finally:
        for executor in others.values():
            executor.shutdown()
        for pool in pools.values():
            await pool.close()
    return {
        "one": median(seconds[1]),
        "two": median(seconds[2]),
        "ratio": ratio(seconds),
        "their_one": median(theirs[1]),
        "their_two": median(theirs[2]),
        "their_ratio": ratio(theirs),
        "empty": empty,
    }


async def latencies(collection: Any, count: int) -> list[float]:
    """One get after another (milliseconds)."""
    found = []
    for _ in range(count):
        started = time.monotonic()
        await collection.get("benchmark-jobs")
        found.append((time.monotonic() - started) * 1000)
    return found


async def beside_a_hog(where: dict[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Gets with nothing beside them, and beside a job that never lets go of its interpreter."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    config = PoolConfig(min_workers=1, max_workers=1, job_workers=1, job_grace=0.1)
    cluster = TxCluster(where["connstr"], options, pool=config)
    try:
        collection = cluster.bucket(where["bucket"]).default_collection()
        await collection.upsert("benchmark-jobs", {"some": "document"})
        await cluster.pool.run(jobfunctions.pid)
        alone: list[float] = []
        beside: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            for number in range(arguments.rounds):
                alone += await latencies(collection, arguments.gets)
                mark = os.path.join(folder, str(number))
                hog = cluster.pool.run(jobfunctions.hog, mark, 3600)
                hog.addErrback(lambda failure: None)
                while not os.path.exists(mark):
                    await latencies(collection, 1)
                beside += await latencies(collection, arguments.gets)
                hog.cancel()
                # The next round starts when the hog's process was killed and replaced.
                await cluster.pool.run(jobfunctions.pid)
    finally:
        await cluster.close()
    return {"alone": alone, "beside": beside}


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=40, help="jobs of one round")
    parser.add_argument("--work", type=int, default=400_000, help="steps of one job")
    parser.add_argument("--gets", type=int, default=1_000, help="gets of one round")
    arguments = parser.parse_args()

    async def run(where: dict[str, str]) -> dict[str, Any]:
        return {
            "jobs": await cpu_bound(arguments),
            "gets": await beside_a_hog(where, arguments),
        }

    def report(figures: dict[str, Any]) -> None:
        jobs, gets = figures["jobs"], figures["gets"]
        print_table(
            [f"{arguments.jobs} CPU-bound jobs", "seconds on 1", "seconds on 2", "ratio"],
            [
                [name, *(f"{jobs[prefix + key]:.2f}" for key in ("one", "two", "ratio"))]
                for name, prefix in (("job workers", ""), ("ProcessPoolExecutor", "their_"))
            ],
        )
        verdict = "met" if jobs["ratio"] <= TARGET else "missed"
        print(f"ratio {jobs['ratio']:.2f}, target at most {TARGET}: {verdict}")
        print(f"a job that does nothing: {jobs['empty'] * 1000:.2f} ms\n")
        print_table(
            ["gets, one at a time", "median ms", "p99 ms"],
            [
                [name, f"{median(gets[key]):.2f}", f"{percentile(gets[key], 99):.2f}"]
                for name, key in (("alone", "alone"), ("beside a hogging job", "beside"))
            ],
        )
        if arguments.json:
            summary = {
                "jobs": jobs,
                "gets": {
                    key: [median(gets[key]), percentile(gets[key], 99)]
                    for key in ("alone", "beside")
                },
            }
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(summary, file)

    with server(arguments.connstr) as where:

        def start(reactor: Any) -> Deferred[None]:
            return ensureDeferred(run(where)).addCallback(report)

        task.react(start)


if __name__ == "__main__":
    main()
