// Lists the tools of an endpoint and calls `echo_echo`, with the second generation of the official TypeScript client.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, token, mode] = process.argv.slice(2);
const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode } });
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const { tools } = await client.listTools();
const result = await client.callTool({ name: 'echo_echo', arguments: { text: 'hello from outside' } });
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), text: result.content[0].text }));
await client.close();
