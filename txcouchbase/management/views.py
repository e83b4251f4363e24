"""`ViewIndexManager`: the design documents of a bucket."""

from __future__ import annotations

from typing import Any

from couchbase.management import views as sdk
from couchbase.management.options import (
    DropDesignDocumentOptions,
    GetAllDesignDocumentsOptions,
    GetDesignDocumentOptions,
    PublishDesignDocumentOptions,
    UpsertDesignDocumentOptions,
)
from couchbase.management.views import DesignDocument, DesignDocumentNamespace
from twisted.internet.defer import Deferred

from txcouchbase.management.manager import Manager

__all__ = ["ViewIndexManager"]


class ViewIndexManager(Manager):
    """The design documents of a bucket."""

    _accessor = "view_indexes"
    _sdk = sdk.ViewIndexManager

    def get_design_document(
        self,
        design_doc_name: str,
        namespace: DesignDocumentNamespace,
        *options: GetDesignDocumentOptions,
        **kwargs: Any,
    ) -> Deferred[DesignDocument]:
        """Fetch a design document.

        Errors: DesignDocumentNotFoundException.
        """
        return self._call("get_design_document", design_doc_name, namespace, *options, **kwargs)

    def get_all_design_documents(
        self,
        namespace: DesignDocumentNamespace,
        *options: GetAllDesignDocumentsOptions,
        **kwargs: Any,
    ) -> Deferred[list[DesignDocument]]:
        """Fetch all design documents of a namespace."""
        return self._call("get_all_design_documents", namespace, *options, **kwargs)

    def upsert_design_document(
        self,
        design_doc_data: DesignDocument,
        namespace: DesignDocumentNamespace,
        *options: UpsertDesignDocumentOptions,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Store a design document, whether it exists or not.

        Errors: InvalidArgumentException.
        """
        return self._call("upsert_design_document", design_doc_data, namespace, *options, **kwargs)

    def drop_design_document(
        self,
        design_doc_name: str,
        namespace: DesignDocumentNamespace,
        *options: DropDesignDocumentOptions,
        **kwargs: Any,
    ) -> Deferred[None]:
        """Remove a design document.

        Errors: DesignDocumentNotFoundException.
        """
        return self._call("drop_design_document", design_doc_name, namespace, *options, **kwargs)

    def publish_design_document(
        self, design_doc_name: str, *options: PublishDesignDocumentOptions, **kwargs: Any
    ) -> Deferred[None]:
        """Copy a design document from development to production.

        Errors: DesignDocumentNotFoundException.
        """
        return self._call("publish_design_document", design_doc_name, *options, **kwargs)
