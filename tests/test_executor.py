"""A worker's executor: order on a key, answers, acknowledgements; without the SDK."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_framing import parsed
from txcouchbase.amp import wire
from txcouchbase.amp.framing import ACK, payload_of
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.workers.executor import Executor, Task


class WorkerReactor(Clock):
    """A clock whose threads are the test itself."""

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.callLater(0, function, *args)


class Client:
    """Stands in for the raw client: operations run until the test ends them."""

    def __init__(self) -> None:
        self.running: list[tuple[Task, Callable[[Task, Any], None]]] = []
        self.started: list[int] = []

    def start(self, task: Task, complete: Callable[[Task, Any], None]) -> None:
        self.started.append(task.id)
        if task.key == "refused":
            raise ValueError("refused")
        self.running.append((task, complete))

    def end(self, number: int, result: Any = None) -> None:
        for index, (task, complete) in enumerate(self.running):
            if task.id == number:
                del self.running[index]
                complete(task, result or {"cas": number})
                return
        raise AssertionError(f"{number} is not running")


class Outlet:
    """Stands in for the pipe; takes boxes apart."""

    def __init__(self) -> None:
        self.boxes: list[Any] = []
        self.full = False
        self.drained: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.boxes += parsed(data)


class ExecutorTests(SynchronousTestCase):
    def executor(self) -> Executor:
        self.reactor = WorkerReactor()
        self.outlet: Any = Outlet()
        self.boxes: list[Any] = self.outlet.boxes
        self.client = Client()
        executor = Executor(self.reactor, self.outlet, self.fail)
        executor.add_cluster(1, None, self.client)  # type: ignore[arg-type]
        return executor

    def batch(self, executor: Executor, *requests: tuple[int, str, str]) -> None:
        executor.batch_received(
            wire.encode(
                [
                    [[5, 9, 1, "b", "s", "c"]],
                    [
                        [number, OPERATIONS[name].code, 5, key, 1000]
                        for number, name, key in requests
                    ],
                ]
            )
        )

    def answers(self) -> list[Any]:
        return [answer for box in self.boxes for answer in wire.decode(payload_of(box) or b"\x90")]

    def test_writes_on_a_key_run_one_after_another(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "upsert", "k"), (2, "upsert", "k"), (3, "upsert", "other"))
        self.assertEqual(self.client.started, [1, 3])
        self.client.end(1)
        self.reactor.advance(0)
        self.assertEqual(self.client.started, [1, 3, 2])

    def test_one_whose_time_ends_behind_its_key_is_not_started(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "upsert", "k"), (2, "upsert", "k"), (3, "get", "k"))
        monotonic = time.monotonic
        self.patch(time, "monotonic", lambda: monotonic() + 2)
        self.client.end(1)
        for _ in range(3):
            self.reactor.advance(0)
        self.assertEqual(self.client.started, [1])
        kinds = [answer[2]["class"] for answer in self.answers()[1:]]
        self.assertEqual(kinds, ["UnAmbiguousTimeoutException"] * 2)
        self.assertEqual(executor._keys, {})

    def test_reads_run_side_by_side_between_writes(self) -> None:
        executor = self.executor()
        names = ("get", "get", "upsert", "get", "exists", "upsert")
        self.batch(executor, *((number, name, "k") for number, name in enumerate(names)))
        self.assertEqual(self.client.started, [0, 1])
        self.client.end(0)
        self.reactor.advance(0)
        self.assertEqual(self.client.started, [0, 1])
        self.client.end(1)
        self.reactor.advance(0)
        self.assertEqual(self.client.started, [0, 1, 2])
        self.client.end(2)
        self.reactor.advance(0)
        self.assertEqual(self.client.started, [0, 1, 2, 3, 4])

    def test_an_operation_that_cannot_start_is_answered_and_the_next_one_runs(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "upsert", "refused"), (2, "upsert", "refused"))
        self.reactor.advance(0)
        self.reactor.advance(0)
        self.assertEqual([answer[0] for answer in self.answers()], [1, 2])
        self.assertTrue(all(answer[2]["class"] == "ValueError" for answer in self.answers()))

    def test_answers_that_are_there_leave_in_one_box_with_the_acknowledgement(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "get", "a"), (2, "get", "b"))
        self.client.end(1)
        self.client.end(2)
        self.reactor.advance(0)
        (box,) = self.boxes
        self.assertEqual(box[ACK], b"1")
        self.assertEqual(self.answers(), [[1, {"cas": 1}], [2, {"cas": 2}]])
        self.reactor.advance(1)
        self.assertEqual(len(self.boxes), 1)

    def test_an_acknowledgement_does_not_wait_for_a_slow_operation(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "get", "a"))
        self.reactor.advance(1)
        (box,) = self.boxes
        self.assertEqual(box[ACK], b"1")
        self.assertEqual(self.answers(), [])

    def test_a_result_that_is_not_plain_data_still_arrives(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "get", "a"))
        self.client.end(1, {"cas": 1, "odd": object(), "set": {"x"}})
        self.reactor.advance(0)
        self.assertEqual(self.answers()[0][1]["cas"], 1)

    def test_two_answers_of_one_operation_are_one(self) -> None:
        executor = self.executor()
        self.batch(executor, (1, "upsert", "k"), (2, "upsert", "k"))
        task, complete = self.client.running[0]
        complete(task, {"cas": 1})
        complete(task, {"cas": 2})
        self.reactor.advance(0)
        self.assertEqual(self.client.started, [1, 2])
        self.client.end(2)
        self.reactor.advance(0)
        self.assertEqual(self.answers(), [[1, {"cas": 1}], [2, {"cas": 2}]])

    def test_answers_that_cannot_be_packed_end_the_process(self) -> None:
        executor = self.executor()
        ended: list[None] = []
        executor._end = lambda: ended.append(None)

        def out_of_memory(data: bytes) -> None:
            raise MemoryError

        self.outlet.write = out_of_memory
        self.batch(executor, (1, "get", "a"))
        self.client.end(1)
        self.reactor.advance(0)
        self.assertEqual(len(ended), 1)
        self.flushLoggedErrors(MemoryError)

    def test_an_application_that_does_not_read(self) -> None:
        executor = self.executor()
        self.batch(executor, *((number, "get", str(number)) for number in range(200)))
        self.outlet.full = True
        for number in range(200):
            self.client.end(number, {"value": b"v" * 20_000})
        self.reactor.pump([0, 0, 0])
        sent = len(self.answers())
        self.assertTrue(0 < sent * 20_000 < 2 * 1024 * 1024, "about one bite")
        self.assertTrue(executor.has_unsent)
        self.batch(executor, *((number, "upsert", "k") for number in range(200, 203)))
        self.assertEqual(len(self.client.started), 200, "no more is started")
        self.outlet.full = False
        self.outlet.drained()
        self.reactor.pump([0] * 5)
        self.assertEqual(len(self.answers()), 200)
        self.assertEqual(self.client.started[200:], [200])
        for number in (200, 201, 202):
            self.client.end(number)
            self.reactor.advance(0)
        self.assertEqual(self.client.started[200:], [200, 201, 202])
        self.assertEqual((len(self.answers()), executor.has_unsent), (203, False))

    def test_rows_that_fill_the_pipe_hold_up_no_answers(self) -> None:
        executor = self.executor()
        self.outlet.full = True
        for number in range(20):
            self.batch(executor, (number, "get", "k"))
            self.client.end(number)
            self.reactor.advance(0)
        self.assertEqual(len(self.answers()), 20)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["get", "upsert", "remove"]), st.sampled_from("abc")),
            max_size=30,
        ),
        st.randoms(use_true_random=False),
    )
    def test_any_order_of_answers_keeps_the_order_of_each_key(
        self, operations: list[tuple[str, str]], random: Any
    ) -> None:
        executor = self.executor()
        self.batch(executor, *((n, name, key) for n, (name, key) in enumerate(operations)))
        writes_ended: dict[str, int] = {}
        while self.client.running:
            task, _ = random.choice(self.client.running)
            for other, _ in self.client.running:
                if other.key == task.key and other is not task:
                    self.assertTrue(other.kind.repeatable and task.kind.repeatable)
            if not task.kind.repeatable:
                self.assertGreater(task.id, writes_ended.get(task.key, -1))
                writes_ended[task.key] = task.id
            self.client.end(task.id)
            self.reactor.advance(0)
        self.assertEqual(
            sorted(answer[0] for answer in self.answers()), list(range(len(operations)))
        )
        for key in "abc":
            numbers = [n for n, (_, k) in enumerate(operations) if k == key]
            self.assertEqual([n for n in self.client.started if n in numbers], numbers)
