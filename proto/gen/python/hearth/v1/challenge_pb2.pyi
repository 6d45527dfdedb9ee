import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import attestation_pb2 as _attestation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChallengeRefusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHALLENGE_REFUSAL_UNSPECIFIED: _ClassVar[ChallengeRefusal]
    CHALLENGE_REFUSAL_DECLARED_MAINTENANCE: _ClassVar[ChallengeRefusal]
    CHALLENGE_REFUSAL_RATE_LIMIT: _ClassVar[ChallengeRefusal]
    CHALLENGE_REFUSAL_UNSUPPORTED: _ClassVar[ChallengeRefusal]
    CHALLENGE_REFUSAL_TPM_UNAVAILABLE: _ClassVar[ChallengeRefusal]
CHALLENGE_REFUSAL_UNSPECIFIED: ChallengeRefusal
CHALLENGE_REFUSAL_DECLARED_MAINTENANCE: ChallengeRefusal
CHALLENGE_REFUSAL_RATE_LIMIT: ChallengeRefusal
CHALLENGE_REFUSAL_UNSUPPORTED: ChallengeRefusal
CHALLENGE_REFUSAL_TPM_UNAVAILABLE: ChallengeRefusal

class Challenge(_message.Message):
    __slots__ = ("challenge_id", "nonce", "issue_time", "answer_period", "quote")
    CHALLENGE_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    ANSWER_PERIOD_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    challenge_id: str
    nonce: bytes
    issue_time: _timestamp_pb2.Timestamp
    answer_period: _duration_pb2.Duration
    quote: QuoteChallenge
    def __init__(self, challenge_id: _Optional[str] = ..., nonce: _Optional[bytes] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., answer_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., quote: _Optional[_Union[QuoteChallenge, _Mapping]] = ...) -> None: ...

class QuoteChallenge(_message.Message):
    __slots__ = ("pcr_indices", "include_logs")
    PCR_INDICES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LOGS_FIELD_NUMBER: _ClassVar[int]
    pcr_indices: _containers.RepeatedScalarFieldContainer[int]
    include_logs: bool
    def __init__(self, pcr_indices: _Optional[_Iterable[int]] = ..., include_logs: _Optional[bool] = ...) -> None: ...

class ChallengeAnswer(_message.Message):
    __slots__ = ("challenge_id", "evidence", "refusal", "detail")
    CHALLENGE_ID_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    challenge_id: str
    evidence: _attestation_pb2.Evidence
    refusal: ChallengeRefusal
    detail: str
    def __init__(self, challenge_id: _Optional[str] = ..., evidence: _Optional[_Union[_attestation_pb2.Evidence, _Mapping]] = ..., refusal: _Optional[_Union[ChallengeRefusal, str]] = ..., detail: _Optional[str] = ...) -> None: ...
