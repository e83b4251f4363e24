"""Faults, the record and scripted answers of the embedded node, without a network."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.test_node_kv import Client, NodeTestCase, frame, store_extras
from txcouchbase.testing import Fault, Script
from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.faults import Faults
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.envelope import framed
from txcouchbase.testing.http.routes import Route, Router
from txcouchbase.testing.http.rows import Severed, encoded
from txcouchbase.testing.http.service import Delivery, HttpService
from txcouchbase.testing.kv.frames import Opcode
from txcouchbase.testing.kv.server import KeyValueFactory
from txcouchbase.testing.kv.status import Status
from txcouchbase.testing.record import (
    MAX_BYTES,
    MAX_REQUESTS,
    Record,
    RecordedRequest,
    without_secrets,
)


class FaultTests(SynchronousTestCase):
    def test_contradictions_are_refused_by_name(self) -> None:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("service", {"service": "cache", "delay": 1}),
            ("effect", {"service": "kv", "effect": "explode"}),
            ("delay", {"service": "kv"}),
            ("negative", {"service": "kv", "effect": "drop", "size": -1}),
            ("times", {"service": "kv", "delay": 1, "times": 0}),
            ("probability", {"service": "kv", "delay": 1, "probability": 2}),
            ("key", {"service": "query", "delay": 1, "key": "x"}),
            ("status", {"service": "kv", "effect": "refuse"}),
            ("status", {"service": "kv", "effect": "refuse", "status": "NOTHING"}),
            ("status", {"service": "kv", "effect": "refuse", "status": 503}),
            ("status", {"service": "query", "effect": "refuse", "status": "TMPFAIL"}),
            ("status", {"service": "query", "effect": "refuse", "status": 999}),
            ("status", {"service": "kv", "delay": 1, "status": "TMPFAIL"}),
            ("body", {"service": "kv", "effect": "refuse", "status": "TMPFAIL", "body": "x"}),
            ("carried_out", {"service": "kv", "effect": "garble", "carried_out": False}),
            ("operation", {"service": "kv", "delay": 1, "operation": "("}),
            ("operation", {"service": "kv", "delay": 1, "operation": "FETCH"}),
        ]
        for word, fields in wrong:
            with self.assertRaises(ValueError, msg=str(fields)) as raised:
                Fault(**fields)
            self.assertIn(word, str(raised.exception))

    def strikes(self, count: int, **fields: Any) -> list[bool]:
        faults = Faults(lambda: None)
        faults.add(Fault("kv", delay=1.0, **fields))
        return [faults.strike("kv", "GET", f"k{n}", "default") is not None for n in range(count)]

    def test_which_requests_are_struck(self) -> None:
        self.assertEqual(self.strikes(3), [True] * 3)
        self.assertEqual(self.strikes(4, skip=1, times=2), [False, True, True, False])
        self.assertEqual(self.strikes(3, operation="^SET$"), [False] * 3)
        self.assertEqual(self.strikes(3, key="1$"), [False, True, False])
        self.assertEqual(self.strikes(2, bucket="other"), [False] * 2)

    def test_chance_repeats_with_its_seed(self) -> None:
        first = self.strikes(200, probability=0.3, seed=5)
        self.assertEqual(first, self.strikes(200, probability=0.3, seed=5))
        self.assertNotEqual(first, self.strikes(200, probability=0.3, seed=6))
        self.assertTrue(30 <= sum(first) <= 90, sum(first))

    def test_they_end(self) -> None:
        faults = Faults(lambda: None)
        one = faults.add(Fault("kv", delay=1.0))
        faults.remove(one.number)
        self.assertIsNone(faults.strike("kv", "GET"))
        self.assertRaises(LookupError, faults.remove, one.number)
        faults.add(Fault("kv", delay=1.0))
        faults.clear()
        self.assertEqual(faults.active(), [])


class KeyValueFaultTests(NodeTestCase):
    def connected(self) -> Client:
        self.factory = KeyValueFactory(self.state, self.clock)
        return super().connected()

    def fault(self, **fields: Any) -> None:
        self.state.faults.add(Fault("kv", **fields))

    def test_refused_requests_do_nothing(self) -> None:
        self.fault(operation="^SET$", effect="refuse", status="TMPFAIL", times=1)
        self.assertEqual(self.status(Opcode.SET, b"k", b"1", store_extras()), Status.TMPFAIL)
        self.assertEqual(self.status(Opcode.GET, b"k"), Status.KEY_ENOENT)
        self.set(b"k")

    def test_a_plain_get_is_struck_too(self) -> None:
        # Such requests take a shorter way while nobody watches.
        self.set(b"k")
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)
        self.fault(effect="refuse", status="LOCKED", times=1)
        self.assertEqual(self.status(Opcode.GET, b"k"), Status.LOCKED)
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)
        self.state.faults.clear()
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)

    def test_delayed_answers_are_carried_out_at_once(self) -> None:
        self.fault(operation="^SET$", delay=2.0)
        self.assertEqual(self.client.send(frame(Opcode.SET, b"k", b"1", store_extras())), [])
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)
        self.clock.advance(2)
        self.assertEqual(self.client.send(b"")[0][0], Status.SUCCESS)

    def test_what_is_delayed_ends_with_the_connection(self) -> None:
        self.fault(delay=2.0)
        self.client.send(frame(Opcode.NOOP, collection=b""))
        self.client.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_dropped_in_the_middle_of_a_frame(self) -> None:
        self.set(b"k", b"v" * 100)
        self.fault(operation="^GET$", effect="drop", size=30)
        self.client.protocol.dataReceived(frame(Opcode.GET, b"k") + frame(Opcode.GET, b"k"))
        self.assertEqual(len(self.client.transport.value()), 30)
        self.assertTrue(self.client.transport.disconnecting)

    def test_a_delayed_answer_does_not_complete_a_dropped_one(self) -> None:
        self.set(b"k", b"v" * 100)
        self.fault(operation="^NOOP$", delay=2.0)
        self.client.protocol.dataReceived(frame(Opcode.NOOP, collection=b""))
        self.fault(operation="^GET$", effect="drop", size=30)
        self.client.protocol.dataReceived(frame(Opcode.GET, b"k"))
        self.clock.advance(2)  # the transport has not told yet that it is closed
        self.assertEqual(len(self.client.transport.value()), 30)

    def test_dropped_before_or_after_it_takes_effect(self) -> None:
        for carried_out, expected in ((True, Status.SUCCESS), (False, Status.KEY_ENOENT)):
            self.fault(operation="^SET$", effect="drop", carried_out=carried_out, times=1)
            key = b"k%d" % carried_out
            self.client.protocol.dataReceived(frame(Opcode.SET, key, b"1", store_extras()))
            self.assertTrue(self.client.transport.disconnecting)
            self.client = self.connected()
            self.assertEqual(self.status(Opcode.GET, key), expected)

    def test_truncated_and_garbled_bodies_in_whole_frames(self) -> None:
        self.set(b"k", b"v" * 100)
        self.fault(operation="^GET$", effect="truncate", size=10, times=1)
        self.assertEqual(self.client.ask(Opcode.GET, b"k")[2], b"v" * 6)
        self.fault(operation="^GET$", effect="garble", seed=3, times=2)
        first, second = (self.client.ask(Opcode.GET, b"k") for _ in range(2))
        self.assertEqual(len(first[2]), 100)
        self.assertNotEqual(first[2], b"v" * 100)
        self.assertNotEqual(first[2], second[2])

    def test_silence(self) -> None:
        self.fault(operation="^SET$", effect="silence", times=1)
        self.assertEqual(self.client.send(frame(Opcode.SET, b"k", b"1", store_extras())), [])
        self.assertEqual(self.status(Opcode.GET, b"k"), 0)

    def test_a_held_node_reads_nothing(self) -> None:
        self.factory.hold()
        self.assertEqual(self.client.transport.producerState, "paused")
        late = Client(self.factory)
        self.assertEqual(late.transport.producerState, "paused")
        self.client.protocol.resumeProducing()
        self.assertEqual(self.client.transport.producerState, "paused")
        self.factory.release()
        self.assertEqual(self.client.transport.producerState, "producing")

    def test_a_client_that_does_not_read_is_not_read_after_a_hold_either(self) -> None:
        self.client.protocol.pauseProducing()
        self.factory.hold()
        self.factory.release()
        self.assertEqual(self.client.transport.producerState, "paused")
        self.client.protocol.resumeProducing()
        self.assertEqual(self.client.transport.producerState, "producing")

    def test_what_came_due_during_a_hold_leaves_at_its_end(self) -> None:
        self.fault(delay=2.0, times=1)
        self.client.send(frame(Opcode.NOOP, collection=b""))
        self.factory.hold()
        self.clock.advance(9)
        self.assertEqual(self.client.send(b""), [])
        self.factory.release()
        self.assertEqual(self.client.send(b"")[0][0], Status.SUCCESS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_dropped_connection_does_nothing_more(self) -> None:
        self.fault(operation="^GET$", effect="drop", times=2)
        self.fault(operation="^NOOP$", effect="drop", delay=1.0)
        for opcode in (Opcode.GET, Opcode.NOOP):
            self.client.protocol.dataReceived(frame(opcode, b"k" if opcode == Opcode.GET else b""))
            self.clock.advance(1)
            self.assertTrue(self.client.transport.disconnecting)
            self.client.protocol.dataReceived(frame(Opcode.SET, b"late", b"1", store_extras()))
            self.client = self.connected()
        self.assertEqual(self.status(Opcode.GET_META, b"late"), Status.KEY_ENOENT)


class RecordTests(NodeTestCase):
    def test_requests_by_name_with_decoded_options(self) -> None:
        self.state.record.on = True
        self.state.buckets["default"].manifest.create_collection("_default", "c")
        self.client.ask(
            Opcode.SET, b"a", b"1", store_extras(7, 60), cas=5, frames=b"\x13\x01\x00\x0a\x50"
        )
        self.client.ask(Opcode.GET, b"b", collection=b"\x08")
        self.client.ask(Opcode.INCREMENT, b"n", extras=struct.pack(">QQI", 2, 10, 30))
        self.client.ask(Opcode.TOUCH, b"a", extras=struct.pack(">I", 9))
        self.client.ask(Opcode.GET_LOCKED, b"a", extras=struct.pack(">I", 12))
        spec = struct.pack(">BBHI", Opcode.SUBDOC_DICT_UPSERT, 1, 3, 1) + b"x.y1"
        self.client.ask(Opcode.SUBDOC_MULTI_MUTATION, b"a", spec, struct.pack(">IB", 8, 1))
        found = {request.operation: request for request in self.state.record}
        store = found["SET"]
        self.assertEqual(
            (store.service, store.account, store.bucket, store.scope, store.collection, store.key),
            ("kv", "user", "default", "_default", "_default", "a"),
        )
        self.assertEqual(
            store.options,
            {
                "cas": 5,
                "durability": "majority",
                "durability_timeout": 10,
                "preserve_expiry": True,
                "flags": 7,
                "expiry": 60,
            },
        )
        self.assertEqual(store.body, b"1")
        self.assertEqual(found["GET"].collection, "c")
        self.assertEqual(found["INCREMENT"].options, {"delta": 2, "initial": 10, "expiry": 30})
        self.assertEqual(found["TOUCH"].options, {"expiry": 9})
        self.assertEqual(found["GET_LOCKED"].options, {"lock_time": 12})
        self.assertEqual(
            found["SUBDOC_MULTI_MUTATION"].options,
            {
                "specs": [
                    {"operation": "SUBDOC_DICT_UPSERT", "flags": 1, "path": "x.y", "value": b"1"}
                ],
                "document_flags": 1,
                "expiry": 8,
            },
        )

    def test_only_while_it_is_on(self) -> None:
        self.set(b"a")
        self.state.record.on = True
        self.client.ask(Opcode.GET, b"a")
        self.state.record.on = False
        self.client.ask(Opcode.GET, b"a")
        self.assertEqual([request.operation for request in self.state.record], ["GET"])
        self.assertEqual(len(self.state.record.find("kv", "GET", "a")), 1)
        self.assertEqual(self.state.record.find("kv", "GET", "b"), [])
        self.state.record.clear()
        self.assertEqual(len(self.state.record), 0)

    def test_malformed_requests_are_taken_down_too(self) -> None:
        self.state.record.on = True
        self.assertEqual(self.status(Opcode.SET, b"a", b"1", b"odd"), Status.EINVAL)
        self.assertEqual(self.status(Opcode.SUBDOC_MULTI_LOOKUP, b"a", b"\xff"), Status.EINVAL)
        self.client.ask(0x6F)
        self.assertEqual(
            [(request.operation, request.options) for request in self.state.record],
            [
                ("SET", {"extras": b"odd".hex()}),
                ("SUBDOC_MULTI_LOOKUP", {"extras": ""}),
                ("0x6f", {}),
            ],
        )

    def test_no_passwords(self) -> None:
        self.state.record.on = True
        Client(self.factory).ask(Opcode.SASL_AUTH, b"PLAIN", b"\0user\0secret", collection=b"")
        (request,) = self.state.record
        self.assertNotIn("secret", repr(request))

    def test_secrets_are_hidden_however_deep(self) -> None:
        hidden = {
            "password": "p",
            "creds": [{"user": "u", "pass": "p"}],
            "depcfg": {"curl": [{"bearer_key": "p", "hostname": "h"}]},
            "secretAccessKey": "p",
            "sharedAccessSignature": "p",
        }
        shown = json.dumps(without_secrets(hidden))
        self.assertNotIn('"p"', shown)
        self.assertIn('"u"', shown)
        self.assertIn('"h"', shown)

    def test_keys_and_parameters_are_no_secrets(self) -> None:
        shown = {"key": "a", "startkey": "b", "$key": "c", "signature": False, "password": ""}
        self.assertEqual(without_secrets(shown), shown)

    def test_bounds(self) -> None:
        record = Record(lambda: None)
        body = bytes(MAX_BYTES // 4)
        for number in range(6):
            record.add(RecordedRequest("kv", str(number), "", 0.0, body=body))
        self.assertEqual([request.operation for request in record], ["2", "3", "4", "5"])
        record.clear()
        for number in range(MAX_REQUESTS + 1):
            record.add(RecordedRequest("kv", str(number), "", 0.0))
        self.assertEqual((len(record), next(iter(record)).operation), (MAX_REQUESTS, "1"))
        self.assertEqual(record.dropped, 1)


def _rows(state: ClusterState, call: Call) -> Answer:
    return Answer(framed("results", encoded(range(1000)), lambda: {"status": "success"}))


def _named(state: ClusterState, call: Call) -> Answer:
    return json_answer(call.names)


def _broken(state: ClusterState, call: Call) -> Answer:
    raise ZeroDivisionError("oh")


def _render(
    rows: Any, metadata: dict[str, Any], errors: list[dict[str, Any]], call: Call
) -> Answer:
    rest = {"errors": errors, **metadata}
    return Answer(framed("results", encoded(rows), lambda: rest))


class ServiceTests(SynchronousTestCase):
    """A service that only these tests know."""

    def setUp(self) -> None:
        clock = Clock()
        self.state = ClusterState("user", "secret", ["default"], clock.seconds)
        routes = [
            Route("POST", "/rows", _rows),
            Route("GET", "/of/{one}/{two}", _named),
            Route("GET", "/ping", lambda state, call: json_answer({}), login=False),
            Route("GET", "/broken", _broken),
        ]
        self.service = HttpService("query", routes, _render)

    def handle(self, method: str, path: str, body: bytes = b"", **headers: str) -> Delivery:
        headers.setdefault("authorization", "Basic dXNlcjpzZWNyZXQ=")
        return self.service.handle(
            self.state, Call("query", method, path, headers=headers, body=body)
        )

    def body(self, delivery: Delivery) -> bytes:
        assert delivery.answer is not None
        body = delivery.answer.body
        return body if isinstance(body, bytes) else b"".join(body)

    def code(self, delivery: Delivery) -> int:
        assert delivery.answer is not None
        return delivery.answer.code

    def test_routes(self) -> None:
        self.assertEqual(
            json.loads(self.body(self.handle("GET", "/of/a%2Fb/c%20d"))),
            {"one": "a/b", "two": "c d"},
        )
        self.assertEqual(self.code(self.handle("GET", "/nowhere")), 404)
        answer = self.handle("DELETE", "/rows").answer
        assert answer is not None
        self.assertEqual((answer.code, answer.headers), (405, {"Allow": "POST"}))
        self.assertRaises(HttpRefused, Router(()).find, "GET", "/")

    def test_logins(self) -> None:
        for header in ("", "Basic", "Basic !!", "Bearer x", "Basic dXNlcjp3cm9uZw=="):
            self.assertEqual(self.code(self.handle("POST", "/rows", authorization=header)), 401)
        self.assertEqual(self.code(self.handle("GET", "/ping", authorization="")), 200)
        self.assertEqual(self.code(self.handle("GET", "/nowhere", authorization="")), 401)

    def test_a_handler_that_fails(self) -> None:
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        delivery = self.handle("GET", "/broken", b"password=secret")
        self.assertEqual(self.code(delivery), 500)
        self.assertIn(b"ZeroDivisionError", self.body(delivery))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        logged = "\n".join(map(eventAsText, events))
        self.assertIn("GET /broken failed", logged)
        self.assertNotIn("dXNlcjpzZWNyZXQ=", logged)
        self.assertNotIn("secret", logged)

    def fault(self, **fields: Any) -> None:
        self.state.faults.add(Fault("query", times=1, **fields))

    def test_faults(self) -> None:
        whole = self.body(self.handle("POST", "/rows"))
        self.fault(effect="refuse", status=503, body="busy")
        delivery = self.handle("POST", "/rows")
        self.assertEqual((self.code(delivery), self.body(delivery)), (503, b"busy"))
        self.fault(delay=1.5)
        delivery = self.handle("POST", "/rows")
        self.assertEqual((delivery.delay, self.body(delivery)), (1.5, whole))
        self.fault(effect="truncate", size=20)
        self.assertEqual(self.body(self.handle("POST", "/rows")), whole[:20])
        self.fault(effect="garble", operation="^POST /rows$")
        garbled = self.body(self.handle("POST", "/rows"))
        self.assertEqual(len(garbled), len(whole))
        self.assertNotEqual(garbled, whole)
        self.fault(effect="drop", size=20)
        self.assertEqual(self.handle("POST", "/rows").cut, 20)
        self.fault(effect="drop", carried_out=False)
        self.assertEqual(self.handle("POST", "/rows").cut, 0)
        self.fault(effect="silence")
        self.assertIsNone(self.handle("POST", "/rows").answer)
        self.assertEqual(self.body(self.handle("POST", "/rows")), whole)

    def script(self, **fields: Any) -> None:
        self.state.scripts.add(Script("query", **fields))

    def test_scripted_rows(self) -> None:
        self.script(match="hotels", rows=[{"n": 1}, {"n": 2}], metadata={"status": "fine"})
        found = json.loads(self.body(self.handle("POST", "/rows", b"SELECT * FROM hotels")))
        self.assertEqual(found, {"results": [{"n": 1}, {"n": 2}], "errors": [], "status": "fine"})
        other = json.loads(self.body(self.handle("POST", "/rows", b"SELECT 1")))
        self.assertEqual(len(other["results"]), 1000)

    def test_scripts_may_answer_what_the_service_does_not_know(self) -> None:
        self.script(match="^GET /nowhere", body=b"here", status=201)
        delivery = self.handle("GET", "/nowhere")
        self.assertEqual((self.code(delivery), self.body(delivery)), (201, b"here"))
        self.assertEqual(self.code(self.handle("GET", "/nowhere", authorization="")), 401)

    def test_the_newest_script_wins_while_it_lasts(self) -> None:
        self.script(body=b"old")
        self.script(body=b"new", times=1, delay=0.5)
        first, second = self.handle("POST", "/rows"), self.handle("POST", "/rows")
        self.assertEqual((self.body(first), first.delay), (b"new", 0.5))
        self.assertEqual((self.body(second), second.delay), (b"old", 0.0))

    def test_rows_made_for_the_request(self) -> None:
        self.script(rows=lambda call: [call.body.decode()], errors=[{"code": 5000, "msg": "x"}])
        found = json.loads(self.body(self.handle("POST", "/rows", b"abc")))
        self.assertEqual(found["results"], ["abc"])
        self.assertEqual(found["errors"], [{"code": 5000, "msg": "x"}])

    def cut(self, rows: int, after: int) -> bytes:
        self.script(rows=[f"row-{n}" for n in range(rows)], cut_after=after, times=1)
        answer = self.handle("POST", "/rows").answer
        assert answer is not None and not isinstance(answer.body, bytes)
        sent = b""
        with self.assertRaises(Severed) as raised:
            for chunk in answer.body:
                sent += chunk
        return sent + raised.exception.rest

    def test_cut_in_the_middle_of_a_row(self) -> None:
        self.assertEqual(self.cut(5, 2), b'{"results":["row-0","row-1","row')
        self.assertEqual(self.cut(5, 0), b'{"results":["row')
        self.assertEqual(self.cut(2, 2), b'{"results":["row-0","row-1"')
        self.assertTrue(self.cut(500, 300).endswith(b'"row-299","row-'))

    def test_contradictions_are_refused_by_name(self) -> None:
        for word, fields in (
            ("service", {"service": "kv"}),
            ("match", {"service": "query", "match": "("}),
            ("body", {"service": "mgmt"}),
            ("body", {"service": "query", "body": b"x", "rows": [1]}),
            ("status", {"service": "query", "status": 99}),
            ("negative", {"service": "query", "delay": -1}),
            ("times", {"service": "query", "times": 0}),
        ):
            with self.assertRaises(ValueError) as raised:
                Script(**fields)  # type: ignore[arg-type]
            self.assertIn(word, str(raised.exception))

    def test_recorded_requests(self) -> None:
        self.state.record.on = True
        self.handle("POST", "/rows", b'{"statement": "SELECT 1", "args": [2]}')
        kind = {"content-type": "application/x-www-form-urlencoded"}
        self.handle("POST", "/rows", b"name=x&password=s3cret", **kind)
        self.handle("POST", "/rows", b"\xff\xfe")
        first, second, third = self.state.record
        self.assertEqual(first.operation, "POST /rows")
        self.assertEqual(first.account, "user")
        self.assertEqual(first.options, {"statement": "SELECT 1", "args": [2]})
        self.assertEqual(second.options["name"], "x")
        self.assertNotIn("s3cret", repr(second))
        self.assertEqual((third.options, third.body), ({}, b"\xff\xfe"))


class RowTests(SynchronousTestCase):
    def test_batches_start_small(self) -> None:
        sizes = [len(batch) for batch in encoded(range(1000))]
        self.assertEqual(sum(sizes), 1000)
        self.assertLess(sizes[0], sizes[1])

    def test_rows_are_not_read_ahead(self) -> None:
        taken: list[int] = []

        def rows() -> Iterator[int]:
            for n in range(10_000):
                taken.append(n)
                yield n

        next(encoded(rows()))
        self.assertLess(len(taken), 20)
