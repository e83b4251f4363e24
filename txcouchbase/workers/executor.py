"""`Executor`: a worker's operations, from batch to answers.

Operations on one key run one after another, unless all of them only read; different keys run
side by side. Answers are gathered: whichever thread completes operations, one wake-up of the
reactor thread packs and sends all that are there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from couchbase.exceptions import RequestCanceledException
from twisted.logger import Logger

from txcouchbase.amp import wire
from txcouchbase.amp.errors import error_to_data, plain, timeout_error
from txcouchbase.amp.framing import ACK, RESULTS, encode_box
from txcouchbase.amp.operations import CODES, OperationKind
from txcouchbase.workers.outlet import Outlet
from txcouchbase.workers.raw_client import RawClient

__all__ = ["Client", "Executor", "Place", "StartRows", "Task"]

_log = Logger()

_ACK_DELAY = 0.001
"""How long an acknowledgement waits for an answer to ride on (seconds)."""

_MOST_UNSENT = 64
"""Answers that may wait for a full pipe before no more operations are started."""

_BITE = 256
"""Answers that are packed before the reactor gets another turn."""

_BITE_BYTES = 1024 * 1024
"""Values that are packed before the reactor gets another turn (bytes)."""


class Place:
    """A keyspace as this worker knows it."""

    __slots__ = ("bucket", "cluster", "collection", "order", "scope")

    def __init__(self, order: int, cluster: int, bucket: str, scope: str, collection: str) -> None:
        self.order = order
        self.cluster = cluster
        self.bucket = bucket
        self.scope = scope
        self.collection = collection


_GONE = Place(0, -1, "", "", "")
"""Where an operation goes whose cluster was closed."""


class Task:
    """One operation in this worker.

    Attributes:
        id: Its number in the pool.
        timeout: What was left of its time when the batch arrived (seconds), 0.0 for no limit.
        answered: Whether its answer was packed.
    """

    __slots__ = (
        "answered",
        "flags",
        "id",
        "ident",
        "key",
        "kind",
        "options",
        "place",
        "received",
        "timeout",
        "value",
    )

    def __init__(self, request: list[Any], place: Place, received: float) -> None:
        self.id: int = request[0]
        self.kind: OperationKind = CODES[request[1]]
        self.place = place
        self.key: str = request[3]
        self.timeout: float = request[4] / 1000.0
        self.received = received
        self.answered = False
        if len(request) > 5:
            self.value: bytes | None = request[5]
            self.flags: int = request[6]
            self.options: dict[str, Any] | None = request[7] if len(request) > 7 else None
        else:
            self.value = self.options = None
            self.flags = 0
        self.ident = (place.order, self.key) if self.key is not None else None

    def is_over(self) -> bool:
        """Whether its time is over."""
        return bool(self.timeout) and time.monotonic() - self.received >= self.timeout

    def remaining(self) -> int:
        """What is left of its time (milliseconds, at least 1), 0 for no limit."""
        if not self.timeout:
            return 0
        return max(1, int((self.timeout - (time.monotonic() - self.received)) * 1000))


class Client(Protocol):
    """What runs operations in threads."""

    def run(self, task: Task) -> dict[str, Any]:
        """Run one, or raise what the caller has to hear of."""


StartRows = Callable[[Task, Callable[[Task, Any], None]], None]
"""Starts an operation with rows, and calls back when all of them were sent."""


class _KeyState:
    """The operations on one key: how many run, whether all of those only read, who waits."""

    __slots__ = ("reads", "running", "waiting")

    def __init__(self, reads: bool) -> None:
        self.running = 1
        self.reads = reads
        self.waiting: deque[Task] | None = None


class Executor:
    """Runs the operations of batches.

    Args:
        reactor: The worker's reactor.
        outlet: The pipe to the pool.
        end: Ends the process, since answers were lost.
    """

    def __init__(self, reactor: Any, outlet: Outlet, end: Callable[[], None]) -> None:
        self._reactor = reactor
        self._outlet = outlet
        outlet.drained = self._drained
        self._end = end
        self._clients: dict[int, tuple[Client, RawClient | None, StartRows | None, Any]] = {}
        self._places: dict[int, Place] = {}
        self._keys: dict[tuple[int, str], _KeyState] = {}
        self._completed: deque[tuple[Task, Any]] = deque()
        self._held: deque[Task] = deque()
        self._undrained = 0
        self._awake = False
        self._acks = 0
        self._ack_timer = False

    def add_cluster(
        self,
        cluster: int,
        client: Client,
        raw: RawClient | None,
        start_rows: StartRows | None = None,
        threads: Any = None,
    ) -> None:
        """Operations on this cluster can come from now on.

        Args:
            cluster: Its number.
            client: What runs operations in threads.
            raw: What starts them with callbacks, None if nothing does.
            start_rows: What starts those with rows, None if `client` runs them.
            threads: The pool of threads for `client`, the reactor's if None.
        """
        self._clients[cluster] = (client, raw, start_rows, threads)

    def remove_cluster(self, cluster: int) -> None:
        """No more operations on this cluster come."""
        self._clients.pop(cluster, None)
        for number, place in list(self._places.items()):
            if place.cluster == cluster:
                del self._places[number]

    @property
    def has_unsent(self) -> bool:
        """Whether answers wait, since the pipe is full."""
        return bool(self._completed)

    def batch_received(self, payload: bytes) -> None:
        """Start the operations of a batch."""
        self._acks += 1
        keyspaces, requests = wire.decode(payload)
        places = self._places
        for number, *place in keyspaces:
            places[number] = Place(*place)
        now = time.monotonic()
        for request in requests:
            self._admit(Task(request, places.get(request[2], _GONE), now))
        if self._acks and not self._ack_timer:
            self._ack_timer = True
            self._reactor.callLater(_ACK_DELAY, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ack_timer = False
        if self._acks:
            acks, self._acks = self._acks, 0
            self._outlet.write(encode_box(ACK, b"", acks))

    def _admit(self, task: Task) -> None:
        ident = task.ident
        if ident is not None:
            state = self._keys.get(ident)
            if state is None:
                self._keys[ident] = _KeyState(task.kind.repeatable)
            elif state.waiting is None and state.reads and task.kind.repeatable:
                state.running += 1
            else:
                if state.waiting is None:
                    state.waiting = deque()
                state.waiting.append(task)
                return
        self._start(task)

    def _start(self, task: Task) -> None:
        if self._holds_back():
            self._held.append(task)
            return
        try:
            if task.place.cluster not in self._clients:
                raise RequestCanceledException(f"{task.kind.name}: its cluster was closed")
            client, raw, start_rows, threads = self._clients[task.place.cluster]
            if task.kind.rows and start_rows is not None:
                start_rows(task, self._complete)
            elif raw is not None and not task.kind.blocking:
                raw.start(task, self._complete)
            else:
                pool = threads if threads is not None else self._reactor.getThreadPool()
                pool.callInThread(self._run_blocking, client, task)
        except BaseException as error:  # the caller has to hear of it, whatever it is
            self._complete(task, error)

    def _run_blocking(self, client: Client, task: Task) -> None:
        """In a thread of the pool."""
        try:
            result: Any = client.run(task)
        except BaseException as error:  # as above
            result = error
        self._complete(task, result)

    def _complete(self, task: Task, result: Any) -> None:
        """From any thread: append and wake, no more, since the SDK's one I/O thread calls this."""
        self._completed.append((task, result))
        if not self._awake:
            self._awake = True
            self._reactor.callFromThread(self._gather)

    def _gather(self) -> None:
        if self._outlet.full and self._undrained >= _BITE_BYTES:
            # Still awake: nobody calls this again before there is room. Rows alone, which fill
            # the pipe as often as it drains, hold up no answers.
            return
        try:
            self._send_answers()
        except BaseException:
            # For example out of memory. Those that were being packed would wait for ever, and
            # with them what comes next on their keys.
            _log.failure("answers cannot be sent")
            self._end()

    def _drained(self) -> None:
        """The pipe has room again."""
        self._undrained = 0
        if self._awake:
            self._reactor.callLater(0, self._gather)
        else:
            self._start_held()

    def _holds_back(self) -> bool:
        """Whether the application does not read, so that more answers would only use up memory."""
        return self._outlet.full and len(self._completed) >= _MOST_UNSENT

    def _start_held(self) -> None:
        while self._held and not self._holds_back():
            self._start_waiting(self._held.popleft())

    def _start_waiting(self, task: Task) -> None:
        """Start one that has waited, unless it has done so for too long."""
        if task.is_over():
            message = f"{task.kind.name} timed out in the worker, before it was sent to the server"
            self._complete(task, timeout_error(message))
        else:
            self._start(task)

    def _send_answers(self) -> None:
        # Cleared before the look, so that what is appended after the look wakes again.
        self._awake = False
        completed = self._completed
        answers: list[tuple[Any, ...]] = []
        size = 0
        while completed and len(answers) < _BITE and size < _BITE_BYTES:
            task, result = completed.popleft()
            if task.answered:
                continue  # it could not start, it was said, and then it called back all the same
            task.answered = True
            if task.ident is not None:
                self._next_on_key(task.ident)
            if isinstance(result, dict):
                answers.append((task.id, result))
                for part in result.get(wire.OF_REPLICAS, (result,)):
                    value = part.get("value")
                    if isinstance(value, bytes):
                        size += len(value)
            else:
                answers.append(self._failed(task, result))
        if completed and not self._awake:
            self._awake = True
            self._reactor.callLater(0, self._gather)
        if answers:
            acks, self._acks = self._acks, 0
            box = encode_box(RESULTS, self._packed(answers), acks)
            self._undrained = len(box) + (self._undrained if self._outlet.full else 0)
            self._outlet.write(box)
        if self._held:
            self._start_held()

    def _failed(self, task: Task, result: Any) -> tuple[Any, ...]:
        try:
            if not isinstance(result, BaseException):
                result = RawClient.exception(result)
            return (task.id, None, error_to_data(result))
        except Exception as error:  # an answer that cannot be described is still an answer
            _log.failure("cannot describe the outcome of {name}", name=task.kind.name)
            return (task.id, None, error_to_data(error))

    def _packed(self, answers: list[tuple[Any, ...]]) -> bytes:
        try:
            return wire.encode(answers)
        except (TypeError, ValueError):
            # Something in one of them is not plain data.
            return wire.encode([(number, *map(plain, rest)) for number, *rest in answers])

    def _next_on_key(self, ident: tuple[int, str]) -> None:
        state = self._keys[ident]
        state.running -= 1
        if state.running:
            return
        waiting = state.waiting
        if not waiting:
            del self._keys[ident]
            return
        first = waiting.popleft()
        state.running = 1
        state.reads = first.kind.repeatable
        self._start_waiting(first)
        while state.reads and waiting and waiting[0].kind.repeatable:
            state.running += 1
            self._start_waiting(waiting.popleft())
        if not waiting:
            state.waiting = None
