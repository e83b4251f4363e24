"""``python -m txcouchbase.testing``: an embedded node in a process of its own."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from txcouchbase.testing.node import EmbeddedNode

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m txcouchbase.testing",
        description="An embedded Couchbase node: memory only, for tests, demos and benchmarks.",
    )
    parser.add_argument("--port", type=int, default=0, help="key-value port; 0: any that is free")
    parser.add_argument("--bucket", action="append", metavar="NAME", help="repeatable")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes, in this process")
    parser.add_argument("--replicas", type=int, default=0, help="copies of the documents")
    parser.add_argument("--server-groups", type=int, default=1, help="that the nodes take turns in")
    parser.add_argument("--tls", action="store_true", help="listen with TLS too (couchbases://)")
    parser.add_argument("--load", metavar="FILE", help="JSON lines of id, value, scope, ...")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT.

    :param argv: the arguments; None for those of the process.
    :returns: the exit code.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    buckets = options.bucket or ["default"]

    from twisted.internet import reactor as installed

    reactor: Any = installed
    try:
        node = EmbeddedNode(
            buckets,
            port=options.port,
            reactor=reactor,
            tls=options.tls,
            nodes=options.nodes,
            replicas=options.replicas,
            server_groups=options.server_groups,
        )
    except ValueError as error:
        parser.error(str(error))
    code = 0

    def started(_: None) -> None:
        ready = {
            "connstr": node.connstr,
            "username": node.username,
            "password": node.password,
            "bucket": buckets[0],
            "mgmt": node.mgmt_port,
            "control": node.control_port,
            "cert": node.certificate_path,
            "pid": os.getpid(),
        }
        # What was imported stays: collections need not look at it again and again.
        gc.collect()
        gc.freeze()
        print(json.dumps(ready), flush=True)

    def failed(failure: Any) -> None:
        nonlocal code
        code = 1
        print(f"cannot start: {failure.getErrorMessage()}", file=sys.stderr)
        reactor.stop()

    def load(_: None) -> None:
        if options.load:
            with open(options.load, encoding="utf-8") as lines:
                try:
                    node.load(lines)
                except ValueError as error:
                    raise ValueError(f"{options.load}: {error}") from error

    def start() -> None:
        node.start().addCallback(load).addCallback(started).addErrback(failed)

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", node.stop)
    reactor.run()
    return code


if __name__ == "__main__":
    sys.exit(main())
