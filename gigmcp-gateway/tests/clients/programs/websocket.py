"""Talks over a WebSocket, and then with a host that is not allowed."""

import os
from urllib.request import Request, urlopen

from websockets.sync.client import connect

HEADERS = {"Authorization": f"Bearer {os.environ['API_KEY']}"}

with connect("wss://api.example.com/ws", additional_headers=HEADERS) as socket:
    print(socket.recv())
    socket.send("text ä")
    print(socket.recv())
    socket.send(bytes([0, 1, 255]))
    print("binary", socket.recv().hex())
    socket.send("x" * 100_000)
    print("large", len(socket.recv()))
    urlopen(Request("https://api.example.com/hold", headers=HEADERS)).read()
try:
    connect("wss://evil.test/ws", additional_headers=HEADERS)
except Exception:
    print("refused")
