"""Checkpoints: the log's head as a signed note. Pure.

Sources: C2SP tlog-checkpoint (the text) and C2SP signed-note (the signatures; ECDSA keys hash as
SHA-256(DER SubjectPublicKeyInfo)[:4] and sign in ASN.1 DER). A checkpoint here has exactly the
three lines origin, size, root; there is one encoding and everything else is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from attest.errors import BadSignature, Malformed
from attest.keys import Algorithm, key_id, verify_signature
from attest.merkle import HASH_SIZE, MAX_SIZE

_MAX_NOTE = 64 * 1024  # bytes; a note with one signature takes 350
_MAX_SIGNATURES = 64
_DASH = "\u2014 "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of one log."""

    origin: str
    size: int  # leaves
    root: bytes


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note."""

    name: str  # of the key: no space, no plus
    key_hash: bytes  # 4 bytes
    signature: bytes


def origin(node_id: str, log_id: str) -> str:
    """The origin of a node's log, which is also the name of its note key."""
    return f"{node_id}/{log_id}"


def text(checkpoint: Checkpoint) -> bytes:
    """What is signed; ends with a newline.

    :raises Malformed: for values that no note can carry.
    """
    if not _NAME.fullmatch(checkpoint.origin):
        raise Malformed("a note's origin is not empty and has no space or plus sign")
    if not 0 <= checkpoint.size <= MAX_SIZE or len(checkpoint.root) != HASH_SIZE:
        raise Malformed("a checkpoint has a size below 2**63 and a root of 32 bytes")
    encoded = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encoded}\n".encode()


def signature_by(name: str, spki: bytes, signature: bytes) -> NoteSignature:
    """The line of an ECDSA key (DER SubjectPublicKeyInfo) for its DER signature."""
    return NoteSignature(name, key_id(spki)[:4], signature)


def assemble(text: bytes, *lines: NoteSignature) -> bytes:
    """The note: text, blank line, signature lines."""
    return text + b"\n" + b"".join(_line(each) for each in lines)


def parse(note: bytes) -> tuple[Checkpoint, bytes, tuple[NoteSignature, ...]]:
    """Checkpoint, signed text and signature lines of a note. Verifies nothing.

    :raises Malformed: for everything that `assemble` would not have written.
    """
    if len(note) > _MAX_NOTE:
        raise Malformed(f"a note of {len(note)} bytes is too large")
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note is UTF-8") from error
    head, blank, tail = whole.partition("\n\n")
    lines = head.split("\n")
    if not blank or len(lines) != 3:
        raise Malformed("a checkpoint is three lines, a blank one and signatures")
    if not _SIZE.fullmatch(lines[1]):
        raise Malformed("the size in a checkpoint is a plain decimal number")
    checkpoint = Checkpoint(lines[0], int(lines[1]), _unbase64(lines[2]))
    signatures = tail.split("\n")
    if signatures.pop() or not 0 < len(signatures) <= _MAX_SIGNATURES:
        raise Malformed(f"a note has 1 to {_MAX_SIGNATURES} signature lines, the last one ended")
    parsed = tuple(_parse_line(each) for each in signatures)
    if len({(each.name, each.key_hash) for each in parsed}) != len(parsed):
        raise Malformed("two signature lines by one key")
    signed = text(checkpoint)
    if assemble(signed, *parsed) != note:
        raise Malformed("the note is not in its one encoding")
    return checkpoint, signed, parsed


def verify(note: bytes, spki: bytes) -> Checkpoint:
    """The checkpoint of a note signed by this key under its origin. Cosignatures are not judged.

    :param spki: DER SubjectPublicKeyInfo of the AK or the node key (P-256).
    :raises Malformed: for no note. :raises BadSignature: when this key did not sign it.
    """
    checkpoint, signed, lines = parse(note)
    wanted = key_id(spki)[:4]
    found = [by for by in lines if by.name == checkpoint.origin and by.key_hash == wanted]
    if len(found) != 1:
        raise BadSignature("the note has no signature line of this key under its origin")
    verify_signature(spki, Algorithm.ECDSA_P256_SHA256, signed, found[0].signature)
    return checkpoint


def _line(by: NoteSignature) -> bytes:
    if not _NAME.fullmatch(by.name) or len(by.key_hash) != 4 or not by.signature:
        raise Malformed("a signature line has a name, a key hash of four bytes and a signature")
    return f"{_DASH}{by.name} {base64.b64encode(by.key_hash + by.signature).decode()}\n".encode()


def _parse_line(line: str) -> NoteSignature:
    dash, name, encoded = line[:2], *_two(line[2:])
    blob = _unbase64(encoded)
    if dash != _DASH or len(blob) < 5:
        raise Malformed("a signature line is a dash, a name and base64 of key hash and signature")
    return NoteSignature(name, blob[:4], blob[4:])


def _two(rest: str) -> tuple[str, str]:
    name, space, encoded = rest.partition(" ")
    if not space:
        raise Malformed("a signature line has a name and a signature")
    return name, encoded


def _unbase64(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a note carries standard base64 with padding") from error
