"""Users, groups and roles: given, changed, taken and shown.

Source: Couchbase documentation, *Roles and Users API*. Passwords are at least six characters long,
as a server's policy is at first. External users exist, but cannot log in: the node knows no other
place that keeps passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from txcouchbase.testing.cluster import ClusterState
from txcouchbase.testing.http.calls import Answer, Call, HttpRefused, json_answer
from txcouchbase.testing.http.routes import Route
from txcouchbase.testing.management.accounts import DOMAINS, Domain, Group, User
from txcouchbase.testing.management.forms import Form, invalid, require
from txcouchbase.testing.management.roles import ANY, PARAMETERS, ROLES, Grant

__all__ = ["ROUTES"]

MIN_PASSWORD = 6
MAX_NAME = 128
MAX_USERS = 1000
"""How many users, and how many groups, a node takes."""

_NAME = re.compile(r"[^\x00-\x20\x7f()<>,;:\\\"/\[\]?={}]+\Z")
_ROLE = re.compile(r"([A-Za-z_]+)(?:\[([^\[\]]+)\])?\Z")
_DISTINGUISHED_NAME = re.compile(r"\s*[A-Za-z][\w\-]*\s*=[^,]+(,\s*[A-Za-z][\w\-]*\s*=[^,]+)*\Z")
_POWERFUL = {"admin", "ro_admin", "security_admin_local", "security_admin_external"}
"""Roles that only a full administrator gives and takes."""


def _check_name(name: str, what: str) -> None:
    if len(name) > MAX_NAME:
        raise invalid(_=f"{what} may not exceed {MAX_NAME} characters")
    if name.startswith("@"):
        raise invalid(_=f"{what} cannot start with '@'")
    if not _NAME.match(name):
        raise invalid(
            _=f"{what} must not contain spaces, control or any of"
            ' ()<>,;:\\"/[]?={} characters and must be valid utf8'
        )


def _password(form: Form, required: bool = False) -> str | None:
    password = form.text("password", required)
    if password is not None:
        if len(password) < MIN_PASSWORD:
            form.errors["password"] = (
                f"The password must be at least {MIN_PASSWORD} characters long."
            )
        elif any(ord(letter) < 32 or ord(letter) == 127 for letter in password):
            form.errors["password"] = "The password must not contain control characters"
    return password


def _domain(call: Call) -> Domain:
    for domain in DOMAINS:
        if call.names["domain"] == domain:
            return domain
    raise HttpRefused(404, "Unknown user domain.")


# Roles.


def _grant(state: ClusterState, text: str) -> Grant | None:
    """A role as the form has it: ``role`` or ``role[bucket:scope:collection]``."""
    match = _ROLE.match(text)
    role = ROLES.get(match[1]) if match else None
    if match is None or role is None:
        return None
    given = match[2].split(":") if match[2] else []
    if len(given) > role.parameters or bool(given) != bool(role.parameters):
        return None
    given += [ANY] * (role.parameters - len(given))
    return Grant(role.name, tuple(given)) if _exists(state, given) else None


def _exists(state: ClusterState, parameters: list[str]) -> bool:
    """Whether there are the bucket, scope and collection that a role names."""
    bucket, scope, collection = (*parameters, ANY, ANY, ANY)[:3]
    if bucket == ANY:
        return scope == collection == ANY
    found = state.buckets.get(bucket)
    if found is None:
        return False
    if scope == ANY:
        return collection == ANY
    collections = found.manifest.scopes().get(scope)
    return collections is not None and (collection == ANY or collection in collections)


def _grants(state: ClusterState, form: Form, required: bool = False) -> tuple[Grant, ...]:
    """The field ``roles``."""
    given = form.text("roles", required) or ""
    texts = [text.strip() for text in given.split(",") if text]
    found = {text: _grant(state, text) for text in texts}
    bad = [text for text, grant in found.items() if grant is None]
    if bad:
        form.errors["roles"] = (
            "Cannot assign roles to user because the following roles are unknown,"
            f" malformed or role parameters are undefined: [{','.join(bad)}]"
        )
    return tuple(sorted({grant for grant in found.values() if grant is not None}))


def _require_powerful(
    state: ClusterState, call: Call, grants: Iterable[Grant], groups: Iterable[str] = ()
) -> None:
    """Refuse what only a full administrator may give or take, by roles or by groups."""
    held = [*grants, *(grant for name in groups for grant in state.security.groups[name].grants)]
    if any(grant.role in _POWERFUL for grant in held):
        require(call, "admin")


def _list_roles(state: ClusterState, call: Call) -> Answer:
    require(call, "security")
    shown = []
    for role in ROLES.values():
        for bucket in [ANY, *state.buckets] if role.parameters else [ANY]:
            parameters = [bucket, ANY, ANY][: role.parameters]
            shown.append(
                {
                    "role": role.name,
                    **dict(zip(PARAMETERS, parameters, strict=False)),
                    "name": role.title,
                    "desc": role.description,
                }
            )
    return json_answer(shown)


# Users.


def _date(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _user(state: ClusterState, user: User) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": user.name,
        "domain": user.domain,
        "roles": [
            grant.as_dict()
            | {
                "origins": [
                    {"type": "user"} if group is None else {"type": "group", "name": group}
                    for group in origins
                ]
            }
            for grant, origins in state.security.origins(user).items()
        ],
        "groups": list(user.groups),
        "external_groups": [],
    }
    if user.full_name is not None:
        shown["name"] = user.full_name
    if user.domain == "local":
        shown["uuid"] = user.uuid
    if user.password_changed is not None:
        shown["password_change_date"] = _date(user.password_changed)
    return shown


def _list_users(state: ClusterState, call: Call) -> Answer:
    require(call, "security")
    domains = (_domain(call),) if "domain" in call.names else DOMAINS
    return json_answer(
        [_user(state, user) for user in state.security.users.values() if user.domain in domains]
    )


def _get_user(state: ClusterState, call: Call) -> Answer:
    require(call, "security")
    user = state.security.users.get((_domain(call), call.names["user"]))
    if user is None:
        raise HttpRefused(404, "Unknown user.")
    return json_answer(_user(state, user))


def _put_user(state: ClusterState, call: Call) -> Answer:
    require(call, "users")
    security, name = state.security, call.names["user"]
    _check_name(name, "Username")
    domain = _domain(call)
    form = Form(call)
    full_name = form.text("name")
    password = _password(form) if domain == "local" else None
    grants = _grants(state, form)
    groups = [group.strip() for group in (form.text("groups") or "").split(",") if group]
    unknown = [group for group in groups if group not in security.groups]
    if unknown:
        form.errors["groups"] = f"Groups do not exist: {','.join(unknown)}"
    form.close()
    present = security.users.get((domain, name))
    _require_powerful(state, call, grants, groups)
    if present is not None:
        _require_powerful(state, call, present.grants, present.groups)
    if present is None and len(security.users) >= MAX_USERS:
        raise invalid(_=f"the embedded node takes no more than {MAX_USERS} users")
    if domain == "local" and present is None and password is None:
        raise invalid(password="Password is required for new user.")
    security.put_user(
        User(
            name,
            domain,
            full_name,
            password or "",
            None if password is None else state.seconds(),
            grants,
            tuple(dict.fromkeys(groups)),
        )
    )
    return json_answer("")


def _drop_user(state: ClusterState, call: Call) -> Answer:
    require(call, "users")
    user = state.security.users.get((_domain(call), call.names["user"]))
    if user is None:
        raise HttpRefused(404, "User was not found.")
    _require_powerful(state, call, user.grants, user.groups)
    del state.security.users[user.domain, user.name]
    return json_answer("")


def _change_password(state: ClusterState, call: Call) -> Answer:
    account = call.account
    form = Form(call)
    password = _password(form, required=True)
    form.close()
    assert account is not None and password is not None
    state.security.change_password(account, password, state.seconds())
    return Answer(b"")


def _whoami(state: ClusterState, call: Call) -> Answer:
    account = call.account
    assert account is not None
    domain = "admin" if account.domain == "builtin" else account.domain
    user = state.security.users.get(("local", account.name))
    shown = {"id": account.name, "domain": domain}
    if account.domain == "local" and user is not None:
        shown = _user(state, user)
    return json_answer(shown | {"roles": [grant.as_dict() for grant in account.grants]})


# Groups.


def _group(group: Group) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": group.name,
        "roles": [grant.as_dict() for grant in group.grants],
    }
    if group.ldap_group_ref is not None:
        shown["ldap_group_ref"] = group.ldap_group_ref
    if group.description is not None:
        shown["description"] = group.description
    return shown


def _list_groups(state: ClusterState, call: Call) -> Answer:
    require(call, "security")
    return json_answer([_group(group) for group in state.security.groups.values()])


def _get_group(state: ClusterState, call: Call) -> Answer:
    require(call, "security")
    group = state.security.groups.get(call.names["group"])
    if group is None:
        raise HttpRefused(404, "Unknown group.")
    return json_answer(_group(group))


def _put_group(state: ClusterState, call: Call) -> Answer:
    require(call, "users")
    groups, name = state.security.groups, call.names["group"]
    _check_name(name, "Group name")
    form = Form(call)
    description = form.text("description")
    reference = form.text("ldap_group_ref")
    if reference and not _DISTINGUISHED_NAME.match(reference):
        form.errors["ldap_group_ref"] = "Should be valid LDAP distinguished name"
    grants = _grants(state, form, required=True)
    form.close()
    present = groups.get(name)
    _require_powerful(state, call, (*grants, *(present.grants if present else ())))
    if present is None and len(groups) >= MAX_USERS:
        raise invalid(_=f"the embedded node takes no more than {MAX_USERS} groups")
    groups[name] = Group(name, description, reference, grants)
    return json_answer("")


def _drop_group(state: ClusterState, call: Call) -> Answer:
    require(call, "users")
    group = state.security.groups.get(call.names["group"])
    if group is None:
        raise HttpRefused(404, "Group was not found.")
    _require_powerful(state, call, group.grants)
    state.security.drop_group(group.name)
    return json_answer("")


_USERS = "/settings/rbac/users"
_GROUPS = "/settings/rbac/groups"

ROUTES: Sequence[Route] = (
    Route("GET", "/settings/rbac/roles", _list_roles),
    Route("GET", _USERS, _list_users),
    Route("GET", _USERS + "/{domain}", _list_users),
    Route("GET", _USERS + "/{domain}/{user}", _get_user),
    Route("PUT", _USERS + "/{domain}/{user}", _put_user),
    Route("DELETE", _USERS + "/{domain}/{user}", _drop_user),
    Route("GET", _GROUPS, _list_groups),
    Route("GET", _GROUPS + "/{group}", _get_group),
    Route("PUT", _GROUPS + "/{group}", _put_group),
    Route("DELETE", _GROUPS + "/{group}", _drop_group),
    Route("POST", "/controller/changePassword", _change_password),
    Route("GET", "/whoami", _whoami),
)
