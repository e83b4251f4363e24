"""What the benchmarks share: a server, figures, tables."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["add_server_arguments", "median", "percentile", "print_table", "server"]

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
def server(connstr: str | None) -> Iterator[dict[str, str]]:
    """Where the server is; the embedded node in a process of its own if none is given."""
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
        cwd=ROOT,
    )
    try:
        assert node.stdout is not None
        where = json.loads(node.stdout.readline())
        yield {
            name: str(where[name]) for name in ("connstr", "username", "password", "bucket", "pid")
        }
    finally:
        node.terminate()
        node.wait()


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns, the first one left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [heading, *rows]) for i in range(len(heading))]
    for row in [heading, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))
