"""One open connection to a TPM: the commands, one after another, in whatever thread owns it.

TPM 2.0 Library, revision 1.59, Part 2 (structures) and Part 3 (commands).
"""

from __future__ import annotations

import hashlib
import re
import struct
from contextlib import ExitStack, suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tpm2_pytss.constants import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_PT,
    TPM2_PT_FIRMWARE,
    TPM2_PT_NV,
    TPM2_PT_VENDOR,
    TPM2_RC,
    TPM2_SE,
    TPM2_SU,
    TPMA_SESSION,
)
from tpm2_pytss.ESAPI import ESAPI
from tpm2_pytss.TSS2_Exception import TSS2_Exception
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMT_PUBLIC,
    TPMT_SIG_SCHEME,
)

from attest import ekread, tcg
from attest.errors import TpmError
from attest.root import SHA256_BANK, Endorsement, Quote, RootIdentity

# TPMT_PUBLIC of the AK: ECC, SHA-256; fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA
# restricted sign; no policy, no symmetric, ECDSA with SHA-256, NIST P-256, no KDF, empty point.
# In the endorsement hierarchy: elsewhere a quote's resetCount, restartCount and firmwareVersion
# are obfuscated (Part 1, 36.7). The scheme's NULL symmetric is what a restricted signer needs.
AK_TEMPLATE = bytes.fromhex("0023 000b 00050472 0000 0010 0018000b 0003 0010 0000 0000")
# The storage key of the TCG TPM v2.0 Provisioning Guidance (7.5.1), ECC: its name is the
# incarnation, because TPM2_Clear replaces the owner hierarchy's seed.
_SRK_TEMPLATE = (
    bytes.fromhex("0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010")
    + (bytes.fromhex("0020") + bytes(32)) * 2
)

_TRANSIENT = range(0x80000000, 0x81000000)
_LOADED_SESSIONS = range(0x02000000, 0x04000000)
# TCTIs that reach a TPM with no resource manager between: what a killed client left is still there.
_BARE = re.compile(r"(swtpm|mssim)(:|$)|device:/dev/tpm\d+$")
# TPM_RC (Part 2, 6.6.3): no slot for another object or session.
OUT_OF_ROOM = frozenset(
    {
        TPM2_RC.OBJECT_MEMORY,
        TPM2_RC.SESSION_MEMORY,
        TPM2_RC.MEMORY,
        TPM2_RC.SESSION_HANDLES,
        TPM2_RC.OBJECT_HANDLES,
    }
)
# TPM_RC_REFERENCE_H0 to H6: a handle that was good is gone. Without a resource manager somebody
# else who made room for himself has flushed it.
TAKEN_AWAY = frozenset(range(int(TPM2_RC.REFERENCE_H0), int(TPM2_RC.REFERENCE_H0) + 7))

_QUALIFYING_MOST = 64  # TPM2B_DATA holds a digest
_PCR_ATTEMPTS = 8


class Link:
    """An open TPM with its AK loaded. Not thread-safe.

    :raises TSS2_Exception: from every method. What the link holds is unknown then: drop it.
    :raises AttestError: for what no TPM would do; the link stays good.
    """

    def __init__(self, tcti: str, *, make_room: bool = False) -> None:
        """Connect, start the TPM if nobody did, and make the AK.

        :param make_room: first flush what dead clients left, where no resource manager did. Only
            when there is no room: a living client's objects look the same.
        """
        with ExitStack() as undo:
            self._esapi = ESAPI(tcti)
            undo.callback(self._esapi.close)
            properties = self._properties()
            self._nv_chunk = properties[TPM2_PT_NV.BUFFER_MAX]
            self._text_most = properties[TPM2_PT.INPUT_BUFFER]
            if make_room and _BARE.match(tcti):
                self._flush_stale()
            self._ek: Any = None  # TPMS_CONTEXT: an RSA EK takes seconds to derive again
            self._endorsement: Endorsement | None = None
            self._ak, ak = self._primary(AK_TEMPLATE, ESYS_TR.ENDORSEMENT)
            self.identity = RootIdentity(
                node_id=tcg.node_id(ak),
                spki=ak.spki,
                ak_public=ak.raw,
                incarnation=self._incarnation(),
                description=_description(properties),
            )
            undo.pop_all()

    def _properties(self) -> dict[int, int]:
        """Read the fixed properties (TPM_PT), starting the TPM first where that is left to us."""
        try:
            answer = self._esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.FIXED, 64)[1]
        except TSS2_Exception as error:
            if error.rc != TPM2_RC.INITIALIZE:
                raise
            self._esapi.startup(TPM2_SU.CLEAR)
            answer = self._esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.FIXED, 64)[1]
        return {int(p.property): int(p.value) for p in answer.data.tpmProperties}

    def _flush_stale(self) -> None:
        for wanted in (_TRANSIENT, _LOADED_SESSIONS):
            for handle in list(ekread.handles(self._esapi, wanted)):
                try:
                    self._esapi.flush_context(self._esapi.tr_from_tpmpublic(handle))
                except TSS2_Exception as error:
                    if error.error != TPM2_RC.HANDLE and error.rc not in TAKEN_AWAY:
                        raise  # else whoever left it there has flushed it meanwhile

    def _primary(self, template: bytes, hierarchy: Any) -> tuple[Any, tcg.Public]:
        """TPM2_CreatePrimary: the handle and the public area."""
        public = TPM2B_PUBLIC(publicArea=TPMT_PUBLIC.unmarshal(template)[0])
        made = self._esapi.create_primary(TPM2B_SENSITIVE_CREATE(), public, hierarchy)
        return made[0], tcg.parse_public(bytes(made[1].publicArea.marshal()))

    def _incarnation(self) -> bytes:
        handle, public = self._primary(_SRK_TEMPLATE, ESYS_TR.OWNER)
        self._esapi.flush_context(handle)
        return public.name

    def quote(self, qualifying: bytes, pcrs: tuple[int, ...]) -> Quote:
        """TPM2_Quote and TPM2_PCR_Read that agree: they are two commands, so ask until they do."""
        if len(qualifying) > _QUALIFYING_MOST:
            raise TpmError(f"qualifying data: at most {_QUALIFYING_MOST} bytes")
        if not pcrs or not all(0 <= pcr < 24 for pcr in pcrs):
            raise TpmError(f"PCRs: one or more of 0 to 23, not {pcrs}")
        wanted = tuple(sorted(set(pcrs)))
        for _ in range(_PCR_ATTEMPTS):
            values = self._read_pcrs(wanted)
            attest, signature = self._esapi.quote(self._ak, _selection(wanted), qualifying)
            digest = hashlib.sha256(b"".join(value for _, value in values)).digest()
            # TPMS_QUOTE_INFO ends with the TPM2B_DIGEST of the PCRs (Part 2, 10.12.4).
            if bytes(attest).endswith(struct.pack(">H", len(digest)) + digest):
                return Quote(bytes(attest), bytes(signature.marshal()), values)
        raise TpmError(f"PCRs changed during each of {_PCR_ATTEMPTS} quotes")

    def _read_pcrs(self, wanted: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
        """TPM2_PCR_Read, which answers as many as it likes (at most eight) at a time."""
        values: dict[int, bytes] = {}
        while missing := [pcr for pcr in wanted if pcr not in values]:
            _, selected, digests = self._esapi.pcr_read(_selection(missing))
            answered = [pcr for s in selected for pcr in _selected(s)]
            if not answered:
                raise TpmError(f"no PCR {missing} in the SHA-256 bank")
            values.update(zip(answered, map(bytes, digests), strict=True))
        return tuple(sorted(values.items()))

    def sign_note(self, text: bytes) -> bytes:
        """TPM2_Hash, whose ticket lets the restricted AK sign; then TPM2_Sign. ECDSA, DER.

        The TPM gives no ticket for a text that could pass for an attestation of its own.
        """
        if len(text) > self._text_most:
            raise TpmError(
                f"a note's text is at most {self._text_most} bytes, this has {len(text)}"
            )
        digest, ticket = self._esapi.hash(text, TPM2_ALG.SHA256, ESYS_TR.ENDORSEMENT)
        scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
        signature = self._esapi.sign(self._ak, digest, scheme, ticket)
        ecdsa = signature.signature.ecdsa  # points into `signature`
        r, s = (int.from_bytes(bytes(part), "big") for part in (ecdsa.signatureR, ecdsa.signatureS))
        return encode_dss_signature(r, s)

    def endorsement(self) -> Endorsement:
        """Derive the EK that a certificate in NV speaks of, once a link; keep it as a context."""
        if self._endorsement is None:
            sources, chain = ekread.sources(self._esapi, self._nv_chunk)
            for source in sources:
                handle, public = self._primary(source.template, ESYS_TR.ENDORSEMENT)
                saved = self._esapi.context_save(handle)
                self._esapi.flush_context(handle)
                if not source.certificate or ekread.speaks_of(source.certificate, public):
                    break
            else:
                raise TpmError(
                    f"no EK fits its certificate ({', '.join(s.where for s in sources)})"
                )
            certificates = (source.certificate, *chain) if source.certificate else ()
            self._ek = saved
            self._endorsement = Endorsement(public.raw, certificates)
        return self._endorsement

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """TPM2_ActivateCredential; the secret crosses the bus encrypted to the EK."""
        blob = TPM2B_ID_OBJECT(sized(credential_blob, 132, "credential blob"))
        secret = TPM2B_ENCRYPTED_SECRET(sized(encrypted_secret, 512, "encrypted secret"))
        public = tcg.parse_public(self.endorsement().ek_public)
        with ExitStack() as held:
            ek = self._esapi.context_load(self._ek)
            held.callback(self._flush, ek)
            session = self._esapi.start_auth_session(
                tpm_key=ek,
                bind=ESYS_TR.NONE,
                session_type=TPM2_SE.POLICY,
                symmetric="aes128cfb",
                auth_hash=TPM2_ALG(public.name_alg),
            )
            held.callback(self._flush, session)
            self._esapi.trsess_set_attributes(
                session, TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.ENCRYPT
            )
            ekread.satisfy(self._esapi, session, public)
            value = self._esapi.activate_credential(
                self._ak, ek, blob, secret, session1=ESYS_TR.PASSWORD, session2=session
            )
            return bytes(value)

    def close(self) -> None:
        """Flush the AK, where the TPM is still there, and disconnect."""
        self._flush(self._ak)
        self._esapi.close()

    def _flush(self, handle: Any) -> None:
        with suppress(TSS2_Exception):  # gone with the TPM, or flushed by somebody else
            self._esapi.flush_context(handle)


def sized(block: bytes, most: int, what: str) -> bytes:
    """Return what a TPM2B holds.

    :raises TpmError: its size is not that of the rest, or above `most`.
    """
    size = int.from_bytes(block[:2], "big")
    if len(block) < 2 or size != len(block) - 2 or size > most:
        raise TpmError(f"{what}: not a TPM2B of at most {most} bytes")
    return block[2:]


def _selection(pcrs: tuple[int, ...] | list[int]) -> str:
    return "sha256:" + ",".join(map(str, pcrs))


def _selected(selection: Any) -> list[int]:
    """TPMS_PCR_SELECTION: bit n of the little-endian map is PCR n."""
    if selection.hash != SHA256_BANK:
        return []
    bits = int.from_bytes(bytes(selection.pcrSelect)[: selection.sizeofSelect], "little")
    return [pcr for pcr in range(24) if bits >> pcr & 1]


def _description(properties: dict[int, int]) -> str:
    """Manufacturer, vendor string and firmware version, as the TPM gives them (Part 2, 6.13)."""
    letters = b"".join(
        properties.get(TPM2_PT_VENDOR.STRING_1 + i, 0).to_bytes(4, "big") for i in range(4)
    )
    maker = properties.get(TPM2_PT.MANUFACTURER, 0).to_bytes(4, "big")
    words = " ".join(
        part for raw in (maker, letters) for part in raw.decode("ascii", "replace").split()
    )
    versions = (TPM2_PT_FIRMWARE.VERSION_1, TPM2_PT_FIRMWARE.VERSION_2)
    firmware = b"".join(properties.get(v, 0).to_bytes(4, "big") for v in versions)
    numbers = ".".join(map(str, struct.unpack(">4H", firmware)))
    return f"{words.replace(chr(0), '')} firmware {numbers}"
