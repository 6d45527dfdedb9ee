"""The exchange's keys: a certificate authority, a statement key, join tokens.

Two keys, both P-256, made on first start and kept as files with mode 0600:

- the statement key signs everything that the exchange states; its SPKI digest is the exchange id
  and is pinned by every join token;
- the authority signs certificates: its own server's, the nodes' TLS client certificates, and the
  AK certificates that offline verifiers trust.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from attest.keys import SoftwareKey
from attest.verify import Assurance

EKU_AK_CERTIFICATE = ObjectIdentifier("2.23.133.8.3")  # tcg-kp-AIKCertificate

_AUTHORITY_LIFETIME = timedelta(days=20 * 365)
_BACKDATE = timedelta(minutes=5)  # a node's clock may be behind
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


class RequestRefused(Exception):
    """A certificate signing request that gets no certificate."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The exchange's keys, loaded."""

    statement: SoftwareKey
    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def open(cls, directory: Path, name: str, now: datetime) -> Authority:
        """Load the keys in `directory`, making what is not there yet.

        :raises OSError, ValueError: files that cannot be read, or are not ours.
        """
        statement_file, authority_file = directory / "statement.pem", directory / "authority.pem"
        if not statement_file.exists():
            _write_secret(statement_file, SoftwareKey.generate().to_pem())
        if not authority_file.exists():
            # Key and certificate in one file, so that a crash cannot part them.
            _write_secret(authority_file, _new_authority(name, now))
        pem = authority_file.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{authority_file}: not an EC key")  # noqa: TRY004 - a file, not a type
        certificate = x509.load_pem_x509_certificate(pem)
        return cls(SoftwareKey.from_pem(statement_file.read_bytes()), certificate, key)

    @property
    def exchange_id(self) -> str:
        """Lower-case hex SHA-256 of the statement key's SPKI."""
        return self.statement.key_id.hex()

    @property
    def certificate_der(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(_DER)

    @property
    def certificate_pem(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(_PEM)

    def issue_server(self, now: datetime) -> tuple[bytes, bytes]:
        """Return (key PEM, chain PEM) for a server on the loopback, with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
        ]
        builder = (
            _builder("hearth sandbox exchange", key.public_key(), now, now + _AUTHORITY_LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        chain = self._sign(builder).public_bytes(_PEM) + self.certificate_pem
        return _private_pem(key), chain

    def issue_client(self, csr: bytes, node_id: str, now: datetime, end: datetime) -> bytes:
        """Return a TLS client certificate (DER), CN = node id, for the key in a PKCS#10 (DER).

        :raises RequestRefused: when the request is malformed or not signed by its own key.
        """
        builder = _builder(node_id, request_key(csr), now, end).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        return self._sign(builder).public_bytes(_DER)

    def issue_ak(
        self,
        ak_spki: bytes,
        node_id: str,
        ek_certificate_sha256: bytes,
        assurance: int,
        now: datetime,
        end: datetime,
    ) -> bytes:
        """Return an AK certificate (DER): what this exchange found out at enrolment, for anybody.

        :param ak_spki: DER SPKI of the AK; of the node key on a host without a TPM.
        :param ek_certificate_sha256: empty where there is none.
        :param assurance: hearth.v1.AssuranceClass.
        """
        public = serialization.load_der_public_key(ak_spki)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise TypeError("an AK is an EC key: attest.tcg.check_ak comes before")
        names = [
            f"urn:hearth:node:{node_id}",
            f"urn:hearth:ek:{ek_certificate_sha256.hex() or 'none'}",
            f"urn:hearth:assurance:{Assurance(assurance).label}",
        ]
        uris = [x509.UniformResourceIdentifier(name) for name in names]
        builder = (
            _builder(node_id, public, now, end)
            .add_extension(x509.SubjectAlternativeName(uris), critical=False)
            .add_extension(x509.ExtendedKeyUsage([EKU_AK_CERTIFICATE]), critical=False)
        )
        return self._sign(builder).public_bytes(_DER)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        issuer = self._key.public_key()
        return (
            builder.issuer_name(self.certificate.subject)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def request_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a PKCS#10 request (DER) that is signed by that very key.

    :raises RequestRefused: malformed, not P-256, or the signature does not hold.
    """
    try:
        request = x509.load_der_x509_csr(csr)
        public, valid = request.public_key(), request.is_signature_valid
    except ValueError as error:
        raise RequestRefused(f"certificate signing request: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise RequestRefused("certificate signing request: the key is not on P-256")
    if not valid:
        raise RequestRefused("certificate signing request: not signed by its own key")
    return public


def read_client(pem: bytes) -> tuple[str, bytes]:
    """Return (node id, DER SPKI) of a client certificate that the TLS layer has verified."""
    certificate = x509.load_pem_x509_certificate(pem)
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    public = certificate.public_key()
    return str(name.value), public.public_bytes(_DER, _SPKI)


def spki(public: ec.EllipticCurvePublicKey) -> bytes:
    """Return the DER SubjectPublicKeyInfo."""
    return public.public_bytes(_DER, _SPKI)


def new_token(exchange_id: str) -> str:
    """Return a join token: a secret, and the digest of the statement key that must answer it."""
    return f"{secrets.token_urlsafe(32)}.{exchange_id}"


def token_digest(token: str) -> bytes:
    """Return what is stored of a token: the secret has 256 bits, so a plain digest is enough."""
    return hashlib.sha256(token.encode()).digest()


def _new_authority(name: str, now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    builder = (
        _builder(f"Hearth exchange {name}"[:64], public, now, now + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    certificate = builder.issuer_name(_name(f"Hearth exchange {name}"[:64])).sign(
        key, hashes.SHA256()
    )
    return _private_pem(key) + certificate.public_bytes(_PEM)


def _builder(
    common_name: str, public: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _BACKDATE)
        .not_valid_after(end.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_secret(path: Path, content: bytes) -> None:
    """Write whole or not at all, readable by the owner only from its first byte."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
