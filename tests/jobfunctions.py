"""Functions for job workers, which import this module by its name."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from typing import Any

from couchbase.exceptions import TransactionOperationFailed
from couchbase.n1ql import QueryScanConsistency
from couchbase.options import (
    TransactionGetMultiOptions,
    TransactionGetMultiReplicasFromPreferredServerGroupOptions,
    TransactionGetOptions,
    TransactionQueryOptions,
)
from couchbase.transactions import (
    TransactionGetMultiMode,
    TransactionGetMultiReplicasFromPreferredServerGroupMode,
    TransactionGetMultiReplicasFromPreferredServerGroupSpec,
    TransactionGetMultiSpec,
)
from couchbase.transcoder import RawJSONTranscoder
from twisted.internet.defer import succeed


class Refused(Exception):
    """An ordinary exception of an application."""


class Unbuildable(Exception):
    """One that its own pickle cannot rebuild."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


class Unshowable(Exception):
    """One that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Exiting:
    """One whose pickling ends the program."""

    def __reduce__(self) -> tuple[Any, ...]:
        sys.exit(4)


class Adder:
    """An object whose bound methods can be sent."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, other: int) -> int:
        return self.number + other


class Unreadable:
    """Can be pickled, and not unpickled in the process that a job knows as the application."""

    def __init__(self, application: int, exits: bool = False) -> None:
        self.application = application
        self.exits = exits

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_unless, (self.application, self.exits)


class UnreadableError(Exception):
    """Can be rebuilt, and exits in the process that a job knows as the application."""

    def __init__(self, application: int) -> None:
        super().__init__("my own")
        self.application = application

    def __reduce__(self) -> tuple[Any, ...]:
        return _error_unless, (self.application,)


def _read_unless(application: int, exits: bool) -> None:
    if os.getpid() == application:
        raise SystemExit(5) if exits else ValueError("not here")


def _error_unless(application: int) -> Exception:
    _read_unless(application, True)
    return Refused("here it can")


def unreadable(application: int, exits: bool = False) -> Unreadable:
    return Unreadable(application, exits)


def raise_unreadable(application: int) -> None:
    raise UnreadableError(application)


def echo(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


def pid() -> int:
    return os.getpid()


_kept: list[bytearray] = []


def keep(size: int) -> int:
    """Keep so many bytes of memory, for as long as the process lives."""
    _kept.append(bytearray(b"x") * size)
    return os.getpid()


def deferred() -> Any:
    return succeed(None)


def refuse(text: str) -> None:
    raise Refused(text)


def fail_with(name: str) -> None:
    if name == "Unbuildable":
        raise Unbuildable("one", "two")
    if name == "Unshowable":
        raise Unshowable
    if name == "SystemExit":
        sys.exit(3)
    raise KeyError(name)


def unpicklable() -> Any:
    return get_ident, open(os.devnull)


def exiting() -> Any:
    return Exiting()


def die(mark: str, status: int) -> None:
    note(mark, "x")
    print("my last words", file=sys.stderr, flush=True)
    os._exit(status)


def die_at(key: str, result: Any) -> None:
    os._exit(1)


def say(text: str) -> None:
    print(f"out {text}")
    print(f"err {text}", file=sys.stderr)


def note(path: str, text: str) -> int:
    """Add a text to a file, each time that this runs."""
    with open(path, "a", encoding="utf-8") as notes:
        notes.write(text)
    return os.getpid()


def wait_for(mark: str, until: str) -> int:
    """Leave a mark, and wait until another one is there."""
    Path(mark).touch()
    while not Path(until).exists():
        time.sleep(0.005)
    return os.getpid()


def wait_in(folder: str, key: str, result: Any) -> None:
    """For `map_multi`: leave a mark with the name of the key, and wait for one named ``end``."""
    wait_for(os.path.join(folder, key), os.path.join(folder, "end"))


def hog(mark: str, seconds: float) -> None:
    """Leave a mark, and keep a core busy."""
    Path(mark).touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(3_000_000))


def hold(seconds: float) -> None:
    """Keep the interpreter for itself, in one call of C that lets no other thread in."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def hold_cluster(cluster: Any, seconds: float) -> None:
    """Keep a worker with a cluster busy."""
    time.sleep(seconds)


def work(rounds: int) -> int:
    """Use a core for a while."""
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
    return total


def with_cluster(cluster: Any, bucket: str, key: str, value: Any) -> Any:
    collection = cluster.bucket(bucket).default_collection()
    collection.upsert(key, value)
    return type(cluster).__module__, collection.get(key).content_as[dict]


def missing(cluster: Any, bucket: str, key: str) -> None:
    cluster.bucket(bucket).default_collection().get(key)


def read_from(cluster: Any, collection: Any, key: str) -> Any:
    return type(collection).__module__, collection.get(key).content_as[dict]


def number_of(key: str, result: Any) -> Any:
    number = result.content_as[dict]["number"]
    if number == 13:
        raise Refused(key)
    return os.getpid(), number


def move(context: Any, collection: Any, key: str, value: Any) -> str:
    found = context.get(collection, key)
    context.replace(found, value)
    return "moved"


def dawdle(context: Any, collection: Any, key: str) -> None:
    time.sleep(0.3)
    context.get(collection, key)


def insert_and_refuse(context: Any, collection: Any, key: str) -> None:
    context.insert(collection, key, {})
    raise Refused("rolled back")


def insert_and_return(context: Any, collection: Any, key: str, application: int) -> Any:
    """Return what cannot be pickled, or what the application cannot read."""
    context.insert(collection, key, {})
    return Unreadable(application) if application else Exiting()


def sleep_and_commit(context: Any, collection: Any, key: str, seconds: float) -> None:
    context.replace(context.get(collection, key), {"n": "late"})
    time.sleep(seconds)


def meet_conflict(context: Any, collection: Any, key: str, notes: str) -> int:
    """Change a document that somebody else has changed in between, the first time."""
    note(notes, "x")
    calls = len(Path(notes).read_text(encoding="utf-8"))
    found = context.get(collection, key)
    if calls == 1:
        collection.upsert(key, {"n": 100})
    context.replace(found, {"n": found.content_as[dict]["n"] + 1})
    return calls


def swallow(context: Any, collection: Any, key: str, notes: str) -> None:
    """Go on after a failure that no other attempt would help."""
    note(notes, "x")
    found = context.get(collection, key)
    context.remove(found)
    with suppress(TransactionOperationFailed):
        context.remove(found)


def invent_failure(context: Any, collection: Any, key: str) -> None:
    """Raise what an operation could have raised, and has not."""
    context.replace(context.get(collection, key), {"n": "no"})
    raise TransactionOperationFailed("mine")


def exit_within(context: Any, collection: Any, key: str) -> None:
    context.replace(context.get(collection, key), {"n": "no"})
    sys.exit(3)


def note_and_replace(context: Any, collection: Any, key: str, notes: str, value: Any) -> None:
    note(notes, "x")
    context.replace(context.get(collection, key), value)


def stage_and_wait(context: Any, collection: Any, keys: list[str], mark: str, until: str) -> None:
    """Stage a replace and an insert, and wait in the middle of the transaction."""
    context.replace(context.get(collection, keys[0]), {"n": "no"})
    context.insert(collection, keys[1], {"n": "no"})
    note(mark, str(os.getpid()))
    wait_for(mark, until)


def nothing(context: Any) -> None:
    """A transaction without any operation."""


def every_method(context: Any, collection: Any, prefix: str) -> dict[str, Any]:
    """Each operation of an attempt; of these documents ``a``, ``b`` and ``d`` are there."""
    a, b, c, d = [f"{prefix}-{name}" for name in "abcd"]
    got = context.get(collection, a)
    several = context.get_multi(
        [TransactionGetMultiSpec(collection, b), TransactionGetMultiSpec(collection, c)],
        TransactionGetMultiOptions(mode=TransactionGetMultiMode.DISABLE_READ_SKEW_DETECTION),
    )
    copies = [
        TransactionGetMultiReplicasFromPreferredServerGroupSpec(collection, key) for key in (a, b)
    ]
    modes = TransactionGetMultiReplicasFromPreferredServerGroupMode
    copied = context.get_multi_replicas_from_preferred_server_group(
        copies,
        TransactionGetMultiReplicasFromPreferredServerGroupOptions(
            mode=modes.DISABLE_READ_SKEW_DETECTION
        ),
    )
    copy = context.get_replica_from_preferred_server_group(collection, a)
    replaced = context.replace(got, {"n": 10})
    context.remove(context.get(collection, b))
    inserted = context.insert(collection, c, {"n": 3})
    raw = context.get(collection, d, TransactionGetOptions(transcoder=RawJSONTranscoder()))
    rows = context.query(
        "SELECT RAW $1 + $more",
        TransactionQueryOptions(
            positional_parameters=[1],
            named_parameters={"more": 2},
            client_context_id="mine",
            scan_consistency=QueryScanConsistency.NOT_BOUNDED,
            read_only=True,
        ),
    ).rows()
    return {
        "get": got.content_as[dict],
        "get_multi": [several.exists(0), several.exists(1), several.content_as[dict](0)],
        "replica": copy.content_as[dict],
        "replicas": [copied.content_as[dict](at) for at in range(2)],
        "replace": replaced.content_as[dict],
        "insert": inserted.content_as[dict],
        "transcoder": raw.content_as[bytes],
        "query": rows,
    }
