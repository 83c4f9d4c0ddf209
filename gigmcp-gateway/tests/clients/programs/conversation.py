"""Has the conversation of the tests with the library that is named."""

import os
import sys

KEY = os.environ["API_KEY"]
HEADERS = {"Authorization": f"Bearer {KEY}"}
ALLOWED, DENIED, LAST = "https://api.example.com/echo", "https://evil.test/", "https://api.example.com/hold"


def converse(get):
    """`get` gives the text of an answer, with the version that was spoken before it."""
    first = get(ALLOWED)
    try:
        print("answered", get(DENIED))
    except Exception as error:
        print("refused", type(error).__name__)
    print(first, get(LAST), sep="\n")


def urllib():
    from urllib.request import Request, urlopen

    def get(url):
        with urlopen(Request(url, headers=HEADERS)) as answer:
            return f"spoken HTTP/{answer.version / 10} {answer.headers}{answer.read().decode()}"

    converse(get)


def http_client():
    """With the default port written out in `Host`."""
    from http.client import HTTPSConnection
    from urllib.parse import urlsplit

    proxy = os.environ.get("HTTPS_PROXY")

    def get(url):
        url = urlsplit(url)
        host = url.hostname
        if proxy:
            connection = HTTPSConnection(urlsplit(proxy).netloc)
            connection.set_tunnel(host, 443)
        else:
            connection = HTTPSConnection(host)
        connection.request("GET", url.path, headers={**HEADERS, "Host": f"{host}:443"})
        answer = connection.getresponse()
        return f"spoken HTTP/{answer.version / 10} {answer.headers}{answer.read().decode()}"

    converse(get)


def requests():
    from requests import Session

    session = Session()

    def get(url):
        answer = session.get(url, headers=HEADERS)
        return f"spoken HTTP/{answer.raw.version / 10} {answer.headers}{answer.text}"

    converse(get)


def httpx(http2=False):
    from httpx import Client

    client = Client(http2=http2, timeout=60)

    def get(url):
        answer = client.get(url, headers=HEADERS)
        return f"spoken {answer.http_version} {answer.headers.raw}{answer.text}"

    converse(get)


def aiohttp():
    import asyncio

    from aiohttp import ClientSession

    async def get(url):
        async with ClientSession(trust_env=True) as session, session.get(url, headers=HEADERS) as answer:
            version = f"{answer.version.major}.{answer.version.minor}"
            return f"spoken HTTP/{version} {answer.headers}{await answer.text()}"

    converse(lambda url: asyncio.run(get(url)))


{
    "urllib": urllib,
    "http.client": http_client,
    "requests": requests,
    "httpx": httpx,
    "httpx-h2": lambda: httpx(http2=True),
    "aiohttp": aiohttp,
}[sys.argv[1]]()
