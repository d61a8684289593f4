"""The keys that sign a repository's metadata: in PEM files, or in a token behind PKCS#11.

A private key is named on a command line by its file, or by an RFC 7512 address such as
``pkcs11:token=plant;object=alice?module-path=/usr/lib/softhsm/libsofthsm2.so``. It then never leaves the
token; its PIN is read from the environment variable ``PKCS11_PIN``, or asked for. The public half is a PEM
file, whose name is the name that people know the key by.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer, SSlibKey

from deploy.repository.errors import RepositoryError
from deploy.repository.orders import NAME
from drivers.regular_files import open_regular
from station.files import write_file
from station.signing import own_key, private_key

if TYPE_CHECKING:
    import pkcs11

SCHEME = "pkcs11:"
NAMED = "x-name"
"""The field of a key in the metadata that has its name, for people."""
_ED25519, _P256 = "1.3.101.112", "secp256r1"
_PEM_BYTES = 100_000

AskPin = Callable[[str], str]
"""The token's label -> its PIN."""


def read_public(file: Path) -> SSlibKey:
    """The public key of a PEM file, Ed25519 or ECDSA P-256. Raises :class:`RepositoryError`."""
    try:
        with open_regular(file) as source:
            public = load_pem_public_key(source.read(_PEM_BYTES))
    except OSError as error:
        raise RepositoryError(f"{file}: {error.strerror}: name the public key (.pub) of a person") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RepositoryError(f"{file}: is no public key: name a .pub file of `retrain keys make`") from error
    return _named(public, file.stem, str(file))


def read_publics(files: Sequence[Path]) -> list[SSlibKey]:
    """Several, each once. Raises :class:`RepositoryError` that names every bad file."""
    found: dict[str, Path] = {}
    keys, problems = [], []
    for file in files:
        try:
            key = read_public(file)
        except RepositoryError as error:
            problems.append(str(error))
            continue
        if key.keyid in found:
            problems.append(f"{file}: is the same key as {found[key.keyid]}: name each key once")
        found[key.keyid] = file
        keys.append(key)
    if problems:
        raise RepositoryError("\n".join(problems))
    return keys


def name_of(key: Key) -> str:
    """How people call a key: its name and the first digits of its id."""
    name = key.unrecognized_fields.get(NAMED)
    plain = isinstance(name, str) and NAME.fullmatch(name)  # whatever somebody wrote into the metadata
    return f"{name} ({key.keyid[:8]})" if plain else key.keyid[:8]


def make_keys(folder: Path, names: Sequence[str]) -> list[SSlibKey]:
    """Make ``NAME.pem``, which only its owner can read, and ``NAME.pub``, for each name.

    Raises :class:`RepositoryError` that names every file that is there already; then none is made.
    """
    files = [folder / f"{name}.{kind}" for name in names for kind in ("pem", "pub")]
    there = [
        f"{one}: is there already: choose another name, keys are never replaced"
        for one in files
        if one.exists()
    ]
    twice = sorted({name for name in names if list(names).count(name) > 1})
    there += [f"{name}: is named twice" for name in twice]
    if there:
        raise RepositoryError("\n".join(there))
    for name in names:
        write_file(folder / f"{name}.pub", own_key(folder / f"{name}.pem").public.pem())
    return [read_public(folder / f"{name}.pub") for name in names]


@contextmanager
def signers(names: Sequence[str], ask_pin: AskPin) -> Iterator[list[Signer]]:
    """The private keys of these files and tokens, for as long as the block lasts.

    Raises :class:`RepositoryError` or ``SigningKeyError``.
    """
    tokens: list[_Token] = []
    try:
        found: list[Signer] = []
        for name in names:
            if name.startswith(SCHEME):
                tokens.append(_Token(name, ask_pin))
                found.append(tokens[-1].signer())
            else:
                private = private_key(Path(name))
                found.append(CryptoSigner(private, _named(private.public_key(), Path(name).stem, name)))
        twice = {one.public_key.keyid for one in found}
        if len(twice) != len(found):
            raise RepositoryError("--key names the same key twice: name each key once")
        yield found
    finally:
        for token in tokens:
            token.close()


def make_token_key(folder: Path, address: str, ask_pin: AskPin) -> SSlibKey:
    """Make a key in a token, by the name of the ``object`` of ``address``, and its ``.pub`` in ``folder``.

    Ed25519, or ECDSA P-256 where the token cannot. Raises :class:`RepositoryError`.
    """
    token = _Token(address, ask_pin, writable=True)
    try:
        public = folder / f"{token.label}.pub"
        if public.exists():
            raise RepositoryError(f"{public}: is there already: choose another name, keys are never replaced")
        write_file(public, token.make())
    finally:
        token.close()
    return read_public(public)


class _Token:
    """A key of a token, while its session is open. Raises :class:`RepositoryError`."""

    def __init__(self, address: str, ask_pin: AskPin, *, writable: bool = False) -> None:
        try:
            import pkcs11
        except ModuleNotFoundError as missing:
            raise RepositoryError(
                f"{address}: keys in tokens need the extra `pkcs11`: pip install 'inspection-station[pkcs11]'"
            ) from missing
        self._address = address
        path, _, query = address.removeprefix(SCHEME).partition("?")
        fields = dict(part.partition("=")[::2] for part in path.split(";") if part)
        fields = {name: unquote(value) for name, value in fields.items()}
        module = (parse_qs(query).get("module-path") or [os.environ.get("PKCS11_MODULE", "")])[0]
        strange = fields.keys() - {"token", "object"}
        if strange or not fields.get("token") or not fields.get("object") or not module:
            raise RepositoryError(
                f"{address}: write `pkcs11:token=TOKEN;object=KEY?module-path=LIBRARY` "
                "(the library may stand in PKCS11_MODULE instead)"
            )
        self.label = fields["object"]
        with self._explained():
            token = pkcs11.lib(module).get_token(token_label=fields["token"])
            pin = os.environ.get("PKCS11_PIN") or ask_pin(fields["token"])
            self._session: pkcs11.Session = token.open(user_pin=pin, rw=writable)

    def close(self) -> None:
        self._session.close()

    def signer(self) -> Signer:
        from pkcs11 import KeyType, Mechanism, ObjectClass

        with self._explained():
            private: Any = self._session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=self.label)
            public: Any = self._session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=self.label)
            key = _named(_public_of(public), self.label, self._address)
        edwards = public.key_type == KeyType.EC_EDWARDS

        def sign(payload: bytes) -> bytes:
            with self._explained():
                if edwards:
                    return bytes(private.sign(payload, mechanism=Mechanism.EDDSA))
                digest = hashlib.sha256(payload).digest()
                raw = bytes(private.sign(digest, mechanism=Mechanism.ECDSA))
            half = len(raw) // 2
            return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

        return _TokenSigner(key, sign)

    def make(self) -> str:
        """The public half, PEM."""
        from pkcs11 import Attribute, KeyType, Mechanism
        from pkcs11.util.ec import encode_named_curve_parameters

        with self._explained():
            there: Any = self._session.get_objects({Attribute.LABEL: self.label})
            if list(there):
                raise RepositoryError(f"{self._address}: is in the token already: choose another object")
            edwards = Mechanism.EDDSA in self._session.token.slot.get_mechanisms()
            curve = encode_named_curve_parameters(_ED25519 if edwards else _P256)
            kind = KeyType.EC_EDWARDS if edwards else KeyType.EC
            made: Any = self._session.create_domain_parameters(kind, {Attribute.EC_PARAMS: curve}, local=True)
            mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else None
            public, _ = made.generate_keypair(mechanism=mechanism, store=True, label=self.label)
            pem = _public_of(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import pkcs11

        try:
            yield
        except (pkcs11.PKCS11Error, ValueError) as error:
            said = str(error) or type(error).__name__
            raise RepositoryError(f"{self._address}: {said}: check token, object, PIN and library") from error


class _TokenSigner(Signer):
    """Signs by a token."""

    def __init__(self, key: SSlibKey, sign: Callable[[bytes], bytes]) -> None:
        self._key, self._sign = key, sign

    @property
    def public_key(self) -> SSlibKey:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.keyid, self._sign(payload).hex())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError("is made by deploy.repository.keys.signers")


def _public_of(public: Any) -> Ed25519PublicKey | EllipticCurvePublicKey:
    from pkcs11 import Attribute, KeyType

    point = bytes(public[Attribute.EC_POINT])
    if public.key_type == KeyType.EC_EDWARDS:
        return Ed25519PublicKey.from_public_bytes(point[-32:])  # most tokens put a DER header before it
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point[-65:])


def _named(public: Any, name: str, where: str) -> SSlibKey:
    try:
        key = SSlibKey.from_crypto(public)
    except ValueError as error:
        raise RepositoryError(f"{where}: is no Ed25519 key: make one by `retrain keys make`") from error
    if key.scheme not in ("ed25519", "ecdsa-sha2-nistp256"):
        raise RepositoryError(f"{where}: is neither Ed25519 nor ECDSA P-256: use `retrain keys make`")
    key.unrecognized_fields[NAMED] = name
    return key
