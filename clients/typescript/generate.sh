#!/bin/sh
# Generates src/gen/ from proto/ with ts-proto. Run by `make gen`.
set -eu
cd "$(dirname "$0")/../.."
rm -rf clients/typescript/src/gen
node_modules/.bin/buf generate --template clients/typescript/buf.gen.yaml
# Imported by proto/'s options only, which the client has no use for.
rm -rf clients/typescript/src/gen/google/api clients/typescript/src/gen/google/protobuf/descriptor.ts
