"""Users and groups as a server keeps them, and who may do what."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import uuid4

from txcouchbase.testing.management.roles import PERMISSIONS, Grant

__all__ = ["DOMAINS", "Account", "Group", "Security", "User"]

Domain = Literal["local", "external"]

DOMAINS: tuple[Domain, Domain] = ("local", "external")
"""Where a user's password is kept: in the cluster, or elsewhere."""

_ADMINISTRATOR = (Grant("admin"),)


@dataclass(frozen=True)
class Account:
    """Somebody who has logged in, with the rights of that moment.

    :param domain: ``builtin`` for the administrator that a cluster is set up with.
    """

    name: str
    password: str = field(repr=False)
    domain: Literal["local", "builtin", "external"]
    grants: tuple[Grant, ...]

    def may(self, permission: str, bucket: str | None = None) -> bool:
        """Whether something is allowed.

        :param permission: one of `roles.PERMISSIONS`.
        :param bucket: where; None for anywhere.
        :raises KeyError: for another permission.
        """
        PERMISSIONS[permission]
        return any(grant.holds(permission, bucket) for grant in self.grants)


@dataclass(frozen=True)
class User:
    """One user.

    :param full_name: what people read, None if nothing was said.
    :param password: empty for external users.
    :param password_changed: seconds since the epoch, None for external users.
    :param grants: the user's own roles, without those of groups.
    """

    name: str
    domain: Domain
    full_name: str | None = None
    password: str = field(default="", repr=False)
    password_changed: float | None = None
    grants: tuple[Grant, ...] = ()
    groups: tuple[str, ...] = ()
    uuid: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Group:
    """One group of users, who have its roles."""

    name: str
    description: str | None = None
    ldap_group_ref: str | None = None
    grants: tuple[Grant, ...] = ()


class Security:
    """Who there is. Passwords are kept in plain, since SCRAM asks for them in several forms.

    :param administrator: the name of the built-in administrator.
    :param password: the administrator's password.
    """

    def __init__(self, administrator: str, password: str) -> None:
        self.administrator = administrator
        self._password = password
        self.users: dict[tuple[Domain, str], User] = {}
        self.groups: dict[str, Group] = {}

    def account(self, name: str) -> Account | None:
        """Somebody who could log in, without asking for the password.

        External users cannot: the node knows no other place that keeps passwords.
        """
        if name == self.administrator:
            return Account(name, self._password, "builtin", _ADMINISTRATOR)
        user = self.users.get(("local", name))
        if user is None:
            return None
        return Account(name, user.password, "local", tuple(self.origins(user)))

    def authenticate(self, name: str, password: str) -> Account | None:
        """Somebody who proves to know the password; None where that fails."""
        account = self.account(name)
        wanted = "" if account is None else account.password
        equal = hmac.compare_digest(
            password.encode("utf-8", "surrogatepass"), wanted.encode("utf-8", "surrogatepass")
        )
        return account if equal else None

    def origins(self, user: User) -> dict[Grant, list[str | None]]:
        """A user's roles, each with where it comes from: None for the user, or groups."""
        found: dict[Grant, list[str | None]] = {grant: [None] for grant in user.grants}
        for name in user.groups:
            for grant in self.groups[name].grants:
                found.setdefault(grant, []).append(name)
        return found

    def put_user(self, user: User) -> None:
        """Add a user, or take a new definition of one.

        :param user: an empty password keeps the present one.
        :raises ValueError: for a new local user without a password.
        """
        key = (user.domain, user.name)
        present = self.users.get(key)
        if present is not None:
            user = replace(user, uuid=present.uuid)
        if user.domain == "local" and not user.password:
            if present is None:
                raise ValueError("a new user needs a password")
            user = replace(
                user, password=present.password, password_changed=present.password_changed
            )
        self.users[key] = user

    def change_password(self, account: Account, password: str, now: float) -> None:
        """Give the administrator or a local user another password.

        :raises LookupError: if the user is gone.
        """
        if account.domain == "builtin":
            self._password = password
            return
        user = self.users[("local", account.name)]
        self.users[("local", account.name)] = replace(user, password=password, password_changed=now)

    def drop_group(self, name: str) -> None:
        """Take a group out, also of its users.

        :raises KeyError: if it does not exist.
        """
        del self.groups[name]
        for key, user in self.users.items():
            if name in user.groups:
                kept = tuple(group for group in user.groups if group != name)
                self.users[key] = replace(user, groups=kept)

    def forget_bucket(self, bucket: str) -> None:
        """Take the roles on a bucket from everybody, as a server does when it is dropped."""
        for key, user in self.users.items():
            self.users[key] = replace(user, grants=_without(user.grants, bucket))
        for name, group in self.groups.items():
            self.groups[name] = replace(group, grants=_without(group.grants, bucket))


def _without(grants: Iterable[Grant], bucket: str) -> tuple[Grant, ...]:
    return tuple(grant for grant in grants if grant.parameters[:1] != (bucket,))
