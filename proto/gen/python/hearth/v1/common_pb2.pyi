import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignatureAlgorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNATURE_ALGORITHM_UNSPECIFIED: _ClassVar[SignatureAlgorithm]
    SIGNATURE_ALGORITHM_ECDSA_P256_SHA256: _ClassVar[SignatureAlgorithm]
    SIGNATURE_ALGORITHM_ED25519: _ClassVar[SignatureAlgorithm]

class MeasurementSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEASUREMENT_SOURCE_UNSPECIFIED: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_BILLING_METER: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_PDU: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_BMC: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_RAPL_NVML: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_MODEL: _ClassVar[MeasurementSource]
    MEASUREMENT_SOURCE_DECLARED: _ClassVar[MeasurementSource]

class Quality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_UNSPECIFIED: _ClassVar[Quality]
    QUALITY_MEASURED: _ClassVar[Quality]
    QUALITY_PARTIAL: _ClassVar[Quality]
    QUALITY_ESTIMATED: _ClassVar[Quality]
    QUALITY_MISSING: _ClassVar[Quality]

class AssuranceClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSURANCE_CLASS_UNSPECIFIED: _ClassVar[AssuranceClass]
    ASSURANCE_CLASS_SOFTWARE: _ClassVar[AssuranceClass]
    ASSURANCE_CLASS_VIRTUAL_TPM: _ClassVar[AssuranceClass]
    ASSURANCE_CLASS_APPROVED_TPM: _ClassVar[AssuranceClass]
    ASSURANCE_CLASS_HARDWARE_TPM: _ClassVar[AssuranceClass]
SIGNATURE_ALGORITHM_UNSPECIFIED: SignatureAlgorithm
SIGNATURE_ALGORITHM_ECDSA_P256_SHA256: SignatureAlgorithm
SIGNATURE_ALGORITHM_ED25519: SignatureAlgorithm
MEASUREMENT_SOURCE_UNSPECIFIED: MeasurementSource
MEASUREMENT_SOURCE_BILLING_METER: MeasurementSource
MEASUREMENT_SOURCE_PDU: MeasurementSource
MEASUREMENT_SOURCE_BMC: MeasurementSource
MEASUREMENT_SOURCE_RAPL_NVML: MeasurementSource
MEASUREMENT_SOURCE_MODEL: MeasurementSource
MEASUREMENT_SOURCE_DECLARED: MeasurementSource
QUALITY_UNSPECIFIED: Quality
QUALITY_MEASURED: Quality
QUALITY_PARTIAL: Quality
QUALITY_ESTIMATED: Quality
QUALITY_MISSING: Quality
ASSURANCE_CLASS_UNSPECIFIED: AssuranceClass
ASSURANCE_CLASS_SOFTWARE: AssuranceClass
ASSURANCE_CLASS_VIRTUAL_TPM: AssuranceClass
ASSURANCE_CLASS_APPROVED_TPM: AssuranceClass
ASSURANCE_CLASS_HARDWARE_TPM: AssuranceClass

class SignedEnvelope(_message.Message):
    __slots__ = ("payload_type", "payload", "signatures")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    payload: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[Signature]
    def __init__(self, payload_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[Signature, _Mapping]]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("key_id", "algorithm", "signature")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_id: bytes
    algorithm: SignatureAlgorithm
    signature: bytes
    def __init__(self, key_id: _Optional[bytes] = ..., algorithm: _Optional[_Union[SignatureAlgorithm, str]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Blob(_message.Message):
    __slots__ = ("sha256", "size_bytes", "inline")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    inline: bytes
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., inline: _Optional[bytes] = ...) -> None: ...

class TimeInterval(_message.Message):
    __slots__ = ("start_time", "end_time")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResourceUnits(_message.Message):
    __slots__ = ("resource_class", "units")
    RESOURCE_CLASS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    resource_class: str
    units: int
    def __init__(self, resource_class: _Optional[str] = ..., units: _Optional[int] = ...) -> None: ...
