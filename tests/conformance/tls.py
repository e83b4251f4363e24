"""The node over TLS: every service, with its certificate trusted and without."""

from __future__ import annotations

from datetime import timedelta

from couchbase.auth import PasswordAuthenticator
from couchbase.cluster import Cluster
from couchbase.exceptions import CouchbaseException
from couchbase.options import ClusterOptions, ClusterTimeoutOptions

from tests.conformance.checks import Context, check, expect, raises


@check("couchbases:// with the node's certificate as cert_path: key-value, query and management")
def trusted(context: Context) -> None:
    expect.assertTrue(context.connstr.startswith("couchbases://"))
    context.collection.upsert("tls", {"n": 1})
    expect.assertEqual(context.collection.get("tls").content_as[dict], {"n": 1})
    expect.assertEqual(context.cluster.query("SELECT RAW 1").execute(), [1])
    names = [bucket.name for bucket in context.cluster.buckets().get_all_buckets()]
    expect.assertIn(context.bucket_name, names)
    report = context.cluster.ping()
    for kind, endpoints in report.endpoints.items():
        expect.assertEqual({endpoint.state.value for endpoint in endpoints}, {"ok"}, kind)


@check("couchbases:// with tls_verify=none needs no certificate")
def unverified(context: Context) -> None:
    options = ClusterOptions(PasswordAuthenticator(context.username, context.password))
    cluster = Cluster.connect(f"{context.connstr}?tls_verify=none", options)
    cluster.bucket(context.bucket_name).default_collection().upsert("tls", 1)
    cluster.close()


@check("couchbases:// without the certificate does not connect")
def untrusted(context: Context) -> None:
    options = ClusterOptions(
        PasswordAuthenticator(context.username, context.password),
        timeout_options=ClusterTimeoutOptions(bootstrap_timeout=timedelta(seconds=2)),
    )
    with raises(CouchbaseException):
        Cluster.connect(context.connstr, options)
