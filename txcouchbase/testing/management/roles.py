"""The roles of a server, and the permissions that the node knows.

Names, titles and parameters are those of ``GET /settings/rbac/roles`` of version 7.6 (Couchbase
documentation, *Roles*). A server knows hundreds of permissions; the node knows the few of
`PERMISSIONS`, and holds a role that is granted for a scope or a collection to hold for its whole
bucket.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PERMISSIONS", "ROLES", "Grant", "Role"]

PARAMETERS = ("bucket_name", "scope_name", "collection_name")
"""What a role may be limited to, in this order."""

ANY = "*"
"""A parameter that stands for all."""

PERMISSIONS: dict[str, str] = {
    "admin": "everything",
    "security": "see users, groups and roles",
    "users": "change users and groups",
    "buckets": "create and drop buckets",
    "settings": "see the settings of a bucket",
    "manage": "change and drop a bucket, and its scopes and collections",
    "collections": "create, change and drop collections",
    "flush": "flush a bucket",
    "bucket": "open a bucket for key-value operations",
    "read": "read documents",
    "write": "change documents",
    "query": "run SQL++ statements",
    "select": "SELECT",
    "insert": "INSERT",
    "update": "UPDATE",
    "delete": "DELETE",
    "index": "manage query indexes",
    "catalog": "see the system catalog of the query service",
    "search": "use search indexes",
    "search_manage": "manage search indexes",
    "analytics": "run analytics statements",
    "analytics_manage": "manage collections, indexes and links of analytics",
    "views": "query views",
    "views_manage": "manage design documents",
    "eventing": "manage eventing functions",
}
"""What is asked for, and what it allows."""


@dataclass(frozen=True)
class Role:
    """One role.

    :param name: what users and groups are given.
    :param title: what people read.
    :param description: what it is for.
    :param parameters: how many of `PARAMETERS` it takes.
    :param grants: permissions.
    """

    name: str
    title: str
    description: str
    parameters: int
    grants: frozenset[str]


@dataclass(frozen=True, order=True)
class Grant:
    """A role as a user or a group has it: with as many parameters as it takes."""

    role: str
    parameters: tuple[str, ...] = ()

    def holds(self, permission: str, bucket: str | None) -> bool:
        """Whether it allows something.

        :param bucket: where; None for anywhere.
        """
        if permission not in ROLES[self.role].grants:
            return False
        return bucket is None or not self.parameters or self.parameters[0] in (ANY, bucket)

    def as_dict(self) -> dict[str, str]:
        """The role as a server's JSON has it."""
        return {"role": self.role, **dict(zip(PARAMETERS, self.parameters, strict=False))}


_QUERY = "query settings"
_FULL = "bucket read write flush settings"

_TABLE: tuple[tuple[str, str, int, str, str], ...] = (
    ("admin", "Full Admin", 0, "All features, security and data included.", " ".join(PERMISSIONS)),
    ("ro_admin", "Read-Only Admin", 0, "Sees the cluster, not the data.", "settings security"),
    (
        "security_admin_local",
        "Local User Security Admin",
        0,
        "Manages local users and groups, not the data.",
        "settings security users",
    ),
    (
        "security_admin_external",
        "External User Security Admin",
        0,
        "Manages external users and groups, not the data.",
        "settings security users",
    ),
    (
        "cluster_admin",
        "Cluster Admin",
        0,
        "All features but security and data.",
        "settings buckets manage collections flush",
    ),
    (
        "eventing_admin",
        "Eventing Full Admin",
        0,
        "Manages eventing functions.",
        "settings eventing bucket read write",
    ),
    (
        "backup_admin",
        "Backup Full Admin",
        0,
        "Backs up and restores.",
        "settings bucket read write",
    ),
    (
        "bucket_admin",
        "Bucket Admin",
        1,
        "Manages a bucket, not its data.",
        "settings manage collections flush",
    ),
    ("scope_admin", "Manage Scopes", 2, "Manages the collections of a scope.", "collections"),
    (
        "bucket_full_access",
        "Application Access",
        1,
        "Reads and writes the data of a bucket.",
        f"{_FULL} query select insert update delete index views views_manage",
    ),
    (
        "views_admin",
        "Views Admin",
        1,
        "Manages the views of a bucket.",
        "settings bucket read query views views_manage",
    ),
    ("views_reader", "Views Reader", 1, "Queries the views of a bucket.", "bucket read views"),
    (
        "replication_admin",
        "XDCR Admin",
        0,
        "Manages replications to other clusters.",
        "settings bucket read",
    ),
    ("data_reader", "Data Reader", 3, "Reads documents.", "bucket read settings"),
    ("data_writer", "Data Writer", 3, "Writes documents.", "bucket write settings"),
    ("data_dcp_reader", "Data DCP Reader", 3, "Reads streams of changes.", "bucket read settings"),
    (
        "data_backup",
        "Data Backup & Restore",
        1,
        "Backs up and restores a bucket.",
        f"{_FULL} collections index views views_manage search search_manage",
    ),
    ("data_monitoring", "Data Monitoring", 3, "Reads statistics.", "bucket settings"),
    (
        "fts_admin",
        "Search Admin",
        1,
        "Manages search indexes.",
        "search search_manage settings",
    ),
    ("fts_searcher", "Search Reader", 3, "Uses search indexes.", "search settings"),
    ("query_select", "Query Select", 3, "Runs SELECT.", f"{_QUERY} select bucket read"),
    ("query_update", "Query Update", 3, "Runs UPDATE.", f"{_QUERY} update bucket write"),
    ("query_insert", "Query Insert", 3, "Runs INSERT.", f"{_QUERY} insert bucket write"),
    ("query_delete", "Query Delete", 3, "Runs DELETE.", f"{_QUERY} delete bucket write"),
    ("query_manage_index", "Query Manage Index", 3, "Manages indexes.", f"{_QUERY} index"),
    ("query_list_index", "Query List Index", 3, "Lists indexes.", f"{_QUERY} catalog"),
    ("query_system_catalog", "Query System Catalog", 0, "Sees the catalog.", f"{_QUERY} catalog"),
    ("query_external_access", "Query CURL Access", 0, "Runs CURL.", _QUERY),
    ("query_manage_global_functions", "Manage Global Functions", 0, "Manages functions.", "query"),
    ("query_execute_global_functions", "Execute Global Functions", 0, "Runs functions.", "query"),
    ("query_manage_functions", "Manage Scope Functions", 2, "Manages functions.", "query"),
    ("query_execute_functions", "Execute Scope Functions", 2, "Runs functions.", "query"),
    (
        "query_manage_global_external_functions",
        "Manage Global External Functions",
        0,
        "Manages functions in other languages.",
        "query",
    ),
    (
        "query_execute_global_external_functions",
        "Execute Global External Functions",
        0,
        "Runs functions in other languages.",
        "query",
    ),
    (
        "query_manage_external_functions",
        "Manage Scope External Functions",
        2,
        "Manages functions in other languages.",
        "query",
    ),
    (
        "query_execute_external_functions",
        "Execute Scope External Functions",
        2,
        "Runs functions in other languages.",
        "query",
    ),
    ("query_manage_sequences", "Manage Sequences", 2, "Manages sequences.", "query"),
    ("query_use_sequences", "Use Sequences", 2, "Uses sequences.", "query"),
    (
        "query_use_sequential_scans",
        "Query Use Sequential Scans",
        3,
        "Queries without an index.",
        "query",
    ),
    (
        "replication_target",
        "XDCR Inbound",
        1,
        "Takes replications from other clusters.",
        "bucket read write settings",
    ),
    (
        "analytics_manager",
        "Analytics Manager",
        1,
        "Manages analytics on a bucket.",
        "analytics analytics_manage",
    ),
    ("analytics_reader", "Analytics Reader", 0, "Queries analytics.", "analytics"),
    ("analytics_select", "Analytics Select", 3, "Queries analytics.", "analytics"),
    ("analytics_admin", "Analytics Admin", 0, "Manages analytics.", "analytics analytics_manage"),
    (
        "mobile_sync_gateway",
        "Sync Gateway",
        1,
        "What a Sync Gateway needs of a bucket.",
        f"{_FULL} query select insert update delete index views views_manage",
    ),
    ("sync_gateway_configurator", "Sync Gateway Architect", 3, "Manages Sync Gateways.", ""),
    ("sync_gateway_app", "Sync Gateway Application", 3, "Data through Sync Gateways.", ""),
    (
        "sync_gateway_app_ro",
        "Sync Gateway Application Read Only",
        3,
        "Reads data through Sync Gateways.",
        "",
    ),
    ("sync_gateway_replicator", "Sync Gateway Replicator", 3, "Replicates Sync Gateways.", ""),
    ("sync_gateway_dev_ops", "Sync Gateway Dev Ops", 0, "Configures Sync Gateways.", ""),
    ("external_stats_reader", "External Stats Reader", 0, "Reads /metrics.", ""),
    (
        "eventing_manage_functions",
        "Manage Scope Functions",
        2,
        "Manages eventing functions.",
        "eventing",
    ),
)

ROLES: dict[str, Role] = {
    name: Role(name, title, description, parameters, frozenset(grants.split()))
    for name, title, parameters, description, grants in _TABLE
}
"""All roles by name."""
