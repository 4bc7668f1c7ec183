import { PassThrough } from 'node:stream';
import { afterEach, expect, it, vi } from 'vitest';
import { openCopyDoor } from '../../node/hosting/wire/copy-door.ts';
import { CopyLine } from '../../node/hosting/wire/copy-line.ts';
import { Turns } from '../../node/hosting/wire/turns.ts';

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
  const round = {
    part: 'hot',
    name: { era: 1, epoch: 1, number: 1 },
    atMs: 0,
    wallMs: 0,
    uuid: 'u',
    parent: null,
  } as const;
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
