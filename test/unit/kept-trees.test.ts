import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { KeptTrees, treeBytes, treesThatGo, usualTreeLimits } from '../../node/executors/kept-trees.ts';
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
