import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { beginContainer, type ContainerMaker, type NewContainer } from '../../node/executors/docker-begin.ts';
import { sweepRuns } from '../../node/executors/docker-sweep.ts';
import { DockerTrees } from '../../node/executors/docker-trees.ts';
import { KeptTrees } from '../../node/executors/kept-trees.ts';
import { keptTree, specOf } from '../contract/executor-steps.ts';

/** What an engine says that has these containers and volumes; a volume that one has cannot be removed. */
function engineOf(containers: Map<string, { labels: string[]; volume: string }>, volumes: Set<string>): Docker {
  const refused = (statusCode: number): Error => Object.assign(new Error(`HTTP ${statusCode}`), { statusCode });
  const engine = {
    createContainer: async (options: object) => {
      made.push(options);
      throw refused(500);
    },
    getImage: () => ({ inspect: async () => ({}) }),
    listContainers: async ({ filters }: { filters: { label?: string[]; volume?: string[] } }) =>
      [...containers]
        .filter(([, { labels }]) => (filters.label ?? []).every((label) => labels.includes(label)))
        .filter(([, { volume }]) => (filters.volume ?? [volume]).includes(volume))
        .map(([Id, { labels }]) => ({ Id, Labels: Object.fromEntries(labels.map((label) => label.split('='))) })),
    getContainer: (id: string) => ({
      id,
      inspect: async () => ({ State: { Running: false, Pid: 0 } }),
      remove: async () => void containers.delete(id),
    }),
    listVolumes: async () => ({
      Volumes: [...volumes].map((Name) => ({
        ...{ Name, Mountpoint: '/nonexistent' },
        Labels: { 'autogit.tree': Name.replace(/.*-tree-/, '') },
      })),
    }),
    df: async () => ({ Volumes: [...volumes].map((Name) => ({ Name, UsageData: { Size: 600 } })) }),
    createVolume: async ({ Name }: { Name: string }) => void volumes.add(Name),
    getVolume: (name: string) => ({
      remove: async () => {
        if ([...containers.values()].some(({ volume }) => volume === name)) throw refused(409);
        if (!volumes.delete(name)) throw refused(404);
      },
    }),
  };
  return engine as unknown as Docker;
}

let home: string;
let made: object[];
beforeEach(() => {
  made = [];
  home = mkdtempSync(join(tmpdir(), 'docker-trees-'));
});
afterEach(() => rmSync(home, { recursive: true }));

const volumeOf = (key: string): string => `autogit-kang-tree-${key}`;
const git = (run: string, key: string) => ({
  labels: ['autogit.node=kang', `autogit.run=${run}`, 'autogit.helper=git'],
  volume: volumeOf(key),
});

function treesOf(docker: Docker, limitBytes: number): DockerTrees {
  const log = { info: () => undefined, warn: () => undefined };
  const limits = { limitBytes, ageMs: Number.MAX_SAFE_INTEGER, roomPercent: 0 };
  return new DockerTrees({
    ...{ node: 'kang', home, isLocal: true, limits, log },
    docker: async () => docker,
    wallMs: Date.now,
  });
}

it('one tree that cannot be removed keeps none of the others on a full disk, nor beyond their limit', async () => {
  for (const limitBytes of [1e9, 0]) {
    const kept = new KeptTrees(home, 'docker');
    for (const key of ['a', 'b', 'c']) kept.set(key, { project: 'p', uid: 0, gid: 0, usedAt: 1, bytes: 1 });
    const volumes = new Set(['orphan', 'a', 'b', 'c'].map(volumeOf));
    const containers = new Map([
      ['1', git('r', 'orphan')],
      ['2', git('r', 'a')],
    ]);
    const trees = treesOf(engineOf(containers, volumes), limitBytes);
    if (limitBytes > 0) expect(await trees.giveBack()).toBe(true);
    else await trees.tidy();
    expect([...volumes]).toEqual(['orphan', 'a'].map(volumeOf));
  }
});

it('what an agent that was killed had git do in a tree is ended before the run has it again', async () => {
  const containers = new Map([
    ['1', git('r', 'a')],
    ['2', git('other', 'b')],
    // Its run was canceled before the next agent began it again.
    ['3', git('canceled', 'a')],
  ]);
  const trees = treesOf(engineOf(containers, new Set([volumeOf('a')])), 1e9);
  const signal = new AbortController().signal;
  expect(await trees.take(specOf('r', null, { tree: keptTree('a') }), signal)).not.toBe(null);
  expect([...containers.keys()]).toEqual(['2']);
});

it('is given to nobody while containers of a run before it still have it: a service that could not be ended would write there', async () => {
  const kept = new KeptTrees(home, 'docker');
  kept.set('a', { project: 'p', uid: 0, gid: 0, usedAt: 1, bytes: 1 });
  const service = { labels: ['autogit.node=kang', 'autogit.run=before', 'autogit.service=db'], volume: volumeOf('a') };
  const containers = new Map([['1', service]]);
  const trees = treesOf(engineOf(containers, new Set([volumeOf('a')])), 1e9);
  const { signal } = new AbortController();
  expect(await trees.take(specOf('r', null, { tree: keptTree('a') }), signal)).toBe(null);
  containers.clear();
  expect(await trees.take(specOf('r', null, { tree: keptTree('a') }), signal)).not.toBe(null);
});

it('git has no more of the machine than the job whose tree it reads, but for what git itself needs', async () => {
  const trees = treesOf(engineOf(new Map(), new Set()), 1e9);
  const { signal } = new AbortController();
  for (const [run, memoryBytes, Memory] of [
    ['small', 64 << 20, 1 << 30],
    ['large', 8 * 2 ** 30, 8 * 2 ** 30],
  ] as const) {
    const spec = specOf(run, null, { tree: keptTree(run), cpuMillis: 2000, memoryBytes });
    await expect((await trees.take(spec, signal))?.run('true', [], {}, signal)).rejects.toThrow(/HTTP 500/);
    expect(made.pop()).toMatchObject({
      HostConfig: { Memory, MemorySwap: Memory, NanoCpus: 2e9, NetworkMode: 'none' },
    });
  }
});

it('the engine says how much trees have, where the agent may not look: without root they had no limit', async () => {
  const kept = new KeptTrees(home, 'docker');
  for (const [usedAt, key] of ['a', 'b', 'c'].entries())
    kept.set(key, { project: 'p', uid: 0, gid: 0, usedAt, bytes: null });
  const volumes = new Set(['a', 'b', 'c'].map(volumeOf));
  await treesOf(engineOf(new Map(), volumes), 1000).tidy();
  expect([...volumes]).toEqual([volumeOf('c')]);
});

it('is not waited for where its run could not be removed, which may take minutes: the job has a new tree meanwhile', async () => {
  const trees = treesOf(engineOf(new Map(), new Set()), 1e9);
  const { signal } = new AbortController();
  const before = await trees.take(specOf('before', null, { tree: keptTree('a') }), signal);
  await before?.ownedBy({ uid: 0, gid: 0 });
  const next = trees.take(specOf('next', null, { tree: keptTree('a') }), signal);
  // The engine answers 500, and is asked again.
  before?.stuck();
  expect(await Promise.race([next, sleep(8000, 'late')])).toBe(null);
  await before?.give();
  expect(await trees.take(specOf('next', null, { tree: keptTree('a') }), signal)).toMatchObject({ isLeft: true });
});

it('stays its own user’s where a job that had it got no container, and is nobody’s where what another left could not be removed', async () => {
  const kept = new KeptTrees(home, 'docker');
  for (const key of ['a', 'b']) kept.set(key, { project: 'p', uid: 1000, gid: 1000, usedAt: 1, bytes: 1 });
  const volumes = new Set(['a', 'b'].map(volumeOf));
  const trees = treesOf(engineOf(new Map(), volumes), 1e9);
  const { signal } = new AbortController();
  const take = (key: string) => trees.take(specOf('r', null, { tree: keptTree(key) }), signal);
  await (await take('a'))?.give();
  const other = await take('b');
  await expect(other?.ownedBy({ uid: 5, gid: 5 })).rejects.toThrow('HTTP 500');
  await other?.give();
  await (await take('new'))?.give();
  expect(new KeptTrees(home, 'docker').all()).toEqual([expect.objectContaining({ key: 'a', uid: 1000, gid: 1000 })]);
  expect([...volumes]).toEqual([volumeOf('a')]);
});

it('git is begun in a tree that was left beside the job’s own container, as its user; where the job is another’s or needs none, it goes', async () => {
  const begun: { User: string; isRemoved: boolean }[] = [];
  const engine = engineOf(new Map(), new Set(['a', 'b', 'c', 'd'].map(volumeOf)));
  Object.assign(engine, {
    createContainer: async ({ User }: { User: string }) => {
      const one = { User, isRemoved: false };
      begun.push(one);
      const input = new PassThrough();
      const remove = async () => {
        one.isRemoved = true;
        input.destroy();
      };
      return { attach: async () => input, start: async () => undefined, wait: async () => ({ StatusCode: 0 }), remove };
    },
  });
  const kept = new KeptTrees(home, 'docker');
  for (const key of ['a', 'b', 'c', 'd']) kept.set(key, { project: 'p', uid: 5, gid: 6, usedAt: 1, bytes: 1 });
  const trees = treesOf(engine, 1e9);
  const { signal } = new AbortController();
  const take = (key: string, more = {}) =>
    trees.take(specOf(key, null, { tree: { ...keptTree(key), ...more } }), signal);
  const a = await take('a');
  await a?.ownedBy({ uid: 5, gid: 6 });
  expect(begun).toEqual([{ User: '5:6', isRemoved: false }]);
  await a?.run('true', [], {}, signal);
  expect(begun).toHaveLength(1);
  const b = await take('b');
  // Of the container in which root empties it nothing is heard here.
  void b?.ownedBy({ uid: 0, gid: 0 }).catch(() => undefined);
  await expect.poll(() => begun.map(({ User }) => User)).toEqual(['5:6', '5:6', '0:0']);
  await expect.poll(() => begun[1]?.isRemoved).toBe(true);
  await (await take('c'))?.give();
  expect(begun.at(-1)).toEqual({ User: '5:6', isRemoved: true });
  // One that is new, and one that is used as it is.
  await take('new');
  await take('d', { isOnlyLeft: true });
  expect(begun).toHaveLength(4);
});

it('a helper of no run is nobody’s run: one that is at work stays, one that was left is removed and not counted', async () => {
  const removed: string[] = [];
  const container = (Id: string, Created: number, run?: string) => ({
    ...{ Id, Created, Labels: { 'autogit.node': 'kang', ...(run ? { 'autogit.run': run } : {}) } },
  });
  const engine = {
    listContainers: async () => [
      container('old', 0),
      container('young', 900),
      container('r1', 0, 'r1'),
      container('r2', 0, 'r2'),
    ],
    listNetworks: async () => [],
    listVolumes: async () => ({ Volumes: [] }),
    getContainer: (id: string) => ({
      id,
      inspect: async () => ({ State: { Running: false, Pid: 0 } }),
      remove: async () => void removed.push(id),
    }),
  } as unknown as Docker;
  expect(await sweepRuns(engine, 'kang', (run) => run === 'r2', 1_000_000)).toEqual(['r1']);
  expect(removed.sort()).toEqual(['old', 'r1']);
});

it('is given back where the engine goes away before the job has its container: each later job of the project waited 10 s for it', async () => {
  const docker = engineOf(new Map(), new Set());
  const trees = treesOf(docker, 1e9);
  const { signal } = new AbortController();
  const spec = specOf('before', null, { tree: keptTree('a'), gpus: [{ uuid: 'GPU-1', vendor: 'nvidia' } as never] });
  const tree = await trees.take(spec, signal);
  const engine = { docker: async () => docker, address: null, info: () => Promise.reject(new Error('socket hang up')) };
  const paths = { buildsDir: '/builds', projectDir: '/builds/p', filesDir: '/builds/p.tmp' };
  const image = { id: 'i', user: '', entrypoint: [] };
  const how: NewContainer = { ...{ spec, name: 'i', image, network: 'n', paths, signal }, beside: null, tree };
  const maker = { engine, node: 'kang', extraHosts: [] } as unknown as ContainerMaker;
  await expect(beginContainer(how, maker)).rejects.toThrow('socket hang up');
  const next = trees.take(specOf('next', null, { tree: keptTree('a') }), signal);
  expect(await Promise.race([next, sleep(5000, 'late')])).not.toBe('late');
});
