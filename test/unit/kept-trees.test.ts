import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { KeptTrees, treeBytes, treesThatGo, usualTreeLimits } from '../../node/executors/kept-trees.ts';
import { TreeKeeper } from '../../node/executors/tree-keeper.ts';
import { treeKey, treeUse } from '../../node/runs/tree-plan.ts';

const GiB = 2 ** 30;
const folder = mkdtempSync(join(tmpdir(), 'kept-trees-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tree = (key: string, usedAt: number, bytes: number | null) => ({
  ...{ key, project: 'http://gitlab 1', uid: 0, gid: 0 },
  usedAt,
  bytes,
});
const disk = (totalBytes: number, freeBytes: number) => ({ totalBytes, freeBytes });
const limits = { limitBytes: 10 * GiB, ageMs: 1000, roomPercent: 10 };
const going = (...asked: Parameters<typeof treesThatGo>) => treesThatGo(...asked).map(({ key }) => key);

describe('kept trees', () => {
  it('go when unused for long, beyond the limit, and for room: the longest unused first, and no more than that', () => {
    const trees = [tree('new', 900, 4 * GiB), tree('old', 100, 4 * GiB), tree('mid', 500, 4 * GiB)];
    expect(going(trees, limits, disk(1000 * GiB, 500 * GiB), 1000)).toEqual(['old']);
    expect(going(trees, { ...limits, limitBytes: 100 * GiB }, disk(1000 * GiB, 500 * GiB), 1000)).toEqual([]);
    expect(going(trees, { ...limits, limitBytes: 100 * GiB }, disk(1000 * GiB, 500 * GiB), 1550)).toEqual([
      'old',
      'mid',
    ]);
    expect(going(trees, { ...limits, limitBytes: 100 * GiB }, disk(100 * GiB, 7 * GiB), 1000)).toEqual(['old']);
    expect(going(trees, { ...limits, limitBytes: 100 * GiB }, disk(100 * GiB, 1 * GiB), 1000)).toEqual([
      'old',
      'mid',
      'new',
    ]);
    expect(going(trees, { ...limits, limitBytes: 0 }, null, 1000)).toEqual(['old', 'mid', 'new']);
    // What is too large alone drives out none of the others.
    const huge = [tree('small', 100, 4 * GiB), tree('huge', 900, 20 * GiB), tree('other', 500, 4 * GiB)];
    expect(going(huge, limits, disk(1000 * GiB, 500 * GiB), 1000)).toEqual(['huge']);
    // One that nobody measured yet counts for nothing.
    expect(going([tree('x', 1, null)], limits, null, 2)).toEqual([]);
  });

  it('have one limit on a machine, whichever executor keeps them; each removes its own', () => {
    const [docker, process] = [[tree('d-old', 100, 4 * GiB), tree('d-new', 900, 4 * GiB)], [tree('p', 500, 4 * GiB)]];
    expect(treesThatGo(docker, limits, null, 1000, process).map(({ key }) => key)).toEqual(['d-old']);
    expect(treesThatGo(process, limits, null, 1000, docker)).toEqual([]);
    // What is old elsewhere goes there, and by its own age.
    const old = [tree('p-old', 1, 4 * GiB)];
    expect(treesThatGo(docker, { ...limits, limitBytes: 8 * GiB }, null, 1000, old)).toEqual([]);
    expect(treesThatGo([], limits, null, 5000, old)).toEqual([]);
    const kept = new KeptTrees(folder, 'docker');
    const { key, ...one } = tree('k', 5, 7);
    kept.set(key, one);
    expect(new KeptTrees(folder, 'process').others()).toEqual([tree('k', 5, 7)]);
    expect(kept.others()).toEqual([]);
    kept.delete(key);
  });

  it('count as what they were before, or as a bounded guess, where they cannot be measured', async () => {
    const kept = new KeptTrees(folder, 'process');
    const said: string[] = [];
    const keeper = new TreeKeeper({
      ...{ trees: kept, limits, wallMs: () => 0, isTaken: () => false, remove: async () => undefined },
      log: { info: (line) => said.push(line) },
    });
    const { key, ...one } = tree('k', 5, null);
    kept.set(key, one);
    await keeper.measure(key, async () => null);
    expect(kept.get(key)?.bytes).toBe(4 * GiB);
    expect(said).toEqual(['a kept tree (http://gitlab 1) takes too long to measure: it counts as 4 GiB']);
    // A job had it again, and is measured anew; until then it counts as before.
    kept.set(key, { ...one, usedAt: 6 });
    await keeper.measure(key, async () => 6 * GiB);
    kept.set(key, { ...one, usedAt: 7 });
    expect(going(kept.all(), { ...limits, limitBytes: 5 * GiB }, null, 8)).toEqual(['k']);
    await keeper.measure(key, async () => null);
    expect(kept.get(key)?.bytes).toBe(6 * GiB);
    kept.delete(key);
  });

  it('have a tenth of their disk, at most 50 GiB, unless the owner says it', () => {
    expect(treeBytes(usualTreeLimits, disk(100 * GiB, 0))).toBe(10 * GiB);
    expect(treeBytes(usualTreeLimits, disk(4000 * GiB, 0))).toBe(50 * GiB);
    expect(treeBytes({ ...usualTreeLimits, limitBytes: 7 }, disk(4000 * GiB, 0))).toBe(7);
  });

  it('are remembered in a file; a damaged one is none', () => {
    const kept = new KeptTrees(folder, 'docker');
    const { key, ...one } = tree('k', 5, null);
    kept.set(key, one);
    expect(new KeptTrees(folder, 'docker').all()).toEqual([tree('k', 5, null)]);
    expect(new KeptTrees(folder, 'process').all()).toEqual([]);
    kept.delete(key);
    expect(new KeptTrees(folder, 'docker').get('k')).toBeNull();
    const file = join(folder, 'trees-docker.json');
    for (const text of ['', '{', '{"v":2}', readFileSync(file, 'utf8').replace('{}', '{"k":{"project":1}}')]) {
      writeFileSync(file, text);
      expect(new KeptTrees(folder, 'docker').all()).toEqual([]);
    }
  });
});

describe('what a job wants of the tree that is left', () => {
  const use = (variables: Record<string, string>, more: object = {}) =>
    treeUse(
      JobPayload.parse({
        ...{ id: 1, token: 't', job_info: { project_id: 1 }, ...more },
        variables: Object.entries(variables).map(([key, value]) => ({ key, value })),
      }),
    );

  it('is a fetch with a full clean, unless it says more', () => {
    expect(use({})).toEqual({ strategy: 'fetch', cleanFlags: ['-ffdx'], keepsFiles: false });
    expect(use({}, { allow_git_fetch: false })?.strategy).toBe('clone');
    expect(use({ GIT_STRATEGY: 'pull' })).toBeNull();
    expect(use({ GIT_STRATEGY: 'none' })).toMatchObject({ strategy: 'none', keepsFiles: true });
    expect(use({ GIT_STRATEGY: 'empty', GIT_CLEAN_FLAGS: 'none' })?.keepsFiles).toBe(false);
    expect(use({ GIT_STRATEGY: 'clone', GIT_CLEAN_FLAGS: 'none' })?.keepsFiles).toBe(false);
  });

  it('keeps files where the flags of git clean leave some', () => {
    for (const flags of ['-ffdx', '-f -f -d -x', '-dxff -q'])
      expect(use({ GIT_CLEAN_FLAGS: flags })?.keepsFiles).toBe(false);
    for (const flags of ['none', '-ffd', '-fdx', '-ffdx -e cache/', '-ffx', '-ffdX'])
      expect(use({ GIT_CLEAN_FLAGS: flags })?.keepsFiles, flags).toBe(true);
    expect(use({ GIT_CLEAN_FLAGS: 'none' })?.cleanFlags).toBeNull();
    expect(use({ GIT_CLEAN_FLAGS: ' -ffdx  -e a ' })?.cleanFlags).toEqual(['-ffdx', '-e', 'a']);
  });

  it('is shared by nobody else: project, number, protection and place each make another one', () => {
    const one = { project: 'http://gitlab 1', slot: 0, isProtected: false, path: '/b/x' };
    const others = [{}, { project: 'http://gitlab 2' }, { slot: 1 }, { isProtected: true }, { path: '/b/y' }];
    expect(new Set(others.map((other) => treeKey({ ...one, ...other }))).size).toBe(others.length);
  });
});
