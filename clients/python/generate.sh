#!/bin/sh
# Generates mongoferry/v1/ from proto/ with grpcio-tools, Python's own generator. Run by `make gen`.
set -eu
cd "$(dirname "$0")/../.."
python=$(scripts/client-tools.sh python)/bin/python
rm -f clients/python/mongoferry/v1/*_pb2*
cd proto
"$python" -m grpc_tools.protoc -I . --python_out=../clients/python --pyi_out=../clients/python mongoferry/v1/*.proto
"$python" -m grpc_tools.protoc -I . --grpc_python_out=../clients/python mongoferry/v1/sync_service.proto
