// Everything a client and a server say to each other, with both generations of the official TypeScript client: URL, token,
// and `first`, or how the second finds the revision.
const [url, token, mode] = process.argv.slice(2);
const first = mode === 'first';
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
const capabilities = { elicitation: {}, sampling: {} };
const asked = [];
const elicit = async ({ params }) => {
  asked.push(params.message);
  return { action: 'accept', content: { name: 'Ada', username: 'ada', email: 'a@example.com' } };
};
const sample = async ({ params }) => {
  const { content } = params.messages[0];
  asked.push(content.text ?? content[0].text);
  return { role: 'assistant', content: { type: 'text', text: 'Paris' }, model: 'test' };
};

async function connect() {
  if (first) {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { CreateMessageRequestSchema, ElicitRequestSchema } = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client({ name: 'test', version: '1.0.0' }, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, elicit);
    client.setRequestHandler(CreateMessageRequestSchema, sample);
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client({ name: 'test', version: '1.0.0' }, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', elicit);
  client.setRequestHandler('sampling/createMessage', sample);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

const client = await connect();
const progress = [];
const onprogress = (told) => progress.push(told.progress);
const call = (name, args, options) =>
  first ? client.callTool({ name, arguments: args }, undefined, options) : client.callTool({ name, arguments: args }, options);
const { tools } = await client.listTools();
const { prompts } = await client.listPrompts();
const { resources } = await client.listResources();
const text = await call('test_simple_text', {});
const user = await call('test_input_required_result_elicitation', {});
const capital = await call('test_input_required_result_sampling', {});
await call('test_tool_with_progress', {}, { onprogress });
const header = await call('test_header_parameter', { region: 'süd' });
const failed = await call('test_error_handling', {});
const prompt = await client.getPrompt({ name: 'test_simple_prompt' });
const resource = await client.readResource({ uri: 'test://static-text' });
const ref = { type: 'ref/prompt', name: 'test_prompt_with_arguments' };
const completion = await client.complete({ ref, argument: { name: 'arg1', value: 'pa' } });
console.log(JSON.stringify({
  tools: tools.length, prompts: prompts.length, resources: resources.length,
  text: text.content[0].text, user: user.content[0].text, capital: capital.content[0].text, asked, progress,
  header: header.content[0].text, failed: failed.isError, prompt: prompt.messages[0].content.type,
  resource: resource.contents[0].uri, completion: completion.completion.values,
  version: client.getNegotiatedProtocolVersion?.() ?? client.transport.protocolVersion,
}));
await client.close();
