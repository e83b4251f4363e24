"""The Twisted interface to Couchbase, on a pool of worker processes."""

__version__ = "0.1.0"
