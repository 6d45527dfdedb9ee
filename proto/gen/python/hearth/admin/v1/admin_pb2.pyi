import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("agent_version", "node_id", "root_of_trust", "tpm", "boot_id", "uptime", "inventory_generation", "inventory_digest", "capacity", "available", "log_id", "log_size", "checkpoint", "exchanges", "leases", "sensors", "energy_millijoules", "heat_millijoules", "resident_kibibytes_peak", "cpu_milliseconds", "next_steps", "energy_source")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ROOT_OF_TRUST_FIELD_NUMBER: _ClassVar[int]
    TPM_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    EXCHANGES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    HEAT_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_KIBIBYTES_PEAK_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEPS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    node_id: str
    root_of_trust: _common_pb2.AssuranceClass
    tpm: str
    boot_id: str
    uptime: _duration_pb2.Duration
    inventory_generation: int
    inventory_digest: bytes
    capacity: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    available: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    log_id: str
    log_size: int
    checkpoint: Checkpoint
    exchanges: _containers.RepeatedCompositeFieldContainer[ExchangeStatus]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatus]
    sensors: _containers.RepeatedCompositeFieldContainer[SensorStatus]
    energy_millijoules: int
    heat_millijoules: int
    resident_kibibytes_peak: int
    cpu_milliseconds: int
    next_steps: _containers.RepeatedScalarFieldContainer[str]
    energy_source: _common_pb2.MeasurementSource
    def __init__(self, agent_version: _Optional[str] = ..., node_id: _Optional[str] = ..., root_of_trust: _Optional[_Union[_common_pb2.AssuranceClass, str]] = ..., tpm: _Optional[str] = ..., boot_id: _Optional[str] = ..., uptime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., inventory_generation: _Optional[int] = ..., inventory_digest: _Optional[bytes] = ..., capacity: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., available: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., log_id: _Optional[str] = ..., log_size: _Optional[int] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., exchanges: _Optional[_Iterable[_Union[ExchangeStatus, _Mapping]]] = ..., leases: _Optional[_Iterable[_Union[LeaseStatus, _Mapping]]] = ..., sensors: _Optional[_Iterable[_Union[SensorStatus, _Mapping]]] = ..., energy_millijoules: _Optional[int] = ..., heat_millijoules: _Optional[int] = ..., resident_kibibytes_peak: _Optional[int] = ..., cpu_milliseconds: _Optional[int] = ..., next_steps: _Optional[_Iterable[str]] = ..., energy_source: _Optional[_Union[_common_pb2.MeasurementSource, str]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("sequence", "size", "time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    size: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., size: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExchangeStatus(_message.Message):
    __slots__ = ("exchange_id", "display_name", "endpoint", "connected", "last_error", "assurance", "offers_delivered", "receipts_issued", "receipts_acked", "receipts_rejected", "challenges_answered", "undelivered", "first_offer_time", "certificate_expire_time", "statements_refused", "requests_limited")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    ASSURANCE_FIELD_NUMBER: _ClassVar[int]
    OFFERS_DELIVERED_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_ISSUED_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_ACKED_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_REJECTED_FIELD_NUMBER: _ClassVar[int]
    CHALLENGES_ANSWERED_FIELD_NUMBER: _ClassVar[int]
    UNDELIVERED_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFER_TIME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_LIMITED_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    display_name: str
    endpoint: str
    connected: bool
    last_error: str
    assurance: _common_pb2.AssuranceClass
    offers_delivered: int
    receipts_issued: int
    receipts_acked: int
    receipts_rejected: int
    challenges_answered: int
    undelivered: int
    first_offer_time: _timestamp_pb2.Timestamp
    certificate_expire_time: _timestamp_pb2.Timestamp
    statements_refused: int
    requests_limited: int
    def __init__(self, exchange_id: _Optional[str] = ..., display_name: _Optional[str] = ..., endpoint: _Optional[str] = ..., connected: _Optional[bool] = ..., last_error: _Optional[str] = ..., assurance: _Optional[_Union[_common_pb2.AssuranceClass, str]] = ..., offers_delivered: _Optional[int] = ..., receipts_issued: _Optional[int] = ..., receipts_acked: _Optional[int] = ..., receipts_rejected: _Optional[int] = ..., challenges_answered: _Optional[int] = ..., undelivered: _Optional[int] = ..., first_offer_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., statements_refused: _Optional[int] = ..., requests_limited: _Optional[int] = ...) -> None: ...

class LeaseStatus(_message.Message):
    __slots__ = ("exchange_id", "lease_id", "state", "units", "cgroup", "limits_in_force", "receipt_sequence", "used_cpu_milliseconds", "energy_millijoules", "heat_millijoules", "amount_due_msat")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    LIMITS_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    USED_CPU_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    HEAT_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_DUE_MSAT_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    lease_id: str
    state: str
    units: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    cgroup: str
    limits_in_force: bool
    receipt_sequence: int
    used_cpu_milliseconds: int
    energy_millijoules: int
    heat_millijoules: int
    amount_due_msat: int
    def __init__(self, exchange_id: _Optional[str] = ..., lease_id: _Optional[str] = ..., state: _Optional[str] = ..., units: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., cgroup: _Optional[str] = ..., limits_in_force: _Optional[bool] = ..., receipt_sequence: _Optional[int] = ..., used_cpu_milliseconds: _Optional[int] = ..., energy_millijoules: _Optional[int] = ..., heat_millijoules: _Optional[int] = ..., amount_due_msat: _Optional[int] = ...) -> None: ...

class SensorStatus(_message.Message):
    __slots__ = ("sensor", "value", "unit", "age", "fault")
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    sensor: str
    value: int
    unit: str
    age: _duration_pb2.Duration
    fault: str
    def __init__(self, sensor: _Optional[str] = ..., value: _Optional[int] = ..., unit: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., fault: _Optional[str] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("endpoint", "token", "ca_pem")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    token: str
    ca_pem: bytes
    def __init__(self, endpoint: _Optional[str] = ..., token: _Optional[str] = ..., ca_pem: _Optional[bytes] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("exchange_id", "display_name", "node_id", "assurance")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSURANCE_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    display_name: str
    node_id: str
    assurance: _common_pb2.AssuranceClass
    def __init__(self, exchange_id: _Optional[str] = ..., display_name: _Optional[str] = ..., node_id: _Optional[str] = ..., assurance: _Optional[_Union[_common_pb2.AssuranceClass, str]] = ...) -> None: ...

class AdjustRequest(_message.Message):
    __slots__ = ("lease_id", "msat", "reason", "dispute_id")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    MSAT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    msat: int
    reason: str
    dispute_id: str
    def __init__(self, lease_id: _Optional[str] = ..., msat: _Optional[int] = ..., reason: _Optional[str] = ..., dispute_id: _Optional[str] = ...) -> None: ...

class AdjustResponse(_message.Message):
    __slots__ = ("lease_id", "adjustment_msat_total")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENT_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    adjustment_msat_total: int
    def __init__(self, lease_id: _Optional[str] = ..., adjustment_msat_total: _Optional[int] = ...) -> None: ...
