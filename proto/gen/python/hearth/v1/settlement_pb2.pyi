import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
    __slots__ = ("lease_id", "through_sequence", "amount_msat", "bolt11", "label")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    THROUGH_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MSAT_FIELD_NUMBER: _ClassVar[int]
    BOLT11_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    through_sequence: int
    amount_msat: int
    bolt11: str
    label: str
    def __init__(self, lease_id: _Optional[str] = ..., through_sequence: _Optional[int] = ..., amount_msat: _Optional[int] = ..., bolt11: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class RebateInvoice(_message.Message):
    __slots__ = ("lease_id", "rebate_statement_sha256", "bolt11")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REBATE_STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    BOLT11_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    rebate_statement_sha256: bytes
    bolt11: str
    def __init__(self, lease_id: _Optional[str] = ..., rebate_statement_sha256: _Optional[bytes] = ..., bolt11: _Optional[str] = ...) -> None: ...

class PaymentNotice(_message.Message):
    __slots__ = ("lease_id", "payment_hash", "preimage", "amount_msat")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_HASH_FIELD_NUMBER: _ClassVar[int]
    PREIMAGE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MSAT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    payment_hash: bytes
    preimage: bytes
    amount_msat: int
    def __init__(self, lease_id: _Optional[str] = ..., payment_hash: _Optional[bytes] = ..., preimage: _Optional[bytes] = ..., amount_msat: _Optional[int] = ...) -> None: ...
