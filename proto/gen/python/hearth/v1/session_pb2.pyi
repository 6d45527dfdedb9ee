import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import attestation_pb2 as _attestation_pb2
from hearth.v1 import challenge_pb2 as _challenge_pb2
from hearth.v1 import common_pb2 as _common_pb2
from hearth.v1 import log_pb2 as _log_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NackReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NACK_REASON_UNSPECIFIED: _ClassVar[NackReason]
    NACK_REASON_MALFORMED: _ClassVar[NackReason]
    NACK_REASON_UNKNOWN_TYPE: _ClassVar[NackReason]
    NACK_REASON_BAD_SIGNATURE: _ClassVar[NackReason]
    NACK_REASON_NOT_AUTHORIZED: _ClassVar[NackReason]
    NACK_REASON_STALE: _ClassVar[NackReason]
    NACK_REASON_EPOCH_BEHIND: _ClassVar[NackReason]
    NACK_REASON_RATE_LIMITED: _ClassVar[NackReason]
    NACK_REASON_ATTESTATION_REQUIRED: _ClassVar[NackReason]
    NACK_REASON_INTERNAL: _ClassVar[NackReason]
NACK_REASON_UNSPECIFIED: NackReason
NACK_REASON_MALFORMED: NackReason
NACK_REASON_UNKNOWN_TYPE: NackReason
NACK_REASON_BAD_SIGNATURE: NackReason
NACK_REASON_NOT_AUTHORIZED: NackReason
NACK_REASON_STALE: NackReason
NACK_REASON_EPOCH_BEHIND: NackReason
NACK_REASON_RATE_LIMITED: NackReason
NACK_REASON_ATTESTATION_REQUIRED: NackReason
NACK_REASON_INTERNAL: NackReason

class SessionRequest(_message.Message):
    __slots__ = ("delivery_sequence", "delivered_through", "hello", "evidence", "envelopes", "snapshot_end", "checkpoint", "challenge_answer", "heartbeat", "nack")
    DELIVERY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_END_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    delivery_sequence: int
    delivered_through: int
    hello: Hello
    evidence: bytes
    envelopes: EnvelopeBatch
    snapshot_end: SnapshotEnd
    checkpoint: _log_pb2.CheckpointBundle
    challenge_answer: _challenge_pb2.ChallengeAnswer
    heartbeat: Heartbeat
    nack: Nack
    def __init__(self, delivery_sequence: _Optional[int] = ..., delivered_through: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., evidence: _Optional[bytes] = ..., envelopes: _Optional[_Union[EnvelopeBatch, _Mapping]] = ..., snapshot_end: _Optional[_Union[SnapshotEnd, _Mapping]] = ..., checkpoint: _Optional[_Union[_log_pb2.CheckpointBundle, _Mapping]] = ..., challenge_answer: _Optional[_Union[_challenge_pb2.ChallengeAnswer, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("delivery_sequence", "delivered_through", "credit", "welcome", "envelopes", "witnessed", "heartbeat", "nack", "go_away")
    DELIVERY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    WITNESSED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    delivery_sequence: int
    delivered_through: int
    credit: int
    welcome: Welcome
    envelopes: EnvelopeBatch
    witnessed: _log_pb2.WitnessedHead
    heartbeat: Heartbeat
    nack: Nack
    go_away: GoAway
    def __init__(self, delivery_sequence: _Optional[int] = ..., delivered_through: _Optional[int] = ..., credit: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., envelopes: _Optional[_Union[EnvelopeBatch, _Mapping]] = ..., witnessed: _Optional[_Union[_log_pb2.WitnessedHead, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ...) -> None: ...

class EnvelopeBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[DeliveredEnvelope]
    def __init__(self, items: _Optional[_Iterable[_Union[DeliveredEnvelope, _Mapping]]] = ...) -> None: ...

class DeliveredEnvelope(_message.Message):
    __slots__ = ("envelope", "log_index")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    envelope: _common_pb2.SignedEnvelope
    log_index: int
    def __init__(self, envelope: _Optional[_Union[_common_pb2.SignedEnvelope, _Mapping]] = ..., log_index: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node_id", "agent_version", "protocol_minimum", "protocol_maximum", "capabilities", "session_epoch", "log_id", "delivered_through", "lease_cursors")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    LEASE_CURSORS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    agent_version: str
    protocol_minimum: int
    protocol_maximum: int
    capabilities: _containers.RepeatedScalarFieldContainer[_attestation_pb2.Capability]
    session_epoch: int
    log_id: str
    delivered_through: int
    lease_cursors: _containers.RepeatedCompositeFieldContainer[LeaseCursor]
    def __init__(self, node_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., protocol_minimum: _Optional[int] = ..., protocol_maximum: _Optional[int] = ..., capabilities: _Optional[_Iterable[_Union[_attestation_pb2.Capability, str]]] = ..., session_epoch: _Optional[int] = ..., log_id: _Optional[str] = ..., delivered_through: _Optional[int] = ..., lease_cursors: _Optional[_Iterable[_Union[LeaseCursor, _Mapping]]] = ...) -> None: ...

class LeaseCursor(_message.Message):
    __slots__ = ("lease_id", "receipt_sequence", "receipt_sha256")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_SHA256_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    receipt_sequence: int
    receipt_sha256: bytes
    def __init__(self, lease_id: _Optional[str] = ..., receipt_sequence: _Optional[int] = ..., receipt_sha256: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "capabilities", "server_time", "heartbeat_interval", "disconnect_grace", "evidence_nonce", "witnessed", "delivered_through", "lease_cursors", "snapshot_required")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_GRACE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_NONCE_FIELD_NUMBER: _ClassVar[int]
    WITNESSED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    LEASE_CURSORS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    capabilities: _containers.RepeatedScalarFieldContainer[_attestation_pb2.Capability]
    server_time: _timestamp_pb2.Timestamp
    heartbeat_interval: _duration_pb2.Duration
    disconnect_grace: _duration_pb2.Duration
    evidence_nonce: bytes
    witnessed: _log_pb2.WitnessedHead
    delivered_through: int
    lease_cursors: _containers.RepeatedCompositeFieldContainer[LeaseCursor]
    snapshot_required: bool
    def __init__(self, protocol: _Optional[int] = ..., capabilities: _Optional[_Iterable[_Union[_attestation_pb2.Capability, str]]] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disconnect_grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., evidence_nonce: _Optional[bytes] = ..., witnessed: _Optional[_Union[_log_pb2.WitnessedHead, _Mapping]] = ..., delivered_through: _Optional[int] = ..., lease_cursors: _Optional[_Iterable[_Union[LeaseCursor, _Mapping]]] = ..., snapshot_required: _Optional[bool] = ...) -> None: ...

class SnapshotEnd(_message.Message):
    __slots__ = ("offer_count",)
    OFFER_COUNT_FIELD_NUMBER: _ClassVar[int]
    offer_count: int
    def __init__(self, offer_count: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("send_time", "time_nonce", "time")
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_NONCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    send_time: _timestamp_pb2.Timestamp
    time_nonce: bytes
    time: _attestation_pb2.TimeAttestation
    def __init__(self, send_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_nonce: _Optional[bytes] = ..., time: _Optional[_Union[_attestation_pb2.TimeAttestation, _Mapping]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("delivery_sequence", "reason", "detail", "retry_after", "minimum_epoch")
    DELIVERY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_EPOCH_FIELD_NUMBER: _ClassVar[int]
    delivery_sequence: int
    reason: NackReason
    detail: str
    retry_after: _duration_pb2.Duration
    minimum_epoch: int
    def __init__(self, delivery_sequence: _Optional[int] = ..., reason: _Optional[_Union[NackReason, str]] = ..., detail: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., minimum_epoch: _Optional[int] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "reconnect_after")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PutBlobRequest(_message.Message):
    __slots__ = ("sha256", "size_bytes", "chunk")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    chunk: bytes
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class PutBlobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("tls_csr", "evidence")
    TLS_CSR_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    tls_csr: bytes
    evidence: bytes
    def __init__(self, tls_csr: _Optional[bytes] = ..., evidence: _Optional[bytes] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("tls_certificate_chain", "ak_certificate_chain", "expire_time")
    TLS_CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    AK_CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    tls_certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    ak_certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, tls_certificate_chain: _Optional[_Iterable[bytes]] = ..., ak_certificate_chain: _Optional[_Iterable[bytes]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListEnvelopesRequest(_message.Message):
    __slots__ = ("after_delivery_sequence", "lease_id")
    AFTER_DELIVERY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    after_delivery_sequence: int
    lease_id: str
    def __init__(self, after_delivery_sequence: _Optional[int] = ..., lease_id: _Optional[str] = ...) -> None: ...

class ListEnvelopesResponse(_message.Message):
    __slots__ = ("batch", "delivery_sequence")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    batch: EnvelopeBatch
    delivery_sequence: int
    def __init__(self, batch: _Optional[_Union[EnvelopeBatch, _Mapping]] = ..., delivery_sequence: _Optional[int] = ...) -> None: ...
