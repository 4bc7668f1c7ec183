import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { pushSocketIn } from '../../node/hosting/gate/gate-files.ts';
import { type GateLease, writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { ServiceGate } from '../../node/hosting/gate/service-gate.ts';
import { HookDoor } from '../../node/hosting/push/hook-door.ts';
import { freePort } from '../fixtures/free-port.ts';

/** SAFETY H9. The gate in this process, with a clock that stands still unless it is set; sockets are real. */
const bootId = systemClock().bootId();
let nowMs: number;
const clock = { ...systemClock(), bootMs: () => nowMs };
let home: string;
let gitlab: Server;
let gate: ServiceGate;
let written = 0;
const sockets: Socket[] = [];

/** As an agent whose host asked then, of a lease of 4 s. */
const lease = (confirmedAt: number | undefined, over: Partial<GateLease> = {}): Promise<void> => {
  written += 1;
  const until = (confirmedAt ?? nowMs) + 4000;
  const strict = confirmedAt === undefined ? {} : { confirmedAt };
  const rest = { epoch: 1, until, upstream: '127.0.0.1', isServing: true, because: '' };
  return writeLease(home, { id: String(written), bootId, ...rest, ...strict, ...over });
};

beforeEach(() => {
  nowMs = 100_000;
  home = mkdtempSync('/var/tmp/t-gate-strict-');
});
afterEach(() => {
  gate?.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  gitlab?.close();
  rmSync(home, { recursive: true, force: true });
});

async function connected(kind: 'http' | 'ssh' = 'http') {
  gitlab = createServer().listen(0, '127.0.0.1');
  await once(gitlab, 'listening');
  const behind = (gitlab.address() as AddressInfo).port;
  const port = await freePort();
  gate = new ServiceGate(home, clock, { say: () => undefined, heard: () => undefined });
  await gate.listen([{ kind, port, behind, proxy: false }], { host: '127.0.0.1' });
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [inner] = (await once(gitlab, 'connection')) as [Socket];
  sockets.push(client, inner);
  const told = { back: '', came: 0, ended: false };
  client
    .on('error', () => undefined)
    .on('data', (chunk: Buffer) => {
      told.back += chunk.toString('latin1');
    })
    .on('end', () => {
      told.ended = true;
    });
  inner
    .on('error', () => undefined)
    .on('data', (chunk: Buffer) => {
      told.came += chunk.length;
    });
  const asks = async (text: string): Promise<void> => {
    const due = told.came + text.length;
    client.write(text);
    await vi.waitUntil(() => told.came === due);
  };
  return { client, inner, told, asks };
}
const moment = (ms = 300): Promise<void> => new Promise((done) => setTimeout(done, ms));
const push = 'POST /a.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n\r\n';

describe('the strict mode', () => {
  it('holds the answer to a write until a lease that was asked for after it; all passes in order, the end behind it', async () => {
    await lease(nowMs);
    const { inner, told, asks } = await connected();
    await asks(push);
    nowMs += 1000;
    inner.write('unpack ok, ');
    await moment();
    inner.write('ref ok');
    inner.end();
    await moment();
    expect(told).toMatchObject({ back: '', ended: false });
    // Asked for in the same step of the clock: it may have been before.
    await lease(nowMs);
    await moment();
    expect(told.back).toBe('');
    nowMs += 10;
    await lease(nowMs);
    await vi.waitUntil(() => told.ended);
    expect(told.back).toBe('unpack ok, ref ok');
  });

  it('of a machine whose clock stood still no answer to a write passes, though its lease is not out by that clock', async () => {
    await lease(undefined);
    const off = await connected();
    await off.asks(push);
    off.inner.write('ok');
    // As the gate is without it: paused for ten minutes, and by its clock for none.
    await vi.waitUntil(() => off.told.back === 'ok');
    gate.close();
    gitlab.close();
    await lease(nowMs);
    const strict = await connected();
    await strict.asks(push);
    strict.inner.write('ok');
    await moment(500);
    expect(strict.told.back).toBe('');
    // Then its lease is out, or the ledger is past its epoch.
    nowMs += 5000;
    await vi.waitUntil(() => strict.client.destroyed);
    expect(strict.told.back).toBe('');
  });

  it('lets pass at once what only reads: pages and a fetch of git, whatever the size of its question', async () => {
    await lease(nowMs);
    const { inner, told, asks } = await connected();
    for (const back of ['page', 'pagepage']) {
      await asks('GET /a HTTP/1.1\r\nHost: x\r\n\r\n');
      inner.write('page');
      await vi.waitUntil(() => told.back === back);
    }
    await asks('POST /a.git/git-upload-pack HTTP/1.1\r\nHost: x\r\n\r\n');
    await asks(`0032want ${'a'.repeat(40)}\n`.repeat(100));
    inner.write('b'.repeat(300_000));
    await vi.waitUntil(() => told.back.length === 300_008);
  });

  it.each([
    ['PUT', 'PUT /api/v4/x HTTP/1.1\r\n\r\n'],
    ['a push behind a fetch', 'POST /a.git/git-upload-pack HTTP/1.1\r\n\r\n', push],
    ['a page behind a write', 'PATCH /x HTTP/1.1\r\n\r\n', 'GET /x HTTP/1.1\r\n\r\n'],
    ['a method in two pieces', 'PO', 'ST /a.git/git-receive-pack HTTP/1.1\r\n\r\n'],
    [
      'a method in two pieces behind a fetch',
      'POST /a.git/git-upload-pack HTTP/1.1\r\n\r\n',
      'PO',
      'ST /x HTTP/1.1\r\n\r\n',
    ],
    ['a write behind a page, in one piece', `GET / HTTP/1.1\r\nHost: x\r\n\r\n${push}`],
    ['a write in the last piece of a fetch', 'POST /a.git/git-upload-pack HTTP/1.1\r\n\r\n', `0009done\n${push}`],
    ['a write cut there', 'POST /a.git/git-upload-pack HTTP/1.1\r\n\r\n', '0009done\nPOST /x HT', 'TP/1.1\r\n\r\n'],
    ['what is no request', '\x16\x03\x01'],
    ['a fetch by name only', 'POST /x?y=/a.git/git-upload-pack HTTP/1.1\r\n\r\n'],
    ['a file that is called so', 'POST /api/v4/projects/1/repository/files/git-upload-pack HTTP/1.1\r\n\r\n'],
    ['one made in a browser', 'POST /a/b/-/create/main/c.git/git-upload-pack HTTP/1.1\r\n\r\n'],
  ])('%s is held', async (_, ...pieces) => {
    await lease(nowMs);
    const { inner, told, asks } = await connected();
    for (const piece of pieces) {
      await asks(piece);
      await moment(20);
    }
    inner.write('answer');
    await moment();
    expect(told.back).toBe('');
    nowMs += 20;
    await lease(nowMs);
    await vi.waitUntil(() => told.back === 'answer');
  });

  it('of ssh all is held, as nobody can read it; GitLab is not read on without end, and goes on with each lease', async () => {
    await lease(nowMs);
    const { inner, told } = await connected('ssh');
    const sent = 12 << 20;
    inner.write('s'.repeat(sent));
    await moment(600);
    expect(told.back).toBe('');
    expect(inner.bytesWritten - inner.writableLength).toBeLessThan(sent);
    await vi.waitFor(
      async () => {
        nowMs += 100;
        await lease(nowMs);
        await moment(60);
        expect(told.back.length).toBe(sent);
      },
      { timeout: 20_000, interval: 1 },
    );
  });

  it('a client that does not read has no more of an answer wait here, however many leases come; the rest follows once it reads', async () => {
    await lease(nowMs);
    const { client, inner, told } = await connected('ssh');
    client.pause();
    const piece = Buffer.alloc(256 << 10, 's');
    Readable.from(Array.from({ length: 256 }, () => piece)).pipe(inner);
    const taken = async (leases: number): Promise<number> => {
      for (let n = 0; n < leases; n += 1) {
        nowMs += 20;
        await lease(nowMs);
        await moment(60);
      }
      return inner.bytesWritten - inner.writableLength;
    };
    const filled = await taken(20);
    expect(await taken(10)).toBe(filled);
    client.resume();
    await vi.waitUntil(() => told.back.length > 0);
    await vi.waitFor(async () => expect(await taken(1)).toBeGreaterThan(filled), { timeout: 10_000, interval: 1 });
  });

  it('beside the wait for another push: a lease that lets go of one part passes none ahead of the part that waits', async () => {
    const waits: (() => void)[] = [];
    const door = await HookDoor.open([pushSocketIn(home)], {
      ...{ ask: () => new Promise<never>(() => undefined), aloneWords: () => '', waitWords: () => '' },
      settled: () => new Promise<void>((done) => waits.push(done)),
    });
    const settled = async (): Promise<void> => {
      await vi.waitUntil(() => waits.length > 0);
      waits.shift()?.();
    };
    await lease(nowMs);
    const { inner, told, asks } = await connected();
    await asks('POST /x HTTP/1.1\r\n\r\n');
    await asks('GET /a.git/info/refs?service=git-receive-pack HTTP/1.1\r\n\r\n');
    const one = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-advertisement\r\n\r\none, ';
    inner.write(one);
    await settled();
    await moment(100);
    inner.write('two, ');
    await vi.waitUntil(() => waits.length > 0);
    nowMs += 10;
    await lease(nowMs);
    await vi.waitUntil(() => told.back === one);
    inner.write('three');
    await moment();
    expect(told.back).toBe(one);
    await settled();
    await moment(100);
    // Read ahead of its turn, there is nothing more to settle.
    waits.shift()?.();
    await moment(100);
    nowMs += 10;
    await lease(nowMs);
    await vi.waitUntil(() => told.back === `${one}two, three`);
    await door.close();
  });

  it('that ends, as an agent without it comes, lets go of what it held', async () => {
    await lease(nowMs);
    const { inner, told, asks } = await connected();
    await asks(push);
    inner.write('ok');
    await moment();
    expect(told.back).toBe('');
    await lease(undefined);
    await vi.waitUntil(() => told.back === 'ok');
  });
});
