"""Writes and signs BOLT 11 invoices with keys that guard nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from agent.core import bolt11, secp256k1
from agent.core.bolt11 import CHARSET, Bolt11, Hop

_CURRENCIES = {network: currency for currency, network in bolt11.NETWORKS.items()}
# Units by falling size, as pico-bitcoin each; the largest that divides the amount is written.
_UNITS = (("", 10**12), ("m", 10**9), ("u", 10**6), ("n", 10**3), ("p", 1))


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A node's secret and its public key, which is the node's id."""

    secret: bytes
    public: bytes = field(init=False)

    def __post_init__(self) -> None:
        point = secp256k1.times_generator(int.from_bytes(self.secret, "big"))
        object.__setattr__(self, "public", secp256k1.compressed(point))

    @classmethod
    @cache
    def named(cls, name: str) -> NodeKey:
        """The key that belongs to this name: the same in every run."""
        return cls(hashlib.sha256(b"hearth sandbox node " + name.encode()).digest())

    @property
    def node_id(self) -> str:
        """Hex of the public key."""
        return self.public.hex()

    def sign(self, digest: bytes) -> bytes:
        """Return r, s and the recovery id, 65 bytes; s in its lower half (BIP 146)."""
        secret, z = int.from_bytes(self.secret, "big"), int.from_bytes(digest, "big")
        seed = self.secret + digest
        while True:
            seed = hashlib.sha256(seed).digest()
            k = int.from_bytes(seed, "big") % secp256k1.N
            if not k:
                continue
            x, y = secp256k1.times_generator(k)
            r = x % secp256k1.N
            s = pow(k, -1, secp256k1.N) * (z + r * secret) % secp256k1.N
            if r and s:
                break
        recovery_id = (x >= secp256k1.N) << 1 | y & 1
        if s > secp256k1.N // 2:
            s, recovery_id = secp256k1.N - s, recovery_id ^ 1
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((recovery_id,))


def _from_number(value: int, length: int) -> list[int]:
    return [value >> 5 * at & 31 for at in range(length - 1, -1, -1)]


def _from_bytes(raw: bytes) -> list[int]:
    spare = -len(raw) * 8 % 5
    return _from_number(int.from_bytes(raw, "big") << spare, (len(raw) * 8 + spare) // 5)


def _minimal(value: int) -> list[int]:
    return _from_number(value, max(1, (value.bit_length() + 4) // 5))


def _field(tag: str, words: Sequence[int]) -> list[int]:
    return [CHARSET.index(tag), len(words) >> 5, len(words) & 31, *words]


def _hop(hop: Hop) -> bytes:
    return (
        hop.public_key
        + hop.short_channel_id.to_bytes(8, "big")
        + hop.fee_base_msat.to_bytes(4, "big")
        + hop.fee_ppm.to_bytes(4, "big")
        + hop.cltv_delta.to_bytes(2, "big")
    )


def _prefix(network: str, amount_msat: int | None) -> str:
    prefix = "ln" + _CURRENCIES[network]
    if amount_msat is None:
        return prefix
    pico = amount_msat * 10 & (1 << 64) - 1  # a u64 there, which overflows there as well
    unit, size = next((unit, size) for unit, size in _UNITS if pico % size == 0)
    return f"{prefix}{pico // size}{unit}"


def _body(invoice: Bolt11) -> list[int]:
    """All fields in the order in which Core Lightning writes them."""
    words = _from_number(invoice.created_s, 7)
    words += _field("s", _from_bytes(invoice.payment_secret))
    words += _field("p", _from_bytes(invoice.payment_hash))
    if invoice.description_sha256 is not None:
        words += _field("h", _from_bytes(invoice.description_sha256))
    else:
        words += _field("d", _from_bytes((invoice.description or "").encode()))
    if invoice.expiry_s != bolt11.DEFAULT_EXPIRY_S:
        words += _field("x", _minimal(invoice.expiry_s))
    words += _field("c", _minimal(invoice.min_final_cltv))
    for route in invoice.routes:
        words += _field("r", _from_bytes(b"".join(_hop(hop) for hop in route)))
    features = int.from_bytes(invoice.features, "big")
    return words + (_field("9", _minimal(features)) if features else [])


def encode(invoice: Bolt11, key: NodeKey) -> str:
    """Sign the invoice and return its text. Its payee and signature are the key's."""
    prefix, words = _prefix(invoice.network, invoice.amount_msat), _body(invoice)
    words += _from_bytes(key.sign(bolt11.signed_digest(prefix, words)))
    state = bolt11.checksum(prefix, [*words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += _from_number(state, 6)
    return f"{prefix}1{''.join(CHARSET[word] for word in words)}"
