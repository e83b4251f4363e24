"""Each class under both names, in the modules where the SDK has them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txcouchbase import binary_collection, bucket, cluster, collection, scope


class NameTests(SynchronousTestCase):
    def test_both_names_are_the_same_class(self) -> None:
        for module, name in (
            (cluster, "Cluster"),
            (bucket, "Bucket"),
            (scope, "Scope"),
            (collection, "Collection"),
            (binary_collection, "BinaryCollection"),
        ):
            found = getattr(module, name)
            self.assertIs(found, getattr(module, f"Tx{name}"))
            self.assertIs(found, getattr(cluster, name))
            self.assertIs(found, getattr(cluster, f"Tx{name}"))
            raw = getattr(module, f"TxRaw{name}")
            self.assertTrue(issubclass(found, raw))
            self.assertIs(raw, getattr(cluster, f"TxRaw{name}"))

    def test_public_names_of_the_cluster_module_are_pinned(self) -> None:
        self.assertEqual(
            sorted(cluster.__all__),
            [
                "AsyncAnalyticsRequest",
                "AsyncN1QLRequest",
                "AsyncQueryRequest",
                "AsyncResult",
                "AsyncSearchRequest",
                "AsyncViewBase",
                "BatchedAnalyticsResult",
                "BatchedQueryResult",
                "BatchedSearchResult",
                "BatchedViewResult",
                "BinaryCollection",
                "Bucket",
                "Cluster",
                "Collection",
                "Scope",
                "TxBinaryCollection",
                "TxBucket",
                "TxCluster",
                "TxCollection",
                "TxDeferredClientMixin",
                "TxRawBinaryCollection",
                "TxRawBucket",
                "TxRawClientMixin",
                "TxRawCluster",
                "TxRawCollection",
                "TxRawScope",
                "TxScope",
            ],
        )
