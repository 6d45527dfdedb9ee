"""Certificates made by hand: an exchange's CA, a TPM vendor's CA. Deterministic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tests.fakes.fake_tpm import private_key

EKU_EK = "2.23.133.8.1"
EKU_AK = "2.23.133.8.3"
_DER = serialization.Encoding.DER


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Wish:
    """What a certificate is to say."""

    ca: bool = False
    path_length: int | None = None
    usages: Sequence[str] = ()
    uris: Sequence[str] = ()
    critical: str | None = None  # an extension nobody knows
    sign_certificates: bool = True


class FakeCa:
    """A self-signed P-256 CA, or one below another."""

    def __init__(
        self, common: str, parent: FakeCa | None = None, wish: Wish = Wish(ca=True)
    ) -> None:
        self.common = common
        self.key = private_key(f"ca {common}")
        issuer = parent or self
        self.der = issuer.issue(self.key.public_key(), wish, common=common)

    def issue(
        self, key: x509.types.CertificatePublicKeyTypes | object, wish: Wish, common: str = "leaf"
    ) -> bytes:
        serial = int.from_bytes(
            hashlib.sha256(f"{self.common}/{common}".encode()).digest()[:8], "big"
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name(self.common))
            .public_key(key)  # type: ignore[arg-type]  # tests hand any public key over
            .serial_number(serial)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))  # long over: nothing may mind
            .add_extension(x509.BasicConstraints(wish.ca, wish.path_length), critical=True)
            .add_extension(_usage(wish), critical=True)
        )
        if wish.usages:
            oids = [ObjectIdentifier(each) for each in wish.usages]
            builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        if wish.uris:
            uris = [x509.UniformResourceIdentifier(each) for each in wish.uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
        if wish.critical:
            unknown = x509.UnrecognizedExtension(ObjectIdentifier(wish.critical), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        made = builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)
        return made.public_bytes(_DER)

    def ak_chain(
        self,
        spki: bytes,
        node_id: str,
        assurance: str,
        ek: str = "none",
        *,
        uris: Sequence[str] | None = None,
        usages: Sequence[str] = (EKU_AK,),
        ca: bool = False,
    ) -> tuple[bytes, bytes]:
        stated = (
            f"urn:hearth:node:{node_id}",
            f"urn:hearth:ek:{ek}",
            f"urn:hearth:assurance:{assurance}",
        )
        wish = Wish(ca=ca, usages=usages, uris=stated if uris is None else uris)
        key = serialization.load_der_public_key(spki)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return self.issue(key, wish, common=node_id[:16]), self.der


def _usage(wish: Wish) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not wish.ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=wish.ca and wish.sign_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
