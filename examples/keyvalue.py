"""Documents, parts of documents, counters: a program for the SDK's own `txcouchbase`.

It runs unchanged on this package. Needs a server: that of ``COUCHBASE_CONNSTR``, with
``COUCHBASE_USERNAME``, ``COUCHBASE_PASSWORD`` and ``COUCHBASE_BUCKET``.
"""
# ruff: noqa: I001

import os
import sys
from datetime import timedelta

# The SDK's own has to be imported before the reactor; this package does not mind.
import txcouchbase  # noqa: F401
from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks

import couchbase.subdocument as SD
from couchbase.auth import PasswordAuthenticator
from couchbase.exceptions import (
    CasMismatchException,
    DocumentExistsException,
    DocumentNotFoundException,
)
from couchbase.options import (
    ClusterOptions,
    DeltaValue,
    GetOptions,
    IncrementOptions,
    SignedInt64,
    UpsertOptions,
)
from txcouchbase.cluster import TxCluster


def connect():
    options = ClusterOptions(
        PasswordAuthenticator(
            os.environ.get("COUCHBASE_USERNAME", "Administrator"),
            os.environ.get("COUCHBASE_PASSWORD", "password"),
        )
    )
    return TxCluster(os.environ.get("COUCHBASE_CONNSTR", "couchbase://localhost"), options)


@inlineCallbacks
def documents(collection):
    yield collection.upsert(
        "airline_10",
        {"name": "40-Mile Air", "country": "US"},
        UpsertOptions(timeout=timedelta(seconds=10)),
    )
    result = yield collection.get("airline_10")
    print("airline:", result.content_as[dict]["name"], result.key)

    replaced = yield collection.replace("airline_10", {"name": "Texas Wings"}, cas=result.cas)
    print("replaced:", replaced.cas != result.cas)
    try:
        yield collection.replace("airline_10", {"name": "too late"}, cas=result.cas)
    except CasMismatchException as error:
        print("refused:", type(error).__name__, error.error_code)

    try:
        yield collection.insert("airline_10", {})
    except DocumentExistsException as error:
        print("refused:", type(error).__name__, error.error_context.key)

    yield collection.touch("airline_10", timedelta(hours=1))
    result = yield collection.get("airline_10", GetOptions(with_expiry=True))
    print("expires:", result.expiry_time is not None)

    yield collection.remove("airline_10")
    exists = yield collection.exists("airline_10")
    print("exists:", exists.exists)
    try:
        yield collection.get("airline_10")
    except DocumentNotFoundException as error:
        print("refused:", type(error).__name__)


@inlineCallbacks
def locks(collection):
    yield collection.upsert("airline_11", {"seats": 100})
    locked = yield collection.get_and_lock("airline_11", timedelta(seconds=15))
    yield collection.replace("airline_11", {"seats": 99}, cas=locked.cas)
    result = yield collection.get_and_touch("airline_11", timedelta(hours=1))
    print("seats:", result.content_as[dict]["seats"])


@inlineCallbacks
def parts_of_documents(collection):
    yield collection.upsert("hotel_1", {"name": "Inn", "ratings": [4], "address": {"city": "Ulm"}})
    yield collection.mutate_in(
        "hotel_1",
        [
            SD.upsert("address.zip", "89073"),
            SD.array_append("ratings", 5, 3),
            SD.increment("visits", 1),
        ],
    )
    result = yield collection.lookup_in(
        "hotel_1",
        [SD.get("address.zip"), SD.count("ratings"), SD.exists("stars"), SD.get("visits")],
    )
    print(
        "hotel:",
        result.content_as[str](0),
        result.content_as[int](1),
        result.exists(2),
        result.content_as[int](3),
    )


@inlineCallbacks
def counters(collection):
    binary = collection.binary()
    yield binary.increment("visits", IncrementOptions(initial=SignedInt64(100)))
    result = yield binary.increment("visits", IncrementOptions(delta=DeltaValue(5)))
    print("visits:", result.content)
    yield collection.remove("visits")


@inlineCallbacks
def many_at_once(collection):
    yield gatherResults([collection.upsert(f"route_{n}", {"stops": n}) for n in range(50)])
    results = yield gatherResults([collection.get(f"route_{n}") for n in range(50)])
    print("stops:", sum(result.content_as[dict]["stops"] for result in results))


@inlineCallbacks
def main():
    cluster = connect()
    yield cluster.on_connect()
    bucket = cluster.bucket(os.environ.get("COUCHBASE_BUCKET", "default"))
    yield bucket.on_connect()
    collection = bucket.default_collection()
    yield documents(collection)
    yield locks(collection)
    yield parts_of_documents(collection)
    yield counters(collection)
    yield many_at_once(collection)
    yield cluster.close()


status = 1


def succeeded(_):
    global status
    status = 0


def run():
    d = main()
    d.addCallbacks(succeeded, lambda failure: failure.printTraceback(sys.stderr))
    d.addBoth(lambda _: reactor.stop())


if __name__ == "__main__":
    # A cluster of the SDK's own can be made once the reactor runs.
    reactor.callLater(0, run)
    reactor.run()
    sys.exit(status)
