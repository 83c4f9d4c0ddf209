// The work of a typical server on Node. Prints one line a job; `process.argv[2]` is the URL to fetch.
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { lookup, resolve4 } from 'node:dns/promises';
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, watch } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Worker } from 'node:worker_threads';

const once = (emitter, event) => new Promise((done, fail) => emitter.once(event, done).once('error', fail));

const dir = mkdtempSync(join(tmpdir(), 'work-'));
const watcher = watch(dir);
const seen = once(watcher, 'change');
const file = await open(join(dir, 'a'), 'w');
await file.writeFile('x'.repeat(100_000));
await file.sync();
await file.close();
await seen;
watcher.close();
await copyFile(join(dir, 'a'), join(dir, 'b'));
renameSync(join(dir, 'b'), join(dir, 'c'));
appendFileSync(join(dir, 'c'), 'y');
console.log('files', readdirSync(dir).join(), readFileSync(join(dir, 'c')).length);

const workers = [1, 2, 3].map((n) => new Worker(`require('worker_threads').parentPort.postMessage(${n} * ${n})`, { eval: true }));
const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
console.log('threads', answers.reduce((a, b) => a + b), availableParallelism() > 0, totalmem() > 0);

const child = spawn(process.execPath, ['-e', 'process.stdin.pipe(process.stdout)'], { stdio: ['pipe', 'pipe', 'inherit'] });
child.stdin.end('through a child');
let text = '';
for await (const chunk of child.stdout) text += chunk;
const stopped = spawn('sleep', ['60']);
stopped.kill();
const signal = await new Promise((done) => stopped.once('exit', (_, by) => done(by)));
console.log('children', text, execFileSync('echo', ['and echo']).toString().trim(), signal);

console.log('hash', createHash('sha256').update(gzipSync(randomBytes(1000))).digest().length);

const server = createServer((socket) => socket.end('over a socket')).listen(join(dir, 's'));
await once(server, 'listening');
let said = '';
for await (const chunk of connect(join(dir, 's'))) said += chunk;
server.close();
console.log('unix', said);

const url = new URL(process.argv[2]);
console.log('lookup', (await lookup(url.hostname)).address);
console.log('resolve', (await resolve4(url.hostname).catch((error) => [error.code]))[0]);
console.log('fetch', (await (await fetch(url)).text()).trim());
rmSync(dir, { recursive: true });
