"""Each kind of search query that the embedded node evaluates, and the scores."""

from __future__ import annotations

from base64 import b64encode
from struct import pack
from typing import Any

from tests.searching import EVERYTHING, HOTELS, SearchCase


class QueryTests(SearchCase):
    """Each kind of query."""

    def check(self, *cases: tuple[Any, list[str]]) -> None:
        self.index()
        for query, expected in cases:
            self.assertEqual(self.found(query), sorted(expected), query)

    def test_match(self) -> None:
        """Words of a text are analyzed as the field is; any or all have to be there."""
        self.check(
            ({"match": "HARBOUR", "field": "text"}, ["inn", "hostel"]),
            ({"match": "the", "field": "text"}, []),
            ({"match": "old sea", "field": "text"}, ["inn", "ritz"]),
            ({"match": "old sea", "field": "text", "operator": "and"}, ["inn"]),
            ({"match": "sea"}, ["inn", "ritz", "shop"]),
            ({"match": "caf\u00e9"}, ["hostel"]),
            ({"match": "harbor", "field": "text"}, []),
            ({"match": "harbor", "field": "text", "fuzziness": 1}, ["inn", "hostel"]),
            ({"match": "xarbour", "fuzziness": 1, "prefix_length": 1}, []),
            ({"match": "hotel", "field": "type"}, ["inn", "ritz"]),
            ({"match": "Hotel", "field": "type"}, []),
            ({"match": "Hotel", "field": "type", "analyzer": "standard"}, ["inn", "ritz"]),
            ({"match": "double", "field": "rooms.kind"}, ["inn"]),
            ({"match": "x", "field": "nothing"}, []),
        )

    def test_phrases(self) -> None:
        """Terms one after the other; a word that is left out holds its place."""
        self.check(
            ({"match_phrase": "old harbour", "field": "text"}, ["inn"]),
            ({"match_phrase": "view of the sea"}, ["inn"]),
            ({"match_phrase": "view sea"}, []),
            ({"match_phrase": "sea rope"}, []),
            ({"terms": ["swimming", "pool"], "field": "text"}, ["ritz"]),
            ({"terms": ["pool", "swimming"], "field": "text"}, []),
            ({"terms": [["swimming", "old"], ["pool", "inn"]], "field": "text"}, ["inn", "ritz"]),
            ({"match_phrase": "the of"}, []),
        )

    def test_terms(self) -> None:
        """Terms as they are, by their beginnings, by patterns, by range."""
        self.check(
            ({"term": "harbour", "field": "text"}, ["inn", "hostel"]),
            ({"term": "Harbour", "field": "text"}, []),
            ({"term": "harbor", "field": "text", "fuzziness": 1}, ["inn", "hostel"]),
            ({"term": "rtz", "field": "name", "fuzziness": 1}, ["ritz"]),
            ({"prefix": "har", "field": "text"}, ["inn", "hostel"]),
            ({"prefix": "ho", "field": "type"}, ["inn", "ritz", "hostel"]),
            ({"wildcard": "h?rb*r", "field": "text"}, ["inn", "hostel"]),
            ({"wildcard": "h.*", "field": "text"}, []),
            ({"regexp": "ho(tel|stel)", "field": "type"}, ["inn", "ritz", "hostel"]),
            ({"regexp": "hot", "field": "type"}, []),
            ({"min": "hostel", "max": "hotel", "field": "type"}, ["hostel"]),
            (
                {"min": "hostel", "max": "hotel", "field": "type"}
                | {"inclusive_min": False, "inclusive_max": True},
                ["inn", "ritz"],
            ),
        )

    def test_ranges(self) -> None:
        """Numbers and dates within bounds, flags, keys, everything and nothing."""
        self.check(
            ({"min": 3, "field": "stars"}, ["inn", "ritz"]),
            ({"min": 3, "max": 5, "field": "stars"}, ["inn"]),
            ({"min": 3, "max": 5, "field": "stars", "inclusive_max": True}, ["inn", "ritz"]),
            ({"min": 3, "inclusive_min": False, "field": "stars"}, ["ritz"]),
            ({"max": 100}, ["inn", "ritz", "hostel"]),
            ({"start": "2010-01-01", "field": "opened"}, ["ritz", "hostel"]),
            ({"start": "2010-01-01", "inclusive_start": False, "field": "opened"}, ["hostel"]),
            ({"end": "2020-12-31T09:00:00Z", "field": "opened"}, ["inn", "ritz"]),
            (
                {"end": "2020-12-31T09:00:00Z", "inclusive_end": True, "field": "opened"},
                ["inn", "ritz", "hostel"],
            ),
            ({"bool": True, "field": "pool"}, ["ritz"]),
            ({"bool": False, "field": "pool"}, ["inn", "hostel"]),
            ({"ids": ["inn", "nobody"]}, ["inn"]),
            (EVERYTHING, list(HOTELS)),
            ({"match_none": None}, []),
        )

    def test_places(self) -> None:
        """Places near another one, in a box, in a polygon."""
        london = {"lon": -0.12, "lat": 51.5}
        self.check(
            ({"location": london, "distance": "30km", "field": "geo"}, ["inn", "hostel"]),
            ({"location": [-0.12, 51.5], "distance": "6mi", "field": "geo"}, ["inn"]),
            ({"location": "51.5,-0.12", "distance": "500000m", "field": "geo"}, [*HOTELS][:3]),
            ({"top_left": [-1, 52], "bottom_right": [1, 51], "field": "geo"}, ["inn", "hostel"]),
            ({"top_left": [170, 90], "bottom_right": [1, -90], "field": "geo"}, ["inn", "hostel"]),
            (
                {"polygon_points": [[2, 48], [3, 48], [3, 50], [2, 50]], "field": "geo"},
                ["ritz"],
            ),
        )

    def test_compounds(self) -> None:
        """Queries made of queries."""
        sea, old, hotel = ({"match": word} for word in ("sea", "old", "hotel"))
        optional = {"disjuncts": [old], "min": 0}
        self.check(
            ({"conjuncts": [sea, old]}, ["inn"]),
            ({"disjuncts": [sea, old]}, ["inn", "ritz", "shop"]),
            ({"disjuncts": [sea, old, hotel], "min": 2}, ["inn", "ritz"]),
            ({"must": {"conjuncts": [sea]}, "must_not": {"disjuncts": [old]}}, ["ritz", "shop"]),
            ({"must": {"conjuncts": [sea]}, "should": optional}, ["inn", "ritz", "shop"]),
            ({"must": {"conjuncts": [sea]}, "should": {"disjuncts": [old], "min": 1}}, ["inn"]),
            ({"should": {"disjuncts": [old, hotel], "min": 2}}, ["inn"]),
            ({"must_not": {"disjuncts": [sea]}}, ["hostel"]),
        )

    def test_query_strings(self) -> None:
        """The language of query strings."""
        self.check(
            ({"query": "old grand"}, ["inn", "ritz"]),
            ({"query": "+sea -old"}, ["ritz", "shop"]),
            ({"query": "+sea old"}, ["inn", "ritz", "shop"]),
            ({"query": "-sea"}, ["hostel"]),
            ({"query": 'text:"old harbour"'}, ["inn"]),
            ({"query": "name:harbour^3"}, ["hostel"]),
            ({"query": "stars:>=3"}, ["inn", "ritz"]),
            ({"query": "stars:<3 "}, ["hostel"]),
            ({"query": "stars:5"}, ["ritz"]),
            ({"query": 'opened:>"2015-01-01"'}, ["hostel"]),
            ({"query": "harbor~1"}, ["inn", "hostel"]),
            ({"query": "text:har*"}, ["inn", "hostel"]),
            ({"query": "type:/ho.+/"}, ["inn", "ritz", "hostel"]),
            ({"query": r"name:rope\ anchor"}, ["shop"]),
            ({"query": ""}, []),
        )

    def test_refused(self) -> None:
        """What is wrong, or not evaluated, is said by name, whatever else is asked for."""
        self.index()
        for query, reason in (
            ({}, "unknown query type"),
            (5, "unknown query type"),
            ({"match": 5}, "match must be a string"),
            ({"match": "x", "fuzziness": 3}, "exceeds max"),
            ({"match": "x", "fuzziness": "auto"}, "not evaluated"),
            ({"match": "x", "operator": "xor"}, "operator"),
            ({"match": "x", "analyzer": "fr"}, "'fr' is not evaluated"),
            ({"match": "x", "boost": "1"}, "boost"),
            ({"terms": []}, "at least one term"),
            ({"must": None}, "boolean query must contain"),
            ({"conjuncts": []}, "not empty"),
            ({"disjuncts": [{"match": "x"}], "min": 2}, "minimum number of clauses"),
            ({"conjuncts": [EVERYTHING, {"nothing": 1}]}, "unknown query type"),
            ({"min": None}, "must specify min or max"),
            ({"start": "yesterday"}, "unable to parse datetime"),
            ({"start": "2010-02-30"}, "unable to parse datetime"),
            ({"start": "2010-02-03", "datetime_parser": "mine"}, "not evaluated"),
            ({"regexp": "("}, "error parsing regexp"),
            ({"ids": "x"}, "array of strings"),
            ({"bool": "yes"}, "true or false"),
            ({"distance": "1furlong", "location": [0, 0]}, "unknown unit"),
            ({"distance": "1m", "location": [0]}, "must be a place"),
            ({"polygon_points": [[0, 0], [1, 1]]}, "three points"),
            ({"geometry": {}}, "not evaluated"),
            ({"cidr": "10.0.0.0/8"}, "not evaluated"),
            ({"query": '"open'}, "syntax error"),
        ):
            self.refused(400, reason, "POST", "/api/index/i/query", {"query": query})


class ScoreTests(SearchCase):
    """Scores, explanations and orders."""

    def test_scores(self) -> None:
        """Rare terms, many of them, and short fields count more; boosts weigh."""
        for key, words in (("a", "sea"), ("b", "sea sea land"), ("c", "sea land land land rare")):
            self.store(key, {"f": words})
        self.index()

        def order(query: Any) -> list[str]:
            return [hit["id"] for hit in self.search(query)["hits"]]

        self.assertEqual(order({"term": "sea", "field": "f"}), ["a", "b", "c"])
        self.assertEqual(order({"match": "sea rare", "field": "f"})[0], "c")
        sea, rare = {"term": "sea", "field": "f"}, {"term": "rare", "field": "f"}
        self.assertEqual(order({"disjuncts": [sea, rare]})[0], "c")
        self.assertEqual(order({"disjuncts": [sea | {"boost": 50.0}, rare]})[0], "a")
        only = [{"ids": ["a"]}, {"ids": ["b"], "boost": 3.0}]
        self.assertEqual(order({"disjuncts": only}), ["b", "a"])
        answer = self.search(sea)
        self.assertEqual(answer["max_score"], answer["hits"][0]["score"])
        answer = self.search(sea, score="none")
        self.assertEqual({hit["score"] for hit in answer["hits"]} | {answer["max_score"]}, {0.0})

    def test_beyond_numbers(self) -> None:
        """A score is a number, whatever weighs it."""
        self.index()
        for query in (
            {"match": "old sea", "boost": 1e308},
            {"disjuncts": [{"ids": ["inn"], "boost": 1e308}, {"match": "sea", "boost": -1e308}]},
        ):
            answer = self.search(query, explain=True)
            for score in (answer["max_score"], *(hit["score"] for hit in answer["hits"])):
                self.assertIsInstance(score, float)

    def test_explanations(self) -> None:
        """An explanation is a tree whose values make the score."""
        self.index()
        sea, old = {"match": "sea"}, {"match": "old"}
        for query in (
            sea,
            {"match": "sea old"},
            {"match_phrase": "old harbour"},
            {"prefix": "ha"},
            {"must": {"conjuncts": [sea]}, "should": {"disjuncts": [old], "min": 0}},
            {"min": 1},
            {"query": "+sea old"},
        ):
            hits = self.search(query, explain=True)["hits"]
            self.assertTrue(hits)
            for hit in hits:
                self.assertEqual(hit["explanation"]["value"], hit["score"])
                self.assertTrue(hit["explanation"]["message"])
        self.assertNotIn("explanation", self.search(sea)["hits"][0])

    def test_sort(self) -> None:
        """By score, key, field and distance, up and down, with what has no value at either end."""
        self.store("many", {"type": "z", "stars": [2, 9]})
        self.index()
        for sort, expected in (
            (["_id"], ["hostel", "inn", "many", "ritz", "shop"]),
            (["-_id"], ["shop", "ritz", "many", "inn", "hostel"]),
            (["stars"], ["hostel", "many", "inn", "ritz", "shop"]),
            (["-stars"], ["ritz", "inn", "many", "hostel", "shop"]),
            (
                [{"by": "field", "field": "stars", "mode": "max"}],
                "hostel inn ritz many shop".split(),
            ),
            (
                [{"by": "field", "field": "stars", "missing": "first", "desc": True}],
                "shop ritz inn many hostel".split(),
            ),
            (["type", "_id"], ["hostel", "inn", "ritz", "shop", "many"]),
            (["-type", {"by": "id", "desc": True}], ["many", "shop", "ritz", "inn", "hostel"]),
            (
                [{"by": "field", "field": "opened", "type": "date"}, "_id"],
                ["inn", "ritz", "hostel", "many", "shop"],
            ),
            (
                [{"by": "field", "field": "stars", "type": "string"}, "_id"],
                ["hostel", "inn", "many", "ritz", "shop"],
            ),
            (
                [{"by": "geo_distance", "field": "geo", "location": [2, 48], "unit": "km"}, "_id"],
                ["ritz", "hostel", "inn", "many", "shop"],
            ),
        ):
            hits = self.search(EVERYTHING, sort=sort)["hits"]
            self.assertEqual([hit["id"] for hit in hits], list(expected), sort)
            self.assertEqual({len(hit["sort"]) for hit in hits}, {len(sort)})
        self.store("mixed", {"stars": "many"})
        hits = self.search(EVERYTHING, sort=["-stars"])["hits"]
        self.assertEqual([hit["id"] for hit in hits][:2], ["mixed", "ritz"])
        by_score = self.search({"match": "old sea"}, sort=[{"by": "score", "desc": False}])
        scores = [hit["score"] for hit in by_score["hits"]]
        self.assertEqual(scores, sorted(scores))
        wrong: tuple[tuple[Any, str], ...] = (
            ("stars", "array"),
            ([["a", "b"]], "unknown search sort"),
            ([{"by": "luck"}], "unknown search sort by"),
            ([{"by": "field"}], "must specify field"),
            ([{"by": "field", "field": "a", "mode": "avg"}], "mode"),
            ([{"by": "geo_distance", "field": "a", "location": 1}], "location"),
            (
                [{"by": "geo_distance", "field": "a", "location": [1, 1], "unit": "ell"}],
                "distance unit",
            ),
        )
        for sort, reason in wrong:
            body = {"query": EVERYTHING, "sort": sort}
            self.refused(400, reason, "POST", "/api/index/i/query", body)


class VectorTests(SearchCase):
    """The nearest vectors."""

    def setUp(self) -> None:
        super().setUp()
        for name, at in (("p", [0.0, 1.0]), ("q", [3.0, 4.0]), ("r", [-1.0, 0.0])):
            packed = b64encode(pack("<2f", *at)).decode()
            self.store(name, {"v": at, "dot": at, "cos": packed, "type": name})
        self.store("short", {"v": [1.0], "dot": [], "cos": "AAAA"})
        self.index()

    def nearest(self, *knn: dict[str, Any], query: Any = None, **more: Any) -> list[str]:
        query = {"match_none": None} if query is None else query
        return [hit["id"] for hit in self.search(query, knn=list(knn), **more)["hits"]]

    def test_nearest(self) -> None:
        """The nearest by each similarity, as a list or packed, among what a filter finds."""
        one = {"field": "v", "vector": [0.0, 0.5], "k": 2}
        self.assertEqual(self.nearest(one), ["p", "r"])
        self.assertEqual(self.nearest(one | {"k": 9}), ["p", "r", "q"])
        self.assertEqual(self.nearest(one | {"field": "dot"}), ["q", "p"])
        self.assertEqual(self.nearest(one | {"field": "cos"}), ["p", "q"])
        packed = b64encode(pack("<2f", 0.0, 0.5)).decode()
        other = {"field": "v", "vector_base64": packed, "k": 2}
        self.assertEqual(self.nearest(other), ["p", "r"])
        self.assertEqual(self.nearest(one | {"filter": {"match": "q", "field": "type"}}), ["q"])
        hits = self.search({"match_none": {}}, knn=[one], explain=True)["hits"]
        self.assertEqual([hit["score"] for hit in hits], [4.0, 0.8])
        self.assertEqual(hits[0]["explanation"]["value"], 4.0)
        hits = self.search({"match_none": {}}, knn=[one | {"boost": 2.0, "vector": [0.0, 1.0]}])
        self.assertGreater(hits["max_score"], 1e30)

    def test_together(self) -> None:
        """Vectors with vectors, by either operator, and beside a query."""
        one = {"field": "v", "vector": [0.0, 1.0], "k": 1}
        two = {"field": "v", "vector": [0.0, 1.0], "k": 2}
        self.assertEqual(self.nearest(one, two), ["p", "r"])
        self.assertEqual(self.nearest(one, two, knn_operator="and"), ["p"])
        query = {"match": "sea"}
        found = self.nearest(one, query=query)
        self.assertEqual(sorted(found), ["inn", "p", "ritz", "shop"])
        self.assertEqual(found[0], "p")

    def test_refused(self) -> None:
        """Wrong vectors are refused."""
        path = "/api/index/i/query"
        good: dict[str, Any] = {"field": "v", "vector": [0.0, 1.0], "k": 1}
        for knn, reason in (
            ({}, "array"),
            ([5], "array of objects"),
            ([good | {"k": 0}], "k (at least 1)"),
            ([good | {"vector": ["x"]}], "array of numbers"),
            ([{"field": "v", "k": 1, "vector_base64": "?"}], "array of numbers"),
            ([good | {"vector": [1.0]}], "1 dims"),
            ([good | {"field": "name"}], "no vector field 'name'"),
            ([good | {"filter": {}}], "unknown query type"),
        ):
            self.refused(400, reason, "POST", path, {"query": EVERYTHING, "knn": knn})
        body = {"query": EVERYTHING, "knn": [good], "knn_operator": "xor"}
        self.refused(400, "knn_operator", "POST", path, body)
