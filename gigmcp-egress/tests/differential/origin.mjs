// Says what Node's http understood of a request.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const server = createServer({ maxHeaderSize: 1 << 17 }, async (request, response) => {
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    length += chunk.length;
  }
  const saw = [request.method, request.url, request.headers.host ?? '-', length, hash.digest('hex')];
  response.setHeader('x-saw', saw.join(' '));
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on('end', () => process.exit());
