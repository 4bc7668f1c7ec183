import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { isLargeMirror } from '../../node/runs/git-mirror.ts';

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
