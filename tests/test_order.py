"""Operations on one key happen in the order of their calls, whichever worker does them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.order import OrderCheck
from tests.support import ServerTestCase
from txcouchbase.workers import PoolConfig


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


class _Value:
    def __init__(self, value: int) -> None:
        self.value = value


class _Overtaken:
    """A collection that performs the first read too late."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._held: list[tuple[Deferred[_Value], str]] = []

    def upsert(self, key: str, value: int) -> Deferred[None]:
        self._values[key] = value
        return succeed(None)

    def get(self, key: str) -> Deferred[_Value]:
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
