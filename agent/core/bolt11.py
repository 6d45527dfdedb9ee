"""Lightning invoices as text (BOLT 11), read strictly. Pure; published: both sides read them.

An invoice comes from a stranger and decides what is paid, so it is read here, before a node sees
it: amount, network, payee (recovered from the signature), payment hash, expiry, description.
Amounts are in millisatoshi, times in seconds since 1970.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor

from agent.core import secp256k1

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
NETWORKS = {"bc": "bitcoin", "tb": "testnet", "tbs": "signet", "bcrt": "regtest"}
DEFAULT_EXPIRY_S = 3600
DEFAULT_CLTV = 18
MOST_CHARACTERS = 8192

_VALUES = {character: value for value, character in enumerate(CHARSET)}
_PREFIX = re.compile(r"ln(bcrt|bc|tbs|tb)(?:([1-9][0-9]{0,17})([munp])?)?")
# msat for one of the unit, as a fraction: BTC has 10^11 msat; a pico-bitcoin is a tenth of one.
_MSAT = {"": (10**11, 1), "m": (10**8, 1), "u": (10**5, 1), "n": (100, 1), "p": (1, 10)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173
_REMAINDERS = tuple(
    reduce(xor, (g for bit, g in enumerate(_GENERATORS) if top >> bit & 1), 0) for top in range(32)
)
_SIGNATURE_WORDS = 104  # 65 bytes
_FIXED_WORDS = {"p": 52, "h": 52, "s": 52, "n": 53}


class NotBolt11(ValueError):
    """Text that is not a BOLT 11 invoice which we understand; the message says why."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a private route to the payee."""

    public_key: bytes
    short_channel_id: int
    fee_base_msat: int
    fee_ppm: int
    cltv_delta: int


@dataclass(frozen=True, slots=True)
class Bolt11:
    """What an invoice says. Exactly one of `description` and `description_sha256` is there."""

    network: str  # bitcoin, testnet, signet, regtest
    amount_msat: int | None  # None: the payer chooses
    created_s: int
    payment_hash: bytes
    payee: bytes  # compressed public key, recovered from the signature
    signature: bytes  # r, s, recovery id: 65 bytes
    description: str | None = None
    description_sha256: bytes | None = None
    expiry_s: int = DEFAULT_EXPIRY_S
    min_final_cltv: int = DEFAULT_CLTV
    payment_secret: bytes = b""
    features: bytes = b""
    routes: tuple[tuple[Hop, ...], ...] = ()

    @property
    def expires_s(self) -> int:
        """When it ends, in seconds since 1970."""
        return self.created_s + self.expiry_s


def checksum(prefix: str, words: Iterable[int]) -> int:
    """The bech32 checksum state (BIP 173): 1 when `words` ends with a right checksum."""
    state = 1
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for word in (*spread, *words):
        state = (state & 0x1FFFFFF) << 5 ^ word ^ _REMAINDERS[state >> 25]
    return state


def _words(text: str) -> tuple[str, list[int]]:
    if len(text) > MOST_CHARACTERS:
        raise NotBolt11(f"{len(text)} characters; at most {MOST_CHARACTERS} are read")
    if text not in (text.lower(), text.upper()) or not text.isascii():
        raise NotBolt11("mixed case or foreign characters")
    prefix, separator, tail = text.lower().rpartition("1")
    if not separator or len(tail) < 6 or any(c not in _VALUES for c in tail):
        raise NotBolt11("not bech32")
    words = [_VALUES[c] for c in tail]
    if checksum(prefix, words) != 1:
        raise NotBolt11("the checksum is wrong")
    return prefix, words[:-6]


def _number(words: Sequence[int]) -> int:
    value = 0
    for word in words:
        value = value << 5 | word
    return value


def to_bytes(words: Sequence[int]) -> bytes:
    """Whole bytes of 5-bit words; the spare bits at the end are dropped."""
    bits = len(words) * 5
    return (_number(words) >> bits % 8).to_bytes(bits // 8, "big")


def _padded(words: Sequence[int]) -> bytes:
    """What is hashed: the words with zero bits up to a whole byte (BOLT 11, signature)."""
    bits = len(words) * 5
    spare = -bits % 8
    return (_number(words) << spare).to_bytes((bits + spare) // 8, "big")


def signed_digest(prefix: str, words: Sequence[int]) -> bytes:
    """SHA-256 of what a payee signs: the human-readable part and the data as bytes."""
    return hashlib.sha256(prefix.encode() + _padded(words)).digest()


def _amount(digits: str, unit: str) -> int:
    times, divisor = _MSAT[unit]
    value, rest = divmod(int(digits) * times, divisor)
    if rest:
        raise NotBolt11("an amount below a millisatoshi")
    return value


def _fields(words: Sequence[int]) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = {}
    at = 0
    while at < len(words):
        if len(words) - at < 3:
            raise NotBolt11("a field ends early")
        tag, length = CHARSET[words[at]], words[at + 1] << 5 | words[at + 2]
        value = list(words[at + 3 : at + 3 + length])
        if len(value) != length:
            raise NotBolt11("a field ends early")
        at += 3 + length
        # BOLT 11: fields of a wrong fixed length are skipped, as unknown ones are.
        if length == _FIXED_WORDS.get(tag, length):
            found.setdefault(tag, []).append(value)
    return found


def _route(value: Sequence[int]) -> tuple[Hop, ...]:
    raw = to_bytes(value)
    hops = []
    for at in range(0, len(raw) - len(raw) % 51, 51):
        hop = raw[at : at + 51]
        numbers = [int.from_bytes(hop[a:b], "big") for a, b in ((33, 41), (41, 45), (45, 49))]
        hops.append(
            Hop(hop[:33], numbers[0], numbers[1], numbers[2], int.from_bytes(hop[49:], "big"))
        )
    return tuple(hops)


def _first(fields: dict[str, list[list[int]]], tag: str) -> list[int] | None:
    values = fields.get(tag)
    return values[0] if values else None


def _description(fields: dict[str, list[list[int]]]) -> tuple[str | None, bytes | None]:
    plain, hashed = _first(fields, "d"), _first(fields, "h")
    if (plain is None) == (hashed is None):
        raise NotBolt11("a description or the hash of one, exactly one of them")
    if plain is None:
        return None, to_bytes(hashed or ())
    try:
        return to_bytes(plain).decode(), None
    except UnicodeDecodeError:
        raise NotBolt11("the description is not UTF-8") from None


def _payee(
    prefix: str, body: Sequence[int], signature: bytes, fields: dict[str, list[list[int]]]
) -> bytes:
    try:
        key = secp256k1.recover(signed_digest(prefix, body), signature[:64], signature[64])
    except secp256k1.NotOnCurve as error:
        raise NotBolt11(f"the signature: {error}") from None
    named = _first(fields, "n")
    if named is not None and to_bytes(named) != key:
        raise NotBolt11("the signature is not the named payee's")
    return key


def network_of(text: str) -> str | None:
    """The network that an invoice's prefix names, of text that nobody has checked; None: none."""
    match = _PREFIX.fullmatch(text.lower().rpartition("1")[0])
    return None if match is None else NETWORKS[match[1]]


@lru_cache(maxsize=256)
def decode(text: str) -> Bolt11:
    """Read one invoice; its signature is checked.

    :raises NotBolt11: when it is none, of an unknown network, or contradicts itself.
    """
    prefix, words = _words(text)
    match = _PREFIX.fullmatch(prefix)
    if match is None:
        raise NotBolt11("the prefix is no network and amount that we know")
    if len(words) < 7 + _SIGNATURE_WORDS:
        raise NotBolt11("too short to be signed")
    body, signature = words[:-_SIGNATURE_WORDS], to_bytes(words[-_SIGNATURE_WORDS:])
    fields = _fields(body[7:])
    payment_hash = _first(fields, "p")
    if payment_hash is None:
        raise NotBolt11("no payment hash")
    plain, hashed = _description(fields)
    currency, digits, unit = match.groups()
    return Bolt11(
        network=NETWORKS[currency],
        amount_msat=_amount(digits, unit or "") if digits else None,
        created_s=_number(body[:7]),
        payment_hash=to_bytes(payment_hash),
        payee=_payee(prefix, body, signature, fields),
        signature=signature,
        description=plain,
        description_sha256=hashed,
        expiry_s=DEFAULT_EXPIRY_S if (x := _first(fields, "x")) is None else _number(x),
        min_final_cltv=DEFAULT_CLTV if (c := _first(fields, "c")) is None else _number(c),
        payment_secret=to_bytes(_first(fields, "s") or ()),
        features=_features(_first(fields, "9")),
        routes=tuple(_route(value) for value in fields.get("r", ())),
    )


def _features(value: Sequence[int] | None) -> bytes:
    """A big-endian bit field: leading zero bits of the 5-bit words are padding."""
    number = _number(value or ())
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
