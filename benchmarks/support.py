"""What the benchmarks share: a server, figures, tables."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred

__all__ = [
    "ROOT",
    "add_server_arguments",
    "ask",
    "median",
    "percentile",
    "print_table",
    "resident",
    "run_and_judge",
    "server",
    "service_ports",
]

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many per cent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    """The median, 0.0 of nothing."""
    return statistics.median(values) if values else 0.0


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for another server than the embedded node; its credentials come from the
    environment, like those of the tests."""
    parser.add_argument(
        "--connstr", default=os.environ.get("COUCHBASE_CONNSTR"), help="a real server"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")


@contextmanager
def server(connstr: str | None, errors: Any = None) -> Iterator[dict[str, str]]:
    """Where the server is; the embedded node in a process of its own if none is given.

    :param errors: where the node's stderr goes.
    """
    if connstr:
        yield {
            "connstr": connstr,
            "username": os.environ.get("COUCHBASE_USERNAME", "Administrator"),
            "password": os.environ.get("COUCHBASE_PASSWORD", "password"),
            "bucket": os.environ.get("COUCHBASE_BUCKET", "default"),
        }
        return
    node = subprocess.Popen(
        [sys.executable, "-m", "txcouchbase.testing"],
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=ROOT,
    )
    try:
        assert node.stdout is not None
        where = json.loads(node.stdout.readline())
        yield {name: str(value) for name, value in where.items()}
    finally:
        node.terminate()
        node.wait()


def ask(where: dict[str, str], port: int, path: str, method: str = "GET") -> Any:
    """What a service of the embedded node answers, which is JSON.

    :param where: as `server` has it.
    """
    token = b64encode(f"{where['username']}:{where['password']}".encode()).decode()
    request = Request(
        f"http://127.0.0.1:{port}{path}",
        b"" if method == "POST" else None,
        {"Authorization": f"Basic {token}"},
        method=method,
    )
    with urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def service_ports(where: dict[str, str]) -> dict[str, int]:
    """The ports of the embedded node, by their names in the cluster map."""
    nodes = ask(where, int(where["mgmt"]), "/pools/default/nodeServices")["nodesExt"]
    ports: dict[str, int] = nodes[0]["services"]
    return ports


def resident(pid: int) -> float:
    """The resident memory of a process (MiB)."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns, the first one left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [heading, *rows]) for i in range(len(heading))]
    for row in [heading, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))


def run_and_judge(
    measure: Callable[[Any, dict[str, str], Any], Coroutine[Any, Any, Any]],
    show: Callable[[Any], bool],
    arguments: argparse.Namespace,
) -> None:
    """Measure, show and, if that is asked for, write what was found.

    :param measure: given the reactor, where the server is, and the arguments; what was found.
    :param show: given what was found; prints it and says whether it is good.
    :param arguments: those of the command, with those of `add_server_arguments`.
    :raises SystemExit: always; with status 1 if what was found is not good.
    """
    with server(arguments.connstr) as where:

        def run(reactor: Any) -> Deferred[None]:
            return ensureDeferred(measure(reactor, where, arguments)).addCallback(leave)

        def leave(found: Any) -> None:
            good = show(found)
            if arguments.json:
                with open(arguments.json, "w", encoding="utf-8") as out:
                    json.dump(found, out, indent=1)
            if not good:
                raise SystemExit(1)

        task.react(run)
