import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { pushSocketIn } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { holdLimits } from '../../node/hosting/gate/push-hold.ts';
import { ServiceGate } from '../../node/hosting/gate/service-gate.ts';
import { HookDoor } from '../../node/hosting/push/hook-door.ts';
import { freePort } from '../fixtures/free-port.ts';

/** SAFETY H1. The gate in this process, with a clock that can be set ahead; sockets are real. */
const clock = systemClock();
let home: string;
let gitlab: Server;
let gate: ServiceGate;
let client: Socket;
let inner: Socket;
let aheadMs: number;

const portOf = (server: Server): number => (server.address() as AddressInfo).port;

beforeEach(async () => {
  aheadMs = 0;
  home = mkdtempSync('/var/tmp/t-gate-chunks-');
  gitlab = createServer().listen(0, '127.0.0.1');
  await once(gitlab, 'listening');
  const port = await freePort();
  const [bootId, until] = [clock.bootId(), clock.bootMs() + 60_000];
  await writeLease(home, { id: '1', bootId, epoch: 1, until, upstream: '127.0.0.1', isServing: true, because: '' });
  const ahead = { ...clock, bootMs: () => clock.bootMs() + aheadMs };
  gate = new ServiceGate(home, ahead, { say: () => undefined, heard: () => undefined });
  await gate.listen([{ kind: 'http', port, behind: portOf(gitlab), proxy: false }], { host: '127.0.0.1' });
  client = connect(port, '127.0.0.1');
  [inner] = (await once(gitlab, 'connection')) as [Socket];
  for (const socket of [client, inner]) socket.on('error', () => undefined);
});

afterEach(() => {
  gate.close();
  for (const socket of [client, inner]) socket.destroy();
  gitlab.close();
  rmSync(home, { recursive: true, force: true });
});

describe('GitLab is told who the client is', () => {
  it.each([
    [true, true, /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\nGET \/$/],
    // A container that an agent of before made, and a door of sshd: not a byte that the client did not send.
    [true, undefined, /^GET \/$/],
    [false, true, /^GET \/$/],
  ])('door %s, lease %s', async (proxy, tellsClient, sees) => {
    const port = await freePort();
    const lease = { epoch: 1, until: clock.bootMs() + 60_000, upstream: '127.0.0.1', isServing: true, because: '' };
    await writeLease(home, { id: '2', bootId: clock.bootId(), ...lease, ...(tellsClient && { tellsClient }) });
    const other = new ServiceGate(home, clock, { say: () => undefined, heard: () => undefined });
    try {
      await other.listen([{ kind: 'http', port, behind: portOf(gitlab), proxy }], { host: '127.0.0.1' });
      const [one, behind] = [connect(port, '127.0.0.1'), once(gitlab, 'connection') as Promise<[Socket]>];
      one.on('error', () => undefined).write('GET /');
      const [socket] = await behind;
      let came = '';
      socket
        .on('error', () => undefined)
        .on('data', (chunk: Buffer) => {
          came += chunk.toString('latin1');
        });
      await vi.waitUntil(() => came.endsWith('GET /'));
      expect(came).toMatch(sees);
      one.destroy();
    } finally {
      other.close();
    }
  });
});

describe('the gate asks its lease at each chunk, not only when it looks 20 times a second', () => {
  it.each(['GitLab', 'the client'])('what %s sends behind the end of the lease does not pass', async (who) => {
    const [from, to] = who === 'GitLab' ? [inner, client] : [client, inner];
    let came = '';
    to.on('data', (chunk: Buffer) => {
      came += chunk.toString('latin1');
    });
    const closed = new Promise((done) => to.once('close', done));
    from.write('in time');
    while (came !== 'in time') await new Promise((next) => setImmediate(next));
    aheadMs = 120_000;
    from.write(', late');
    await closed;
    expect(came).toBe('in time');
  });
});

describe('a push that begins while another one waits for its copy', () => {
  const begins = 'GET /a.git/info/refs?service=git-receive-pack HTTP/1.1\r\n\r\n';
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-advertisement\r\n\r\n';

  it('has its first answer held back, as what GitLab read of its refs; all passes in order behind it', async () => {
    let settle = (): void => undefined;
    const waiting = new Promise<void>((done) => {
      settle = done;
    });
    const answers = {
      ask: () => new Promise<never>(() => undefined),
      settled: () => waiting,
      aloneWords: () => '',
      waitWords: () => '',
    };
    const door = await HookDoor.open([pushSocketIn(home)], answers);
    let [came, back] = ['', ''];
    inner.on('data', (chunk: Buffer) => {
      came += chunk.toString('latin1');
    });
    client.on('data', (chunk: Buffer) => {
      back += chunk.toString('latin1');
    });
    inner.write('before');
    await vi.waitFor(() => expect(back).toBe('before'));
    client.write(begins);
    await vi.waitFor(() => expect(came).toBe(begins));
    // A push may begin to wait after the request, and before GitLab reads its refs.
    inner.write(`${head}refs, `);
    await new Promise((done) => setTimeout(done, 300));
    inner.write('a'.repeat(1 << 20));
    await new Promise((done) => setTimeout(done, 1000));
    expect(back).toBe('before');
    settle();
    await vi.waitFor(() => expect(back).toBe(`before${head}refs, ${'a'.repeat(1 << 20)}`));
    inner.write('HTTP/1.1 200 OK\r\n\r\nafter');
    await vi.waitFor(() => expect(back.endsWith('after')).toBe(true));
    await door.close();
  });

  it('once more on the connection of another push is held too, part for part, however many were asked for ahead', async () => {
    const waits: (() => void)[] = [];
    const door = await HookDoor.open([pushSocketIn(home)], {
      ...{ ask: () => new Promise<never>(() => undefined), aloneWords: () => '', waitWords: () => '' },
      settled: () => new Promise<void>((done) => waits.push(done)),
    });
    const page = 'HTTP/1.1 200 OK\r\n\r\npage';
    let [back, asked] = ['', 0];
    inner.on('data', (chunk: Buffer) => (asked += chunk.length));
    client.on('data', (chunk: Buffer) => {
      back += chunk.toString('latin1');
    });
    const settles = async (): Promise<void> => {
      await vi.waitFor(() => expect(waits.length).toBeGreaterThan(0), { timeout: 5000 });
      waits.shift()?.();
    };
    const tells = async (part: string, isHeld: boolean): Promise<void> => {
      const before = back;
      inner.write(part);
      if (isHeld) {
        await vi.waitFor(() => expect(waits.length).toBe(1), { timeout: 5000 });
        expect(back).toBe(before);
        await settles();
      }
      await vi.waitFor(() => expect(back).toBe(before + part));
    };
    const asks = async (request: string): Promise<void> => {
      const due = asked + request.length;
      client.write(request);
      await vi.waitFor(() => expect(asked).toBe(due));
    };
    // A push is asked for before a page came, and one more page before the refs; then a push twice, in one piece.
    const get = 'GET /x HTTP/1.1\r\n\r\n';
    await asks(get);
    await asks(begins);
    await tells(page, false);
    await asks(get);
    await tells(`${head}refs`, true);
    await asks(begins + begins);
    await tells(' and their rest', true);
    await tells(page, false);
    await tells(`the rest of it${head}second`, true);
    await tells(`${head}third`, true);
    client.write('POST /a.git/git-receive-pack HTTP/1.1');
    await tells('HTTP/1.1 200 OK\r\n\r\npushed', false);
    await tells(`${head}once more`, true);
    await door.close();
  });

  it('that is held for long reads why, as an answer in the place of GitLab`s, and nothing of that one', async () => {
    const limits = holdLimits as { wordsMs: number };
    const { wordsMs } = limits;
    limits.wordsMs = 2500;
    const door = await HookDoor.open([pushSocketIn(home)], {
      ...{ ask: () => new Promise<never>(() => undefined), settled: () => new Promise(() => {}), aloneWords: () => '' },
      waitWords: () => 'waits until kang can make a copy of it: the disk is full',
    });
    client.write(begins);
    await once(inner, 'data');
    inner.write(`${head}${'refs'.repeat(100_000)}`);
    let back = '';
    client.on('data', (chunk: Buffer) => {
      back += chunk.toString('latin1');
    });
    await once(client, 'end');
    expect(back).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\nContent-Type: text\/plain/);
    expect(back).toContain('another push waits until kang can make a copy of it: the disk is full; its refs are told');
    expect(back).not.toContain('refsrefs');
    limits.wordsMs = wordsMs;
    await door.close();
  });

  it('is cut with the lease where the agent that would know is away', async () => {
    const door = await HookDoor.open([pushSocketIn(home)], {
      ...{
        ask: () => new Promise<never>(() => undefined),
        settled: async () => undefined,
        aloneWords: () => '',
        waitWords: () => '',
      },
    });
    await door.close();
    const closed = new Promise((done) => client.once('close', done));
    client.write(begins);
    await once(inner, 'data');
    inner.write(`${head}refs`);
    let back = '';
    client.on('data', (chunk: Buffer) => {
      back += chunk.toString('latin1');
    });
    await new Promise((done) => setTimeout(done, 300));
    expect([client.destroyed, back]).toEqual([false, '']);
    aheadMs = 120_000;
    await closed;
  });
});

describe('whoever asks the gate and says nothing whole', () => {
  it.each(['http', 'ssh'] as const)('is gone after ten seconds, at a door for %s', async (kind) => {
    const port = await freePort();
    const [bootId, until] = [clock.bootId(), clock.bootMs() + 60_000];
    const boots = { id: '2', bootId, epoch: 1, until, upstream: null, isServing: false, because: 'GitLab boots' };
    await writeLease(home, boots);
    const other = new ServiceGate(home, clock, { say: () => undefined, heard: () => undefined });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      await other.listen([{ kind, port, behind: 80, proxy: false }], { host: '127.0.0.1' });
      const slow = connect(port, '127.0.0.1');
      slow.on('error', () => undefined).resume();
      slow.write('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      const closed = new Promise((done) => slow.once('close', done));
      while (vi.getTimerCount() === 0) await new Promise((next) => setImmediate(next));
      vi.advanceTimersByTime(10_000);
      await closed;
    } finally {
      vi.useRealTimers();
      other.close();
    }
  });
});
