import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Capability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPABILITY_UNSPECIFIED: _ClassVar[Capability]
    CAPABILITY_WITNESS: _ClassVar[Capability]
    CAPABILITY_ALLOCATION_PROOF: _ClassVar[Capability]
    CAPABILITY_LIGHTNING_BOLT11: _ClassVar[Capability]
    CAPABILITY_PREPAID: _ClassVar[Capability]
    CAPABILITY_CAPACITY_CHALLENGE: _ClassVar[Capability]
CAPABILITY_UNSPECIFIED: Capability
CAPABILITY_WITNESS: Capability
CAPABILITY_ALLOCATION_PROOF: Capability
CAPABILITY_LIGHTNING_BOLT11: Capability
CAPABILITY_PREPAID: Capability
CAPABILITY_CAPACITY_CHALLENGE: Capability

class EnrollRequest(_message.Message):
    __slots__ = ("begin", "proof")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    begin: bytes
    proof: EnrollProof
    def __init__(self, begin: _Optional[bytes] = ..., proof: _Optional[_Union[EnrollProof, _Mapping]] = ...) -> None: ...

class EnrollBegin(_message.Message):
    __slots__ = ("join_token", "client_nonce", "ek_certificate_chain", "ek_public", "ak_public", "software_spki", "tls_csr", "agent_version", "capabilities")
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NONCE_FIELD_NUMBER: _ClassVar[int]
    EK_CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    EK_PUBLIC_FIELD_NUMBER: _ClassVar[int]
    AK_PUBLIC_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_SPKI_FIELD_NUMBER: _ClassVar[int]
    TLS_CSR_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    join_token: str
    client_nonce: bytes
    ek_certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    ek_public: bytes
    ak_public: bytes
    software_spki: bytes
    tls_csr: bytes
    agent_version: str
    capabilities: _containers.RepeatedScalarFieldContainer[Capability]
    def __init__(self, join_token: _Optional[str] = ..., client_nonce: _Optional[bytes] = ..., ek_certificate_chain: _Optional[_Iterable[bytes]] = ..., ek_public: _Optional[bytes] = ..., ak_public: _Optional[bytes] = ..., software_spki: _Optional[bytes] = ..., tls_csr: _Optional[bytes] = ..., agent_version: _Optional[str] = ..., capabilities: _Optional[_Iterable[_Union[Capability, str]]] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("challenge", "result")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    challenge: _common_pb2.SignedEnvelope
    result: EnrollResult
    def __init__(self, challenge: _Optional[_Union[_common_pb2.SignedEnvelope, _Mapping]] = ..., result: _Optional[_Union[EnrollResult, _Mapping]] = ...) -> None: ...

class CredentialChallenge(_message.Message):
    __slots__ = ("exchange", "nonce", "credential_blob", "encrypted_secret")
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_BLOB_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_SECRET_FIELD_NUMBER: _ClassVar[int]
    exchange: ExchangeIdentity
    nonce: bytes
    credential_blob: bytes
    encrypted_secret: bytes
    def __init__(self, exchange: _Optional[_Union[ExchangeIdentity, _Mapping]] = ..., nonce: _Optional[bytes] = ..., credential_blob: _Optional[bytes] = ..., encrypted_secret: _Optional[bytes] = ...) -> None: ...

class ExchangeIdentity(_message.Message):
    __slots__ = ("exchange_id", "display_name", "statement_spki", "witness_vkey", "session_endpoint", "session_ca")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_SPKI_FIELD_NUMBER: _ClassVar[int]
    WITNESS_VKEY_FIELD_NUMBER: _ClassVar[int]
    SESSION_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SESSION_CA_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    display_name: str
    statement_spki: _containers.RepeatedScalarFieldContainer[bytes]
    witness_vkey: str
    session_endpoint: str
    session_ca: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, exchange_id: _Optional[str] = ..., display_name: _Optional[str] = ..., statement_spki: _Optional[_Iterable[bytes]] = ..., witness_vkey: _Optional[str] = ..., session_endpoint: _Optional[str] = ..., session_ca: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EnrollProof(_message.Message):
    __slots__ = ("transcript_hmac_sha256", "evidence")
    TRANSCRIPT_HMAC_SHA256_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    transcript_hmac_sha256: bytes
    evidence: bytes
    def __init__(self, transcript_hmac_sha256: _Optional[bytes] = ..., evidence: _Optional[bytes] = ...) -> None: ...

class EnrollResult(_message.Message):
    __slots__ = ("node_id", "tls_certificate_chain", "ak_certificate_chain", "assurance", "expire_time", "terms")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    AK_CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    ASSURANCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    tls_certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    ak_certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    assurance: _common_pb2.AssuranceClass
    expire_time: _timestamp_pb2.Timestamp
    terms: _common_pb2.SignedEnvelope
    def __init__(self, node_id: _Optional[str] = ..., tls_certificate_chain: _Optional[_Iterable[bytes]] = ..., ak_certificate_chain: _Optional[_Iterable[bytes]] = ..., assurance: _Optional[_Union[_common_pb2.AssuranceClass, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., terms: _Optional[_Union[_common_pb2.SignedEnvelope, _Mapping]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("quote", "quote_signature", "pcr_banks", "event_log", "userspace_log", "ima_log", "payload", "time", "time_signature", "software_signature")
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    QUOTE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PCR_BANKS_FIELD_NUMBER: _ClassVar[int]
    EVENT_LOG_FIELD_NUMBER: _ClassVar[int]
    USERSPACE_LOG_FIELD_NUMBER: _ClassVar[int]
    IMA_LOG_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    quote: bytes
    quote_signature: bytes
    pcr_banks: _containers.RepeatedCompositeFieldContainer[PcrBank]
    event_log: _common_pb2.Blob
    userspace_log: _common_pb2.Blob
    ima_log: _common_pb2.Blob
    payload: bytes
    time: bytes
    time_signature: bytes
    software_signature: bytes
    def __init__(self, quote: _Optional[bytes] = ..., quote_signature: _Optional[bytes] = ..., pcr_banks: _Optional[_Iterable[_Union[PcrBank, _Mapping]]] = ..., event_log: _Optional[_Union[_common_pb2.Blob, _Mapping]] = ..., userspace_log: _Optional[_Union[_common_pb2.Blob, _Mapping]] = ..., ima_log: _Optional[_Union[_common_pb2.Blob, _Mapping]] = ..., payload: _Optional[bytes] = ..., time: _Optional[bytes] = ..., time_signature: _Optional[bytes] = ..., software_signature: _Optional[bytes] = ...) -> None: ...

class PcrBank(_message.Message):
    __slots__ = ("tpm_algorithm_id", "values")
    TPM_ALGORITHM_ID_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    tpm_algorithm_id: int
    values: _containers.RepeatedCompositeFieldContainer[PcrValue]
    def __init__(self, tpm_algorithm_id: _Optional[int] = ..., values: _Optional[_Iterable[_Union[PcrValue, _Mapping]]] = ...) -> None: ...

class PcrValue(_message.Message):
    __slots__ = ("index", "digest")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    index: int
    digest: bytes
    def __init__(self, index: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class EvidencePayload(_message.Message):
    __slots__ = ("exchange_id", "inventory_digest", "inventory_generation", "tls_spki_sha256", "envelope_spki", "boot_id", "incarnation", "log_id", "log_size", "log_root", "agent_version", "agent_code_sha256", "create_time")
    EXCHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_GENERATION_FIELD_NUMBER: _ClassVar[int]
    TLS_SPKI_SHA256_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_SPKI_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOG_ROOT_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_CODE_SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    exchange_id: str
    inventory_digest: bytes
    inventory_generation: int
    tls_spki_sha256: bytes
    envelope_spki: bytes
    boot_id: str
    incarnation: bytes
    log_id: str
    log_size: int
    log_root: bytes
    agent_version: str
    agent_code_sha256: bytes
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, exchange_id: _Optional[str] = ..., inventory_digest: _Optional[bytes] = ..., inventory_generation: _Optional[int] = ..., tls_spki_sha256: _Optional[bytes] = ..., envelope_spki: _Optional[bytes] = ..., boot_id: _Optional[str] = ..., incarnation: _Optional[bytes] = ..., log_id: _Optional[str] = ..., log_size: _Optional[int] = ..., log_root: _Optional[bytes] = ..., agent_version: _Optional[str] = ..., agent_code_sha256: _Optional[bytes] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TimeAttestation(_message.Message):
    __slots__ = ("nonce", "attest", "signature")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ATTEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    attest: bytes
    signature: bytes
    def __init__(self, nonce: _Optional[bytes] = ..., attest: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class UptimeStatement(_message.Message):
    __slots__ = ("window", "segments", "credited_milliseconds", "resolution_milliseconds")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    CREDITED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    window: _common_pb2.TimeInterval
    segments: _containers.RepeatedCompositeFieldContainer[UptimeSegment]
    credited_milliseconds: int
    resolution_milliseconds: int
    def __init__(self, window: _Optional[_Union[_common_pb2.TimeInterval, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[UptimeSegment, _Mapping]]] = ..., credited_milliseconds: _Optional[int] = ..., resolution_milliseconds: _Optional[int] = ...) -> None: ...

class UptimeSegment(_message.Message):
    __slots__ = ("first", "last", "credited_milliseconds")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CREDITED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    first: TimeAttestation
    last: TimeAttestation
    credited_milliseconds: int
    def __init__(self, first: _Optional[_Union[TimeAttestation, _Mapping]] = ..., last: _Optional[_Union[TimeAttestation, _Mapping]] = ..., credited_milliseconds: _Optional[int] = ...) -> None: ...
