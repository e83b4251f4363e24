"""`BucketManager`: the buckets of a cluster."""

from __future__ import annotations

from typing import Any

from couchbase.management import buckets as sdk
from couchbase.management.buckets import BucketDescribeResult, BucketSettings, CreateBucketSettings
from couchbase.management.options import (
    BucketDescribeOptions,
    CreateBucketOptions,
    DropBucketOptions,
    FlushBucketOptions,
    GetAllBucketOptions,
    GetBucketOptions,
    UpdateBucketOptions,
)
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["BucketManager"]


class BucketManager(Manager):
    """The buckets of a cluster."""

    _accessor = "buckets"
    _sdk = sdk.BucketManager

    def create_bucket(
        self, settings: CreateBucketSettings, *options: CreateBucketOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Create a bucket.

        Errors: BucketAlreadyExistsException; InvalidArgumentException for settings that the server
        refuses.
        """
        return self._call("create_bucket", settings, *options, **kwargs)

    def update_bucket(
        self, settings: BucketSettings, *options: UpdateBucketOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Change the settings of a bucket.

        Errors: BucketDoesNotExistException; InvalidArgumentException.
        """
        return self._call("update_bucket", settings, *options, **kwargs)

    def drop_bucket(
        self, bucket_name: str, *options: DropBucketOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove a bucket with everything in it.

        Errors: BucketDoesNotExistException.
        """
        return self._call("drop_bucket", bucket_name, *options, **kwargs)

    def get_bucket(
        self, bucket_name: str, *options: GetBucketOptions, **kwargs: Any
    ) -> Deferred[BucketSettings]:
        """Fetch the settings of a bucket.

        Errors: BucketDoesNotExistException.
        """
        return self._call("get_bucket", bucket_name, *options, **kwargs)

    def get_all_buckets(
        self, *options: GetAllBucketOptions, **kwargs: Any
    ) -> Deferred[list[BucketSettings]]:
        """Fetch the settings of all buckets."""
        return self._call("get_all_buckets", *options, **kwargs)

    def flush_bucket(
        self, bucket_name: str, *options: FlushBucketOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove all documents of a bucket.

        Errors: BucketDoesNotExistException; BucketNotFlushableException if its settings forbid it.
        """
        return self._call("flush_bucket", bucket_name, *options, **kwargs)

    def bucket_describe(
        self, bucket_name: str, *options: BucketDescribeOptions, **kwargs: Any
    ) -> Deferred[BucketDescribeResult]:
        """Fetch how a bucket is spread over the nodes.

        Errors: BucketDoesNotExistException.
        """
        return self._call("bucket_describe", bucket_name, *options, **kwargs)
