"""An HTTP service: the one way from a request to its answer. No I/O.

In this order: the login, the record, faults, scripts, the service's own handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from txcouchbase.testing.faults import SERVICES, ActiveFault
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, fields_of, json_answer
from txcouchbase.testing.http.routes import Route, Router
from txcouchbase.testing.http.rows import Severed, cut_after
from txcouchbase.testing.record import RecordedRequest, without_secrets
from txcouchbase.testing.scripts import Script

if TYPE_CHECKING:
    from txcouchbase.testing.cluster import ClusterState

__all__ = ["Delivery", "HttpService", "Render"]

Render = Callable[[Iterable[Any], dict[str, Any], list[dict[str, Any]], Call], Answer]
"""Makes an answer of rows, metadata and errors, as the service would send it."""


@dataclass
class Delivery:
    """How an answer leaves.

    :param answer: the answer; None for silence.
    :param delay: seconds until it leaves.
    :param cut: the connection closes after so many bytes of the body; None: it stays.
    """

    answer: Answer | None
    delay: float = 0.0
    cut: int | None = None


def _whole_request(state: ClusterState, call: Call) -> str:
    return f"{call.operation} {call.body.decode('utf-8', 'replace')}"


def _plain_failure(reason: str) -> dict[str, Any]:
    return {"error": reason}


class HttpService:
    """One service.

    :param name: as faults, scripts and records call it.
    :param routes: what it answers.
    :param render: makes scripted answers of rows; None where answers have no rows.
    :param subject: the text of a request in which scripts search.
    :param failure: makes the body of an answer to what the service has no handler for, or what
        fails in the node, from the reason; clients abort where it lacks members.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        routes: Iterable[Route],
        render: Render | None = None,
        subject: Callable[[ClusterState, Call], str] = _whole_request,
        failure: Callable[[str], dict[str, Any]] = _plain_failure,
    ) -> None:
        self.name = name
        self._router = Router(routes)
        self._render = render
        self._subject = subject
        self._failure = failure

    def handle(self, state: ClusterState, call: Call) -> Delivery:
        """Answer a request; whatever goes wrong becomes an answer too."""
        credentials = call.credentials()
        if credentials is not None:
            call.account = state.security.authenticate(*credentials)
        # The control port is no part of the cluster.
        if state.record.on and self.name in SERVICES:
            state.record.add(_recorded(call, state.seconds()))
        struck = state.faults.strike(self.name, call.operation)
        if struck is None:
            return self._answer(state, call)
        return self._struck(struck, state, call)

    def _struck(self, struck: ActiveFault, state: ClusterState, call: Call) -> Delivery:
        fault = struck.fault
        if fault.effect == "refuse":
            assert isinstance(fault.status, int)
            return Delivery(Answer(fault.body.encode(), fault.status), fault.delay)
        if not fault.carried_out:
            cut = 0 if fault.effect == "drop" else None
            return Delivery(Answer(b"") if cut == 0 else None, fault.delay, cut)
        delivery = self._answer(state, call)
        delivery.delay += fault.delay
        answer = delivery.answer
        if fault.effect == "drop":
            delivery.cut = fault.size
        elif fault.effect == "silence":
            delivery.answer = None
        elif fault.effect == "truncate" and answer is not None:
            if isinstance(answer.body, bytes):
                answer.body = answer.body[: fault.size]
            else:
                answer.body = _first(answer.body, fault.size)
        elif fault.effect == "garble" and answer is not None:
            if isinstance(answer.body, bytes):
                answer.body = struck.garbled(answer.body)
            else:
                answer.body = map(struck.garbled, answer.body)
        return delivery

    def _answer(self, state: ClusterState, call: Call) -> Delivery:
        try:
            return self._served(state, call)
        except HttpRefused as refused:
            return Delivery(refused.answer())
        except Exception as error:
            self.log.failure(
                "{service}: {operation} failed", service=self.name, operation=call.operation
            )
            text = f"{type(error).__name__} in the embedded node: {error}"
            return Delivery(json_answer(self._failure(text), 500))

    def _served(self, state: ClusterState, call: Call) -> Delivery:
        route, unknown = None, None
        try:
            route, call.names = self._router.find(call.method, call.path)
        except HttpRefused as refused:
            unknown = refused
        if call.account is None and (route is None or route.login):
            raise HttpRefused(
                401, "unauthorized", {"WWW-Authenticate": 'Basic realm="Couchbase Server"'}
            )
        script = state.scripts.find(self.name, self._subject(state, call))
        if script is not None:
            return self._scripted(script, call)
        if route is None:
            assert unknown is not None
            body = self._failure(unknown.value["error"])
            raise HttpRefused(unknown.code, body, unknown.headers)
        return Delivery(route.handler(state, call))

    def _scripted(self, script: Script, call: Call) -> Delivery:
        if script.body is not None or self._render is None:
            return Delivery(Answer(script.body or b"", script.status or 200), script.delay)
        rows = script.rows_for(call)
        if script.cut_after is not None:
            rows = cut_after(rows, script.cut_after)
        answer = self._render(rows, script.metadata, script.errors, call)
        if script.status is not None:
            answer.code = script.status
        return Delivery(answer, script.delay)


def _first(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    try:
        for chunk in chunks:
            yield chunk[:size]
            size -= len(chunk)
            if size <= 0:
                return
    except Severed as severed:
        yield severed.rest[:size]
        raise Severed from None


def _recorded(call: Call, now: float) -> RecordedRequest:
    options: dict[str, Any] = dict(call.arguments)
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            options |= fields_of(call.body)
        elif call.body:
            parsed = call.json()
            options |= parsed if isinstance(parsed, dict) else {}
    except HttpRefused:
        # The whole body is recorded anyway.
        pass
    return RecordedRequest(
        service=call.service,
        operation=call.operation,
        account=call.account.name if call.account is not None else "",
        at=now,
        options=without_secrets(options),
        body=call.body,
        node=call.node,
    )
