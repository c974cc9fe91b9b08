// Package mongoferry reads the details of a failed call to mongoferry; the stubs are in mongoferry/v1.
package mongoferry

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FieldViolation is one thing wrong with a request.
type FieldViolation struct {
	// Field is the field's path, as in includeNamespaces[0].database; "" is the request itself.
	Field       string
	Description string
}

// CallFailure is what mongoferry says of a call that failed.
type CallFailure struct {
	// Name is the error's name, as in DestinationNotEmpty; "" when the failure is not mongoferry's (no connection).
	Name        string
	Code        codes.Code
	Description string
	// Metadata are facts for programs; which ones there are depends on the error.
	Metadata map[string]string
	// Violations are everything wrong with the request; empty unless it is InvalidRequest.
	Violations []FieldViolation
}

// ReadCallFailure reads the google.rpc.ErrorInfo and google.rpc.BadRequest that a failed call carries.
func ReadCallFailure(err error) CallFailure {
	answer := status.Convert(err)
	failure := CallFailure{Code: answer.Code(), Description: answer.Message()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Name = detail.GetReason()
			failure.Metadata = detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.Violations = append(failure.Violations, FieldViolation{violation.GetField(), violation.GetDescription()})
			}
		}
	}
	return failure
}
