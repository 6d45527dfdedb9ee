"""Reading invoices: the recorded node's own, the specification's, and wrong ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import coincurve
import pytest

from agent.core import bolt11, secp256k1
from agent.core.bolt11 import NotBolt11, decode, network_of
from agent.sandbox.lightningd.signer import NodeKey, encode
from tests.fakes.cln_replay import IDS, RECORDINGS, recording

KEY = NodeKey.named("tests")
DESCRIBED = recording("decode_bolt11_deschash")
TEXT = DESCRIBED["params"]["string"]
# BOLT 11, examples: the key that signs them all, and two of them.
SPEC_PAYEE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
SPEC_DONATION = (
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5"
    "rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrs"
    "gq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyet"
    "p5h2tztugp9lfyql"
)


def recorded_invoices() -> list[str]:
    found: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)
        elif isinstance(value, str) and value.startswith("lnbcrt") and len(value) > 100:
            found.add(value)

    for path in RECORDINGS.glob("*.json"):
        look(json.loads(path.read_text()))
    return sorted(found)


def test_every_recorded_invoice_is_read_and_its_payee_is_one_of_the_nodes() -> None:
    texts = recorded_invoices()
    # 2.2 * 10^18 + 1 msat overflowed in the node: 35,532 BTC and 19 digits.
    texts = [text for text in texts if not text.startswith("lnbcrt3553255926290448394p")]
    assert len(texts) > 40
    assert {decode(text).payee.hex() for text in texts} == {IDS["l1"], IDS["l3"]}


def test_an_invoice_says_what_the_node_says_it_says() -> None:
    said, theirs = decode(TEXT), DESCRIBED["result"]
    assert said.network == "regtest"
    assert said.amount_msat == theirs["amount_msat"]
    assert (said.created_s, said.expiry_s) == (theirs["created_at"], theirs["expiry"])
    assert said.payee.hex() == theirs["payee"]
    assert said.payment_hash.hex() == theirs["payment_hash"]
    assert said.payment_secret.hex() == theirs["payment_secret"]
    assert said.description_sha256 is not None
    assert said.description_sha256.hex() == theirs["description_hash"]
    assert said.min_final_cltv == theirs["min_final_cltv_expiry"]
    assert said.features.hex() == theirs["features"]
    hop, their_hop = said.routes[0][0], theirs["routes"][0][0]
    assert hop.public_key.hex() == their_hop["pubkey"]
    assert hop.short_channel_id == (117 << 40) + (1 << 16)
    assert hop.fee_base_msat == their_hop["fee_base_msat"]
    assert hop.fee_ppm == their_hop["fee_proportional_millionths"]
    assert hop.cltv_delta == their_hop["cltv_expiry_delta"]


def test_the_specification_s_own_example() -> None:
    said = decode(SPEC_DONATION)
    assert (said.network, said.amount_msat) == ("bitcoin", None)
    assert said.description == "Please consider supporting this project"
    assert said.payee.hex() == SPEC_PAYEE
    assert (
        said.payment_hash.hex()
        == "0001020304050607080900010203040506070809000102030405060708090102"
    )


def test_another_library_recovers_the_same_key() -> None:
    said = decode(TEXT)
    prefix, words = bolt11._words(TEXT)
    body = prefix.encode() + bolt11._padded(words[:-104])
    key = coincurve.PublicKey.from_signature_and_message(said.signature, body)
    assert key.format() == said.payee


@pytest.mark.parametrize("number", [1, 2, 3, 7**50, secp256k1.N - 1, 1 << 255])
def test_another_library_has_the_same_points(number: int) -> None:
    point = secp256k1.times_generator(number)
    theirs = coincurve.PrivateKey(number.to_bytes(32, "big")).public_key
    assert secp256k1.compressed(point) == theirs.format()


@pytest.mark.parametrize(
    ("amount_msat", "written"),
    [(1, "10p"), (10, "100p"), (100, "1n"), (123_456, "1234560p"), (60_000, "600n"),
     (100_000_000, "1m"), (10**11, "1"), (5 * 10**8, "5m"), (None, "")],
)  # fmt: skip
def test_what_is_written_is_read_again(amount_msat: int | None, written: str) -> None:
    invoice = dataclasses.replace(decode(TEXT), amount_msat=amount_msat, payee=KEY.public)
    text = encode(invoice, KEY)
    assert text.startswith(f"lnbcrt{written}1")
    assert dataclasses.replace(decode(text), signature=b"") == dataclasses.replace(
        invoice, signature=b""
    )


def test_the_double_writes_the_fields_as_the_node_does() -> None:
    theirs = decode(TEXT)
    ours = encode(theirs, KEY)
    signed = len(TEXT) - 110  # signature and checksum
    assert ours[:signed] == TEXT[:signed]


def changed(**fields: object) -> str:
    return encode(dataclasses.replace(decode(TEXT), **fields), KEY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "bech32"),
        ("lnbcrt1", "bech32"),
        (TEXT[:-1], "checksum"),
        (TEXT[:60] + ("q" if TEXT[60] != "q" else "p") + TEXT[61:], "checksum"),
        (TEXT.upper()[:50] + TEXT[50:], "case"),
        (TEXT.replace("lnbcrt", "lnxyz", 1), "checksum"),
        (TEXT + " ", "bech32"),
        ("lno1qgsqvgnwgcg", "checksum"),
        ("l" * 9000, "characters"),
    ],
)
def test_wrong_text_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(NotBolt11, match=why):
        decode(text)


def resealed(prefix: str, words: list[int]) -> str:
    state = bolt11.checksum(prefix, [*words, 0, 0, 0, 0, 0, 0]) ^ 1
    tail = [state >> 5 * at & 31 for at in range(5, -1, -1)]
    return f"{prefix}1{''.join(bolt11.CHARSET[word] for word in [*words, *tail])}"


@pytest.mark.parametrize(
    ("prefix", "why"),
    [("lnbcrt15p", "below a millisatoshi"), ("lnbcrt05n", "prefix"), ("lnltc5n", "prefix"),
     ("lnbcrt5x", "prefix"), ("bcrt5n", "prefix")],
)  # fmt: skip
def test_wrong_amounts_and_networks_are_refused(prefix: str, why: str) -> None:
    _, words = bolt11._words(TEXT)
    with pytest.raises(NotBolt11, match=why):
        decode(resealed(prefix, words))


def test_a_changed_amount_is_another_payee_s_invoice() -> None:
    """The checksum can be made right by anybody; the signature then is somebody else's, or none."""
    _, words = bolt11._words(TEXT)
    try:
        payee = decode(resealed("lnbcrt9m", words)).payee
    except NotBolt11:
        return
    assert payee != decode(TEXT).payee


def test_a_named_payee_must_have_signed() -> None:
    prefix, words = bolt11._words(TEXT)
    other = NodeKey.named("another").public
    named = [bolt11.CHARSET.index("n"), 1, 21]
    field = int.from_bytes(other, "big") << 1  # 264 bits in 53 words
    words[7:7] = named + [field >> 5 * at & 31 for at in range(52, -1, -1)]
    with pytest.raises(NotBolt11, match="named payee"):
        decode(resealed(prefix, words))


def test_upper_case_is_the_same_invoice() -> None:
    assert decode(TEXT.upper()) == decode(TEXT)


def test_a_description_and_its_hash_exclude_each_other() -> None:
    text = changed(description="plain", description_sha256=None)
    assert decode(text).description == "plain"
    assert decode(text).description_sha256 is None
    hashed = hashlib.sha256(b"x").digest()
    assert decode(changed(description_sha256=hashed)).description_sha256 == hashed


def test_the_prefix_alone_names_the_network() -> None:
    assert network_of(SPEC_DONATION) == decode(SPEC_DONATION).network == "bitcoin"
    assert network_of(SPEC_DONATION.upper()) == "bitcoin"
    for text, network in (("lnbcrt1x", "regtest"), ("lntbs20m1x", "signet"), ("lntb1", "testnet")):
        assert network_of(text) == network
    for text in ("", "1", "lnbc", "lni1xyz", "ln-ab", "lnbd1x"):
        assert network_of(text) is None
