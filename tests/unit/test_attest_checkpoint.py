"""Notes: the C2SP form, one encoding, signed by the key named after the origin."""

from __future__ import annotations

import base64

import pytest

from attest import checkpoint
from attest.checkpoint import Checkpoint, NoteSignature
from attest.errors import BadSignature, Malformed
from attest.keys import SoftwareKey

KEY = SoftwareKey.generate()
ORIGIN = checkpoint.origin("a" * 64, "b" * 64)
HEAD = Checkpoint(ORIGIN, 42, bytes(range(32)))
TEXT = checkpoint.text(HEAD)
LINE = checkpoint.signature_by(ORIGIN, KEY.spki, KEY.sign(TEXT))
NOTE = checkpoint.assemble(TEXT, LINE)


def test_the_form() -> None:
    assert f"{ORIGIN}\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n".encode() == TEXT
    head, text, lines = checkpoint.parse(NOTE)
    assert (head, text, lines) == (HEAD, TEXT, (LINE,))
    blob = base64.b64encode(KEY.key_id[:4] + LINE.signature).decode()
    assert TEXT + f"\n\u2014 {ORIGIN} {blob}\n".encode() == NOTE
    assert checkpoint.verify(NOTE, KEY.spki) == HEAD


def test_cosignatures_are_carried_and_not_judged() -> None:
    witness = NoteSignature("witness.example/w1", b"abcd", b"whatever it is")
    note = checkpoint.assemble(TEXT, LINE, witness)
    assert checkpoint.verify(note, KEY.spki) == HEAD
    assert checkpoint.parse(note)[2] == (LINE, witness)


def test_another_key_or_name_is_refused() -> None:
    with pytest.raises(BadSignature):
        checkpoint.verify(NOTE, SoftwareKey.generate().spki)
    renamed = NoteSignature("another", LINE.key_hash, LINE.signature)
    with pytest.raises(BadSignature):
        checkpoint.verify(checkpoint.assemble(TEXT, renamed), KEY.spki)


def test_a_changed_head_is_refused() -> None:
    other = checkpoint.text(Checkpoint(ORIGIN, 43, HEAD.root))
    with pytest.raises(BadSignature):
        checkpoint.verify(checkpoint.assemble(other, LINE), KEY.spki)


@pytest.mark.parametrize(
    "changed",
    [
        NOTE.replace(b"\n42\n", b"\n042\n"),
        NOTE.replace(b"\n42\n", b"\n+42\n"),
        NOTE.replace(b"\n42\n", b"\n42 \n"),
        NOTE.replace(b"\n42\n", "\n４2\n".encode()),
        NOTE.replace(b"\n42\n", b"\n9223372036854775808\n"),
        NOTE.replace(b"Hh8=", b"Hh9="),  # spare bits
        NOTE.replace(b"Hh8=", b"Hh8"),
        NOTE.replace(b"Hh8=\n", b"Hh8=\nextension line\n"),
        NOTE.replace(b"\n\n", b"\n\n\n"),
        NOTE + b"\n",
        NOTE[:-1],
        NOTE + NOTE.splitlines(keepends=True)[-1],
        NOTE.replace("\u2014".encode(), b"-"),
        NOTE.replace(b"\n", b"\r\n"),
        b"\xff" + NOTE,
        TEXT + b"\n",
        b"",
    ],
)
def test_there_is_one_encoding(changed: bytes) -> None:
    assert changed != NOTE, "the change changed nothing"
    with pytest.raises(Malformed):
        checkpoint.parse(changed)


def test_values_that_no_note_can_carry() -> None:
    for head in (
        Checkpoint("a b", 1, bytes(32)),
        Checkpoint("a+b", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 2**63, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
    ):
        with pytest.raises(Malformed):
            checkpoint.text(head)
