"""What a large result costs the application: the reactor's stalls, and memory.

The server is the embedded node in a process of its own. A stall is how late a call comes that was
due every millisecond; beside it stands the longest time that the reactor's thread was busy without
a turn, which other processes on the machine do not disturb. Figures are medians over the rounds.

    query     50,000 rows of 200 bytes, until the result is there; then iterating it
    query_ex  the same rows to a handler
    stream    the same rows through ``async for``
    million   a million rows through ``async for``
    slow      the same with a reader that sleeps

Each of them with rows straight from the service (``http``) and with those that the SDK has gathered
(``sdk``), one after the other in each round; ``SDK`` is the blocking API of the SDK alone, in a
process of its own, iterating a million rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import add_server_arguments, median, print_table, resident, server
from twisted.internet import reactor
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txcouchbase.cluster import AsyncQueryRequest, TxCluster
from txcouchbase.workers import PoolConfig

ROWS = 50_000
STATEMENT = f"SELECT n, REPEAT('x', 184) AS t FROM ARRAY_RANGE(0, {ROWS}) AS n"
MILLION = "SELECT n, REPEAT('x', 73) AS t FROM ARRAY_RANGE(0, 1000000) AS n"
TICK = 0.001


class Stalls:
    """Watches the reactor."""

    clock: Any = reactor

    def __init__(self) -> None:
        self.longest = self.busy = 0.0
        self._due = self._cpu = 0.0
        self._call: DelayedCall | None = None

    def start(self) -> None:
        """Watch from now on."""
        self.longest = self.busy = 0.0
        self._cpu = time.thread_time()
        self._next()

    def stop(self) -> None:
        """Watch no more; a stall that has just ended counts."""
        assert self._call is not None
        self._call.cancel()
        self._note()

    def _note(self) -> None:
        cpu = time.thread_time()
        self.longest = max(self.longest, time.monotonic() - self._due)
        self.busy = max(self.busy, cpu - self._cpu)
        self._cpu = cpu

    def _next(self) -> None:
        self._due = time.monotonic() + TICK
        self._call = self.clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        self._note()
        self._next()


class Count(AsyncQueryRequest):
    """Counts its rows."""

    def __init__(self, statement: str) -> None:
        super().__init__(statement)
        self.count = 0
        self.ended: Deferred[None] = Deferred()

    def on_rows(self, rows: list[Any]) -> None:
        """Rows."""
        self.count += len(rows)

    def on_done(self) -> None:
        """All."""
        self.ended.callback(None)

    def on_error(self, error: Exception) -> None:
        """Not all."""
        self.ended.errback(error)


Figures = dict[str, dict[str, list[float]]]


class Benchmark:
    """The measurements on one cluster."""

    def __init__(self, cluster: TxCluster, rows: str, pause: float, figures: Figures) -> None:
        self._cluster = cluster
        self.rows = rows
        self._pause = pause
        self._stalls = Stalls()
        self.figures = figures

    async def measure(self, name: str, run: Callable[[], Awaitable[int]]) -> None:
        """Run one and note its figures."""
        name = f"{name} {self.rows}"
        before = own_resident()
        workers = [worker.pid for worker in self._cluster.pool.workers if worker.pid]
        at_first = max(map(resident, workers))
        cpu = time.process_time()
        start = time.monotonic()
        self._stalls.start()
        try:
            rows = await run()
        finally:
            self._stalls.stop()
        cell = self.figures[name]
        cell["rows"].append(rows)
        cell["seconds"].append(time.monotonic() - start)
        cell["cpu"].append(time.process_time() - cpu)
        cell["stall"].append(self._stalls.longest)
        cell["busy"].append(self._stalls.busy)
        cell["grown"].append(own_resident() - before)
        # The highest of all so far, so that only the first measurement that needs much tells it.
        cell["worker"].append(max(0.0, max(map(peak, workers)) - at_first))

    async def query(self) -> int:
        """Until the result is there; iterating is told by itself."""
        self._result = await self._cluster.query(STATEMENT)
        return len(self._result)

    async def query_ex(self) -> int:
        """Rows to a handler."""
        handler = self._cluster.query_ex(Count, STATEMENT)
        await handler.ended
        return handler.count

    async def stream(self) -> int:
        """Rows through ``async for``."""
        count = 0
        async for _ in self._cluster.query_stream(STATEMENT):
            count += 1
        return count

    async def million(self) -> int:
        """A million rows."""
        return await self._read_million("million", 0.0)

    async def slow(self) -> int:
        """A million rows, with a pause after each thousand."""
        return await self._read_million("slow", self._pause)

    async def _read_million(self, name: str, pause: float) -> int:
        count = 0
        cell = self.figures[f"{name} {self.rows}"]
        highest = before = own_resident()
        start = time.monotonic()
        async for _ in self._cluster.query_stream(MILLION):
            count += 1
            if count == 1:
                cell["first"].append(time.monotonic() - start)
            if count % 1000 == 0:
                if pause:
                    await deferLater(self._stalls.clock, pause, lambda: None)
                highest = max(highest, own_resident())
        cell["peak"].append(highest - before)
        return count

    def iterate(self) -> float:
        """Seconds to decode a result that is there."""
        start = time.monotonic()
        for _ in self._result:
            pass
        del self._result
        return time.monotonic() - start


def own_resident() -> float:
    """The resident memory of this process (MiB)."""
    return resident(os.getpid())


def peak(pid: int) -> float:
    """The most resident memory that a process has had (MiB)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


_SDK_ALONE = f"""
import json, sys, time
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.options import ClusterOptions

where = json.load(sys.stdin)
options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
cluster = Cluster(where["connstr"], options)
list(cluster.query("SELECT 1"))
start = time.monotonic()
count, first = 0, 0.0
for row in cluster.query({MILLION!r}):
    count += 1
    first = first or time.monotonic() - start
print(json.dumps({{"rows": count, "seconds": time.monotonic() - start, "first": first}}))
"""


def sdk_alone(where: dict[str, str], figures: Figures) -> None:
    """Read a million rows with the SDK alone."""
    done = subprocess.run(
        [sys.executable, "-c", _SDK_ALONE],
        input=json.dumps(where),
        capture_output=True,
        text=True,
        check=True,
    )
    for name, value in json.loads(done.stdout).items():
        figures["million SDK"][name].append(value)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    figures["million SDK"]["worker"].append(most)


async def measure_all(where: dict[str, str], arguments: argparse.Namespace) -> Any:
    """All rounds."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    figures: Figures = defaultdict(lambda: defaultdict(list))
    clusters = []
    try:
        benchmarks = []
        for rows in ("http", "sdk"):
            config = PoolConfig(min_workers=1, max_workers=1, rows=rows)
            clusters.append(TxCluster(where["connstr"], options, pool=config))
            await clusters[-1].on_connect()
            benchmarks.append(Benchmark(clusters[-1], rows, arguments.pause, figures))
            await benchmarks[-1].query()
        for _ in range(arguments.rounds):
            for benchmark in benchmarks:
                await benchmark.measure("query", benchmark.query)
                figures[f"query {benchmark.rows}"]["iterate"].append(benchmark.iterate())
            for benchmark in benchmarks:
                await benchmark.measure("query_ex", benchmark.query_ex)
            for benchmark in benchmarks:
                await benchmark.measure("stream", benchmark.stream)
        for _ in range(arguments.million_rounds):
            sdk_alone(where, figures)
            for benchmark in benchmarks:
                await benchmark.measure("million", benchmark.million)
        for _ in range(arguments.slow_rounds):
            for benchmark in benchmarks:
                await benchmark.measure("slow", benchmark.slow)
        return figures
    finally:
        for cluster in clusters:
            await cluster.close()


def show(figures: Any) -> None:
    """Print the table."""
    table = []
    for name, cell in figures.items():
        m = {what: median(values) for what, values in cell.items()}
        table.append(
            [
                name,
                f"{m['rows']:,.0f}",
                f"{m['seconds']:.2f}",
                f"{m['rows'] / m['seconds']:,.0f}",
                f"{m['cpu'] / m['rows'] * 1e6:.1f}" if "cpu" in m else "",
                f"{m['stall'] * 1e3:.1f}" if "stall" in m else "",
                f"{m['busy'] * 1e3:.1f}" if "busy" in m else "",
                f"{m.get('peak', m['grown']):+.1f}" if "grown" in m else "",
                f"{max(cell['worker']):,.0f}",
                f"{m['iterate']:.2f}" if "iterate" in m else "",
                f"{m['first']:.3f}" if "first" in m else "",
            ]
        )
    print_table(
        [
            "",
            "rows",
            "seconds",
            "rows/s",
            "us/row",
            "stall ms",
            "busy ms",
            "MiB",
            "worker MiB",
            "iterate s",
            "first row s",
        ],
        table,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million-rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.002, help="of the slow reader (seconds)")
    arguments = parser.parse_args()
    with server(arguments.connstr) as where:

        async def run(_: Any) -> None:
            figures = await measure_all(where, arguments)
            show(figures)
            if arguments.json:
                with open(arguments.json, "w", encoding="utf-8") as out:
                    json.dump(figures, out, indent=1)

        react(run)


if __name__ == "__main__":
    main()
