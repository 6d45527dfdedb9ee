import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Firmness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIRMNESS_UNSPECIFIED: _ClassVar[Firmness]
    FIRMNESS_INDICATIVE: _ClassVar[Firmness]
    FIRMNESS_FIRM: _ClassVar[Firmness]
    FIRMNESS_INTERRUPTIBLE: _ClassVar[Firmness]

class HeatSink(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEAT_SINK_UNSPECIFIED: _ClassVar[HeatSink]
    HEAT_SINK_NONE: _ClassVar[HeatSink]
    HEAT_SINK_SPACE_HEATING: _ClassVar[HeatSink]
    HEAT_SINK_DOMESTIC_HOT_WATER: _ClassVar[HeatSink]
    HEAT_SINK_DISTRICT_HEATING: _ClassVar[HeatSink]
    HEAT_SINK_POOL: _ClassVar[HeatSink]
    HEAT_SINK_GREENHOUSE: _ClassVar[HeatSink]
    HEAT_SINK_INDUSTRIAL: _ClassVar[HeatSink]

class Exclusion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXCLUSION_UNSPECIFIED: _ClassVar[Exclusion]
    EXCLUSION_DECLARED_MAINTENANCE: _ClassVar[Exclusion]
    EXCLUSION_TENANT_SUSPENDED: _ClassVar[Exclusion]
    EXCLUSION_EXCHANGE_UNREACHABLE: _ClassVar[Exclusion]

class PriceUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRICE_UNIT_UNSPECIFIED: _ClassVar[PriceUnit]
    PRICE_UNIT_DELIVERED_LEASE_SECOND: _ClassVar[PriceUnit]
    PRICE_UNIT_DELIVERED_UNIT_SECOND: _ClassVar[PriceUnit]
    PRICE_UNIT_JOULE: _ClassVar[PriceUnit]
    PRICE_UNIT_EGRESS_BYTE: _ClassVar[PriceUnit]

class SettlementMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLEMENT_MODE_UNSPECIFIED: _ClassVar[SettlementMode]
    SETTLEMENT_MODE_POSTPAID: _ClassVar[SettlementMode]
    SETTLEMENT_MODE_PREPAID: _ClassVar[SettlementMode]

class WithdrawalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WITHDRAWAL_REASON_UNSPECIFIED: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_CAPACITY: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_HARDWARE_FAULT: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_POWER_LIMIT: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_HEAT_SINK_FULL: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_MAINTENANCE: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_ATTESTATION: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_OPERATOR: _ClassVar[WithdrawalReason]
FIRMNESS_UNSPECIFIED: Firmness
FIRMNESS_INDICATIVE: Firmness
FIRMNESS_FIRM: Firmness
FIRMNESS_INTERRUPTIBLE: Firmness
HEAT_SINK_UNSPECIFIED: HeatSink
HEAT_SINK_NONE: HeatSink
HEAT_SINK_SPACE_HEATING: HeatSink
HEAT_SINK_DOMESTIC_HOT_WATER: HeatSink
HEAT_SINK_DISTRICT_HEATING: HeatSink
HEAT_SINK_POOL: HeatSink
HEAT_SINK_GREENHOUSE: HeatSink
HEAT_SINK_INDUSTRIAL: HeatSink
EXCLUSION_UNSPECIFIED: Exclusion
EXCLUSION_DECLARED_MAINTENANCE: Exclusion
EXCLUSION_TENANT_SUSPENDED: Exclusion
EXCLUSION_EXCHANGE_UNREACHABLE: Exclusion
PRICE_UNIT_UNSPECIFIED: PriceUnit
PRICE_UNIT_DELIVERED_LEASE_SECOND: PriceUnit
PRICE_UNIT_DELIVERED_UNIT_SECOND: PriceUnit
PRICE_UNIT_JOULE: PriceUnit
PRICE_UNIT_EGRESS_BYTE: PriceUnit
SETTLEMENT_MODE_UNSPECIFIED: SettlementMode
SETTLEMENT_MODE_POSTPAID: SettlementMode
SETTLEMENT_MODE_PREPAID: SettlementMode
WITHDRAWAL_REASON_UNSPECIFIED: WithdrawalReason
WITHDRAWAL_REASON_CAPACITY: WithdrawalReason
WITHDRAWAL_REASON_HARDWARE_FAULT: WithdrawalReason
WITHDRAWAL_REASON_POWER_LIMIT: WithdrawalReason
WITHDRAWAL_REASON_HEAT_SINK_FULL: WithdrawalReason
WITHDRAWAL_REASON_MAINTENANCE: WithdrawalReason
WITHDRAWAL_REASON_ATTESTATION: WithdrawalReason
WITHDRAWAL_REASON_OPERATOR: WithdrawalReason

class Offer(_message.Message):
    __slots__ = ("node_id", "exchange_id", "offer_id", "sequence", "inventory_generation", "issue_time", "expire_time", "available_until_time", "firmness", "inventories", "traits", "devices", "benchmarks", "location", "power", "heat_reuse", "service_level", "prices", "settlement", "track_record", "exclusivity_group", "assurance")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRMNESS_FIELD_NUMBER: _ClassVar[int]
    INVENTORIES_FIELD_NUMBER: _ClassVar[int]
    TRAITS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    POWER_FIELD_NUMBER: _ClassVar[int]
    HEAT_REUSE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    TRACK_RECORD_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVITY_GROUP_FIELD_NUMBER: _ClassVar[int]
    ASSURANCE_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    exchange_id: str
    offer_id: str
    sequence: int
    inventory_generation: int
    issue_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    available_until_time: _timestamp_pb2.Timestamp
    firmness: Firmness
    inventories: _containers.RepeatedCompositeFieldContainer[ResourceInventory]
    traits: _containers.RepeatedScalarFieldContainer[str]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    benchmarks: _containers.RepeatedCompositeFieldContainer[Benchmark]
    location: Location
    power: PowerProfile
    heat_reuse: HeatReuse
    service_level: ServiceLevel
    prices: _containers.RepeatedCompositeFieldContainer[Price]
    settlement: SettlementTerms
    track_record: TrackRecord
    exclusivity_group: str
    assurance: _common_pb2.AssuranceClass
    def __init__(self, node_id: _Optional[str] = ..., exchange_id: _Optional[str] = ..., offer_id: _Optional[str] = ..., sequence: _Optional[int] = ..., inventory_generation: _Optional[int] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., available_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., firmness: _Optional[_Union[Firmness, str]] = ..., inventories: _Optional[_Iterable[_Union[ResourceInventory, _Mapping]]] = ..., traits: _Optional[_Iterable[str]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., benchmarks: _Optional[_Iterable[_Union[Benchmark, _Mapping]]] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., power: _Optional[_Union[PowerProfile, _Mapping]] = ..., heat_reuse: _Optional[_Union[HeatReuse, _Mapping]] = ..., service_level: _Optional[_Union[ServiceLevel, _Mapping]] = ..., prices: _Optional[_Iterable[_Union[Price, _Mapping]]] = ..., settlement: _Optional[_Union[SettlementTerms, _Mapping]] = ..., track_record: _Optional[_Union[TrackRecord, _Mapping]] = ..., exclusivity_group: _Optional[str] = ..., assurance: _Optional[_Union[_common_pb2.AssuranceClass, str]] = ...) -> None: ...

class ResourceInventory(_message.Message):
    __slots__ = ("resource_class", "min_unit", "max_unit", "step_size", "allocation_ratio_permille", "kubernetes_name", "total_units", "reserved_units")
    RESOURCE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MIN_UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_UNIT_FIELD_NUMBER: _ClassVar[int]
    STEP_SIZE_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_RATIO_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    KUBERNETES_NAME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_UNITS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_UNITS_FIELD_NUMBER: _ClassVar[int]
    resource_class: str
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio_permille: int
    kubernetes_name: str
    total_units: int
    reserved_units: int
    def __init__(self, resource_class: _Optional[str] = ..., min_unit: _Optional[int] = ..., max_unit: _Optional[int] = ..., step_size: _Optional[int] = ..., allocation_ratio_permille: _Optional[int] = ..., kubernetes_name: _Optional[str] = ..., total_units: _Optional[int] = ..., reserved_units: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("resource_class", "vendor", "model", "pci_id", "memory_bytes", "count")
    RESOURCE_CLASS_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PCI_ID_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    resource_class: str
    vendor: str
    model: str
    pci_id: str
    memory_bytes: int
    count: int
    def __init__(self, resource_class: _Optional[str] = ..., vendor: _Optional[str] = ..., model: _Optional[str] = ..., pci_id: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class Benchmark(_message.Message):
    __slots__ = ("name", "value_milli", "unit", "measure_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_MILLI_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MEASURE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    value_milli: int
    unit: str
    measure_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., value_milli: _Optional[int] = ..., unit: _Optional[str] = ..., measure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("country_code", "subdivision_code", "geohash", "bidding_zone_eic", "operator_legal_entity", "autonomous_system_number")
    COUNTRY_CODE_FIELD_NUMBER: _ClassVar[int]
    SUBDIVISION_CODE_FIELD_NUMBER: _ClassVar[int]
    GEOHASH_FIELD_NUMBER: _ClassVar[int]
    BIDDING_ZONE_EIC_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_LEGAL_ENTITY_FIELD_NUMBER: _ClassVar[int]
    AUTONOMOUS_SYSTEM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    country_code: str
    subdivision_code: str
    geohash: str
    bidding_zone_eic: str
    operator_legal_entity: str
    autonomous_system_number: int
    def __init__(self, country_code: _Optional[str] = ..., subdivision_code: _Optional[str] = ..., geohash: _Optional[str] = ..., bidding_zone_eic: _Optional[str] = ..., operator_legal_entity: _Optional[str] = ..., autonomous_system_number: _Optional[int] = ...) -> None: ...

class PowerProfile(_message.Message):
    __slots__ = ("site_id", "site_share_ppm", "mean_milliwatts", "limit_milliwatts", "source", "uncertainty_permille", "pue_permille", "renewable_permille", "carbon_grams_per_kilowatt_hour", "window", "measured_permille", "ups_duration", "feed_id_hash")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    MEAN_MILLIWATTS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_MILLIWATTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    PUE_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    RENEWABLE_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    CARBON_GRAMS_PER_KILOWATT_HOUR_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MEASURED_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    UPS_DURATION_FIELD_NUMBER: _ClassVar[int]
    FEED_ID_HASH_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    site_share_ppm: int
    mean_milliwatts: int
    limit_milliwatts: int
    source: _common_pb2.MeasurementSource
    uncertainty_permille: int
    pue_permille: int
    renewable_permille: int
    carbon_grams_per_kilowatt_hour: int
    window: _duration_pb2.Duration
    measured_permille: int
    ups_duration: _duration_pb2.Duration
    feed_id_hash: str
    def __init__(self, site_id: _Optional[str] = ..., site_share_ppm: _Optional[int] = ..., mean_milliwatts: _Optional[int] = ..., limit_milliwatts: _Optional[int] = ..., source: _Optional[_Union[_common_pb2.MeasurementSource, str]] = ..., uncertainty_permille: _Optional[int] = ..., pue_permille: _Optional[int] = ..., renewable_permille: _Optional[int] = ..., carbon_grams_per_kilowatt_hour: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., measured_permille: _Optional[int] = ..., ups_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., feed_id_hash: _Optional[str] = ...) -> None: ...

class HeatReuse(_message.Message):
    __slots__ = ("sink", "reused_millijoules", "energy_reuse_factor_permille", "supply_temperature_millicelsius", "return_temperature_millicelsius", "source", "uncertainty_permille", "window", "measured_permille", "heat_wanted_now", "meter_serial_hash")
    SINK_FIELD_NUMBER: _ClassVar[int]
    REUSED_MILLIJOULES_FIELD_NUMBER: _ClassVar[int]
    ENERGY_REUSE_FACTOR_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    SUPPLY_TEMPERATURE_MILLICELSIUS_FIELD_NUMBER: _ClassVar[int]
    RETURN_TEMPERATURE_MILLICELSIUS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MEASURED_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    HEAT_WANTED_NOW_FIELD_NUMBER: _ClassVar[int]
    METER_SERIAL_HASH_FIELD_NUMBER: _ClassVar[int]
    sink: HeatSink
    reused_millijoules: int
    energy_reuse_factor_permille: int
    supply_temperature_millicelsius: int
    return_temperature_millicelsius: int
    source: _common_pb2.MeasurementSource
    uncertainty_permille: int
    window: _duration_pb2.Duration
    measured_permille: int
    heat_wanted_now: bool
    meter_serial_hash: str
    def __init__(self, sink: _Optional[_Union[HeatSink, str]] = ..., reused_millijoules: _Optional[int] = ..., energy_reuse_factor_permille: _Optional[int] = ..., supply_temperature_millicelsius: _Optional[int] = ..., return_temperature_millicelsius: _Optional[int] = ..., source: _Optional[_Union[_common_pb2.MeasurementSource, str]] = ..., uncertainty_permille: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., measured_permille: _Optional[int] = ..., heat_wanted_now: _Optional[bool] = ..., meter_serial_hash: _Optional[str] = ...) -> None: ...

class ServiceLevel(_message.Message):
    __slots__ = ("availability_ppm", "window", "reclaim_notice", "rebate_tiers", "exclusions")
    AVAILABILITY_PPM_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    RECLAIM_NOTICE_FIELD_NUMBER: _ClassVar[int]
    REBATE_TIERS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIONS_FIELD_NUMBER: _ClassVar[int]
    availability_ppm: int
    window: _duration_pb2.Duration
    reclaim_notice: _duration_pb2.Duration
    rebate_tiers: _containers.RepeatedCompositeFieldContainer[RebateTier]
    exclusions: _containers.RepeatedScalarFieldContainer[Exclusion]
    def __init__(self, availability_ppm: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reclaim_notice: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rebate_tiers: _Optional[_Iterable[_Union[RebateTier, _Mapping]]] = ..., exclusions: _Optional[_Iterable[_Union[Exclusion, str]]] = ...) -> None: ...

class RebateTier(_message.Message):
    __slots__ = ("below_ppm", "rebate_permille")
    BELOW_PPM_FIELD_NUMBER: _ClassVar[int]
    REBATE_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    below_ppm: int
    rebate_permille: int
    def __init__(self, below_ppm: _Optional[int] = ..., rebate_permille: _Optional[int] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("msat_numerator", "unit_denominator", "unit", "resource_class")
    MSAT_NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    UNIT_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_CLASS_FIELD_NUMBER: _ClassVar[int]
    msat_numerator: int
    unit_denominator: int
    unit: PriceUnit
    resource_class: str
    def __init__(self, msat_numerator: _Optional[int] = ..., unit_denominator: _Optional[int] = ..., unit: _Optional[_Union[PriceUnit, str]] = ..., resource_class: _Optional[str] = ...) -> None: ...

class SettlementTerms(_message.Message):
    __slots__ = ("receipt_interval", "ack_timeout", "payment_timeout", "min_settlement_msat", "credit_limit_msat", "mode", "advance_msat")
    RECEIPT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ACK_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MIN_SETTLEMENT_MSAT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_LIMIT_MSAT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_MSAT_FIELD_NUMBER: _ClassVar[int]
    receipt_interval: _duration_pb2.Duration
    ack_timeout: _duration_pb2.Duration
    payment_timeout: _duration_pb2.Duration
    min_settlement_msat: int
    credit_limit_msat: int
    mode: SettlementMode
    advance_msat: int
    def __init__(self, receipt_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ack_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., payment_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_settlement_msat: _Optional[int] = ..., credit_limit_msat: _Optional[int] = ..., mode: _Optional[_Union[SettlementMode, str]] = ..., advance_msat: _Optional[int] = ...) -> None: ...

class TrackRecord(_message.Message):
    __slots__ = ("log_breaks", "first_start_time", "credited_uptime_seconds", "delivered_ppm")
    LOG_BREAKS_FIELD_NUMBER: _ClassVar[int]
    FIRST_START_TIME_FIELD_NUMBER: _ClassVar[int]
    CREDITED_UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_PPM_FIELD_NUMBER: _ClassVar[int]
    log_breaks: int
    first_start_time: _timestamp_pb2.Timestamp
    credited_uptime_seconds: int
    delivered_ppm: int
    def __init__(self, log_breaks: _Optional[int] = ..., first_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credited_uptime_seconds: _Optional[int] = ..., delivered_ppm: _Optional[int] = ...) -> None: ...

class OfferWithdrawal(_message.Message):
    __slots__ = ("offer_id", "sequence", "reason")
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    offer_id: str
    sequence: int
    reason: WithdrawalReason
    def __init__(self, offer_id: _Optional[str] = ..., sequence: _Optional[int] = ..., reason: _Optional[_Union[WithdrawalReason, str]] = ...) -> None: ...

class MaintenanceWindow(_message.Message):
    __slots__ = ("interval", "reason", "expect_firmware_change")
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIRMWARE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    interval: _common_pb2.TimeInterval
    reason: str
    expect_firmware_change: bool
    def __init__(self, interval: _Optional[_Union[_common_pb2.TimeInterval, _Mapping]] = ..., reason: _Optional[str] = ..., expect_firmware_change: _Optional[bool] = ...) -> None: ...
