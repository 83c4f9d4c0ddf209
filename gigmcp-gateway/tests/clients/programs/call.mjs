// Calls one method that answers once and one that answers several times, and then a host that is not allowed.
import { createRequire } from 'node:module';

// Installed beside the build, and not beside this file.
const grpc = createRequire(`${process.env.REAL}/node/`)('@grpc/grpc-js');
const metadata = new grpc.Metadata();
metadata.set('authorization', `Bearer ${process.env.API_KEY}`);
const asIs = (bytes) => bytes;
const client = (host) => new grpc.Client(`${host}:443`, grpc.credentials.createSsl());
const once = (client, text) =>
  new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer.toString()));
    client.makeUnaryRequest('/test.Echo/Unary', asIs, asIs, Buffer.from(text), metadata, done);
  });

const allowed = client('api.example.com');
console.log(await once(allowed, 'hello'));
const messages = allowed.makeServerStreamRequest('/test.Echo/Stream', asIs, asIs, Buffer.from('4'), metadata);
try {
  for await (const message of messages) console.log(message.toString());
} catch (error) {
  console.log('status', error.details);
}
allowed.close();
const denied = client('evil.test');
console.log(await once(denied, 'hello').then((text) => `answered ${text}`, (error) => `refused ${error.code}`));
denied.close();
