"""Requests that a node takes, before they are damaged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["BY_SERVICE", "NAMES", "ODD_TEXTS", "PIECES", "SERVICES", "STATEMENTS", "TOKENS"]

SERVICES = ("mgmt", "query", "analytics", "search", "views", "eventing", "control")

STATEMENTS = """\
SELECT 1
SELECT RAW 1
SELECT *, t.* FROM [{"a": 1}, {"a": null}, {}] AS t WHERE t.a IS NOT MISSING
SELECT RAW n FROM ARRAY_RANGE(0, 100) AS n WHERE n % 3 = 0 ORDER BY n DESC LIMIT 5 OFFSET 2
SELECT n, COUNT(*) AS c FROM ARRAY_RANGE(0, 50) AS n GROUP BY n % 5 AS n HAVING COUNT(*) > 1
SELECT DISTINCT RAW n FROM [1, 1.0, "1", true, null, MISSING] AS n
SELECT d.*, META(d).id FROM default AS d USE KEYS ["key-1", "key-2"]
SELECT META().id, META().cas FROM `default` WHERE type = "x" AND a.b[0] > 5
SELECT COUNT(*), SUM(n), AVG(n), MIN(n), MAX(n), ARRAY_AGG(DISTINCT n) FROM [3, 1, 2] AS n
SELECT a, b FROM [{"l": [1, 2]}, {"l": []}] AS t LEFT OUTER UNNEST t.l AS a LET b = a + 1
SELECT CASE WHEN 1 < 2 THEN "y" ELSE "n" END AS c, CASE 3 WHEN 3 THEN 1 END
SELECT "a" LIKE "_%", "a" NOT IN ["b"], 5 BETWEEN 1 AND 9, 1 IS VALUED, NOT true OR false
SELECT ANY x IN [1, 2] SATISFIES x > 1 END, EVERY x IN [] SATISFIES x END
SELECT ARRAY x * 2 FOR x IN [1, 2, 3] WHEN x > 1 END, FIRST x FOR x IN [1] END
SELECT OBJECT x:y FOR x:y IN {"a": 1} END, {"a": {"b": [1, [2]]}}.a.b[1][0], [1, 2, 3][0:2]
SELECT (SELECT RAW y FROM [1, 2] AS y WHERE y = x) AS s FROM [1, 2] AS x
SELECT x FROM [1, 2, 3] AS x WHERE EXISTS (SELECT 1 FROM [1] AS y WHERE x = y)
WITH c AS (SELECT RAW 1), d AS ([2]) SELECT c, d
SELECT 1 UNION ALL SELECT 2 INTERSECT SELECT 2 EXCEPT SELECT 3
SELECT $1, $name, ?
SELECT UPPER("a") || LOWER("B"), SUBSTR("abc", 1, 1), SPLIT("a b"), REGEXP_LIKE("a", "[a-z]+")
SELECT DATE_FORMAT_STR("2020-01-01", "YYYY"), STR_TO_MILLIS("2020-01-01T00:00:00Z"), NOW_STR()
SELECT ROUND(1.55, 1), POWER(2, 70), 1 / 0, -5 % 3, 9223372036854775807 + 1, 1e308 * 10
INSERT INTO default (KEY, VALUE) VALUES ("key-1", {"a": 1}), VALUES ("key-2", 5) RETURNING META().id
UPSERT INTO default (KEY, VALUE, OPTIONS) VALUES ("key-3", [1], {"expiration": 100})
UPSERT INTO default (KEY k, VALUE v) SELECT "key-4" AS k, {"n": 1} AS v
UPDATE default USE KEYS "key-1" SET a.b = 1, c = [1] UNSET d WHERE true LIMIT 1 RETURNING *
UPDATE default AS d SET x.y = 2 FOR x IN d.l WHEN x.z = 1 END WHERE META(d).id LIKE "key%"
DELETE FROM default USE KEYS ["key-1", "key-2"] RETURNING RAW a
MERGE INTO default AS t USING [{"k": 1}] AS s ON KEY s.k WHEN MATCHED THEN DELETE
CREATE PRIMARY INDEX ON default
CREATE PRIMARY INDEX IF NOT EXISTS `p` ON `default`.`_default`.`_default` WITH {"defer_build": true}
CREATE INDEX i1 ON default(a, b.c DESC, META().id) WHERE a > 5 USING GSI WITH {"num_replica": 0}
CREATE INDEX i2 ON default(DISTINCT ARRAY v FOR v IN l END, ALL l)
BUILD INDEX ON default(i1, i2)
DROP INDEX default.i1
DROP PRIMARY INDEX IF EXISTS ON default
SELECT * FROM system:indexes WHERE keyspace_id = "default"
SELECT RAW name FROM system:keyspaces
PREPARE p1 FROM SELECT RAW n FROM [1, 2] AS n WHERE n = $1
EXECUTE p1 USING [1]
EXPLAIN SELECT * FROM default
INFER default
CREATE SCOPE default.s1
CREATE COLLECTION default.s1.c1
DROP COLLECTION default.s1.c1 IF EXISTS
SELECT /* comment */ 1 -- more
SELECT a.b.c.`d e`, x[-1], x[*].y FROM default a JOIN default b ON META(a).id = b.id
GRANT admin TO me
BEGIN WORK
CREATE FUNCTION f(x) { x + 1 }
ADVISE SELECT 1
CREATE DATAVERSE d1
CREATE DATASET ds1 ON default WHERE a = 1
CREATE INDEX ai ON ds1 (a: string, b: bigint)
CONNECT LINK Local
SELECT VALUE 1 FROM Metadata.`Dataset` AS d""".splitlines()
"""Statements of SQL++, for query and analytics, most of which a node takes."""

TOKENS = re.compile(r"`[^`]*`|\"[^\"]*\"|[A-Za-z_$][\w.]*|\d+(?:\.\d+)?|\s+|.", re.DOTALL)

PIECES = [
    "SELECT", "FROM", "WHERE", "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "*", "AS", "END",
    "NULL", "MISSING", "TRUE", "NOT", "AND", "OR", "IN", "UNNEST", "LET", "GROUP BY", "ORDER BY",
    "LIMIT", "0", "-1", "1e999", "99999999999999999999999", "''", '"', "`", "$", "?", "--", "/*",
    "\\", "\x00", "\ud83d", "é", "😀", "ARRAY_RANGE(0, 1000)", "REPEAT('x', 100000)", "META()",
    "ARRAY_REPEAT([1], 1000)", "OVER ()", "default:`x`.`y`.`z`", "system:nothing", "#", "@", "~",
]  # fmt: skip

NAMES = ["default", "b1", "b2", "s1", "c1", "_default", "u1", "g1", "i1", "d1", "v1", "f1", "%s"]

ODD_TEXTS = [
    "", " ", "\x00", "a" * 5000, "é😀", "../../etc/passwd", "true", "null", "-1", "1e400", "0x10",
    "%zz", "a,b,,c", "admin", "data_reader[default]", "[", "{}", "_system", "$x", "'", "\r\nX: y",
]  # fmt: skip


class Form(dict[str, str]):
    """Fields of a form."""


@dataclass(frozen=True)
class Endpoint:
    """A request that a service knows.

    :param body: a form, JSON, or nothing.
    """

    service: str
    method: str
    path: str
    body: Any = None


BUCKET = Form(
    name="b1", bucketType="membase", ramQuotaMB="100", replicaNumber="0", flushEnabled="1",
    maxTTL="0", compressionMode="passive", evictionPolicy="valueOnly", storageBackend="couchstore",
    durabilityMinLevel="none", conflictResolutionType="seqno", replicaIndex="0",
)  # fmt: skip
STATEMENT = {
    "statement": "", "client_context_id": "x", "timeout": "1s", "readonly": False, "metrics": True,
    "scan_consistency": "request_plus", "args": [1], "$name": "n", "profile": "timings",
    "pretty": False, "signature": True, "max_parallelism": "2", "query_context": "default:default",
}  # fmt: skip
SEARCH_INDEX = {
    "name": "i1", "type": "fulltext-index", "sourceName": "default", "sourceType": "couchbase",
    "params": {"mapping": {"types": {}}}, "planParams": {"indexPartitions": 1}, "uuid": "",
}  # fmt: skip
SEARCH_QUERY = {
    "query": {"match": "x", "field": "a"}, "size": 5, "from": 0, "ctl": {"timeout": 1000},
    "facets": {"f": {"field": "a", "size": 5}}, "sort": ["_score"], "fields": ["*"],
}  # fmt: skip
EVENTING = {
    "appname": "f1", "appcode": "function OnUpdate(doc, meta) {}", "version": "evt-7.6.0",
    "depcfg": {"source_bucket": "default", "metadata_bucket": "b1", "buckets": [], "curl": []},
    "settings": {"deployment_status": False, "processing_status": False, "worker_count": 1},
    "enforce_schema": False, "handleruuid": 1, "function_scope": {"bucket": "*", "scope": "*"},
}  # fmt: skip
DESIGN = {"views": {"v1": {"map": "function (doc, meta) { emit(meta.id); }", "reduce": "_count"}}}
LINK = Form(
    type="s3", name="l1", dataverse="Default", accessKeyId="a", secretAccessKey="b", region="c"
)

ENDPOINTS = [
    *(
        Endpoint("mgmt", "GET", path)
        for path in (
            "/", "/pools", "/pools/default", "/pools/nodes", "/pools/default/nodeServices",
            "/pools/default/buckets", "/pools/default/buckets/default", "/pools/default/b/default",
            "/pools/default/buckets/default/scopes", "/pools/default/buckets/default/ddocs",
            "/settings/rbac/roles", "/settings/rbac/users", "/settings/rbac/users/local/u1",
            "/settings/rbac/groups", "/settings/rbac/groups/g1", "/whoami", "/pools/default/tasks",
        )
    ),
    Endpoint("mgmt", "POST", "/pools/default/buckets", BUCKET),
    Endpoint("mgmt", "POST", "/pools/default/buckets/b1", BUCKET),
    Endpoint("mgmt", "DELETE", "/pools/default/buckets/b1"),
    Endpoint("mgmt", "POST", "/pools/default/buckets/b1/controller/doFlush"),
    Endpoint("mgmt", "POST", "/pools/default/buckets/default/scopes", Form(name="s1")),
    Endpoint("mgmt", "DELETE", "/pools/default/buckets/default/scopes/s1"),
    Endpoint(
        "mgmt",
        "POST",
        "/pools/default/buckets/default/scopes/s1/collections",
        Form(name="c1", maxTTL="0", history="false"),
    ),
    Endpoint(
        "mgmt", "PATCH", "/pools/default/buckets/default/scopes/s1/collections/c1", Form(maxTTL="5")
    ),
    Endpoint("mgmt", "DELETE", "/pools/default/buckets/default/scopes/s1/collections/c1"),
    Endpoint(
        "mgmt",
        "PUT",
        "/settings/rbac/users/local/u1",
        Form(name="U", password="password", roles="admin,data_reader[default]", groups="g1"),
    ),
    Endpoint("mgmt", "DELETE", "/settings/rbac/users/local/u1"),
    Endpoint(
        "mgmt", "PUT", "/settings/rbac/groups/g1", Form(description="G", roles="admin")
    ),
    Endpoint("mgmt", "DELETE", "/settings/rbac/groups/g1"),
    *(
        Endpoint(service, method, "/query/service", body)
        for service in ("query", "analytics")
        for method, body in (
            ("POST", STATEMENT), ("POST", STATEMENT), ("POST", STATEMENT),
            ("POST", Form(statement="", timeout="1s", args="[1]")), ("GET", None),
        )
    ),
    Endpoint("query", "GET", "/admin/ping"),
    Endpoint("analytics", "GET", "/admin/ping"),
    Endpoint("analytics", "GET", "/analytics/node/agg/stats/remaining"),
    Endpoint("analytics", "GET", "/analytics/link/Default"),
    Endpoint("analytics", "POST", "/analytics/link/Default/l1", LINK),
    Endpoint("analytics", "PUT", "/analytics/link/Default/l1", LINK),
    Endpoint("analytics", "DELETE", "/analytics/link/Default/l1"),
    Endpoint("search", "GET", "/api/ping"),
    Endpoint("search", "GET", "/api/index"),
    Endpoint("search", "GET", "/api/nsstats"),
    *(
        Endpoint("search", method, prefix + path, body)
        for prefix in ("/api", "/api/bucket/default/scope/_default")
        for method, path, body in (
            ("PUT", "/index/i1", SEARCH_INDEX), ("GET", "/index/i1", None),
            ("POST", "/index/i1/query", SEARCH_QUERY), ("GET", "/index/i1/count", None),
            ("POST", "/index/i1/analyzeDoc", {"a": "x"}), ("DELETE", "/index/i1", None),
            ("POST", "/index/i1/ingestControl/pause", None),
            ("POST", "/index/i1/planFreezeControl/freeze", None),
        )
    ),
    Endpoint("views", "PUT", "/default/_design/d1", DESIGN),
    Endpoint("views", "GET", "/default/_design/d1"),
    Endpoint("views", "DELETE", "/default/_design/d1"),
    Endpoint("views", "GET", "/default/_design/d1/_view/v1?limit=5&stale=false&key=%22a%22"),
    Endpoint("views", "POST", "/default/_design/d1/_view/v1?group=true", {"keys": ["a"]}),
    Endpoint("eventing", "GET", "/api/v1/functions"),
    Endpoint("eventing", "GET", "/api/v1/status"),
    Endpoint("eventing", "POST", "/api/v1/functions/f1", EVENTING),
    *(
        Endpoint("eventing", "POST", f"/api/v1/functions/f1/{action}")
        for action in ("deploy", "undeploy", "pause", "resume")
    ),
    Endpoint("eventing", "DELETE", "/api/v1/functions/f1"),
    Endpoint("control", "GET", "/health"),
    Endpoint("control", "GET", "/faults"),
    Endpoint("control", "GET", "/scripts"),
    Endpoint("control", "GET", "/record?service=kv"),
    Endpoint("control", "GET", "/documents"),
    Endpoint("control", "PUT", "/documents/key-1", {"a": 1}),
    Endpoint("control", "GET", "/documents/key-1"),
    Endpoint("control", "DELETE", "/documents/key-1"),
    Endpoint("control", "POST", "/documents", {"id": "key-5", "value": 1}),
]  # fmt: skip

BY_SERVICE = {
    name: [endpoint for endpoint in ENDPOINTS if endpoint.service == name] for name in SERVICES
}
