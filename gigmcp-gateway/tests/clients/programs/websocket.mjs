// Talks over a WebSocket, and then with a host that is not allowed.
import { once } from 'node:events';
import { createRequire } from 'node:module';

// Installed beside the build, and not beside this file.
const WebSocket = createRequire(`${process.env.REAL}/node/`)('ws');
const headers = { Authorization: `Bearer ${process.env.API_KEY}` };

const socket = new WebSocket('wss://api.example.com/ws', { headers });
const said = async () => (await once(socket, 'message'))[0];
console.log((await said()).toString());
socket.send('text ä');
console.log((await said()).toString());
socket.send(Buffer.from([0, 1, 255]));
console.log('binary', (await said()).toString('hex'));
socket.send('x'.repeat(100_000));
console.log('large', (await said()).length);
await (await fetch('https://api.example.com/hold', { headers })).text();
socket.close();
const denied = new WebSocket('wss://evil.test/ws', { headers });
await once(denied, 'open').then(() => console.log('open'), () => console.log('refused'));
