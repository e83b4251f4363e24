"""Which handler answers which request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from txcouchbase.testing.http.calls import Answer, Call, HttpRefused

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["Handler", "Route", "Router"]

Handler = Callable[["ClusterState", Call], Answer]


@dataclass(frozen=True)
class Route:
    """One kind of request.

    :param method: the method, in capitals.
    :param pattern: a path; a segment in braces, such as ``{bucket}``, matches any one segment.
    :param handler: takes the cluster and the call. Failures are `HttpRefused`.
    :param login: whether name and password are asked for.
    """

    method: str
    pattern: str
    handler: Handler
    login: bool = True


class Router:
    """The routes of one service.

    :param routes: those that come first win.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[int, list[tuple[list[str], Route]]] = {}
        for route in routes:
            parts = _split(route.pattern)
            self._routes.setdefault(len(parts), []).append((parts, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route of a request, and what its placeholders stand for.

        :raises HttpRefused: 404 for a path that is unknown, 405 for a method that is.
        """
        parts = [unquote(part, errors="replace") for part in _split(path)]
        allowed = []
        for pattern, route in self._routes.get(len(parts), ()):
            names: dict[str, str] = {}
            for wanted, given in zip(pattern, parts, strict=True):
                if wanted.startswith("{"):
                    names[wanted[1:-1]] = given
                elif wanted != given:
                    break
            else:
                if route.method == method:
                    return route, names
                allowed.append(route.method)
        if allowed:
            reason = f"{method} is not done here, but {', '.join(dict.fromkeys(allowed))}"
            headers = {"Allow": ", ".join(dict.fromkeys(allowed))}
            raise HttpRefused(405, {"error": reason}, headers)
        raise HttpRefused(404, {"error": f"not here: {method} {path}"})


def _split(path: str) -> list[str]:
    return path.strip("/").split("/")
