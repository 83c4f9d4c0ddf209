"""Lists the tools of an endpoint and calls `echo_echo`, with the official Python SDK."""

import asyncio
import json
import sys

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        streamable_http_client(url, http_client=http) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = await session.list_tools()
        result = await session.call_tool("echo_echo", {"text": "hello from outside"})
        print(json.dumps({"tools": [tool.name for tool in tools.tools], "text": result.content[0].text}))


asyncio.run(main(sys.argv[1], sys.argv[2]))
