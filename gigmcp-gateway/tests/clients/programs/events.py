"""Prints the lines of an event stream as they come."""

import os
import sys

HEADERS = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
library, count = sys.argv[1:]
url = f"https://api.example.com/events?{count}"

if library == "requests":
    import requests

    with requests.get(url, headers=HEADERS, stream=True) as answer:
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            print(line, flush=True)
else:
    import httpx

    with httpx.Client(http2=True, timeout=60) as client, client.stream("GET", url, headers=HEADERS) as answer:
        for line in answer.iter_lines():
            print(line, flush=True)
