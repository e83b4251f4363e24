"""Queries and their rows, with callbacks: a program for the SDK's own `txcouchbase`.

It runs unchanged on this package. Needs a server: that of ``COUCHBASE_CONNSTR``, with
``COUCHBASE_USERNAME``, ``COUCHBASE_PASSWORD`` and ``COUCHBASE_BUCKET``.
"""
# ruff: noqa: I001

import os
import sys

# The SDK's own has to be imported before the reactor; this package does not mind.
import txcouchbase  # noqa: F401
from twisted.internet import defer, reactor

from couchbase.auth import PasswordAuthenticator
from couchbase.exceptions import ParsingFailedException
from couchbase.management.options import CreatePrimaryQueryIndexOptions
from couchbase.n1ql import QueryScanConsistency
from couchbase.options import ClusterOptions, QueryOptions
from txcouchbase.cluster import TxCluster

BUCKET = os.environ.get("COUCHBASE_BUCKET", "default")
TOWNS = {"town_1": ("Ulm", 126), "town_2": ("Bern", 134), "town_3": ("Graz", 289)}

FRESH = QueryScanConsistency.REQUEST_PLUS


class Program:
    """What the callbacks share."""

    def __init__(self):
        options = ClusterOptions(
            PasswordAuthenticator(
                os.environ.get("COUCHBASE_USERNAME", "Administrator"),
                os.environ.get("COUCHBASE_PASSWORD", "password"),
            )
        )
        connstr = os.environ.get("COUCHBASE_CONNSTR", "couchbase://localhost")
        self.cluster = TxCluster(connstr, options)
        self.bucket = self.cluster.bucket(BUCKET)

    def run(self):
        d = self.cluster.on_connect()
        d.addCallback(lambda _: self.bucket.on_connect())
        d.addCallback(self.store)
        d.addCallback(self.make_index)
        d.addCallback(self.query_all)
        d.addCallback(self.query_with_parameters)
        d.addCallback(self.query_nonsense)
        return d.addBoth(self.close)

    def close(self, outcome):
        return self.cluster.close().addCallback(lambda _: outcome)

    def store(self, _):
        collection = self.bucket.default_collection()
        return defer.gatherResults(
            [
                collection.upsert(key, {"type": "town", "name": name, "people": people})
                for key, (name, people) in TOWNS.items()
            ]
        )

    def make_index(self, _):
        manager = self.cluster.query_indexes()
        d = manager.create_primary_index(
            BUCKET, CreatePrimaryQueryIndexOptions(ignore_if_exists=True)
        )
        d.addCallback(lambda _: manager.get_all_indexes(BUCKET))
        return d.addCallback(lambda found: print("primary:", any(i.is_primary for i in found)))

    def query_all(self, _):
        d = self.cluster.query(
            f"SELECT name, people FROM `{BUCKET}` WHERE type = 'town' ORDER BY people",
            QueryOptions(scan_consistency=FRESH, metrics=True),
        )

        def show(result):
            for row in result.rows():
                print("row:", row["name"], row["people"])
            metadata = result.metadata()
            print("rows:", int(metadata.metrics().result_count()), metadata.status().name)

        return d.addCallback(show)

    def query_with_parameters(self, _):
        d = self.cluster.query(
            f"SELECT RAW name FROM `{BUCKET}` WHERE type = $1 AND people > $2 ORDER BY name",
            QueryOptions(positional_parameters=["town", 130], scan_consistency=FRESH),
        )
        d.addCallback(lambda result: print("large:", [name for name in result]))
        return d.addCallback(
            lambda _: self.cluster.query(
                f"SELECT RAW people FROM `{BUCKET}` WHERE name = $name",
                QueryOptions(scan_consistency=FRESH),
                name="Ulm",
            )
        ).addCallback(lambda result: print("people:", list(result.rows())))

    def query_nonsense(self, _):
        def refused(failure):
            error = failure.trap(ParsingFailedException)
            print("refused:", error.__name__, failure.value.error_context.first_error_code)

        d = self.cluster.query("SELECT FROM WHERE")
        d.addCallback(lambda result: print("understood:", list(result)))
        return d.addErrback(refused)


status = 1


def succeeded(_):
    global status
    status = 0


def run():
    d = Program().run()
    d.addCallbacks(succeeded, lambda failure: failure.printTraceback(sys.stderr))
    d.addBoth(lambda _: reactor.stop())


if __name__ == "__main__":
    # A cluster of the SDK's own can be made once the reactor runs.
    reactor.callLater(0, run)
    reactor.run()
    sys.exit(status)
