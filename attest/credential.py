"""TPM2_MakeCredential without a TPM: a secret that only the EK's TPM opens, and only for this AK.

Sources: TPM 2.0 Library part 1, 24 (credential protection), B.10.3 and C.6.1 (the seed), 11.4.10
(KDFa, KDFe). Draws its randomness from the system; has no other effect.
"""

from __future__ import annotations

import hmac
import secrets
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from attest.errors import Malformed, Mismatch
from attest.tcg import HASHES, Public

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # cryptography < 47
    from cryptography.hazmat.primitives.ciphers.modes import CFB

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_IDENTITY = b"IDENTITY\0"


def make_credential(ek: Public, secret: bytes, ak_name: bytes) -> tuple[bytes, bytes]:
    """The full TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, sizes included.

    :param secret: at most as long as the EK's name digest (32 bytes suit every EK).
    :param ak_name: name algorithm and digest, as in `Public.name`.
    :raises Mismatch: for a key that is no storage key. :raises Malformed: for a secret too long.
    """
    if ek.symmetric is None:
        raise Mismatch("the EK has no symmetric algorithm, so it is no storage key")
    name = HASHES[ek.name_alg]
    algorithm = _HASHES[name]
    if not 0 < len(secret) <= algorithm.digest_size:
        raise Malformed(f"a credential holds 1 to {algorithm.digest_size} bytes")
    seed, encrypted_seed = _seed(ek, algorithm)
    storage = _kdfa(algorithm, seed, b"STORAGE", ak_name, ek.symmetric[1] // 8)
    cipher = Cipher(algorithms.AES(storage), CFB(bytes(16))).encryptor()
    identity = cipher.update(_tpm2b(secret)) + cipher.finalize()
    integrity = _kdfa(algorithm, seed, b"INTEGRITY", b"", algorithm.digest_size)
    mac = hmac.new(integrity, identity + ak_name, name).digest()
    return _tpm2b(_tpm2b(mac) + identity), _tpm2b(encrypted_seed)


def _seed(ek: Public, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """A seed and its encryption to the EK: OAEP for RSA, one-pass ECDH for ECC."""
    if isinstance(ek.key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(algorithm.digest_size)
        oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, _IDENTITY)
        return seed, ek.key.encrypt(seed, oaep)
    width = (ek.key.curve.key_size + 7) // 8
    ephemeral = ec.generate_private_key(ek.key.curve)
    mine, theirs = ephemeral.public_key().public_numbers(), ek.key.public_numbers()
    shared = ephemeral.exchange(ec.ECDH(), ek.key)
    info = _IDENTITY + mine.x.to_bytes(width, "big") + theirs.x.to_bytes(width, "big")
    seed = ConcatKDFHash(algorithm, algorithm.digest_size, info).derive(shared)
    point = _tpm2b(mine.x.to_bytes(width, "big")) + _tpm2b(mine.y.to_bytes(width, "big"))
    return seed, point


def _kdfa(
    algorithm: hashes.HashAlgorithm, key: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """KDFa: SP 800-108 counter mode with a 32-bit counter and length (11.4.10.2)."""
    return KBKDFHMAC(
        algorithm=algorithm,
        mode=Mode.CounterMode,
        length=length,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    ).derive(key)


def _tpm2b(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
