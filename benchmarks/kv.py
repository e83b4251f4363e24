"""Key-value speed of this package beside the other ways there are.

Each contender runs in a process of its own against the same server in a process of its own,
measurements in turn, so that what else the machine does hits all of them alike. Figures are
medians over the rounds; ratios are against the SDK's own txcouchbase.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections import defaultdict
from typing import Any

from contender import NAMES
from support import add_server_arguments, median, print_table, server

PACKAGES = sysconfig.get_paths()["purelib"]
HERE = os.path.dirname(os.path.abspath(__file__))


class Process:
    """A contender's process."""

    def __init__(self, name: str, where: dict[str, str]) -> None:
        # Without site's hooks the SDK's own package is found; the others run them later.
        self._process = subprocess.Popen(
            [sys.executable, "-S", os.path.join(HERE, "contender.py"), name, PACKAGES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = name
        self.ask(where)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send a line, read a line."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the contender {self.name} ended: see above")
        found: dict[str, Any] = json.loads(answer)
        return found

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16, 256, 1024])
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    arguments = parser.parse_args()
    figures: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with server(arguments.connstr) as where:
        processes = [Process(name, where) for name in arguments.contenders]
        try:
            for number in range(arguments.rounds):
                print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
                for in_flight in arguments.in_flight:
                    for operation in ("get", "upsert"):
                        for process in processes:
                            order = {
                                "operation": operation,
                                "in_flight": in_flight,
                                "seconds": arguments.seconds,
                            }
                            cell = figures[operation, in_flight, process.name]
                            for what, value in process.ask(order).items():
                                cell[what].append(value)
        finally:
            for process in processes:
                process.stop()
    show(figures, arguments)


def show(figures: Any, arguments: argparse.Namespace) -> None:
    """Print the table, write the file."""
    medians = {
        key: {what: median(values) for what, values in cell.items()}
        for key, cell in figures.items()
    }
    for operation in ("get", "upsert"):
        for in_flight in arguments.in_flight:
            base = medians.get((operation, in_flight, "sdk"))
            print(f"\n{operation}, {in_flight} in flight")
            rows = []
            for name in arguments.contenders:
                cell = medians[operation, in_flight, name]
                rows.append(
                    [
                        name,
                        f"{cell['per_second']:,.0f}",
                        f"{cell['per_second'] / base['per_second']:.2f}" if base else "",
                        f"{cell['cpu'] * 1e6:.1f}",
                        f"1/{base['cpu'] / cell['cpu']:.1f}" if base else "",
                        f"{cell['p50'] * 1e3:.2f}",
                        f"{cell['p99'] * 1e3:.2f}",
                    ]
                )
            print_table(["", "op/s", "ratio", "reactor us/op", "ratio", "p50 ms", "p99 ms"], rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(
                {
                    "python": platform.python_version(),
                    "machine": platform.machine(),
                    "rounds": arguments.rounds,
                    "seconds": arguments.seconds,
                    "figures": [
                        {
                            "operation": operation,
                            "in_flight": in_flight,
                            "contender": name,
                            "medians": cell,
                            "rounds": figures[operation, in_flight, name],
                        }
                        for (operation, in_flight, name), cell in medians.items()
                    ],
                },
                out,
                indent=1,
            )


if __name__ == "__main__":
    main()
