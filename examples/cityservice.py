"""The kind of application this is for: a web service that is busy with CPU.

``GET /<city>`` reads the city's document and a neighbour's, works for about a millisecond,
counts the visit and stores a note of it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter

from couchbase.options import SignedInt64
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from txcouchbase.collection import TxCollection

__all__ = ["CityService"]


def work(seconds: float) -> str:
    """Keep the CPU busy, as rendering or scoring would."""
    digest = b""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


class CityService(Resource):  # type: ignore[misc]
    """The service's one resource.

    Attributes:
        stored: The notes whose storing was acknowledged, by key.
        unknown: Notes whose storing failed, by key: they may be stored or not.
        operations: When each database operation ended (seconds), and how long it took.
        errors: The errors that requests met, by what they said.
    """

    isLeaf = True

    def __init__(self, cities: TxCollection, keys: list[str], cpu: float = 0.001) -> None:
        super().__init__()
        self._cities = cities
        self._keys = keys
        self._cpu = cpu
        self._visits = 0
        self.stored: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.operations: list[tuple[float, float]] = []
        self.errors: Counter[str] = Counter()

    def render_GET(self, request: Request) -> int:
        """Answer later, once the database has."""
        answer = ensureDeferred(self._answer(request))
        answer.addErrback(lambda failure: request.processingFailed(failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        self._visits += 1
        visit = self._visits
        city = self._keys[int(request.path[1:]) % len(self._keys)]
        neighbour = self._keys[(int(request.path[1:]) + 1) % len(self._keys)]
        try:
            documents = await gatherResults(
                [self._timed(self._cities.get(key)) for key in (city, neighbour)],
                consumeErrors=True,
            )
            names = [document.content_as[dict]["name"] for document in documents]
            score = work(self._cpu)
            await gatherResults(
                [
                    self._timed(self._cities.binary().increment("visits", initial=SignedInt64(1))),
                    self._timed(self._store(f"visit-{visit}", visit, score)),
                ],
                consumeErrors=True,
            )
            status, body = 200, {"cities": names, "score": score}
        except Exception as error:  # the page says what went wrong, whatever it is
            cause = getattr(error, "subFailure", None)
            reason = cause.value if cause is not None else error
            self.errors[type(reason).__name__] += 1
            status, body = 503, {"error": str(reason)}
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.write(json.dumps(body).encode())
        request.finish()

    async def _store(self, key: str, visit: int, score: str) -> None:
        try:
            await self._cities.upsert(key, {"visit": visit, "score": score})
        except Exception:
            self.unknown[key] = visit
            raise
        self.stored[key] = visit

    def _timed(self, operation: Deferred) -> Deferred:  # type: ignore[type-arg]
        started = time.monotonic()
        deferred = operation if isinstance(operation, Deferred) else ensureDeferred(operation)

        def ended(result: object) -> object:
            now = time.monotonic()
            self.operations.append((now, now - started))
            return result

        return deferred.addBoth(ended)
