"""The curve of Bitcoin's keys (SEC 2, secp256k1), as far as public data needs it. Pure.

Whose key signed an invoice is found by recovering it from the signature (SEC 1, 4.1.6). Plain
Python, about 2 ms: it spares every process a native library for the few invoices a day it reads.
Not for secrets: nothing here takes the same time for different numbers.
"""

from __future__ import annotations

from functools import lru_cache

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
G = (
    0x79BE667E_F9DCBBAC_55A06295_CE870B07_029BFCDB_2DCE28D9_59F2815B_16F81798,
    0x483ADA77_26A3C465_5DA4FBFC_0E1108A8_FD17B448_A6855419_9C47D08F_FB10D4B8,
)

Affine = tuple[int, int]
_Jacobian = tuple[int, int, int]  # x = X / Z^2, y = Y / Z^3; Z = 0 is the point at infinity
_INFINITY: _Jacobian = (0, 1, 0)
_WINDOW = 4


class NotOnCurve(ValueError):
    """Bytes or numbers that are no point of the curve, or no signature."""


def _double(point: _Jacobian) -> _Jacobian:
    x, y, z = point
    if not z:
        return point
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(one: _Jacobian, other: _Jacobian) -> _Jacobian:
    x1, y1, z1 = one
    x2, y2, z2 = other
    if not z1:
        return other
    if not z2:
        return one
    zz1 = z1 * z1 % P
    u2, s2 = x2 * zz1 % P, y2 * zz1 * z1 % P
    if z2 == 1:
        u1, s1 = x1, y1
    else:
        zz2 = z2 * z2 % P
        u1, s1 = x1 * zz2 % P, y1 * zz2 * z2 % P
    if u1 == u2:
        return _double(one) if s1 == s2 else _INFINITY
    h, r = u2 - u1, s2 - s1
    hh = h * h % P
    hhh = h * hh % P
    v = u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, h * z1 * z2 % P


def _multiples(point: _Jacobian) -> list[_Jacobian]:
    row = [_INFINITY]
    for _ in range((1 << _WINDOW) - 1):
        row.append(_add(row[-1], point))
    return row


def _multiply(scalar: int, point: Affine) -> _Jacobian:
    row = _multiples((*point, 1))
    total = _INFINITY
    for shift in range(256 - _WINDOW, -1, -_WINDOW):
        for _ in range(_WINDOW):
            total = _double(total)
        total = _add(total, row[scalar >> shift & (1 << _WINDOW) - 1])
    return total


@lru_cache(maxsize=1)
def _generator_rows() -> tuple[list[_Jacobian], ...]:
    """Multiples of G by every digit at every place, with Z = 1, which is quicker to add."""
    rows = []
    point: _Jacobian = (*G, 1)
    for _ in range(0, 256, _WINDOW):
        row = _multiples(point)
        rows.append([_INFINITY, *((*_affine(one), 1) for one in row[1:])])
        for _ in range(_WINDOW):
            point = _double(point)
    return tuple(rows)


def _multiply_generator(scalar: int) -> _Jacobian:
    total = _INFINITY
    for row in _generator_rows():
        total = _add(total, row[scalar & (1 << _WINDOW) - 1])
        scalar >>= _WINDOW
    return total


def _affine(point: _Jacobian) -> Affine:
    x, y, z = point
    if not z:
        raise NotOnCurve("the point at infinity")
    inverse = pow(z, -1, P)
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def times_generator(scalar: int) -> Affine:
    """Return `scalar` times G, for a scalar between 1 and N - 1."""
    return _affine(_multiply_generator(scalar))


def compressed(point: Affine) -> bytes:
    """Write a point in 33 bytes (SEC 1, 2.3.3)."""
    return bytes((2 + (point[1] & 1),)) + point[0].to_bytes(32, "big")


def lift(x: int, *, odd: bool) -> Affine:
    """Return the point with this x whose y is odd or even.

    :raises NotOnCurve: when there is none.
    """
    if not 0 <= x < P:
        raise NotOnCurve("x is not of the field")
    square = (x * x * x + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        raise NotOnCurve("no point has this x")
    return x, y if bool(y & 1) == odd else P - y


def recover(digest: bytes, signature: bytes, recovery_id: int) -> bytes:
    """Return the compressed public key that made this signature (SEC 1, 4.1.6).

    :param digest: SHA-256 of the message, 32 bytes.
    :param signature: r and s, 32 bytes each, big-endian.
    :param recovery_id: 0 to 3: bit 0 the parity of R's y, bit 1 set when R's x exceeds N.
    :raises NotOnCurve: when no key can have made it.
    """
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if len(signature) != 64 or not 0 < r < N or not 0 < s < N or not 0 <= recovery_id <= 3:
        raise NotOnCurve("not a signature")
    point = lift(r + N * (recovery_id >> 1), odd=bool(recovery_id & 1))
    inverse = pow(r, -1, N)
    z = int.from_bytes(digest, "big")
    key = _add(_multiply_generator(-z * inverse % N), _multiply(s * inverse % N, point))
    return compressed(_affine(key))
