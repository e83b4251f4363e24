"""A million operations over a few hundred keys: is the order on each key ever violated?

Ends with exit status 1 if it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import ROOT, add_server_arguments, print_table, server
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred

sys.path.insert(0, ROOT)

from tests.order import OrderCheck
from txcouchbase.cluster import TxCluster
from txcouchbase.workers import PoolConfig


async def check(where: dict[str, str], arguments: argparse.Namespace) -> int:
    """Run the operations; returns the number of violations."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    workers = arguments.workers
    config = PoolConfig(min_workers=workers, max_workers=workers)
    cluster = TxCluster(where["connstr"], options, pool=config)
    try:
        collection = cluster.bucket(where["bucket"]).default_collection()
        found = OrderCheck(
            collection,
            keys=arguments.keys,
            operations=arguments.operations,
            in_flight=arguments.in_flight,
            prefix=uuid.uuid4().hex,
            seed=arguments.seed,
        )
        started = time.monotonic()
        await found.run()
        seconds = time.monotonic() - started
    finally:
        await cluster.close()
    print_table(
        ["operations", "keys", "workers", "seconds", "per second", "violations"],
        [
            [
                f"{found.answered:,}",
                str(arguments.keys),
                str(workers),
                f"{seconds:.1f}",
                f"{found.answered / seconds:,.0f}",
                str(found.count),
            ]
        ],
    )
    for violation in found.violations:
        print(violation)
    return found.count


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with server(arguments.connstr) as where:

        def run(reactor: Any) -> Deferred[None]:
            checked = ensureDeferred(check(where, arguments))

            def leave(violations: int) -> None:
                if violations:
                    raise SystemExit(1)

            return checked.addCallback(leave)

        task.react(run)


if __name__ == "__main__":
    main()
