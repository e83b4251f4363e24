"""The pool of worker processes: its configuration and the pool itself."""

from txcouchbase.workers.brain import WorkerState
from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.pool import WorkerPool
from txcouchbase.workers.view import WorkerView

__all__ = ["PoolConfig", "WorkerPool", "WorkerState", "WorkerView"]
