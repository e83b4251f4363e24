"""The load besides that on documents: queries, streams of rows, and jobs."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from datetime import timedelta
from random import Random
from typing import Any

from couchbase import subdocument
from twisted.internet.defer import Deferred, inlineCallbacks

from tests.chaos.calls import Book, Call, Fate, Finding, Violation
from tests.chaos.jobs import increase, write_number
from tests.chaos.load import DEFAULT_TIMEOUT, Load, Place, end_query
from tests.chaos.model import Ledger, TallyModel

__all__ = ["JobLoad", "QueryLoad", "TallyLoad"]

_TIMEOUT = 5.0
"""That of queries (seconds)."""

_READING = 60.0
"""How long a stream may take to be read, besides (seconds)."""


class QueryLoad(Load):
    """Queries whose rows are numbers from 0: none may lack, be twice or be elsewhere."""

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self.stopping:
            count = self.random.choice((0, 1, 10, 1000, 5000))
            read_only = self.random.random() < 0.5
            if self.random.random() < 0.5:
                call = self._query(count, read_only)
            else:
                call = self._stream(count, read_only)
            self.cancel_some(call, None)
            yield self.book.when_over([call])
            yield self.pause(self.random.choice((0.0, 0.05, 0.2)))

    def _arguments(self, count: int, read_only: bool) -> dict[str, Any]:
        return {
            "statement": f"SELECT RAW i FROM ARRAY_RANGE(0, {count}) AS i",
            "read_only": read_only,
            "timeout": timedelta(seconds=_TIMEOUT),
        }

    def _query(self, count: int, read_only: bool) -> Call:
        call = self.book.open("query", f"{count} rows", _TIMEOUT)
        begun = self.place.deferred.query(**self._arguments(count, read_only))
        call.cancel = begun.cancel

        def ended(result: Any) -> None:
            self._compare(call, list(result.rows()), count)
            self.book.end(call, Fate.DONE)

        begun.addCallbacks(ended, lambda failure: end_query(self.book, call, failure.value))
        return call

    def _stream(self, count: int, read_only: bool) -> Call:
        call = self.book.open("query_stream", f"{count} rows", _TIMEOUT + _READING)
        leave_after = self.random.randrange(2000) if self.random.random() < 0.2 else None
        reading = Deferred.fromCoroutine(self._read(call, count, read_only, leave_after))
        call.cancel = reading.cancel
        reading.addCallbacks(
            lambda _: self.book.end(call, Fate.DONE),
            lambda failure: end_query(self.book, call, failure.value),
        )
        return call

    def _read(
        self, call: Call, count: int, read_only: bool, leave_after: int | None
    ) -> Coroutine[Any, Any, None]:
        async def read() -> None:
            stream = self.place.deferred.query_stream(**self._arguments(count, read_only))
            expected = 0
            async for row in stream:
                if row != expected:
                    self._report(call, f"{row} instead of {expected}")
                    break
                expected += 1
                if expected == leave_after:
                    break
            else:
                if expected != count:
                    self._report(call, f"{expected} rows instead of {count}")
            await stream.aclose()

        return read()

    def _compare(self, call: Call, rows: list[Any], count: int) -> None:
        if rows != list(range(count)):
            self._report(call, f"{len(rows)} rows: {str(rows)[:200]}")

    def _report(self, call: Call, what: str) -> None:
        self.book.report([Finding(Violation.ROWS, call.key, what, (str(call),))])


class TallyLoad(Load):
    """Queries, jobs and changes inside of a document: each once, or not at all."""

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self.stopping:
            model = TallyModel(self.place.key("tally"))
            made = self.book.open("insert", model.key, DEFAULT_TIMEOUT)
            self.book.follow(made, self.place.collection.insert(model.key, {"n": 0}))
            yield self.book.when_over([made])
            if made.fate is not Fate.DONE:
                yield self.pause(0.1)
                continue
            while not self.stopping and not model.tired and len(model.calls) < 200:
                yield self._round(model)
            yield self.read_at_last(model)

    @inlineCallbacks
    def _round(self, model: TallyModel) -> Generator[Deferred[Any], Any, None]:
        calls = [self._increase(model) for _ in range(self.random.randint(1, 4))]
        for call in calls:
            self.cancel_some(call, calls[0] if call is not calls[0] else None)
        yield self.book.when_over(calls)
        yield self.read_at_last(model)
        yield self.pause(self.random.choice((0.0, 0.1)))

    def _increase(self, model: TallyModel) -> Call:
        name = self.random.choice(("update", "update", "mutate_in", "run_in_worker"))
        timeout = DEFAULT_TIMEOUT if name == "mutate_in" else _TIMEOUT
        call = self.book.open(name, model.key, timeout)
        model.calls.append(call)
        begun: Deferred[Any]
        if name == "mutate_in":
            steps = [subdocument.increment("n", 1)]
            begun = self.place.collection.mutate_in(model.key, steps)
        elif name == "run_in_worker":
            begun = self.place.deferred.run_in_worker(
                increase, self.place.bucket, model.key, timeout=timeout
            )
        else:
            begun = self.place.deferred.query(
                f"UPDATE `{self.place.bucket}` USE KEYS $1 SET n = n + 1",
                positional_parameters=[model.key],
                timeout=timedelta(seconds=timeout),
            )
        call.cancel = begun.cancel
        begun.addCallbacks(
            lambda _: self.book.end(call, Fate.DONE),
            lambda failure: end_query(self.book, call, failure.value),
        )
        return call


class JobLoad(Load):
    """Jobs that leave a trace, so that it shows how many times each ran.

    Args:
        ledger: Keeps account of them.
        path: The file of their traces.
    """

    def __init__(self, place: Place, book: Book, random: Random, ledger: Ledger, path: str) -> None:
        super().__init__(place, book, random)
        self._ledger = ledger
        self._path = path

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self.stopping:
            calls = [self._job() for _ in range(self.random.randint(1, 3))]
            for call in calls:
                self.cancel_some(call, None)
            yield self.book.when_over(calls)
            yield self.pause(self.random.uniform(0.0, 1.0))

    def _job(self) -> Call:
        timeout = self.random.choice((10.0, 10.0, 10.0, 0.1))
        seconds = self.random.choice((0.0, 0.0, 0.01, 0.3))
        call = self.book.open("run", "jobs", timeout)
        self._ledger.calls.append(call)
        pool = self.place.deferred.pool
        begun = pool.run(write_number, self._path, call.number, seconds, timeout=timeout)
        self.book.follow(call, begun)
        return call
