"""What mongoferry says of a call that failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class FieldViolation:
    """One thing wrong with a request."""

    #: The field's path, as in ``includeNamespaces[0].database``; "" is the request itself.
    field: str
    description: str


@dataclass(frozen=True)
class CallFailure:
    """A failed call's status with its google.rpc details."""

    #: The error's name, as in ``DestinationNotEmpty``; None when the failure is not mongoferry's (no connection).
    name: str | None
    #: The gRPC status code's name, as in ``FAILED_PRECONDITION``.
    code: str
    description: str
    #: Facts for programs; which ones there are depends on the error.
    metadata: dict[str, str] = field(default_factory=dict)
    #: Everything wrong with the request; empty unless it is ``InvalidRequest``.
    violations: list[FieldViolation] = field(default_factory=list)


def read_call_failure(error: grpc.RpcError) -> CallFailure:
    """Reads the google.rpc.ErrorInfo and google.rpc.BadRequest that a failed call carries."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else []:
        detail.Unpack(info) or detail.Unpack(bad_request)
    return CallFailure(
        name=info.reason or None,
        code=error.code().name,
        description=error.details() or "",
        metadata=dict(info.metadata),
        violations=[FieldViolation(one.field, one.description) for one in bad_request.field_violations],
    )
