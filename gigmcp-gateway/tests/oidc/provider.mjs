// oidc-provider as it comes, with the gateway as its one client, and doors for the test to change what it says.
// Environment: TEST_OIDC (where it is installed), ISSUER, PORT, PUBLIC_URL (of the gateway), and for TLS TLS_PORT, CERTIFICATE, KEY.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { pathToFileURL } from 'node:url';

const { TEST_OIDC, ISSUER, PORT, PUBLIC_URL, TLS_PORT, CERTIFICATE, KEY } = process.env;
const { Provider } = await import(pathToFileURL(`${TEST_OIDC}/node_modules/oidc-provider/lib/index.js`));

const people = new Map();
let keys = [];
let serial = 0;
let down = false;

function newKey(alg) {
  const { privateKey } = alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: `key-${++serial}`, use: 'sig', alg };
}

function make() {
  const api = `${PUBLIC_URL}/api/v1/oidc`;
  const provider = new Provider(ISSUER, {
    clients: [{
      client_id: 'gigmcp',
      client_secret: 'a secret of the gateway: %+&',
      redirect_uris: [`${api}/callback`],
      post_logout_redirect_uris: [`${api}/signed-out`],
      backchannel_logout_uri: `${api}/backchannel-logout`,
      backchannel_logout_session_required: true,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      id_token_signed_response_alg: keys[0].alg,
    }],
    jwks: { keys },
    cookies: { keys: ['a key of cookies'] },
    scopes: ['openid', 'offline_access', 'email', 'profile', 'roles'],
    claims: { email: ['email', 'email_verified'], profile: ['name'], roles: ['realm_access', 'groups'] },
    features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // By itself it asks no address of this machine, which is where the gateway is here.
    fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }),
    findAccount: (_, id) => people.has(id) ? { accountId: id, claims: async () => ({ sub: id, ...people.get(id) }) } : undefined,
    renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
  });
  provider.proxy = true;
  provider.on('backchannel.error', (_, error) => console.log(`backchannel failed: ${error.message}`));
  provider.on('backchannel.success', () => console.log('backchannel done'));
  return provider.callback();
}

keys = [newKey('RS256')];
let serve = make();
const tokens = [];

const handle = async (request, response) => {
  const url = new URL(request.url, ISSUER);
  if (!url.pathname.startsWith('/test/')) {
    if (down) return response.writeHead(503).end('<html>');
    if (request.method === 'POST' && url.pathname === '/token') tokens.push(request.headers.host);
    return serve(request, response);
  }
  let body = '';
  for await (const part of request) body += part;
  if (url.pathname === '/test/person') people.set(url.searchParams.get('id'), JSON.parse(body));
  if (url.pathname === '/test/forget') people.delete(url.searchParams.get('id'));
  if (url.pathname === '/test/down') down = url.searchParams.has('yes');
  if (url.pathname === '/test/rotate') {
    keys = [newKey(url.searchParams.get('alg'))];
    serve = make();
  }
  response.end(JSON.stringify({ tokens }));
};

http.createServer(handle).listen(Number(PORT), '127.0.0.1', () => {
  if (!TLS_PORT) return console.log('provider listens');
  const files = { cert: readFileSync(CERTIFICATE), key: readFileSync(KEY) };
  https.createServer(files, handle).listen(Number(TLS_PORT), '127.0.0.1', () => console.log('provider listens'));
});
