"""What one run of a statement knows: parameters, time, and what it has counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from txcouchbase.testing.query.errors import QueryError
from txcouchbase.testing.query.transaction_data import Settings

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState
    from txcouchbase.testing.management.accounts import Account
    from txcouchbase.testing.query.sources import Source
    from txcouchbase.testing.query.syntax import KeyspacePath
    from txcouchbase.testing.query.transactions import Transaction

__all__ = ["LARGEST", "Evaluator", "Execution", "Pace", "Prefetched", "Row"]

Row = tuple[Any, ...]
"""Values by their places; `scope.Scope` knows which is where."""

Evaluator = Callable[[Row], Any]
"""An expression, compiled."""

SMALLEST, FIRST, LARGEST = 1, 16, 512
"""Rows of a batch: at least, at first, and at most."""

SLOW, FAST = 0.003, 0.0008
"""Seconds of a step after which batches become smaller, and below which they become larger."""

LONGEST_STEP = 2.0
"""Seconds after which a step that nothing can interrupt is given up."""

MOST_KEPT = 2_000_000
"""Rows that sorting, grouping, DISTINCT and subqueries keep; the quota of memory of a server."""

_CHECK_EVERY = 1024
"""Elements of a loop between two looks at the clock."""


class Pace:
    """How many rows a step of the pipeline handles at once.

    Others share the reactor with the query, so a step should take about a millisecond or two; the
    first one is small, so that the first row leaves soon.
    """

    def __init__(self) -> None:
        self.size = FIRST
        self._started = perf_counter()

    def lasted(self) -> float:
        """Seconds since the present step began."""
        return perf_counter() - self._started

    def steps(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, with a look at how long each of them took."""
        while True:
            self._started = perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            took = self.lasted()
            if took > SLOW:
                self.size = max(self.size // 4, SMALLEST)
            elif took < FAST:
                self.size = min(self.size * 2, LARGEST)
            yield batch


class Prefetched:
    """The rows of a subquery that uses nothing from outside: it runs once.

    :param batches: starts the subquery.
    :param keep: is told how many rows are kept.
    """

    def __init__(
        self, batches: Callable[[], Iterator[list[Any]]], keep: Callable[[int], None]
    ) -> None:
        self._start = batches
        self._keep = keep
        self._running: Iterator[list[Any]] | None = None
        self._rows: list[Any] = []
        self._done = False

    def steps(self) -> Iterator[list[Any]]:
        """Run it step by step; each step gives an empty batch."""
        if self._running is None:
            self._running = self._start()
        for batch in self._running:
            self._rows.extend(batch)
            self._keep(len(batch))
            yield []
        self._done = True

    def rows(self) -> list[Any]:
        """All its rows."""
        if not self._done:
            for _ in self.steps():
                pass
        return self._rows


@dataclass
class Execution:
    """One run of one statement.

    :param positional: ``$1`` and on, or the values for ``?``.
    :param named: by their names without the dollar sign.
    :param context: the bucket and scope to which names of collections are relative.
    :param now: when it started, seconds since the epoch.
    :param deadline: when it must have ended, on the state's clock; None for never.
    :param settings: what the request says of transactions.
    :param transaction: the one that the statement belongs to.
    :param sources: what a path in FROM reads, where it names no keyspace; None where it does.
    """

    state: ClusterState
    account: Account | None = None
    positional: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)
    context: tuple[str, str] | None = None
    now: float = 0.0
    deadline: float | None = None
    timeout: float = 0.0
    readonly: bool = False
    preserve_expiry: bool = False
    settings: Settings = field(default_factory=Settings)
    transaction: Transaction | None = None
    sources: Callable[[KeyspacePath], Source] | None = None
    pace: Pace = field(default_factory=Pace)
    prefetch: list[Prefetched] = field(default_factory=list)
    mutations: int = 0
    sorted_rows: int = 0
    warnings: list[dict[str, Any]] = field(default_factory=list)
    errors: list[QueryError] = field(default_factory=list)
    _ticks: int = 0
    _kept: int = 0

    def check_time(self) -> None:
        """See whether there is time left.

        :raises QueryError: 1080.
        """
        if self.deadline is not None and self.state.seconds() >= self.deadline:
            raise QueryError(1080, f"Timeout {self.timeout:g}s exceeded")

    def check_step(self) -> None:
        """See that one step, in which nobody else runs, does not take too long.

        :raises QueryError: 1080 after the end of the request, 5010 for a step without end.
        """
        self.check_time()
        if self.pace.lasted() > LONGEST_STEP:
            raise QueryError(
                5010,
                "Error evaluating projection - cause: a correlated subquery or a loop takes longer "
                f"than the {LONGEST_STEP:g} seconds that the embedded node gives to one row.",
            )

    def tick(self) -> None:
        """Say that a loop has gone on by one element.

        :raises QueryError: as `check_step`.
        """
        self._ticks += 1
        if self._ticks >= _CHECK_EVERY:
            self._ticks = 0
            self.check_step()

    def keep(self, count: int) -> None:
        """Say that so many more rows or values are kept until the statement ends.

        :raises QueryError: 5500 if they are too many.
        """
        self.check_size(count)
        self._kept += count

    def check_size(self, count: int) -> None:
        """See whether so many more could be kept.

        :raises QueryError: 5500 if they are too many.
        """
        if self._kept + count > MOST_KEPT:
            raise QueryError(5500, "Request has exceeded memory quota")

    def parameter(self, key: str | int) -> Any:
        """The value of a parameter.

        :raises QueryError: 5010 if none was given.
        """
        if isinstance(key, int):
            if 0 < key <= len(self.positional):
                return self.positional[key - 1]
            if str(key) in self.named:
                return self.named[str(key)]
            raise QueryError(5010, f"No value for positional parameter ${key}.")
        if key in self.named:
            return self.named[key]
        raise QueryError(5010, f"No value for named parameter ${key}.")
