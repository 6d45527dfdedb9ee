"""A quote as tpm2-tools read it, so that a verifier that is not ours can judge it. Pure.

Source: tpm2-tools 5.4, lib/files.c, and what tpm2_checkquote accepts.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

from attest.root import SHA256_BANK, Quote

_LIST = 8  # digests in a TPML_DIGEST
_DIGEST = 64  # bytes of a TPMU_HA
_SELECTIONS = 16  # of a TPML_PCR_SELECTION
_SELECTION = 8  # bytes of a TPMS_PCR_SELECTION in memory


def quote_files(quote: Quote, spki: bytes) -> dict[str, bytes]:
    """Return the files for `tpm2_checkquote -m quote.msg -s quote.sig -f quote.pcrs -u ak.pem`.

    `quote.msg` is the TPMS_ATTEST, `quote.sig` the TPMT_SIGNATURE, both as marshalled.
    """
    return {
        "quote.msg": quote.attest,
        "quote.sig": quote.signature,
        "quote.pcrs": serialize_pcrs(quote.pcrs),
        "ak.pem": pem(spki),
    }


def serialize_pcrs(pcrs: Sequence[tuple[int, bytes]]) -> bytes:
    """Lay SHA-256 PCR values out as the tools' C structures, host byte order and padding included.

    A TPML_PCR_SELECTION (132 bytes), a u32 count, and that many TPML_DIGEST (532 bytes each).
    """
    bits = sum(1 << pcr for pcr, _ in pcrs)
    selection = struct.pack("=IHB", 1, SHA256_BANK, 3) + bits.to_bytes(3, "little")
    values = [value for _, value in pcrs]
    lists = [values[at : at + _LIST] for at in range(0, len(values), _LIST)]
    return (
        selection.ljust(4 + _SELECTIONS * _SELECTION, b"\0")
        + struct.pack("=I", len(lists))
        + b"".join(map(_digest_list, lists))
    )


def _digest_list(values: Sequence[bytes]) -> bytes:
    entries = b"".join(struct.pack(f"=H{_DIGEST}s", len(value), value) for value in values)
    return struct.pack("=I", len(values)) + entries.ljust(_LIST * (2 + _DIGEST), b"\0")


def pem(spki: bytes) -> bytes:
    """Wrap a DER SubjectPublicKeyInfo (RFC 7468, 13)."""
    text = base64.b64encode(spki)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""))
