"""`RowStreams`: a worker's streams of rows, from any source, in turn and within their credit.

No thread waits for credit. A source says when it has something; one bite of one stream is taken
per turn of the reactor, the streams one after another, and none while the pipe is full. So a
large result delays the answers of other operations by one chunk, whoever reads it how slowly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from couchbase.exceptions import RequestCanceledException

from txcouchbase.amp import wire
from txcouchbase.amp.framing import ROWS, encode_box
from txcouchbase.amp.rows import STOP, WINDOW

if TYPE_CHECKING:
    from txcouchbase.workers.executor import Task

__all__ = ["OpenSource", "RowSource", "RowStreams"]


class RowSource(Protocol):
    """Where the rows of one stream come from. All calls are from the reactor thread."""

    def start(self) -> None:
        """Begin. The stream's `ready` is to be called, in the reactor thread, when there is
        something to take.

        Raises:
            What the caller is to hear of.
        """

    def take(self) -> list[bytes] | dict[str, Any]:
        """Without waiting, one chunk of rows, or after them the map of what comes last.

        After an empty chunk `ready` is to be called again.

        Raises:
            The error in place of further rows.
        """

    def stop(self) -> None:
        """No more is wanted. Before the first `ready` that is to be called all the same, once
        nothing of the request is left at the server."""


OpenSource = Callable[["Task", Callable[[], None]], RowSource]
"""Makes the source of an operation's rows, given what it calls when it has something."""


class _Stream:
    """One stream.

    Attributes:
        credit: How much may be sent (bytes); below zero after a row that was too long.
        holds: Whether the source has something to take.
        answered: Whether the source has ever had something.
        stopped: Whether no more is wanted.
        in_turn: Whether it is among those that take turns.
    """

    def __init__(
        self,
        streams: RowStreams,
        task: Task,
        open_source: OpenSource,
        complete: Callable[[Task, Any], None],
    ) -> None:
        self.task = task
        self.complete = complete
        self.credit = WINDOW
        self.holds = self.answered = self.stopped = self.in_turn = False
        self._streams = streams
        self.source = open_source(task, self._ready)

    def _ready(self) -> None:
        self.holds = self.answered = True
        self._streams.changed(self)


class RowStreams:
    """The streams of a worker; a push producer (`IPushProducer`) of the pipe to the pool.

    Args:
        reactor: The worker's reactor.
        transport: The pipe to the pool.
    """

    def __init__(self, reactor: Any, transport: Any) -> None:
        self._reactor = reactor
        self._transport = transport
        self._streams: dict[int, _Stream] = {}
        self._turns: deque[_Stream] = deque()
        self._producing = False
        self._paused = False
        self._turn_due = False

    def start(
        self, open_source: OpenSource, task: Task, complete: Callable[[Task, Any], None]
    ) -> None:
        """Start a stream.

        Args:
            open_source: Makes its source.
            task: The operation.
            complete: Called once with the task and the map that comes after the rows, or an
                exception.

        Raises:
            What the source raises if it cannot start.
        """
        stream = _Stream(self, task, open_source, complete)
        stream.source.start()
        self._streams[task.id] = stream

    def paid(self, number: int, size: int) -> None:
        """The application has used up so many bytes of a stream, or wants it to `STOP`."""
        stream = self._streams.get(number)
        if stream is None or stream.stopped:
            return
        if size == STOP:
            stream.stopped = True
            stream.source.stop()
        stream.credit += size
        self.changed(stream)

    def close_cluster(self, cluster: int) -> None:
        """The cluster is to be closed: end the streams that are left."""
        for stream in list(self._streams.values()):
            if stream.task.place.cluster == cluster:
                stream.stopped = True
                stream.source.stop()
                self._end(stream, RequestCanceledException("the cluster was closed"))

    def changed(self, stream: _Stream) -> None:
        """Let a stream take its turn, if it has a use for one."""
        if stream.stopped and stream.answered:
            self._end(stream, {})
        elif stream.holds and stream.credit > 0 and not stream.stopped and not stream.in_turn:
            stream.in_turn = True
            self._turns.append(stream)
            self._next_turn()

    def _end(self, stream: _Stream, outcome: dict[str, Any] | Exception) -> None:
        if self._streams.pop(stream.task.id, None) is not None:
            stream.complete(stream.task, outcome)

    def _next_turn(self) -> None:
        if self._turns and not self._producing:
            # Only for as long as there is something to send: the pipe waits for its producer
            # before it closes.
            self._producing, self._paused = True, False
            self._transport.registerProducer(self, True)
        if self._turns and not self._paused and not self._turn_due:
            self._turn_due = True
            self._reactor.callLater(0, self._take_turn)
        elif not self._turns and self._producing:
            self._producing = False
            self._transport.unregisterProducer()

    def _take_turn(self) -> None:
        self._turn_due = False
        if self._turns and not self._paused:
            stream = self._turns.popleft()
            stream.in_turn = False
            if not stream.stopped:
                self._bite(stream)
                self.changed(stream)
        self._next_turn()

    def _bite(self, stream: _Stream) -> None:
        try:
            taken = stream.source.take()
        except Exception as error:  # the caller has to hear of it, whatever it is
            stream.holds = False
            self._end(stream, error)
            return
        if isinstance(taken, dict):
            stream.holds = False
            self._end(stream, taken)
        elif taken:
            payload = wire.encode((stream.task.id, taken))
            stream.credit -= len(payload)
            self._transport.write(encode_box(ROWS, payload))
        else:
            stream.holds = False

    # -- from the pipe --------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The pipe is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The pipe has room again."""
        self._paused = False
        self._next_turn()

    def stopProducing(self) -> None:
        """The pipe is gone, and with it this process."""
        self._paused = True
