"""TLS to a cluster's services, as the cluster's options want it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface.declarations import implementer

if TYPE_CHECKING:
    from couchbase.auth import Authenticator

__all__ = ["TlsEndpoint", "TlsSettings", "tls_settings"]


@dataclasses.dataclass(frozen=True)
class TlsSettings:
    """What decides about trust.

    Attributes:
        trusted: The file with the certificates that are trusted, None for those of the system.
        verify: Whether the server's certificate is looked at.
        certificate: The file with the client's certificate, None for none.
        key: The file with its key.
    """

    trusted: str | None
    verify: bool
    certificate: str | None = None
    key: str | None = None

    def creator(self) -> Callable[[str], Any]:
        """Makes, for a host's name, an `IOpenSSLClientConnectionCreator`.

        Raises:
            ImportError: pyOpenSSL or service_identity is missing.
            OSError: A file cannot be read.
            ValueError: A file is none of certificates.
        """
        from twisted.internet import ssl

        own = None
        if self.certificate is not None and self.key is not None:
            pem = Path(self.certificate).read_bytes() + b"\n" + Path(self.key).read_bytes()
            own = ssl.PrivateCertificate.loadPEM(pem)
        if not self.verify:
            options = own.options() if own is not None else ssl.CertificateOptions()
            return lambda host: _Unverified(options)
        trust: Any = ssl.platformTrust()
        if self.trusted is not None:
            trust = ssl.trustRootFromCertificates(_certificates(Path(self.trusted).read_bytes()))
        return lambda host: ssl.optionsForClientTLS(host, trustRoot=trust, clientCertificate=own)


def _certificates(pem: bytes) -> list[Any]:
    from twisted.internet import ssl

    end = b"-----END CERTIFICATE-----"
    found = [ssl.Certificate.loadPEM(part + end) for part in pem.split(end)[:-1]]
    if not found:
        raise ValueError("the file of trusted certificates holds none")
    return found


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connects to whoever answers (``tls_verify=none``)."""

    def __init__(self, options: Any) -> None:
        self._options = options

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """A connection that looks at no certificate."""
        from OpenSSL import SSL

        return SSL.Connection(self._options.getContext(), None)


def tls_settings(
    connstr: str, options: Mapping[str, Any], authenticator: Authenticator
) -> TlsSettings | None:
    """What a cluster's options say about TLS, None where it speaks in the clear.

    Args:
        connstr: The connection string.
        options: Of the cluster, by their names in the SDK's `ClusterOptions`.
        authenticator: The credentials.
    """
    parts = urlsplit(connstr)
    if parts.scheme != "couchbases" and options.get("enable_tls") is not True:
        return None
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    credentials: Any = authenticator
    held: Mapping[str, Any] = credentials.as_dict()
    trusted = (
        asked.get("trust_certificate")
        or held.get("trust_store_path")
        or options.get("trust_store_path")
    )
    given = options.get("tls_verify", "peer")
    verify = asked.get("tls_verify", getattr(given, "value", given))
    return TlsSettings(
        str(trusted) if trusted else None,
        verify not in ("none", "no_verify"),
        held.get("cert_path"),
        held.get("key_path"),
    )


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """An endpoint that speaks TLS over another one.

    Args:
        endpoint: That one.
        creator: The `IOpenSSLClientConnectionCreator`.
    """

    def __init__(self, endpoint: Any, creator: Any) -> None:
        self._endpoint = endpoint
        self._creator = creator

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect; fires with the protocol."""
        # Not at the top: workers whose clusters speak in the clear do without.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        wrapped: Deferred[Any] = self._endpoint.connect(
            TLSMemoryBIOFactory(self._creator, True, protocolFactory)
        )
        return wrapped.addCallback(lambda protocol: protocol.wrappedProtocol)
