"""Turns: one after another, in their order."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.workers.turns import Turns


class TurnsTests(SynchronousTestCase):
    def test_one_after_another(self) -> None:
        turns = Turns()
        self.assertTrue(turns.is_free("a"))
        waiting = [turns.take("a") for _ in range(4)]
        self.assertFalse(turns.is_free("a"))
        self.successResultOf(turns.take("b"))
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        turns.leave("a")
        self.successResultOf(waiting[2])
        self.assertNoResult(waiting[3])
        turns.leave("a")
        self.successResultOf(waiting[3])
        turns.leave("a")
        turns.leave("b")
        self.assertTrue(turns.is_free("a"))
        self.assertEqual(turns._queues, {})

    def test_turns_that_end_as_they_begin(self) -> None:
        turns = Turns()
        order: list[int] = []

        def ends_at_once(_: None, number: int) -> None:
            order.append(number)
            if number == 5_000:
                turns.take("a").addCallback(ends_at_once, 10_001)
            turns.leave("a")

        self.successResultOf(turns.take("a"))
        for number in range(10_000):
            turns.take("a").addCallback(ends_at_once, number)
        cancelled: Deferred[None] = turns.take("a")
        cancelled.addErrback(lambda _: None).cancel()
        turns.leave("a")
        self.assertEqual(order, [*range(10_000), 10_001])
        self.assertTrue(turns.is_free("a"))
