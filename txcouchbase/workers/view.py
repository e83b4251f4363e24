"""What an application sees of a worker."""

from __future__ import annotations

from txcouchbase.workers.brain import PoolBrain
from txcouchbase.workers.lane import Lane

__all__ = ["WorkerView"]


class WorkerView:
    """What an application sees of a worker.

    Attributes:
        pid: Its process id, None before it was spawned.
        state: Where it is in its life.
        load: Operations queued for it and in flight on it.
    """

    def __init__(self, lane: Lane, brain: PoolBrain) -> None:
        self.pid = lane.pid
        self.state = brain.states[lane.generation]
        self.load = lane.load

    def __repr__(self) -> str:
        return f"<worker pid={self.pid} {self.state.value} load={self.load}>"
