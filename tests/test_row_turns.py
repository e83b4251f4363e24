"""A worker's streams take turns, within their credit and as the pipe has room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from couchbase.exceptions import QueryIndexNotFoundException, RequestCanceledException
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp import wire
from txcouchbase.amp.framing import ROWS
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.amp.rows import CHUNK_BYTES, CHUNK_ROWS, STOP, WINDOW
from txcouchbase.workers.bites import Bites
from txcouchbase.workers.executor import Place, Task
from txcouchbase.workers.rows import RowStreams


class Turns:
    """A reactor whose turns are made one by one."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, function: Callable[[], None]) -> None:
        assert delay == 0
        self.calls.append(function)

    def turn(self, count: int) -> None:
        for _ in range(count):
            calls, self.calls = self.calls, []
            for call in calls:
                call()


class Pipe:
    """A pipe that takes everything, until it is told that it is full."""

    def __init__(self) -> None:
        self.producer: RowStreams | None = None
        self.chunks: list[tuple[int, list[bytes]]] = []
        self.sizes: list[int] = []

    def registerProducer(self, producer: RowStreams, streaming: bool) -> None:
        assert self.producer is None and streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        assert self.producer is not None
        self.producer = None

    def write(self, data: bytes) -> None:
        from twisted.protocols.amp import parseString

        (box,) = parseString(data)
        assert box[b"+"] == ROWS
        payload = b"".join(box[b"%d" % i] for i in range(len(box) - 1))
        self.sizes.append(len(payload))
        self.chunks.append(tuple(wire.decode(payload)))


class Source:
    """Rows from a list, in which an exception or a map is the end."""

    def __init__(self, steps: list[Any], at_once: bool = True) -> None:
        self.steps = steps
        self.at_once = at_once
        self.stopped = False
        self.ready: Callable[[], None]

    def __call__(self, task: Task, ready: Callable[[], None]) -> Source:
        self.ready = ready
        return self

    def start(self) -> None:
        if self.at_once:
            self.ready()

    def take(self) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def stop(self) -> None:
        self.stopped = True


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Turns()
        self.pipe = Pipe()
        self.streams = RowStreams(self.reactor, self.pipe)
        self.outcomes: dict[int, Any] = {}

    def start(self, number: int, source: Source, cluster: int = 1) -> Source:
        request = [number, OPERATIONS["query"].code, 1, None, 0]
        task = Task(request, Place(1, cluster, "", "", ""), 0.0)
        self.streams.start(source, task, self.complete)
        return source

    def complete(self, task: Task, outcome: Any) -> None:
        self.assertNotIn(task.id, self.outcomes)
        self.outcomes[task.id] = outcome

    def turns(self, count: int = 100) -> None:
        self.reactor.turn(count)

    def test_rows_then_the_end(self) -> None:
        self.start(1, Source([[b"a", b"b"], [b"c"], {"metadata": 1}]))
        self.assertEqual(self.pipe.chunks, [])
        self.turns(1)
        self.assertEqual(self.pipe.chunks, [(1, [b"a", b"b"])])
        self.turns()
        self.assertEqual(self.pipe.chunks, [(1, [b"a", b"b"]), (1, [b"c"])])
        self.assertEqual(self.outcomes, {1: {"metadata": 1}})
        self.assertIsNone(self.pipe.producer)
        self.assertEqual(self.reactor.calls, [])

    def test_an_error_in_the_middle(self) -> None:
        error = QueryIndexNotFoundException("gone")
        self.start(1, Source([[b"a"], error]))
        self.turns()
        self.assertEqual(self.pipe.chunks, [(1, [b"a"])])
        self.assertEqual(self.outcomes, {1: error})

    def test_streams_take_turns(self) -> None:
        self.start(1, Source([[b"a"], [b"b"], [b"c"], {}]))
        self.start(2, Source([[b"A"], [b"B"], {}]))
        self.turns()
        order = [number for number, _ in self.pipe.chunks]
        self.assertEqual(order, [1, 2, 1, 2, 1])

    def test_credit(self) -> None:
        half = [b"x" * (WINDOW // 2)]
        self.start(1, Source([half, half, half, half, {}]))
        self.start(2, Source([[b"A"], {}]))
        self.turns()
        self.assertEqual([n for n, _ in self.pipe.chunks], [1, 2, 1])
        self.assertEqual(self.outcomes, {2: {}})
        self.assertIsNone(self.pipe.producer)
        self.streams.paid(1, sum(self.pipe.sizes[::2]) - WINDOW)
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 3, "only what was owed")
        self.streams.paid(1, 1)
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 4)
        self.streams.paid(1, 2 * WINDOW)
        self.turns()
        self.assertEqual(self.outcomes, {1: {}, 2: {}})
        self.streams.paid(1, 5)  # too late, and no harm

    def test_a_full_pipe(self) -> None:
        self.start(1, Source([[b"a"], [b"b"], {}]))
        self.turns(1)
        assert self.pipe.producer is not None
        self.pipe.producer.pauseProducing()
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 1)
        self.pipe.producer.resumeProducing()
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 2)
        self.assertEqual(self.outcomes, {1: {}})

    def test_a_source_that_has_nothing_yet(self) -> None:
        source = self.start(1, Source([[b"a"], [], [b"b"], {}], at_once=False))
        self.turns()
        self.assertEqual(self.pipe.chunks, [])
        source.ready()
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 1)
        self.assertIsNone(self.pipe.producer)
        source.ready()
        self.turns()
        self.assertEqual(self.outcomes, {1: {}})

    def test_stop(self) -> None:
        source = self.start(1, Source([[b"a"]] * 9))
        self.turns(2)
        self.streams.paid(1, STOP)
        self.assertTrue(source.stopped)
        self.assertEqual(self.outcomes, {1: {}})
        self.turns()
        self.assertEqual(len(self.pipe.chunks), 2)
        self.assertIsNone(self.pipe.producer)

    def test_stop_before_the_answer(self) -> None:
        source = self.start(1, Source([[b"a"]], at_once=False))
        self.streams.paid(1, STOP)
        self.streams.paid(1, STOP)
        self.turns()
        self.assertEqual((source.stopped, self.outcomes), (True, {}))
        source.ready()
        self.turns()
        self.assertEqual((self.pipe.chunks, self.outcomes), ([], {1: {}}))

    def test_closing_a_cluster(self) -> None:
        gone = self.start(1, Source([[b"a"]], at_once=False))
        self.start(2, Source([[b"A"], {}], at_once=True), cluster=2)
        self.streams.close_cluster(1)
        self.turns()
        self.assertTrue(gone.stopped)
        self.assertIsInstance(self.outcomes[1], RequestCanceledException)
        self.assertEqual(self.outcomes[2], {})
        gone.ready()
        self.turns()

    def test_a_source_that_cannot_start(self) -> None:
        source = Source([])
        source.start = lambda: 1 / 0  # type: ignore[method-assign]
        self.assertRaises(ZeroDivisionError, self.start, 1, source)


class BiteTests(SynchronousTestCase):
    def bites(self, rows: list[Any], last: Any = None) -> list[Any]:
        bites = Bites(iter(rows), last or (lambda: {"end": 1}))
        taken: list[Any] = []
        while not taken or isinstance(taken[-1], list):
            taken.append(bites.take())
        return taken

    def test_sizes(self) -> None:
        self.assertEqual(self.bites([]), [{"end": 1}])
        self.assertEqual(self.bites([b"a", b"b"]), [[b"a", b"b"], {"end": 1}])
        many = self.bites([b"1"] * (2 * CHUNK_ROWS + 1))
        self.assertEqual([len(chunk) for chunk in many], [CHUNK_ROWS, CHUNK_ROWS, 1, 1])
        long = b"x" * (CHUNK_BYTES + 1)
        half = b"y" * (CHUNK_BYTES // 2)
        self.assertEqual(
            self.bites([b"a", long, half, half, half, long]),
            [[b"a"], [long], [half, half], [half], [long], {"end": 1}],
        )

    def test_maps_become_bytes(self) -> None:
        (row,), end = self.bites([{"id": "a"}])
        self.assertEqual((wire.decode(row), end), ({"id": "a"}, {"end": 1}))

    def test_an_error_comes_after_the_rows_before_it(self) -> None:
        def rows() -> Any:
            yield b"a"
            raise KeyError("k")

        bites = Bites(rows(), dict)
        self.assertEqual(bites.take(), [b"a"])
        self.assertRaises(KeyError, bites.take)
