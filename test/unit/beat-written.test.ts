import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { readBeat, writeBeat } from '../../node/watchdog/watchdog-beat.ts';

vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  renameSync: () => {
    throw new Error('the event loop waits for the disk');
  },
}));

const home = mkdtempSync(join(tmpdir(), 'autogit-beat-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

it('a beat takes the place of the one before while the event loop goes on: a disk with discard takes 3 to 12 ms for it', async () => {
  for (const id of ['a:1', 'a:2']) {
    await writeBeat(home, { bootId: 'boot', id, runs: [] });
    expect(readBeat(home)).toEqual({ bootId: 'boot', id, runs: [] });
  }
});
