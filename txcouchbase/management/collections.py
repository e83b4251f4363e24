"""`CollectionManager`: the scopes and collections of a bucket."""

from __future__ import annotations

from typing import Any, overload

from couchbase.management import collections as sdk
from couchbase.management.collections import (
    CollectionSpec,
    CreateCollectionSettings,
    ScopeSpec,
    UpdateCollectionSettings,
)
from couchbase.management.options import (
    CreateCollectionOptions,
    CreateScopeOptions,
    DropCollectionOptions,
    DropScopeOptions,
    GetAllScopesOptions,
    UpdateCollectionOptions,
)
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["CollectionManager"]


class CollectionManager(Manager):
    """The scopes and collections of a bucket."""

    _accessor = "collections"
    _sdk = sdk.CollectionManager

    def create_scope(
        self, scope_name: str, *options: CreateScopeOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Create a scope.

        Errors: ScopeAlreadyExistsException.
        """
        return self._call("create_scope", scope_name, *options, **kwargs)

    def drop_scope(
        self, scope_name: str, *options: DropScopeOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a scope with everything in it.

        Errors: ScopeNotFoundException.
        """
        return self._call("drop_scope", scope_name, *options, **kwargs)

    def get_all_scopes(
        self, *options: GetAllScopesOptions, **kwargs: Any
    ) -> Deferred[list[ScopeSpec]]:
        """Fetch all scopes with their collections."""
        return self._call("get_all_scopes", *options, **kwargs)

    @overload
    def create_collection(
        self, collection: CollectionSpec, *options: CreateCollectionOptions, **kwargs: Any
    ) -> Deferred[None]: ...

    @overload
    def create_collection(
        self,
        scope_name: str,
        collection_name: str,
        settings: CreateCollectionSettings | None = None,
        *options: CreateCollectionOptions,
        **kwargs: Any,
    ) -> Deferred[None]: ...

    def create_collection(self, *args: Any, **kwargs: Any) -> Deferred[None]:
        """Create a collection: `scope_name`, `collection_name` and, if it is to have any,
        `settings`.

        A `CollectionSpec` in their place is deprecated, as in the SDK.

        Errors: CollectionAlreadyExistsException, ScopeNotFoundException.
        """
        return self._call("create_collection", *args, **kwargs)

    @overload
    def drop_collection(
        self, collection: CollectionSpec, *options: DropCollectionOptions, **kwargs: Any
    ) -> Deferred[None]: ...

    @overload
    def drop_collection(
        self,
        scope_name: str,
        collection_name: str,
        *options: DropCollectionOptions,
        **kwargs: Any,
    ) -> Deferred[None]: ...

    def drop_collection(self, *args: Any, **kwargs: Any) -> Deferred[None]:
        """Remove a collection: `scope_name`, `collection_name`.

        A `CollectionSpec` in their place is deprecated, as in the SDK.

        Errors: CollectionNotFoundException.
        """
        return self._call("drop_collection", *args, **kwargs)

    def update_collection(
        self,
        scope_name: str,
        collection_name: str,
        settings: UpdateCollectionSettings,
        *options: UpdateCollectionOptions,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Change the settings of a collection.

        Errors: CollectionNotFoundException, ScopeNotFoundException.
        """
        return self._call(
            "update_collection", scope_name, collection_name, settings, *options, **kwargs
        )
