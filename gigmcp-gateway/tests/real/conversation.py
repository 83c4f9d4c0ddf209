"""Everything a client and a server say to each other, with the official Python SDK: URL, token, mode."""

import asyncio
import json
import sys

import httpx2
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client

asked = []
progress = []


async def elicit(context, params):
    asked.append(params.message)
    return types.ElicitResult(action="accept", content={"name": "Ada", "username": "ada", "email": "a@example.com"})


async def sample(context, params):
    asked.append(params.messages[0].content.text)
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="test")


async def report(done, total, message):
    progress.append(done)


async def main(url: str, token: str, mode: str) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=elicit, sampling_callback=sample) as client:
            tools = (await client.list_tools()).tools
            prompts = (await client.list_prompts()).prompts
            resources = (await client.list_resources()).resources
            text = await client.call_tool("test_simple_text", {})
            user = await client.call_tool("test_input_required_result_elicitation", {})
            capital = await client.call_tool("test_input_required_result_sampling", {})
            await client.call_tool("test_tool_with_progress", {}, progress_callback=report)
            header = await client.call_tool("test_header_parameter", {"region": "süd"})
            failed = await client.call_tool("test_error_handling", {})
            prompt = await client.get_prompt("test_simple_prompt")
            resource = await client.read_resource("test://static-text")
            reference = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
            completion = await client.complete(reference, {"name": "arg1", "value": "pa"})
            print(json.dumps({
                "tools": len(tools), "prompts": len(prompts), "resources": len(resources),
                "text": text.content[0].text, "user": user.content[0].text, "capital": capital.content[0].text,
                "asked": asked, "progress": progress, "header": header.content[0].text, "failed": failed.is_error,
                "prompt": prompt.messages[0].content.type, "resource": resource.contents[0].uri,
                "completion": completion.completion.values, "version": client.session.protocol_version,
            }))


asyncio.run(main(*sys.argv[1:]))
