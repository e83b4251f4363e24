"""The pool of worker processes: its configuration and the pool itself."""

from txcouchbase.workers.brain import WorkerState
from txcouchbase.workers.config import PoolConfig
from txcouchbase.workers.histogram import Histogram
from txcouchbase.workers.pool import WorkerPool
from txcouchbase.workers.stats import PoolStats, WorkerStats
from txcouchbase.workers.view import WorkerView

__all__ = [
    "Histogram",
    "PoolConfig",
    "PoolStats",
    "WorkerPool",
    "WorkerState",
    "WorkerStats",
    "WorkerView",
]
