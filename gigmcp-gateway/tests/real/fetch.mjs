// An MCP server on the official TypeScript SDK whose one tool uses `axios`. It has never heard of proxies.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import axios from 'axios';
import { z } from 'zod';

const server = new McpServer({ name: 'fetch', version: '1.0.0' });

server.registerTool(
  'fetch',
  { description: 'GET a URL with the key from the environment.', inputSchema: { url: z.string() } },
  async ({ url }) => {
    const headers = { Authorization: `Bearer ${process.env.API_KEY}` };
    const response = await axios.get(url, { headers, validateStatus: () => true, transformResponse: (body) => body });
    const text = JSON.stringify({ status: response.status, headers: response.headers, body: response.data });
    return { content: [{ type: 'text', text }] };
  },
);

await server.connect(new StdioServerTransport());
