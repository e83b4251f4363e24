"""Operations on one key happen in the order of their calls, whichever worker does them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    inlineCallbacks,
    succeed,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.order import OrderCheck
from tests.support import ServerTestCase
from txcouchbase.workers import PoolConfig, WorkerPool


class OrderTests(ServerTestCase):
    @inlineCallbacks
    def test_writes_and_reads_without_waiting(self) -> Any:
        collection = self.collection(PoolConfig(min_workers=3, max_workers=3))
        check = OrderCheck(
            collection, keys=50, operations=20_000, in_flight=2_000, prefix=self.key("")
        )
        yield check.run()
        self.assertEqual(check.violations, [])
        self.assertEqual(check.answered, 20_000)

    @inlineCallbacks
    def test_a_cluster_that_shares_the_pool_does_not_overtake_one_that_connects(self) -> Any:
        pool = WorkerPool(PoolConfig(min_workers=1, max_workers=1))
        self.addCleanup(pool.close)
        first = self.cluster(pool).bucket(self.bucket_name).default_collection()
        key, other = self.key("k"), self.key("other")
        yield first.upsert(key, 0)
        late = self.cluster(pool).bucket(self.bucket_name).default_collection()
        ended: list[str] = []
        calls = [
            late.upsert(key, 1).addCallback(lambda _: ended.append("late")),
            first.upsert(key, 2).addCallback(lambda _: ended.append("first")),
            late.get(key).addCallback(lambda result: ended.append(str(result.value))),
            first.upsert(other, 0).addCallback(lambda _: ended.append("other")),
        ]
        dropped = late.upsert(key, 3)
        last = first.get(key)
        dropped.cancel()
        yield self.assertFailure(dropped, CancelledError)
        yield gatherResults(calls)
        self.assertEqual(ended, ["other", "late", "first", "2"])
        result = yield last
        self.assertEqual(result.value, 2)
        self.assertEqual(pool._waiting, {})


class _Value:
    def __init__(self, value: int) -> None:
        self.value = value


class _Overtaken:
    """A collection that performs the first read too late."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._held: list[tuple[Deferred[_Value], str]] = []

    def upsert(self, key: str, value: int, timeout: Any) -> Deferred[None]:
        self._values[key] = value
        return succeed(None)

    def get(self, key: str, timeout: Any) -> Deferred[_Value]:
        if self._held:
            held, name = self._held.pop()
            held.callback(_Value(self._values[name]))
            return succeed(_Value(self._values[key]))
        answer: Deferred[_Value] = Deferred()
        self._held.append((answer, key))
        return answer


class OrderCheckTests(SynchronousTestCase):
    def test_it_sees_a_read_that_was_overtaken(self) -> None:
        check = OrderCheck(_Overtaken(), keys=1, operations=100, in_flight=50, prefix="")
        check.run()
        self.assertGreater(check.count, 0)
