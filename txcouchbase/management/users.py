"""`UserManager`: the users and groups of a cluster."""

from __future__ import annotations

from typing import Any

from couchbase.management import users as sdk
from couchbase.management.options import (
    ChangePasswordOptions,
    DropGroupOptions,
    DropUserOptions,
    GetAllGroupsOptions,
    GetAllUsersOptions,
    GetGroupOptions,
    GetRolesOptions,
    GetUserOptions,
    UpsertGroupOptions,
    UpsertUserOptions,
)
from couchbase.management.users import Group, RoleAndDescription, User, UserAndMetadata
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["UserManager"]


class UserManager(Manager):
    """The users and groups of a cluster."""

    _accessor = "users"
    _sdk = sdk.UserManager

    def get_user(
        self, username: str, *options: GetUserOptions, **kwargs: Any
    ) -> Deferred[UserAndMetadata]:
        """Fetch a user. Option: `domain_name`.

        Errors: UserNotFoundException.
        """
        return self._call("get_user", username, *options, **kwargs)

    def get_all_users(
        self, *options: GetAllUsersOptions, **kwargs: Any
    ) -> Deferred[list[UserAndMetadata]]:
        """Fetch all users. Option: `domain_name`."""
        return self._call("get_all_users", *options, **kwargs)

    def upsert_user(self, user: User, *options: UpsertUserOptions, **kwargs: Any) -> Deferred[None]:
        """Store a user, whether it exists or not. Option: `domain_name`.

        Errors: InvalidArgumentException.
        """
        return self._call("upsert_user", user, *options, **kwargs)

    def drop_user(self, username: str, *options: DropUserOptions, **kwargs: Any) -> Deferred[None]:
        """Remove a user. Option: `domain_name`.

        Errors: UserNotFoundException.
        """
        return self._call("drop_user", username, *options, **kwargs)

    def change_password(
        self, new_password: str, *options: ChangePasswordOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Change the password of the account that the cluster is connected with.

        The connection goes on with the old one until `TxCluster.set_authenticator` is called.

        Errors: InvalidArgumentException.
        """
        return self._call("change_password", new_password, *options, **kwargs)

    def get_roles(
        self, *options: GetRolesOptions, **kwargs: Any
    ) -> Deferred[list[RoleAndDescription]]:
        """Fetch the roles that there are."""
        return self._call("get_roles", *options, **kwargs)

    def get_group(
        self, group_name: str, *options: GetGroupOptions, **kwargs: Any
    ) -> Deferred[Group]:
        """Fetch a group.

        Errors: GroupNotFoundException.
        """
        return self._call("get_group", group_name, *options, **kwargs)

    def get_all_groups(self, *options: GetAllGroupsOptions, **kwargs: Any) -> Deferred[list[Group]]:
        """Fetch all groups."""
        return self._call("get_all_groups", *options, **kwargs)

    def upsert_group(
        self, group: Group, *options: UpsertGroupOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Store a group, whether it exists or not.

        Errors: InvalidArgumentException.
        """
        return self._call("upsert_group", group, *options, **kwargs)

    def drop_group(
        self, group_name: str, *options: DropGroupOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a group.

        Errors: GroupNotFoundException.
        """
        return self._call("drop_group", group_name, *options, **kwargs)
