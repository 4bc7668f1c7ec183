import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { undergoRemoval } from '../../node/agent/own-removal.ts';

it.each(['where its disk takes it', 'where the note of it cannot be written'])('ends what runs: %s', async (where) => {
  const dir = mkdtempSync(join(tmpdir(), 'autogit-own-removal-'));
  const home = where.includes('cannot') ? join(dir, 'gone') : dir;
  const done: string[] = [];
  const said: string[] = [];
  const say = (what: string, sentence: string): void => void said.push(`${what}: ${sentence}`);
  const member = {
    runs: {
      runs: () => [{ run: 'r1' }],
      drop: async (run: string) => void done.push(`drop ${run}`),
      giveBack: async () => void done.push('give back'),
    },
    hosting: { removed: async () => void done.push('hosting') },
  };
  type Parts = Parameters<typeof undergoRemoval>;
  try {
    await undergoRemoval(member as unknown as Parts[0], { mesh: 'home', at: 1_800_000_000_000, by: 'root on kang' }, {
      home,
      wasIn: true,
      log: { event: () => {} },
      lines: { warn: say, fail: say },
    } as unknown as Parts[2]);
    expect(done.sort()).toEqual(['drop r1', 'give back', 'hosting']);
    expect(said.at(-1)).toContain('To ask again: autogit-node join');
    expect(said.some((line) => line.includes('could not be written'))).toBe(where.includes('cannot'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
