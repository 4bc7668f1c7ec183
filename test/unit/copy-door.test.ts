import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { createServer } from 'node:tls';
import { afterEach, expect, it, vi } from 'vitest';
import { openCopyDoor } from '../../node/hosting/wire/copy-door.ts';
import { CopyLine } from '../../node/hosting/wire/copy-line.ts';
import { frameKinds, framesOf, writeProgress, writeWords } from '../../node/hosting/wire/frames.ts';
import { tlsOptions } from '../../node/hosting/wire/line-options.ts';
import { Turns } from '../../node/hosting/wire/turns.ts';

const round = {
  part: 'hot',
  name: { era: 1, epoch: 1, number: 1 },
  atMs: 0,
  wallMs: 0,
  uuid: 'u',
  parent: null,
} as const;

afterEach(() => void vi.useRealTimers());

it('a standby whose disk takes its time is not cut off as if its host had fallen silent', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  let synced: () => void = () => undefined;
  const disk = new Promise<void>((done) => (synced = done));
  let hasAll: () => void = () => undefined;
  const all = new Promise<void>((done) => (hasAll = done));
  const end = new AbortController();
  const door = await openCopyDoor(
    {
      held: async () => [],
      take: async (_round, source) => {
        for await (const _ of source.stream);
        await source.done;
        hasAll();
        await disk;
      },
    },
    end.signal,
  );
  const line = new CopyLine('B', async () => ({ ...door, host: '127.0.0.1' }), new Turns());
  const stream = new PassThrough();
  stream.end('a round');
  const taken = line.take(
    round,
    { stream, done: Promise.resolve(), end: () => undefined },
    { pins: [], urgency: 'copy', told: () => {}, signal: end.signal },
  );
  taken.catch(() => undefined);
  await all;
  vi.advanceTimersByTime(61_000);
  await new Promise((done) => setImmediate(done));
  synced();
  await expect(taken).resolves.toBe(undefined);
  end.abort();
  line.close();
});

it('a standby that tells of more than it was sent is not believed, whatever it is sent: by what arrives there a push is made to wait', async () => {
  const told = async (total: number): Promise<Error> => {
    const key = Buffer.alloc(32, 7);
    const server = createServer({ ...tlsOptions, pskCallback: () => key }, async (socket) => {
      socket.on('error', () => {});
      for await (const { kind, body } of framesOf(socket)) {
        const signal = AbortSignal.timeout(20_000);
        const isAsked = kind === frameKinds.words && JSON.parse(body.toString()).kind === 'held';
        if (isAsked) await writeWords(socket, { kind: 'held', rounds: [], progress: true }, signal);
        if (kind === frameKinds.data) for (let times = 0; times < 2; times++) writeProgress(socket, total);
      }
    });
    server.listen(0);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const liar = new CopyLine(
      'B',
      async () => ({ port, id: 'x', key: key.toString('base64'), host: '127.0.0.1' }),
      new Turns(),
    );
    await liar.held('hot');
    const sending = { pins: [], urgency: 'round', signal: AbortSignal.timeout(1500), told: () => {} } as const;
    const stream = new PassThrough();
    stream.write(Buffer.alloc(1000));
    const ended = await liar.take(round, { stream, done: new Promise(() => {}), end: () => {} }, sending).then(
      () => new Error('taken'),
      (error: Error) => error,
    );
    liar.close();
    server.close();
    return ended;
  };
  expect((await told(2 ** 47)).message).toContain('acknowledged what was not sent');
  expect((await told(1000)).message).not.toContain('acknowledged what was not sent');
});

it('strangers hold few connections of a door, and none of them keeps it open', async () => {
  const end = new AbortController();
  const { port } = await openCopyDoor({ held: async () => [], take: async () => undefined }, end.signal);
  const strangers = Array.from({ length: 24 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  await expect.poll(() => strangers.filter(({ closed }) => closed).length, { timeout: 5000 }).toBe(8);
  for (const stranger of strangers) stranger.destroy();
  end.abort();
});
