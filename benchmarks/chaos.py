"""Does the pool stay honest whatever breaks? A mixed load, random faults, and a model.

Ends with exit status 1 if anything happened that must not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Generator
from typing import Any

from support import ROOT, add_server_arguments, print_table, server
from twisted.internet import task
from twisted.internet.defer import Deferred, inlineCallbacks

sys.path.insert(0, ROOT)

from tests.chaos.calls import Book
from tests.chaos.faults import FAULTS, WORKER_FAULTS
from tests.chaos.run import ChaosRun, Server


def print_outcomes(book: Book) -> None:
    """How the calls ended."""
    names = sorted({name for name, _ in book.outcomes})
    labels = sorted({label for _, label in book.outcomes})
    rows = [[label, *(f"{book.outcomes[name, label] or ''}" for name in names)] for label in labels]
    for first in range(0, len(names), 8):
        part = slice(first + 1, first + 9)
        print_table(
            ["", *names[first : first + 8]],
            [[row[0], *row[part]] for row in rows if any(row[part])],
        )
        print()


@inlineCallbacks
def run(
    reactor: Any, where: dict[str, str], arguments: argparse.Namespace
) -> Generator[Deferred[Any], Any, None]:
    """Run it and print what happened."""
    control = where.get("control")
    weights = FAULTS if control is not None else WORKER_FAULTS
    chaos = ChaosRun(
        reactor,
        Server(
            where["connstr"],
            where["username"],
            where["password"],
            where["bucket"],
            int(control) if control is not None else None,
        ),
        arguments.seed,
        {kind: times for kind, times in weights.items() if kind in (arguments.only or weights)},
        workers=arguments.workers,
        loads=arguments.loads,
        pace=arguments.pace,
        client=arguments.client,
        recycle_after_ops=arguments.recycle_after_ops,
        say=lambda line: print(line, flush=True),
    )
    started = time.monotonic()
    yield chaos.run(arguments.seconds, arguments.warm_up)
    book = chaos.book
    print()
    print_outcomes(book)
    print_table(
        ["fault", "struck"],
        [[kind, str(times)] for kind, times in sorted(chaos.struck.items())],
    )
    print()
    if chaos.ended:
        print_table(
            ["end of a worker", "times"],
            [[cause, str(times)] for cause, times in sorted(chaos.ended.items())],
        )
        print()
    for finding in book.findings:
        print(finding)
    start, end = chaos.resident
    print(
        f"seed {arguments.seed}: {sum(book.outcomes.values()):,} calls in "
        f"{time.monotonic() - started:.0f} s, {sum(chaos.struck.values())} faults, "
        f"{book.found} violations; resident {start:.1f} MiB at the start, {end:.1f} at the end"
    )
    if arguments.json:
        figures = {
            "seed": arguments.seed,
            "outcomes": {" ".join(name): times for name, times in book.outcomes.items()},
            "faults": chaos.struck,
            "ends": chaos.ended,
            "violations": [str(finding) for finding in book.findings],
            "resident": chaos.resident,
        }
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file)
    if book.found:
        raise SystemExit(1)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults go on")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds of load before")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--loads", type=int, default=16, help="bursts of calls at a time")
    parser.add_argument("--recycle-after-ops", type=int, default=10_000)
    parser.add_argument("--client", choices=("raw", "sync"), default="raw")
    parser.add_argument("--only", action="append", choices=FAULTS, help="faults; repeatable")
    parser.add_argument("--pace", type=float, default=1.4, help="seconds between faults")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with server(arguments.connstr) as where:
        task.react(lambda reactor: run(reactor, where, arguments))


if __name__ == "__main__":
    main()
