"""Between messages and our own types: nothing gets lost, and both count alike."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Any

import pytest
from hearth.v1 import (
    challenge_pb2,
    common_pb2,
    inventory_pb2,
    lease_pb2,
    offer_pb2,
    session_pb2,
)

from agent.core import offer as offers
from agent.core.amount import Price, PriceUnit
from agent.core.bill import Terms
from agent.core.lease import (
    CloseReason,
    Decision,
    Lease,
    LeaseKey,
    LeaseState,
    Outcome,
)
from agent.core.meter import ClockEvent, EventKind, LeaseMeter, Quality
from agent.core.rebate import Level, Tier
from agent.core.receipt import Receipt, Sources, close
from agent.errors import MalformedMessage
from agent.wire import requests, signed, statements, stream
from attest.formats import decode_receipt
from probes.component import ComponentKind, Health
from probes.reading import Instant, SourceClass

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
LEASE_ID = "0190c1d2-0000-7000-8000-000000000001"

ENUMS: list[tuple[Any, Any, str]] = [
    (PriceUnit, offer_pb2.PriceUnit, "PRICE_UNIT_"),
    (LeaseState, lease_pb2.LeaseState, "LEASE_STATE_"),
    (Outcome, lease_pb2.LeaseOutcome, "LEASE_OUTCOME_"),
    (CloseReason, lease_pb2.CloseReason, "CLOSE_REASON_"),
    (Quality, common_pb2.Quality, "QUALITY_"),
    (EventKind, lease_pb2.ClockEventKind, "CLOCK_EVENT_KIND_"),
    (SourceClass, common_pb2.MeasurementSource, "MEASUREMENT_SOURCE_"),
    (stream.Refusal, challenge_pb2.ChallengeRefusal, "CHALLENGE_REFUSAL_"),
    (ComponentKind, inventory_pb2.ComponentKind, "COMPONENT_KIND_"),
    (Health, inventory_pb2.Health, "HEALTH_"),
]


@pytest.mark.parametrize(("ours", "theirs", "prefix"), ENUMS, ids=lambda value: str(value)[:30])
def test_numbers_are_those_of_the_contract(ours: Any, theirs: Any, prefix: str) -> None:
    names = {"NONE": "UNSPECIFIED"}
    for member in ours:
        name = prefix + names.get(member.name, member.name)
        assert theirs.Value(name) == member.value, name
    if ours is not stream.Refusal and issubclass(ours, IntEnum):
        known = {value for value in theirs.values() if value}
        assert known == {int(member.value) for member in ours if member.value}


def test_heat_sinks_are_those_of_the_contract() -> None:
    for place, name in enumerate(offers.HEAT_SINKS, 1):
        assert offer_pb2.HeatSink.Name(place) == "HEAT_SINK_" + name.upper().replace("-", "_")


@pytest.mark.parametrize("nanoseconds", [0, 1, SECOND - 1, SECOND, -1, -SECOND - 1, 10**18])
def test_a_duration_has_one_sign(nanoseconds: int) -> None:
    found = statements.duration(nanoseconds)
    assert found.seconds * SECOND + found.nanos == nanoseconds
    assert found.seconds * found.nanos >= 0


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-1, 0), (0, -1), (0, SECOND), (requests.MOST_SECONDS + 1, 0)]
)
def test_times_out_of_range_are_refused(seconds: int, nanos: int) -> None:
    value = lease_pb2.ReserveRequest(lease_id=LEASE_ID)
    value.hold.seconds, value.hold.nanos = seconds, nanos
    with pytest.raises(MalformedMessage, match="hold"):
        requests.decode("ReserveRequest", value.SerializeToString())


def reserve(**parts: Any) -> bytes:
    message = lease_pb2.ReserveRequest(lease_id=LEASE_ID, offer_id="offer", offer_sequence=3)
    message.units.add(resource_class="MEMORY_MB", units=512)
    message.units.add(resource_class="VCPU", units=2)
    message.hold.FromSeconds(30)
    for name, value in parts.items():
        setattr(message, name, value)
    return message.SerializeToString()


def test_a_reserve_request() -> None:
    found = requests.decode("ReserveRequest", reserve())
    assert found == requests.ReserveRequest(
        LEASE_ID, "offer", 3, {"MEMORY_MB": 512, "VCPU": 2}, 30 * SECOND
    )


@pytest.mark.parametrize("wrong", ["", "x", LEASE_ID.upper(), LEASE_ID + "0", "../" * 12])
def test_a_lease_id_is_a_lower_case_uuid(wrong: str) -> None:
    with pytest.raises(MalformedMessage, match="lease_id"):
        requests.decode("ReserveRequest", reserve(lease_id=wrong))


@pytest.mark.parametrize(
    "units",
    [
        [("VCPU", 1), ("MEMORY_MB", 1)],
        [("VCPU", 1), ("VCPU", 1)],
        [("VCPU", 0)],
        [("VCPU", 1 << 63)],
        [("vcpu", 1)],
        [("", 1)],
        [(f"CUSTOM_{number:03}", 1) for number in range(33)],
    ],
)
def test_units_are_sorted_positive_and_few(units: list[tuple[str, int]]) -> None:
    message = lease_pb2.ReserveRequest(lease_id=LEASE_ID)
    for name, count in units:
        message.units.add(resource_class=name, units=count)
    with pytest.raises(MalformedMessage, match="units"):
        requests.decode("ReserveRequest", message.SerializeToString())


def test_what_is_kept_is_bounded() -> None:
    with pytest.raises(MalformedMessage, match="job_id"):
        agreement = lease_pb2.LeaseAgreement(lease_id=LEASE_ID, job_id="x" * 257)
        requests.decode("LeaseAgreement", agreement.SerializeToString())
    with pytest.raises(MalformedMessage, match="offer_sequence"):
        requests.decode("ReserveRequest", reserve(offer_sequence=1 << 63))
    ack = lease_pb2.ReceiptAck(lease_id=LEASE_ID, accepted_sha256=bytes(32))
    for field in ("accepted_through", "uncontested_msat_total"):
        wrong = lease_pb2.ReceiptAck()
        wrong.CopyFrom(ack)
        setattr(wrong, field, 1 << 63)
        with pytest.raises(MalformedMessage, match=field):
            requests.decode("ReceiptAck", wrong.SerializeToString())


def test_an_unknown_reason_to_end_is_no_reason_to_go_on() -> None:
    message = lease_pb2.LeaseRelease(lease_id=LEASE_ID, fencing_token=b"t")
    raw = message.SerializeToString() + b"\x18\xe7\x07"  # reason = 999
    found = requests.decode("LeaseRelease", raw)
    assert isinstance(found, requests.Release)
    assert found.reason is CloseReason.NONE


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: setattr(c, "nonce", bytes(31)), "nonce"),
        (lambda c: setattr(c, "nonce", bytes(33)), "nonce"),
        (lambda c: c.ClearField("quote"), "kind"),
        (lambda c: c.quote.pcr_indices.extend([24]), "pcr_indices"),
        (lambda c: c.quote.pcr_indices.extend([2, 1]), "pcr_indices"),
        (lambda c: c.quote.pcr_indices.extend([1, 1]), "pcr_indices"),
        (lambda c: setattr(c, "challenge_id", "x" * 300), "challenge_id"),
    ],
)
def test_a_challenge_is_one_that_can_be_answered(change: Any, field: str) -> None:
    challenge = challenge_pb2.Challenge(challenge_id="c", nonce=bytes(32))
    challenge.quote.SetInParent()
    assert requests.decode("Challenge", challenge.SerializeToString()) is not None
    change(challenge)
    with pytest.raises(MalformedMessage, match=field):
        requests.decode("Challenge", challenge.SerializeToString())


# --- what we sign and read again ---


def offer() -> offers.Offer:
    return offers.Offer(
        node_id="aa" * 32,
        exchange_id="ee" * 32,
        offer_id="offer",
        sequence=7,
        inventory_generation=2,
        issue_ns=START,
        expire_ns=START + 600 * SECOND,
        available_until_ns=START + 86_400 * SECOND,
        capacity={"MEMORY_MB": 2048, "VCPU": 8},
        reserved={"MEMORY_MB": 512},
        available={"MEMORY_MB": 1024, "VCPU": 0},
        traits=("HW_CPU_X86_AVX2",),
        site=offers.Site("site", 500_000, "FI", "FI-18", "pool"),
        environment=offers.Environment(window_ns=60 * SECOND),
        terms=offers.Terms(
            prices=(Price(15, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),),
            availability_ppm=990_000,
            level=Level(30 * 86_400 * SECOND, (Tier(990_000, 100),)),
            receipt_interval_ns=900 * SECOND,
            money=Terms(
                credit_limit_msat=10_000_000,
                least_msat=1_000_000,
                payment_timeout_ns=7200 * SECOND,
            ),
        ),
        assurance=1,
        log_breaks=0,
    )


def test_an_offer_binds_to_what_it_says() -> None:
    payload = statements.encode_offer(offer())
    terms = requests.offered(payload, 42, newest=True)
    assert terms.sha256 == hashlib.sha256(payload).digest()
    assert (terms.log_index, terms.newest) == (42, True)
    assert terms.expire_ns == START + 600 * SECOND
    assert terms.available_until_ns == START + 86_400 * SECOND
    assert terms.prices == offer().terms.prices
    assert terms.receipt_interval_ns == 900 * SECOND
    assert terms.steps == {"MEMORY_MB": (1, 1), "VCPU": (1, 1)}
    assert signed.sellable(payload) == {"MEMORY_MB": 1536, "VCPU": 8}


def test_what_was_not_measured_is_absent_from_an_offer() -> None:
    message = offer_pb2.Offer.FromString(statements.encode_offer(offer()))
    assert not message.HasField("power")
    assert not message.HasField("heat_reuse")


def test_an_agreement_is_read_as_it_was_offered() -> None:
    shown = offer_pb2.Offer.FromString(statements.encode_offer(offer()))
    agreement = lease_pb2.LeaseAgreement(
        lease_id=LEASE_ID,
        prices=shown.prices,
        service_level=shown.service_level,
        settlement=shown.settlement,
    )
    found = requests.decode("LeaseAgreement", agreement.SerializeToString())
    assert isinstance(found, requests.Agreement)
    terms = requests.offered(shown.SerializeToString(deterministic=True), 1, newest=True)
    assert (found.prices, found.terms) == (terms.prices, terms.terms)
    assert found.receipt_interval_ns == terms.receipt_interval_ns


def receipt() -> Receipt:
    lease = Lease(
        key=LeaseKey("ee" * 32, LEASE_ID),
        state=LeaseState.ACTIVE,
        units={"MEMORY_MB": 512, "VCPU": 2},
        fencing_token=b"",
        request_sha256=b"",
        offer_index=5,
        hold_until_ns=0,
        hold_boot_id="boot",
        agreement_sha256=bytes(range(32)),
        prices=offer().terms.prices,
        start_ns=START,
        end_ns=START + 3600 * SECOND,
        job_id="job",
        receipt_sequence=4,
        receipt_sha256=b"p" * 32,
    )
    meter = LeaseMeter(
        at=Instant(0, 0, 0, "boot"),
        reserved_ns=60 * SECOND,
        delivered_ns=50 * SECOND,
        missing_ns=3 * SECOND,
        used_cpu_us=7_000_000,
        used_mb_ms=99,
        throttled_total_us=5000,
        energy_mj=1234,
        energy_missing_ns=SECOND,
        heat_mj=77,
        heat_reverse_mj=1,
        quality=Quality.PARTIAL,
        events=(ClockEvent(EventKind.STEP, SECOND, -3 * SECOND - 5),),
    )
    sources = Sources(SourceClass.PDU, 10, SourceClass.BILLING_METER, 20)
    return close(lease, meter, 20 * SECOND, "aa" * 32, "bb" * 32, sources, final=True)


def test_a_receipt_says_what_was_metered() -> None:
    payload = statements.encode_receipt(receipt())
    message = lease_pb2.Receipt.FromString(payload)
    assert message.interval.start_time.ToNanoseconds() == START + 20 * SECOND
    assert message.interval.end_time.ToNanoseconds() == START + 60 * SECOND
    assert message.monotonic_duration.ToNanoseconds() == 40 * SECOND
    [event] = message.clock_events
    assert event.magnitude.ToNanoseconds() == -3 * SECOND - 5
    assert event.event_time.ToNanoseconds() == START + SECOND
    memory, processor = message.totals
    assert memory.used_unit_milliseconds == 99
    assert not memory.HasField("throttled_milliseconds")
    assert (processor.used_unit_milliseconds, processor.throttled_milliseconds) == (7000, 5)
    assert not processor.HasField("stalled_milliseconds")
    assert message.energy.source == common_pb2.MEASUREMENT_SOURCE_PDU
    assert (message.heat.reused_millijoules, message.heat.reverse_millijoules) == (77, 1)
    assert message.gross_msat_total == 1500
    assert decode_receipt(payload).gross_msat_total == 1500


def test_a_receipt_is_read_back_as_a_link_of_its_chain() -> None:
    found = signed.issued(statements.encode_receipt(receipt()))
    assert (found.lease_id, found.sequence, found.final) == (LEASE_ID, 5, True)
    assert found.previous_sha256 == b"p" * 32
    assert found.delivered == {"MEMORY_MB": (25_600_000, 30_720_000), "VCPU": (100_000, 120_000)}
    assert found.registers["energy"] == 1234
    assert found.registers["heat reverse"] == 1
    assert found.registers["VCPU used"] == 7000
    assert found.registers["gross"] == 1500


def test_a_decision_and_an_update_are_read_back() -> None:
    granted = statements.encode_decision(
        LEASE_ID, bytes(32), Decision(Outcome.ACCEPTED), b"t" * 16, 30 * SECOND
    )
    refused = statements.encode_decision(LEASE_ID, bytes(32), Decision(Outcome.CREDIT, "no"))
    assert signed.granted(granted) == LEASE_ID
    assert signed.granted(refused) is None
    message = lease_pb2.LeaseDecision.FromString(granted)
    assert (message.fencing_token, message.hold.seconds) == (b"t" * 16, 30)
    update = statements.encode_update(LEASE_ID, LeaseState.CLOSING, CloseReason.END_TIME, START)
    assert signed.moved(update) == (LEASE_ID, LeaseState.CLOSING)


# --- the session ---


def test_hello_and_batch_carry_the_cursors() -> None:
    cursor = stream.LeaseCursor(LEASE_ID, 3, b"s" * 32)
    hello = stream.hello("node", "1.0", 9, "log", 5, [cursor])
    assert (hello.hello.session_epoch, hello.delivered_through) == (9, 5)
    assert hello.hello.lease_cursors[0].receipt_sequence == 3
    envelope = common_pb2.SignedEnvelope(payload_type="t", payload=b"p").SerializeToString()
    waiting = [stream.Waiting(7, envelope, 0), stream.Waiting(8, envelope, None)]
    batch = stream.batch(waiting, 5)
    assert batch.delivery_sequence == 7
    first, second = batch.envelopes.items
    assert first.HasField("log_index")
    assert first.log_index == 0
    assert not second.HasField("log_index")
    assert first.envelope.payload == b"p"


def test_a_refusal_of_a_challenge_is_no_answer() -> None:
    request = stream.refuse_challenge("id", stream.Refusal.RATE_LIMIT, "x" * 1000)
    answer = request.challenge_answer
    assert answer.refusal == challenge_pb2.CHALLENGE_REFUSAL_RATE_LIMIT
    assert not answer.HasField("evidence")
    assert len(answer.detail) == 500


def welcome(**parts: Any) -> session_pb2.SessionResponse:
    message = session_pb2.SessionResponse()
    message.welcome.protocol = 1
    message.welcome.evidence_nonce = bytes(32)
    for name, value in parts.items():
        setattr(message.welcome, name, value)
    return message


@pytest.mark.parametrize(
    ("field", "value"), [("evidence_nonce", bytes(31)), ("protocol", 2), ("protocol", 0)]
)
def test_a_welcome_that_cannot_be_followed(field: str, value: Any) -> None:
    assert isinstance(stream.read(welcome()).body, stream.Welcome)
    with pytest.raises(MalformedMessage, match=field):
        stream.read(welcome(**{field: value}))


def test_a_witnessed_head_of_nothing_is_none() -> None:
    message = session_pb2.SessionResponse()
    message.witnessed.log_id = "log"
    assert stream.read(message).body is None
    message.witnessed.size = 5
    with pytest.raises(MalformedMessage, match="root"):
        stream.read(message)


def test_an_unknown_body_is_none() -> None:
    raw = session_pb2.SessionResponse(delivery_sequence=4).SerializeToString() + b"\xfa\x06\x00"
    response = stream.read(session_pb2.SessionResponse.FromString(raw))
    assert (response.sequence, response.body) == (4, None)
