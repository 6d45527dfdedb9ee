import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayoutRefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYOUT_REFUSAL_REASON_UNSPECIFIED: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_UNREADABLE: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_UNKNOWN_STATEMENT: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_AMOUNT: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_EXPIRY: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_NETWORK: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_DESCRIPTION: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_PAID: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_PAYING_ANOTHER: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_NETTED: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_ABOVE_CAP: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_ABOVE_DAY_CAP: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_ABOVE_EXCHANGE_CAP: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_NO_RAIL: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_FAILED: _ClassVar[PayoutRefusalReason]
    PAYOUT_REFUSAL_REASON_AMOUNT_NAMED: _ClassVar[PayoutRefusalReason]

class CreditLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDIT_LEVEL_UNSPECIFIED: _ClassVar[CreditLevel]
    CREDIT_LEVEL_WITHIN: _ClassVar[CreditLevel]
    CREDIT_LEVEL_WARNED: _ClassVar[CreditLevel]
    CREDIT_LEVEL_NOT_RENEWED: _ClassVar[CreditLevel]
    CREDIT_LEVEL_STOPPED: _ClassVar[CreditLevel]
PAYOUT_REFUSAL_REASON_UNSPECIFIED: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_UNREADABLE: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_UNKNOWN_STATEMENT: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_AMOUNT: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_EXPIRY: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_NETWORK: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_DESCRIPTION: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_PAID: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_PAYING_ANOTHER: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_NETTED: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_ABOVE_CAP: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_ABOVE_DAY_CAP: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_ABOVE_EXCHANGE_CAP: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_NO_RAIL: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_FAILED: PayoutRefusalReason
PAYOUT_REFUSAL_REASON_AMOUNT_NAMED: PayoutRefusalReason
CREDIT_LEVEL_UNSPECIFIED: CreditLevel
CREDIT_LEVEL_WITHIN: CreditLevel
CREDIT_LEVEL_WARNED: CreditLevel
CREDIT_LEVEL_NOT_RENEWED: CreditLevel
CREDIT_LEVEL_STOPPED: CreditLevel

class ExchangeTerms(_message.Message):
    __slots__ = ("version", "effective_time", "required_witness_vkeys", "required_pcr_indices", "lightning_node_id", "bitcoin_network", "dispute_answer_period", "challenge_answer_period", "fee_permille", "terms_uri", "terms_sha256")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_WITNESS_VKEYS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PCR_INDICES_FIELD_NUMBER: _ClassVar[int]
    LIGHTNING_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BITCOIN_NETWORK_FIELD_NUMBER: _ClassVar[int]
    DISPUTE_ANSWER_PERIOD_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_ANSWER_PERIOD_FIELD_NUMBER: _ClassVar[int]
    FEE_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    TERMS_URI_FIELD_NUMBER: _ClassVar[int]
    TERMS_SHA256_FIELD_NUMBER: _ClassVar[int]
    version: str
    effective_time: _timestamp_pb2.Timestamp
    required_witness_vkeys: _containers.RepeatedScalarFieldContainer[str]
    required_pcr_indices: _containers.RepeatedScalarFieldContainer[int]
    lightning_node_id: str
    bitcoin_network: str
    dispute_answer_period: _duration_pb2.Duration
    challenge_answer_period: _duration_pb2.Duration
    fee_permille: int
    terms_uri: str
    terms_sha256: bytes
    def __init__(self, version: _Optional[str] = ..., effective_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., required_witness_vkeys: _Optional[_Iterable[str]] = ..., required_pcr_indices: _Optional[_Iterable[int]] = ..., lightning_node_id: _Optional[str] = ..., bitcoin_network: _Optional[str] = ..., dispute_answer_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., challenge_answer_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., fee_permille: _Optional[int] = ..., terms_uri: _Optional[str] = ..., terms_sha256: _Optional[bytes] = ...) -> None: ...

class Invoice(_message.Message):
    __slots__ = ("lease_id", "through_sequence", "amount_msat", "bolt11", "label", "receipt_sha256", "payment_hash", "expire_time", "uncontested_msat_total", "adjustment_msat_total", "netted_msat_total", "netted_statement_sha256", "settled_msat_total", "pending_msat", "advance_msat")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MSAT_FIELD_NUMBER: _ClassVar[int]
    BOLT11_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SHA256_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_HASH_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNCONTESTED_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENT_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    NETTED_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    NETTED_STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    SETTLED_MSAT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    PENDING_MSAT_FIELD_NUMBER: _ClassVar[int]
    ADVANCE_MSAT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    through_sequence: int
    amount_msat: int
    bolt11: str
    label: str
    receipt_sha256: bytes
    payment_hash: bytes
    expire_time: _timestamp_pb2.Timestamp
    uncontested_msat_total: int
    adjustment_msat_total: int
    netted_msat_total: int
    netted_statement_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    settled_msat_total: int
    pending_msat: int
    advance_msat: int
    def __init__(self, lease_id: _Optional[str] = ..., through_sequence: _Optional[int] = ..., amount_msat: _Optional[int] = ..., bolt11: _Optional[str] = ..., label: _Optional[str] = ..., receipt_sha256: _Optional[bytes] = ..., payment_hash: _Optional[bytes] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., uncontested_msat_total: _Optional[int] = ..., adjustment_msat_total: _Optional[int] = ..., netted_msat_total: _Optional[int] = ..., netted_statement_sha256: _Optional[_Iterable[bytes]] = ..., settled_msat_total: _Optional[int] = ..., pending_msat: _Optional[int] = ..., advance_msat: _Optional[int] = ...) -> None: ...

class RefundStatement(_message.Message):
    __slots__ = ("lease_id", "through_sequence", "msat")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MSAT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    through_sequence: int
    msat: int
    def __init__(self, lease_id: _Optional[str] = ..., through_sequence: _Optional[int] = ..., msat: _Optional[int] = ...) -> None: ...

class RebateInvoice(_message.Message):
    __slots__ = ("lease_id", "rebate_statement_sha256", "bolt11")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REBATE_STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    BOLT11_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    rebate_statement_sha256: bytes
    bolt11: str
    def __init__(self, lease_id: _Optional[str] = ..., rebate_statement_sha256: _Optional[bytes] = ..., bolt11: _Optional[str] = ...) -> None: ...

class PayoutRefusal(_message.Message):
    __slots__ = ("lease_id", "statement_sha256", "reason", "detail")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    statement_sha256: bytes
    reason: PayoutRefusalReason
    detail: str
    def __init__(self, lease_id: _Optional[str] = ..., statement_sha256: _Optional[bytes] = ..., reason: _Optional[_Union[PayoutRefusalReason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class PaymentNotice(_message.Message):
    __slots__ = ("lease_id", "payment_hash", "preimage", "amount_msat", "label", "through_sequence", "receipt_sha256", "statement_sha256", "payment_time")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_HASH_FIELD_NUMBER: _ClassVar[int]
    PREIMAGE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MSAT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SHA256_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_TIME_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    payment_hash: bytes
    preimage: bytes
    amount_msat: int
    label: str
    through_sequence: int
    receipt_sha256: bytes
    statement_sha256: bytes
    payment_time: _timestamp_pb2.Timestamp
    def __init__(self, lease_id: _Optional[str] = ..., payment_hash: _Optional[bytes] = ..., preimage: _Optional[bytes] = ..., amount_msat: _Optional[int] = ..., label: _Optional[str] = ..., through_sequence: _Optional[int] = ..., receipt_sha256: _Optional[bytes] = ..., statement_sha256: _Optional[bytes] = ..., payment_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreditNotice(_message.Message):
    __slots__ = ("lease_id", "level", "exposure_msat", "credit_limit_msat", "change_time")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    EXPOSURE_MSAT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_LIMIT_MSAT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    level: CreditLevel
    exposure_msat: int
    credit_limit_msat: int
    change_time: _timestamp_pb2.Timestamp
    def __init__(self, lease_id: _Optional[str] = ..., level: _Optional[_Union[CreditLevel, str]] = ..., exposure_msat: _Optional[int] = ..., credit_limit_msat: _Optional[int] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
