"""Functions for job workers, which import this module by its name."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from threading import get_ident
from typing import Any

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

    def __init__(self, application: int) -> None:
        self.application = application

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_unless, (self.application,)


def _read_unless(application: int) -> None:
    if os.getpid() == application:
        raise ValueError("not here")


def unreadable(application: int) -> Unreadable:
    return Unreadable(application)


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
