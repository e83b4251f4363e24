"""What a search may ask the embedded node for beside its query."""

from __future__ import annotations

from typing import Any

from tests.searching import EVERYTHING, HOTELS, MAPPING, SearchCase
from txcouchbase.testing.kv.bucket import vbucket_of


class OptionTests(SearchCase):
    """What else a request may ask for."""

    def test_pages(self) -> None:
        """Hits are skipped and limited; the total says how many there are."""
        for number in range(30):
            self.store(f"n{number:02}", {"n": number})
        self.index()
        query = {"min": 0, "field": "n"}
        answer = self.search(query, sort=["n"])
        self.assertEqual((answer["total_hits"], len(answer["hits"])), (30, 10))
        answer = self.search(query, sort=["n"], size=3, skip=28)
        self.assertEqual([hit["id"] for hit in answer["hits"]], ["n28", "n29"])
        self.assertEqual(self.search(query, size=0)["hits"], [])
        for body, reason in (
            ({"size": 10_000, "from": 1}, "bleveMaxResultWindow"),
            ({"size": -1}, "size"),
            ({"explain": 1}, "explain"),
            ({"fields": "*"}, "fields"),
            ({"search_after": ["x"]}, "not evaluated"),
            ({"score": "rrf"}, "not evaluated"),
            ({"highlight": {"style": "bold"}}, "no highlighter"),
            ({"highlight": {"fields": "name"}}, "fields of highlight"),
            ({"ctl": 5}, "objects"),
            ({"ctl": {"timeout": "1s"}}, "milliseconds"),
            ({"ctl": {"consistency": {"level": "strong"}}}, "consistencyLevel"),
            ({"collections": ["nobody"]}, "doesn't belong"),
        ):
            asked = {"query": EVERYTHING, **body}
            self.refused(400, reason, "POST", "/api/index/i/query", asked)

    def test_fields(self) -> None:
        """Stored fields are told, those of arrays as lists."""
        flags = {"index": True, "store": True}
        tags = {"fields": [{"type": "text", **flags}]}
        properties = MAPPING["default_mapping"]["properties"] | {"tags": tags}  # type: ignore[operator]
        mapping = {"default_mapping": {"dynamic": True, "properties": properties}}
        self.index(mapping=mapping)
        (hit,) = self.search({"ids": ["inn"]}, fields=["name", "stars"])["hits"]
        self.assertEqual(hit["fields"], {"name": "The Old Inn"})
        (hit,) = self.search({"ids": ["shop"]}, fields=["*"])["hits"]
        self.assertEqual(
            hit["fields"], {"name": "Rope & Anchor", "type": "shop", "tags": ["sea", "rope"]}
        )
        (hit,) = self.search({"ids": ["hostel"]}, fields=["geo"])["hits"]
        self.assertEqual(hit["fields"], {"geo": [-0.1, 51.4]})
        self.assertNotIn("fields", self.search({"ids": ["inn"]})["hits"][0])
        self.index(mapping={"default_mapping": {}, "store_dynamic": True})
        (hit,) = self.search({"ids": ["ritz"]}, fields=["stars", "rooms.kind", "pool"])["hits"]
        self.assertEqual(hit["fields"], {"stars": 5, "rooms.kind": "suite", "pool": True})

    def test_highlights(self) -> None:
        """Terms are marked in fragments of stored fields, and their places are told."""
        self.index()
        query = {"match": "harbour caf\u00e9"}
        hits = {hit["id"]: hit for hit in self.search(query, highlight={})["hits"]}
        self.assertEqual(
            hits["hostel"]["fragments"],
            {
                "name": ["<mark>Harbour</mark> Hostel"],
                "text": [
                    "Cheap beds. Young people. <mark>Caf\u00e9</mark> and bar at the"
                    " <mark>harbour</mark>."
                ],
            },
        )
        (place,) = hits["hostel"]["locations"]["text"]["harbour"]
        raw = HOTELS["hostel"]["text"].encode()
        self.assertEqual(raw[place["start"] : place["end"]], b"harbour")
        self.assertEqual((place["pos"], place["array_positions"]), (10, None))
        highlight = {"style": "ansi", "fields": ["name"]}
        hits = {hit["id"]: hit for hit in self.search(query, highlight=highlight)["hits"]}
        self.assertEqual(hits["hostel"]["fragments"], {"name": ["\x1b[43mHarbour\x1b[0m Hostel"]})
        self.assertNotIn("fragments", hits["inn"])
        (hit,) = self.search({"match": "rope", "field": "tags"}, includeLocations=True)["hits"]
        (place,) = hit["locations"]["tags"]["rope"]
        self.assertEqual(place["array_positions"], [1])
        self.assertNotIn("fragments", hit)
        (hit,) = self.search({"match_phrase": "old harbour"}, includeLocations=True)["hits"]
        self.assertEqual(len(hit["locations"]["text"]["old"]), 1)
        self.store("long", {"text": "<b> " + "word " * 200 + "needle" + " word" * 200})
        (hit,) = self.search({"match": "needle"}, highlight={})["hits"]
        (fragment,) = hit["fragments"]["text"]
        self.assertTrue(fragment.startswith("\u2026") and fragment.endswith("\u2026"), fragment)
        self.assertIn("<mark>needle</mark>", fragment)
        self.assertLess(len(fragment), 300)

    def test_facets(self) -> None:
        """Terms and ranges are counted, with what has no value, and what is not shown."""
        self.index()
        facets = {
            "kinds": {"field": "type", "size": 1},
            "stars": {
                "field": "stars",
                "size": 5,
                "numeric_ranges": [
                    {"name": "low", "max": 3},
                    {"name": "high", "min": 3, "max": 6},
                    {"name": "below", "max": -1},
                ],
            },
            "years": {
                "field": "opened",
                "size": 5,
                "date_ranges": [{"name": "new", "start": "2010-01-01", "end": "2030-01-01"}],
            },
        }
        answer = self.search(EVERYTHING, facets=facets, size=0)
        self.assertEqual(
            answer["facets"],
            {
                "kinds": {
                    "field": "type",
                    "total": 4,
                    "missing": 0,
                    "other": 2,
                    "terms": [{"term": "hotel", "count": 2}],
                },
                "stars": {
                    "field": "stars",
                    "total": 3,
                    "missing": 1,
                    "other": 0,
                    "numeric_ranges": [
                        {"name": "high", "min": 3, "max": 6, "count": 2},
                        {"name": "low", "max": 3, "count": 1},
                    ],
                },
                "years": {
                    "field": "opened",
                    "total": 2,
                    "missing": 1,
                    "other": 0,
                    "date_ranges": [
                        {"name": "new", "start": "2010-01-01", "end": "2030-01-01", "count": 2}
                    ],
                },
            },
        )
        (only,) = self.search({"term": "suite"}, facets=facets)["facets"]["kinds"]["terms"]
        self.assertEqual(only, {"term": "hotel", "count": 1})
        ranges = [{"name": "a", "min": 1}]
        for facet, reason in (
            (5, "must be an object"),
            ({"size": 1}, "must be an object of a field"),
            ({"field": "f", "numeric_ranges": [{"name": "a"}]}, "must have a bound"),
            ({"field": "f", "numeric_ranges": [{"min": 1}]}, "no name"),
            ({"field": "f", "numeric_ranges": ranges * 2}, "duplicate"),
            ({"field": "f", "numeric_ranges": ranges, "date_ranges": ranges}, "not both"),
            ({"field": "f", "date_ranges": [{"name": "a", "start": "x"}]}, "not readable"),
        ):
            body = {"query": EVERYTHING, "facets": {"a": facet}}
            self.refused(400, reason, "POST", "/api/index/i/query", body)

    def test_request(self) -> None:
        """The request is repeated if it says so."""
        self.index()
        answer = self.search({"match": "sea"}, showrequest=True, unknown=1)
        self.assertEqual(answer["request"]["query"], {"match": "sea"})
        self.assertNotIn("request", self.search({"match": "sea"}))

    def test_time(self) -> None:
        """What is not done in time is not in the answer, which says so."""
        self.index()
        for number in range(500):
            self.store(f"n{number}", {"text": "much to index " * 20})
        answer = self.search({"match": "much"}, ctl={"timeout": 1})
        self.assertEqual((answer["hits"], answer["total_hits"]), ([], 0))
        self.assertEqual(answer["status"]["failed"], 1)
        self.assertIn("deadline exceeded", str(answer["status"]["errors"]))
        self.assertEqual(self.search({"match": "much"})["total_hits"], 500)

    def test_consistency(self) -> None:
        """A search waits for mutations that the index will have, and fails for others."""
        self.index()
        bucket = self.state.buckets["stock"]
        number = vbucket_of(b"inn", bucket.vbuckets)
        token = f"{number}/{bucket.vbucket_uuids[number]}"

        def control(seqno: int, token: str = token, name: str = "i") -> dict[str, Any]:
            vectors = {name: {token: seqno}}
            return {"ctl": {"consistency": {"level": "at_plus", "vectors": vectors}}}

        now = bucket.seqnos[number]
        self.assertEqual(self.found({"ids": ["inn"]}, **control(now)), ["inn"])
        self.found(EVERYTHING, **control(now + 9, name="another"))
        body = {"query": EVERYTHING}
        path = "/api/index/i/query"
        self.refused(412, "will not reach", "POST", path, body | control(now + 1))
        mismatched = "pindex_consistency mismatched partition"
        self.refused(400, mismatched, "POST", path, body | control(1, f"{number}/1"))
        self.refused(400, "no vBucket", "POST", path, body | control(1, "x/1"))
        self.ask("POST", "/api/index/i/ingestControl/pause")
        self.assertEqual(self.found({"ids": ["inn"]}, **control(now)), ["inn"])
        self.store("inn", {})
        self.refused(412, "ingest is paused", "POST", path, body | control(now + 1))
