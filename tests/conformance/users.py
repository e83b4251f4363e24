"""Users, groups and roles, and what they allow, through the SDK."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from couchbase.exceptions import (
    AuthenticationException,
    BucketNotFoundException,
    CouchbaseException,
    GroupNotFoundException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
    UserNotFoundException,
)
from couchbase.management.options import (
    DropUserOptions,
    GetAllUsersOptions,
    GetUserOptions,
    UpsertUserOptions,
)
from couchbase.management.users import Group, Role, User
from couchbase.options import GetOptions, UpsertOptions

from tests.conformance.checks import Context, check, expect, raises

SHORT = timedelta(seconds=1)


def _everything(context: Context) -> Role:
    return Role("bucket_full_access", bucket=context.bucket_name)


@check("a created user can log in and work; once dropped, no more")
def life_of_a_user(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(User(name, password="first-password", roles=[_everything(context)]))
    cluster = context.connect(name, "first-password")
    cluster.bucket(context.bucket_name).default_collection().upsert("by-user", 1)
    cluster.close()
    with raises(AuthenticationException):
        context.connect(name, "another-password")
    manager.drop_user(name)
    with raises(AuthenticationException):
        context.connect(name, "first-password")


@check("a user that was given another password by an administrator logs in with that one only")
def password_by_administrator(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    for password in ("first-password", "second-password"):
        manager.upsert_user(User(name, password=password, roles=[_everything(context)]))
        context.connect(name, password).close()
    with raises(AuthenticationException):
        context.connect(name, "first-password")
    # Without a password, the present one stays.
    manager.upsert_user(User(name, roles=[_everything(context)]))
    context.connect(name, "second-password").close()
    manager.drop_user(name)


@check("a user changes the own password, and logs in with the new one")
def change_password(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(User(name, password="first-password", roles=[_everything(context)]))
    cluster = context.connect(name, "first-password")
    cluster.users().change_password("second-password")
    cluster.close()
    with raises(AuthenticationException):
        context.connect(name, "first-password")
    context.connect(name, "second-password").close()
    manager.drop_user(name)


@check("a user is read back: name, roles, groups, and when the password was changed")
def read_back(context: Context) -> None:
    manager = context.cluster.users()
    name, group = context.unique("user"), context.unique("group")
    roles = {
        Role("data_reader", bucket=context.bucket_name, scope="_default", collection="_default"),
        Role("data_writer", bucket=context.bucket_name),
        Role("ro_admin"),
    }
    manager.upsert_group(Group(group, roles={Role("query_system_catalog"), Role("ro_admin")}))
    manager.upsert_user(
        User(name, "Display Name", groups={group}, roles=roles, password="a-password")
    )
    found = manager.get_user(name)
    expect.assertEqual(found.domain.name, "Local")
    expect.assertEqual(found.user.username, name)
    expect.assertEqual(found.user.display_name, "Display Name")
    expect.assertEqual(found.user.groups, {group})
    named = {(role.name, role.bucket, role.scope, role.collection) for role in found.user.roles}
    bucket = context.bucket_name
    expect.assertEqual(
        named,
        {
            ("data_reader", bucket, "_default", "_default"),
            ("data_writer", bucket, "*", "*"),
            ("ro_admin", None, None, None),
        },
    )
    origins = {
        entry.role.name: [(origin.type, origin.name or None) for origin in entry.origins]
        for entry in found.effective_roles
    }
    expect.assertEqual(
        origins,
        {
            "data_reader": [("user", None)],
            "data_writer": [("user", None)],
            "ro_admin": [("user", None), ("group", group)],
            "query_system_catalog": [("group", group)],
        },
    )
    expect.assertIsInstance(found.password_changed, datetime)
    changed = found.password_changed.replace(tzinfo=timezone.utc)
    expect.assertLess(abs((datetime.now(timezone.utc) - changed).total_seconds()), 60)
    names = [entry.user.username for entry in manager.get_all_users()]
    expect.assertIn(name, names)
    manager.drop_user(name)
    manager.drop_group(group)


@check("external users are kept apart from local ones, and have no passwords")
def external(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(
        User(name, roles=[Role("ro_admin")]), UpsertUserOptions(domain_name="external")
    )
    found = manager.get_user(name, GetUserOptions(domain_name="external"))
    expect.assertEqual(found.domain.name, "External")
    expect.assertIsNone(found.password_changed)
    with raises(UserNotFoundException):
        manager.get_user(name)
    all_external = manager.get_all_users(GetAllUsersOptions(domain_name="external"))
    expect.assertEqual([entry.user.username for entry in all_external], [name])
    manager.drop_user(name, DropUserOptions(domain_name="external"))
    with raises(UserNotFoundException):
        manager.get_user(name, GetUserOptions(domain_name="external"))


@check("unknown users and groups are not found")
def not_found(context: Context) -> None:
    manager = context.cluster.users()
    with raises(UserNotFoundException):
        manager.get_user("nobody")
    with raises(GroupNotFoundException):
        manager.get_group("nobodies")
    # The SDK tells these by their codes alone, not by its own exceptions.
    for method, code in ((manager.drop_user, 603), (manager.drop_group, 604)):
        with raises(CouchbaseException) as caught:
            method("nobody")
        expect.assertEqual(caught.exception.error_code, code)


@check("what a server would refuse of a user or a group is an invalid argument, with its reason")
def refused(context: Context) -> None:
    manager = context.cluster.users()
    admin = [Role("ro_admin")]
    cases = [
        User("u", password="short", roles=admin),
        User("u", roles=admin),
        User("u", password="long enough", roles=[Role("no_such_role")]),
        User("u", password="long enough", roles=[Role("data_reader", bucket="nowhere")]),
        User("u", password="long enough", roles=[Role("data_reader")]),
        User("u", password="long enough", roles=[Role("ro_admin", bucket="*")]),
        User("u", password="long enough", groups={"nobodies"}),
        User("@u", password="long enough", roles=admin),
    ]
    for user in cases:
        with raises(InvalidArgumentException):
            manager.upsert_user(user)
    for group in (
        Group("g", roles={Role("no_such_role")}),
        Group("g", roles=set()),
        Group("g", roles={Role("ro_admin")}, ldap_group_reference="nonsense"),
    ):
        with raises(InvalidArgumentException):
            manager.upsert_group(group)
    with raises(UserNotFoundException):
        manager.get_user("u")


@check("a group is read back, changed and dropped; its members have its roles while it exists")
def groups(context: Context) -> None:
    manager = context.cluster.users()
    name, user = context.unique("group"), context.unique("user")
    manager.upsert_group(
        Group(
            name,
            "What it is for",
            roles={_everything(context)},
            ldap_group_reference="cn=people,dc=example,dc=com",
        )
    )
    found = manager.get_group(name)
    expect.assertEqual((found.name, found.description), (name, "What it is for"))
    expect.assertEqual(found.roles, {_everything(context)})
    expect.assertIn(name, [group.name for group in manager.get_all_groups()])
    manager.upsert_user(User(user, groups={name}, password="a-password"))
    cluster = context.connect(user, "a-password")
    cluster.bucket(context.bucket_name).default_collection().upsert("by-group", 1)
    cluster.close()
    manager.upsert_group(Group(name, "Another", roles={Role("ro_admin")}))
    expect.assertEqual(manager.get_group(name).description, "Another")
    manager.drop_group(name)
    expect.assertFalse(manager.get_user(user).user.groups)
    expect.assertEqual(manager.get_user(user).effective_roles, [])
    manager.drop_user(user)


@check("roles are listed with names, descriptions and what they are limited to")
def roles(context: Context) -> None:
    found = context.cluster.users().get_roles()
    by_name = {(entry.role.name, entry.role.bucket): entry for entry in found}
    admin = by_name["admin", None]
    expect.assertEqual(admin.display_name, "Full Admin")
    expect.assertTrue(admin.description)
    reader = by_name["data_reader", "*"]
    expect.assertEqual((reader.role.scope, reader.role.collection), ("*", "*"))
    expect.assertIn(("data_reader", context.bucket_name), by_name)


@check("a role on all buckets holds for every bucket")
def all_buckets(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(
        User(name, password="a-password", roles=[Role("bucket_full_access", bucket="*")])
    )
    cluster = context.connect(name, "a-password")
    cluster.bucket(context.bucket_name).default_collection().upsert("by-star", 1)
    cluster.close()
    manager.drop_user(name)


@check("who may read only cannot write, and the other way round")
def limited(context: Context) -> None:
    manager = context.cluster.users()
    reader, writer = context.unique("reader"), context.unique("writer")
    bucket = context.bucket_name
    manager.upsert_user(
        User(reader, password="a-password", roles=[Role("data_reader", bucket=bucket)])
    )
    manager.upsert_user(
        User(writer, password="a-password", roles=[Role("data_writer", bucket=bucket)])
    )
    context.collection.upsert("limited", 1)
    cluster = context.connect(reader, "a-password")
    collection = cluster.bucket(bucket).default_collection()
    expect.assertEqual(collection.get("limited").content_as[int], 1)
    with raises(CouchbaseException):
        collection.upsert("limited", 2, UpsertOptions(timeout=SHORT))
    cluster.close()
    cluster = context.connect(writer, "a-password")
    collection = cluster.bucket(bucket).default_collection()
    collection.upsert("limited", 3)
    with raises(CouchbaseException):
        collection.get("limited", GetOptions(timeout=SHORT))
    cluster.close()
    expect.assertEqual(context.collection.get("limited").content_as[int], 3)
    for name in (reader, writer):
        manager.drop_user(name)


@check("a bucket on which a user has no role does not open")
def forbidden_bucket(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(User(name, password="a-password", roles=[Role("query_system_catalog")]))
    cluster = context.connect(name, "a-password")
    with raises((AuthenticationException, BucketNotFoundException, UnAmbiguousTimeoutException)):
        cluster.bucket(context.bucket_name).default_collection().get("k", GetOptions(timeout=SHORT))
    cluster.close()
    manager.drop_user(name)


@check("management is refused to who has no right to it, with the permission that lacks")
def forbidden_management(context: Context) -> None:
    manager = context.cluster.users()
    name = context.unique("user")
    manager.upsert_user(
        User(name, password="a-password", roles=[Role("data_reader", bucket=context.bucket_name)])
    )
    cluster = context.connect(name, "a-password")
    for call, permission in (
        (lambda: cluster.users().drop_user(name), "cluster.admin.users!write"),
        (lambda: cluster.users().get_all_users(), "cluster.admin.security!read"),
        (lambda: cluster.buckets().drop_bucket(context.bucket_name), "settings!write"),
    ):
        with raises(CouchbaseException) as caught:
            call()
        expect.assertIn(permission, str(caught.exception))
    cluster.close()
    manager.drop_user(name)
