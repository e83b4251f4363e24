"""The embedded node's users, groups and roles, and what management does to connections."""

from __future__ import annotations

import copy
import struct
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.test_node_kv import Client, frame, store_extras
from tests.test_node_management import BUCKETS, START, ManagementTestCase
from txcouchbase.testing.kv.frames import Feature, Opcode
from txcouchbase.testing.kv.server import KeyValueFactory
from txcouchbase.testing.kv.status import Status
from txcouchbase.testing.management.accounts import Group, Security, User
from txcouchbase.testing.management.roles import PERMISSIONS, ROLES, Grant

USERS = "/settings/rbac/users"
GROUPS = "/settings/rbac/groups"


class AccountTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.security = Security("admin", "password")

    def test_login(self) -> None:
        self.security.put_user(User("u", "local", password="secret-é", password_changed=1.0))
        self.security.put_user(User("e", "external"))
        for name, password, expected in (
            ("admin", "password", "builtin"),
            ("admin", "secret-é", None),
            ("u", "secret-é", "local"),
            ("u", "password", None),
            ("u", "", None),
            ("e", "", None),
            ("nobody", "", None),
            ("", "", None),
            ("u", "\ud800", None),
        ):
            account = self.security.authenticate(name, password)
            self.assertEqual(account and account.domain, expected, (name, password))

    def test_passwords_are_in_no_repr(self) -> None:
        self.security.put_user(User("u", "local", password="secret", password_changed=1.0))
        for shown in (self.security.users, self.security.account("u"), self.security):
            self.assertNotIn("secret", repr(shown))

    def test_rights(self) -> None:
        grants = (Grant("data_reader", ("a", "*", "*")), Grant("bucket_admin", ("*",)))
        self.security.groups["g"] = Group("g", grants=(Grant("ro_admin"),))
        user = User("u", "local", password="p", password_changed=1.0, grants=grants, groups=("g",))
        self.security.put_user(user)
        account = self.security.account("u")
        assert account is not None
        for permission, bucket, expected in (
            ("read", "a", True),
            ("read", "b", False),
            ("read", None, True),
            ("write", "a", False),
            ("manage", "b", True),
            ("security", None, True),
            ("users", None, False),
            ("admin", None, False),
        ):
            self.assertEqual(account.may(permission, bucket), expected, (permission, bucket))
        self.assertRaises(KeyError, account.may, "no such permission")

    def test_every_role_grants_known_permissions(self) -> None:
        for role in ROLES.values():
            self.assertLessEqual(role.grants, PERMISSIONS.keys(), role.name)
        self.assertEqual(ROLES["admin"].grants, PERMISSIONS.keys())

    def test_a_copy_is_independent(self) -> None:
        stored = copy.deepcopy(self.security)
        self.security.put_user(User("u", "local", password="p", password_changed=1.0))
        self.assertEqual(stored.users, {})

    def test_a_dropped_bucket_and_a_dropped_group_take_their_roles(self) -> None:
        here, there = Grant("data_reader", ("a", "*", "*")), Grant("data_reader", ("b", "*", "*"))
        self.security.groups["g"] = Group("g", grants=(here, there))
        self.security.put_user(
            User("u", "local", password="p", grants=(here, there), groups=("g",))
        )
        self.security.forget_bucket("a")
        user = self.security.users["local", "u"]
        self.assertEqual(self.security.origins(user), {there: [None, "g"]})
        self.security.drop_group("g")
        user = self.security.users["local", "u"]
        self.assertEqual(self.security.origins(user), {there: [None]})


class SecurityTests(ManagementTestCase):
    def test_users(self) -> None:
        form = {
            "name": "Somebody",
            "password": "password",
            "roles": "data_reader[default:_default],ro_admin,bucket_admin[*]",
        }
        self.assertEqual(self.call("PUT", f"{USERS}/local/u", form), (200, ""))
        code, shown = self.call("GET", f"{USERS}/local/u")
        self.assertEqual(code, 200)
        shown.pop("uuid")
        origins = [{"type": "user"}]
        self.assertEqual(
            shown,
            {
                "id": "u",
                "domain": "local",
                "name": "Somebody",
                "roles": [
                    {"role": "bucket_admin", "bucket_name": "*", "origins": origins},
                    {
                        "role": "data_reader",
                        "bucket_name": "default",
                        "scope_name": "_default",
                        "collection_name": "*",
                        "origins": origins,
                    },
                    {"role": "ro_admin", "origins": origins},
                ],
                "groups": [],
                "external_groups": [],
                "password_change_date": "2023-11-14T22:13:20.000Z",
            },
        )
        self.clock.advance(1.5)
        # What is not said again is gone, but for the password.
        self.assertEqual(self.call("PUT", f"{USERS}/local/u", {"roles": ""}), (200, ""))
        _, shown = self.call("GET", f"{USERS}/local/u")
        self.assertEqual((shown["roles"], shown.get("name")), ([], None))
        self.assertEqual(shown["password_change_date"], "2023-11-14T22:13:20.000Z")
        self.assertIsNotNone(self.state.security.authenticate("u", "password"))
        for path, expected in ((USERS, ["u"]), (f"{USERS}/external", [])):
            self.assertEqual([user["id"] for user in self.call("GET", path)[1]], expected)
        self.assertEqual(self.call("DELETE", f"{USERS}/local/u"), (200, ""))
        self.assertEqual(self.call("DELETE", f"{USERS}/local/u"), (404, "User was not found."))
        self.assertEqual(self.call("GET", f"{USERS}/local/u"), (404, "Unknown user."))
        self.assertEqual(self.call("GET", f"{USERS}/x"), (404, "Unknown user domain."))

    def test_refusals(self) -> None:
        good = {"password": "password"}
        for path, form, text in (
            ("local/u", {"password": "short"}, "at least 6 characters"),
            ("local/u", {"password": "with\x07bell"}, "control characters"),
            ("local/u", {}, "Password is required for new user"),
            ("local/u", good | {"groups": "g,h"}, "Groups do not exist: g,h"),
            ("local/u", good | {"roles": "x"}, "[x]"),
            ("local/u", good | {"roles": "data_reader"}, "[data_reader]"),
            ("local/u", good | {"roles": "data_reader[]"}, "[data_reader[]]"),
            ("local/u", good | {"roles": "data_reader[x]"}, "[data_reader[x]]"),
            ("local/u", good | {"roles": "data_reader[default:x]"}, "unknown"),
            ("local/u", good | {"roles": "data_reader[*:x]"}, "unknown"),
            ("local/u", good | {"roles": "data_reader[default:_default:x]"}, "unknown"),
            ("local/u", good | {"roles": "data_reader[default:*:*:*]"}, "unknown"),
            ("local/u", good | {"roles": "ro_admin[*]"}, "[ro_admin[*]]"),
            ("local/u", good | {"locked": "true"}, "Unsupported key"),
            ("external/u", good, "Unsupported key"),
            ("local/@u", good, "cannot start with '@'"),
            ("local/a b", good, "must not contain"),
            ("local/" + "x" * 129, good, "may not exceed 128"),
        ):
            self.assertIn(text, self.error("PUT", f"{USERS}/{quote(path)}", form))
        self.assertEqual(self.state.security.users, {})

    def test_groups(self) -> None:
        form = {
            "description": "what for",
            "roles": "query_select[default]",
            "ldap_group_ref": "cn=people,dc=example",
        }
        self.assertEqual(self.call("PUT", f"{GROUPS}/g", form), (200, ""))
        role = {
            "role": "query_select",
            "bucket_name": "default",
            "scope_name": "*",
            "collection_name": "*",
        }
        shown = {"id": "g", **form, "roles": [role]}
        self.assertEqual(self.call("GET", f"{GROUPS}/g"), (200, shown))
        self.assertEqual(self.call("GET", GROUPS), (200, [shown]))
        user = {"password": "password", "groups": "g", "roles": "query_select[default]"}
        self.assertEqual(self.call("PUT", f"{USERS}/local/u", user)[0], 200)
        _, found = self.call("GET", f"{USERS}/local/u")
        origins = [{"type": "user"}, {"type": "group", "name": "g"}]
        self.assertEqual(found["roles"], [role | {"origins": origins}])
        self.assertEqual(self.call("DELETE", f"{GROUPS}/g"), (200, ""))
        self.assertEqual(self.call("GET", f"{USERS}/local/u")[1]["groups"], [])
        self.assertEqual(self.call("GET", f"{GROUPS}/g"), (404, "Unknown group."))
        self.assertEqual(self.call("DELETE", f"{GROUPS}/g"), (404, "Group was not found."))
        for form, text in (
            ({}, "must be supplied"),
            ({"roles": "x"}, "[x]"),
            ({"roles": "", "ldap_group_ref": "x"}, "distinguished name"),
            ({"roles": "", "x": "y"}, "Unsupported key"),
        ):
            self.assertIn(text, self.error("PUT", f"{GROUPS}/g", form))

    def test_roles(self) -> None:
        code, shown = self.call("GET", "/settings/rbac/roles")
        self.assertEqual(code, 200)
        for role in shown:
            for name in ("role", "name", "desc"):
                self.assertIsInstance(role[name], str)
        buckets = [role["bucket_name"] for role in shown if role["role"] == "data_reader"]
        self.assertEqual(buckets, ["*", "default"])

    def test_passwords(self) -> None:
        self.user("u")
        path = "/controller/changePassword"
        for name in ("admin", "u"):
            answer = self.call("POST", path, {"password": f"new for {name}"}, account=name)
            self.assertEqual(answer, (200, b""))
            self.assertIsNone(self.state.security.authenticate(name, "password"))
            self.assertIsNotNone(self.state.security.authenticate(name, f"new for {name}"))
        self.assertIn("at least 6", self.error("POST", path, {"password": "x"}))
        self.assertIn("must be supplied", self.error("POST", path))

    def test_whoami(self) -> None:
        self.user("u", Grant("ro_admin"))
        _, shown = self.call("GET", "/whoami")
        expected = {"id": "admin", "domain": "admin", "roles": [{"role": "admin"}]}
        self.assertEqual(shown, expected)
        _, shown = self.call("GET", "/whoami", account="u")
        self.assertEqual(shown["roles"], [{"role": "ro_admin"}])

    def test_groups_do_not_lend_rights_to_those_who_manage_users(self) -> None:
        self.user("security", Grant("security_admin_local"))
        self.user("chief")
        form = {"roles": "admin"}
        self.assertEqual(self.call("PUT", f"{GROUPS}/g", form)[0], 200)
        member = {"password": "password", "groups": "g"}
        for method, path, form, code in (
            ("PUT", f"{USERS}/local/x", member, 403),
            ("PUT", f"{USERS}/local/chief", member, 403),
            ("PUT", f"{GROUPS}/g", {"roles": "data_reader[*]"}, 403),
            ("DELETE", f"{GROUPS}/g", {}, 403),
        ):
            self.assertEqual(self.call(method, path, form, account="security")[0], code, path)
        self.assertEqual(self.call("PUT", f"{USERS}/local/chief", member)[0], 200)
        for method, form in (("PUT", {"password": "mine-now"}), ("DELETE", {})):
            path = f"{USERS}/local/chief"
            self.assertEqual(self.call(method, path, form, account="security")[0], 403)

    def test_rights(self) -> None:
        self.user("reader", Grant("data_reader", ("default", "*", "*")))
        self.user("security", Grant("security_admin_local"))
        self.user("bucket", Grant("bucket_admin", ("default",)))
        powerful = {"password": "password", "roles": "admin"}
        plain = {"password": "password", "roles": "data_reader[*]"}
        new = {"name": "b", "ramQuotaMB": "100"}
        for account, method, path, form, code in (
            ("reader", "GET", f"{BUCKETS}/default", {}, 200),
            ("reader", "DELETE", f"{BUCKETS}/default", {}, 403),
            ("reader", "POST", f"{BUCKETS}/default/controller/doFlush", {}, 403),
            ("reader", "POST", f"{BUCKETS}/default/scopes", {"name": "s"}, 403),
            ("reader", "GET", USERS, {}, 403),
            ("security", "GET", USERS, {}, 200),
            ("security", "PUT", f"{USERS}/local/x", plain, 200),
            ("security", "PUT", f"{USERS}/local/x", powerful, 403),
            ("security", "DELETE", f"{USERS}/local/security", {}, 403),
            ("security", "GET", f"{BUCKETS}/default", {}, 200),
            ("security", "POST", f"{BUCKETS}/default", {}, 403),
            ("bucket", "POST", BUCKETS, new, 403),
            ("bucket", "POST", f"{BUCKETS}/default/scopes", {"name": "s"}, 200),
            ("bucket", "DELETE", f"{BUCKETS}/default", {}, 200),
        ):
            found, body = self.call(method, path, form, account=account)
            self.assertEqual(found, code, (account, method, path, body))
            if code == 403:
                self.assertEqual(len(body["permissions"]), 1)


class EffectTests(ManagementTestCase):
    """What management does to key-value connections."""

    def setUp(self) -> None:
        super().setUp()
        self.factory = KeyValueFactory(self.state)

    def connect(self, name: str = "admin", password: str = "password") -> tuple[Client, int]:
        """A client, and the status of its login."""
        client = Client(self.factory)
        features = [Feature.COLLECTIONS, Feature.JSON, Feature.XATTR, Feature.ALT_REQUEST]
        client.ask(Opcode.HELLO, value=struct.pack(f">{len(features)}H", *features))
        payload = f"\0{name}\0{password}".encode()
        (login,) = client.send(frame(Opcode.SASL_AUTH, b"PLAIN", payload, collection=b""))
        return client, login[0]

    def select(self, client: Client, bucket: bytes = b"default") -> int:
        return client.send(frame(Opcode.SELECT_BUCKET, bucket, collection=b""))[0][0]

    def opened(self, name: str = "admin", bucket: bytes = b"default") -> Client:
        client, status = self.connect(name)
        self.assertEqual(status, Status.SUCCESS)
        self.assertEqual(self.select(client, bucket), Status.SUCCESS)
        return client

    def set(self, client: Client, key: bytes = b"k", **more: Any) -> int:
        return client.ask(Opcode.SET, key, b"1", store_extras(), **more)[0]

    def test_logins(self) -> None:
        self.user("u")
        self.assertEqual(self.connect("u")[1], Status.SUCCESS)
        self.assertEqual(self.connect("u", "wrong")[1], Status.AUTH_ERROR)
        self.call("POST", "/controller/changePassword", {"password": "another"}, account="u")
        self.assertEqual(self.connect("u")[1], Status.AUTH_ERROR)
        self.assertEqual(self.connect("u", "another")[1], Status.SUCCESS)
        self.call("DELETE", f"{USERS}/local/u")
        self.assertEqual(self.connect("u", "another")[1], Status.AUTH_ERROR)

    def test_a_new_login_ends_the_selection(self) -> None:
        client = self.opened()
        client.send(frame(Opcode.SASL_AUTH, b"PLAIN", b"\0x\0x", collection=b""))
        self.assertEqual(client.ask(Opcode.GET, b"k")[0], Status.EACCESS)

    def test_rights(self) -> None:
        self.user("reader", Grant("data_reader", ("default", "*", "*")))
        self.user("writer", Grant("data_writer", ("default", "*", "*")))
        self.user("stranger", Grant("data_reader", ("other", "*", "*")))
        self.assertEqual(self.set(self.opened()), Status.SUCCESS)
        lookup = struct.pack(">HB", 1, 0)
        for name, denied in (("reader", {1, 3, 5, 6, 7}), ("writer", {0, 2, 4, 5, 6})):
            client = self.opened(name)
            for index, (opcode, value, extras) in enumerate(
                (
                    (Opcode.GET, b"", b""),
                    (Opcode.SET, b"1", store_extras()),
                    (Opcode.GET_META, b"", b""),
                    (Opcode.TOUCH, b"", bytes(4)),
                    (Opcode.SUBDOC_GET, b"a", lookup),
                    (Opcode.GET_AND_TOUCH, b"", bytes(4)),
                    (Opcode.GET_LOCKED, b"", bytes(4)),
                    (Opcode.SUBDOC_DICT_UPSERT, b"a1", lookup),
                )
            ):
                status = client.ask(opcode, b"k", value, extras)[0]
                self.assertEqual(status == Status.EACCESS, index in denied, (name, opcode))
        client, _ = self.connect("stranger")
        self.assertEqual(self.select(client), Status.EACCESS)

    def test_a_dropped_bucket_closes_its_connections(self) -> None:
        self.call("POST", BUCKETS, {"name": "b", "ramQuotaMB": 100})
        first, second = self.opened(bucket=b"b"), self.opened(bucket=b"b")
        self.set(first)
        self.call("DELETE", f"{BUCKETS}/b")
        self.assertEqual(first.ask(Opcode.GET, b"k")[0], Status.NO_BUCKET)
        self.assertTrue(first.transport.disconnecting)
        status = second.send(frame(Opcode.GET_CLUSTER_CONFIG, collection=b""))[0][0]
        self.assertEqual(status, Status.NO_BUCKET)
        client, _ = self.connect()
        self.assertEqual(self.select(client, b"b"), Status.EACCESS)

    def test_flush_is_seen_by_plain_gets(self) -> None:
        client = self.opened()
        self.set(client)
        self.assertEqual(client.ask(Opcode.GET, b"k")[0], Status.SUCCESS)
        self.call("POST", f"{BUCKETS}/default/controller/doFlush")
        self.assertEqual(client.ask(Opcode.GET, b"k")[0], Status.KEY_ENOENT)

    def test_longest_lives(self) -> None:
        self.call("POST", f"{BUCKETS}/default", {"maxTTL": 5})
        for name, limit in (("bound", 2), ("free", -1)):
            self.state.create_collection("default", "_default", name, limit)
        client = self.opened()
        keys = {b"\0": 5, b"\x08": 2, b"\x09": 0}
        for collection in keys:
            self.set(client, collection=collection)
        documents = self.state.buckets["default"].documents
        for collection, seconds in keys.items():
            expected = int(START) + seconds if seconds else 0
            self.assertEqual(documents[collection + b"k"].expiry, expected)
        # A touch cannot make it longer either.
        client.ask(Opcode.TOUCH, b"k", extras=struct.pack(">I", 0))
        self.assertEqual(documents[b"\0k"].expiry, int(START) + 5)

    def test_durability(self) -> None:
        majority, persist = b"\x11\x01", b"\x11\x03"
        for fields, frames, expected in (
            ({"replicaNumber": 0}, b"", Status.SUCCESS),
            ({"replicaNumber": 0}, persist, Status.SUCCESS),
            ({"replicaNumber": 0, "durabilityMinLevel": "majority"}, b"", Status.SUCCESS),
            ({"replicaNumber": 1}, b"", Status.SUCCESS),
            ({"replicaNumber": 1}, majority, Status.DURABILITY_IMPOSSIBLE),
            ({"durabilityMinLevel": "majority"}, b"", Status.DURABILITY_IMPOSSIBLE),
            ({"bucketType": "ephemeral", "replicaNumber": 0}, majority, Status.SUCCESS),
            ({"bucketType": "ephemeral"}, persist, Status.DURABILITY_INVALID_LEVEL),
        ):
            self.call("POST", BUCKETS, {"name": "b", "ramQuotaMB": 100} | fields)
            client = self.opened(bucket=b"b")
            self.assertEqual(self.set(client, frames=frames), expected, fields)
            self.call("DELETE", f"{BUCKETS}/b")
