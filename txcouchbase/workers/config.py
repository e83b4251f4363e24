"""`PoolConfig`: how a pool of workers behaves, validated."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

__all__ = ["PoolConfig"]

_MIB = 1024 * 1024
_CHOICES = {"client": ("raw", "sync"), "rows": ("http", "sdk")}


@dataclass(frozen=True)
class PoolConfig:
    """How a pool of workers behaves. Every value is checked when the object is made.

    A value of the wrong type or out of range raises `ValueError`, which names the field.
    Limits for recycling and `idle_timeout` are looked at with each heartbeat.

    Attributes:
        min_workers: Worker processes that are always there (processes, at least 1).
        max_workers: Worker processes at most (processes, not below `min_workers`). One more is
            started when operations have waited for workers to read them for most of a second,
            and besides while one is recycled.
        max_pending: Operations that wait or are in flight, over all workers (operations);
            one more is refused with `PoolOverloaded`. Jobs have a count of their own, with the
            same limits.
        max_pending_bytes: Keys and values of these operations together (bytes), or the
            pickled functions and arguments of these jobs. A single larger one is admitted
            while nothing else is pending.
        batch_max_ops: Operations in one batch to a worker at most (operations).
        batch_max_bytes: Keys and values in one batch at most (bytes); one larger operation
            makes a batch of its own.
        client: ``"raw"``, key-value operations through the SDK's binding with callbacks, or
            ``"sync"``, through its public API in threads.
        rows: Where rows of queries, analytics, searches and views come from: ``"http"`` asks the
            service itself and hands rows on as they come, ``"sdk"`` has the SDK gather the whole
            answer first.
        max_in_flight: Operations on one worker at most (operations); others wait.
        max_in_flight_bytes: Keys and values on one worker at most (bytes).
        worker_threads: Threads of a worker for blocking calls, for each cluster (threads).
        idle_timeout: After so long without work, a worker above `min_workers` ends (seconds).
        heartbeat_interval: How often a worker is asked for a sign of life (seconds).
        heartbeat_timeout: A worker silent for so long is killed (seconds), unless it runs a
            job.
        start_timeout: A worker that is not ready after so long is killed (seconds).
        drain_timeout: How long `close()` waits for operations in flight and for running jobs
            (seconds). A worker that is recycled, or one too many, waits for its operations as
            long as somebody waits for them, and so long for others.
        kill_timeout: How long a worker may take to end after each step of the ladder
            ask, TERM, KILL, and to give a sign of life when the pool closes (seconds).
        recycle_after_ops: Replace a worker after so many operations, None for never; job workers,
            too, after so many jobs. This and the
            age are shortened by up to a tenth, so that workers do not all end together. The
            replacement is connected before the old worker gets no more operations; one at a time.
        recycle_after_age: Replace a worker after so long (seconds), None for never.
        recycle_after_rss: Replace a worker above so much resident memory (bytes), None for never;
            where that is less than a quarter above what a new worker needs, this quarter counts.
        restart_backoff: First delay, longest delay (seconds) and jitter (a fraction) between
            starts of a worker that dies before it is ready.
        job_workers: Processes for the application's own functions (processes), all started
            by the first job; by default one for each core. Each runs one job at a time.
        job_grace: How long a job may go on after it was cancelled or out of time, before its
            process is killed and replaced (seconds).
        crash_loop_after: So many deaths in a row before being ready are a crash loop (deaths).
        max_streams: Queries on one worker whose rows have not all been sent, for example since
            nobody reads them (streams); others wait.
    """

    min_workers: int = 2
    max_workers: int = 2
    max_pending: int = 10_000
    max_pending_bytes: int = 256 * _MIB
    batch_max_ops: int = 128
    batch_max_bytes: int = 256 * 1024
    client: str = "raw"
    rows: str = "http"
    max_in_flight: int = 1_024
    max_in_flight_bytes: int = 32 * _MIB
    worker_threads: int = 8
    idle_timeout: float = 60.0
    heartbeat_interval: float = 2.0
    heartbeat_timeout: float = 10.0
    start_timeout: float = 30.0
    drain_timeout: float = 10.0
    kill_timeout: float = 2.0
    recycle_after_ops: int | None = None
    recycle_after_age: float | None = None
    recycle_after_rss: int | None = None
    restart_backoff: tuple[float, float, float] = (0.1, 30.0, 0.2)
    job_workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    job_grace: float = 5.0
    crash_loop_after: int = 5
    max_streams: int = 64

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name, kind in hints.items():
            object.__setattr__(self, name, _checked(name, kind, getattr(self, name)))
        if self.max_workers < self.min_workers:
            raise ValueError(
                f"max_workers must not be below min_workers: give both, not {self.max_workers} "
                f"(2 if none is given) and {self.min_workers}"
            )
        if self.heartbeat_timeout <= self.heartbeat_interval:
            raise ValueError(
                "heartbeat_timeout must be longer than heartbeat_interval "
                f"({self.heartbeat_interval} s), not {self.heartbeat_timeout} s"
            )

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> PoolConfig:
        """Make a configuration from a mapping of field names, e.g. a section of a file.

        Numbers may be given as text, ``"none"`` or ``""`` stands for None, and
        `restart_backoff` may be three numbers with commas between them.

        Raises:
            ValueError: A name is unknown or a value wrong; the text names it.
        """
        hints = get_type_hints(cls)
        unknown = sorted(set(settings) - set(hints))
        if unknown:
            raise ValueError(
                f"PoolConfig has no field {', '.join(unknown)}; its fields are {', '.join(hints)}"
            )
        return cls(**{name: _parsed(name, hints[name], v) for name, v in settings.items()})

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, prefix: str = "TXCOUCHBASE_"
    ) -> PoolConfig:
        """Make a configuration from environment variables such as ``TXCOUCHBASE_MIN_WORKERS``.

        Args:
            environ: The variables; `os.environ` if None.
            prefix: What a variable's name starts with.

        Raises:
            ValueError: A variable with the prefix names no field, or its value is wrong.
        """
        environ = os.environ if environ is None else environ
        settings = {
            name[len(prefix) :].lower(): value
            for name, value in environ.items()
            if name.startswith(prefix)
        }
        return cls.from_mapping(settings)


def _checked(name: str, kind: Any, value: Any) -> Any:
    if name == "restart_backoff":
        return _checked_backoff(value)
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} must be one of {_CHOICES[name]}, not {value!r}")
        return value
    if kind in (int | None, float | None):
        if value is None:
            return None
        kind = int if kind == int | None else float
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def _checked_backoff(value: Any) -> tuple[float, float, float]:
    message = (
        "restart_backoff must be three numbers: first delay and longest delay (seconds, above 0 "
        f"and not falling) and jitter (from 0 to 1), not {value!r}"
    )
    try:
        first, longest, jitter = (float(part) for part in value)
    except (TypeError, ValueError):
        raise ValueError(message) from None
    if not (0 < first <= longest < 1e9 and 0 <= jitter <= 1):
        raise ValueError(message)
    return first, longest, jitter


def _parsed(name: str, kind: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if name in _CHOICES:
        return text
    if kind in (int | None, float | None):
        if text.lower() in ("", "none"):
            return None
        kind = int if kind == int | None else float
    if name == "restart_backoff":
        return tuple(text.split(","))
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {value!r}") from None
