"""Ed25519 keys: who signed a bundle or a receipt. The metadata of the way back is signed by the same files.

A private key is a PEM file (PKCS #8) that only its owner can read; its public half, one PEM file per key, is
what the other side enrols: it copies the file into its folder of known keys. A key is known by its id, the
first 32 hex digits of the SHA-256 of its 32 raw bytes; names and host names prove nothing. What is signed
begins with a purpose, so that a signature for one thing is never one for another.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from drivers.errors import InspectionError
from station.files import replacing

SIGNATURE_BYTES = 64


class SigningKeyError(InspectionError):
    """A key cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half that is given away."""

    raw: bytes
    """32 bytes, RFC 8032."""

    @property
    def key_id(self) -> str:
        """32 hex digits."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    def pem(self) -> str:
        """The text of its file."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, form
        ).decode()  # fmt: skip

    def has_signed(self, purpose: str, content: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's, for this purpose and these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, _message(purpose, content))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The half that stays."""

    _private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """Its other half."""
        return PublicKey(self._private.public_key().public_bytes_raw())

    def sign(self, purpose: str, content: bytes) -> bytes:
        """64 bytes, the same for the same content."""
        return self._private.sign(_message(purpose, content))


def own_key(file: Path) -> SigningKey:
    """The private key in ``file``, made there where there is none. Raises :class:`SigningKeyError`.

    A file that others can read is refused: whoever read it can sign in this station's name.
    """
    try:
        if not file.exists():
            _make(file)
    except OSError as error:
        raise _no_access(file, error) from error
    return SigningKey(private_key(file))


def private_key(file: Path) -> Ed25519PrivateKey:
    """The private key in ``file``, which must be there and be its owner's alone.

    Raises :class:`SigningKeyError`.
    """
    try:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            raise SigningKeyError(
                f"{file}: can be read by others (mode {mode:o}): if nobody can have read it, "
                f"`chmod 600 {file}`; else delete it, start again, and enrol the new key"
            )
        content = file.read_bytes()
    except OSError as error:
        raise _no_access(file, error) from error
    try:
        private = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(
            f"{file}: is no private key: put its backup back, or delete it and enrol the new one"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyError(f"{file}: is no Ed25519 key: delete it, a new one is made, and enrol that one")
    return private


def _no_access(file: Path, error: OSError) -> SigningKeyError:
    remedy = (
        "name the file of a key that there is"
        if isinstance(error, FileNotFoundError)
        else "give the user of this command permission to read and write it"
    )
    return SigningKeyError(f"{file}: {error.strerror}: {remedy}")


def known_key(file: Path) -> PublicKey:
    """The public key of one file. Raises OSError, ValueError or ``UnsupportedAlgorithm``."""
    public = serialization.load_pem_public_key(file.read_bytes()) if file.is_file() else None
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError(f"{file}: is no public Ed25519 key")
    return PublicKey(public.public_bytes_raw())


def known_keys(folder: Path) -> dict[str, PublicKey]:
    """Key id -> key, for every ``*.pub`` of a folder.

    Raises :class:`SigningKeyError`, which names all bad files at once.
    """
    found: dict[str, PublicKey] = {}
    problems = []
    try:
        if not folder.is_dir():
            raise SigningKeyError(
                f"{folder}: is no folder: create it, and copy the public keys (*.pub) there"
            )
        for file in sorted(folder.glob("*.pub")):
            try:
                key = known_key(file)
            except (ValueError, UnsupportedAlgorithm):
                problems.append(f"{file}: is no public Ed25519 key: copy the file again, or remove it")
            else:
                found[key.key_id] = key
    except OSError as error:
        raise SigningKeyError(
            f"{error.filename}: {error.strerror}: make it readable for this user"
        ) from error
    if problems:
        raise SigningKeyError("; ".join(problems))
    return found


def _make(file: Path) -> None:
    private = Ed25519PrivateKey.generate()
    content = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with (
        replacing(file) as fresh,
        os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        out.write(content)


def _message(purpose: str, content: bytes) -> bytes:
    return f"inspection-station {purpose}\n".encode() + content
