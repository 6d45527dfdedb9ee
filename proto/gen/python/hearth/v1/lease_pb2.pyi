import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import common_pb2 as _common_pb2
from hearth.v1 import offer_pb2 as _offer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_OUTCOME_UNSPECIFIED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_ACCEPTED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_NO_CAPACITY: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_OFFER_SUPERSEDED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_HOLD_EXPIRED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_FENCED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_DRAINING: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_CREDIT: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_INVALID: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_RATE_LIMITED: _ClassVar[LeaseOutcome]

class LeaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_STATE_UNSPECIFIED: _ClassVar[LeaseState]
    LEASE_STATE_RESERVED: _ClassVar[LeaseState]
    LEASE_STATE_COMMITTED: _ClassVar[LeaseState]
    LEASE_STATE_ACTIVE: _ClassVar[LeaseState]
    LEASE_STATE_SUSPENDED: _ClassVar[LeaseState]
    LEASE_STATE_RECLAIMING: _ClassVar[LeaseState]
    LEASE_STATE_CLOSING: _ClassVar[LeaseState]
    LEASE_STATE_CLOSED: _ClassVar[LeaseState]
    LEASE_STATE_SETTLED: _ClassVar[LeaseState]
    LEASE_STATE_EXPIRED: _ClassVar[LeaseState]
    LEASE_STATE_REFUSED: _ClassVar[LeaseState]
    LEASE_STATE_FAILED: _ClassVar[LeaseState]

class CloseReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSE_REASON_UNSPECIFIED: _ClassVar[CloseReason]
    CLOSE_REASON_TENANT_DONE: _ClassVar[CloseReason]
    CLOSE_REASON_OPERATOR_MAINTENANCE: _ClassVar[CloseReason]
    CLOSE_REASON_OPERATOR_FAULT: _ClassVar[CloseReason]
    CLOSE_REASON_POWER_OR_HEAT: _ClassVar[CloseReason]
    CLOSE_REASON_CREDIT_LIMIT: _ClassVar[CloseReason]
    CLOSE_REASON_ACK_TIMEOUT: _ClassVar[CloseReason]
    CLOSE_REASON_END_TIME: _ClassVar[CloseReason]

class ClockEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOCK_EVENT_KIND_UNSPECIFIED: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_STEP: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_SUSPEND: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_REBOOT: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_OUTAGE: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_UNSYNCHRONIZED: _ClassVar[ClockEventKind]
    CLOCK_EVENT_KIND_AGENT_DOWN: _ClassVar[ClockEventKind]

class DisputeReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISPUTE_REASON_UNSPECIFIED: _ClassVar[DisputeReason]
    DISPUTE_REASON_CHAIN: _ClassVar[DisputeReason]
    DISPUTE_REASON_NOT_REACHABLE: _ClassVar[DisputeReason]
    DISPUTE_REASON_CHALLENGE_FAILED: _ClassVar[DisputeReason]
    DISPUTE_REASON_AMOUNT: _ClassVar[DisputeReason]
    DISPUTE_REASON_TENANT_PROBE: _ClassVar[DisputeReason]

class DisputeStepKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISPUTE_STEP_KIND_UNSPECIFIED: _ClassVar[DisputeStepKind]
    DISPUTE_STEP_KIND_ANSWER: _ClassVar[DisputeStepKind]
    DISPUTE_STEP_KIND_ACCEPT: _ClassVar[DisputeStepKind]
    DISPUTE_STEP_KIND_WITHDRAW: _ClassVar[DisputeStepKind]
    DISPUTE_STEP_KIND_VERDICT: _ClassVar[DisputeStepKind]
LEASE_OUTCOME_UNSPECIFIED: LeaseOutcome
LEASE_OUTCOME_ACCEPTED: LeaseOutcome
LEASE_OUTCOME_NO_CAPACITY: LeaseOutcome
LEASE_OUTCOME_OFFER_SUPERSEDED: LeaseOutcome
LEASE_OUTCOME_HOLD_EXPIRED: LeaseOutcome
LEASE_OUTCOME_FENCED: LeaseOutcome
LEASE_OUTCOME_DRAINING: LeaseOutcome
LEASE_OUTCOME_CREDIT: LeaseOutcome
LEASE_OUTCOME_INVALID: LeaseOutcome
LEASE_OUTCOME_RATE_LIMITED: LeaseOutcome
LEASE_STATE_UNSPECIFIED: LeaseState
LEASE_STATE_RESERVED: LeaseState
LEASE_STATE_COMMITTED: LeaseState
LEASE_STATE_ACTIVE: LeaseState
LEASE_STATE_SUSPENDED: LeaseState
LEASE_STATE_RECLAIMING: LeaseState
LEASE_STATE_CLOSING: LeaseState
LEASE_STATE_CLOSED: LeaseState
LEASE_STATE_SETTLED: LeaseState
LEASE_STATE_EXPIRED: LeaseState
LEASE_STATE_REFUSED: LeaseState
LEASE_STATE_FAILED: LeaseState
CLOSE_REASON_UNSPECIFIED: CloseReason
CLOSE_REASON_TENANT_DONE: CloseReason
CLOSE_REASON_OPERATOR_MAINTENANCE: CloseReason
CLOSE_REASON_OPERATOR_FAULT: CloseReason
CLOSE_REASON_POWER_OR_HEAT: CloseReason
CLOSE_REASON_CREDIT_LIMIT: CloseReason
CLOSE_REASON_ACK_TIMEOUT: CloseReason
CLOSE_REASON_END_TIME: CloseReason
CLOCK_EVENT_KIND_UNSPECIFIED: ClockEventKind
CLOCK_EVENT_KIND_STEP: ClockEventKind
CLOCK_EVENT_KIND_SUSPEND: ClockEventKind
CLOCK_EVENT_KIND_REBOOT: ClockEventKind
CLOCK_EVENT_KIND_OUTAGE: ClockEventKind
CLOCK_EVENT_KIND_UNSYNCHRONIZED: ClockEventKind
CLOCK_EVENT_KIND_AGENT_DOWN: ClockEventKind
DISPUTE_REASON_UNSPECIFIED: DisputeReason
DISPUTE_REASON_CHAIN: DisputeReason
DISPUTE_REASON_NOT_REACHABLE: DisputeReason
DISPUTE_REASON_CHALLENGE_FAILED: DisputeReason
DISPUTE_REASON_AMOUNT: DisputeReason
DISPUTE_REASON_TENANT_PROBE: DisputeReason
DISPUTE_STEP_KIND_UNSPECIFIED: DisputeStepKind
DISPUTE_STEP_KIND_ANSWER: DisputeStepKind
DISPUTE_STEP_KIND_ACCEPT: DisputeStepKind
DISPUTE_STEP_KIND_WITHDRAW: DisputeStepKind
DISPUTE_STEP_KIND_VERDICT: DisputeStepKind

class ReserveRequest(_message.Message):
    __slots__ = ("lease_id", "offer_id", "offer_sequence", "units", "hold")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    offer_id: str
    offer_sequence: int
    units: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    hold: _duration_pb2.Duration
    def __init__(self, lease_id: _Optional[str] = ..., offer_id: _Optional[str] = ..., offer_sequence: _Optional[int] = ..., units: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseDecision(_message.Message):
    __slots__ = ("lease_id", "request_sha256", "outcome", "detail", "fencing_token", "hold")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    request_sha256: bytes
    outcome: LeaseOutcome
    detail: str
    fencing_token: bytes
    hold: _duration_pb2.Duration
    def __init__(self, lease_id: _Optional[str] = ..., request_sha256: _Optional[bytes] = ..., outcome: _Optional[_Union[LeaseOutcome, str]] = ..., detail: _Optional[str] = ..., fencing_token: _Optional[bytes] = ..., hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseAgreement(_message.Message):
    __slots__ = ("exchange_id", "node_id", "lease_id", "offer_sha256", "units", "prices", "service_level", "settlement", "start_time", "end_time", "fencing_token", "workload", "job_id")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_SHA256_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    SERVICE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    node_id: str
    lease_id: str
    offer_sha256: bytes
    units: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    prices: _containers.RepeatedCompositeFieldContainer[_offer_pb2.Price]
    service_level: _offer_pb2.ServiceLevel
    settlement: _offer_pb2.SettlementTerms
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    fencing_token: bytes
    workload: WorkloadBinding
    job_id: str
    def __init__(self, exchange_id: _Optional[str] = ..., node_id: _Optional[str] = ..., lease_id: _Optional[str] = ..., offer_sha256: _Optional[bytes] = ..., units: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., prices: _Optional[_Iterable[_Union[_offer_pb2.Price, _Mapping]]] = ..., service_level: _Optional[_Union[_offer_pb2.ServiceLevel, _Mapping]] = ..., settlement: _Optional[_Union[_offer_pb2.SettlementTerms, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fencing_token: _Optional[bytes] = ..., workload: _Optional[_Union[WorkloadBinding, _Mapping]] = ..., job_id: _Optional[str] = ...) -> None: ...

class WorkloadBinding(_message.Message):
    __slots__ = ("systemd_slice", "kubernetes_pod_uid", "container_id", "libvirt_domain_uuid", "device_uuids")
    SYSTEMD_SLICE_FIELD_NUMBER: _ClassVar[int]
    KUBERNETES_POD_UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    LIBVIRT_DOMAIN_UUID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_UUIDS_FIELD_NUMBER: _ClassVar[int]
    systemd_slice: str
    kubernetes_pod_uid: str
    container_id: str
    libvirt_domain_uuid: str
    device_uuids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, systemd_slice: _Optional[str] = ..., kubernetes_pod_uid: _Optional[str] = ..., container_id: _Optional[str] = ..., libvirt_domain_uuid: _Optional[str] = ..., device_uuids: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaseAccess(_message.Message):
    __slots__ = ("lease_id", "media_type", "content")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    media_type: str
    content: bytes
    def __init__(self, lease_id: _Optional[str] = ..., media_type: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class LeaseExtension(_message.Message):
    __slots__ = ("lease_id", "fencing_token", "end_time")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    fencing_token: bytes
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, lease_id: _Optional[str] = ..., fencing_token: _Optional[bytes] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LeaseRelease(_message.Message):
    __slots__ = ("lease_id", "fencing_token", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    fencing_token: bytes
    reason: CloseReason
    def __init__(self, lease_id: _Optional[str] = ..., fencing_token: _Optional[bytes] = ..., reason: _Optional[_Union[CloseReason, str]] = ...) -> None: ...

class LeaseUpdate(_message.Message):
    __slots__ = ("lease_id", "state", "reason", "change_time", "reclaim_time", "access")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    RECLAIM_TIME_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    state: LeaseState
    reason: CloseReason
    change_time: _timestamp_pb2.Timestamp
    reclaim_time: _timestamp_pb2.Timestamp
    access: LeaseAccess
    def __init__(self, lease_id: _Optional[str] = ..., state: _Optional[_Union[LeaseState, str]] = ..., reason: _Optional[_Union[CloseReason, str]] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reclaim_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., access: _Optional[_Union[LeaseAccess, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("node_id", "exchange_id", "lease_id", "job_id", "log_id", "sequence", "previous_sha256", "agreement_sha256", "interval", "monotonic_duration", "boot_id", "clock_events", "totals", "energy", "heat", "lines", "gross_msat_total", "final", "result_sha256")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SHA256_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_DURATION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_EVENTS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    HEAT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    GROSS_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    RESULT_SHA256_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    exchange_id: str
    lease_id: str
    job_id: str
    log_id: str
    sequence: int
    previous_sha256: bytes
    agreement_sha256: bytes
    interval: _common_pb2.TimeInterval
    monotonic_duration: _duration_pb2.Duration
    boot_id: str
    clock_events: _containers.RepeatedCompositeFieldContainer[ClockEvent]
    totals: _containers.RepeatedCompositeFieldContainer[MeterTotal]
    energy: EnergyTotal
    heat: HeatTotal
    lines: _containers.RepeatedCompositeFieldContainer[AmountLine]
    gross_msat_total: int
    final: bool
    result_sha256: bytes
    def __init__(self, node_id: _Optional[str] = ..., exchange_id: _Optional[str] = ..., lease_id: _Optional[str] = ..., job_id: _Optional[str] = ..., log_id: _Optional[str] = ..., sequence: _Optional[int] = ..., previous_sha256: _Optional[bytes] = ..., agreement_sha256: _Optional[bytes] = ..., interval: _Optional[_Union[_common_pb2.TimeInterval, _Mapping]] = ..., monotonic_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., boot_id: _Optional[str] = ..., clock_events: _Optional[_Iterable[_Union[ClockEvent, _Mapping]]] = ..., totals: _Optional[_Iterable[_Union[MeterTotal, _Mapping]]] = ..., energy: _Optional[_Union[EnergyTotal, _Mapping]] = ..., heat: _Optional[_Union[HeatTotal, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[AmountLine, _Mapping]]] = ..., gross_msat_total: _Optional[int] = ..., final: _Optional[bool] = ..., result_sha256: _Optional[bytes] = ...) -> None: ...

class MeterTotal(_message.Message):
    __slots__ = ("resource_class", "reserved_unit_milliseconds", "delivered_unit_milliseconds", "used_unit_milliseconds", "throttled_milliseconds", "stalled_milliseconds", "missing_milliseconds", "quality", "counter_epoch")
    RESOURCE_CLASS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_UNIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_UNIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    USED_UNIT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    STALLED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    MISSING_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    COUNTER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    resource_class: str
    reserved_unit_milliseconds: int
    delivered_unit_milliseconds: int
    used_unit_milliseconds: int
    throttled_milliseconds: int
    stalled_milliseconds: int
    missing_milliseconds: int
    quality: _common_pb2.Quality
    counter_epoch: int
    def __init__(self, resource_class: _Optional[str] = ..., reserved_unit_milliseconds: _Optional[int] = ..., delivered_unit_milliseconds: _Optional[int] = ..., used_unit_milliseconds: _Optional[int] = ..., throttled_milliseconds: _Optional[int] = ..., stalled_milliseconds: _Optional[int] = ..., missing_milliseconds: _Optional[int] = ..., quality: _Optional[_Union[_common_pb2.Quality, str]] = ..., counter_epoch: _Optional[int] = ...) -> None: ...

class EnergyTotal(_message.Message):
    __slots__ = ("millijoules", "source", "quality", "uncertainty_permille", "missing_milliseconds")
    MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    MISSING_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    millijoules: int
    source: _common_pb2.MeasurementSource
    quality: _common_pb2.Quality
    uncertainty_permille: int
    missing_milliseconds: int
    def __init__(self, millijoules: _Optional[int] = ..., source: _Optional[_Union[_common_pb2.MeasurementSource, str]] = ..., quality: _Optional[_Union[_common_pb2.Quality, str]] = ..., uncertainty_permille: _Optional[int] = ..., missing_milliseconds: _Optional[int] = ...) -> None: ...

class HeatTotal(_message.Message):
    __slots__ = ("reused_millijoules", "reverse_millijoules", "source", "quality", "uncertainty_permille")
    REUSED_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    REVERSE_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    reused_millijoules: int
    reverse_millijoules: int
    source: _common_pb2.MeasurementSource
    quality: _common_pb2.Quality
    uncertainty_permille: int
    def __init__(self, reused_millijoules: _Optional[int] = ..., reverse_millijoules: _Optional[int] = ..., source: _Optional[_Union[_common_pb2.MeasurementSource, str]] = ..., quality: _Optional[_Union[_common_pb2.Quality, str]] = ..., uncertainty_permille: _Optional[int] = ...) -> None: ...

class AmountLine(_message.Message):
    __slots__ = ("price_index", "quantity", "msat")
    PRICE_INDEX_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    MSAT_FIELD_NUMBER: _ClassVar[int]
    price_index: int
    quantity: int
    msat: int
    def __init__(self, price_index: _Optional[int] = ..., quantity: _Optional[int] = ..., msat: _Optional[int] = ...) -> None: ...

class ClockEvent(_message.Message):
    __slots__ = ("kind", "event_time", "magnitude")
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    MAGNITUDE_FIELD_NUMBER: _ClassVar[int]
    kind: ClockEventKind
    event_time: _timestamp_pb2.Timestamp
    magnitude: _duration_pb2.Duration
    def __init__(self, kind: _Optional[_Union[ClockEventKind, str]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., magnitude: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReceiptAck(_message.Message):
    __slots__ = ("lease_id", "accepted_through", "accepted_sha256", "uncontested_msat_total", "disputes")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_SHA256_FIELD_NUMBER: _ClassVar[int]
    UNCONTESTED_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DISPUTES_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    accepted_through: int
    accepted_sha256: bytes
    uncontested_msat_total: int
    disputes: _containers.RepeatedCompositeFieldContainer[Dispute]
    def __init__(self, lease_id: _Optional[str] = ..., accepted_through: _Optional[int] = ..., accepted_sha256: _Optional[bytes] = ..., uncontested_msat_total: _Optional[int] = ..., disputes: _Optional[_Iterable[_Union[Dispute, _Mapping]]] = ...) -> None: ...

class Dispute(_message.Message):
    __slots__ = ("dispute_id", "sequence", "reason", "contested_msat", "detail", "answer_by_time")
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONTESTED_MSAT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BY_TIME_FIELD_NUMBER: _ClassVar[int]
    dispute_id: str
    sequence: int
    reason: DisputeReason
    contested_msat: int
    detail: str
    answer_by_time: _timestamp_pb2.Timestamp
    def __init__(self, dispute_id: _Optional[str] = ..., sequence: _Optional[int] = ..., reason: _Optional[_Union[DisputeReason, str]] = ..., contested_msat: _Optional[int] = ..., detail: _Optional[str] = ..., answer_by_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DisputeStep(_message.Message):
    __slots__ = ("dispute_id", "kind", "agreed_msat", "evidence_sha256", "detail")
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AGREED_MSAT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    dispute_id: str
    kind: DisputeStepKind
    agreed_msat: int
    evidence_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    detail: str
    def __init__(self, dispute_id: _Optional[str] = ..., kind: _Optional[_Union[DisputeStepKind, str]] = ..., agreed_msat: _Optional[int] = ..., evidence_sha256: _Optional[_Iterable[bytes]] = ..., detail: _Optional[str] = ...) -> None: ...

class Adjustment(_message.Message):
    __slots__ = ("lease_id", "first_sequence", "last_sequence", "msat", "reason", "dispute_id")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MSAT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    first_sequence: int
    last_sequence: int
    msat: int
    reason: str
    dispute_id: str
    def __init__(self, lease_id: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., msat: _Optional[int] = ..., reason: _Optional[str] = ..., dispute_id: _Optional[str] = ...) -> None: ...

class RebateStatement(_message.Message):
    __slots__ = ("lease_id", "window", "inputs_sha256", "availability_ppm", "msat")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    INPUTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    AVAILABILITY_PPM_FIELD_NUMBER: _ClassVar[int]
    MSAT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    window: _common_pb2.TimeInterval
    inputs_sha256: bytes
    availability_ppm: int
    msat: int
    def __init__(self, lease_id: _Optional[str] = ..., window: _Optional[_Union[_common_pb2.TimeInterval, _Mapping]] = ..., inputs_sha256: _Optional[bytes] = ..., availability_ppm: _Optional[int] = ..., msat: _Optional[int] = ...) -> None: ...
