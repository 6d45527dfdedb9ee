"""Bytes of an exchange: whatever they are, either our own values or one typed error come out."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from hearth.v1 import (
    attestation_pb2,
    challenge_pb2,
    common_pb2,
    lease_pb2,
    offer_pb2,
    session_pb2,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import MalformedMessage
from agent.wire import enrol, requests, signed, stream
from tests.fakes.spine import lease_id

REQUESTS = {
    "ReserveRequest": lease_pb2.ReserveRequest,
    "LeaseAgreement": lease_pb2.LeaseAgreement,
    "LeaseRelease": lease_pb2.LeaseRelease,
    "ReceiptAck": lease_pb2.ReceiptAck,
    "Challenge": challenge_pb2.Challenge,
}
SIGNED = {
    signed.issued: lease_pb2.Receipt,
    signed.granted: lease_pb2.LeaseDecision,
    signed.agreed: lease_pb2.LeaseAgreement,
    signed.moved: lease_pb2.LeaseUpdate,
    signed.sellable: offer_pb2.Offer,
}
EDGES = [0, 1, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
BLOBS = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(32), bytes(16), bytes(33)]))
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from([lease_id(1), "VCPU", "x" * 300]))


def scalar(field: Any) -> st.SearchStrategy[Any]:
    """A value of a field's type, edges first."""
    kind, types = field.type, type(field)
    if kind in (types.TYPE_STRING,):
        return TEXTS
    if kind == types.TYPE_BYTES:
        return BLOBS
    if kind == types.TYPE_BOOL:
        return st.booleans()
    if kind == types.TYPE_ENUM:
        return st.sampled_from([0, 1, 2, 3, 99, 400, -1])
    unsigned = kind in (types.TYPE_UINT32, types.TYPE_UINT64)
    most = 32 if kind in (types.TYPE_UINT32, types.TYPE_INT32, types.TYPE_SINT32) else 64
    low, high = (0, (1 << most) - 1) if unsigned else (-(1 << (most - 1)), (1 << (most - 1)) - 1)
    edges = [edge for edge in [*EDGES, -1, low, high] if low <= edge <= high]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


@st.composite
def filled(draw: st.DrawFn, kind: type[Message], depth: int = 0) -> Message:
    """A message of this type in which anything may stand."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if draw(st.integers(0, 5)) == 0:
            continue
        count = draw(st.integers(0, 3)) if field.is_repeated else 1
        for _ in range(count):
            if field.message_type is not None:
                if depth > 3:
                    continue
                inner_kind = message_class(field.message_type)
                inner = draw(filled(inner_kind, depth + 1))
                target = getattr(message, field.name)
                (target.add() if field.is_repeated else target).CopyFrom(inner)
            elif field.is_repeated:
                getattr(message, field.name).append(draw(scalar(field)))
            else:
                setattr(message, field.name, draw(scalar(field)))
    return message


def message_class(descriptor: Any) -> type[Message]:
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor)


def storable(value: object) -> None:
    """What came out can be kept: SQLite and msgpack hold 63 and 64 bits."""
    numbers: list[int] = []

    def look(at: Any) -> None:
        if isinstance(at, bool) or at is None:
            return
        if isinstance(at, int):
            numbers.append(at)
        elif isinstance(at, (tuple, list)):
            for item in at:
                look(item)
        elif isinstance(at, dict):
            look(list(at.values()))
        elif hasattr(at, "__dataclass_fields__"):
            for name in at.__dataclass_fields__:
                if name != "prices":  # rationals of 64 bits, kept as msgpack alone
                    look(getattr(at, name))

    look(value)
    msgspec.msgpack.encode(value)
    connection = sqlite3.connect(":memory:")
    try:
        for number in numbers:
            connection.execute("SELECT ?", (number,))
    finally:
        connection.close()


@pytest.mark.parametrize("name", REQUESTS)
@given(data=st.data())
def test_a_request_of_any_bytes(name: str, data: st.DataObject) -> None:
    payload = data.draw(st.binary(max_size=300))
    try:
        requests.decode(name, payload)
    except MalformedMessage:
        return


@settings(max_examples=150)
@pytest.mark.parametrize("name", REQUESTS)
@given(data=st.data())
def test_a_request_with_any_contents(name: str, data: st.DataObject) -> None:
    message = data.draw(filled(REQUESTS[name]))
    try:
        found = requests.decode(name, message.SerializeToString())
    except MalformedMessage:
        return
    assert found is not None
    storable(found)


@given(st.text(max_size=30), st.binary(max_size=50))
def test_a_request_of_any_name(name: str, payload: bytes) -> None:
    try:
        found = requests.decode(name, payload)
    except MalformedMessage:
        return
    assert found is None or name in REQUESTS


@pytest.mark.parametrize("decode", SIGNED)
@given(data=st.data())
def test_a_statement_read_back(decode: Any, data: st.DataObject) -> None:
    payload = data.draw(
        st.one_of(
            st.binary(max_size=300),
            filled(SIGNED[decode]).map(lambda message: message.SerializeToString()),
        )
    )
    try:
        decode(payload)
    except MalformedMessage:
        return


@settings(max_examples=300)
@given(data=st.data())
def test_a_session_message_with_any_contents(data: st.DataObject) -> None:
    message = data.draw(filled(session_pb2.SessionResponse))
    raw = session_pb2.SessionResponse.FromString(message.SerializeToString())
    try:
        response = stream.read(raw)
    except MalformedMessage:
        return
    if isinstance(response.body, stream.Batch):
        assert len(response.body.envelopes) == len(raw.envelopes.items)


@given(st.binary(max_size=300))
def test_an_offer_read_back(payload: bytes) -> None:
    try:
        requests.offered(payload, 5, newest=True)
    except MalformedMessage:
        return


@settings(max_examples=150)
@given(data=st.data())
def test_an_enrolment_with_any_contents(data: st.DataObject) -> None:
    response = data.draw(filled(attestation_pb2.EnrollResponse))
    pin = data.draw(st.sampled_from(["00" * 32, "", "ff" * 32]))
    for read in (lambda: enrol.challenge(response, pin), lambda: enrol.result(response)):
        try:
            read()
        except MalformedMessage:
            continue
    try:
        enrol.renewed(data.draw(filled(session_pb2.RenewCertificateResponse)))
    except MalformedMessage:
        return


@given(data=st.data())
def test_a_challenge_of_enrolment_that_somebody_else_signed(data: st.DataObject) -> None:
    from attest import envelope as dsse
    from attest.formats import envelope_to_proto
    from attest.keys import SoftwareKey

    key, pinned = SoftwareKey.generate(), SoftwareKey.generate()
    content = data.draw(filled(attestation_pb2.CredentialChallenge))
    identity = content.exchange
    del identity.statement_spki[:]
    identity.statement_spki.append(pinned.spki)
    identity.exchange_id = pinned.key_id.hex()
    payload = content.SerializeToString()
    sealed = dsse.sign(dsse.payload_type("CredentialChallenge"), payload, key)
    response = attestation_pb2.EnrollResponse(challenge=envelope_to_proto(sealed))
    with pytest.raises(MalformedMessage):
        enrol.challenge(response, pinned.key_id.hex())


def test_an_envelope_that_does_not_decode_leaves_a_hole_and_no_more() -> None:
    message = session_pb2.SessionResponse(delivery_sequence=1)
    message.envelopes.items.add(envelope=common_pb2.SignedEnvelope(payload_type="x"))
    response = stream.read(message)
    assert isinstance(response.body, stream.Batch)
    assert len(response.body.envelopes) == 1
