"""Objects of the closed set cross the pipe exactly, and nothing else does."""

from __future__ import annotations

import enum
import inspect
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from couchbase.auth import AuthDomain
from couchbase.management import (
    analytics,
    buckets,
    collections,
    eventing,
    options,
    queries,
    search,
    users,
    views,
)
from couchbase.n1ql import QueryScanConsistency
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txcouchbase.amp import objects, wire

MODULES = (analytics, buckets, collections, eventing, queries, search, users, views)
NO_DATA = ("Manager", "Impl", "Handler", "OperationType")
"""How the names of the SDK's classes end that are no data."""


def public_data_classes() -> set[type]:
    found = set()
    for module in MODULES:
        for name, cls in vars(module).items():
            if (
                inspect.isclass(cls)
                and cls.__module__.startswith("couchbase.")
                and not inspect.isabstract(cls)
                and not name.endswith(NO_DATA)
            ):
                found.add(cls)
    return found


def look(value: Any) -> Any:
    """All that a value is made of, types included, in a form that compares by it."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return kind, value.name
    if kind in (set, frozenset):
        return kind, sorted(repr(look(item)) for item in value)
    if isinstance(value, dict):
        items = [(look(key), look(item)) for key, item in value.items()]
        return kind, items, look(vars(value)) if kind is not dict else None
    if kind in (list, tuple):
        return kind, [look(item) for item in value]
    if kind.__module__.startswith("couchbase."):
        return kind, look(vars(value))
    return kind, repr(value)


TIMES = st.timedeltas() | st.datetimes() | st.datetimes(timezones=st.just(timezone.utc))
TEXTS = st.text(st.characters(), max_size=8)  # lone surrogates too
ENUMS = st.sampled_from(
    [
        member
        for cls in objects.CLASSES.values()
        if issubclass(cls, enum.Enum)
        for member in cls.__members__.values()
    ]
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary(max_size=8)
    | TIMES
    | ENUMS
)
VALUES = st.recursive(
    HASHABLE | st.binary(max_size=8).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(HASHABLE, max_size=3)
        | st.frozensets(HASHABLE, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)

ROLES = {users.Role("admin"), users.Role("data_reader", "b", "s", "c")}
FULL: list[Any] = [
    # One of every class that holds others of the set, filled as the SDK fills it.
    buckets.CreateBucketSettings(
        name="b",
        bucket_type=buckets.BucketType.EPHEMERAL,
        conflict_resolution_type=buckets.ConflictResolutionType.CUSTOM,
        max_expiry=timedelta(seconds=5),
        flush_enabled=False,
    ),
    collections.ScopeSpec("s", [collections.CollectionSpec("c", "s", timedelta(seconds=9))]),
    users.User("u", "name", {"g"}, ROLES, "secret"),
    users.UserAndMetadata(
        AuthDomain.External,
        users.User("u", roles=ROLES),
        [users.RoleAndOrigins(users.Role("admin"), [users.Origin("group", "g")])],
        datetime(2026, 1, 2, 3, 4, 5, 678),
        {"g"},
        raw_data={"effective_roles": [{"name": "admin"}]},
    ),
    users.Group("g", "d", ROLES, "ldap"),
    search.SearchIndex("i", params={"mapping": {"depth": [1, 2.5, None]}}),
    analytics.CouchbaseRemoteAnalyticsLink(
        "d",
        "l",
        "host",
        analytics.CouchbaseAnalyticsEncryptionSettings(
            analytics.AnalyticsEncryptionLevel.FULL, b"cert", bytearray(b"client"), b"key"
        ),
    ),
    eventing.EventingFunction(
        name="f",
        code="function OnUpdate() {}",
        bucket_bindings=[
            eventing.EventingFunctionBucketBinding(
                "a",
                eventing.EventingFunctionKeyspace("b", "s", "c"),
                eventing.EventingFunctionBucketAccess.ReadWrite,
            )
        ],
        url_bindings=[
            eventing.EventingFunctionUrlBinding(
                "http://h", "u", True, False, eventing.EventingFunctionUrlAuthBasic("u", "p")
            )
        ],
        settings=eventing.EventingFunctionSettings(
            execution_timeout=timedelta(seconds=60),
            query_consistency=QueryScanConsistency.REQUEST_PLUS,
            handler_headers=["'use strict'"],
        ),
    ),
    eventing.EventingFunctionsStatus(1, [eventing.EventingFunctionStatus(name="f")]),
    views.DesignDocument("d", {"v": views.View("map", "_count")}),
]


class ObjectsTests(SynchronousTestCase):
    def crosses(self, value: Any) -> None:
        self.assertEqual(look(objects.decode(objects.encode(value))), look(value))

    def test_the_set_has_every_data_class_and_options_class_of_the_sdk(self) -> None:
        known = set(objects.CLASSES.values())
        self.assertEqual(public_data_classes() - known, set())
        blocks = {cls for name, cls in vars(options).items() if name.endswith("Options")}
        self.assertGreater(len(blocks), 60)
        self.assertEqual(blocks, set(objects.OPTION_CLASSES))
        self.assertLessEqual(blocks, known)

    def test_no_two_of_them_have_one_name(self) -> None:
        for name, cls in objects.CLASSES.items():
            self.assertEqual(name, cls.__name__)
        self.assertEqual(len(set(objects.CLASSES.values())), len(objects.CLASSES))
        self.assertEqual(len(objects._DATA_CLASSES + objects._ENUMERATIONS), len(objects.CLASSES))

    def test_objects_as_the_sdk_makes_them(self) -> None:
        for value in FULL:
            self.crosses(value)
            self.crosses({"in": [value], "and": (value,)})

    def test_every_member_of_every_enumeration(self) -> None:
        for cls in objects.CLASSES.values():
            if issubclass(cls, enum.Enum):
                for member in cls.__members__.values():
                    self.assertIs(objects.decode(objects.encode(member)), member)

    @given(st.dictionaries(TEXTS, VALUES, max_size=3), st.dictionaries(TEXTS, VALUES, max_size=3))
    @settings(deadline=None, max_examples=30)
    def test_every_data_class_with_any_attributes(self, attributes: Any, items: Any) -> None:
        for cls in objects.CLASSES.values():
            if issubclass(cls, enum.Enum):
                continue
            made = cls.__new__(cls)
            vars(made).update(attributes)
            if isinstance(made, dict):
                made.update(items)
            self.crosses(made)

    @given(VALUES)
    @settings(deadline=None)
    def test_plain_data(self, value: Any) -> None:
        self.crosses(value)

    def test_a_subclass_crosses_as_its_nearest_class_of_the_set(self) -> None:
        class Settings(buckets.BucketSettings):
            pass

        class Name(str, enum.Enum):
            ONE = "one"

        def crossed(value: Any) -> Any:
            return objects.decode(objects.encode(value))

        self.assertEqual(look(crossed(Settings(name="b"))), look(buckets.BucketSettings(name="b")))
        self.assertEqual(look(crossed(OrderedDict(a=1))), look({"a": 1}))
        self.assertEqual(look(crossed(Name.ONE)), look("one"))

    def test_what_cannot_cross_is_refused_by_name(self) -> None:
        class Own:
            pass

        for value in (object(), Own(), Own, len, 1j, range(3), (n for n in "a")):
            with self.assertRaises(TypeError) as caught:
                objects.encode([{"deep": value}])
            self.assertIn(type(value).__qualname__, str(caught.exception))

    def test_what_contains_itself_or_is_too_deep_is_refused(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        deep: list[Any] = []
        for _ in range(5_000):
            deep = [deep]
        for value in (circle, deep):
            self.assertRaises(ValueError, objects.encode, value)


class NonsenseTests(SynchronousTestCase):
    """What a worker out of its mind might send."""

    def test_nothing_outside_the_set_is_made(self) -> None:
        for plain in (
            ["object", "Popen", {"args": "true"}, None],
            ["object", "os.system", {}, None],
            ["object", "BucketManager", {}, None],
            ["object", "BucketType", {}, None],
            ["object", "User", ["list", 1], None],
            ["object", "User", {}, {"no": "map"}],
            ["object", ["list"], {}, None],
            ["object", "User"],
            ["member", "BucketType", "NO_SUCH"],
            ["member", "BucketType", "from_server_str"],
            ["member", "BucketType", "__class__"],
            ["member", "User", "username"],
            ["member", "os", "system"],
            ["eval", "1"],
            ["__import__", "os"],
            ["timedelta", "a"],
            ["timedelta", 10**10, 0, 0],
            ["datetime", "yesterday", 0],
            ["int", "z"],
            ["set", ["list"]],
            ["surrogates", "text"],
            [["list"]],
            [],
            [None],
        ):
            with self.assertRaises(ValueError, msg=repr(plain)):
                objects.decode(wire.encode(plain))

    def test_what_only_msgpack_knows_is_refused(self) -> None:
        now = datetime(2026, 1, 1, tzinfo=timezone.utc)
        for strange in (msgspec.msgpack.Ext(5, b"x"), now, {5: 1}, {b"a": 1}):
            for plain in (strange, ["list", strange], {"a": strange}):
                self.assertRaises(ValueError, objects.decode, msgspec.msgpack.encode(plain))

    def test_no_constructor_runs(self) -> None:
        # It would refuse a user without a name.
        user = objects.decode(wire.encode(["object", "User", {}, None]))
        self.assertEqual((type(user), vars(user)), (users.User, {}))

    def test_a_class_stays_what_it_is(self) -> None:
        attributes = {"__class__": "x", "__init__": "y", "as_dict": 1}
        user = objects.decode(wire.encode(["object", "User", attributes, None]))
        self.assertIs(type(user), users.User)
        self.assertTrue(callable(users.User.as_dict))

    @given(st.binary(max_size=40))
    @settings(deadline=None)
    def test_any_bytes_are_a_value_or_a_value_error(self, data: bytes) -> None:
        try:
            objects.decode(data)
        except ValueError:
            pass

    @given(
        st.recursive(
            st.sampled_from([*objects._DECODERS, *objects.CLASSES, "", "ADMIN"])
            | st.none()
            | st.integers(-(2**63), 2**64 - 1)
            | st.binary(max_size=3),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
        )
    )
    @settings(deadline=None)
    def test_any_message_is_a_value_or_a_value_error(self, plain: Any) -> None:
        try:
            objects.decode(wire.encode(plain))
        except ValueError:
            pass
