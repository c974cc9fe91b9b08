from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class UnsetJson(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSET_JSON_UNSPECIFIED: _ClassVar[UnsetJson]
    UNSET_JSON_NULL: _ClassVar[UnsetJson]
    UNSET_JSON_OMIT: _ClassVar[UnsetJson]
UNSET_JSON_UNSPECIFIED: UnsetJson
UNSET_JSON_NULL: UnsetJson
UNSET_JSON_OMIT: UnsetJson
UNSET_FIELD_NUMBER: _ClassVar[int]
unset: _descriptor.FieldDescriptor
JSON_REQUIRED_FIELD_NUMBER: _ClassVar[int]
json_required: _descriptor.FieldDescriptor
JSON_NON_EMPTY_FIELD_NUMBER: _ClassVar[int]
json_non_empty: _descriptor.FieldDescriptor
