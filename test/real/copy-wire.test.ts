import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, type Socket, connect as tcp, createServer as tcpServer } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tls } from 'node:tls';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CopiesRequests } from '../../node/agent/copies-requests.ts';
import type { Round, RoundSource, RoundTaker, Sending } from '../../node/hosting/replica/replica-ports.ts';
import { waitingBytes } from '../../node/hosting/wire/arrivals.ts';
import { openCopyDoor } from '../../node/hosting/wire/copy-door.ts';
import { CopyLine } from '../../node/hosting/wire/copy-line.ts';
import { openTrialDoor } from '../../node/hosting/wire/door-trial.ts';
import { lineTimings, tlsOptions } from '../../node/hosting/wire/line-options.ts';
import type { CopyDoor } from '../../node/hosting/wire/once-door.ts';
import { Turns } from '../../node/hosting/wire/turns.ts';
import { copyPorts } from '../../protocol/names.ts';
import { meshWithStandbys } from '../sim/copies/copies-mesh.ts';

const MiB = 1 << 20;
const name = { era: 1, epoch: 1, number: 7 };
const round: Round = { part: 'hot', name, atMs: 5, wallMs: 6, uuid: 'u-7', parent: null };
const asked = (signal = AbortSignal.timeout(20_000)): Sending => ({
  ...{ pins: [name], urgency: 'round', signal },
  told: (bytes) => told.push(bytes),
});
let told: number[] = [];

/** Takes what comes into memory; counts as the real one does only what was whole. */
class MemoryTaker implements RoundTaker {
  readonly got = new Map<string, string>();
  readonly failures: string[] = [];
  pins: readonly unknown[] = [];
  /** What the disk does with each piece, and before it is all there. */
  slowly: (stream: Readable) => Promise<unknown> = async () => {};
  atEnd: () => Promise<unknown> = async () => {};

  held = async () => [{ name, uuid: 'u-7' }];

  async take(round: Round, { stream, done }: RoundSource, pins: readonly unknown[]): Promise<void> {
    this.pins = pins;
    try {
      const hash = createHash('sha256');
      for await (const piece of stream) {
        hash.update(piece as Buffer);
        await this.slowly(stream);
      }
      await done;
      await this.atEnd();
      this.got.set(round.uuid, hash.digest('hex'));
    } catch (error) {
      this.failures.push((error as Error).message);
      throw error;
    }
  }
}

const sourceOf = (stream: Readable, done: Promise<void> = once(stream, 'end').then(() => {})): RoundSource => {
  done.catch(() => {});
  return { stream, done, end: () => void stream.destroy() };
};
const bytesOf = (size: number) => {
  const bytes = randomBytes(size);
  return { bytes, hash: createHash('sha256').update(bytes).digest('hex') };
};

let taker: MemoryTaker;
let open: AbortController;
let line: CopyLine;
let doors: CopyDoor[];
const before = { ...lineTimings };
const timings = lineTimings as { -readonly [key in keyof typeof lineTimings]: number };

beforeEach(() => {
  taker = new MemoryTaker();
  open = new AbortController();
  doors = [];
  told = [];
  line = lineBy();
});
afterEach(() => {
  line.close();
  open.abort();
  Object.assign(timings, before);
});

const door = async (): Promise<CopyDoor> => {
  const made = await openCopyDoor(taker, open.signal);
  doors.push(made);
  return made;
};
/** A line whose way may lead elsewhere than to the door. */
const lineBy = (way: (port: number) => Promise<number> = async (port) => port): CopyLine =>
  new CopyLine(
    'B',
    async () => {
      const made = await door();
      return { ...made, host: '127.0.0.1', port: await way(made.port) };
    },
    new Turns(),
  );

it('brings a round whole, with its pins, and many over one connection', async () => {
  expect(await line.held('hot')).toEqual([{ name, uuid: 'u-7' }]);
  for (const size of [0, 1, 65_536, 65_537, 8 * MiB]) {
    const { bytes, hash } = bytesOf(size);
    await line.take({ ...round, uuid: `u-${size}` }, sourceOf(Readable.from(size ? [bytes] : [])), asked());
    expect(taker.got.get(`u-${size}`)).toBe(hash);
  }
  expect(taker.pins).toEqual([name]);
  expect(doors).toHaveLength(1);
});

it('a sender that fails after its last byte makes no round', async () => {
  const failed = sourceOf(Readable.from([Buffer.alloc(8 * MiB)]), Promise.reject(new Error('btrfs send failed')));
  await expect(line.take(round, failed, asked())).rejects.toThrow('btrfs send failed');
  await expect.poll(() => taker.failures).toHaveLength(1);
  expect(taker.got.size).toBe(0);
  // And the next one goes, over a new connection.
  await line.take(round, sourceOf(Readable.from([Buffer.alloc(100)])), asked());
  expect(doors).toHaveLength(2);
});

it("the standby's reason arrives, also in the midst of a stream that is still on its way", async () => {
  let pieces = 0;
  taker.slowly = async () => {
    if (++pieces === 5) throw new Error('full: no room for another round');
  };
  for (let i = 0; i < 10; i++) {
    pieces = 0;
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(65_536));
      },
    });
    await expect(line.take(round, sourceOf(endless), asked())).rejects.toThrow('full: no room');
    endless.destroy();
  }
});

it('a key opens one connection, a wrong one none, and a door that nobody used is shut', async () => {
  timings.doorMs = 300;
  const made = await door();
  const by = async (key: string, id = made.id) => {
    const socket = tls({
      ...tlsOptions,
      host: '127.0.0.1',
      port: made.port,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: Buffer.from(key, 'base64'), identity: id }),
    });
    await once(socket, 'secureConnect');
    return socket;
  };
  await expect(by(randomBytes(32).toString('base64'))).rejects.toThrow();
  await expect(by(made.key, 'another')).rejects.toThrow();
  const socket = await by(made.key);
  await expect(by(made.key)).rejects.toThrow();
  socket.destroy();
  const unused = await door();
  await sleep(500);
  await expect(once(tcp(unused.port, '127.0.0.1'), 'connect')).rejects.toThrow('ECONNREFUSED');
});

it('a standby whose disk is slow is not taken for a host that fell silent', async () => {
  timings.silentMs = 300;
  let stalls = 1;
  taker.slowly = async () => stalls-- > 0 && sleep(1000);
  taker.atEnd = () => sleep(1700);
  const { bytes, hash } = bytesOf(6 * MiB);
  await line.held('hot');
  await line.take(round, sourceOf(Readable.from([bytes])), asked());
  expect(taker.got.get('u-7')).toBe(hash);
  // It tells that it lives, and how much has arrived, also when its disk works on the rest.
  expect(told.filter((bytes) => bytes === 6 * MiB).length).toBeGreaterThan(2);
});

it('what arrived is told when it arrived: a pause of the disk there is no queue on the way', async () => {
  const given = new AbortController();
  taker.slowly = async () => given.signal.aborted || once(given.signal, 'abort');
  await line.held('hot');
  const half = waitingBytes / 2;
  const taking = line.take(round, sourceOf(Readable.from([bytesOf(half).bytes])), { ...asked(), urgency: 'copy' });
  // Nothing of it was taken by the disk.
  await expect.poll(() => told.at(-1)).toBe(half);
  given.abort();
  await taking;
  expect(taker.got.size).toBe(1);
});

it('a round that waits for its disk again and again leaves nothing behind of each time', async () => {
  let most = 0;
  taker.slowly = async (stream) => {
    await sleep(5);
    most = Math.max(most, stream.listenerCount('close'));
  };
  await line.take(round, sourceOf(Readable.from([bytesOf(32 * MiB).bytes])), asked());
  expect(most).toBeLessThan(8);
});

it('a host that says nothing in the midst of a round is given up', async () => {
  timings.silentMs = 300;
  const stuck = new PassThrough();
  stuck.write('a');
  await expect(line.take(round, sourceOf(stuck, new Promise(() => {})), asked())).rejects.toThrow();
  await expect.poll(() => taker.failures).toHaveLength(1);
});

it('a whole copy stands back while a round goes out, and goes on when that is quiet', async () => {
  let copied = 0;
  const copy = new Readable({
    read() {
      copied += 65_536;
      this.push(Buffer.alloc(65_536));
    },
  });
  const given = new AbortController();
  const copying = line.take({ ...round, part: 'bulk' }, sourceOf(copy), { ...asked(given.signal), urgency: 'copy' });
  copying.catch(() => {});
  await expect.poll(() => copied).toBeGreaterThan(8 * MiB);
  async function* slowly() {
    for (let i = 0; i < 20; i++) {
      yield Buffer.alloc(1000);
      await sleep(30);
    }
  }
  const taking = line.take(round, sourceOf(Readable.from(slowly())), asked());
  await sleep(200);
  const at = copied;
  await sleep(300);
  // What its streams hold in memory, at most.
  expect(copied - at).toBeLessThan(MiB / 2);
  await taking;
  await expect.poll(() => copied).toBeGreaterThan(at + 8 * MiB);
  given.abort();
  await expect(copying).rejects.toThrow();
  copy.destroy();
});

/** How much of a whole copy is on its way while the other end's disk takes nothing: what has not arrived in its memory. */
async function onTheWay(): Promise<number> {
  let copied = 0;
  told = [];
  const given = new AbortController();
  taker.slowly = () => once(given.signal, 'abort');
  const copy = new Readable({
    read() {
      copied += 65_536;
      this.push(Buffer.alloc(65_536));
    },
  });
  const copying = line.take(round, sourceOf(copy), { ...asked(given.signal), urgency: 'copy' });
  copying.catch(() => {});
  await sleep(1500);
  given.abort();
  await expect(copying).rejects.toThrow();
  copy.destroy();
  return copied - (told.at(-1) ?? waitingBytes);
}

it('a whole copy fills no queue once the other end tells of its progress; one of before does not, and takes it all the same', async () => {
  const before = await onTheWay();
  await line.held('hot');
  const after = await onTheWay();
  // What the sender's streams hold in memory, and a window.
  expect([before > 4 * MiB, after < 3 * MiB], `${before} and ${after} bytes`).toEqual([true, true]);
});

/** A cable between the two that can be pulled: nothing passes any more, and nobody is told. */
async function cable(port: number) {
  const ends: Socket[] = [];
  const server = tcpServer((from) => {
    const to = tcp(port, '127.0.0.1');
    ends.push(from, to);
    for (const end of [from, to]) end.on('error', () => {});
    from.pipe(to).pipe(from);
  });
  server.listen(0);
  await once(server, 'listening');
  const pull = (): void => {
    for (const end of ends) end.unpipe().pause();
  };
  const away = (): void => {
    for (const end of ends) end.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, pull, away };
}

it('a line whose cable was pulled is given up when its caller says so, in whatever it waits', async () => {
  const cables: Awaited<ReturnType<typeof cable>>[] = [];
  line = lineBy(async (port) => {
    const made = await cable(port);
    cables.push(made);
    return made.port;
  });
  await line.held('hot');
  cables[0]!.pull();
  const given = new AbortController();
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(65_536));
    },
  });
  const taking = line.take(round, sourceOf(endless), asked(given.signal));
  setTimeout(() => given.abort(), 300);
  await expect(taking).rejects.toThrow();
  endless.destroy();
  // Waiting for an answer, too.
  await line.held('bulk');
  cables[1]!.pull();
  const began = performance.now();
  setTimeout(() => line.close(), 300);
  await expect(line.held('bulk')).rejects.toThrow();
  expect(performance.now() - began).toBeLessThan(2000);
  for (const one of cables) one.away();
});

it('given up while it connects to somebody who does not answer, it ends at once', async () => {
  const mute = tcpServer(() => {});
  mute.listen(0);
  await once(mute, 'listening');
  line = lineBy(async () => (mute.address() as AddressInfo).port);
  const began = performance.now();
  setTimeout(() => line.close(), 300);
  await expect(line.held('hot')).rejects.toThrow();
  expect(performance.now() - began).toBeLessThan(2000);
  mute.close();
});

it.each([
  ['no frame of ours', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['a frame longer than any', Buffer.from([1, 0xff, 0xff, 0xff, 0xff])],
  ['data before a question', Buffer.from([2, 0, 0, 0, 1, 0])],
  ['a question that is none', Buffer.from([1, 0, 0, 0, 2, 0x7b, 0x7d])],
])('%s ends the connection', async (_what, bytes) => {
  const { port, id, key } = await door();
  const socket = tls({
    ...tlsOptions,
    host: '127.0.0.1',
    port,
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: Buffer.from(key, 'base64'), identity: id }),
  });
  await once(socket, 'secureConnect');
  socket.write(bytes);
  socket.resume();
  await Promise.race([once(socket, 'close'), sleep(2000).then(() => Promise.reject(new Error('still open')))]);
  expect(taker.got.size).toBe(0);
});

it('a door is where a firewall can let it through, several at once; what stops the way to it is said before copies are agreed on', async () => {
  const ask: Pick<CopyDoor, 'port'>[] = [];
  for (let count = 0; count < 2; count++) ask.push(await door());
  for (const { port } of ask) expect(port >= copyPorts.first && port <= copyPorts.last).toBe(true);
  expect(ask[0]!.port).not.toBe(ask[1]!.port);
  const trial = await openTrialDoor();
  const requests = (checked: CopyDoor | undefined, self = 'K') =>
    new CopiesRequests({
      ...{ self, ledger: () => meshWithStandbys(['B']), change: async () => ({ state: 'done', because: '' }) },
      ask: async () => ({
        kind: 'copies-checked',
        checks: [{ state: 'ok', what: 'room', sentence: '/srv, 40 GiB for it', fix: null }],
        ...(checked && { door: checked }),
      }),
      nodeNamed: (name) => name,
      addressOf: () => '127.0.0.1:7117',
    });
  const planned = async (...given: Parameters<typeof requests>) => (await requests(...given).plan('B')).lines;
  expect(await planned(trial)).toMatchObject([{ state: 'ok' }]);
  expect(await planned(undefined)).toMatchObject([{ state: 'ok' }]);
  timings.doorMs = 1;
  const gone = await door();
  await sleep(100);
  timings.doorMs = before.doorMs;
  for (const [closed, self, state] of [
    [gone, 'K', 'fail'],
    [gone, 'C', 'warn'],
  ] as const)
    expect(await planned(closed, self)).toMatchObject([
      { state: 'ok' },
      {
        ...{ state, what: 'copies' },
        sentence: expect.stringMatching(/^B: no connection for copies to 127\.0\.0\.1:\d+, .*TCP 7170 to 7179/),
        fix: 'let TCP 7170 to 7179 in on B, for example: sudo ufw allow 7170:7179/tcp',
      },
    ]);
});
