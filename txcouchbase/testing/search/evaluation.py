"""One search: from a request to its hits, in small steps.

The index is brought up to date first, so a search sees all that was written before it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite, sqrt
from time import perf_counter
from typing import Any

import msgspec

from txcouchbase.testing.search.documents import Documents
from txcouchbase.testing.search.highlights import fragments, locations, stored_fields
from txcouchbase.testing.search.matchers import chunks, explanation
from txcouchbase.testing.search.requests import Request
from txcouchbase.testing.search.sorting import Best, key_of
from txcouchbase.testing.search.sources import Source
from txcouchbase.testing.search.turns import Steps
from txcouchbase.testing.search.values import MAX_FLOAT

__all__ = ["Search"]

LATE = "context deadline exceeded"
"""What a server says of a part of an index that did not answer in time."""


class Search:
    """One search in one index.

    :param index: what the index holds.
    :param source: gives what it has its documents from, when the search begins.
    :param part: what the part of the index is called in hits and errors.
    """

    def __init__(
        self, request: Request, index: Documents, source: Callable[[], Source], part: str
    ) -> None:
        self._request = request
        self._index = index
        self._source = source
        self._part = part
        self._started = perf_counter()
        self._deadline = self._started + request.timeout
        self._scores: dict[int, float] = {}
        self._late = False
        self.hits: list[bytes] = []
        """The hits as JSON, once `steps` are done."""

    def steps(self) -> Steps:
        """Do the work."""
        for _ in self._work():
            if perf_counter() > self._deadline:
                # As a server: without what the part that was late would have found.
                self._late, self._scores, self.hits = True, {}, []
                return
            yield

    def _work(self) -> Steps:
        request, index = self._request, self._index
        yield from index.refresh(self._source())
        for matcher in (request.query, request.nearest):
            if matcher is None:
                continue
            squares = yield from matcher.weigh(index, 1.0)
            yield from matcher.run(index, 1 / sqrt(squares) if squares else 1.0)
            for part in chunks(matcher.found.items()):
                for row, score in part:
                    total = self._scores.get(row, 0.0) + score
                    # JSON has no infinity, and clients abort where they find no number.
                    self._scores[row] = total if isfinite(total) else MAX_FLOAT
                if index.pace.due():
                    yield
        if request.collections is not None:
            for rows in chunks(self._scores):
                for row in rows:
                    if index.rows[row].collection not in request.collections:
                        del self._scores[row]
                if index.pace.due():
                    yield
        if not request.scored:
            self._scores = dict.fromkeys(self._scores, 0.0)
        for facet in request.facets.values():
            yield from facet.count(index, self._scores)
        best = Best(request.skip + request.size, key_of(request.orders))
        for part in chunks(self._scores.items()):
            for row, score in part:
                values = [order.read(index, row, score) for order in request.orders]
                best.add([(values, row)])
                if index.pace.due():
                    yield
        for values, row in best.items()[request.skip :]:
            self.hits.append(msgspec.json.encode(self._hit(values, row)))
            if index.pace.due():
                yield

    def _hit(self, values: list[Any], row: int) -> dict[str, Any]:
        request, index = self._request, self._index
        hit: dict[str, Any] = {
            "index": self._part,
            "id": index.rows[row].key,
            "score": self._scores[row],
            "sort": [
                "" if value is None else order.shown(value)
                for order, value in zip(request.orders, values, strict=True)
            ],
        }
        if request.explain:
            hit["explanation"] = self._explanation(row)
        if request.fields:
            hit["fields"] = stored_fields(index, row, request.fields)
        if request.locations or request.highlight is not None:
            places = []
            if request.query is not None and row in request.query.found:
                places = list(request.query.places(index, row))
            found = locations(places)
            if found:
                hit["locations"] = found
            if request.highlight is not None:
                marked = fragments(index, row, places, *request.highlight)
                if marked:
                    hit["fragments"] = marked
        return hit

    def _explanation(self, row: int) -> dict[str, Any]:
        parts = [
            matcher.explain(row)
            for matcher in (self._request.query, self._request.nearest)
            if matcher is not None and row in matcher.found
        ]
        if len(parts) == 1:
            return parts[0]
        return explanation(self._scores[row], "sum of:", parts)

    def rest(self) -> dict[str, Any]:
        """What an answer says beside its hits."""
        request = self._request
        status: dict[str, Any] = {"total": 1, "failed": 0, "successful": 1}
        if self._late:
            status = {"total": 1, "failed": 1, "successful": 0, "errors": {self._part: LATE}}
        found: dict[str, Any] = {
            "status": status,
            "total_hits": len(self._scores),
            "max_score": max(self._scores.values(), default=0.0),
            "took": max(int((perf_counter() - self._started) * 1e9), 1),
            "facets": {name: each.result() for name, each in request.facets.items()} or None,
        }
        if request.shown is not None:
            found["request"] = request.shown
        return found

    def batches(self) -> Iterator[list[bytes]]:
        """The hits, in parts that one step can send."""
        return chunks(self.hits)
