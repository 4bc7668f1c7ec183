import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Restic } from '../../node/hosting/vault/restic.ts';
import { install } from '../bench/debian.ts';

/** Backups let go by the times that their machine's clock said; the real restic. */
let folder: string;
const { signal } = new AbortController();
beforeAll(() => install({ restic: 'restic' }), 300_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-thinning-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('the one that was just made stays, though a clock that was ahead has left later days than it', async () => {
  const [target, source, password] = [join(folder, 'repository'), join(folder, 'source'), 'of-a-test'];
  mkdirSync(source);
  const restic = new Restic({ target, password, credentials: {} }, join(folder, 'cache'));
  await restic.init(signal);
  const tag = 'data=data-1';
  const at = (days: number): string =>
    new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 19).replace('T', ' ');
  const env = { ...process.env, RESTIC_REPOSITORY: target, RESTIC_PASSWORD: password };
  for (const days of [-3, -2, 15, 16]) {
    writeFileSync(join(source, 'file'), `of day ${days}`);
    const words = ['backup', '--host', 'autogit', '--tag', tag, '--time', at(days), '.'];
    execFileSync('restic', words, { cwd: source, env, stdio: 'ignore' });
  }
  writeFileSync(join(source, 'file'), 'of now');
  const made = await restic.backup(source, { tags: [tag], parent: null, onPercent: () => undefined, signal });
  await restic.forget(tag, { daily: 2, weekly: 0, monthly: 0 }, signal, made);
  const left = (await restic.snapshots(signal)).map(({ id }) => id.slice(0, 8));
  expect([left[0], left.length]).toEqual([made, 3]);
  expect(await restic.dump(made, '/file', signal)).toBe('of now\n');
  // Once there is another, it goes by the same rule as all.
  writeFileSync(join(source, 'file'), 'of later');
  const next = await restic.backup(source, { tags: [tag], parent: made, onPercent: () => undefined, signal });
  await restic.forget(tag, { daily: 2, weekly: 0, monthly: 0 }, signal, next);
  expect((await restic.snapshots(signal)).map(({ id }) => id.slice(0, 8))).toEqual([next, ...left.slice(1)]);
});
