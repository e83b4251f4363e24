"""How long keys and paths, and how large documents may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from couchbase.collection import Collection
from couchbase.exceptions import (
    CouchbaseException,
    DocumentUnretrievableException,
    InvalidArgumentException,
    PathNotFoundException,
    PathTooBigException,
)
from couchbase.options import InsertOptions, UpsertOptions
from couchbase.subdocument import exists, get, remove, upsert
from couchbase.transcoder import RawBinaryTranscoder

from tests.conformance.checks import Context, check, expect, raises

MEBIBYTE = 1024 * 1024
RAW: dict[str, Any] = {"transcoder": RawBinaryTranscoder()}

VALUE_TOO_LARGE = 104
"""The C++ client's error, for which the SDK has no class of its own."""


def _operations(collection: Collection, key: str) -> dict[str, Callable[[], Any]]:
    return {
        "upsert": lambda: collection.upsert(key, {}),
        "get": lambda: collection.get(key),
        "exists": lambda: collection.exists(key),
        "lookup_in": lambda: collection.lookup_in(key, [exists("a")]),
        "mutate_in": lambda: collection.mutate_in(key, [upsert("a", 1)]),
        "remove": lambda: collection.remove(key),
    }


def _too_large(change: Callable[[], Any]) -> None:
    with raises(CouchbaseException) as refused:
        change()
    expect.assertEqual(refused.exception.error_code, VALUE_TOO_LARGE)


@check("keys have 1 to 250 bytes in the default collection, 1 to 246 in others")
def keys(context: Context) -> None:
    name = context.unique("named")
    context.bucket.collections().create_collection("_default", name)
    for collection, most in ((context.collection, 250), (context.bucket.collection(name), 246)):
        for key in ("k", "k" * most, "é" * (most // 2)):
            for operation in _operations(collection, key).values():
                operation()
        for key in ("", "k" * (most + 1), "é" * (most // 2 + 1)):
            for name, operation in _operations(collection, key).items():
                with expect.subTest(name, length=len(key)), raises(InvalidArgumentException):
                    operation()
            with raises(DocumentUnretrievableException):
                collection.get_any_replica(key)


@check("a document has 20 MiB at most, however it is written")
def values(context: Context) -> None:
    collection, key = context.collection, context.unique("large")
    collection.upsert(key, bytes(20 * MEBIBYTE), UpsertOptions(**RAW))
    more = bytes(20 * MEBIBYTE + 1)
    _too_large(lambda: collection.upsert(key, more, UpsertOptions(**RAW)))
    _too_large(lambda: collection.insert(context.unique("large"), more, InsertOptions(**RAW)))
    _too_large(lambda: collection.binary().append(key, b"x"))
    collection.upsert(key, {})
    _too_large(lambda: collection.mutate_in(key, [upsert("a", "x" * 20 * MEBIBYTE)]))
    expect.assertEqual(collection.get(key).content_as[dict], {})
    collection.remove(key)


@check("user attributes count as the document, system attributes have 1 MiB of their own")
def attributes(context: Context) -> None:
    collection, key = context.collection, context.unique("attributes")
    collection.upsert(key, {})
    large = "x" * MEBIBYTE
    collection.mutate_in(key, [upsert("user", large, xattr=True)])
    collection.mutate_in(key, [upsert("_system", large[:-100], xattr=True)])
    _too_large(lambda: collection.mutate_in(key, [upsert("_more", large[:100], xattr=True)]))
    _too_large(lambda: collection.upsert(key, bytes(19 * MEBIBYTE + 100), UpsertOptions(**RAW)))
    collection.upsert(key, bytes(19 * MEBIBYTE - 100), UpsertOptions(**RAW))
    collection.mutate_in(key, [remove("_system", xattr=True)])
    with raises(InvalidArgumentException):
        collection.mutate_in(key, [upsert("a" * 17, 1, xattr=True)])
    collection.remove(key)


@check("a path has 1024 bytes and 31 components, a request 16 paths at most")
def paths(context: Context) -> None:
    collection, key = context.collection, context.unique("paths")
    collection.upsert(key, {})
    for path in ("a" * 1024, ".".join("a" * 31)):
        with raises(PathNotFoundException):
            collection.lookup_in(key, [get(path)]).content_as[int](0)
        collection.mutate_in(key, [upsert(path, 1, create_parents=True)])
        expect.assertEqual(collection.lookup_in(key, [get(path)]).content_as[int](0), 1)
    with raises(InvalidArgumentException):
        collection.lookup_in(key, [get("a" * 1025)])
    with raises(InvalidArgumentException):
        collection.mutate_in(key, [upsert("a" * 1025, 1)])
    deep = ".".join("a" * 32)
    with raises(PathTooBigException):
        collection.lookup_in(key, [get(deep)]).content_as[int](0)
    with raises(PathTooBigException):
        collection.mutate_in(key, [upsert(deep, 1, create_parents=True)])
    collection.lookup_in(key, [exists("a")] * 16)
    collection.mutate_in(key, [upsert(f"m{n}", 1) for n in range(16)])
    with raises(InvalidArgumentException):
        collection.lookup_in(key, [exists("a")] * 17)
    with raises(InvalidArgumentException):
        collection.mutate_in(key, [upsert(f"m{n}", 1) for n in range(17)])
