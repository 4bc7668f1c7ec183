import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { makeRoomToStart } from '../../node/agent/disk-start.ts';

const home = mkdtempSync(join(tmpdir(), 'disk-start-'));
afterAll(() => rmSync(home, { recursive: true }));
const work = join(home, 'work');

/** Full until the files of the first run are gone. */
vi.mock(import('../../node/agent/home-disk.ts'), async (original) => ({
  ...(await original()),
  diskAt: () => ({ totalBytes: 1e12, freeBytes: existsSync(join(work, 'first', 'home')) ? 0 : 1e11 }),
}));

function file(path: string, bytes: number): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, Buffer.alloc(bytes, 1));
}

it('on a full disk no run’s files are those of a folder that another run has by now', async () => {
  const places = join(work, '.builds');
  const runOf = (run: string, key: string): string =>
    JSON.stringify({
      ...{ run, bootId: 'b', tmp: join(work, run, 'tmp') },
      builds: { key, folder: join(places, key, 'builds'), project: 'p', isKept: true },
    });
  for (const [key, owner, bytes] of [
    ['ended', '', 1],
    ['gone', 'nobody', 1],
    ['shared', 'second', 1 << 20],
    ['other', 'third', 8 << 20],
  ] as const) {
    file(join(places, key, 'builds', 'tree'), bytes);
    file(join(places, key, 'run'), 0);
    writeFileSync(join(places, key, 'run'), owner);
  }
  file(join(work, 'first', 'home', 'large'), 4 << 20);
  writeFileSync(join(work, 'first', 'run.json'), runOf('first', 'shared'));
  file(join(work, 'second', 'home', 'small'), 1);
  writeFileSync(join(work, 'second', 'run.json'), runOf('second', 'shared'));
  mkdirSync(join(work, 'third'));
  const said: string[] = [];
  await makeRoomToStart(home, (sentence) => said.push(sentence));
  expect(said).toEqual([expect.stringMatching(/the files of run first, 4 MiB, are removed/)]);
  // What no run has went before, with what a run left that is gone.
  expect(['ended', 'gone', 'shared', 'other'].filter((key) => existsSync(join(places, key, 'builds')))).toEqual([
    'shared',
    'other',
  ]);
});
