"""The worker of the stock-Ampoule contender: one command, one operation, one at a time."""

from __future__ import annotations

import json
from typing import Any

from ampoule import child
from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.options import ClusterOptions
from couchbase.transcoder import RawJSONTranscoder
from twisted.protocols import amp

_collections: dict[bytes, Any] = {}


def collection(where: bytes) -> Any:
    """The default collection; connects at the first call."""
    if where not in _collections:
        settings = json.loads(where)
        options = ClusterOptions(
            PasswordAuthenticator(settings["username"], settings["password"]),
            transcoder=RawJSONTranscoder(),
        )
        cluster = Cluster(settings["connstr"], options)
        _collections[where] = cluster.bucket(settings["bucket"]).default_collection()
    return _collections[where]


class Get(amp.Command):
    """Fetch a document."""

    arguments = [(b"where", amp.String()), (b"key", amp.Unicode())]  # noqa: RUF012
    response = [(b"value", amp.String())]  # noqa: RUF012


class Upsert(amp.Command):
    """Store a document."""

    arguments = [  # noqa: RUF012
        (b"where", amp.String()),
        (b"key", amp.Unicode()),
        (b"value", amp.String()),
    ]
    response = [(b"cas", amp.Integer())]  # noqa: RUF012


class Child(child.AMPChild):
    """Responds to both."""

    @Get.responder
    def get(self, where: bytes, key: str) -> dict[str, Any]:
        """Fetch a document."""
        return {"value": collection(where).get(key).value}

    @Upsert.responder
    def upsert(self, where: bytes, key: str, value: bytes) -> dict[str, Any]:
        """Store a document."""
        return {"cas": collection(where).upsert(key, value).cas}
