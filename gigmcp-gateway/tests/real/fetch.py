"""An MCP server on the official Python SDK whose one tool uses `requests`. It has never heard of proxies."""

import json
import os

import requests
from mcp.server.mcpserver import MCPServer

server = MCPServer("fetch")


@server.tool()
def fetch(url: str) -> str:
    """GET a URL with the key from the environment."""
    response = requests.get(url, headers={"Authorization": f"Bearer {os.environ['API_KEY']}"}, timeout=20)
    return json.dumps({"status": response.status_code, "headers": dict(response.headers), "body": response.text})


server.run("stdio")
