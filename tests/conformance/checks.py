"""What the checks share: how they are declared, and what they get."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import count
from typing import Any
from unittest import TestCase

from couchbase.auth import PasswordAuthenticator
from couchbase.bucket import Bucket
from couchbase.cluster import Cluster
from couchbase.collection import Collection
from couchbase.options import ClusterOptions

__all__ = ["CHECKS", "Check", "Context", "check", "eventually", "expect", "raises"]

expect = TestCase()
expect.maxDiff = None


@dataclass(frozen=True)
class Check:
    """One check.

    :param behaviour: the documented behaviour that it stands for.
    """

    area: str
    name: str
    behaviour: str
    function: Callable[[Context], None]


CHECKS: list[Check] = []
"""All that are declared in the modules imported so far."""


def check(behaviour: str) -> Callable[[Callable[[Context], None]], Callable[[Context], None]]:
    """Declare a check by the behaviour that it stands for."""

    def declare(function: Callable[[Context], None]) -> Callable[[Context], None]:
        area = function.__module__.rpartition(".")[2]
        CHECKS.append(Check(area, function.__name__, behaviour, function))
        return function

    return declare


def raises(expected: type[BaseException]) -> AbstractContextManager[Any]:
    """As `TestCase.assertRaises`; the context's ``exception`` is what was raised."""
    return expect.assertRaises(expected)


def eventually(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds that comes in the background, such as a client's new map."""
    end = time.monotonic() + seconds
    while not happened():
        expect.assertLess(time.monotonic(), end)
        time.sleep(0.02)


class Context:
    """A server, and the SDK connected to it.

    :param where: what ``python -m txcouchbase.testing`` prints.
    """

    def __init__(self, where: dict[str, Any]) -> None:
        self.connstr: str = where["connstr"]
        self.username: str = where["username"]
        self.password: str = where["password"]
        self.bucket_name: str = where["bucket"]
        self.mgmt_port: int = where["mgmt"]
        self.control_port: int = where["control"]
        self.cert: str | None = where.get("cert")
        self._numbers = count()

    def connect(
        self, username: str | None = None, password: str | None = None, **options: Any
    ) -> Cluster:
        """Another cluster object; the node's own account by default."""
        authenticator = PasswordAuthenticator(
            username or self.username, password or self.password, cert_path=self.cert
        )
        cluster = Cluster.connect(self.connstr, ClusterOptions(authenticator, **options))
        cluster.wait_until_ready(timedelta(seconds=10))
        return cluster

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.connect()

    @cached_property
    def bucket(self) -> Bucket:
        """The node's bucket."""
        return self.cluster.bucket(self.bucket_name)

    @cached_property
    def collection(self) -> Collection:
        """The bucket's default collection."""
        return self.bucket.default_collection()

    def unique(self, prefix: str) -> str:
        """A name that no other check has."""
        return f"{prefix}-{next(self._numbers)}"

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the node's control port."""
        return self.http(self.control_port, method, path, body)

    def http(self, port: int, method: str, path: str, body: Any = None) -> Any:
        """A request of JSON without the SDK; the answer's JSON."""
        login = b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None
