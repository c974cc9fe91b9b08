import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from mongoferry.v1 import json_options_pb2 as _json_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProgressSnapshot(_message.Message):
    __slots__ = ("state", "can_commit", "can_write", "info", "cea_stage", "lag_time_seconds", "lag", "total_events_applied", "collection_copy", "index_building", "direction_mapping", "source", "destination", "estimated_oplog_time_remaining", "estimated_seconds_to_cea_catchup", "mongosync_id", "coordinator_id", "verification", "warnings", "details")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAN_COMMIT_FIELD_NUMBER: _ClassVar[int]
    CAN_WRITE_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    CEA_STAGE_FIELD_NUMBER: _ClassVar[int]
    LAG_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    TOTAL_EVENTS_APPLIED_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_COPY_FIELD_NUMBER: _ClassVar[int]
    INDEX_BUILDING_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_MAPPING_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_OPLOG_TIME_REMAINING_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_TO_CEA_CATCHUP_FIELD_NUMBER: _ClassVar[int]
    MONGOSYNC_ID_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_ID_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    state: str
    can_commit: bool
    can_write: bool
    info: str
    cea_stage: str
    lag_time_seconds: int
    lag: Lag
    total_events_applied: int
    collection_copy: CollectionCopy
    index_building: IndexBuilding
    direction_mapping: DirectionMapping
    source: ClusterHealth
    destination: ClusterHealth
    estimated_oplog_time_remaining: str
    estimated_seconds_to_cea_catchup: int
    mongosync_id: str
    coordinator_id: str
    verification: VerificationProgress
    warnings: _containers.RepeatedScalarFieldContainer[str]
    details: ProgressDetails
    def __init__(self, state: _Optional[str] = ..., can_commit: bool = ..., can_write: bool = ..., info: _Optional[str] = ..., cea_stage: _Optional[str] = ..., lag_time_seconds: _Optional[int] = ..., lag: _Optional[_Union[Lag, _Mapping]] = ..., total_events_applied: _Optional[int] = ..., collection_copy: _Optional[_Union[CollectionCopy, _Mapping]] = ..., index_building: _Optional[_Union[IndexBuilding, _Mapping]] = ..., direction_mapping: _Optional[_Union[DirectionMapping, _Mapping]] = ..., source: _Optional[_Union[ClusterHealth, _Mapping]] = ..., destination: _Optional[_Union[ClusterHealth, _Mapping]] = ..., estimated_oplog_time_remaining: _Optional[str] = ..., estimated_seconds_to_cea_catchup: _Optional[int] = ..., mongosync_id: _Optional[str] = ..., coordinator_id: _Optional[str] = ..., verification: _Optional[_Union[VerificationProgress, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., details: _Optional[_Union[ProgressDetails, _Mapping]] = ...) -> None: ...

class Lag(_message.Message):
    __slots__ = ("overall_lag_seconds", "crud_lag_seconds", "ddl_lag_seconds")
    OVERALL_LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CRUD_LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DDL_LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    overall_lag_seconds: int
    crud_lag_seconds: int
    ddl_lag_seconds: int
    def __init__(self, overall_lag_seconds: _Optional[int] = ..., crud_lag_seconds: _Optional[int] = ..., ddl_lag_seconds: _Optional[int] = ...) -> None: ...

class CollectionCopy(_message.Message):
    __slots__ = ("estimated_total_bytes", "estimated_copied_bytes")
    ESTIMATED_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_COPIED_BYTES_FIELD_NUMBER: _ClassVar[int]
    estimated_total_bytes: int
    estimated_copied_bytes: int
    def __init__(self, estimated_total_bytes: _Optional[int] = ..., estimated_copied_bytes: _Optional[int] = ...) -> None: ...

class IndexBuilding(_message.Message):
    __slots__ = ("indexes_built", "total_indexes_to_build", "collections_finished", "collections_total")
    INDEXES_BUILT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_INDEXES_TO_BUILD_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    indexes_built: int
    total_indexes_to_build: int
    collections_finished: int
    collections_total: int
    def __init__(self, indexes_built: _Optional[int] = ..., total_indexes_to_build: _Optional[int] = ..., collections_finished: _Optional[int] = ..., collections_total: _Optional[int] = ...) -> None: ...

class DirectionMapping(_message.Message):
    __slots__ = ("source", "destination")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ...) -> None: ...

class ClusterHealth(_message.Message):
    __slots__ = ("ping_latency_ms",)
    PING_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    ping_latency_ms: int
    def __init__(self, ping_latency_ms: _Optional[int] = ...) -> None: ...

class VerificationProgress(_message.Message):
    __slots__ = ("source", "destination")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    source: VerifierSide
    destination: VerifierSide
    def __init__(self, source: _Optional[_Union[VerifierSide, _Mapping]] = ..., destination: _Optional[_Union[VerifierSide, _Mapping]] = ...) -> None: ...

class VerifierSide(_message.Message):
    __slots__ = ("phase", "estimated_document_count", "hashed_document_count", "total_collection_count", "scanned_collection_count", "lag_time_seconds")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    HASHED_DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COLLECTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCANNED_COLLECTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAG_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    phase: str
    estimated_document_count: int
    hashed_document_count: int
    total_collection_count: int
    scanned_collection_count: int
    lag_time_seconds: int
    def __init__(self, phase: _Optional[str] = ..., estimated_document_count: _Optional[int] = ..., hashed_document_count: _Optional[int] = ..., total_collection_count: _Optional[int] = ..., scanned_collection_count: _Optional[int] = ..., lag_time_seconds: _Optional[int] = ...) -> None: ...

class ProgressDetails(_message.Message):
    __slots__ = ("rates", "copy_remaining_seconds", "namespaces", "total_namespaces", "failure", "started_at", "queued_bytes", "retries", "mismatch_count", "commit_obstacle", "instances")
    RATES_FIELD_NUMBER: _ClassVar[int]
    COPY_REMAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    MISMATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMMIT_OBSTACLE_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    rates: Rates
    copy_remaining_seconds: int
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceProgress]
    total_namespaces: int
    failure: Failure
    started_at: _timestamp_pb2.Timestamp
    queued_bytes: int
    retries: int
    mismatch_count: int
    commit_obstacle: str
    instances: _containers.RepeatedCompositeFieldContainer[InstanceProgress]
    def __init__(self, rates: _Optional[_Union[Rates, _Mapping]] = ..., copy_remaining_seconds: _Optional[int] = ..., namespaces: _Optional[_Iterable[_Union[NamespaceProgress, _Mapping]]] = ..., total_namespaces: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queued_bytes: _Optional[int] = ..., retries: _Optional[int] = ..., mismatch_count: _Optional[int] = ..., commit_obstacle: _Optional[str] = ..., instances: _Optional[_Iterable[_Union[InstanceProgress, _Mapping]]] = ...) -> None: ...

class InstanceProgress(_message.Message):
    __slots__ = ("id", "state", "alive", "documents_copied", "bytes_copied", "documents_compared", "ranges_in_work", "events_applied")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_COPIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_COPIED_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_COMPARED_FIELD_NUMBER: _ClassVar[int]
    RANGES_IN_WORK_FIELD_NUMBER: _ClassVar[int]
    EVENTS_APPLIED_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: str
    alive: bool
    documents_copied: int
    bytes_copied: int
    documents_compared: int
    ranges_in_work: int
    events_applied: int
    def __init__(self, id: _Optional[str] = ..., state: _Optional[str] = ..., alive: bool = ..., documents_copied: _Optional[int] = ..., bytes_copied: _Optional[int] = ..., documents_compared: _Optional[int] = ..., ranges_in_work: _Optional[int] = ..., events_applied: _Optional[int] = ...) -> None: ...

class Rates(_message.Message):
    __slots__ = ("documents_per_second", "bytes_per_second", "events_per_second")
    DOCUMENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    documents_per_second: float
    bytes_per_second: float
    events_per_second: float
    def __init__(self, documents_per_second: _Optional[float] = ..., bytes_per_second: _Optional[float] = ..., events_per_second: _Optional[float] = ...) -> None: ...

class NamespaceProgress(_message.Message):
    __slots__ = ("namespace", "documents_copied", "estimated_documents", "bytes_copied", "estimated_bytes", "partitions_done", "partitions_total", "indexes_built", "indexes_total", "documents_hashed", "mismatch_count")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_COPIED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_COPIED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_DONE_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    INDEXES_BUILT_FIELD_NUMBER: _ClassVar[int]
    INDEXES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_HASHED_FIELD_NUMBER: _ClassVar[int]
    MISMATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    documents_copied: int
    estimated_documents: int
    bytes_copied: int
    estimated_bytes: int
    partitions_done: int
    partitions_total: int
    indexes_built: int
    indexes_total: int
    documents_hashed: int
    mismatch_count: int
    def __init__(self, namespace: _Optional[str] = ..., documents_copied: _Optional[int] = ..., estimated_documents: _Optional[int] = ..., bytes_copied: _Optional[int] = ..., estimated_bytes: _Optional[int] = ..., partitions_done: _Optional[int] = ..., partitions_total: _Optional[int] = ..., indexes_built: _Optional[int] = ..., indexes_total: _Optional[int] = ..., documents_hashed: _Optional[int] = ..., mismatch_count: _Optional[int] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error", "error_description", "failed_at")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    error: str
    error_description: str
    failed_at: _timestamp_pb2.Timestamp
    def __init__(self, error: _Optional[str] = ..., error_description: _Optional[str] = ..., failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
