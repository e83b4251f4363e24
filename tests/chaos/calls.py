"""Calls: what was called, when, and how it ended, once."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from couchbase.exceptions import (
    AmbiguousTimeoutException,
    CouchbaseException,
    DocumentExistsException,
    DocumentLockedException,
    DocumentNotFoundException,
    RequestCanceledException,
    TemporaryFailException,
    UnAmbiguousTimeoutException,
)
from twisted.internet.defer import CancelledError, Deferred

from txcouchbase.exceptions import PoolClosed, PoolOverloaded, WorkerLost, WorkerStartFailed
from txcouchbase.results import AsyncResult

__all__ = [
    "NEVER",
    "Book",
    "Call",
    "Fate",
    "Finding",
    "Violation",
    "fate_of",
    "query_fate",
]

NEVER = 30.0
"""So long after its time a call that has not ended never will (seconds). Generous: the process
competes with its own workers for the machine, and some of them are stopped."""


class Fate(enum.Enum):
    """How a call ended."""

    PENDING = "pending"
    DONE = "done"
    MISSING = "missing"
    """There was no document."""
    EXISTS = "exists"
    """There was a document."""
    REFUSED = "refused"
    """It failed and was not applied."""
    AMBIGUOUS = "ambiguous"
    """It may have been applied, or will be, once or not at all."""


class Violation(enum.Enum):
    """What must not happen."""

    LOST = "an acknowledged write is lost"
    TWICE = "a write was applied twice"
    ORDER = "operations on one key were reordered"
    DENIED = "a write that failed for certain was applied"
    ALIEN = "something was seen that nobody wrote"
    ROWS = "rows are missing, twice or in the wrong order"
    FIRED_TWICE = "a call ended twice"
    NEVER_FIRED = "a call did not end"
    UNEXPECTED = "a call ended with an error that no fault explains"
    WORKER_LOST = "a worker ended that nobody had struck"
    NOT_WHOLE = "the pool has not the workers that it should have"
    LOGGED = "a failure was logged"
    LEFT_BEHIND = "something is left after the close"
    MEMORY = "resident memory grew"


@dataclass(frozen=True)
class Finding:
    """One violation.

    Attributes:
        violation: What kind.
        key: The document's key, or what else it is about.
        what: What was seen and what was expected.
        history: The calls that lead to it, one a line.
    """

    violation: Violation
    key: str
    what: str
    history: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.violation.name} {self.key}: {self.what}"]
        return "\n".join([*lines, *(f"    {line}" for line in self.history)])


@dataclass(eq=False, slots=True)
class Call:
    """One call on one key.

    Attributes:
        number: It is the only one with this number; what a write writes.
        name: The operation.
        key: The document's key, or what else it is about.
        called: When it was called, as a number that grows with each event.
        due: When it has to have ended (seconds of the monotonic clock).
        repeats: Whether the pool may send it twice (`retry_ambiguous`).
        fate: How it ended.
        value: What a read has read.
        ended: When it ended, as `called`.
        error: What it ended with, if that was an error.
        fired: How many times it ended.
        cancel: Gives it up.
        then: What to do when it has ended.
        unsent: Whether it was cancelled before anything can have been sent.
    """

    number: int
    name: str
    key: str
    called: int
    due: float
    repeats: bool = False
    fate: Fate = Fate.PENDING
    value: Any = None
    ended: int = 0
    error: BaseException | None = None
    fired: int = 0
    cancel: Callable[[], None] | None = None
    then: list[Callable[[], None]] = field(default_factory=list)
    unsent: bool = False

    def __str__(self) -> str:
        error = f" ({type(self.error).__name__})" if self.error is not None else ""
        value = f" = {self.value!r}"[:200] if self.value is not None else ""
        repeats = ", retry_ambiguous" if self.repeats else ""
        return (
            f"[{self.called}, {self.ended}] {self.name} {self.number}{repeats}: "
            f"{self.fate.value}{value}{error}"
        )


def fate_of(error: BaseException) -> Fate | None:
    """How a call on a document ended that failed; None for an error that no fault explains."""
    if isinstance(error, WorkerLost):
        return Fate.AMBIGUOUS if error.ambiguous else Fate.REFUSED
    if isinstance(error, (TemporaryFailException, DocumentLockedException)):
        # The SDK calls so whatever ended a call that the server had refused so before, also a
        # timeout while it was sent again.
        code = error.error_code
        return Fate.AMBIGUOUS if code in (_AMBIGUOUS_TIMEOUT, _CANCELED) else Fate.REFUSED
    for kinds, fate in _FATES:
        if isinstance(error, kinds):
            return fate
    return None


_CANCELED = 2
_AMBIGUOUS_TIMEOUT = 13
"""Codes of the SDK's errors."""


_FATES: tuple[tuple[tuple[type[BaseException], ...], Fate], ...] = (
    ((DocumentNotFoundException,), Fate.MISSING),
    ((DocumentExistsException,), Fate.EXISTS),
    (
        (AmbiguousTimeoutException, RequestCanceledException, CancelledError),
        Fate.AMBIGUOUS,
    ),
    (
        (UnAmbiguousTimeoutException, PoolOverloaded, PoolClosed, WorkerStartFailed),
        Fate.REFUSED,
    ),
)


@dataclass
class Book:
    """All calls: those that are pending, and figures on the others.

    Attributes:
        now: The clock (seconds).
        events: How many calls began or ended so far.
        pending: Those that have not ended, by number.
        outcomes: How many ended how, by operation and fate or error.
        findings: What was found, the first hundred.
        found: How much was found.
    """

    now: Callable[[], float] = time.monotonic
    events: int = 0
    pending: dict[int, Call] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    _last: int = 0

    def open(self, name: str, key: str, timeout: float, *, repeats: bool = False) -> Call:
        """A call is about to be made.

        Args:
            name: The operation.
            key: The document's key, or what else it is about.
            timeout: Its time (seconds).
            repeats: Whether the pool may send it twice.
        """
        self._last += 1
        self.events += 1
        due = self.now() + timeout + NEVER
        call = Call(self._last, name, key, self.events, due, repeats)
        self.pending[call.number] = call
        return call

    def end(
        self, call: Call, fate: Fate, value: Any = None, error: BaseException | None = None
    ) -> None:
        """A call ended."""
        call.fired += 1
        self.events += 1
        if call.fired > 1:
            what = f"again as {fate.value} with {error or value!r}"
            self.report([Finding(Violation.FIRED_TWICE, call.key, what, (str(call),))])
            return
        call.fate = fate
        call.value = value
        # The traceback would keep frames, and with them much else.
        call.error = error.with_traceback(None) if error is not None else None
        call.ended = self.events
        call.cancel = None
        self.pending.pop(call.number, None)
        label = fate.value if error is None else f"{fate.value}: {type(error).__name__}"
        self.outcomes[call.name, label] += 1
        self._over(call)

    def _over(self, call: Call) -> None:
        then, call.then = call.then, []
        for function in then:
            function()

    def fail(self, call: Call, error: BaseException) -> None:
        """A call failed."""
        fate = fate_of(error)
        if call.unsent and isinstance(error, CancelledError):
            fate = Fate.REFUSED
        if fate is None:
            fate = Fate.AMBIGUOUS
            self.end(call, fate, None, error)
            self.report([Finding(Violation.UNEXPECTED, call.key, repr(error)[:600], (str(call),))])
        else:
            self.end(call, fate, None, error)

    def follow(self, call: Call, begun: Any, read: Callable[[Any], Any] = lambda _: None) -> None:
        """Wait for the end of a call.

        Args:
            call: The call.
            begun: What it returned, a Deferred or an `AsyncResult`.
            read: Takes what is to be remembered from its result.
        """
        call.cancel = begun.cancel

        def succeeded(result: Any) -> None:
            self.end(call, Fate.DONE, read(result))

        if isinstance(begun, Deferred):
            begun.addCallbacks(succeeded, lambda failure: self.fail(call, failure.value))
        else:
            assert isinstance(begun, AsyncResult)
            begun.set_callbacks(succeeded, lambda _, kind, error, trace: self.fail(call, error))

    def look(self) -> None:
        """Report the calls that have not ended and never will."""
        now = self.now()
        for call in [each for each in self.pending.values() if each.due < now]:
            # Reported once; should it end after all, that is no second end.
            call.fate = Fate.AMBIGUOUS
            del self.pending[call.number]
            self.report([Finding(Violation.NEVER_FIRED, call.key, str(call))])
            self._over(call)

    def when_over(self, calls: Iterable[Call]) -> Deferred[None]:
        """Fires when all of them have ended."""
        over: Deferred[None] = Deferred()
        left = 1

        def ended() -> None:
            nonlocal left
            left -= 1
            if not left:
                over.callback(None)

        for call in calls:
            if call.number in self.pending:
                left += 1
                call.then.append(ended)
        ended()
        return over

    def report(self, findings: list[Finding]) -> None:
        """Something was found."""
        self.found += len(findings)
        self.findings += findings[: max(0, 100 - len(self.findings))]

    def count(self, fate: Fate) -> int:
        """How many calls ended so."""
        return sum(
            number
            for (_, label), number in self.outcomes.items()
            if label.partition(":")[0] == fate.value
        )


def query_fate(error: BaseException) -> Fate | None:
    """As `fate_of` for a query, whose service has more ways to fail."""
    fate = fate_of(error)
    if fate is None and isinstance(error, CouchbaseException):
        return Fate.AMBIGUOUS
    return fate
