"""Compositions: several operations on one document that are one call for the application.

Each is written once, as a coroutine over Deferreds, whichever form its answer is delivered in. The
operation that it starts with is started before the coroutine runs, so that a wrong argument
raises at the call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import couchbase.subdocument as subdocument
from couchbase.exceptions import (
    CasMismatchException,
    DocumentExistsException,
    DocumentNotFoundException,
    InvalidArgumentException,
    PathExistsException,
    PathNotFoundException,
    QueueEmpty,
)
from couchbase.result import MutateInResult, OperationResult
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txcouchbase.amp.errors import timeout_error
from txcouchbase.amp.operations import OPERATIONS
from txcouchbase.arguments import RETRY, retry_refused
from txcouchbase.results import AsyncResult
from txcouchbase.workers.operation import check_name

if TYPE_CHECKING:
    from txcouchbase.base_collection import BaseCollection
    from txcouchbase.keyvalue import KeyValueOperation

__all__ = [
    "LAST",
    "READING",
    "Attempts",
    "Composition",
    "Started",
    "Steps",
    "as_async_result",
    "as_deferred",
    "changed_at",
    "done",
    "gone",
    "if_new",
    "is_there",
    "operation_result",
    "popped",
    "taken_out",
    "value_of",
    "was_new",
    "whole",
]

T = TypeVar("T")

Started = Coroutine[Any, Any, Any]
"""Awaits the Result of an operation that was started."""

Composition = Callable[[str, Coroutine[Any, Any, Any], Any], Any]
"""Runs a coroutine, of that name, with the reactor; returns what its caller gets."""

_ATTEMPTS_TIME = 10.0
"""How long something is tried again, if the caller does not say (seconds); as in the SDK."""

LAST = subdocument.get("[-1]")
REMOVE_LAST = subdocument.remove("[-1]")

READING = ("timeout", "transcoder")
"""Options of the caller that a lookup or a get before the change has."""

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5
"""Between two attempts (seconds)."""


def as_deferred(name: str, steps: Coroutine[Any, Any, T], reactor: Any) -> Deferred[T]:
    """Run a composition; the Deferred, when it is cancelled, cancels what is under way."""
    return Deferred.fromCoroutine(steps)


def as_async_result(name: str, steps: Coroutine[Any, Any, Any], reactor: Any) -> AsyncResult[Any]:
    """Run a composition; the `AsyncResult`, when it is cancelled, cancels what is under way."""
    running = _RawComposition(name)
    result = AsyncResult[Any](running, reactor)
    running.start(steps, result)
    return result


class _RawComposition:
    """What an `AsyncResult` of a composition waits for."""

    def __init__(self, name: str) -> None:
        self.kind = replace(OPERATIONS["mutate_in"], name=name)
        self._wanted = True

    def start(self, steps: Coroutine[Any, Any, Any], result: AsyncResult[Any]) -> None:
        """Run the steps, and give their outcome to the result."""

        def succeeded(value: Any) -> None:
            if self._wanted:
                result.succeeded(value)

        def failed(failure: Failure) -> None:
            if self._wanted:
                assert failure.value is not None
                result.failed(failure.value)

        self._deferred = Deferred.fromCoroutine(steps)
        self._deferred.addCallbacks(succeeded, failed)

    def cancel(self) -> None:
        """The caller no longer wants the answer."""
        self._wanted = False
        self._deferred.cancel()


def _end(now: float, timeout: object) -> float | None:
    # What is no timedelta is refused by the first operation.
    return now + timeout.total_seconds() if isinstance(timeout, timedelta) else None


class Steps:
    """The operations of one composition.

    A missing document is always an error of a step, whatever `quiet` the collection has, and
    no step that changes something is sent twice: whether all may be done again is up to the
    caller. Other operations on the document can come between two steps.

    Args:
        collection: The collection.
        name: The method that is composed, for messages.
        key: The document's key.
        options: The caller's options of the steps. A `timeout` among them is for all of them
            together; else each step has its own default.
        empty: Makes the document that is stored where there is none, None to store none.

    Raises:
        InvalidArgumentException: There is an option that a composition does not have.
    """

    def __init__(
        self,
        collection: BaseCollection,
        name: str,
        key: str,
        options: dict[str, Any],
        empty: Callable[[], Any] | None = None,
    ) -> None:
        if RETRY in options:
            raise retry_refused(name)
        if "quiet" in options:
            raise InvalidArgumentException(f"{name} has no option quiet")
        self._collection = collection
        self._key = key
        self._options = options
        self._empty = empty
        self._seconds = collection._pool.reactor.seconds
        self._ends = _end(self._seconds(), options.get("timeout"))

    def start(
        self, name: str, spec: Any = None, *, only: tuple[str, ...] = (), **more: Any
    ) -> Deferred[Any]:
        """Start an operation; a Deferred of its Result. Takes what `operation` takes."""
        return self.operation(name, spec, only=only, **more).start(self._collection._pool)

    def operation(
        self, name: str, spec: Any = None, *, only: tuple[str, ...] = (), **more: Any
    ) -> KeyValueOperation:
        """An operation, not started yet.

        Args:
            name: The operation.
            spec: What it does inside of the document, None for the whole one.
            only: Which of the caller's options it has, all of them if empty.
            more: Further options.
        """
        options = {
            option: value for option, value in self._options.items() if not only or option in only
        }
        if spec is not None:
            options["specs"] = [spec]
        return self._made(name, {**options, **more})

    def step(self, name: str, spec: Any = None, *, only: tuple[str, ...] = ()) -> Started:
        """Start an operation, as `start` does. Where there is no document, and one is to be made,
        it is started again on a new one."""
        return self._on_document(self.start(name, spec, only=only), name, spec, only)

    async def _on_document(
        self, first: Deferred[Any], name: str, spec: Any, only: tuple[str, ...]
    ) -> Any:
        try:
            return await first
        except DocumentNotFoundException:
            if self._empty is None:
                raise
        try:
            await self._made("insert", {}, self._empty()).start(self._collection._pool)
        except DocumentExistsException:
            pass  # another client was faster
        return await self.start(name, spec, only=only)

    def in_turn(
        self,
        work: Callable[[Started], Coroutine[Any, Any, T]],
        attempts: Attempts,
        name: str,
        spec: Any = None,
    ) -> Coroutine[Any, Any, T]:
        """Do what changes the document by its CAS in its turn.

        All of the pool take turns on a document, in the order of their calls: at the same time
        only one would succeed. A wrong argument raises now.

        Args:
            work: Takes a read of the document that was started, and ends the turn as it ends.
            attempts: Has what to say if the time is over before its turn.
            name: The operation that reads.
            spec: What it reads inside of the document, None for the whole one.
        """
        check_name(self._key)
        self.operation("mutate_in", REMOVE_LAST)
        read = self.operation(name, spec, only=READING)
        pool = self._collection._pool
        place = (self._collection._keyspace.order, self._key)
        first = None
        if pool.turns.is_free(place):
            first = self._on_document(read.start(pool), name, spec, READING)
        turn = pool.turns.take(place)
        if self._ends is not None:
            turn.addTimeout(max(self._ends - self._seconds(), 0), pool.reactor)

        async def when_it_comes() -> T:
            try:
                await turn
            except TimeoutError:
                raise attempts.expired() from None
            try:
                return await work(first or self.step(name, spec, only=READING))
            finally:
                pool.turns.leave(place)

        return when_it_comes()

    def _made(self, name: str, options: dict[str, Any], *value: Any) -> KeyValueOperation:
        if self._ends is not None:
            left = max(self._ends - self._seconds(), 0.001)
            options["timeout"] = timedelta(seconds=left)
        return self._collection._step(name, self._key, options, *value)


class Attempts:
    """Something that is tried again when another client has changed the document.

    Args:
        reactor: Where pauses are made.
        timeout: For how long it is tried, from now on; ten seconds from the first pause on if
            None.
        message: What did not succeed.
    """

    def __init__(self, reactor: Any, timeout: timedelta | None, message: str) -> None:
        self._reactor = reactor
        self._ends = _end(reactor.seconds(), timeout)
        self._message = message
        self._pause = _FIRST_PAUSE

    def expired(self) -> Exception:
        """The exception for when the time is over."""
        return timeout_error(self._message)

    async def pause(self) -> None:
        """Wait before the next attempt.

        Raises:
            UnAmbiguousTimeoutException: The time is over before that.
        """
        now = self._reactor.seconds()
        if self._ends is None:
            self._ends = now + _ATTEMPTS_TIME
        # Not the same for all who meet here, or they would meet again.
        pause = self._pause * random.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if now + pause >= self._ends:
            raise self.expired()
        await deferLater(self._reactor, pause)


# -- what is made of them ------------------------------------------------------------------


async def value_of(started: Started) -> Any:
    """What a path of a lookup has; None if there is none, as in the SDK."""
    return (await started).value[0].get("value")


async def whole(started: Started, read: Callable[[Any], T]) -> T:
    """Something of the whole document."""
    return read((await started).value)


async def done(started: Started) -> None:
    """Wait for it, and give nothing."""
    await started


async def changed_at(started: Started, missing: str) -> None:
    """Wait for a change, and give nothing.

    Args:
        started: A change that was started.
        missing: What to say if there is nothing at its path.

    Raises:
        InvalidArgumentException: There is nothing at its path.
    """
    try:
        await started
    except PathNotFoundException as error:
        raise InvalidArgumentException(missing) from error


def told_of(result: MutateInResult) -> OperationResult:
    """The CAS and the mutation token of a change, as the SDK's class for both."""
    return OperationResult(result.cas, result.mutation_token())


async def operation_result(started: Started, place: Any) -> OperationResult:
    """The CAS and the mutation token of a change.

    Args:
        started: A change that was started.
        place: Where it is in the document.

    Raises:
        IndexError: There is nothing at this place.
    """
    try:
        result = await started
    except PathNotFoundException as error:
        raise IndexError(place) from error
    return told_of(result)


async def if_new(started: Started) -> OperationResult | None:
    """The CAS and the mutation token of an addition, None if what was to be added was there."""
    try:
        return await operation_result(started, None)
    except PathExistsException:
        return None


async def was_new(started: Started) -> bool:
    """Whether what was to be added was not there."""
    return await if_new(started) is not None


async def is_there(started: Started) -> bool:
    """Whether the path of a lookup is there."""
    there: bool = (await started).exists(0)
    return there


async def gone(started: Started) -> None:
    """Wait for it, and give nothing, also if there was no document."""
    try:
        await started
    except DocumentNotFoundException:
        pass


async def popped(steps: Steps, attempts: Attempts, first: Started) -> Any:
    """The last item of a list, which is removed, by its CAS: nobody else gets the same.

    Args:
        steps: The operations.
        attempts: What is done when somebody else was faster.
        first: A lookup of `LAST` that was started.

    Raises:
        QueueEmpty: There is none.
    """
    found = await first
    while True:
        if not found.exists(0):
            raise QueueEmpty("No items to remove from the queue")
        try:
            await steps.start("mutate_in", REMOVE_LAST, cas=found.cas)
        except CasMismatchException:
            await attempts.pause()
            found = await steps.start("lookup_in", LAST, only=READING)
        else:
            return found.value[0].get("value")


async def taken_out(
    steps: Steps, value: Any, attempts: Attempts, first: Started
) -> OperationResult | None:
    """The CAS and the token of removing an item from a list, by its CAS; None if it is not there.

    Args:
        steps: The operations.
        value: The item.
        attempts: What is done when somebody else has changed the list.
        first: A get that was started.
    """
    found = await first
    while True:
        try:
            index = found.value.index(value)
        except ValueError:
            return None
        try:
            result = await steps.start("mutate_in", subdocument.remove(f"[{index}]"), cas=found.cas)
        except CasMismatchException:
            await attempts.pause()
            found = await steps.start("get", only=READING)
        else:
            return told_of(result)
