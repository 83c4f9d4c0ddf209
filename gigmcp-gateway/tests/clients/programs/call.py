"""Calls one method that answers once and one that answers several times, and then a host that is not allowed."""

import os

import grpc

METADATA = [("authorization", f"Bearer {os.environ['API_KEY']}")]


def channel(host):
    return grpc.secure_channel(f"{host}:443", grpc.ssl_channel_credentials())


with channel("api.example.com") as allowed:
    unary = allowed.unary_unary("/test.Echo/Unary")
    print(unary(b"hello", metadata=METADATA, timeout=120).decode(), flush=True)
    messages = allowed.unary_stream("/test.Echo/Stream")(b"4", metadata=METADATA, timeout=120)
    try:
        for message in messages:
            print(message.decode(), flush=True)
    except grpc.RpcError as error:
        print("status", error.details(), flush=True)
with channel("evil.test") as denied:
    try:
        print("answered", denied.unary_unary("/test.Echo/Unary")(b"hello", metadata=METADATA, timeout=120))
    except grpc.RpcError as error:
        print("refused", error.code(), flush=True)
