import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from mongoferry.v1 import progress_pb2 as _progress_pb2
from mongoferry.v1 import start_options_pb2 as _start_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NamespaceDetails(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NAMESPACE_DETAILS_UNSPECIFIED: _ClassVar[NamespaceDetails]
    NAMESPACE_DETAILS_NONE: _ClassVar[NamespaceDetails]
    NAMESPACE_DETAILS_BUSIEST: _ClassVar[NamespaceDetails]
    NAMESPACE_DETAILS_ALL: _ClassVar[NamespaceDetails]
NAMESPACE_DETAILS_UNSPECIFIED: NamespaceDetails
NAMESPACE_DETAILS_NONE: NamespaceDetails
NAMESPACE_DETAILS_BUSIEST: NamespaceDetails
NAMESPACE_DETAILS_ALL: NamespaceDetails

class StartResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProgressRequest(_message.Message):
    __slots__ = ("interval", "follow", "details")
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    follow: bool
    details: NamespaceDetails
    def __init__(self, interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., follow: bool = ..., details: _Optional[_Union[NamespaceDetails, str]] = ...) -> None: ...

class ProgressResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: _progress_pb2.ProgressSnapshot
    def __init__(self, progress: _Optional[_Union[_progress_pb2.ProgressSnapshot, _Mapping]] = ...) -> None: ...

class GetProgressRequest(_message.Message):
    __slots__ = ("details",)
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    details: NamespaceDetails
    def __init__(self, details: _Optional[_Union[NamespaceDetails, str]] = ...) -> None: ...

class GetProgressResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: _progress_pb2.ProgressSnapshot
    def __init__(self, progress: _Optional[_Union[_progress_pb2.ProgressSnapshot, _Mapping]] = ...) -> None: ...

class ListNamespacesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNamespacesResponse(_message.Message):
    __slots__ = ("namespaces", "next_page_token")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedCompositeFieldContainer[_progress_pb2.NamespaceProgress]
    next_page_token: str
    def __init__(self, namespaces: _Optional[_Iterable[_Union[_progress_pb2.NamespaceProgress, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListMismatchesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMismatchesResponse(_message.Message):
    __slots__ = ("mismatches", "next_page_token")
    MISMATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    mismatches: _containers.RepeatedCompositeFieldContainer[Mismatch]
    next_page_token: str
    def __init__(self, mismatches: _Optional[_Iterable[_Union[Mismatch, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Mismatch(_message.Message):
    __slots__ = ("id", "namespace", "document_id", "kind", "found_at", "field")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FOUND_AT_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    document_id: str
    kind: str
    found_at: _timestamp_pb2.Timestamp
    field: str
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ..., document_id: _Optional[str] = ..., kind: _Optional[str] = ..., found_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., field: _Optional[str] = ...) -> None: ...

class RepairRequest(_message.Message):
    __slots__ = ("mismatch_ids",)
    MISMATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    mismatch_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mismatch_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RepairResponse(_message.Message):
    __slots__ = ("repaired_count", "remaining_count")
    REPAIRED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_COUNT_FIELD_NUMBER: _ClassVar[int]
    repaired_count: int
    remaining_count: int
    def __init__(self, repaired_count: _Optional[int] = ..., remaining_count: _Optional[int] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReverseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReverseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: _start_options_pb2.StartRequest
    def __init__(self, options: _Optional[_Union[_start_options_pb2.StartRequest, _Mapping]] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("ok", "findings")
    OK_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, ok: bool = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("name", "severity", "description", "remedy", "namespaces")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    name: str
    severity: str
    description: str
    remedy: str
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., severity: _Optional[str] = ..., description: _Optional[str] = ..., remedy: _Optional[str] = ..., namespaces: _Optional[_Iterable[str]] = ...) -> None: ...
