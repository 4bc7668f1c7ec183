import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { KeptTree } from '../../node/ports.ts';
import { isLargeMirror } from '../../node/runs/git-mirror.ts';
import { initTree, takeFrom } from '../../node/runs/git-tree.ts';
import { updateInPlace } from '../../node/runs/tree-in-place.ts';

const folder = mkdtempSync(join(tmpdir(), 'autogit-mirror-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('a repository of few large files is large, in packs or not: git unpacks what a fetch of few objects brought', async () => {
  const gitWith = (input: Buffer | string, ...args: string[]): string =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=t', '-c', 'user.email=t@test.invalid', ...args], {
      encoding: 'utf8',
      input,
    }).trim();
  const git = (...args: string[]): string => gitWith('', ...args);
  git('init', '--quiet', '--bare', '.');
  expect(await isLargeMirror(folder, 1)).toBe(false);
  const blob = gitWith(randomBytes(100_000), 'hash-object', '-w', '--stdin');
  expect(await Promise.all([100_000, 110_000].map((bytes) => isLargeMirror(folder, bytes)))).toEqual([true, false]);
  git('update-index', '--add', '--cacheinfo', `100644,${blob},file`);
  git('update-ref', 'refs/heads/main', git('commit-tree', git('write-tree'), '-m', 'first'));
  git('repack', '-a', '-d', '--quiet');
  expect(await Promise.all([100_000, 110_000].map((bytes) => isLargeMirror(folder, bytes)))).toEqual([true, false]);
});

it('objects that lie in no pack come into a tree without a search for deltas, and into a new one as one pack', async () => {
  const [mirror, tree, kept] = ['loose', 'tree', 'kept'].map((name) => join(folder, name)) as [string, string, string];
  const git = (where: string, ...args: string[]): string =>
    execFileSync('git', ['-C', where, '-c', 'user.name=t', '-c', 'user.email=t@test.invalid', ...args], {
      encoding: 'utf8',
    }).trim();
  for (const path of [mirror, tree, kept]) mkdirSync(path);
  git(mirror, 'init', '--quiet', '.');
  git(mirror, 'config', 'uploadpack.allowAnySHA1InWant', 'true');
  // Ten files of which each is nearly the others: whoever looks for deltas finds some.
  const same = randomBytes(20_000);
  for (let name = 0; name < 10; name++)
    writeFileSync(join(mirror, `${name}`), Buffer.concat([same, Buffer.from(`${name}`)]));
  git(mirror, 'add', '-A');
  git(mirror, 'commit', '--quiet', '-m', 'first');
  const sha = git(mirror, 'rev-parse', 'HEAD');
  const never = new AbortController().signal;
  await initTree(tree, sha, never);
  await takeFrom(tree, { mirror: join(mirror, '.git'), depth: 1, tags: 'none', wanted: [sha] }, never);
  const inKept: KeptTree = {
    isLeft: false,
    run: async (script, args, environment) => {
      const env = { PATH: process.env.PATH ?? '', ...environment };
      const child = spawn('sh', ['-c', script, 'sh', ...args], { cwd: kept, env, stdio: 'pipe' });
      let said = '';
      child.stderr.on('data', (data: Buffer) => {
        said += data.toString();
      });
      const ended = once(child, 'close').then(([code]) => ({ code: code as number, said }));
      return { input: child.stdin, output: child.stdout, ended };
    },
    empty: async () => undefined,
    forget: async () => undefined,
  };
  const spec = {
    gitlabUrl: '',
    repoUrl: '',
    token: '',
    sha,
    ref: 'main',
    refspecs: ['+refs/heads/x:refs/none'],
    depth: 1,
  };
  const how = { mirror: join(mirror, '.git'), address: 'http://g/p.git', spec, cleanFlags: null };
  git(mirror, 'update-ref', 'refs/none', sha);
  await updateInPlace(inKept, how, never);
  for (const repository of [tree, kept]) {
    const packs = join(repository, '.git/objects/pack');
    const indexes = readdirSync(packs).filter((name) => name.endsWith('.idx'));
    expect(indexes).toHaveLength(1);
    const said = git(repository, 'verify-pack', '-v', join(packs, indexes[0] as string));
    expect(said).toMatch(/^non delta: \d+ objects$/m);
    expect(said).not.toMatch(/^chain length/m);
  }
});
