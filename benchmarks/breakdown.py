"""Where the time of one operation goes, on both sides of the pipe.

The pieces are timed by themselves, with the library's own functions and batches as they are
under load; the totals come from a real run with `--in-flight` operations in flight, from the
kernel's accounting of each thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

from contender import DOCUMENT, KEYS, fill, make, measure
from couchbase.result import GetResult
from couchbase.transcoder import JSONTranscoder
from support import add_server_arguments, print_table, server
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.protocols import amp

from txcouchbase.amp import wire
from txcouchbase.amp.framing import BATCH, RESULTS, encode_box, payload_of
from txcouchbase.results import raw_result
from txcouchbase.workers.executor import Place, Task

BATCH_SIZE = 32
TICKS = os.sysconf("SC_CLK_TCK")


def per_operation(function: Callable[[], Any], operations: int, seconds: float = 0.3) -> float:
    """Microseconds of an operation, of which the function does so many; the best of five."""
    best = float("inf")
    for _ in range(5):
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds / 5:
            function()
            count += 1
        best = min(best, (time.perf_counter() - started) / count / operations)
    return best * 1e6


class Sink:
    """Takes boxes."""

    def startReceivingBoxes(self, sender: object) -> None:
        """Nothing to do."""

    def ampBoxReceived(self, box: Any) -> None:
        """Nothing to do."""


def pieces() -> list[list[str]]:
    """Rows of side, piece and microseconds per get, or upsert where that is said."""
    value = json.dumps(DOCUMENT).encode()
    transcoder = JSONTranscoder()
    gets = [(n, 0, 1, f"doc-{n}", 2500) for n in range(BATCH_SIZE)]
    batch = wire.encode(([], gets))
    answers = [(n, {"value": value, "cas": 2**60, "flags": 2**25}) for n in range(BATCH_SIZE)]
    results = wire.encode(answers)
    results_box = encode_box(RESULTS, results, 1)
    batch_box = encode_box(BATCH, batch)
    parser = amp.BinaryBoxProtocol(Sink())
    parser.makeConnection(None)
    decoded = wire.decode(results)
    place = Place(1, 1, "b", "s", "c")
    requests = wire.decode(batch)[1]

    def results_built() -> None:
        for _, raw in decoded:
            GetResult(raw_result(raw), transcoder=transcoder, key="k")

    def values_decoded() -> None:
        for _, raw in decoded:
            transcoder.decode_value(raw["value"], raw["flags"])

    def deferreds_fired() -> None:
        for _ in range(BATCH_SIZE):
            deferred: Deferred[None] = Deferred()
            deferred.addCallback(lambda _: None)
            deferred.callback(None)

    timed = [
        ("reactor", "encode value (upsert)", lambda: transcoder.encode_value(DOCUMENT), 1),
        (
            "reactor",
            "pack batch, make box",
            lambda: encode_box(BATCH, wire.encode(gets)),
            BATCH_SIZE,
        ),
        ("reactor", "parse box", lambda: parser.dataReceived(results_box), BATCH_SIZE),
        ("reactor", "unpack results", lambda: wire.decode(results), BATCH_SIZE),
        ("reactor", "make Deferred, fire it", deferreds_fired, BATCH_SIZE),
        ("reactor", "build Results", results_built, BATCH_SIZE),
        ("reactor", "decode values", values_decoded, BATCH_SIZE),
        ("worker", "parse box", lambda: parser.dataReceived(batch_box), BATCH_SIZE),
        ("worker", "unpack batch", lambda: wire.decode(batch), BATCH_SIZE),
        ("worker", "make tasks", lambda: [Task(r, place, 0.0) for r in requests], BATCH_SIZE),
        (
            "worker",
            "pack results, make box",
            lambda: encode_box(RESULTS, wire.encode(answers)),
            BATCH_SIZE,
        ),
        ("either", "join payload", lambda: payload_of({b"0": batch}), BATCH_SIZE),
    ]
    return [
        [side, piece, f"{per_operation(function, operations):.2f}"]
        for side, piece, function, operations in timed
    ]


def thread_seconds(pid: int) -> dict[str, float]:
    """CPU of the main thread and of the others (seconds)."""
    spent = {"main": 0.0, "others": 0.0}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        seconds = (int(fields[11]) + int(fields[12])) / TICKS
        spent["main" if int(thread) == pid else "others"] += seconds
    return spent


async def totals(where: dict[str, str], arguments: argparse.Namespace) -> list[list[str]]:
    """Rows of operation, rate, and microseconds of CPU per operation of each thread."""
    contender: Any = make("ours-2")
    await contender.start(where)
    rows = []
    try:
        await fill(contender)
        for operation in ("get", "upsert"):
            workers = [worker.pid for worker in contender.cluster.pool.workers]
            pids = [*workers, *([int(where["pid"])] if "pid" in where else [])]
            before = {pid: thread_seconds(pid) for pid in pids}
            found = await measure(contender, operation, arguments.in_flight, arguments.seconds)
            after = {pid: thread_seconds(pid) for pid in pids}
            count = found["per_second"] * arguments.seconds

            def spent(some: list[int], thread: str, b: Any = before, a: Any = after) -> float:
                return sum(a[pid][thread] - b[pid][thread] for pid in some)

            node = [pid for pid in pids if pid not in workers]
            rows.append(
                [
                    operation,
                    f"{found['per_second']:,.0f}",
                    f"{found['cpu'] * 1e6:.1f}",
                    f"{spent(workers, 'main') / count * 1e6:.1f}",
                    f"{spent(workers, 'others') / count * 1e6:.1f}",
                    f"{(spent(node, 'main') + spent(node, 'others')) / count * 1e6:.1f}",
                ]
            )
    finally:
        await contender.stop()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    timed = pieces()
    print(f"pieces, in batches of {BATCH_SIZE}, {len(json.dumps(DOCUMENT))}-byte JSON, {KEYS} keys")
    print_table(["side", "piece", "us"], timed)
    rows: list[list[str]] = []
    with server(arguments.connstr) as where:

        def run(reactor: Any) -> Deferred[None]:
            return ensureDeferred(totals(where, arguments)).addCallback(rows.extend)

        try:
            task.react(run)
        except SystemExit as ended:
            if ended.code:
                raise
    heading = ["operation", "op/s", "reactor", "worker main", "worker SDK threads", "node"]
    print(f"\nCPU in us per operation, {arguments.in_flight} in flight, 2 workers")
    print_table(heading, rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"pieces": timed, "totals": [heading, *rows]}, out, indent=1)


if __name__ == "__main__":
    main()
