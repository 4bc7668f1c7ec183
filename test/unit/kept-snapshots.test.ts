import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeptSnapshots } from '../../node/hosting/protect/kept-snapshots.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-kept-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** With a copy of its configuration; its snapshot is none that btrfs made, and is left out. */
function one(number: number, note: string | null): string {
  const at = join(folder, `0-1-${number}`);
  mkdirSync(join(at, 'config'), { recursive: true });
  if (note !== null) writeFileSync(join(at, 'autogit-backup.json'), note);
  return at;
}

it('what an agent that was killed left half goes; what only a later version can read stays', async () => {
  const halves = [one(1, null), one(2, ''), one(3, '{"form":1,')];
  const later = one(4, JSON.stringify({ form: 2, parts: ['data'] }));
  await new KeptSnapshots(folder).tidy();
  expect(halves.filter(existsSync)).toEqual([]);
  expect(existsSync(join(later, 'config'))).toBe(true);
  expect(await new KeptSnapshots(folder).list()).toEqual([]);
});

it('a disk that says of one only that it is in trouble has none deleted, and no list that lacks it', async () => {
  const at = one(7, null);
  // As a disk that fails: it is there, and cannot be read.
  symlinkSync('autogit-backup.json', join(at, 'autogit-backup.json'));
  const kept = new KeptSnapshots(folder);
  await expect(kept.tidy()).rejects.toThrow('ELOOP');
  await expect(kept.list()).rejects.toThrow('ELOOP');
  expect(existsSync(join(at, 'config'))).toBe(true);
});
