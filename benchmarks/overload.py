"""A million operations are offered to a pool that takes ten thousand: is memory flat?

They are offered in bites, one a turn of the reactor, faster than the workers can take them; one
half through the deferred form, the other half through the raw form. A refused one has to be a
Deferred that has failed with `PoolOverloaded` already, or an errback on a later turn; an admitted
one has to complete. Resident memory is looked at from when the first tenth was offered. Ends with
exit status 1 if it grows by more than 8 MiB, or if the accounts do not agree.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from datetime import timedelta
from typing import Any

from couchbase.auth import PasswordAuthenticator
from couchbase.options import ClusterOptions
from support import ROOT, add_server_arguments, print_table, resident, run_and_judge
from twisted.internet.defer import Deferred, gatherResults

sys.path.insert(0, ROOT)

from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.exceptions import PoolOverloaded
from txcouchbase.workers import PoolConfig, WorkerPool

LIMIT = 10_000
KEYS = 1_000
GROWTH = 8.0
"""How much resident memory may grow after the first tenth (MiB)."""

TIMEOUT = timedelta(seconds=60)


class Offers:
    """Offers operations in bites and keeps the accounts.

    Args:
        reactor: The reactor.
        deferred: A collection of the deferred form.
        raw: The same of the raw form.
        count: Operations in all.
        bite: Operations in one turn.
    """

    def __init__(self, reactor: Any, deferred: Any, raw: Any, count: int, bite: int) -> None:
        self._reactor = reactor
        self._collections = (deferred, raw)
        self._left = count
        self._bite = bite
        self._over: Deferred[None] = Deferred()
        self._inside = False
        self._tenth = count - count // 10
        self.turns = 0
        self.offered = [0, 0]
        self.refused = [0, 0]
        self.completed = [0, 0]
        self.wrong: list[str] = []
        self.rss_at_first = self.rss_at_most = 0.0

    def run(self) -> Deferred[None]:
        """Offer all; fires when each has an outcome."""
        self._reactor.callLater(0, self._turn)
        return self._over

    def _turn(self) -> None:
        self.turns += 1
        self._inside = True
        for _ in range(min(self._bite, self._left)):
            self._left -= 1
            key = f"overload-{self._left % KEYS}"
            if self._left % 2:
                self._offer_raw(key)
            else:
                self._offer_deferred(key)
        self._inside = False
        self._look_at_memory()
        if self._left:
            self._reactor.callLater(0, self._turn)
        else:
            self._look_whether_over()

    def _look_at_memory(self) -> None:
        if self._left <= self._tenth and self.turns % 10 == 0:
            now = resident(os.getpid())
            self.rss_at_first = self.rss_at_first or now
            self.rss_at_most = max(self.rss_at_most, now)

    def _offer_deferred(self, key: str) -> None:
        self.offered[0] += 1
        called = self._collections[0].upsert(key, {"n": self._left}, timeout=TIMEOUT)
        refused = called.called
        called.addCallbacks(self._completed_deferred, self._failed_deferred, errbackArgs=(refused,))

    def _completed_deferred(self, _: Any) -> None:
        self._ended(self.completed, 0)

    def _failed_deferred(self, failure: Any, at_once: bool) -> None:
        if failure.check(PoolOverloaded) is None or not at_once:
            self.wrong.append(f"deferred, at once: {at_once}: {failure.value!r}")
        self._ended(self.refused, 0)

    def _offer_raw(self, key: str) -> None:
        self.offered[1] += 1
        called = self._collections[1].upsert(key, {"n": self._left}, timeout=TIMEOUT)
        called.set_callbacks(self._completed_raw, self._failed_raw)

    def _completed_raw(self, _: Any) -> None:
        self._ended(self.completed, 1)

    def _failed_raw(self, _: Any, kind: type[BaseException], error: BaseException, __: Any) -> None:
        if kind is not PoolOverloaded or self._inside:
            self.wrong.append(f"raw, from inside the call: {self._inside}: {error!r}")
        self._ended(self.refused, 1)

    def _ended(self, accounts: list[int], form: int) -> None:
        accounts[form] += 1
        if not self._left and not self._inside:
            self._look_whether_over()

    def _look_whether_over(self) -> None:
        ended = sum(self.completed) + sum(self.refused)
        if ended == sum(self.offered) and not self._over.called:
            self._over.callback(None)


async def measure(reactor: Any, where: dict[str, str], arguments: Any) -> dict[str, Any]:
    """Offer all, and close; what was found."""
    options = ClusterOptions(PasswordAuthenticator(where["username"], where["password"]))
    pool = WorkerPool(PoolConfig(min_workers=2, max_workers=2, max_pending=LIMIT))
    try:
        deferred = TxCluster(where["connstr"], options, pool=pool).bucket(where["bucket"])
        raw = TxRawCluster(where["connstr"], options, pool=pool).bucket(where["bucket"])
        await gatherResults([deferred.on_connect(), raw.on_connect()])
        before = pool.stats()
        offers = Offers(
            reactor,
            deferred.default_collection(),
            raw.default_collection(),
            arguments.operations,
            arguments.bite,
        )
        begin = time.monotonic()
        await offers.run()
        seconds = time.monotonic() - begin
        gc.collect()
        stats = pool.stats()
    finally:
        await pool.close()
    return {
        "seconds": seconds,
        "turns": offers.turns,
        "forms": [
            {"offered": offered, "refused": refused, "completed": completed}
            for offered, refused, completed in zip(
                offers.offered, offers.refused, offers.completed, strict=True
            )
        ],
        "wrong": offers.wrong[:10],
        "rss_at_first": offers.rss_at_first,
        "rss_at_most": offers.rss_at_most,
        "rss_at_end": resident(os.getpid()),
        "pool": {
            "admitted": stats.admitted - before.admitted,
            "refused": stats.refused - before.refused,
            "succeeded": stats.succeeded - before.succeeded,
            "pending": stats.pending,
            "pending_bytes": stats.pending_bytes,
        },
    }


def show(found: dict[str, Any], arguments: Any) -> bool:
    """Print what was found; whether it is good."""
    print_table(
        ["form", "offered", "refused", "completed", "sum"],
        [
            [
                name,
                *(f"{form[what]:,}" for what in ("offered", "refused", "completed")),
                f"{form['refused'] + form['completed']:,}",
            ]
            for name, form in zip(("deferred", "raw"), found["forms"], strict=True)
        ],
    )
    pool = found["pool"]
    growth = found["rss_at_most"] - found["rss_at_first"]
    print(
        f"the pool's accounts: {pool['admitted']:,} admitted, {pool['succeeded']:,} succeeded, "
        f"{pool['refused']:,} refused, {pool['pending']} pending ({pool['pending_bytes']} bytes)"
    )
    print(
        f"{found['seconds']:.1f} s, {found['turns']:,} turns of {arguments.bite}; resident memory "
        f"{found['rss_at_first']:.1f} MiB after the first tenth, {found['rss_at_most']:.1f} MiB at "
        f"most, {found['rss_at_end']:.1f} MiB in the end; bound +{GROWTH:.0f} MiB"
    )
    for wrong in found["wrong"]:
        print(wrong)
    offered, refused, completed = (
        sum(form[what] for form in found["forms"]) for what in ("offered", "refused", "completed")
    )
    return (
        growth <= GROWTH
        and not found["wrong"]
        and offered == refused + completed == arguments.operations
        and (pool["admitted"], pool["succeeded"], pool["refused"])
        == (completed, completed, refused)
        and (pool["pending"], pool["pending_bytes"]) == (0, 0)
        and 0 < refused < offered
    )


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_server_arguments(parser)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--bite", type=int, default=1_000, help="operations in one turn")
    arguments = parser.parse_args()
    run_and_judge(measure, lambda found: show(found, arguments), arguments)


if __name__ == "__main__":
    main()
