from google.protobuf import struct_pb2 as _struct_pb2
from mongoferry.v1 import json_options_pb2 as _json_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartRequest(_message.Message):
    __slots__ = ("source", "destination", "build_indexes", "enable_user_write_blocking", "reversible", "include_namespaces", "exclude_namespaces", "copy_in_natural_order", "detect_random_id", "pre_existing_destination_data", "sharding", "verification", "namespace_remap", "document_filter", "skip_disk_space_check")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    BUILD_INDEXES_FIELD_NUMBER: _ClassVar[int]
    ENABLE_USER_WRITE_BLOCKING_FIELD_NUMBER: _ClassVar[int]
    REVERSIBLE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    COPY_IN_NATURAL_ORDER_FIELD_NUMBER: _ClassVar[int]
    DETECT_RANDOM_ID_FIELD_NUMBER: _ClassVar[int]
    PRE_EXISTING_DESTINATION_DATA_FIELD_NUMBER: _ClassVar[int]
    SHARDING_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_REMAP_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FILTER_FIELD_NUMBER: _ClassVar[int]
    SKIP_DISK_SPACE_CHECK_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    build_indexes: str
    enable_user_write_blocking: _struct_pb2.Value
    reversible: bool
    include_namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceFilter]
    exclude_namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceFilter]
    copy_in_natural_order: _containers.RepeatedCompositeFieldContainer[NaturalOrderEntry]
    detect_random_id: bool
    pre_existing_destination_data: bool
    sharding: Sharding
    verification: Verification
    namespace_remap: _containers.RepeatedCompositeFieldContainer[NamespaceRemapEntry]
    document_filter: DocumentFilter
    skip_disk_space_check: bool
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., build_indexes: _Optional[str] = ..., enable_user_write_blocking: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., reversible: bool = ..., include_namespaces: _Optional[_Iterable[_Union[NamespaceFilter, _Mapping]]] = ..., exclude_namespaces: _Optional[_Iterable[_Union[NamespaceFilter, _Mapping]]] = ..., copy_in_natural_order: _Optional[_Iterable[_Union[NaturalOrderEntry, _Mapping]]] = ..., detect_random_id: bool = ..., pre_existing_destination_data: bool = ..., sharding: _Optional[_Union[Sharding, _Mapping]] = ..., verification: _Optional[_Union[Verification, _Mapping]] = ..., namespace_remap: _Optional[_Iterable[_Union[NamespaceRemapEntry, _Mapping]]] = ..., document_filter: _Optional[_Union[DocumentFilter, _Mapping]] = ..., skip_disk_space_check: bool = ...) -> None: ...

class NamespaceFilter(_message.Message):
    __slots__ = ("database", "database_regex", "collections", "collections_regex")
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    DATABASE_REGEX_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_REGEX_FIELD_NUMBER: _ClassVar[int]
    database: str
    database_regex: RegexPattern
    collections: _containers.RepeatedScalarFieldContainer[str]
    collections_regex: RegexPattern
    def __init__(self, database: _Optional[str] = ..., database_regex: _Optional[_Union[RegexPattern, _Mapping]] = ..., collections: _Optional[_Iterable[str]] = ..., collections_regex: _Optional[_Union[RegexPattern, _Mapping]] = ...) -> None: ...

class RegexPattern(_message.Message):
    __slots__ = ("pattern", "options")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    options: str
    def __init__(self, pattern: _Optional[str] = ..., options: _Optional[str] = ...) -> None: ...

class NaturalOrderEntry(_message.Message):
    __slots__ = ("database", "collections")
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    database: str
    collections: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, database: _Optional[str] = ..., collections: _Optional[_Iterable[str]] = ...) -> None: ...

class Sharding(_message.Message):
    __slots__ = ("create_supporting_indexes", "sharding_entries")
    CREATE_SUPPORTING_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SHARDING_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    create_supporting_indexes: bool
    sharding_entries: _containers.RepeatedCompositeFieldContainer[ShardingEntry]
    def __init__(self, create_supporting_indexes: bool = ..., sharding_entries: _Optional[_Iterable[_Union[ShardingEntry, _Mapping]]] = ...) -> None: ...

class ShardingEntry(_message.Message):
    __slots__ = ("database", "collection", "shard_collection")
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_COLLECTION_FIELD_NUMBER: _ClassVar[int]
    database: str
    collection: str
    shard_collection: ShardCollection
    def __init__(self, database: _Optional[str] = ..., collection: _Optional[str] = ..., shard_collection: _Optional[_Union[ShardCollection, _Mapping]] = ...) -> None: ...

class ShardCollection(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    def __init__(self, key: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ...) -> None: ...

class Verification(_message.Message):
    __slots__ = ("enabled",)
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    def __init__(self, enabled: bool = ...) -> None: ...

class NamespaceRemapEntry(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: DatabaseName
    def __init__(self, to: _Optional[_Union[DatabaseName, _Mapping]] = ..., **kwargs) -> None: ...

class DatabaseName(_message.Message):
    __slots__ = ("database",)
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    database: str
    def __init__(self, database: _Optional[str] = ...) -> None: ...

class DocumentFilter(_message.Message):
    __slots__ = ("field", "match_values")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MATCH_VALUES_FIELD_NUMBER: _ClassVar[int]
    field: str
    match_values: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    def __init__(self, field: _Optional[str] = ..., match_values: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ...) -> None: ...
