"""The load on documents: numbered writes and reads, alone, in a row, pipelined and many at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

from couchbase.options import DeltaValue, IncrementOptions, SignedInt64
from couchbase.transcoder import RawBinaryTranscoder
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater

from tests.chaos.calls import Book, Call, Fate, Finding, Violation, fate_of, query_fate
from tests.chaos.model import (
    CounterModel,
    DocumentModel,
    RegisterModel,
    TallyModel,
    TextModel,
)
from txcouchbase.cluster import TxCluster, TxRawCluster
from txcouchbase.collection import TxCollection
from txcouchbase.workers.delayed import DelayedCalls

__all__ = [
    "DEFAULT_TIMEOUT",
    "DocumentLoad",
    "Load",
    "Place",
    "content",
    "end_query",
    "give_up",
    "increment",
    "reader_of",
]

DEFAULT_TIMEOUT = 2.5
"""That of key-value operations whose caller names none (seconds)."""

_RAW = RawBinaryTranscoder()
_INCREMENT = IncrementOptions(initial=SignedInt64(1), delta=DeltaValue(1))

REGISTER_CALLS = (
    *["upsert"] * 30,
    *["get"] * 35,
    *["replace"] * 10,
    *["insert"] * 8,
    *["remove"] * 6,
    *["upsert_multi"] * 3,
    *["get_multi"] * 4,
    *["select"] * 1,
)
COUNTER_CALLS = (*["increment"] * 6, *["get"] * 4)
TEXT_CALLS = (*["append"] * 4, *["prepend"] * 2, *["get"] * 4)


@dataclass
class Place:
    """Where the load goes: one server, through two clusters that share a pool.

    Attributes:
        reactor: The reactor.
        deferred: The one whose methods return Deferreds.
        raw: The one whose methods return an `AsyncResult`.
        another: Makes one more that shares the pool.
        bucket: The bucket's name.
        prefix: What all keys start with.
    """

    reactor: Any
    deferred: TxCluster
    raw: TxRawCluster
    another: Callable[[], TxCluster]
    bucket: str
    prefix: str

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self.collection = self.deferred.bucket(self.bucket).default_collection()
        # The raw form has the same methods, with another type of result.
        raw: Any = self.raw.bucket(self.bucket).default_collection()
        self.collections: tuple[TxCollection, TxCollection] = (self.collection, raw)

    def key(self, name: str) -> str:
        """A key that was never used."""
        return f"{self.prefix}-{next(self._numbers)}-{name}"


class Load:
    """Makes calls until it is told to stop. What derives from it says which.

    Args:
        place: Where.
        book: Keeps account of the calls.
        random: Decides what is called.
    """

    def __init__(self, place: Place, book: Book, random: Random) -> None:
        self.place = place
        self.book = book
        self.random = random
        self.stopping = False
        self.giving_up = False
        self._calls = DelayedCalls(place.reactor)

    def run(self) -> Deferred[None]:
        """Fires some time after `stop`, when all that was called has ended and was looked at."""
        return self._run().addBoth(self._ran)

    def _run(self) -> Deferred[None]:
        raise NotImplementedError

    def _ran(self, result: Any) -> Any:
        self._calls.cancel_all()
        return result

    def stop(self) -> None:
        """Call no more."""
        self.stopping = True

    def give_up(self) -> None:
        """Insist on nothing any more: the pool does not recover."""
        self.giving_up = True

    def pause(self, seconds: float = 0.0) -> Deferred[None]:
        """Fires after so many seconds, on a later turn."""
        return deferLater(self.place.reactor, seconds)

    def cancel_some(self, call: Call, previous: Call | None) -> None:
        """Cancel a call that was just made, now or later, or not at all."""
        draw = self.random.random()
        if draw < 0.92 or call.cancel is None:
            return
        if draw < 0.94:
            call.unsent = True
            call.cancel()
        elif draw < 0.96:
            self._calls.later(0, give_up, call)
        elif draw < 0.98 and previous is not None and previous.fate is Fate.PENDING:
            previous.then.append(lambda: give_up(call))
        else:
            self._calls.later(self.random.choice((0.001, 0.01, 0.1, 0.5)), give_up, call)

    @inlineCallbacks
    def read_at_last(self, model: DocumentModel) -> Generator[Deferred[Any], Any, None]:
        """Read until there is an answer, though the server may be away, and look at it."""
        options: dict[str, Any] = {"transcoder": _RAW} if isinstance(model, TextModel) else {}
        while True:
            call = self.book.open("get", model.key, DEFAULT_TIMEOUT)
            model.calls.append(call)
            begun = self.place.collection.get(model.key, **options)
            self.book.follow(call, begun, reader_of(model))
            yield self.book.when_over([call])
            if call.fate in (Fate.DONE, Fate.MISSING):
                self.book.report(model.settle())
                return
            if self.giving_up:
                break
            yield self.pause(0.5)
        what = f"cannot be read: {model.calls[-1]}"
        self.book.report([Finding(Violation.UNEXPECTED, model.key, what)])


def give_up(call: Call) -> None:
    """Cancel a call, unless it has ended."""
    if call.cancel is not None:
        call.cancel()


class _Group:
    """A few documents that one load uses at a time."""

    def __init__(self, place: Place) -> None:
        self.registers = [RegisterModel(place.key("register")) for _ in range(3)]
        self.repeated = RegisterModel(place.key("repeated"))
        self.counter = CounterModel(place.key("counter"))
        self.text = TextModel(place.key("text"))
        self.models: list[RegisterModel | CounterModel | TextModel] = [
            *self.registers,
            self.repeated,
            self.counter,
            self.text,
        ]

    @property
    def worn(self) -> bool:
        """Whether other documents would tell more: histories are kept, so they have an end."""
        return (
            any(model.tired or model.uncertain > 8 for model in self.models)
            or sum(len(model.calls) for model in self.models) > 400
        )


class DocumentLoad(Load):
    """Bursts of calls on a few documents, which are looked at after each burst."""

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self.stopping:
            group = _Group(self.place)
            if not (yield self._make(group)):
                return
            while not self.stopping and not group.worn:
                yield self._burst(group)
                self._settle(group)
                yield self.pause(self.random.choice((0.0, 0.01, 0.05)))
            for model in group.models:
                yield self.read_at_last(model)
            yield self._remove(group)

    def _settle(self, group: _Group) -> None:
        for model in group.models:
            self.book.report(model.settle())

    @inlineCallbacks
    def _make(self, group: _Group) -> Generator[Deferred[Any], Any, bool]:
        """Make the text, to which nothing can be added otherwise; false if it was stopped."""
        while not self.stopping:
            call = self.book.open("insert", group.text.key, DEFAULT_TIMEOUT)
            begun = self.place.collection.insert(
                group.text.key, TextModel.origin.encode(), transcoder=_RAW
            )
            self.book.follow(call, begun)
            yield self.book.when_over([call])
            if call.fate in (Fate.DONE, Fate.EXISTS):
                return True
            yield self.pause(0.1)
        return False

    @inlineCallbacks
    def _burst(self, group: _Group) -> Generator[Deferred[Any], Any, None]:
        random = self.random
        size = 1 if random.random() < 0.3 else random.randint(2, 40)
        turns = random.random() < 0.3
        calls: list[Call] = []
        for _ in range(size):
            previous = calls[-1] if calls else None
            made = self._call(group)
            calls += made
            self.cancel_some(made[0], previous)
            if turns and random.random() < 0.3:
                yield self.pause()
        yield self.book.when_over(calls)

    def _call(self, group: _Group) -> list[Call]:
        draw = self.random.random()
        if draw < 0.6:
            name = self.random.choice(REGISTER_CALLS)
            if name == "select":
                return [self._select(self.random.choice(group.registers))]
            if name.endswith("_multi"):
                return self._multi(name.removesuffix("_multi"), group)
            return [self._one(name, self.random.choice(group.registers))]
        if draw < 0.7:
            return [self._one(self.random.choice(("upsert", "get")), group.repeated, True)]
        if draw < 0.85:
            return [self._one(self.random.choice(COUNTER_CALLS), group.counter)]
        return [self._one(self.random.choice(TEXT_CALLS), group.text)]

    def _timeout(self) -> float | None:
        return self.random.choice((None,) * 7 + (0.05, 0.3, 5.0))

    def _open(
        self, name: str, model: DocumentModel, timeout: float | None, repeats: bool = False
    ) -> Call:
        call = self.book.open(name, model.key, timeout or DEFAULT_TIMEOUT, repeats=repeats)
        model.calls.append(call)
        return call

    def _one(self, name: str, model: DocumentModel, repeats: bool = False) -> Call:
        timeout = self._timeout()
        repeats = repeats and name != "get"
        call = self._open(name, model, timeout, repeats)
        collection = self.random.choice(self.place.collections)
        options: dict[str, Any] = {}
        if timeout is not None:
            options["timeout"] = timedelta(seconds=timeout)
        if repeats:
            options["retry_ambiguous"] = True
        read: Callable[[Any], Any] = nothing
        begun: Any
        if name == "get":
            if isinstance(model, TextModel):
                options["transcoder"] = _RAW
            begun, read = collection.get(model.key, **options), reader_of(model)
        elif name == "remove":
            begun = collection.remove(model.key, **options)
        elif name == "increment":
            begun, read = increment(collection, model.key, **options), content
        elif name in ("append", "prepend"):
            method = getattr(collection.binary(), name)
            begun = method(model.key, f"{call.number};", **options)
        else:
            begun = getattr(collection, name)(model.key, self._document(call), **options)
        self.book.follow(call, begun, read)
        return call

    def _document(self, call: Call) -> dict[str, Any]:
        # Some do not fit into one value of a box.
        size = 70_000 if self.random.random() < 0.01 else self.random.randrange(100)
        return {"n": call.number, "padding": "-" * size}

    def _multi(self, name: str, group: _Group) -> list[Call]:
        """One call on all registers; the first of what it returns is that of the whole."""
        timeout = self._timeout()
        whole = self.book.open(f"{name}_multi", group.text.key, timeout or DEFAULT_TIMEOUT)
        calls = [self._open(name, model, timeout) for model in group.registers]
        collection = self.random.choice(self.place.collections)
        options: dict[str, Any] = {}
        if timeout is not None:
            options["timeout"] = timedelta(seconds=timeout)
        begun: Any
        if name == "get":
            begun = collection.get_multi([call.key for call in calls], **options)
        else:
            begun = collection.upsert_multi(
                {call.key: self._document(call) for call in calls}, **options
            )

        def ended(outcomes: Mapping[str, Any]) -> None:
            for call in calls:
                outcome = outcomes[call.key]
                if isinstance(outcome, Exception):
                    self.book.fail(call, outcome)
                else:
                    self.book.end(call, Fate.DONE, _number(outcome) if name == "get" else None)

        def failed() -> None:
            if whole.error is not None:
                for call in calls:
                    call.unsent = whole.unsent
                    self.book.fail(call, whole.error)

        whole.then.append(failed)
        self.book.follow(whole, begun, ended)
        return [whole, *calls]

    def _select(self, model: RegisterModel) -> Call:
        call = self._open("select", model, 5.0)
        statement = f"SELECT RAW d.n FROM `{self.place.bucket}` AS d USE KEYS $1"
        begun = self.place.deferred.query(
            statement, positional_parameters=[model.key], timeout=timedelta(seconds=5)
        )
        call.cancel = begun.cancel
        begun.addCallbacks(
            lambda result: self.book.end(call, Fate.DONE, list(result.rows())),
            lambda failure: end_query(self.book, call, failure.value),
        )
        return call

    @inlineCallbacks
    def _remove(self, group: _Group) -> Generator[Deferred[Any], Any, None]:
        call = self.book.open("remove_multi", group.text.key, DEFAULT_TIMEOUT)
        keys = [model.key for model in group.models]
        self.book.follow(call, self.place.collection.remove_multi(keys))
        yield self.book.when_over([call])


def end_query(book: Book, call: Call, error: BaseException) -> None:
    """A query failed."""
    fate = query_fate(error)
    if fate is None or call.unsent or fate_of(error) is not None:
        book.fail(call, error)
    else:
        book.end(call, fate, None, error)


def increment(collection: Any, key: str, **options: Any) -> Any:
    """Begin to increase a counter, which begins at 1, by 1."""
    return collection.binary().increment(key, _INCREMENT, **options)


def nothing(_: Any) -> None:
    """There is nothing to remember of a result."""


def content(result: Any) -> int:
    """The new value of a counter."""
    count: int = result.content
    return count


def reader_of(model: DocumentModel) -> Callable[[Any], Any]:
    """What takes from the result of a ``get`` what the model has to know."""
    if isinstance(model, TallyModel):
        return _number
    if isinstance(model, CounterModel):
        return _value
    return _text if isinstance(model, TextModel) else _number


def _value(result: Any) -> Any:
    return result.value


def _number(result: Any) -> int:
    number: int = result.value["n"]
    return number


def _text(result: Any) -> str:
    value: bytes = result.value
    return value.decode()
