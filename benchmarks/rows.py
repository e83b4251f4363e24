"""What a large result costs the application: the reactor's stalls, and memory.

The server is the embedded node in a process of its own. A stall is how late a call comes that was
due every millisecond; beside it stands the longest time that the reactor's thread was busy without
a turn, which other processes on the machine do not disturb. Figures are medians over the rounds.

    query     50,000 rows of 200 bytes, until the result is there; then iterating it
    query_ex  the same rows to a handler
    stream    the same rows through ``async for``
    slow      a million rows through ``async for`` with a reader that sleeps
"""

from __future__ import annotations

import argparse
import json
import os
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
        self._call = reactor.callLater(TICK, self._tick)  # type: ignore[attr-defined]

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


class Benchmark:
    """The measurements on one cluster."""

    def __init__(self, cluster: TxCluster, pause: float) -> None:
        self._cluster = cluster
        self._pause = pause
        self._stalls = Stalls()
        self.figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    async def measure(self, name: str, run: Callable[[], Awaitable[int]]) -> None:
        """Run one and note its figures."""
        before = own_resident()
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
        cell["worker"].append(max(peak(w.pid) for w in self._cluster.pool.workers if w.pid))

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

    async def slow(self) -> int:
        """A million rows, with a pause after each thousand."""
        count = 0
        highest = before = own_resident()
        start = time.monotonic()
        async for _ in self._cluster.query_stream(MILLION):
            count += 1
            if count == 1:
                self.figures["slow"]["first"].append(time.monotonic() - start)
            if count % 1000 == 0:
                await deferLater(reactor, self._pause, lambda: None)  # type: ignore[arg-type]
                highest = max(highest, own_resident())
        self.figures["slow"]["peak"].append(highest - before)
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


async def measure_all(where: dict[str, str], arguments: argparse.Namespace) -> Any:
    """All rounds."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    config = PoolConfig(min_workers=1, max_workers=1)
    cluster = TxCluster(where["connstr"], options, pool=config)
    try:
        await cluster.on_connect()
        benchmark = Benchmark(cluster, arguments.pause)
        await benchmark.query()
        for _ in range(arguments.rounds):
            await benchmark.measure("query", benchmark.query)
            benchmark.figures["query"]["iterate"].append(benchmark.iterate())
            await benchmark.measure("query_ex", benchmark.query_ex)
            await benchmark.measure("stream", benchmark.stream)
        for _ in range(arguments.slow_rounds):
            await benchmark.measure("slow", benchmark.slow)
        return benchmark.figures
    finally:
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
                f"{m['cpu'] / m['rows'] * 1e6:.1f}",
                f"{m['stall'] * 1e3:.1f}",
                f"{m['busy'] * 1e3:.1f}",
                f"{m.get('peak', m['grown']):+.1f}",
                f"{m['worker']:,.0f}",
                f"{m['iterate']:.2f}" if "iterate" in m else "",
                f"{m['first']:.2f}" if "first" in m else "",
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
            "worker peak",
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
