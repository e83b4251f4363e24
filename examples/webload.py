"""A load for a web service, in a process of its own: ``webload.py URL SECONDS CONNECTIONS``.

Prints one line of JSON: when each request ended, how long it took and its status.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import DeferredList, inlineCallbacks
from twisted.web.client import Agent, HTTPConnectionPool, readBody


@inlineCallbacks
def visitor(agent: Agent, url: str, number: int, end: float, seen: list[Any]) -> Any:
    """Ask for one page after another."""
    page = number * 1000
    while time.monotonic() < end:
        page += 1
        started = time.monotonic()
        response = yield agent.request(b"GET", f"{url}/{page}".encode())
        yield readBody(response)
        now = time.monotonic()
        seen.append((now, now - started, response.code))


@inlineCallbacks
def main(reactor: Any, url: str, seconds: str, connections: str) -> Any:
    """Run the visitors and print what they saw."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = int(connections)
    agent = Agent(reactor, pool=pool)
    seen: list[Any] = []
    end = time.monotonic() + float(seconds)
    visitors = [visitor(agent, url, n, end, seen) for n in range(int(connections))]
    yield DeferredList(visitors, consumeErrors=True)
    yield pool.closeCachedConnections()
    print(json.dumps(seen))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
