"""Links of the analytics service: where collections get their data from. No I/O.

Fields are those of Couchbase's documentation, *Analytics Links REST API*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from txcouchbase.testing.analytics.errors import REQUEST, AnalyticsRefused

__all__ = ["LOCAL", "Link", "link_of"]

LOCAL = "Local"
"""The link of each scope to the node's own buckets."""

REDACTED = "<redacted sensitive entry>"


@dataclass(frozen=True)
class LinkType:
    """What a type of links takes.

    :param required: the fields that it needs.
    :param optional: the fields that it may have.
    :param secret: those of them that are never shown.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    secret: tuple[str, ...]


TYPES: dict[str, LinkType] = {
    "couchbase": LinkType(
        ("hostname",),
        ("encryption", "username", "password", "certificate", "clientCertificate", "clientKey"),
        ("password", "clientKey"),
    ),
    "s3": LinkType(
        ("accessKeyId", "secretAccessKey", "region"),
        ("sessionToken", "serviceEndpoint"),
        ("secretAccessKey", "sessionToken"),
    ),
    "azureblob": LinkType(
        (),
        (
            "connectionString",
            "accountName",
            "accountKey",
            "sharedAccessSignature",
            "blobEndpoint",
            "endpointSuffix",
        ),
        ("connectionString", "accountKey", "sharedAccessSignature"),
    ),
}
LEVELS = ("none", "half", "full")


@dataclass(frozen=True)
class Link:
    """A link of a scope.

    :param kind: one of `TYPES`.
    :param fields: as they were given.
    """

    kind: str
    fields: dict[str, str] = field(repr=False)

    def as_dict(self, scope: str, name: str) -> dict[str, Any]:
        """The link as a server shows it, secrets redacted."""
        secret = TYPES[self.kind].secret
        shown: dict[str, Any] = {
            field: REDACTED if field in secret else value for field, value in self.fields.items()
        }
        if self.kind == "couchbase":
            hostname = shown.pop("hostname")
            shown |= {"activeHostname": hostname, "bootstrapHostname": hostname, "nodes": []}
        # Both names of the same, since clients of different ages look for one or the other.
        return {"dataverse": scope, "scope": scope, "name": name, "type": self.kind} | shown


def link_of(fields: dict[str, str]) -> Link:
    """The link that a request describes.

    :param fields: without those that name it.
    :raises AnalyticsRefused: REQUEST.
    """
    given = dict(fields)
    kind = given.pop("type", "")
    known = TYPES.get(kind)
    if known is None:
        raise AnalyticsRefused(REQUEST, f'Invalid value for parameter "type": {kind}')
    missing = [field for field in known.required if not given.get(field)]
    if missing:
        raise AnalyticsRefused(REQUEST, f"Parameter(s) missing: {', '.join(missing)}")
    unknown = [field for field in given if field not in known.required + known.optional]
    if unknown:
        raise AnalyticsRefused(REQUEST, f"Parameter(s) unknown: {', '.join(unknown)}")
    if kind == "couchbase":
        _check_encryption(given)
    if kind == "azureblob" and not (
        given.get("connectionString")
        or (given.get("accountName") and (given.keys() & {"accountKey", "sharedAccessSignature"}))
    ):
        raise AnalyticsRefused(REQUEST, "Parameter(s) missing: connectionString, or an account")
    return Link(kind, given)


def _check_encryption(given: dict[str, str]) -> None:
    level = given.setdefault("encryption", "none")
    if level not in LEVELS:
        raise AnalyticsRefused(REQUEST, f'Invalid value for parameter "encryption": {level}')
    login = bool(given.get("username") and given.get("password"))
    certificate = bool(given.get("clientCertificate") and given.get("clientKey"))
    if level != "full" and not login:
        raise AnalyticsRefused(REQUEST, "Parameter(s) missing: username, password")
    if level == "full" and not (given.get("certificate") and login != certificate):
        raise AnalyticsRefused(
            REQUEST,
            "Full encryption needs a certificate, and either username and password or"
            " clientCertificate and clientKey",
        )
