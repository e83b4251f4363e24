"""The embedded node's management service, without a network."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Answer, Call
from txcouchbase.testing.http.service import HttpService
from txcouchbase.testing.kv.settings import BucketSettings
from txcouchbase.testing.management.accounts import Account, User
from txcouchbase.testing.management.roles import Grant
from txcouchbase.testing.management.service import ROUTES

START = 1_700_000_000.0
BUCKETS = "/pools/default/buckets"
MISSING = b"Requested resource not found.\r\n"


class ManagementTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.state = ClusterState("admin", "password", ["default"], self.clock.seconds)
        self.state.serve({"kv": 1, "mgmt": 2, "n1ql": 3})
        self.service = HttpService("mgmt", ROUTES)

    def call(
        self,
        method: str,
        path: str,
        form: dict[str, Any] | bytes | None = None,
        account: str = "admin",
        arguments: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and body, parsed where it is JSON."""
        body = form if isinstance(form, bytes) else urlencode(form or {}).encode()
        call = Call(
            "mgmt",
            method,
            path,
            body=body,
            arguments=arguments or {},
            account=self.account(account),
        )
        answer = self.service.handle(self.state, call).answer
        assert isinstance(answer, Answer) and isinstance(answer.body, bytes)
        try:
            return answer.code, json.loads(answer.body)
        except ValueError:
            return answer.code, answer.body

    def account(self, name: str) -> Account:
        account = self.state.security.account(name)
        assert account is not None
        return account

    def user(self, name: str, *grants: Grant) -> None:
        self.state.security.put_user(
            User(name, "local", password="password", password_changed=START, grants=grants)
        )

    def error(self, method: str, path: str, form: Any = None, code: int = 400) -> str:
        """The text of a refusal."""
        found, body = self.call(method, path, form)
        self.assertEqual(found, code, body)
        self.assertIsInstance(body, dict)
        return str(body["errors"])


class BucketTests(ManagementTestCase):
    def create(self, name: str = "b", **fields: Any) -> dict[str, Any]:
        code, body = self.call("POST", BUCKETS, {"name": name, "ramQuotaMB": 100} | fields)
        self.assertEqual((code, body), (202, b""))
        code, body = self.call("GET", f"{BUCKETS}/{name}")
        self.assertEqual(code, 200)
        self.assertIsInstance(body, dict)
        return dict(body)

    def test_what_clients_insist_on(self) -> None:
        for name in ("bucketType", "evictionPolicy", "conflictResolutionType", "uuid", "name"):
            self.assertIsInstance(self.create(name.lower())[name], str)
        shown = self.create()
        self.assertEqual(shown["quota"]["rawRAM"], 100 * 1024**2)
        self.assertIsInstance(shown["replicaNumber"], int)
        self.assertNotIn("flush", shown["controllers"])
        (node,) = shown["nodes"]
        for name in ("status", "hostname", "version"):
            self.assertIsInstance(node[name], str)
        self.assertEqual(node["services"], ["kv", "n1ql", "index"])
        self.assertEqual(node["ports"], {"direct": 1})
        self.assertEqual(shown["vBucketServerMap"]["vBucketMap"], [[0, -1]] * 64)

    def test_settings(self) -> None:
        magma = {"storageBackend": "magma", "ramQuotaMB": 1024}
        for fields, expected in (
            ({}, {"bucketType": "membase", "evictionPolicy": "valueOnly", "replicaNumber": 1}),
            ({"bucketType": "couchbase"}, {"bucketType": "membase", "replicaIndex": False}),
            (
                {"bucketType": "ephemeral"},
                {"evictionPolicy": "noEviction", "storageBackend": "undefined"},
            ),
            (magma, {"evictionPolicy": "fullEviction", "historyRetentionCollectionDefault": True}),
            (magma | {"historyRetentionSeconds": 5}, {"historyRetentionSeconds": 5}),
            (magma | {"historyRetentionBytes": 2**31}, {"historyRetentionBytes": 2**31}),
            ({"replicaIndex": 1}, {"replicaIndex": True}),
            ({"maxTTL": 9}, {"maxTTL": 9}),
            ({"compressionMode": "off"}, {"compressionMode": "off"}),
            ({"conflictResolutionType": "lww"}, {"conflictResolutionType": "lww"}),
            ({"durabilityMinLevel": "majority"}, {"durabilityMinLevel": "majority"}),
            ({"numVBuckets": 1024}, {"numVBuckets": 1024}),
        ):
            shown = self.create(**fields)
            self.assertEqual({name: shown[name] for name in expected}, expected, fields)
            self.assertEqual(self.call("DELETE", f"{BUCKETS}/b"), (200, b""))

    def test_refusals_at_creation(self) -> None:
        quota = {"ramQuotaMB": 100}
        for fields, text in (
            ({}, "needs to be specified"),
            ({"name": ""} | quota, "cannot be empty"),
            ({"name": "x" * 101} | quota, "cannot exceed 100 characters"),
            ({"name": ".b"} | quota, "cannot start with dot"),
            ({"name": "_b"} | quota, "reserved"),
            ({"name": "ä"} | quota, "can only contain"),
            ({"name": "DEFAULT"} | quota, "Bucket with given name already exists"),
            ({"name": "b"}, "RAM Quota must be specified"),
            ({"name": "b", "ramQuotaMB": "x"}, "RAM Quota must be specified"),
            ({"name": "b", "ramQuotaMB": 99}, "less than 100 MiB"),
            ({"name": "b", "ramQuotaMB": 70000}, "too large to be provisioned"),
            ({"name": "b", "replicaNumber": 4} | quota, "replica number"),
            ({"name": "b", "replicaNumber": "²"} | quota, "replica number"),
            ({"name": "b", "bucketType": "memcached"} | quota, "bucket type"),
            ({"name": "b", "evictionPolicy": "nruEviction"} | quota, "Eviction policy"),
            ({"name": "b", "evictionPolicy": "x"} | quota, "Eviction policy"),
            ({"name": "b", "maxTTL": 2**31} | quota, "Max TTL"),
            ({"name": "b", "maxTTL": -1} | quota, "Max TTL"),
            ({"name": "b", "flushEnabled": "yes"} | quota, "flushEnabled can only be 1 or 0"),
            ({"name": "b", "compressionMode": "x"} | quota, "compressionMode"),
            ({"name": "b", "conflictResolutionType": "custom"} | quota, "developer preview"),
            ({"name": "b", "storageBackend": "x"} | quota, "couchstore or magma"),
            ({"name": "b", "storageBackend": "magma"} | quota, "1024 MiB"),
            ({"name": "b", "historyRetentionSeconds": 1} | quota, "Magma"),
            ({"name": "b", "historyRetentionBytes": 1} | quota, "Magma"),
            (
                {"name": "b", "storageBackend": "magma", "ramQuotaMB": 1024}
                | {"historyRetentionBytes": 1},
                "2147483648",
            ),
            ({"name": "b", "durabilityMinLevel": "x"} | quota, "Durability minimum level"),
            ({"name": "b", "numVBuckets": 0} | quota, "vbuckets"),
            ({"name": "b", "threadsNumber": 3} | quota, "'threadsNumber': 'Unsupported key'"),
            (
                {
                    "name": "b",
                    "bucketType": "ephemeral",
                    "durabilityMinLevel": "persistToMajority",
                }
                | quota,
                "ephemeral buckets",
            ),
        ):
            self.assertIn(text, self.error("POST", BUCKETS, fields))
            self.assertEqual(list(self.state.buckets), ["default"], fields)

    def test_there_are_no_more_than_thirty(self) -> None:
        for number in range(29):
            self.create(f"b{number}")
        text = self.error("POST", BUCKETS, {"name": "more", "ramQuotaMB": 100})
        self.assertIn("Cannot create more than 30 buckets", text)

    def test_update(self) -> None:
        shown = self.create(numVBuckets=128)
        path = f"{BUCKETS}/b"
        changes = {"ramQuotaMB": 200, "maxTTL": 3, "flushEnabled": 1, "replicaNumber": 0}
        revision = self.state.config(None)["rev"]
        # Clients send back what they were shown.
        same = {"numVBuckets": 128, "evictionPolicy": "valueOnly", "replicaIndex": 0}
        self.assertEqual(self.call("POST", path, changes | same), (200, b""))
        self.assertGreater(self.state.config(None)["rev"], revision)
        _, changed = self.call("GET", path)
        self.assertEqual(changed["uuid"], shown["uuid"])
        self.assertEqual(changed["quota"]["rawRAM"], 200 * 1024**2)
        self.assertEqual((changed["maxTTL"], changed["replicaNumber"]), (3, 0))
        self.assertIn("flush", changed["controllers"])
        for form, text in (
            ({"bucketType": "ephemeral"}, "cannot be changed"),
            ({"conflictResolutionType": "lww"}, "not allowed in update"),
            ({"storageBackend": "magma"}, "is not done by the embedded node"),
            ({"numVBuckets": 64}, "cannot be modified"),
            ({"ramQuotaMB": 1}, "less than 100 MiB"),
            ({"ramQuotaMB": 70000}, "too large"),
            ({"name": "b"}, "Unsupported key"),
        ):
            self.assertIn(text, self.error("POST", path, form))
        self.assertEqual(self.call("GET", path)[1], changed)

    def test_unknown_buckets(self) -> None:
        for method, path in (
            ("GET", f"{BUCKETS}/x"),
            ("POST", f"{BUCKETS}/x"),
            ("DELETE", f"{BUCKETS}/x"),
            ("POST", f"{BUCKETS}/x/controller/doFlush"),
            ("GET", f"{BUCKETS}/x/scopes"),
            ("GET", "/pools/default/b/x"),
        ):
            self.assertEqual(self.call(method, path), (404, MISSING))

    def test_flush(self) -> None:
        bucket = self.state.buckets["default"]
        bucket.store(b"\0k", 0, None, b"1", 0, START)
        uuids = list(bucket.vbucket_uuids)
        path = f"{BUCKETS}/default/controller/doFlush"
        self.assertEqual(self.call("POST", path), (200, b""))
        self.assertEqual(bucket.documents, {})
        self.assertNotEqual(bucket.vbucket_uuids, uuids)
        bucket.configure(BucketSettings(flush=False))
        expected = (400, {"_": "Flush is disabled for the bucket"})
        self.assertEqual(self.call("POST", path), expected)

    def test_arguments_that_are_not_done_are_refused(self) -> None:
        form = {"name": "b", "ramQuotaMB": 100}
        code, body = self.call("POST", BUCKETS, form, arguments={"just_validate": "1"})
        self.assertEqual(code, 400)
        self.assertIn("just_validate", body["errors"]["_"])
        self.assertNotIn("b", self.state.buckets)


class CollectionTests(ManagementTestCase):
    scopes = f"{BUCKETS}/default/scopes"

    def collections(self) -> dict[str, dict[str, Any]]:
        _, shown = self.call("GET", self.scopes)
        return {
            f"{scope['name']}.{collection['name']}": collection
            for scope in shown["scopes"]
            for collection in scope["collections"]
        }

    def test_life(self) -> None:
        _, before = self.call("GET", self.scopes)
        self.assertEqual(before["uid"], "0")
        self.assertEqual(self.call("POST", self.scopes, {"name": "s"}), (200, {"uid": "1"}))
        collections = f"{self.scopes}/s/collections"
        self.assertEqual(self.call("POST", collections, {"name": "c"}), (200, {"uid": "2"}))
        self.assertEqual(self.collections()["s.c"], {"name": "c", "uid": "8", "history": False})
        answer = self.call("PATCH", f"{collections}/c", {"maxTTL": -1})
        self.assertEqual(answer, (200, {"uid": "3"}))
        self.assertEqual(self.collections()["s.c"]["maxTTL"], -1)
        self.assertEqual(self.call("PATCH", f"{collections}/c", {"maxTTL": 0})[0], 200)
        self.assertNotIn("maxTTL", self.collections()["s.c"])
        self.assertEqual(self.call("DELETE", f"{collections}/c"), (200, {"uid": "5"}))
        self.assertEqual(self.call("DELETE", f"{self.scopes}/s"), (200, {"uid": "6"}))
        self.assertEqual(list(self.collections()), ["_default._default"])

    def test_refusals(self) -> None:
        self.state.create_scope("default", "s")
        self.state.create_collection("default", "s", "c")
        collections = f"{self.scopes}/s/collections"
        for method, path, form, code, text in (
            ("POST", self.scopes, {}, 400, "must be supplied"),
            ("POST", self.scopes, {"name": ""}, 400, "1 to 251"),
            ("POST", self.scopes, {"name": "x" * 252}, 400, "1 to 251"),
            ("POST", self.scopes, {"name": "_x"}, 400, "First character"),
            ("POST", self.scopes, {"name": "x y"}, 400, "Can only contain"),
            ("POST", self.scopes, {"name": "x", "y": 1}, 400, "Unsupported key"),
            ("POST", self.scopes, {"name": "s"}, 400, 'Scope with name "s" already exists'),
            ("POST", collections, {"name": "c"}, 400, '"c" in scope "s" already exists'),
            ("POST", collections, {"name": "d", "maxTTL": -2}, 400, "in range from -1"),
            ("POST", collections, {"name": "d", "maxTTL": "x"}, 400, "must be an integer"),
            ("POST", collections, {"name": "d", "history": "x"}, 400, "[true,false]"),
            ("POST", collections, {"name": "d", "history": "true"}, 400, "type of bucket"),
            ("PATCH", f"{collections}/c", {"name": "d"}, 400, "Unsupported key"),
            ("PATCH", f"{collections}/d", {"maxTTL": 1}, 404, '"d" in scope "s" is not found'),
            ("DELETE", f"{collections}/d", {}, 404, '"d" in scope "s" is not found'),
            ("DELETE", f"{self.scopes}/t", {}, 404, 'Scope with name "t" is not found'),
            ("POST", f"{self.scopes}/t/collections", {"name": "c"}, 404, '"t" is not found'),
            ("DELETE", f"{self.scopes}/_default", {}, 400, "not allowed"),
        ):
            self.assertIn(text, self.error(method, path, form, code))

    def test_bounds(self) -> None:
        for number in range(1199):
            self.state.create_collection("default", "_default", f"c{number}")
        path = f"{self.scopes}/_default/collections"
        self.assertIn("1200", self.error("POST", path, {"name": "more"}, 429))


class InfoTests(ManagementTestCase):
    def test_cluster(self) -> None:
        _, pools = self.call("GET", "/pools")
        self.assertEqual(pools["pools"][0]["name"], "default")
        version, build, edition = pools["implementationVersion"].split("-")
        self.assertEqual((version[:3], build.isdigit(), edition), ("7.6", True, "enterprise"))
        _, pool = self.call("GET", "/pools/default")
        (node,) = pool["nodes"]
        for name in ("hostname", "otpNode", "version", "os", "status"):
            self.assertIsInstance(node[name], str)
        bucket = self.state.buckets["default"]
        names = [{"bucketName": "default", "uuid": bucket.uuid}]
        self.assertEqual(pool["bucketNames"], names)
        self.assertEqual(self.call("GET", "/pools/nodes")[1]["nodes"], [node])
        _, services = self.call("GET", "/pools/default/nodeServices")
        self.assertEqual(services["nodesExt"][0]["services"], self.state.services)
        _, config = self.call("GET", "/pools/default/b/default")
        self.assertEqual(config, self.state.config(bucket))

    def test_what_is_not_done_is_named(self) -> None:
        for method, path in (
            ("GET", "/pools/default/bucketsStreaming/default"),
            ("POST", "/node/controller/doJoinCluster"),
            ("POST", "/controller/rebalance"),
        ):
            self.assertIn(path, self.error(method, path, code=501))

    def test_login(self) -> None:
        for path, code in (("/", 200), ("/pools", 401), ("/nowhere", 401)):
            answer = self.service.handle(self.state, Call("mgmt", "GET", path)).answer
            assert answer is not None
            self.assertEqual(answer.code, code)


class RandomTests(ManagementTestCase):
    paths = st.sampled_from(sorted({route.pattern for route in ROUTES}))
    names = st.sampled_from(["default", "_default", "local", "u", "g", "x", "%", "%00", "é", "*"])
    fields = st.sampled_from(
        [
            "name",
            "ramQuotaMB",
            "replicaNumber",
            "bucketType",
            "maxTTL",
            "roles",
            "password",
            "groups",
        ]
    )
    values = st.one_of(
        st.text(max_size=8), st.sampled_from(["default", "100", "-1", "9" * 30, "ro_admin", "a[b"])
    )
    bodies = st.one_of(
        st.binary(max_size=40),
        st.dictionaries(fields, values, max_size=4).map(
            lambda form: urlencode(form, errors="replace").encode()
        ),
    )
    methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "x"])

    def test_whatever_is_asked_is_answered(self) -> None:
        errors: list[Any] = []

        @settings(max_examples=400, deadline=None, derandomize=True)
        @given(self.methods, self.paths, st.lists(self.names, min_size=4, max_size=4), self.bodies)
        def ask(method: str, path: str, names: list[str], body: bytes) -> None:
            for placeholder, name in zip(
                ("{bucket}", "{scope}", "{domain}", "{user}"), names, strict=True
            ):
                path = path.replace(placeholder, quote(name))
            path = path.replace("{collection}", quote(names[0])).replace("{group}", "g")
            code, answer = self.call(method, path, body)
            if code == 500:
                errors.append((method, path, body, answer))

        ask()
        self.assertEqual(errors, [])
