"""`Outlet`: a worker's pipe to the pool, for all who send much on it.

A transport knows one producer; here are two who want to know when the pipe is full: the answers
to operations, and the streams of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Outlet"]


class Outlet:
    """The one producer of the pipe, and a consumer for that of the rows.

    Args:
        transport: The pipe.

    Attributes:
        full: Whether what was written waits for the application to read.
        drained: Called when it no longer does.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._producer: Any = None
        self.full = False
        self.drained: Callable[[], None] | None = None
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send bytes; they are kept while the pipe is full."""
        self._transport.write(data)

    def loseConnection(self) -> None:
        """Close the pipe when everything is written."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    # -- from the rows --------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell a push producer, too, when the pipe is full."""
        self._producer = producer
        if self.full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Tell it no longer."""
        self._producer = None

    # -- from the pipe --------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The pipe is full."""
        self.full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The pipe has room again."""
        self.full = False
        if self._transport.disconnecting:
            # It was closed while it was full, and would wait for its producer for ever.
            self._transport.unregisterProducer()
            return
        if self._producer is not None:
            self._producer.resumeProducing()
        if self.drained is not None:
            self.drained()

    def stopProducing(self) -> None:
        """The pipe is gone, and with it this process."""
        self.full = True
        if self._producer is not None:
            self._producer.stopProducing()
