"""A whole migration: starts it, follows its progress, commits as soon as that would succeed, and shows every error.

python examples/migrate.py localhost:27183 [--source cluster0] [--destination cluster1]

A server with TLS needs MONGOFERRY_TLS_CA_FILE, the PEM file of its authority, or MONGOFERRY_TLS=true for the well-known
ones; MONGOFERRY_TLS_CERTIFICATE_KEY_FILE is the client's own certificate with its key, if the server wants one, and
MONGOFERRY_AUTH_TOKEN_FILE the server's token.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from mongoferry.call_failure import read_call_failure
from mongoferry.v1.progress_pb2 import ProgressSnapshot
from mongoferry.v1.start_options_pb2 import StartRequest
from mongoferry.v1.sync_service_pb2 import CommitRequest, ProgressRequest
from mongoferry.v1.sync_service_pb2_grpc import SyncServiceStub


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="localhost:27183")
    parser.add_argument("--source", default="cluster0")
    parser.add_argument("--destination", default="cluster1")
    options = parser.parse_args()
    metadata = token_metadata()
    with open_channel(options.address) as channel:
        client = SyncServiceStub(channel)
        try:
            client.Start(StartRequest(source=options.source, destination=options.destination), metadata=metadata)
            print("start: accepted", flush=True)
            follow_and_commit(client, metadata)
        except grpc.RpcError as error:
            show(error)
            return 1
    return 0


def file_of(variable: str) -> bytes | None:
    """The content of the file that a variable names; None without one."""
    path = os.environ.get(variable)
    return Path(path).read_bytes() if path else None


def open_channel(address: str) -> grpc.Channel:
    authority = file_of("MONGOFERRY_TLS_CA_FILE")
    own = file_of("MONGOFERRY_TLS_CERTIFICATE_KEY_FILE")
    if authority or own or os.environ.get("MONGOFERRY_TLS") == "true":
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, own, own))
    return grpc.insecure_channel(address)


def token_metadata() -> list[tuple[str, str]]:
    token = file_of("MONGOFERRY_AUTH_TOKEN_FILE")
    return [("authorization", f"Bearer {token.decode().strip()}")] if token else []


def follow_and_commit(client: SyncServiceStub, metadata: list[tuple[str, str]]) -> None:
    """Returns when the migration is committed. The stream ends then by itself, or with the migration's failure."""
    is_commit_called = False
    for message in client.Progress(ProgressRequest(interval=Duration(seconds=1)), metadata=metadata):
        print(describe(message.progress), flush=True)
        if message.progress.can_commit and not is_commit_called:
            is_commit_called = commit(client, metadata)
    print("done: COMMITTED", flush=True)


def commit(client: SyncServiceStub, metadata: list[tuple[str, str]]) -> bool:
    """False when the moment has passed, as after a burst of writes: the next message may bring another."""
    try:
        client.Commit(CommitRequest(), metadata=metadata)
    except grpc.RpcError as error:
        if read_call_failure(error).name != "InvalidStateTransition":
            raise
        show(error)
        return False
    print("commit: accepted", flush=True)
    return True


def describe(progress: ProgressSnapshot) -> str:
    parts = [progress.state]
    if progress.HasField("info"):
        parts.append(progress.info)
    if progress.HasField("collection_copy"):
        copy = progress.collection_copy
        total = copy.estimated_total_bytes if copy.HasField("estimated_total_bytes") else "?"
        parts.append(f"copied {copy.estimated_copied_bytes} of {total} bytes")
    if progress.HasField("lag_time_seconds"):
        parts.append(f"lag {progress.lag_time_seconds} s")
    return "progress: " + ", ".join(parts)


def show(error: grpc.RpcError) -> None:
    failure = read_call_failure(error)
    print(f"{failure.name or 'no answer'} ({failure.code}): {failure.description}", file=sys.stderr)
    for violation in failure.violations:
        print(f"  {violation.field}: {violation.description}", file=sys.stderr)
    for key, value in failure.metadata.items():
        print(f"  {key} = {value}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
