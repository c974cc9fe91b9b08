#!/bin/sh
# Generates mongoferry/v1/ from proto/ with protoc-gen-go and protoc-gen-go-grpc, Go's own generators. Run by `make gen`.
set -eu
cd "$(dirname "$0")/../.."
tools=$(scripts/client-tools.sh go)
rm -f clients/go/mongoferry/v1/*.pb.go
PATH=$tools:$PATH node_modules/.bin/buf generate --template clients/go/buf.gen.yaml
