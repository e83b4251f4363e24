"""The server's side of SASL: PLAIN, and SCRAM with SHA-1, SHA-256 and SHA-512 (RFC 5802)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from secrets import token_bytes, token_hex

__all__ = ["MECHANISMS", "Scram", "plain_credentials", "scram_name"]

ITERATIONS = 4096

_HASHES = {"SCRAM-SHA512": "sha512", "SCRAM-SHA256": "sha256", "SCRAM-SHA1": "sha1"}

MECHANISMS = (*_HASHES, "PLAIN")
"""What the node offers, the strongest first."""


def plain_credentials(payload: bytes) -> tuple[str, str] | None:
    """Name and password of PLAIN (authzid NUL name NUL password); None for anything else."""
    parts = payload.split(b"\0")
    if len(parts) != 3:
        return None
    try:
        return parts[1].decode(), parts[2].decode()
    except UnicodeDecodeError:
        return None


def scram_name(payload: bytes) -> str | None:
    """Who the client's first message of SCRAM says it is; None for anything else."""
    bare = payload.split(b",", 2)
    name = _attributes(bare[2]).get(b"n") if len(bare) == 3 else None
    if name is None:
        return None
    try:
        return name.replace(b"=2C", b",").replace(b"=3D", b"=").decode()
    except UnicodeDecodeError:
        return None


class Scram:
    """One SCRAM exchange.

    :param mechanism: one of `MECHANISMS` that starts with SCRAM.
    :param password: what the client must know.
    """

    def __init__(self, mechanism: str, password: str) -> None:
        self._hash = _HASHES[mechanism]
        self._password = password
        self._client_first = b""
        self._server_first = b""
        self._nonce = b""

    def first(self, payload: bytes) -> bytes | None:
        """The challenge to the client's first message; None if it cannot be answered."""
        bare = payload.split(b",", 2)
        if len(bare) != 3:
            return None
        nonce = _attributes(bare[2]).get(b"r")
        if nonce is None:
            return None
        salt, _ = _salted(self._hash, self._password)
        self._nonce = nonce + token_hex(16).encode()
        self._client_first = bare[2]
        self._server_first = b"r=%s,s=%s,i=%d" % (self._nonce, b64encode(salt), ITERATIONS)
        return self._server_first

    def final(self, payload: bytes) -> bytes | None:
        """The server's signature, or None if the client does not know the password."""
        without_proof, _, proof_text = payload.rpartition(b",p=")
        if _attributes(without_proof).get(b"r") != self._nonce or not self._nonce:
            return None
        try:
            proof = b64decode(proof_text, validate=True)
        except (Base64Error, ValueError):
            return None
        _, salted = _salted(self._hash, self._password)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        stored_key = hashlib.new(self._hash, client_key).digest()
        message = b",".join((self._client_first, self._server_first, without_proof))
        signature = hmac.digest(stored_key, message, self._hash)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if not hmac.compare_digest(expected, proof):
            return None
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        return b"v=" + b64encode(hmac.digest(server_key, message, self._hash))


def _attributes(message: bytes) -> dict[bytes, bytes]:
    # Nonces may hold anything but a comma: only the first "=" of a part separates.
    pairs = (part.partition(b"=") for part in message.split(b","))
    return {name: value for name, _, value in pairs}


@lru_cache(maxsize=64)
def _salted(hash_name: str, password: str) -> tuple[bytes, bytes]:
    # Drawn once for each password, so that the slow hash is computed once too.
    salt = token_bytes(16)
    return salt, hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, ITERATIONS)
