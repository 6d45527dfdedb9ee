"""Foreign bytes on their way to the TPM: the only error that escapes is our own."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attest.ekread import split_der
from attest.errors import TpmError
from attest.tpm import Tpm
from attest.tpm2tools import serialize_pcrs
from attest.tpmlink import sized


@given(st.binary(max_size=200), st.integers(0, 100))
def test_a_tpm2b_is_taken_whole_or_not_at_all(block: bytes, most: int) -> None:
    try:
        content = sized(block, most, "block")
    except TpmError:
        assert (
            len(block) < 2
            or int.from_bytes(block[:2], "big") != len(block) - 2
            or (len(block) - 2 > most)
        )
    else:
        assert len(content) <= most
        assert len(content).to_bytes(2, "big") + content == block


@given(st.binary(max_size=300))
def test_what_is_cut_out_of_nv_is_a_prefix_of_it(blob: bytes) -> None:
    assert blob.startswith(b"".join(split_der(blob)))


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(blob=st.binary(max_size=140), secret=st.binary(max_size=600), whole=st.booleans())
def test_no_challenge_breaks_the_owner(tpm: Tpm, blob: bytes, secret: bytes, whole: bool) -> None:
    if whole:  # well-formed outside, anything inside
        blob = len(blob).to_bytes(2, "big") + blob
        secret = len(secret).to_bytes(2, "big") + secret
    with pytest.raises(TpmError):
        tpm.activate(blob, secret).result(30)
    assert tpm.sign_note(b"still there").result(30)


@given(st.sets(st.integers(0, 23), min_size=1))
def test_pcrs_are_laid_out_in_lists_of_eight(pcrs: set[int]) -> None:
    file = serialize_pcrs([(pcr, bytes([pcr]) * 32) for pcr in sorted(pcrs)])
    lists = -(-len(pcrs) // 8)
    assert len(file) == 132 + 4 + lists * 532
    for pcr in pcrs:
        assert bytes([pcr]) * 32 in file
