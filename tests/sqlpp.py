"""What the tests of SQL++ share: a query service without a network, and documents to ask for."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Call
from txcouchbase.testing.services import http_services
from txcouchbase.testing.storage import Storage

__all__ = ["START", "QueryService"]

START = 1_700_000_000.0

DOCUMENTS: dict[str, Any] = {
    "d1": {"name": "Ann", "age": 30, "tags": ["a", "b"], "address": {"city": "Oslo"}},
    "d2": {"name": "Bob", "age": 25, "tags": ["b"], "address": {"city": "Rome"}},
    "d3": {"name": "Cid", "age": 25, "tags": [], "boss": "d1"},
    "d4": {"name": "Dan", "age": None, "boss": "d1"},
}


class QueryService:
    """The query service of a cluster with the bucket ``b`` and its documents `DOCUMENTS`.

    The clock stands still unless ``now`` is set.
    """

    def __init__(self) -> None:
        self.now = START
        self.state = ClusterState("user", "secret", ["b", "c"], lambda: self.now)
        self.storage = Storage(self.state)
        self.storage.create_scope("b", "s")
        self.storage.create_collection("b", "s", "col")
        for key, value in DOCUMENTS.items():
            self.storage.put(key, value, bucket="b")
        self.service = http_services()["query"]

    def request(
        self,
        body: bytes,
        method: str = "POST",
        kind: str = "application/json",
        arguments: dict[str, str] | None = None,
        account: tuple[str, str] = ("user", "secret"),
        path: str = "/query/service",
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a request."""
        login = b64encode(":".join(account).encode()).decode()
        headers = {"authorization": f"Basic {login}", "content-type": kind}
        call = Call("query", method, path, arguments or {}, headers, body)
        answer = self.service.handle(self.state, call).answer
        assert answer is not None
        chunks = [answer.body] if isinstance(answer.body, bytes) else list(answer.body)
        return answer.code, b"".join(chunks)

    def ask(self, statement: str | None = None, **parameters: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer for a statement and further parameters."""
        if statement is not None:
            parameters["statement"] = statement
        code, body = self.request(json.dumps(parameters).encode())
        return code, json.loads(body)

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """The rows of a statement that succeeds."""
        _, answer = self.ask(statement, **parameters)
        assert answer["status"] == "success", answer
        rows: list[Any] = answer["results"]
        return rows

    def value(self, expression: str, **parameters: Any) -> Any:
        """The value of an expression; `Ellipsis` where it is MISSING."""
        (row,) = self.rows(f"SELECT {expression} AS v", **parameters)
        return row.get("v", ...)

    def error(self, statement: str | None = None, **parameters: Any) -> tuple[int, str]:
        """Code and message of the error of a statement that fails."""
        _, answer = self.ask(statement, **parameters)
        assert answer["status"] != "success", answer
        first = answer["errors"][0]
        return first["code"], first["msg"]

    def batches(self, statement: str) -> Iterator[bytes]:
        """The chunks of an answer as they are made."""
        login = b64encode(b"user:secret").decode()
        headers = {"authorization": f"Basic {login}", "content-type": "application/json"}
        body = json.dumps({"statement": statement}).encode()
        call = Call("query", "POST", "/query/service", {}, headers, body)
        answer = self.service.handle(self.state, call).answer
        assert answer is not None and not isinstance(answer.body, bytes)
        return answer.body
