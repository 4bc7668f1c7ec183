import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { writeTarget } from '../../node/hosting/forward/forward-files.ts';
import { memberKey } from '../../node/hosting/forward/hand-over.ts';
import { ServiceForwarder } from '../../node/hosting/forward/service-forwarder.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { readMemberSecret, writeMemberSecret } from '../../node/hosting/gate/member-door.ts';
import { ServiceGate } from '../../node/hosting/gate/service-gate.ts';
import { secureContext } from '../../node/hosting/gate/tls-door.ts';
import { freePort } from '../fixtures/free-port.ts';
import { testCertificate } from '../hosting/test-certificate.ts';

/** SAFETY H1 at a door where the gate itself speaks TLS: all that holds of a door in the clear. */
const clock = systemClock();
const { certificate, key } = testCertificate(['git.test', '127.0.0.1']);
const sockets: Socket[] = [];
let home: string;
let gitlab: Server;
let gate: ServiceGate;
let port: number;
let members: number;
let aheadMs: number;
let leases = 0;

const lease = (more: object = {}): Promise<void> =>
  writeLease(home, {
    ...{ id: String(++leases), bootId: clock.bootId(), epoch: 1, until: clock.bootMs() + 60_000 },
    ...{ upstream: '127.0.0.1', isServing: true, because: 'GitLab boots', tellsClient: true, ...more },
  });
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

beforeEach(async () => {
  aheadMs = 0;
  home = mkdtempSync('/var/tmp/t-gate-tls-');
  gitlab = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(gitlab, 'listening');
  port = await freePort();
  await lease();
  const ahead = { ...clock, bootMs: () => clock.bootMs() + aheadMs };
  gate = new ServiceGate(home, ahead, { say: () => undefined, heard: () => undefined });
  const door = { kind: 'https' as const, port, behind: portOf(gitlab), proxy: true, certificate: '0123456789abcdef' };
  writeMemberSecret(home, process.getuid?.() ?? 0);
  const tls = secureContext(`${key}${certificate}`);
  await gate.listen([door], { host: '127.0.0.1', tls, members: (at) => (members = at) });
});
afterEach(() => {
  gate.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  gitlab.close();
  rmSync(home, { recursive: true, force: true });
});

async function passing(host = '127.0.0.1'): Promise<{ client: TLSSocket; inner: Socket }> {
  const raw = connectTcp({ port, host, allowHalfOpen: true });
  const client = connect({ socket: raw, servername: 'git.test', ca: certificate });
  const [[inner]] = await Promise.all([once(gitlab, 'connection') as Promise<[Socket]>, once(client, 'secureConnect')]);
  for (const socket of [client, inner]) socket.on('error', () => undefined);
  sockets.push(raw, client, inner);
  return { client, inner };
}
const read = async (from: Readable): Promise<string> => {
  let all = '';
  from.setEncoding('latin1').on('data', (chunk: string) => {
    all += chunk;
  });
  await once(from, 'end');
  return all;
};

it('GitLab gets in the clear what the client says, behind who it is; each end is handed on', async () => {
  const { client, inner } = await passing();
  const said = read(inner);
  client.end('GET / HTTP/1.1\r\n\r\n');
  expect(await said).toMatch(/^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\nGET \/ HTTP\/1\.1\r\n\r\n$/);
  const answer = read(client);
  const whole = 'an answer of many records'.repeat(200_000);
  inner.end(whole);
  const got = await answer;
  expect([got.length, got === whole]).toEqual([whole.length, true]);
});

it('a push of many megabytes reaches a GitLab that reads slower than it comes, whole', async () => {
  const { client, inner } = await passing();
  const bytes = 24 << 20;
  let got = 0;
  inner.on('data', (chunk: Buffer) => {
    got += chunk.length;
    inner.pause();
    setTimeout(() => inner.resume(), 1);
  });
  for (let sent = 0; sent < bytes; sent += 1 << 16)
    if (!client.write(Buffer.alloc(1 << 16, 0x61))) await once(client, 'drain');
  client.end();
  await once(inner, 'end');
  expect(got).toBeGreaterThan(bytes);
}, 20_000);

it('what comes behind the end of the lease does not pass, and half an answer is no whole one', async () => {
  const { client, inner } = await passing();
  const [failed, got] = [once(client, 'error').catch((error) => [error]), [] as Buffer[]];
  client.on('data', (chunk: Buffer) => got.push(chunk));
  inner.write('half of ');
  await vi.waitUntil(() => got.length > 0);
  aheadMs = 61_000;
  inner.write('an answer');
  const [error] = (await failed) as [NodeJS.ErrnoException];
  expect([error.code, Buffer.concat(got).toString()]).toEqual(['ECONNRESET', 'half of ']);
});

it('a reset of GitLab reaches the client as one, and a reset of the client GitLab', async () => {
  const one = await passing();
  const failed = new Promise<NodeJS.ErrnoException>((done) => one.client.on('error', done));
  one.inner.write('half');
  await once(one.client, 'data');
  one.inner.resetAndDestroy();
  expect((await failed).code).toBe('ECONNRESET');

  const raw = connectTcp(port, '127.0.0.1');
  const client = connect({ socket: raw, servername: 'git.test', ca: certificate });
  const [[inner]] = await Promise.all([once(gitlab, 'connection') as Promise<[Socket]>, once(client, 'secureConnect')]);
  sockets.push(raw, client, inner);
  for (const socket of [raw, client]) socket.on('error', () => undefined);
  const heard = new Promise<NodeJS.ErrnoException>((done) => inner.on('error', done));
  inner.resume();
  raw.resetAndDestroy();
  expect((await heard).code).toBe('ECONNRESET');
});

it('who asks by http is led to the same by https; who says anything else, or nothing, is gone', async () => {
  const said = async (text: string): Promise<string> => {
    const plain = connectTcp(port, '127.0.0.1');
    sockets.push(plain);
    plain.on('error', () => undefined).write(text);
    return read(plain).catch(() => '');
  };
  const asks = (start: string, host: string): Promise<string> => said(`${start} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const where = `Location: https://git.test:${port}/a/b.git/info/refs?service=git-upload-pack\r\n`;
  expect(await asks('GET /a/b.git/info/refs?service=git-upload-pack', 'git.test')).toMatch(/^HTTP\/1.1 301 /);
  expect(await asks('GET /a/b.git/info/refs?service=git-upload-pack', 'git.test:80')).toContain(where);
  expect(await asks('POST /x', '[fd00::7]:80')).toMatch(
    /^HTTP\/1.1 308 [\s\S]*Location: https:\/\/\[fd00::7\]:\d+\/x\r\n/,
  );
  for (const host of ['git.test@evil', 'a b', '']) expect(await asks('GET /', host)).toMatch(/^HTTP\/1.1 400 |^$/);
  expect(await said('SSH-2.0-x\r\n')).not.toContain('Location');
  expect(await said('\x00\x01\x02')).toBe('');
});

it('a port of http beside it leads there too, whatever GitLab does', async () => {
  const plain = await freePort();
  await lease({ until: 0 });
  const other = new ServiceGate(home, clock, { say: () => undefined, heard: () => undefined });
  await other.listen([{ kind: 'redirect', port: plain, behind: 443, proxy: false }], { host: '127.0.0.1' });
  const answer = await fetch(`http://127.0.0.1:${plain}/a?b=c`, { redirect: 'manual' });
  expect([answer.status, answer.headers.get('location')]).toEqual([301, 'https://127.0.0.1/a?b=c']);
  other.close();
});

it('while GitLab boots its page is read over TLS', async () => {
  await lease({ isServing: false });
  gate.look();
  const asked = request({ port, host: '127.0.0.1', servername: 'git.test', ca: certificate, agent: false }).end();
  const [response] = await once(asked, 'response');
  expect([response.statusCode, await read(response)]).toEqual([503, expect.stringContaining('GitLab boots')]);
});

/** A client that only speaks TCP; what it gets ends with it. */
function bare(...pieces: readonly (string | Buffer)[]): Promise<string> & { socket: Socket } {
  const socket = connectTcp(port, '127.0.0.1');
  sockets.push(socket);
  let got = '';
  socket
    .on('error', () => undefined)
    .on('data', (chunk: Buffer) => {
      got += chunk.toString('latin1');
    });
  for (const piece of pieces) socket.write(piece);
  const closed = new Promise<string>((done) => socket.once('close', () => done(got)));
  return Object.assign(closed, { socket });
}

it('a thousand clients that begin a handshake and go no further hurt nobody else, and are gone after ten seconds', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const hello = Buffer.from([0x16, 3, 1, 2, 0]);
    const idle = Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? bare() : bare(hello)));
    await Promise.all(idle.map(({ socket }) => once(socket, 'connect')));
    // One that drips is no other one.
    const drip = setInterval(() => idle[1]?.socket.write('\x00'), 20);
    const { client, inner } = await passing();
    inner.end('an answer');
    expect(await read(client)).toBe('an answer');
    vi.advanceTimersByTime(10_001);
    await Promise.all(idle);
    clearInterval(drip);
  } finally {
    vi.useRealTimers();
  }
});

it('a hello without end, a record without sense and a name of anything cost one connection each', async () => {
  const record = (bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0x16, 3, 1]), Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  const first = Buffer.alloc(16_384, 0x61);
  // A ClientHello that says that it has 16 MB.
  Buffer.from([1, 0xff, 0xff, 0xff, 3, 3]).copy(first);
  const before = process.memoryUsage().rss;
  await bare(record(first), ...Array.from({ length: 1000 }, () => record(Buffer.alloc(16_384, 0x61))));
  expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  await bare(record(Buffer.from('no handshake at all')));
  for (const servername of ['', 'x'.repeat(250), 'another.test', '127.0.0.1.']) {
    const client = connect({
      port,
      host: '127.0.0.1',
      ca: certificate,
      checkServerIdentity: () => undefined,
      ...(servername && { servername }),
    });
    sockets.push(client);
    await once(client, 'secureConnect');
    client.destroy();
  }
});

it('nothing older than TLS 1.2 is spoken, nothing without forward secrecy, and nobody negotiates twice', async () => {
  const openssl = (input: string, ...more: string[]): Promise<string> =>
    new Promise((done) => {
      const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...more], { stdio: 'pipe' });
      let said = '';
      for (const out of [child.stdout, child.stderr])
        out.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
      child.on('close', () => done(said));
      child.stdin.end(input);
    });
  for (const old of ['-tls1', '-tls1_1'])
    expect(await openssl('', old, '-cipher', 'ALL:@SECLEVEL=0')).toMatch(
      /alert protocol version|no protocols available|unsupported protocol/,
    );
  expect(await openssl('', '-tls1_2', '-cipher', 'AES128-GCM-SHA256:AES256-SHA')).toContain('handshake failure');
  expect(await openssl('R\n', '-tls1_2')).toMatch(/no renegotiation/i);
  expect(await openssl('', '-tls1_3')).toContain('TLSv1.3');
});

it('a client that another machine hands on speaks TLS with the gate, from its first byte on', async () => {
  const folder = mkdtempSync('/var/tmp/t-gate-tls-forward-');
  const forwarder = new ServiceForwarder(folder, clock, { say: () => undefined, seen: () => undefined });
  const own = memberKey(readMemberSecret(home) as Buffer, 'D').toString('base64');
  const times = { bootId: clock.bootId(), until: clock.bootMs() + 60_000 };
  const at = { addresses: ['127.0.0.1'], port: members, key: own };
  await writeTarget(folder, { id: '1', ...times, node: 'D', gate: at, because: '' }, null);
  try {
    expect(await forwarder.listen([{ kind: 'https', port }], '127.0.0.2')).toEqual([]);
    // The first waits for the gate's answer; who comes behind it finds a connection that is proven.
    for (let turn = 0; turn < 3; turn++) {
      const { client, inner } = await passing('127.0.0.2');
      const said = read(inner);
      client.end(`turn ${turn}`);
      expect(await said).toMatch(new RegExp(`^PROXY TCP4 127\\.0\\.0\\.1 127\\.0\\.0\\.2 \\d+ \\d+\r\nturn ${turn}$`));
      await new Promise((done) => setTimeout(done, 100));
    }
  } finally {
    forwarder.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
