"""What mitmproxy does in the bench: finds the origin on this machine, puts the credential in, passes events on at once."""

import os
import socket

from mitmproxy import http

SECRET = os.environ["BENCH_SECRET"]

# Changing the address of a connection would have it made anew for each request.
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **named: resolve("127.0.0.1", *rest, **named)


def requestheaders(flow: http.HTTPFlow) -> None:
    flow.request.headers["authorization"] = f"Bearer {SECRET}"


def responseheaders(flow: http.HTTPFlow) -> None:
    flow.response.stream = True
