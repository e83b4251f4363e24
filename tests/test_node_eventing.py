"""The eventing service of the embedded node: requests in, answers out."""

from __future__ import annotations

import copy
from typing import Any

from tests.node_services import ServiceCase
from txcouchbase.testing.management.accounts import Account
from txcouchbase.testing.management.roles import Grant


class EventingTests(ServiceCase):
    """The eventing service."""

    service = "eventing"
    PATH = "/api/v1/functions/f"

    def function(self, **members: Any) -> dict[str, Any]:
        config = {"source_bucket": "stock", "metadata_bucket": "other"}
        settings = {"deployment_status": False, "processing_status": False}
        function = {"appname": "f", "appcode": "function OnUpdate() {}", "depcfg": config}
        return function | {"settings": settings} | members

    def setUp(self) -> None:
        super().setUp()
        self.state.create_bucket("other", self.state.buckets["stock"].settings)

    def test_secrets(self) -> None:
        """Secrets of bindings are kept, and shown masked."""
        curl = {"hostname": "https://h", "value": "u", "auth_type": "basic", "username": "n"}
        config = {"curl": [curl | {"password": "secret"}]}
        body = self.function(depcfg=self.function()["depcfg"] | config)
        self.assertEqual(self.ask("POST", self.PATH, body)[0], 200)
        for path in (self.PATH, "/api/v1/functions"):
            _, read = self.ask("GET", path)
            self.assertNotIn("secret", str(read))
            self.assertIn("'username': 'n'", str(read))

    def test_deployed_at_once(self) -> None:
        """A new function that is to be deployed is; one that is to be paused is not."""
        for deployed, running, state in (
            (True, True, "deployed"),
            (True, False, "undeployed"),
            (False, False, "undeployed"),
        ):
            settings = {"deployment_status": deployed, "processing_status": running}
            self.state.eventing = type(self.state.eventing)()
            self.ask("POST", self.PATH, self.function(settings=settings))
            _, status = self.ask("GET", "/api/v1/status/f")
            self.assertEqual(status["app"]["composite_status"], state)
            self.assertEqual(status["num_eventing_nodes"], 1)

    def test_change(self) -> None:
        """A paused function may be changed, apart from its keyspaces."""
        self.ask("POST", self.PATH, self.function())
        self.ask("POST", f"{self.PATH}/deploy", b'{"worker_count": 4.0}')
        self.assertIs(type(self.ask("GET", self.PATH)[1]["settings"]["worker_count"]), int)
        self.refused(422, "ALREADY_DEPLOYED", "POST", self.PATH, self.function())
        self.ask("POST", f"{self.PATH}/pause")
        paused = {"settings": {"deployment_status": True, "processing_status": False}}
        self.assertEqual(self.ask("POST", self.PATH, self.function(**paused))[0], 200)
        config = {"depcfg": {"source_bucket": "other", "metadata_bucket": "stock"}}
        self.refused(400, "Keyspaces", "POST", self.PATH, self.function(**paused, **config))

    def test_deployed_settings(self) -> None:
        """Settings that come with a deployment are checked, and so is what may be gone since."""
        self.ask("POST", self.PATH, self.function())
        path = f"{self.PATH}/deploy"
        self.refused(400, "worker_count", "POST", path, {"worker_count": 0})
        self.refused(400, "not an object", "POST", path, [])
        self.refused(400, "no JSON", "POST", path, b"{")
        self.state.drop_bucket("other")
        self.refused(400, "ERR_BUCKET_MISSING", "POST", path)

    def test_malformed(self) -> None:
        """What is no function is refused with the error's name."""
        base = self.function()["depcfg"]

        def config(**members: Any) -> dict[str, Any]:
            return self.function(depcfg=base | members)

        def settings(**members: Any) -> dict[str, Any]:
            return self.function(settings=self.function()["settings"] | members)

        bucket = {"alias": "b", "bucket_name": "stock", "access": "r"}
        curl = {"value": "u", "hostname": "http://h", "auth_type": "no-auth"}
        for body, reason in (
            (b"{", "ERR_UNMARSHAL_PLD"),
            ([], "ERR_UNMARSHAL_PLD"),
            (self.function(appcode=1), "ERR_UNMARSHAL_PLD"),
            (config(buckets={}), "ERR_UNMARSHAL_PLD"),
            (config(curl=[1]), "ERR_UNMARSHAL_PLD"),
            (config(source_scope=1), "ERR_UNMARSHAL_PLD"),
            (config(curl=[curl | {"allow_cookies": 1}]), "ERR_UNMARSHAL_PLD"),
            (self.function(appname="g"), "ERR_APPNAME_MISMATCH"),
            (self.function(function_scope={"bucket": "x"}), "ERR_INVALID_REQUEST"),
            (self.function(appcode=""), "ERR_INVALID_CONFIG"),
            (self.function(appcode="x" * 200_000), "ERR_APPCODE_SIZE"),
            (self.function(appcode="f("), "ERR_HANDLER_COMPILATION"),
            (config(source_bucket=""), "ERR_INVALID_CONFIG"),
            (config(source_scope="*"), "ERR_INVALID_REQUEST"),
            (config(metadata_collection="*"), "ERR_INVALID_REQUEST"),
            (config(metadata_bucket="stock"), "ERR_SRC_MB_SAME"),
            (config(metadata_scope="x"), "ERR_COLLECTION_MISSING"),
            (config(buckets=[bucket | {"access": "w"}]), "ERR_BUCKET_ACCESS"),
            (config(buckets=[bucket | {"bucket_name": "x"}]), "ERR_BUCKET_MISSING"),
            (config(buckets=[bucket, bucket]), "not unique"),
            (config(buckets=[bucket | {"alias": "a-b"}]), "JavaScript variable"),
            (config(buckets=[bucket | {"alias": ""}]), "empty"),
            (config(buckets=[bucket | {"alias": "a" * 65}]), "length"),
            (config(curl=[curl | {"hostname": "ftp://h"}]), "scheme"),
            (config(curl=[curl | {"auth_type": "magic"}]), "auth type"),
            (config(constants=[{"value": "a"}]), "literal"),
            (settings(n1ql_prepare_all=1), "boolean"),
            (settings(worker_count=True), "number"),
            (settings(worker_count=1.5), "integer"),
            (settings(worker_count=2**70), "more than"),
            (settings(lcb_retry_count=-1), "negative"),
            (settings(num_timer_partitions=2000), "1024"),
            (settings(timer_context_size=10), "20 bytes"),
            (settings(user_prefix=""), "empty"),
            (settings(user_prefix="p" * 17), "16"),
            (settings(handler_headers=[1]), "array"),
            (settings(description=1), "string"),
            (settings(log_level="LOUD"), "possible values"),
        ):
            status, answer = self.ask("POST", self.PATH, body)
            self.assertGreaterEqual(status, 400, reason)
            self.assertIn(reason, str(answer))
            self.assertEqual(answer.keys(), {"name", "code", "description"})
        for name in ("a" * 101, "-a", "a.b"):
            body = self.function(appname=name)
            self.refused(400, "Function name", "POST", f"/api/v1/functions/{name}", body)
        self.assertEqual(self.ask("GET", "/api/v1/functions"), (200, []))

    def test_scope(self) -> None:
        """A function's scope is given whole, and must exist."""
        self.refused(400, "'scope' must be", "GET", self.PATH, bucket="stock")
        self.refused(400, "'bucket' must be", "GET", self.PATH, scope="shop")
        where = {"bucket": "stock", "scope": "shop"}
        body = self.function(function_scope=where)
        self.refused(400, "Missing Scope", "POST", self.PATH, body, **where)
        self.state.buckets["stock"].manifest.create_scope("shop")
        self.assertEqual(self.ask("POST", self.PATH, body, **where)[0], 200)
        self.refused(404, "ERR_APP_NOT_FOUND_TS", "GET", self.PATH)
        self.assertEqual(self.ask("GET", self.PATH, **where)[1]["function_scope"], where)

    def test_permissions(self) -> None:
        """Eventing is for those who may."""
        self.account = Account("b", "", "local", (Grant("ro_admin"),))
        self.refused(403, "ERR_FORBIDDEN", "GET", "/api/v1/functions")

    def test_snapshot(self) -> None:
        """A copy does not change with what is stored."""
        self.ask("POST", self.PATH, self.function())
        kept = copy.deepcopy(self.state.eventing)
        self.ask("POST", f"{self.PATH}/deploy")
        self.state.eventing = kept
        _, status = self.ask("GET", "/api/v1/status")
        self.assertEqual(status["apps"][0]["composite_status"], "undeployed")
