import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { CloneEngine } from '../../node/hosting/clone/clone-engine.ts';
import { type CloneWish, GitlabClones } from '../../node/hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import type { ServiceHost } from '../../node/hosting/service-host.ts';
import type { SystemTools } from '../../node/hosting/system-tools.ts';
import { AutogitError } from '../../protocol/errors.ts';

/** Clones by an engine that comes and goes. */
let folder: string;
let isAway: boolean;
let running: Set<string>;
let said: string[];
const there = (): void => {
  if (isAway) throw new AutogitError('no-docker', 'no Docker Engine answers');
};
const engine = {
  begin: async () => {
    there();
    running.add('c1');
    return 'c1';
  },
  find: async () => {
    there();
    return [...running].map((id) => ({ id, purpose: 'drill' }));
  },
} as unknown as CloneEngine;
const host = {
  image: async () => ({ id: 'i', arch: 'amd64' }),
  kill: async () => there(),
  remove: async (id: string) => {
    there();
    running.delete(id);
  },
} as unknown as ServiceHost;
const tools = {
  run: async (program: string, args: readonly string[]) => {
    if (args[1] === 'snapshot') cpSync(args.at(-2) as string, args.at(-1) as string, { recursive: true });
    if (args[1] === 'delete') rmSync(args.at(-1) as string, { recursive: true });
    if (program === 'rm') rmSync(args.at(-1) as string, { recursive: true });
    return '';
  },
} as unknown as SystemTools;
const log = { info: () => undefined, warn: (text: string) => void said.push(text) };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  folder = mkdtempSync(join(tmpdir(), 't-clones-'));
  [isAway, running, said] = [false, new Set(), []];
  for (const path of ['hot/config', 'hot/data', 'bulk']) mkdirSync(join(folder, path), { recursive: true });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

const clones = (): GitlabClones =>
  new GitlabClones({ self: 'kang', host, engine, log, tools, availableBytes: async () => 2 ** 40 });
const wish = (): CloneWish => ({
  ...{ mesh: 'm', data: 'd', purpose: 'drill', image: 'i', preset: 'minimal', url: 'http://gitlab.test' },
  place: { kind: 'subvolume', path: folder, makeRoom: async () => undefined } as unknown as DataPlace,
  source: { hot: join(folder, 'hot'), bulk: join(folder, 'bulk') },
  ...{ isPolite: true, roomBytes: 0 },
});
const how = () => ({ signal: new AbortController().signal });
const left = () => [running.size, existsSync(join(folder, 'clone'))];

it('a clone whose end an engine was away for goes as soon as there is one, and is said once', async () => {
  const all = clones();
  const clone = await all.start(wish(), how());
  isAway = true;
  await clone.end();
  await vi.advanceTimersByTimeAsync(60_000);
  expect([left(), said.length, all.purpose]).toEqual([[1, true], 1, null]);
  expect(said[0]).toMatch(/does not go, and is tried again: no Docker Engine answers/);
  isAway = false;
  await vi.advanceTimersByTimeAsync(16_000);
  await vi.waitFor(() => expect(left()).toEqual([0, false]));
});

it('so does one of an agent that was killed', async () => {
  await clones().start(wish(), how());
  isAway = true;
  const next = clones();
  await next.sweepLeft('m', wish().place);
  expect(left()).toEqual([1, true]);
  isAway = false;
  await vi.advanceTimersByTimeAsync(16_000);
  await vi.waitFor(() => expect(left()).toEqual([0, false]));
});

it('what is tried again does not end one that began meanwhile', async () => {
  const all = clones();
  const first = await all.start(wish(), how());
  isAway = true;
  await first.end();
  isAway = false;
  const second = await all.start(wish(), how());
  await vi.advanceTimersByTimeAsync(60_000);
  expect(left()).toEqual([1, true]);
  await second.end();
  expect(left()).toEqual([0, false]);
});
