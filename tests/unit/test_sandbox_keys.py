"""The sandbox exchange's keys and tokens."""

from __future__ import annotations

import hashlib
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from agent.sandbox.exchange import ca
from attest.ak_certificate import Assurance, check_ak_chain
from attest.errors import AttestError
from attest.keys import SoftwareKey

NOW = datetime(2027, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=30)
NODE = "ab" * 32
DER = serialization.Encoding.DER


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    return ca.Authority.open(tmp_path, "one", NOW)


def request(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever")])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, digest).public_bytes(DER)


def test_keys_stay_from_start_to_start(authority: ca.Authority, tmp_path: Path) -> None:
    again = ca.Authority.open(tmp_path, "renamed", NOW + timedelta(days=1))
    assert again.exchange_id == authority.exchange_id
    assert again.certificate_der == authority.certificate_der
    assert authority.exchange_id == hashlib.sha256(authority.statement.spki).hexdigest()


def test_keys_are_the_owners_alone(authority: ca.Authority, tmp_path: Path) -> None:
    assert authority.exchange_id
    for name in ("statement.pem", "authority.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_client_certificate_is_over_the_requests_key_and_the_given_name(
    authority: ca.Authority,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = x509.load_der_x509_certificate(authority.issue_client(request(key), NODE, NOW, END))
    assert issued.public_key() == key.public_key()
    assert issued.subject.rfc4514_string() == f"CN={NODE}"
    issued.verify_directly_issued_by(authority.certificate)
    assert issued.not_valid_after_utc == END
    node_id, spki = ca.read_client(issued.public_bytes(serialization.Encoding.PEM))
    assert (node_id, spki) == (NODE, ca.spki(key.public_key()))


def test_request_that_another_key_signed(authority: ca.Authority) -> None:
    csr = bytearray(request(ec.generate_private_key(ec.SECP256R1())))
    csr[-1] ^= 1
    with pytest.raises(ca.RequestRefused, match="not signed by its own key"):
        authority.issue_client(bytes(csr), NODE, NOW, END)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_request_for_a_key_off_p256(
    authority: ca.Authority, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
) -> None:
    with pytest.raises(ca.RequestRefused, match="P-256"):
        authority.issue_client(request(key), NODE, NOW, END)


def test_request_that_is_none(authority: ca.Authority) -> None:
    with pytest.raises(ca.RequestRefused):
        authority.issue_client(b"\x30\x03abc", NODE, NOW, END)


@pytest.mark.parametrize("assurance", list(Assurance))
def test_ak_certificate_says_what_was_found(authority: ca.Authority, assurance: Assurance) -> None:
    ak = SoftwareKey.generate()
    ek = bytes(range(32)) if assurance is not Assurance.SOFTWARE else b""
    chain = [
        authority.issue_ak(ak.spki, NODE, ek, int(assurance), NOW, END),
        authority.certificate_der,
    ]
    found = check_ak_chain(chain, ak.spki, NODE)
    assert (found.assurance, found.ek_certificate_sha256) == (assurance, ek.hex())
    assert found.ca == authority.certificate_der


def test_client_certificate_is_no_ak_certificate(authority: ca.Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    client = authority.issue_client(request(key), NODE, NOW, END)
    with pytest.raises(AttestError):
        check_ak_chain([client, authority.certificate_der], ca.spki(key.public_key()), NODE)


def test_server_certificate_is_for_the_loopback(authority: ca.Authority, tmp_path: Path) -> None:
    key, chain = authority.issue_server(NOW)
    (tmp_path / "server.pem").write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")  # key and certificate fit
    leaf, root = x509.load_pem_x509_certificates(chain)
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_token_pins_the_statement_key(authority: ca.Authority) -> None:
    one, two = ca.new_token(authority.exchange_id), ca.new_token(authority.exchange_id)
    secret, pin = one.split(".")
    assert pin == hashlib.sha256(authority.statement.spki).hexdigest()
    assert len(secret) == 43
    assert one != two
    assert ca.token_digest(one) == hashlib.sha256(one.encode()).digest() != ca.token_digest(two)
