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

class LogStartCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_START_CAUSE_UNSPECIFIED: _ClassVar[LogStartCause]
    LOG_START_CAUSE_FIRST_INSTALL: _ClassVar[LogStartCause]
    LOG_START_CAUSE_JOURNAL_LOST: _ClassVar[LogStartCause]
    LOG_START_CAUSE_JOURNAL_ROLLED_BACK: _ClassVar[LogStartCause]
    LOG_START_CAUSE_TPM_CLEARED: _ClassVar[LogStartCause]
    LOG_START_CAUSE_TPM_REPLACED: _ClassVar[LogStartCause]
LOG_START_CAUSE_UNSPECIFIED: LogStartCause
LOG_START_CAUSE_FIRST_INSTALL: LogStartCause
LOG_START_CAUSE_JOURNAL_LOST: LogStartCause
LOG_START_CAUSE_JOURNAL_ROLLED_BACK: LogStartCause
LOG_START_CAUSE_TPM_CLEARED: LogStartCause
LOG_START_CAUSE_TPM_REPLACED: LogStartCause

class LogStart(_message.Message):
    __slots__ = ("node_id", "random", "incarnation", "cause", "last_known_note", "start_time")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    LAST_KNOWN_NOTE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    random: bytes
    incarnation: bytes
    cause: LogStartCause
    last_known_note: bytes
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, node_id: _Optional[str] = ..., random: _Optional[bytes] = ..., incarnation: _Optional[bytes] = ..., cause: _Optional[_Union[LogStartCause, str]] = ..., last_known_note: _Optional[bytes] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeyBinding(_message.Message):
    __slots__ = ("boot_id", "envelope_spki", "quote", "quote_signature", "incarnation", "log_id")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_SPKI_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    QUOTE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    envelope_spki: bytes
    quote: bytes
    quote_signature: bytes
    incarnation: bytes
    log_id: str
    def __init__(self, boot_id: _Optional[str] = ..., envelope_spki: _Optional[bytes] = ..., quote: _Optional[bytes] = ..., quote_signature: _Optional[bytes] = ..., incarnation: _Optional[bytes] = ..., log_id: _Optional[str] = ...) -> None: ...

class CheckpointRecord(_message.Message):
    __slots__ = ("checkpoint_sequence", "previous_note_sha256", "ledger_generation", "allocation_root", "nv_counter", "boot_id")
    CHECKPOINT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_NOTE_SHA256_FIELD_NUMBER: _ClassVar[int]
    LEDGER_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_ROOT_FIELD_NUMBER: _ClassVar[int]
    NV_COUNTER_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    checkpoint_sequence: int
    previous_note_sha256: bytes
    ledger_generation: int
    allocation_root: bytes
    nv_counter: int
    boot_id: str
    def __init__(self, checkpoint_sequence: _Optional[int] = ..., previous_note_sha256: _Optional[bytes] = ..., ledger_generation: _Optional[int] = ..., allocation_root: _Optional[bytes] = ..., nv_counter: _Optional[int] = ..., boot_id: _Optional[str] = ...) -> None: ...

class CheckpointBundle(_message.Message):
    __slots__ = ("note", "counter_nv_public", "counter_certify", "counter_certify_signature", "consistency", "allocation", "inclusion")
    NOTE_FIELD_NUMBER: _ClassVar[int]
    COUNTER_NV_PUBLIC_FIELD_NUMBER: _ClassVar[int]
    COUNTER_CERTIFY_FIELD_NUMBER: _ClassVar[int]
    COUNTER_CERTIFY_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    ALLOCATION_FIELD_NUMBER: _ClassVar[int]
    INCLUSION_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    counter_nv_public: bytes
    counter_certify: bytes
    counter_certify_signature: bytes
    consistency: ConsistencyProof
    allocation: AllocationProof
    inclusion: MultiProof
    def __init__(self, note: _Optional[bytes] = ..., counter_nv_public: _Optional[bytes] = ..., counter_certify: _Optional[bytes] = ..., counter_certify_signature: _Optional[bytes] = ..., consistency: _Optional[_Union[ConsistencyProof, _Mapping]] = ..., allocation: _Optional[_Union[AllocationProof, _Mapping]] = ..., inclusion: _Optional[_Union[MultiProof, _Mapping]] = ...) -> None: ...

class InclusionProof(_message.Message):
    __slots__ = ("leaf_index", "tree_size", "path")
    LEAF_INDEX_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    leaf_index: int
    tree_size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, leaf_index: _Optional[int] = ..., tree_size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MultiProof(_message.Message):
    __slots__ = ("tree_size", "leaf_indices", "nodes")
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEAF_INDICES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    tree_size: int
    leaf_indices: _containers.RepeatedScalarFieldContainer[int]
    nodes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, tree_size: _Optional[int] = ..., leaf_indices: _Optional[_Iterable[int]] = ..., nodes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ConsistencyProof(_message.Message):
    __slots__ = ("old_size", "new_size", "path")
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    NEW_SIZE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    old_size: int
    new_size: int
    path: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, old_size: _Optional[int] = ..., new_size: _Optional[int] = ..., path: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WitnessedHead(_message.Message):
    __slots__ = ("log_id", "size", "root", "cosignature_line")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    COSIGNATURE_LINE_FIELD_NUMBER: _ClassVar[int]
    log_id: str
    size: int
    root: bytes
    cosignature_line: bytes
    def __init__(self, log_id: _Optional[str] = ..., size: _Optional[int] = ..., root: _Optional[bytes] = ..., cosignature_line: _Optional[bytes] = ...) -> None: ...

class AllocationProof(_message.Message):
    __slots__ = ("ledger_generation", "salt", "units", "path", "leaf_position")
    LEDGER_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LEAF_POSITION_FIELD_NUMBER: _ClassVar[int]
    ledger_generation: int
    salt: bytes
    units: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    path: _containers.RepeatedCompositeFieldContainer[SumNode]
    leaf_position: int
    def __init__(self, ledger_generation: _Optional[int] = ..., salt: _Optional[bytes] = ..., units: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ..., path: _Optional[_Iterable[_Union[SumNode, _Mapping]]] = ..., leaf_position: _Optional[int] = ...) -> None: ...

class SumNode(_message.Message):
    __slots__ = ("hash", "units")
    HASH_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    units: _containers.RepeatedCompositeFieldContainer[_common_pb2.ResourceUnits]
    def __init__(self, hash: _Optional[bytes] = ..., units: _Optional[_Iterable[_Union[_common_pb2.ResourceUnits, _Mapping]]] = ...) -> None: ...

class ProofFile(_message.Message):
    __slots__ = ("statement", "statement_inclusion", "key_binding", "key_binding_inclusion", "note", "ak_public", "software_spki", "ak_certificates")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_INCLUSION_FIELD_NUMBER: _ClassVar[int]
    KEY_BINDING_FIELD_NUMBER: _ClassVar[int]
    KEY_BINDING_INCLUSION_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AK_PUBLIC_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_SPKI_FIELD_NUMBER: _ClassVar[int]
    AK_CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    statement: _common_pb2.SignedEnvelope
    statement_inclusion: InclusionProof
    key_binding: _common_pb2.SignedEnvelope
    key_binding_inclusion: InclusionProof
    note: str
    ak_public: bytes
    software_spki: bytes
    ak_certificates: _containers.RepeatedCompositeFieldContainer[CertificateChain]
    def __init__(self, statement: _Optional[_Union[_common_pb2.SignedEnvelope, _Mapping]] = ..., statement_inclusion: _Optional[_Union[InclusionProof, _Mapping]] = ..., key_binding: _Optional[_Union[_common_pb2.SignedEnvelope, _Mapping]] = ..., key_binding_inclusion: _Optional[_Union[InclusionProof, _Mapping]] = ..., note: _Optional[str] = ..., ak_public: _Optional[bytes] = ..., software_spki: _Optional[bytes] = ..., ak_certificates: _Optional[_Iterable[_Union[CertificateChain, _Mapping]]] = ...) -> None: ...

class CertificateChain(_message.Message):
    __slots__ = ("certificates",)
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, certificates: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FraudProof(_message.Message):
    __slots__ = ("note_a", "note_b", "record_a", "inclusion_a", "record_b", "inclusion_b")
    NOTE_A_FIELD_NUMBER: _ClassVar[int]
    NOTE_B_FIELD_NUMBER: _ClassVar[int]
    RECORD_A_FIELD_NUMBER: _ClassVar[int]
    INCLUSION_A_FIELD_NUMBER: _ClassVar[int]
    RECORD_B_FIELD_NUMBER: _ClassVar[int]
    INCLUSION_B_FIELD_NUMBER: _ClassVar[int]
    note_a: bytes
    note_b: bytes
    record_a: CheckpointRecord
    inclusion_a: InclusionProof
    record_b: CheckpointRecord
    inclusion_b: InclusionProof
    def __init__(self, note_a: _Optional[bytes] = ..., note_b: _Optional[bytes] = ..., record_a: _Optional[_Union[CheckpointRecord, _Mapping]] = ..., inclusion_a: _Optional[_Union[InclusionProof, _Mapping]] = ..., record_b: _Optional[_Union[CheckpointRecord, _Mapping]] = ..., inclusion_b: _Optional[_Union[InclusionProof, _Mapping]] = ...) -> None: ...
