"""`Life`: what a supervisor remembers of one worker."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from twisted.logger import Logger

from txcouchbase.workers.events import EndCause
from txcouchbase.workers.waiting import Waiters

if TYPE_CHECKING:
    from txcouchbase.workers.config import PoolConfig
    from txcouchbase.workers.lane import Lane

__all__ = ["Life"]

_log = Logger()

_JITTER = 0.1
"""Up to this share before its limit a worker is worn out, so that those that started together do
not all end together."""

_GROWTH = 1.25
"""A limit on memory counts from this multiple of what the worker had when it was ready, since a new
one would be no smaller."""


class Life:
    """The life of one worker, from its process's start to its end.

    Args:
        config: When it is worn out.
        now: When it starts (seconds).
        random: Decides how much before its limits.

    Attributes:
        started: When it started (seconds).
        idle_since: When it was last seen to work, or got ready (seconds).
        drains_since: When it began to drain, if it does (seconds).
        ends: Whether it was asked to end.
        gone: Who waits for its end.
    """

    def __init__(self, config: PoolConfig, now: float, random: Random) -> None:
        self._share = 1.0 - _JITTER * random.random()
        self._config = config
        self._operations = 0
        self._rss_limit: float | None = None
        self.started = now
        self.idle_since = now
        self.drains_since = now
        self.ends = False
        self.gone = Waiters()

    def ready(self, now: float, rss: int) -> None:
        """The worker can be given work, and has so much resident memory (bytes)."""
        self.idle_since = now
        limit = self._config.recycle_after_rss
        if limit is None:
            return
        least = int(rss * _GROWTH)
        self._rss_limit = max(limit, least)
        if limit < least:
            _log.warn(
                "recycle_after_rss is {limit} bytes, but a new worker has {rss} already: "
                "this one is recycled above {least}",
                limit=limit,
                rss=rss,
                least=least,
            )

    def look(self, now: float, lane: Lane) -> EndCause | None:
        """Look at a ready worker, at each heartbeat.

        Returns:
            Why it is to be recycled, None if it is not.
        """
        config = self._config
        if lane.load or lane.operations != self._operations:
            self._operations = lane.operations
            self.idle_since = now
        if (
            config.recycle_after_ops is not None
            and lane.operations >= config.recycle_after_ops * self._share
        ):
            return EndCause.RECYCLED_OPS
        if (
            config.recycle_after_age is not None
            and now - self.started >= config.recycle_after_age * self._share
        ):
            return EndCause.RECYCLED_AGE
        if self._rss_limit is not None and lane.rss >= self._rss_limit:
            return EndCause.RECYCLED_RSS
        return None
