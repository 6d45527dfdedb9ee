"""EK templates, policies and NV contents, against published digests and an independent table."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tpm2_pytss.internal.templates import ek_template
from tpm2_pytss.types import TPMT_PUBLIC

from agent.sandbox.swtpm import Swtpm
from attest import ek, ekread, tcg
from attest.certificate import parse_certificate
from attest.errors import TpmError
from attest.tpm import Tpm

# TCG EK Credential Profile 2.6, B.6.5: PolicyB of the high range.
POLICY_B = {
    0x000B: "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
    0x000C: "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4"
    "cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
    0x000D: "b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4"
    "29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea",
}


@pytest.mark.parametrize("kind", ekread.KINDS, ids=lambda kind: kind.name)
def test_templates_are_those_of_the_profile(kind: ekread.EkKind) -> None:
    published = ek_template.lookup(kind.name)
    assert kind.template == bytes(published.template.publicArea.marshal())
    assert kind.certificate == published.cert_index
    assert kind.nonce == published.nonce_index


@pytest.mark.parametrize("name_alg", POLICY_B)
def test_policy_b_is_the_published_one(name_alg: int) -> None:
    high = [kind.template for kind in ekread.KINDS if kind.nonce is None]
    of_this_hash = [t for t in high if int.from_bytes(t[2:4], "big") == name_alg]
    assert of_this_hash
    for template in of_this_hash:
        assert bytes.fromhex(POLICY_B[name_alg]) in template


def test_a_nonce_goes_into_unique() -> None:
    rsa = TPMT_PUBLIC.unmarshal(ekread.with_nonce(ekread.KINDS[0].template, b"\x07" * 20))[0]
    assert bytes(rsa.unique.rsa) == (b"\x07" * 20).ljust(256, b"\0")
    ecc = TPMT_PUBLIC.unmarshal(ekread.with_nonce(ekread.KINDS[1].template, b"\x07" * 20))[0]
    assert bytes(ecc.unique.ecc.x) == (b"\x07" * 20).ljust(32, b"\0")
    assert bytes(ecc.unique.ecc.y) == bytes(32)


SHORT = b"\x30\x03abc"
LONG = b"\x30\x81\xc8" + b"x" * 200


@pytest.mark.parametrize(
    ("blob", "certificates"),
    [
        (b"", ()),
        (SHORT, (SHORT,)),
        (SHORT + LONG, (SHORT, LONG)),
        (LONG + b"\xff" * 30, (LONG,)),
        (LONG + b"\0" * 30 + SHORT, (LONG,)),
        (SHORT + LONG[:-1], (SHORT,)),
        (b"\xff" * 1000, ()),
        (b"\x30", ()),
        (b"\x30\x84\x00\x00", ()),
    ],
)
def test_certificates_are_cut_apart_without_their_padding(
    blob: bytes, certificates: tuple[bytes, ...]
) -> None:
    assert tuple(ekread.split_der(blob)) == certificates


def tool(swtpm: Swtpm, *command: str, content: bytes = b"") -> None:
    if shutil.which(command[0]) is None:
        pytest.skip("tpm2-tools is not installed")
    environment = {**os.environ, "TPM2TOOLS_TCTI": swtpm.tcti}
    subprocess.run(
        command, env=environment, input=content, capture_output=True, check=True, timeout=30
    )


def put(swtpm: Swtpm, index: int, content: bytes) -> None:
    attributes = "ppwrite|ppread|authread|platformcreate|no_da"
    where = ("-C", "p", f"{index:#x}")
    tool(swtpm, "tpm2_nvdefine", *where, "-s", str(len(content)), "-a", attributes)
    tool(swtpm, "tpm2_nvwrite", *where, "-i", "-", content=content)


def endorsement(swtpm: Swtpm) -> tuple[bytes, tuple[bytes, ...]]:
    tpm = Tpm.open(swtpm.tcti)
    try:
        read = tpm.endorsement().result(60)
        return read.ek_public, read.ek_certificate_chain
    finally:
        tpm.close()


def test_the_certificate_of_swtpm_chains_to_its_ca(swtpm: Swtpm, swtpm_state: Path) -> None:
    public, chain = endorsement(swtpm)
    issuer, root = (parse_pem(pem) for pem in swtpm.ca_certificates)
    identity = ek.check_ek_chain(chain, [root], [issuer])
    ek.check_ek_public(tcg.parse_public(public), identity)


def parse_pem(pem: bytes) -> bytes:
    import base64

    lines = pem.strip().splitlines()
    body = lines[lines.index(b"-----BEGIN CERTIFICATE-----") + 1 : -1]
    return base64.b64decode(b"".join(body))


def test_a_chain_in_nv_runs_over_indices_and_ends_at_padding(fresh_swtpm: Swtpm) -> None:
    issuer, root = (parse_pem(pem) for pem in fresh_swtpm.ca_certificates)
    blob = issuer + root + b"\xff" * 100
    put(fresh_swtpm, 0x01C00100, blob[:700])
    put(fresh_swtpm, 0x01C00101, blob[700:])
    put(fresh_swtpm, 0x01C00200, b"not part of it")
    public, chain = endorsement(fresh_swtpm)
    assert chain[1:] == (issuer, root)
    identity = ek.check_ek_chain(chain, [root])
    ek.check_ek_public(tcg.parse_public(public), identity)


def test_a_certificate_that_speaks_of_no_ek_here_is_passed_over(fresh_swtpm: Swtpm) -> None:
    """Such as one left behind by a firmware update that changed the seed."""
    tool(fresh_swtpm, "tpm2_nvundefine", "-C", "p", "0x01c00002")
    issuer, _ = (parse_pem(pem) for pem in fresh_swtpm.ca_certificates)
    put(fresh_swtpm, 0x01C00002, issuer)
    public, chain = endorsement(fresh_swtpm)
    assert tcg.parse_public(public).type == tcg.ECC
    assert ekread.speaks_of(chain[0], tcg.parse_public(public))
    assert parse_certificate(chain[0]).raw == chain[0]


def test_with_only_such_certificates_it_is_an_error_that_names_them(fresh_swtpm: Swtpm) -> None:
    issuer, _ = (parse_pem(pem) for pem in fresh_swtpm.ca_certificates)
    for index in (0x01C00002, 0x01C00016):
        tool(fresh_swtpm, "tpm2_nvundefine", "-C", "p", f"{index:#x}")
    put(fresh_swtpm, 0x01C0000A, issuer)
    with pytest.raises(TpmError, match=r"no EK fits its certificate .*L-2, NV index 0x01c0000a"):
        endorsement(fresh_swtpm)


def test_an_index_that_holds_no_certificate_is_an_error_that_names_it(fresh_swtpm: Swtpm) -> None:
    tool(fresh_swtpm, "tpm2_nvundefine", "-C", "p", "0x01c00002")
    put(fresh_swtpm, 0x01C00002, b"\xff" * 64)
    with pytest.raises(TpmError, match=r"L-1, NV index 0x01c00002.*not DER"):
        endorsement(fresh_swtpm)


def test_a_vendors_template_and_nonce_in_nv_make_the_ek(fresh_swtpm: Swtpm) -> None:
    plain, _ = endorsement(fresh_swtpm)
    for index in (0x01C00002, 0x01C00016):
        tool(fresh_swtpm, "tpm2_nvundefine", "-C", "p", f"{index:#x}")
    put(fresh_swtpm, 0x01C00003, b"\x07" * 20)
    with_nonce, chain = endorsement(fresh_swtpm)
    assert chain == () and with_nonce != plain
    put(fresh_swtpm, 0x01C00004, ekread.KINDS[1].template)
    ecc, _ = endorsement(fresh_swtpm)
    assert tcg.parse_public(ecc).type == tcg.ECC
