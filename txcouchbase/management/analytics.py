"""`AnalyticsIndexManager`: dataverses, datasets, indexes and links of the analytics service."""

from __future__ import annotations

from typing import Any

from couchbase.management import analytics as sdk
from couchbase.management.analytics import (
    AnalyticsDataset,
    AnalyticsDataType,
    AnalyticsIndex,
    AnalyticsLink,
)
from couchbase.management.options import (
    ConnectLinkOptions,
    CreateAnalyticsIndexOptions,
    CreateDatasetOptions,
    CreateDataverseOptions,
    CreateLinkAnalyticsOptions,
    DisconnectLinkOptions,
    DropAnalyticsIndexOptions,
    DropDatasetOptions,
    DropDataverseOptions,
    DropLinkAnalyticsOptions,
    GetAllAnalyticsIndexesOptions,
    GetAllDatasetOptions,
    GetLinksAnalyticsOptions,
    GetPendingMutationsOptions,
    ReplaceLinkAnalyticsOptions,
)
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["AnalyticsIndexManager"]


class AnalyticsIndexManager(Manager):
    """Dataverses, datasets, indexes and links of the analytics service."""

    _accessor = "analytics_indexes"
    _sdk = sdk.AnalyticsIndexManager

    def create_dataverse(
        self, dataverse_name: str, options: CreateDataverseOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Create a dataverse. Option: `ignore_if_exists`.

        Errors: DataverseAlreadyExistsException.
        """
        return self._call("create_dataverse", dataverse_name, options, **kwargs)

    def drop_dataverse(
        self, dataverse_name: str, options: DropDataverseOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a dataverse. Option: `ignore_if_not_exists`.

        Errors: DataverseNotFoundException.
        """
        return self._call("drop_dataverse", dataverse_name, options, **kwargs)

    def create_dataset(
        self,
        dataset_name: str,
        bucket_name: str,
        options: CreateDatasetOptions | None = None,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Create a dataset over a bucket.

        Options: `dataverse_name`, `condition`, `ignore_if_exists`.

        Errors: DatasetAlreadyExistsException.
        """
        return self._call("create_dataset", dataset_name, bucket_name, options, **kwargs)

    def drop_dataset(
        self, dataset_name: str, options: DropDatasetOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a dataset. Options: `dataverse_name`, `ignore_if_not_exists`.

        Errors: DatasetNotFoundException.
        """
        return self._call("drop_dataset", dataset_name, options, **kwargs)

    def get_all_datasets(
        self, options: GetAllDatasetOptions | None = None, **kwargs: Any
    ) -> Deferred[list[AnalyticsDataset]]:
        """Fetch all datasets."""
        return self._call("get_all_datasets", options, **kwargs)

    def create_index(
        self,
        index_name: str,
        dataset_name: str,
        fields: dict[str, AnalyticsDataType],
        options: CreateAnalyticsIndexOptions | None = None,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Create an index on a dataset.

        Options: `dataverse_name`, `ignore_if_exists`.

        Errors: the SDK's exceptions; DatasetNotFoundException.
        """
        return self._call("create_index", index_name, dataset_name, fields, options, **kwargs)

    def drop_index(
        self,
        index_name: str,
        dataset_name: str,
        options: DropAnalyticsIndexOptions | None = None,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Remove an index. Options: `dataverse_name`, `ignore_if_not_exists`.

        Errors: DatasetNotFoundException.
        """
        return self._call("drop_index", index_name, dataset_name, options, **kwargs)

    def get_all_indexes(
        self, options: GetAllAnalyticsIndexesOptions | None = None, **kwargs: Any
    ) -> Deferred[list[AnalyticsIndex]]:
        """Fetch all indexes."""
        return self._call("get_all_indexes", options, **kwargs)

    def connect_link(
        self, options: ConnectLinkOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Connect a link, the local one by default.

        Options: `dataverse_name`, `link_name`, `force`.
        """
        return self._call("connect_link", options, **kwargs)

    def disconnect_link(
        self, options: DisconnectLinkOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Disconnect a link, the local one by default.

        Options: `dataverse_name`, `link_name`.
        """
        return self._call("disconnect_link", options, **kwargs)

    def get_pending_mutations(
        self, options: GetPendingMutationsOptions | None = None, **kwargs: Any
    ) -> Deferred[dict[str, int]]:
        """Fetch how many mutations wait to be ingested, by dataset."""
        return self._call("get_pending_mutations", options, **kwargs)

    def create_link(
        self, link: AnalyticsLink, options: CreateLinkAnalyticsOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Create a link to a bucket elsewhere or to a store of objects.

        Errors: AnalyticsLinkExistsException, DataverseNotFoundException; InvalidArgumentException.
        """
        return self._call("create_link", link, options, **kwargs)

    def replace_link(
        self, link: AnalyticsLink, options: ReplaceLinkAnalyticsOptions | None = None, **kwargs: Any
    ) -> Deferred[None]:
        """Change a link.

        Errors: AnalyticsLinkNotFoundException; InvalidArgumentException.
        """
        return self._call("replace_link", link, options, **kwargs)

    def drop_link(
        self,
        link_name: str,
        dataverse_name: str,
        options: DropLinkAnalyticsOptions | None = None,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Remove a link.

        Errors: AnalyticsLinkNotFoundException.
        """
        return self._call("drop_link", link_name, dataverse_name, options, **kwargs)

    def get_links(
        self, options: GetLinksAnalyticsOptions | None = None, **kwargs: Any
    ) -> Deferred[list[AnalyticsLink]]:
        """Fetch links. Options: `dataverse_name`, `name`, `link_type`.

        Errors: DataverseNotFoundException.
        """
        return self._call("get_links", options, **kwargs)
