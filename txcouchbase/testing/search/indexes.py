"""Definitions of search indexes as a server stores them. No I/O.

Names, checks, defaults and messages follow Couchbase's ``cbgt`` (``manager_api.go``) and its
documentation, *Search Index REST API*. An index of a scope is known by bucket, scope and name,
joined with dots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from txcouchbase.testing.search.built import BuiltIndexes
from txcouchbase.testing.search.refusals import SearchRefused
from txcouchbase.testing.search.sources import Held

__all__ = ["CONTROLS", "SearchIndexes", "Source", "prefix_of"]

CONTROLS = {
    "ingestControl": ("canWrite", {"pause": False, "resume": True}),
    "queryControl": ("canRead", {"allow": True, "disallow": False}),
    "planFreezeControl": ("planFrozen", {"freeze": True, "unfreeze": False}),
}
"""What may be switched: the member of the plan that keeps it, and its value by operation."""

NAME = re.compile(r"[A-Za-z][0-9A-Za-z_\-]*\Z")
MAX_NAME = 209
TYPES = ("fulltext-index", "fulltext-alias")
SOURCES = ("couchbase", "gocbcore", "nil")
DEFAULT_PARAMS = {
    "doc_config": {"docid_prefix_delim": "", "docid_regexp": "", "mode": "type_field"}
    | {"type_field": "type"},
    "mapping": {
        "default_analyzer": "standard",
        "default_datetime_parser": "dateTimeOptional",
        "default_field": "_all",
        "default_mapping": {"dynamic": True, "enabled": True},
        "default_type": "_default",
        "index_dynamic": True,
        "store_dynamic": False,
        "type_field": "_type",
    },
    "store": {"indexType": "scorch"},
}
_CONFIG_TEXTS = ("mode", "type_field", "docid_prefix_delim", "docid_regexp")
_MAPPING_TEXTS = ("default_analyzer", "default_field", "default_type", "default_datetime_parser")
_FIELD_TEXTS = ("name", "analyzer", "similarity", "date_format")
_PLAN = {
    "maxPartitionsPerPIndex": int,
    "indexPartitions": int,
    "numReplicas": int,
    "hierarchyRules": dict,
    "nodePlanParams": dict,
    "pindexWeights": dict,
    "planFrozen": bool,
}


@dataclass(frozen=True)
class Source:
    """A bucket that can be indexed."""

    uuid: str
    vbuckets: int


def prefix_of(bucket: str | None, scope: str | None) -> str:
    """What precedes the names of a scope's indexes; nothing for those of the cluster."""
    return "" if bucket is None or scope is None else f"{bucket}.{scope}."


class SearchIndexes:
    """All search indexes of a cluster."""

    def __init__(self) -> None:
        self.uuid = _uuid()
        self.held: dict[str, Held] = {}
        """What an index had when its ingest was paused, by whole name."""
        self.built = BuiltIndexes()
        self._definitions: dict[str, dict[str, Any]] = {}

    def get(self, name: str) -> dict[str, Any]:
        """A definition.

        :param name: the whole name.
        :raises SearchRefused: if there is none.
        """
        found = self._definitions.get(name)
        if found is None:
            raise SearchRefused("rest_auth: preparePerms, err: index not found")
        return found

    def all(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Definitions by whole name, of one scope or of the cluster."""
        return {
            name: definition
            for name, definition in self._definitions.items()
            if name.startswith(prefix)
        }

    def put(
        self, name: str, prefix: str, body: Any, sources: Mapping[str, Source]
    ) -> dict[str, Any]:
        """Create an index, or change the one whose ``uuid`` the definition names.

        :param name: the name, without the prefix.
        :param body: the definition.
        :param sources: the buckets by name.
        :returns: what is stored.
        :raises SearchRefused: as a server refuses it.
        """
        whole = prefix + name
        given = _members(whole, body)
        kind, source_type = given.get("type"), given.get("sourceType")
        if not kind:
            raise SearchRefused(f"rest_create_index: index type is required, indexName: {name}")
        if not source_type:
            raise SearchRefused(f"rest_create_index: sourceType is required, indexName: {name}")
        try:
            definition = self._checked(name, prefix, given, sources)
            self._check_previous(whole, given.get("uuid") or "", definition)
        except SearchRefused as refused:
            message = f"rest_create_index: error creating index: {whole}, err: {refused.message}"
            raise SearchRefused(message, refused.code) from None
        self.uuid = definition["uuid"]
        self._definitions[whole] = definition
        if self.allows(whole, "canWrite"):
            self.held.pop(whole, None)
        return definition

    def drop(self, name: str) -> str:
        """Take an index out.

        :param name: the whole name.
        :returns: the UUID that it had.
        :raises SearchRefused: if there is none.
        """
        uuid: str = self.get(name)["uuid"]
        del self._definitions[name]
        self.held.pop(name, None)
        self.built.forget(name)
        self.uuid = _uuid()
        return uuid

    def forget_bucket(self, bucket: str) -> None:
        """Take out what indexes a bucket that is gone, and what its scopes have."""
        for name, definition in self.all().items():
            if definition.get("sourceName") == bucket or name.startswith(f"{bucket}."):
                self.drop(name)

    def forget_scope(self, bucket: str, scope: str) -> None:
        """Take out the indexes of a scope that is gone."""
        for name in self.all(prefix_of(bucket, scope)):
            self.drop(name)

    def control(self, name: str, control: str, operation: str) -> None:
        """Switch something of an index.

        :param name: the whole name.
        :param control: one of `CONTROLS`.
        :raises SearchRefused: for an unknown index or operation.
        """
        definition = self.get(name)
        member, values = CONTROLS[control]
        if operation not in values:
            raise SearchRefused(f"rest_index: IndexControl, error: unsupported op: {operation}")
        plan = definition["planParams"]
        if member == "planFrozen":
            plan.pop(member, None)
            if values[operation]:
                plan[member] = True
        else:
            node = {"canRead": True, "canWrite": True}
            node |= plan.pop("nodePlanParams", {}).get("", {}).get("", {})
            node[member] = values[operation]
            if node["canWrite"]:
                self.held.pop(name, None)
            if not all(node.values()):
                plan["nodePlanParams"] = {"": {"": node}}
        self.uuid = definition["uuid"] = _uuid()

    def allows(self, name: str, member: str) -> bool:
        """Whether an index may be queried (``canRead``), or takes changes in (``canWrite``)."""
        plan = self.get(name)["planParams"].get("nodePlanParams", {})
        allowed: bool = plan.get("", {}).get("", {}).get(member, True)
        return allowed

    def _checked(
        self, name: str, prefix: str, given: dict[str, Any], sources: Mapping[str, Source]
    ) -> dict[str, Any]:
        if not given.get("uuid") and not NAME.match(name):
            raise SearchRefused(
                f'manager_api: CreateIndex, indexName is invalid, indexName: "{name}"'
            )
        if len(prefix + name) > MAX_NAME:
            raise SearchRefused(
                "manager_api: CreateIndex, chosen index name is too long, consider one that is"
                f" less than {MAX_NAME} characters"
            )
        kind, source_type = given["type"], given["sourceType"]
        if kind not in TYPES:
            raise SearchRefused(f"manager_api: CreateIndex, unknown indexType: {kind}")
        if source_type not in SOURCES:
            raise SearchRefused(f"manager_api: CreateIndex, unknown sourceType: {source_type}")
        definition = {
            "type": kind,
            "name": prefix + name,
            "uuid": _uuid(),
            "sourceType": "nil" if source_type == "nil" else "gocbcore",
        }
        params, partitions = given.get("params") or {}, 1
        if kind == "fulltext-alias":
            if not isinstance(params.get("targets"), dict):
                raise SearchRefused(
                    "manager_api: CreateIndex, invalid, err: alias: no targets in the params"
                )
        elif source_type == "nil":
            raise SearchRefused("manager_api: CreateIndex, a fulltext-index needs a bucket")
        else:
            bucket = given.get("sourceName") or name
            source = _source(bucket, given, sources)
            definition |= {"sourceName": bucket, "sourceUUID": source.uuid}
            partitions = source.vbuckets
            _check_params(params)
            params = DEFAULT_PARAMS | params
        definition |= {
            "sourceParams": given.get("sourceParams") or {},
            "planParams": _plan(given.get("planParams") or {}, partitions),
            "params": params,
        }
        return definition

    def _check_previous(self, whole: str, uuid: str, definition: dict[str, Any]) -> None:
        previous = self._definitions.get(whole)
        if not uuid:
            if previous is not None:
                raise SearchRefused(
                    "manager_api: cannot create index because an index with the same name"
                    f" already exists: {whole}"
                )
        elif uuid != "*":
            if previous is None:
                raise SearchRefused(f"manager_api: index missing for update, indexName: {whole}")
            if previous["uuid"] != uuid:
                raise SearchRefused(
                    "manager_api: perhaps there was concurrent index definition update,"
                    f" current index UUID: {previous['uuid']}, did not match input UUID: {uuid}"
                )
            old, new = previous["planParams"], definition["planParams"]
            if old.get("planFrozen") and any(
                old.get(member) != new.get(member)
                for member in ("maxPartitionsPerPIndex", "numReplicas")
            ):
                raise SearchRefused(
                    "manager_api: cannot update partition or replica count for a planFrozen"
                    f" index, indexName: {whole}"
                )


def _members(name: str, body: Any) -> dict[str, Any]:
    """The members of a definition, of the types that they must have.

    :raises SearchRefused: for others.
    """
    texts = ("name", "type", "uuid", "sourceType", "sourceName", "sourceUUID")
    objects = ("params", "sourceParams", "planParams")
    if not isinstance(body, dict):
        raise _unmarshalled(name, "not an object")
    for members, kind in ((texts, str), (objects, dict)):
        for member in members:
            if body.get(member) is not None and not isinstance(body[member], kind):
                raise _unmarshalled(name, f"{member} of another type")
    for member, wanted in _PLAN.items():
        value = (body.get("planParams") or {}).get(member)
        # bool is an int to Python, and not to JSON.
        if value is not None and type(value) is not wanted:
            raise _unmarshalled(name, f"planParams.{member} of another type")
    nodes = (body.get("planParams") or {}).get("nodePlanParams") or {}
    if not all(
        isinstance(plans, dict) and all(isinstance(plan, dict) for plan in plans.values())
        for plans in nodes.values()
    ):
        raise _unmarshalled(name, "planParams.nodePlanParams of another type")
    return body


def _check_params(params: dict[str, Any]) -> None:
    """Whether the parameters of a full-text index have the form that they must have.

    :raises SearchRefused: if not.
    """
    mapping, config = params.get("mapping", {}), params.get("doc_config", {})
    well_formed = (
        isinstance(mapping, dict)
        and isinstance(config, dict)
        and isinstance(params.get("store", {}), dict)
        and isinstance(config.get("mode", ""), str)
        and all(isinstance(config.get(name) or "", str) for name in _CONFIG_TEXTS)
        and all(isinstance(mapping.get(name) or "", str) for name in _MAPPING_TEXTS)
        and isinstance(mapping.get("analysis") or {}, dict)
        and isinstance((mapping.get("analysis") or {}).get("analyzers") or {}, dict)
        and _rules(mapping.get("default_mapping"))
        and _all_rules(mapping.get("types"))
    )
    if not well_formed:
        raise SearchRefused(
            "manager_api: CreateIndex, Prepare failed, err: bleve: Prepare, err: doc_config,"
            " mapping, its types and store must be objects"
        )


def _rules(rules: Any) -> bool:
    """Whether the mapping of a document, or of a part of it, is well formed."""
    if rules is None:
        return True
    return (
        isinstance(rules, dict)
        and all(isinstance(rules.get(name, True), bool) for name in ("enabled", "dynamic"))
        and isinstance(rules.get("default_analyzer") or "", str)
        and isinstance(rules.get("fields") or [], list)
        and all(map(_field, rules.get("fields") or []))
        and _all_rules(rules.get("properties"))
    )


def _all_rules(named: Any) -> bool:
    return named is None or (
        isinstance(named, dict)
        and all(isinstance(each, dict) and _rules(each) for each in named.values())
    )


def _field(field: Any) -> bool:
    return (
        isinstance(field, dict)
        and isinstance(field.get("type", "text"), str)
        and all(isinstance(field.get(name) or "", str) for name in _FIELD_TEXTS)
        and type(field.get("dims", 0)) is int
    )


def _unmarshalled(name: str, reason: str) -> SearchRefused:
    return SearchRefused(
        f"rest_create_index: could not unmarshal json, indexName: {name}, err: {reason}"
    )


def _source(bucket: str, given: dict[str, Any], sources: Mapping[str, Source]) -> Source:
    uuid, source = given.get("sourceUUID") or "", sources.get(bucket)
    if source is None:
        raise SearchRefused(
            "manager_api: failed to connect to or retrieve information from source,"
            f" sourceType: gocbcore, sourceName: {bucket}, sourceUUID: {uuid}, err: no such bucket",
            500,
        )
    if uuid and uuid != source.uuid:
        raise SearchRefused(
            f"manager_api: CreateIndex failed, sourceUUID mismatched for sourceName: {bucket}"
        )
    return source


def _plan(given: dict[str, Any], vbuckets: int) -> dict[str, Any]:
    """The plan with defaults; members that say nothing are left out, as a server does."""
    plan: dict[str, Any] = {"indexPartitions": 1}
    plan |= {name: given[name] for name in _PLAN if given.get(name)}
    partitions = plan["indexPartitions"]
    if not 1 <= partitions <= vbuckets:
        raise SearchRefused(
            f"cannot create index with {partitions} partitions,"
            f" the source bucket has {vbuckets} vbuckets"
        )
    replicas = plan.get("numReplicas", 0)
    if replicas:
        raise SearchRefused(
            f"manager_api: CreateIndex failed, cluster needs {replicas + 1} search nodes to"
            f" support the requested replica count of {replicas}"
        )
    plan["maxPartitionsPerPIndex"] = -(-vbuckets // partitions)
    return plan


def _uuid() -> str:
    return uuid4().hex[:16]
