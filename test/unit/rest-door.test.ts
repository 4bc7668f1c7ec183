import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { KeptFiles } from '../../node/hosting/keep/kept-files.ts';
import { restLimits, restTimings, type Scope, serveRest } from '../../node/hosting/keep/rest-door.ts';

/** What a host that is not itself any more may send to the machine that keeps its backups. */
/** Bytes that its disk has: the real one's change while a test runs. */
const disk = vi.hoisted(() => ({ freeBytes: 1e12, files: { total: 1e6, free: 1e6 } }));
vi.mock('../../node/disk-use.ts', async (real) => ({
  ...(await real<object>()),
  diskOf: () => ({ totalBytes: 1e13, freeBytes: disk.freeBytes }),
  filesOf: () => disk.files,
}));
vi.mock('../../node/hosting/place-choice.ts', () => ({ ownersReserve: () => 0 }));

let home = '';
let files: KeptFiles;
let server: Server;
let scope: Scope = 'use';
let nowMs = 0;
let agent: Agent;
const before = { ...restTimings };
const { wholeListBytes } = restLimits;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'autogit-rest-'));
  files = new KeptFiles(home, () => nowMs);
  await files.open();
  scope = 'use';
  disk.freeBytes = 1e12;
  disk.files = { total: 1e6, free: 1e6 };
  nowMs = 0;
  agent = new Agent({ keepAlive: true });
  server = createServer((socket) => void serveRest(socket, files, scope));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  Object.assign(restTimings, before);
  restLimits.wholeListBytes = wholeListBytes;
  agent.destroy();
  server.close();
  rmSync(home, { recursive: true });
});

const port = (): number => (server.address() as AddressInfo).port;
const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

interface Said {
  status: number;
  text: string;
  headers: Record<string, unknown>;
}

function ask(method: string, path: string, body?: Buffer, headers: Record<string, string> = {}): Promise<Said> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(body.length) };
    const out = request({ host: '127.0.0.1', port: port(), method, path, agent, headers: { ...length, ...headers } });
    out.on('error', reject);
    out.on('response', async (answer) => {
      let text = '';
      for await (const piece of answer) text += piece;
      resolve({ status: answer.statusCode ?? 0, text, headers: answer.headers });
    });
    out.end(body);
  });
}

/** Byte for byte, as no client would send it. */
async function raw(text: string): Promise<string> {
  const socket = connect(port(), '127.0.0.1');
  socket.on('error', () => {});
  socket.end(text);
  let said = '';
  for await (const piece of socket) said += piece;
  return said;
}
const everything = (): string[] =>
  (readdirSync(home, { recursive: true, withFileTypes: true }) as { isFile(): boolean; name: string }[])
    .filter((one) => one.isFile())
    .map(({ name }) => name)
    .sort();

it('a file is taken whole under the name that its bytes have, listed, read in parts, and stays', async () => {
  const bytes = randomBytes(300_000);
  const name = hashOf(bytes);
  const path = `/data/${name}`;
  expect((await ask('POST', '/?create=true', Buffer.alloc(0))).status).toBe(200);
  expect((await ask('GET', path)).status).toBe(404);
  expect((await ask('POST', path, bytes)).status).toBe(200);
  expect(readFileSync(join(home, 'repository/data', name.slice(0, 2), name))).toEqual(bytes);
  expect(JSON.parse((await ask('GET', '/data/')).text)).toEqual([{ name, size: 300_000 }]);
  expect((await ask('HEAD', path)).headers['content-length']).toBe('300000');
  const part = await ask('GET', path, undefined, { range: 'bytes=299990-' });
  expect([part.status, part.headers['content-range']]).toEqual([206, 'bytes 299990-299999/300000']);
  for (const range of ['bytes=300000-', 'bytes=9-3', 'bytes=-5', 'lines=1-2', 'bytes=0-1,3-4'])
    expect((await ask('GET', path, undefined, { range })).status, range).toBe(416);
  // Sent again after a cut: it is there, and stays what it was.
  expect((await ask('POST', path, bytes)).status).toBe(200);
  expect(everything()).toEqual([name]);
});

it('nothing is written over and nothing goes but locks; a snapshot of this moment may be taken back, a minute or two long', async () => {
  const [config, theKey] = [Buffer.from('the first'), Buffer.from('of keys')];
  expect((await ask('POST', `/keys/${hashOf(theKey)}`, theKey)).status).toBe(200);
  expect((await ask('POST', '/config', config)).status).toBe(200);
  expect((await ask('POST', '/config', Buffer.from('another'))).status).toBe(403);
  expect((await ask('DELETE', '/config')).status).toBe(403);
  expect((await ask('GET', '/config')).text).toBe('the first');
  for (const type of ['data', 'index', 'keys', 'snapshots', 'locks'] as const) {
    const bytes = Buffer.from(`of ${type}`);
    const path = `/${type}/${hashOf(bytes)}`;
    expect((await ask('POST', path, bytes)).status, type).toBe(200);
    nowMs += 121_000;
    const gone = await ask('DELETE', path);
    expect(gone.status, type).toBe(type === 'locks' ? 200 : 403);
    if (type !== 'locks') expect(gone.text).toContain('only added to');
    expect((await ask('HEAD', path)).status, type).toBe(type === 'locks' ? 404 : 200);
  }
  const half = Buffer.from('a snapshot that was not whole');
  const path = `/snapshots/${hashOf(half)}`;
  await ask('POST', path, half);
  nowMs += 100_000;
  expect((await ask('DELETE', path)).status).toBe(200);
  // One that this agent did not see come is of before.
  const old = Buffer.from('an old one');
  writeFileSync(files.pathOf({ type: 'snapshots', name: hashOf(old) }), old);
  expect((await ask('DELETE', `/snapshots/${hashOf(old)}`)).status).toBe(403);
});

it('once there is a repository no other key is taken: restic opens none where one of the first that it meets is no key', async () => {
  const [key, other] = [Buffer.from('the key'), Buffer.from('{"kdf":"scrypt","N":16777216}')];
  expect((await ask('POST', `/keys/${hashOf(key)}`, key)).status).toBe(200);
  expect((await ask('POST', '/config', Buffer.from('config'))).status).toBe(200);
  for (const to of ['use', 'begin'] as const) {
    scope = to;
    agent.destroy();
    const said = await ask('POST', `/keys/${hashOf(other)}`, other);
    expect([said.status, said.text]).toEqual([403, 'the repository has its key, and no other is taken']);
  }
  // Sent again after a cut.
  expect((await ask('POST', `/keys/${hashOf(key)}`, key)).status).toBe(200);
});

it('of its files, too, a tenth stays its owner’s: many of a byte each would leave bytes that nobody can write to', async () => {
  disk.files = { total: 1000, free: 99 };
  const bytes = Buffer.from('x');
  const said = await ask('POST', `/data/${hashOf(bytes)}`, bytes);
  expect([said.status, said.text]).toEqual([507, expect.stringContaining('df -i')]);
  disk.files.free = 100;
  expect((await ask('POST', `/data/${hashOf(bytes)}`, bytes)).status).toBe(200);
});

it('without any room what is there is read all the same: restic takes a lock first', async () => {
  disk.freeBytes = 0;
  disk.files.free = 0;
  const lock = randomBytes(200);
  expect((await ask('POST', `/locks/${hashOf(lock)}`, lock)).status).toBe(200);
  expect((await ask('DELETE', `/locks/${hashOf(lock)}`)).status).toBe(200);
  const large = randomBytes(5000);
  expect((await ask('POST', `/locks/${hashOf(large)}`, large)).status).toBe(413);
});

it('a long list goes out piece by piece, and who asks for hundreds at once is sent away', async () => {
  const names = Array.from({ length: 1200 }, (_, at) => hashOf(Buffer.from(`snapshot ${at}`))).sort();
  for (const name of names) writeFileSync(files.pathOf({ type: 'snapshots', name }), 'x');
  for (const isWhole of [true, false]) {
    if (!isWhole) restLimits.wholeListBytes = 1000;
    const said = await ask('GET', '/snapshots/');
    expect(said.headers['content-length'] !== undefined).toBe(isWhole);
    const rows = JSON.parse(said.text) as { name: string; size: number }[];
    expect(rows.map(({ name }) => name).sort()).toEqual(names);
  }
  expect(JSON.parse((await ask('GET', '/index/')).text)).toEqual([]);
  const list = vi.spyOn(files, 'list');
  await raw('GET /snapshots/ HTTP/1.1\r\nHost: v\r\n\r\n'.repeat(200)).catch(() => '');
  expect(list.mock.calls.length).toBeLessThanOrEqual(4);
});

it('bytes of another name, too few, too many, none, without a length: refused, and nothing is left', async () => {
  const bytes = randomBytes(1000);
  const path = `/data/${hashOf(bytes)}`;
  const wrong = await ask('POST', path, randomBytes(1000));
  expect([wrong.status, wrong.text.includes('SHA-256')]).toEqual([400, true]);
  expect((await ask('POST', path, undefined, { 'transfer-encoding': 'chunked' })).status).toBe(411);
  expect((await ask('POST', path, Buffer.alloc(0))).status).toBe(400);
  await raw(`POST ${path} HTTP/1.1\r\nHost: v\r\nContent-Length: 1000\r\n\r\nhalf of it`);
  await expect.poll(everything).toEqual([]);
  const huge = await raw(`POST ${path} HTTP/1.1\r\nHost: v\r\nContent-Length: 999999999999\r\n\r\n`);
  expect(huge).toMatch(/^HTTP\/1.1 413/);
  for (const length of ['-1', '1e3', '0x10', '1 2', '99999999999999999999'])
    expect(await raw(`POST ${path} HTTP/1.1\r\nHost: v\r\nContent-Length: ${length}\r\n\r\nx`), length).not.toMatch(
      /^HTTP\/1.1 200/,
    );
  await expect.poll(everything).toEqual([]);
});

it('no path leads out of it, and no other question is answered', async () => {
  writeFileSync(join(home, 'secret'), 'secret');
  const hash = '0'.repeat(64);
  const paths = [
    '/../secret',
    '/data/../../secret',
    '/data/..%2f..%2fsecret',
    '/%2e%2e/secret',
    `/data/${hash}/../../../secret`,
    '//etc/passwd',
    'http://other/config',
    '/config?x=1',
    '/config/',
    `/data/${'A'.repeat(64)}`,
    `/data/${'0'.repeat(63)}`,
    `/data/${hash}%00`,
    `/other/${hash}`,
    '/',
    '/data',
    '*',
  ];
  for (const path of paths)
    for (const method of ['GET', 'POST', 'DELETE', 'HEAD']) {
      const said = await raw(`${method} ${path} HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      expect(said, `${method} ${path}`).toMatch(/^HTTP\/1.1 40\d/);
      expect(said, `${method} ${path}`).not.toContain('\r\nsecret');
    }
  for (const method of ['PUT', 'PATCH', 'OPTIONS'])
    expect((await ask(method, '/config')).status, method).toBeGreaterThanOrEqual(400);
  for (const text of ['\0\0\0', 'GET / HTTP/9.9\r\n\r\n', `GET /config HTTP/1.1\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`])
    expect(await raw(text)).not.toMatch(/^HTTP\/1.1 200/);
  expect(everything()).toEqual(['secret']);
});

it('a door to begin with takes what makes a repository, and no data', async () => {
  scope = 'begin';
  for (const type of ['data', 'index', 'snapshots']) {
    const bytes = Buffer.from(`of ${type}`);
    expect((await ask('POST', `/${type}/${hashOf(bytes)}`, bytes)).status, type).toBe(403);
    expect((await ask('GET', `/${type}/`)).status, type).toBe(403);
  }
  const key = Buffer.from('a key');
  expect((await ask('POST', `/keys/${hashOf(key)}`, key)).status).toBe(200);
  expect((await ask('POST', '/config', key)).status).toBe(200);
});

it("what stays its owner's is not taken, also by many at once", async () => {
  disk.freeBytes = 100_000;
  const many = [1, 2, 3, 4, 5].map(() => randomBytes(40_000));
  const said = await Promise.all(many.map((bytes) => ask('POST', `/data/${hashOf(bytes)}`, bytes)));
  const refused = said.filter(({ status }) => status === 507);
  expect(refused.length).toBeGreaterThanOrEqual(2);
  expect(refused[0]?.text).toMatch(/left for backups/);
  // And the same connections go on.
  disk.freeBytes = 1e12;
  expect((await ask('POST', `/data/${hashOf(many[0]!)}`, many[0])).status).toBe(200);
});

it('two connections with the same file: one of them is refused, and it is whole', async () => {
  const bytes = randomBytes(2_000_000);
  const said = await Promise.all([1, 2, 3].map(() => ask('POST', `/data/${hashOf(bytes)}`, bytes)));
  expect(said.map(({ status }) => status).every((status) => status === 200 || status === 409)).toBe(true);
  expect(everything()).toEqual([hashOf(bytes)]);
});

it('one that says nothing, or trickles, is given up, and leaves nothing', async () => {
  restTimings.silentMs = 200;
  restTimings.fileMs = 600;
  const path = `/data/${hashOf(randomBytes(1000))}`;
  const head = `POST ${path} HTTP/1.1\r\nHost: v\r\nContent-Length: 1000\r\n\r\n`;
  for (const everyMs of [10_000, 50]) {
    const socket = connect(port(), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(head);
    const trickle = setInterval(() => socket.write('x'), everyMs);
    await new Promise((resolve) => socket.once('close', resolve));
    clearInterval(trickle);
  }
  await expect.poll(everything).toEqual([]);
});

it('what an agent that was killed has half taken is gone with the next one', async () => {
  writeFileSync(join(home, 'incoming', 'half'), 'half');
  await new KeptFiles(home, () => 0).open();
  expect(existsSync(join(home, 'incoming', 'half'))).toBe(false);
});
