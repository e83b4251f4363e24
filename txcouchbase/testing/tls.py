"""A certificate for the node, made anew at each start and signed by itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any

__all__ = ["Certificate"]

LIFE = timedelta(days=30)


class Certificate:
    """A key and a self-signed certificate for one address.

    :param host: an IP address; ``localhost`` is named beside it.
    :raises ImportError: where the extra ``txcouchbase[testing]`` is missing.
    """

    def __init__(self, host: str) -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.x509.oid import NameOID
        except ImportError as error:
            raise ImportError("TLS needs the extra txcouchbase[testing]") from error
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "embedded Couchbase node")])
        # From a little before now on, for clocks that differ.
        start = datetime.now(timezone.utc) - timedelta(hours=1)
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ip_address(host)), x509.DNSName("localhost")]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + LIFE)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        """The certificate, as PEM; what clients are told to trust."""
        self._key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def context_factory(self) -> Any:
        """What `twisted.internet.interfaces.IReactorSSL.listenSSL` takes.

        :raises ImportError: where the extra ``txcouchbase[testing]`` is missing.
        """
        try:
            from twisted.internet.ssl import PrivateCertificate
        except ImportError as error:
            raise ImportError("TLS needs the extra txcouchbase[testing]") from error
        return PrivateCertificate.loadPEM(self.certificate + self._key).options()
