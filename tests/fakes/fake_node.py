"""A node in memory: a root of trust, a log, and everything it can show. Deterministic."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hearth.v1 import lease_pb2

from attest import checkpoint, envelope, evidence, formats, merkle
from attest.envelope import Envelope, payload_type
from attest.formats import InclusionProof, KeyBinding, LogStart, ProofFile
from attest.identity import TrustedNode
from tests.fakes.fake_ca import FakeCa
from tests.fakes.fake_tpm import PCRS, FakeTpm, FixedKey

BOOT = "0b5c1a52-3d1e-4b6f-9a57-1f6f0c6e2d11"
EXCHANGES = (FakeCa("exchange one"), FakeCa("exchange two"))
_TIME = 1_790_000_000_000_000_000


class FakeNode:
    """A log of leaves under one envelope key. `tpm=None` is a host without a TPM."""

    def __init__(self, tpm: FakeTpm | None, seed: str = "node", receipts: int = 6) -> None:
        self.tpm = tpm
        self.root_key = tpm.key if tpm else FixedKey(f"{seed} node key")
        self.envelope_key = FixedKey(f"{seed} envelope key")
        self.node_id = tpm.node_id if tpm else self.root_key.key_id.hex()
        self.incarnation = b"\x00\x0b" + bytes(range(32)) if tpm else b""
        self.leaves: list[Envelope] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        start = formats.encode_log_start(
            LogStart(self.node_id, bytes(32), self.incarnation, 1, b"", _TIME)
        )
        self.log_id = hashlib.sha256(start).hexdigest()
        self.append("LogStart", start)
        self.binding = self.append("KeyBinding", self.key_binding())
        self.receipts = [
            self.append("Receipt", self.receipt(number)) for number in range(1, receipts + 1)
        ]

    @property
    def node(self) -> TrustedNode:
        ak = self.tpm.ak_public if self.tpm else b""
        return TrustedNode(self.node_id, ak, b"" if self.tpm else self.root_key.spki)

    @property
    def origin(self) -> str:
        return checkpoint.origin(self.node_id, self.log_id)

    def append(self, name: str, payload: bytes) -> int:
        """Sign and log; the leaf's index."""
        return self.append_envelope(envelope.sign(payload_type(name), payload, self.envelope_key))

    def append_envelope(self, signed: Envelope) -> int:
        index = len(self.leaves)
        leaf = envelope.leaf_hash(signed.payload_type, signed.payload)
        for level, at, value in merkle.completed_nodes(index, leaf, self.read):
            self._nodes[level, at] = value
        self.leaves.append(signed)
        return index

    def read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def leaf(self, index: int) -> bytes:
        return envelope.leaf_hash(self.leaves[index].payload_type, self.leaves[index].payload)

    def root(self, size: int | None = None) -> bytes:
        return merkle.root(len(self.leaves) if size is None else size, self.read)

    def key_binding(self, **changed: object) -> bytes:
        spki = self.envelope_key.spki
        qualifying = evidence.key_binding_data(self.log_id, BOOT, spki, self.incarnation)
        if self.tpm:
            made = self.tpm.quote(qualifying)
            quote, signature = made.attest, made.signature
        else:
            quote, signature = b"", self.root_key.sign(qualifying)
        binding = KeyBinding(BOOT, spki, quote, signature, self.incarnation, self.log_id)
        return formats.encode_key_binding(replace(binding, **changed))  # type: ignore[arg-type]  # by name

    def receipt(self, sequence: int) -> bytes:
        message = lease_pb2.Receipt(
            node_id=self.node_id,
            exchange_id="e" * 64,
            lease_id="0190c1d2-0000-7000-8000-000000000001",
            log_id=self.log_id,
            sequence=sequence,
            boot_id=BOOT,
            gross_msat_total=1000 * sequence,
        )
        message.energy.millijoules = 5_000_000 * sequence
        message.heat.reused_millijoules = 4_000_000 * sequence
        message.totals.add(
            resource_class="VCPU", reserved_unit_milliseconds=5000, used_unit_milliseconds=4321
        )
        return message.SerializeToString(deterministic=True)

    def note(self, size: int | None = None, root: bytes | None = None) -> bytes:
        count = len(self.leaves) if size is None else size
        head = checkpoint.Checkpoint(self.origin, count, root or self.root(count))
        text = checkpoint.text(head)
        line = checkpoint.signature_by(self.origin, self.root_key.spki, self.root_key.sign(text))
        return checkpoint.assemble(text, line)

    def inclusion(self, index: int) -> InclusionProof:
        size = len(self.leaves)
        return InclusionProof(index, size, merkle.inclusion_path(index, size, self.read))

    def certificates(
        self, assurance: str | None = None, ek: str | None = None
    ) -> tuple[tuple[bytes, ...], ...]:
        """Chains of both exchanges, sorted by CA fingerprint."""
        stated = assurance or ("virtual-tpm" if self.tpm else "software")
        digest = ek or ("ab" * 32 if self.tpm else "none")
        chains = [ca.ak_chain(self.root_key.spki, self.node_id, stated, digest) for ca in EXCHANGES]
        return tuple(sorted(chains, key=lambda chain: hashlib.sha256(chain[-1]).digest()))

    def proof(self, index: int | None = None) -> ProofFile:
        """Everything that proves one leaf, by default the third receipt."""
        at = self.receipts[2] if index is None else index
        return ProofFile(
            statement=self.leaves[at],
            statement_inclusion=self.inclusion(at),
            key_binding=self.leaves[self.binding],
            key_binding_inclusion=self.inclusion(self.binding),
            note=self.note(),
            ak_public=self.tpm.ak_public if self.tpm else b"",
            software_spki=b"" if self.tpm else self.root_key.spki,
            ak_certificates=self.certificates(),
        )

    def evidence_payload(self, exchange_id: str) -> formats.EvidencePayload:
        return formats.EvidencePayload(
            exchange_id=exchange_id,
            inventory_digest=hashlib.sha256(b"inventory").digest(),
            inventory_generation=1,
            tls_spki_sha256=hashlib.sha256(b"tls").digest(),
            envelope_spki=self.envelope_key.spki,
            boot_id=BOOT,
            incarnation=self.incarnation,
            log_id=self.log_id,
            log_size=len(self.leaves),
            log_root=self.root(),
            agent_version="0.1.0",
            agent_code_sha256=b"",
            create_time_ns=_TIME,
        )

    def evidence(
        self, exchange_id: str, nonce: bytes, payload: formats.EvidencePayload | None = None
    ) -> formats.Evidence:
        """What an honest node answers to a nonce."""
        content = formats.encode_evidence_payload(payload or self.evidence_payload(exchange_id))
        qualifying = evidence.evidence_data(exchange_id, nonce, content)
        if self.tpm is None:
            return formats.Evidence(content, software_signature=self.root_key.sign(qualifying))
        made = self.tpm.quote(qualifying)
        return formats.Evidence(
            content,
            quote=made.attest,
            quote_signature=made.signature,
            pcr_banks=(formats.PcrBank(0x000B, PCRS),),
        )
