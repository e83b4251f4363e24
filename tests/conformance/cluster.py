"""What a client sees of the cluster."""

from __future__ import annotations

from tests.conformance.checks import Context, check, expect


@check("cluster_info, ping and diagnostics see one node of version 7.6, enterprise edition")
def cluster_info(context: Context) -> None:
    info = context.cluster.cluster_info()
    expect.assertEqual(len(info.nodes), 1)
    expect.assertEqual(info.server_version_short, 7.6)
    expect.assertTrue(info.is_enterprise)
    expect.assertIsInstance(info.server_version_build, int)
    states = {
        (kind.value, report.state.value)
        for kind, reports in context.cluster.ping().endpoints.items()
        for report in reports
    }
    expect.assertIn(("management", "ok"), states)
    expect.assertEqual({state for _, state in states}, {"ok"})
    expect.assertEqual(context.cluster.diagnostics().state.value, "online")
