"""`SearchIndexManager`, `ScopeSearchIndexManager`: search indexes."""

from __future__ import annotations

from typing import Any, ClassVar

from couchbase.management import search as sdk
from couchbase.management.options import (
    AllowQueryingSearchIndexOptions,
    AnalyzeDocumentSearchIndexOptions,
    DisallowQueryingSearchIndexOptions,
    DropSearchIndexOptions,
    FreezePlanSearchIndexOptions,
    GetAllSearchIndexesOptions,
    GetAllSearchIndexStatsOptions,
    GetSearchIndexedDocumentsCountOptions,
    GetSearchIndexOptions,
    GetSearchIndexStatsOptions,
    PauseIngestSearchIndexOptions,
    ResumeIngestSearchIndexOptions,
    UnfreezePlanSearchIndexOptions,
    UpsertSearchIndexOptions,
)
from couchbase.management.search import SearchIndex
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["ScopeSearchIndexManager", "SearchIndexManager"]


class SearchIndexManager(Manager):
    """The search indexes of a cluster."""

    _accessor = "search_indexes"
    _sdk: ClassVar[type[Any]] = sdk.SearchIndexManager

    def upsert_index(
        self, index: SearchIndex, *options: UpsertSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Store an index, whether it exists or not.

        Errors: InvalidArgumentException.
        """
        return self._call("upsert_index", index, *options, **kwargs)

    def drop_index(
        self, index_name: str, *options: DropSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Remove an index.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("drop_index", index_name, *options, **kwargs)

    def get_index(
        self, index_name: str, *options: GetSearchIndexOptions, **kwargs: Any
    ) -> Deferred[SearchIndex]:
        """Fetch the definition of an index.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("get_index", index_name, *options, **kwargs)

    def get_all_indexes(
        self, *options: GetAllSearchIndexesOptions, **kwargs: Any
    ) -> Deferred[list[SearchIndex]]:
        """Fetch the definitions of all indexes."""
        return self._call("get_all_indexes", *options, **kwargs)

    def get_indexed_documents_count(
        self, index_name: str, *options: GetSearchIndexedDocumentsCountOptions, **kwargs: Any
    ) -> Deferred[int]:
        """Fetch the number of documents in an index.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("get_indexed_documents_count", index_name, *options, **kwargs)

    def pause_ingest(
        self, index_name: str, *options: PauseIngestSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let an index take in no changes for now.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("pause_ingest", index_name, *options, **kwargs)

    def resume_ingest(
        self, index_name: str, *options: ResumeIngestSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let an index take in changes again.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("resume_ingest", index_name, *options, **kwargs)

    def allow_querying(
        self, index_name: str, *options: AllowQueryingSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let an index answer queries again.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("allow_querying", index_name, *options, **kwargs)

    def disallow_querying(
        self, index_name: str, *options: DisallowQueryingSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let an index answer no queries for now.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("disallow_querying", index_name, *options, **kwargs)

    def freeze_plan(
        self, index_name: str, *options: FreezePlanSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Keep the partitions of an index where they are.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("freeze_plan", index_name, *options, **kwargs)

    def unfreeze_plan(
        self, index_name: str, *options: UnfreezePlanSearchIndexOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Let the partitions of an index move again.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("unfreeze_plan", index_name, *options, **kwargs)

    def analyze_document(
        self,
        index_name: str,
        document: Any,
        *options: AnalyzeDocumentSearchIndexOptions,
        **kwargs: Any,
    ) -> Deferred[dict[str, Any]]:
        """Fetch what an index would make of a document.

        Errors: SearchIndexNotFoundException; InvalidArgumentException if JSON cannot hold it.
        """
        return self._call("analyze_document", index_name, document, *options, **kwargs)

    def get_index_stats(
        self, index_name: str, *options: GetSearchIndexStatsOptions, **kwargs: Any
    ) -> Deferred[dict[str, Any]]:
        """Fetch the statistics of an index.

        Errors: SearchIndexNotFoundException.
        """
        return self._call("get_index_stats", index_name, *options, **kwargs)

    def get_all_index_stats(
        self, *options: GetAllSearchIndexStatsOptions, **kwargs: Any
    ) -> Deferred[dict[str, Any]]:
        """Fetch the statistics of all indexes."""
        return self._call("get_all_index_stats", *options, **kwargs)


class ScopeSearchIndexManager(SearchIndexManager):
    """The search indexes of a scope. The SDK refuses `get_index_stats` here."""

    _sdk = sdk.ScopeSearchIndexManager
