"""What a worker prints: bounded in the log, and its last words kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.workers.printed import LINES_PER_SECOND, LONGEST_LINE, Printed


class PrintedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.printed = Printed(7, self.clock)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: dict[str, Any]) -> None:
        if event.get("pid") == 7:
            self.events.append(event)

    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if "text" in event]

    def passed_over(self) -> int:
        return sum(event.get("lines", 0) for event in self.events)

    def test_lines_however_they_arrive(self) -> None:
        for byte in b"one\ntwo\r\n\n  \nthree":
            self.printed.received(1, bytes([byte]))
        self.assertEqual(self.texts(), ["one", "two"])
        self.assertEqual(self.printed.ended(), "", "stdout has no last words")
        self.assertEqual(self.texts(), ["one", "two", "three"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_levels(self) -> None:
        self.printed.received(1, b"out\n")
        self.printed.received(2, b"err\n")
        levels = [event["log_level"] for event in self.events]
        self.assertEqual(levels, [LogLevel.info, LogLevel.warn])
        self.assertEqual(self.printed.ended(), "err")

    def test_more_lines_than_anybody_reads(self) -> None:
        self.printed.received(2, b"".join(b"%d\n" % number for number in range(10_000)))
        self.assertEqual(len(self.texts()), LINES_PER_SECOND)
        self.assertEqual(self.passed_over(), 0)
        self.clock.advance(1)
        self.assertEqual(self.passed_over(), 10_000 - LINES_PER_SECOND)
        self.printed.received(1, b"after a second\n")
        self.assertEqual(self.texts()[-1], "after a second")
        last = self.printed.ended().split("\n")
        self.assertEqual(last, [str(number) for number in range(9_980, 10_000)])

    def test_a_line_without_an_end(self) -> None:
        for _ in range(1_000):
            self.printed.received(2, b"x" * 1_000)
        self.printed.received(2, b"the end\nnext\n")
        first, second = self.texts()
        self.assertTrue(first.startswith("xxx") and first.endswith("goes on)"))
        self.assertLess(len(first), LONGEST_LINE + 50)
        self.assertEqual(second, "next")
        last = self.printed.ended()
        self.assertTrue(last.endswith("xxthe end\nnext"))
        self.assertLess(len(last), 1_000)

    def test_what_is_no_text(self) -> None:
        self.printed.received(2, b"\xff{braces}\x00\n" + "schön\n".encode())
        self.assertEqual(self.texts(), ["\N{REPLACEMENT CHARACTER}{braces}\x00", "schön"])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50), st.integers(1, 200)),
            max_size=20,
        )
    )
    def test_whatever_is_printed(self, pieces: list[tuple[int, bytes, int]]) -> None:
        self.clock = Clock()
        self.printed = Printed(7, self.clock)
        self.events.clear()
        for fd, data, times in pieces:
            self.printed.received(fd, data * times)
            self.assertLessEqual(sum(map(len, self.printed._partial.values())), 2 * LONGEST_LINE)
        self.assertLessEqual(len(self.texts()), LINES_PER_SECOND)
        self.assertLessEqual(len(self.printed.ended()), 4_000)
        self.assertLessEqual(max(map(len, self.texts()), default=0), LONGEST_LINE + 50)
        self.assertEqual(self.clock.getDelayedCalls(), [])
