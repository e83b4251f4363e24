"""What tests of searches in the embedded node share: a bucket of hotels, and how it is searched."""

from __future__ import annotations

import json
from typing import Any

from tests.node_services import ServiceCase
from txcouchbase.testing.kv.bucket import Bucket, vbucket_of
from txcouchbase.testing.kv.manifest import leb128

INDEX = {"type": "fulltext-index", "sourceType": "couchbase", "sourceName": "stock"}
HOTELS: dict[str, Any] = {
    "inn": {
        "type": "hotel",
        "name": "The Old Inn",
        "text": "An old inn near the old harbour, with a view of the sea.",
        "stars": 3,
        "price": 80.5,
        "opened": "1999-05-01T00:00:00Z",
        "pool": False,
        "geo": {"lon": 0.0, "lat": 51.5},
        "rooms": [{"kind": "single"}, {"kind": "double"}],
    },
    "ritz": {
        "type": "hotel",
        "name": "The Ritz",
        "text": "A grand hotel with a swimming pool; the sea is far.",
        "stars": 5,
        "price": 500,
        "opened": "2010-01-01",
        "pool": True,
        "geo": {"lon": 2.35, "lat": 48.85},
        "rooms": [{"kind": "suite"}],
    },
    "hostel": {
        "type": "hostel",
        "name": "Harbour Hostel",
        "text": "Cheap beds. Young people. Caf\u00e9 and bar at the harbour.",
        "stars": 1,
        "opened": "2020-12-31T10:00:00+01:00",
        "pool": False,
        "geo": [-0.1, 51.4],
    },
    "shop": {"type": "shop", "name": "Rope & Anchor", "text": None, "tags": ["sea", "rope"]},
}


EVERYTHING: dict[str, Any] = {"match_all": None}


def text(**more: Any) -> dict[str, Any]:
    """The mapping of a field of text with all that there is."""
    flags = {"index": True, "store": True, "include_in_all": True, "include_term_vectors": True}
    return {"enabled": True, "fields": [{"type": "text", **flags, **more}]}


def kind(name: str, **more: Any) -> dict[str, Any]:
    """The mapping of a field that is no text."""
    return {"enabled": True, "fields": [{"type": name, "index": True, "store": True, **more}]}


MAPPING = {
    "default_mapping": {
        "enabled": True,
        "dynamic": True,
        "properties": {
            "name": text(),
            "text": text(),
            "type": text(analyzer="keyword"),
            "geo": kind("geopoint"),
            "v": kind("vector", dims=2, similarity="l2_norm"),
            "dot": kind("vector", dims=2, similarity="dot_product"),
            "cos": kind("vector_base64", dims=2, similarity="cosine"),
            "secret": {"enabled": False},
            "silent": {"fields": [{"type": "text", "store": True}]},
        },
    }
}


class SearchCase(ServiceCase):
    """Searches in a bucket with a few documents."""

    service = "search"

    def setUp(self) -> None:
        super().setUp()
        self.now = 1_700_000_000.0
        self.state.seconds = lambda: self.now
        for key, value in HOTELS.items():
            self.store(key, value)

    def store(
        self,
        key: str,
        value: Any,
        scope: str = "_default",
        collection: str = "_default",
        expiry: int = 0,
    ) -> None:
        """Write a document."""
        bucket = self.state.buckets["stock"]
        wire = self.wire(bucket, key, scope, collection)
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        document = bucket.writable(wire, 0, self.now)
        vbucket = vbucket_of(key.encode(), bucket.vbuckets)
        bucket.store(wire, vbucket, document, raw, 0, self.now, expiry=expiry, datatype=1)

    def wire(self, bucket: Bucket, key: str, scope: str, collection: str) -> bytes:
        return leb128(bucket.manifest.collection_id(scope, collection)) + key.encode()

    def remove(self, key: str) -> None:
        """Delete a document."""
        bucket = self.state.buckets["stock"]
        wire = self.wire(bucket, key, "_default", "_default")
        bucket.delete(wire, bucket.get(wire, self.now), vbucket_of(key.encode(), 64), self.now)

    def index(self, name: str = "i", prefix: str = "/api", **params: Any) -> None:
        """Create an index, or replace it."""
        body = INDEX | {"uuid": "*", "params": params or {"mapping": MAPPING}}
        status, answer = self.ask("PUT", f"{prefix}/index/{name}", body)
        self.assertEqual(status, 200, answer)

    def search(self, query: Any, name: str = "i", prefix: str = "/api", **more: Any) -> Any:
        """The answer to a search that is evaluated."""
        if "skip" in more:
            more["from"] = more.pop("skip")
        body = {"query": query, **more}
        status, answer = self.ask("POST", f"{prefix}/index/{name}/query", body)
        self.assertEqual(status, 200, answer)
        for member in ("status", "took", "max_score", "total_hits"):
            self.assertIn(member, answer)
        return answer

    def found(self, query: Any, **more: Any) -> list[str]:
        """The keys of what a search finds, sorted."""
        answer = self.search(query, **more)
        self.assertEqual(answer["total_hits"], len(answer["hits"]))
        return sorted(hit["id"] for hit in answer["hits"])
