"""Floats of foreign devices as the decimal numbers that they stand for. Pure."""

from __future__ import annotations

import struct
from decimal import Decimal


def shortest_single(number: float) -> Decimal:
    """Return the shortest decimal that is this very binary32: 230.1, not 230.100006103515625.

    That is what the meter computed or displays before it was packed into 32 bits.

    :param number: finite, and a value that binary32 can hold.
    """
    for digits in range(6, 9):
        text = f"{number:.{digits}g}"
        try:
            if struct.unpack("<f", struct.pack("<f", float(text)))[0] == number:
                return Decimal(text)
        except OverflowError:
            continue  # rounded up past the largest binary32
    return Decimal(f"{number:.9g}")  # nine digits name every binary32 (IEEE 754, 5.12.2)
