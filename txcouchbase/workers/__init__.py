"""The pool of worker processes: its configuration and the pool itself."""

from txcouchbase.workers.brain import WorkerState
from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.pool import WorkerPool, WorkerView

__all__ = ["PoolConfig", "WorkerPool", "WorkerState", "WorkerView"]
